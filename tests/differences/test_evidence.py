"""Evidence grows by new values; what was handed on before stays as it was."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest

from fastgradcheck.differences.components import of_differences
from fastgradcheck.differences.evidence import NOTHING_LOCATED, Evidence, LargerSteps, Located
from fastgradcheck.differences.plateau import TWO_SCALES, UNSETTLED
from tests.cases.evidence import directions, joint_of, step_sweep


def sweep_at(index: int, value: float, error: float, **known):
    return step_sweep([value] * 5, value, error, index=index, **known)


class TestWithSweeps:
    def test_components_of_sweeps(self):
        evidence = Evidence().with_sweeps([sweep_at(4, 2.0, 0.5), sweep_at(1, 1.0, 0.25)])
        assert evidence.components.index.tolist() == [1, 4]
        assert evidence.components.lower.tolist() == [1.0, 2.0]
        assert evidence.components.error.tolist() == [0.25, 0.5]
        assert evidence.components.has_own_bar.all()
        assert sorted(evidence.sweeps) == [1, 4]

    def test_the_newest_counts_although_it_is_coarser(self):
        sharp, coarse = sweep_at(1, 1.0, 0.25), sweep_at(1, 2.0, 0.5)
        evidence = Evidence().with_sweeps([sharp]).with_sweeps([coarse])
        assert evidence.sweeps[1] == (coarse,)
        assert evidence.components.lower.tolist() == [2.0]
        assert evidence.components.error.tolist() == [0.5]

    def test_one_between_the_steps_counts_besides(self):
        first, between = sweep_at(1, 1.0, 0.25), sweep_at(1, 1.125, 0.5, again=True)
        evidence = Evidence().with_sweeps([first, sweep_at(2, 7.0, 0.5)]).with_sweeps([between])
        assert evidence.sweeps[1] == (first, between)
        assert len(evidence.sweeps[2]) == 1
        # The sharper, with a bar that holds both: 1/8 apart, and 1/4 besides.
        assert evidence.components.lower.tolist() == [1.0, 7.0]
        assert evidence.components.error.tolist() == [0.375, 0.5]

    def test_a_new_sweep_replaces_both(self):
        newest = sweep_at(1, 3.0, 0.5)
        evidence = Evidence().with_sweeps([sweep_at(1, 1.0, 0.25)])
        evidence = evidence.with_sweeps([sweep_at(1, 1.125, 0.5, again=True)])
        evidence = evidence.with_sweeps([newest])
        assert evidence.sweeps[1] == (newest,)
        assert evidence.components.lower.tolist() == [3.0]

    def test_they_count_instead_of_plain_differences(self):
        plain = of_differences(np.arange(3), np.full(3, 9.0), np.full(3, 1e-9))
        evidence = Evidence(components=plain).with_sweeps([sweep_at(1, 1.0, 0.25)])
        assert evidence.components.lower.tolist() == [9.0, 1.0, 9.0]
        assert evidence.components.has_own_bar.tolist() == [False, True, False]

    def test_none_change_nothing(self):
        evidence = Evidence().with_sweeps([sweep_at(1, 1.0, 0.25)])
        same = evidence.with_sweeps(iter(()))
        assert same.sweeps == evidence.sweeps
        assert same.components.index.tolist() == [1]

    def test_the_old_value_is_unchanged(self):
        old = Evidence().with_sweeps([sweep_at(1, 1.0, 0.25)])
        before = old.sweeps[1]
        old.with_sweeps([sweep_at(1, 1.125, 0.5, again=True), sweep_at(2, 5.0, 0.5)])
        old.with_sweeps([sweep_at(1, 3.0, 0.5)])
        assert dict(old.sweeps) == {1: before}
        assert len(before) == 1
        assert old.components.lower.tolist() == [1.0]
        assert old.components.error.tolist() == [0.25]

    def test_nothing_is_shared_by_new_values(self):
        Evidence().with_sweeps([sweep_at(1, 1.0, 0.25)])
        assert Evidence().sweeps == {}
        assert len(Evidence().components) == 0


class TestOtherMeasurements:
    def test_components(self):
        old = Evidence().with_sweeps([sweep_at(1, 1.0, 0.25), sweep_at(2, 2.0, 0.25)])
        newer = of_differences(np.array([2, 5]), np.array([9.0, 9.0]), np.full(2, 0.5))
        evidence = old.with_components(newer)
        assert evidence.components.index.tolist() == [1, 2, 5]
        assert evidence.components.lower.tolist() == [1.0, 9.0, 9.0]
        assert evidence.components.has_own_bar.tolist() == [True, False, False]
        assert sorted(evidence.sweeps) == [1, 2]
        assert old.components.lower.tolist() == [1.0, 2.0]

    def test_directions_replace_those_of_their_block_alone(self):
        first, second, third = (directions([y] * 4) for y in (1.0, 2.0, 3.0))
        old = Evidence().with_screened({0: first, 1: second})
        assert old.with_screened({1: third}).screened == {0: first, 1: third}
        assert old.screened == {0: first, 1: second}

    def test_what_was_located(self):
        found, later = Located(whole_block=True), Located(unexplained=True)
        old = Evidence().with_located(1, found)
        assert old.with_located(1, later).with_located(2, found).located == {1: later, 2: found}
        assert old.located == {1: found}
        assert old.location(1) is found
        assert old.location(0) is NOTHING_LOCATED

    def test_joint_directions_of_a_block_that_has_none_of_its_own(self):
        first = joint_of(directions([0.0] * 4), [1.0, 0.5, 0.0], [1.0] * 3)
        second = joint_of(directions([0.0] * 4), [0.0, 0.0, 1.0], [1.0] * 3)
        evidence = Evidence(joint=(first, second))
        assert [evidence.joint_of(b) for b in range(3)] == [first, first, second]
        own = evidence.with_screened({1: directions([0.0] * 4)})
        assert [own.joint_of(b) for b in range(3)] == [first, None, second]
        assert Evidence().joint_of(0) is None

    def test_values_are_frozen(self):
        for value in (Evidence(), Located(), Evidence().components):
            for field in fields(value):
                with pytest.raises(FrozenInstanceError):
                    setattr(value, field.name, None)


class TestLocated:
    ROWS = np.array([0, 5, 1, 3, 0, 5])
    ENTRIES = np.array([0, 5, 0, 4, 2, 3])

    def test_entries_of_all_regions(self):
        assert Located(regions=(self.ROWS, self.ENTRIES)).lines == 2 * 5 + 4 * 1
        assert NOTHING_LOCATED.lines == 0

    @pytest.mark.parametrize(
        ("found", "screened", "unexplained"),
        [
            (Located(whole_block=True), True, True),
            (Located(regions=(ROWS,)), True, True),
            (Located(regions=(ROWS,)), False, False),
            (Located(), True, False),
            (Located(unexplained=True), False, True),
        ],
    )
    def test_withdrawn(self, found, screened, unexplained):
        left = replace(found, confirmed=True).withdrawn(screened)
        assert (left.regions, left.whole_block, left.confirmed) == ((), False, False)
        assert left.unexplained is unexplained


def test_larger_steps_as_a_sweep():
    slopes = np.array([3.0, 2.0, 9.0])
    larger = LargerSteps(np.array([0.04, 0.01, 0.0025]), slopes, 1e-3, 1, 0.5)
    own = larger.as_sweep(7)
    assert (own.index, own.value, own.error, own.best, own.kind) == (7, 2.0, 0.5, 1, TWO_SCALES)
    assert (own.lower, own.upper, own.restless, own.again) == (2.0, 2.0, True, False)
    np.testing.assert_array_equal(own.derivatives, slopes)
    np.testing.assert_array_equal(own.steps, larger.steps)
    assert np.isnan([own.right, own.left]).all()
    assert own.kind != UNSETTLED
