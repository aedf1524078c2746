"""Nothing is called wrong before its own step sweep."""

from __future__ import annotations

import numpy as np
import pytest

from fastgradcheck.differences.evidence import Evidence, Located
from fastgradcheck.search.confirm import CAP, FIRST_ROUND, confirm
from fastgradcheck.verdict.rules import judge, wrong_components
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.claims import last, measured, task_of


class TestConfirm:
    def test_every_doubt_gets_a_sweep_and_nothing_else_does(self):
        task = task_of({3: 0.5, 7: -0.5})
        start = measured(task, 1e-9, off=(11,))
        evidence = last(confirm(start, task), start)
        assert sorted(evidence.sweeps) == [3, 7, 11]
        (block,) = task.beside(evidence)
        assert np.flatnonzero(wrong_components(block, task.tolerance)).tolist() == [3, 7]
        assert judge([block], task.tolerance)[0] is Verdict.WRONG
        assert task.context.stream.wrong == 2
        assert len(start.sweeps) == 0

    def test_without_a_doubt_nothing_is_evaluated(self):
        task = task_of({})
        task.context.stream.engine = None
        assert list(confirm(measured(task, 1e-9), task)) == []

    def test_the_worst_come_first(self):
        task = task_of({i: 0.1 + 0.01 * i for i in range(12)})
        first = next(confirm(measured(task, 1e-9), task))
        assert sorted(first.sweeps) == list(range(12 - FIRST_ROUND, 12))

    def test_a_block_with_too_many_is_wrong_as_a_whole(self):
        task = task_of(dict.fromkeys(range(50), 0.5))
        evidence = last(confirm(measured(task, 1e-9), task), Evidence())
        assert evidence.location(0).whole_block
        assert CAP <= len(evidence.sweeps) < 50
        assert task.context.stream.wrong == len(evidence.sweeps)

    def test_what_was_located_as_a_whole_is_not_looked_at_again(self):
        task = task_of({3: 0.5})
        known = measured(task, 1e-9).with_located(0, Located(whole_block=True))
        assert list(confirm(known, task)) == []

    @pytest.mark.parametrize("count", [CAP - 1, CAP])
    def test_as_many_as_the_cap_alone_are_counted_one_by_one(self, count):
        task = task_of(dict.fromkeys(range(count), 0.5))
        evidence = last(confirm(measured(task, 1e-9), task), Evidence())
        assert not evidence.location(0).whole_block
        assert len(evidence.sweeps) == count
