"""What is said beside the verdict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.diagnosis.findings import unlocated
from fastgradcheck.differences.evidence import Evidence, Located
from fastgradcheck.problem.parameters import describe
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.results import message
from tests.cases.screened import NETWORK


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (Verdict.WRONG, "More is wrong in b1, W2 than could be located. Mend what is named"),
        (Verdict.AGREES, "The directions of b1, W2 disagree by more than their error bars"),
    ],
)
def test_what_could_not_be_located_is_said(verdict: Verdict, text: str) -> None:
    evidence = Evidence(located={b: Located(unexplained=True) for b in (2, 1)})
    (finding,) = unlocated(describe(NETWORK.initial(0)), evidence, verdict)
    assert finding.kind == "unlocated"
    assert finding.message.startswith(text)
    assert 'strategy="components"' in finding.message
    assert unlocated(describe(NETWORK.initial(0)), Evidence(), verdict) == ()


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_a_block_that_the_cost_reads_from_elsewhere_is_told(
    shape: tuple[int, ...], strategy: str
) -> None:
    elsewhere = np.full(shape, 0.5)
    theta = {"W": np.linspace(1.0, 2.0, 12).reshape(3, 4), "b": elsewhere.copy()}

    def cost(p: Any) -> float:
        return float((p["W"] ** 3).sum() + (elsewhere**2).sum())

    def grad(p: Any) -> Any:
        return {"W": 3 * p["W"] ** 2, "b": np.zeros(shape)}

    result = fgc.gradcheck(cost, grad, theta, strategy=strategy, seed=0)
    assert result
    kind, said = {
        "components": ("zero-block", "cost may read these parameters from somewhere else"),
        "screen": ("zero", "parameters that cost does not read from its argument"),
    }[strategy]
    assert said in message(result, kind)
    assert " b" in message(result, kind)
