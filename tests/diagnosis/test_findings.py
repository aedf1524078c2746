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


def test_at_an_optimum_that_is_named_as_a_cause() -> None:
    result = fgc.gradcheck(lambda t: float(t @ t), lambda t: 2 * t, np.zeros(3), seed=0)
    assert "It may be dead or at an optimum at this theta" in message(result, "zero-block")


def test_at_a_kink_j_is_not_said_not_to_depend_on_theta() -> None:
    result = fgc.gradcheck(
        lambda t: float(np.maximum(t, 0).sum()), lambda t: 1.0 * (t > 0), np.zeros(3), seed=0
    )
    assert result
    assert [finding.kind for finding in result.findings] == ["kink"]


def test_a_bias_before_a_mean_is_removed_is_told_once_and_hides_no_pattern() -> None:
    """b1 has no effect: it is zero to the resolution, and the others tell where the fault is."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(20, 4)), rng.normal(size=(20, 3))
    theta = {"W1": rng.normal(size=(4, 5)), "b1": rng.normal(size=5)}
    theta |= {"W2": rng.normal(size=(5, 6)), "W3": rng.normal(size=(6, 3))}

    def forward(p: Any) -> Any:
        Z = X @ p["W1"] + p["b1"]
        A = np.tanh(Z - Z.mean(axis=0))
        B = np.tanh(A @ p["W2"])
        return A, B, B @ p["W3"] - Y

    def cost(p: Any) -> float:
        return float(0.5 * np.sum(forward(p)[-1] ** 2))

    def grad(p: Any, power: int = 2) -> Any:
        A, B, D = forward(p)
        E = D @ p["W3"].T * (1 - B**power)
        H = E @ p["W2"].T * (1 - A**2)
        H = H - H.mean(axis=0)
        return {"W1": X.T @ H, "b1": H.sum(axis=0), "W2": A.T @ E, "W3": B.T @ D}

    for strategy in ("components", "screen"):
        right = fgc.gradcheck(cost, grad, theta, strategy=strategy, seed=0)
        assert right
        assert [f.kind for f in right.findings].count("lost") == 0
        assert "b1" in message(right, "zero")
        wrong = fgc.gradcheck(cost, lambda p: grad(p, 1), theta, strategy=strategy, seed=0)
        assert "Every block up to W2 is wrong, and every block from W3" in message(
            wrong, "backward"
        )
