"""Step sweeps where only bars stand between a block and agreement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastgradcheck.search.confirm import confirm
from fastgradcheck.search.sharpen import MOST, sharpen
from fastgradcheck.verdict.rules import judge
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.claims import last, measured, task_of
from tests.cases.evidence import TOLERANCE


class TestSharpen:
    def test_wide_bars_get_sweeps_until_the_block_agrees(self):
        task = task_of({})
        start = measured(task, 1e-3)
        assert judge(task.beside(start), TOLERANCE)[0] is Verdict.UNDECIDED
        evidence = last(sharpen(start, task), start)
        assert len(evidence.sweeps) == 50
        assert judge(task.beside(evidence), TOLERANCE)[0] is Verdict.AGREES

    @pytest.mark.parametrize(("wrong", "bar"), [({}, 1e-10), ({3: 0.5}, 1e-10)])
    def test_what_is_decided_is_left_alone(self, wrong, bar):
        task = task_of(wrong)
        start = measured(task, bar)
        start = last(confirm(start, task), start)
        assert judge(task.beside(start), TOLERANCE)[0] is not Verdict.UNDECIDED
        assert list(sharpen(start, task)) == []

    def test_the_widest_bars_of_a_large_block(self):
        task = task_of({}, n=MOST + 10)
        start = measured(task, 1e-3)
        bars = np.linspace(1e-3, 2e-3, MOST + 10)
        start = replace(start, components=replace(start.components, error=bars))
        evidence = last(sharpen(start, task), start)
        assert sorted(evidence.sweeps) == list(range(10, MOST + 10))
