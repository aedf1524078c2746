"""What was measured is stored as measured; beside the claim, it may be read otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastgradcheck.differences.components import of_differences, of_five_points
from fastgradcheck.differences.evidence import Evidence, LargerSteps, Located
from fastgradcheck.differences.plateau import (
    KINK_HERE,
    KINK_RIGHT,
    SMOOTH,
    TWO_SCALES,
    UNSETTLED,
)
from fastgradcheck.differences.schemes import SCHEMES
from fastgradcheck.differences.steps import Steps
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective, Problem
from fastgradcheck.verdict.support import (
    FIVE_POINTS_PROVE,
    beside,
    compared,
    reading,
    readings,
    supported,
)
from tests.cases.evidence import directions, joint_of, step_sweep

NAN, INF = np.nan, np.inf
STAIRS = step_sweep([1.125, 1.0625, 1.03125, 1.0, 1.5, 2.0, 2.0, 2.0], 2.0, 1e-6)
"""Larger steps show a slope of 1, the smallest one of 2."""
NO_SCALE = step_sweep([50.0, 70.0, 90.0, 2.0, 2.0, 2.0], 2.0, 1e-6, ordinary=3)
"""No step of ordinary size shows the slope of 2."""


class TestSupported:
    def test_the_measured_slope_stands_where_it_is_the_claimed_one(self):
        sharp = replace(STAIRS, error=1e-8)
        assert supported(sharp, 2.0) is sharp
        assert supported(sharp, 2.0 + 9e-9) is sharp

    def test_larger_steps_that_show_the_claimed_slope(self):
        """The second to fourth differ from the claim by 1/16 at most, the first three by 1/8."""
        read = supported(STAIRS, 1.0)
        assert (read.value, read.error, read.kind) == (1.0, 0.0625, TWO_SCALES)
        assert (read.lower, read.upper) == (1.0, 1.0)
        assert (STAIRS.value, STAIRS.error, STAIRS.kind) == (2.0, 1e-6, SMOOTH)

    @pytest.mark.parametrize(("claim", "shown"), [(0.9375, True), (0.875, False)])
    def test_a_claim_far_outside_of_their_scatter_is_none_of_theirs(self, claim, shown):
        """The second to fourth scatter by 1/16, and may be off by 1/8."""
        assert (supported(STAIRS, claim).kind == TWO_SCALES) is shown

    def test_a_slope_that_neither_shows(self):
        assert supported(STAIRS, 4.0) is STAIRS

    def test_a_claim_of_zero_has_no_scale(self):
        slopes = [1e-9, 1.1e-9, 1e-9, 2.0, 2.0, 2.0]
        small = step_sweep(slopes, 2.0, 1e-6)
        assert supported(small, 0.0) is small
        assert supported(small, 1.1e-9).kind == TWO_SCALES

    @pytest.mark.parametrize("side", ["right", "left"])
    def test_both_sides_must_show_it(self, side):
        """At a kink the mean of the two slopes is claimed in vain."""
        bent = STAIRS.derivatives.copy()
        bent[:4] += 0.5
        kinked = replace(STAIRS, **{side: bent})
        assert supported(kinked, 1.0) is kinked

    def test_three_steps_in_a_row_must_show_it(self):
        apart = step_sweep([1.0, 1.0, 9.0, 1.0, 1.0, 2.0, 2.0, 2.0], 2.0, 1e-6)
        assert supported(apart, 1.0) is apart

    def test_a_wide_bar_that_holds_the_claim_is_sharpened_and_stays_smooth(self):
        wide = replace(STAIRS, error=2.0)
        read = supported(wide, 1.0)
        assert (read.value, read.error, read.kind) == (1.0, 0.0625, SMOOTH)

    @pytest.mark.parametrize("claim", [NAN, INF, -INF])
    def test_a_claim_that_is_no_number_changes_nothing(self, claim):
        assert supported(STAIRS, claim) is STAIRS

    def test_what_was_not_measured_stays_unknown(self):
        nothing = step_sweep([NAN] * 5, NAN, INF, kind=UNSETTLED)
        assert supported(nothing, 1.0) is nothing


class TestOrdinarySteps:
    def test_a_value_that_none_shows_contradicts_no_claim(self):
        read = supported(NO_SCALE, 1.0)
        assert (read.kind, read.error, read.value) == (UNSETTLED, 1.0, 2.0)

    @pytest.mark.parametrize("side", ["right", "left"])
    def test_one_side_that_shows_it_is_enough(self, side):
        shown = replace(NO_SCALE, **{side: np.array([2.1, 2.1, 2.1, 2.0, 2.0, 2.0])})
        assert supported(shown, 1.0) is shown

    def test_it_must_show_it_within_a_quarter_of_the_distance(self):
        for slope, kind in ((2.2, SMOOTH), (2.3, UNSETTLED)):
            near = step_sweep([slope] * 3 + [2.0] * 3, 2.0, 1e-6, ordinary=3)
            assert supported(near, 1.0).kind == kind

    def test_fewer_than_three_tell_nothing(self):
        few = replace(NO_SCALE, ordinary=2)
        assert supported(few, 1.0) is few

    def test_a_subtle_difference_is_lost_in_their_truncation(self):
        assert supported(NO_SCALE, 2.0 * (1 + 9e-4)) is NO_SCALE
        assert supported(NO_SCALE, 2.0 * (1 + 2e-3)).kind == UNSETTLED

    def test_where_J_is_continuous_the_smallest_steps_count(self):
        assert supported(NO_SCALE, 1.0, continuous=True) is NO_SCALE
        assert supported(STAIRS, 1.0, continuous=True).kind == TWO_SCALES
        again = replace(NO_SCALE, again=True)
        assert reading((NO_SCALE, again), 1.0, continuous=True).kind == SMOOTH

    def test_theta_on_a_kink_is_left_alone(self):
        here = replace(NO_SCALE, kind=KINK_HERE, lower=1.5, upper=2.5)
        assert supported(here, 1.0) is here
        near = replace(NO_SCALE, kind=KINK_RIGHT)
        assert supported(near, 1.0).kind == UNSETTLED


class TestTwoSweeps:
    FIRST = step_sweep([1.0] * 5, 1.0, 0.125)
    SECOND = step_sweep([1.25] * 5, 1.25, 0.25, again=True)

    def test_one_alone(self):
        assert reading((self.FIRST,), 1.0625) is self.FIRST

    @pytest.mark.parametrize("swapped", [False, True])
    def test_the_sharper_counts_with_a_bar_that_holds_both(self, swapped):
        own = (self.SECOND, self.FIRST) if swapped else (self.FIRST, self.SECOND)
        read = reading(own, 1.125)
        # Apart by 1/4, and the sharper bar of 1/8 besides.
        assert (read.value, read.error) == (1.0, 0.375)

    def test_what_one_of_them_does_not_know_neither_knows(self):
        unknown = step_sweep([NAN] * 5, NAN, INF, kind=UNSETTLED, again=True)
        read = reading((self.FIRST, unknown), 1.0625)
        assert read.error == INF

    def test_each_is_read_before_they_are_combined(self):
        again = replace(STAIRS, derivatives=STAIRS.derivatives + 2.0**-10, again=True)
        read = reading((STAIRS, again), 1.0)
        assert (read.value, read.kind) == (1.0, TWO_SCALES)
        assert read.error == 2.0**-10 + 0.0625


def larger(value: float, error: float) -> LargerSteps:
    slopes = np.array([9.0, value, 9.0])
    return LargerSteps(0.01 / 4.0 ** np.arange(3), slopes, 1e-6, 1, error)


class TestReadings:
    CLAIM = np.array([0.0, 1.0, 0.0])

    @pytest.mark.parametrize(("error", "read"), [(0.25, 1.25), (0.24, 2.0)])
    def test_larger_steps_count_only_where_their_bar_holds_the_claim(self, error, read):
        sweep = step_sweep([2.0] * 5, 2.0, 1e-6, index=1)
        evidence = Evidence(sweeps={1: (sweep,)}, larger={1: larger(1.25, error)})
        assert readings(evidence, self.CLAIM)[1].value == read

    def test_only_small_steps_contradict_where_J_is_known_to_be_continuous(self):
        sweeps = {1: (replace(NO_SCALE, index=1),)}
        kinds = [
            readings(Evidence(sweeps=sweeps, continuous=frozenset(known)), self.CLAIM)[1].kind
            for known in ([], [1], [2])
        ]
        assert kinds == [UNSETTLED, SMOOTH, UNSETTLED]

    def test_they_count_without_a_sweep(self):
        read = readings(Evidence(larger={1: larger(1.25, 0.5)}), self.CLAIM)
        assert (read[1].index, read[1].kind, read[1].error) == (1, TWO_SCALES, 0.5)

    def test_a_claim_that_is_no_number_is_held_by_no_bar(self):
        evidence = Evidence(larger={1: larger(1.25, INF)})
        assert readings(evidence, np.array([0.0, NAN, 0.0])) == {}

    def test_every_component_is_read_beside_its_own_claim(self):
        sweeps = {i: (replace(STAIRS, index=i),) for i in range(3)}
        read = readings(Evidence(sweeps=sweeps), np.array([1.0, 2.0, 4.0]))
        assert {i: s.value for i, s in read.items()} == {0: 1.0, 1: 2.0, 2: 2.0}


class TestCompared:
    @pytest.mark.parametrize(
        ("claim", "numeric", "discrepancy"), [(-3.0, -1.0, 2.0), (0.5, 0.5, 0.0), (4.0, 2.0, 2.0)]
    )
    def test_on_a_kink_the_nearest_subgradient_counts(self, claim, numeric, discrepancy):
        components = of_differences(np.array([1]), np.array([-1.0]), np.array([0.1]))
        own = compared(replace(components, upper=np.array([2.0])), np.array([9.0, claim]))
        assert (own.analytic[0], own.numeric[0]) == (claim, numeric)
        assert own.discrepancy[0] == discrepancy

    def test_two_steps_prove_what_is_far_outside_of_their_bar(self):
        assert FIVE_POINTS_PROVE == 100.0
        index, bars = np.arange(2), np.full(2, 0.0078125)
        claim = np.array([0.78125, np.nextafter(0.78125, 1.0)])
        own = compared(of_five_points(index, np.zeros(2), bars), claim)
        assert own.has_own_bar.tolist() == [False, True]

    def test_plain_differences_prove_nothing(self):
        own = compared(of_differences(np.arange(1), np.zeros(1), np.full(1, 1e-9)), np.ones(1))
        assert own.has_own_bar.tolist() == [False]

    def test_nor_does_what_is_no_number(self):
        index, slopes = np.arange(2), np.array([0.0, NAN])
        own = compared(of_five_points(index, slopes, np.full(2, 1e-9)), np.array([NAN, 0.0]))
        assert own.has_own_bar.tolist() == [False, False]
        assert np.isnan(own.discrepancy).all()


def problem_of(gradient) -> Problem:
    theta = {"a": np.zeros(2), "b": np.zeros(3)}
    parameters = describe(theta)
    objective = Objective(lambda t: 0.0, (), parameters, parameters.flatten(theta))
    return Problem(objective, np.array(gradient, float), 2.0**-52, 0.0)


class TestBeside:
    CLAIM = (3.0, 1.0, 0.0, -4.0, 3.0)

    def test_blocks_and_their_claims(self):
        first, second = beside(Evidence(), problem_of(self.CLAIM))
        assert (first.number, first.block.name, second.number, second.block.name) == (
            0,
            "a",
            1,
            "b",
        )
        np.testing.assert_array_equal(second.gradient, [0.0, -4.0, 3.0])
        assert (first.size, second.size, second.largest) == (np.sqrt(10.0), 5.0, 4.0)
        assert (len(first.components), first.directions, first.isolated) == (0, 0, None)
        assert not first.disagrees
        assert np.isnan(first.step)

    def test_the_largest_claim_is_a_number(self):
        own = beside(Evidence(), problem_of([NAN, INF, NAN, -2.0, 1.0]))
        assert [b.largest for b in own] == [0.0, 2.0]

    def test_the_store_keeps_what_was_measured_and_the_reading_differs(self):
        evidence = Evidence().with_sweeps([replace(STAIRS, index=1)])
        first, second = beside(evidence, problem_of(self.CLAIM))
        assert (first.components.lower[0], first.components.error[0]) == (1.0, 0.0625)
        assert len(second.components) == 0
        assert (evidence.components.lower[0], evidence.components.error[0]) == (2.0, 1e-6)
        assert evidence.sweeps[1][0].value == 2.0

    def test_every_block_has_its_own_components(self):
        index = np.arange(5)
        components = of_differences(index, index.astype(float), np.ones(5))
        own = beside(Evidence(components=components), problem_of(self.CLAIM))
        assert [b.components.index.tolist() for b in own] == [[0, 1], [2, 3, 4]]
        np.testing.assert_array_equal(own[1].components.analytic, [0.0, -4.0, 3.0])

    def test_a_newer_difference_counts_instead_of_an_older_sweep(self):
        newer = of_differences(np.array([1]), np.array([7.0]), np.array([0.5]))
        evidence = Evidence().with_sweeps([replace(STAIRS, index=1)]).with_components(newer)
        own = beside(evidence, problem_of(self.CLAIM))[0].components
        assert (own.lower.tolist(), own.has_own_bar.tolist()) == ([7.0], [False])

    def test_larger_steps_count_instead_of_whatever_measured_the_component(self):
        plain = of_differences(np.array([1]), np.array([7.0]), np.array([0.5]))
        evidence = Evidence(components=plain, larger={1: larger(1.25, 0.5)})
        own = beside(evidence, problem_of(self.CLAIM))[0].components
        assert (own.lower.tolist(), own.kind.tolist()) == ([1.25], [TWO_SCALES])

    def test_directions(self):
        own, shared = directions([0.0] * 4), joint_of(directions([1.0] * 8), [1.0, 0.5], [1.0, 1.0])
        evidence = Evidence(screened={0: own}, joint=(shared,))
        first, second = beside(evidence, problem_of(self.CLAIM))
        assert (first.screened, first.joint, first.directions) == (own, None, 4)
        assert (second.screened, second.joint, second.directions) == (None, shared, 8)
        assert (first.disagrees, second.disagrees) == (False, True)
        assert first.isolated == own.isolated
        assert second.isolated == 2 * shared.screened.isolated

    def test_what_was_located(self):
        found = Located(whole_block=True)
        first, second = beside(Evidence().with_located(1, found), problem_of(self.CLAIM))
        assert second.located is found
        assert not first.located.whole_block

    def test_steps_are_those_of_the_directions_if_there_are_any(self):
        unknown, both = np.full(2, NAN), np.ones(2)
        chosen = np.array([1e-3, 2e-3])
        steps = Steps(np.ones(5), both, chosen, unknown, both, 0.0, SCHEMES["central"])
        known = Evidence(steps=steps)
        assert [b.step for b in beside(known, problem_of(self.CLAIM))] == [1e-3, 2e-3]
        shared = joint_of(directions([0.0] * 4, step=1e-4), [0.0, 0.5], [0.0, 1.0])
        joint = replace(known, joint=(shared,))
        assert [b.step for b in beside(joint, problem_of(self.CLAIM))] == [1e-3, 5e-5]
        own = replace(joint, screened={0: directions([0.0] * 4, step=1e-6)})
        assert [b.step for b in beside(own, problem_of(self.CLAIM))] == [1e-6, 5e-5]
        np.testing.assert_array_equal(steps.of_blocks, [1e-3, 2e-3])
