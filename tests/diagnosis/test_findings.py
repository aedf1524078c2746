"""What is said beside the verdict."""

from __future__ import annotations

import pytest

from fastgradcheck.diagnosis.findings import unlocated
from fastgradcheck.differences.evidence import Evidence, Located
from fastgradcheck.problem.parameters import describe
from fastgradcheck.verdict.verdict import Verdict
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
