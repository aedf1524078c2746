"""What a check that is under way remembers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fastgradcheck.differences.evidence import Evidence, Located
from fastgradcheck.verdict import rules, support
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.claims import measured, task_of


def test_the_same_evidence_is_judged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    judge, calls = rules.judge, []
    monkeypatch.setattr(rules, "judge", lambda *a: calls.append(a) or judge(*a))
    task = task_of({3: 0.1})
    evidence = measured(task, 1e-12)
    assert task.judged(evidence) is task.judged(evidence)
    # As a search hands it on, with more of its context known.
    assert replace(task, screens=True).judged(evidence)[0] is Verdict.UNDECIDED
    assert len(calls) == 1
    wrong = evidence.with_located(0, Located(whole_block=True))
    assert task.judged(wrong)[0] is Verdict.WRONG
    assert task.judged(evidence)[0] is Verdict.UNDECIDED
    assert len(calls) == 3


def test_another_claim_or_tolerance_is_judged_anew() -> None:
    task, right = task_of({3: 1e-4}), task_of({})
    evidence = measured(task, 1e-12)
    assert task.judged(evidence)[0] is Verdict.UNDECIDED
    assert replace(task, problem=right.problem).judged(evidence)[0] is Verdict.AGREES
    wider = replace(task.tolerance, threshold=0.1, rtol=0.1)
    assert replace(task, tolerance=wider).judged(evidence)[0] is Verdict.AGREES
    assert task.judged(evidence)[0] is Verdict.UNDECIDED


def test_blocks_are_put_together_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made, kind = [], support.BlockEvidence
    monkeypatch.setattr(support, "BlockEvidence", lambda b, *a: made.append(b) or kind(b, *a))
    task = task_of({})
    assert [b.number for b in task.measured(Evidence())] == made == []
    known = task.beside(measured(task, 1e-12))
    assert len(known) == 1
    assert known[0] is known[-1] is known[:][0]
    assert made == [0]
    with pytest.raises(IndexError):
        known[1]
    assert [b.number for b in task.measured(measured(task, 1e-12))] == [0]
