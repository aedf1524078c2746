"""Verdicts of evidence made by hand; no cost is evaluated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastgradcheck.differences.evidence import Located
from fastgradcheck.differences.plateau import UNSETTLED
from fastgradcheck.verdict import rules
from fastgradcheck.verdict.tolerances import ROUNDING_UNITS
from fastgradcheck.verdict.verdict import BlockResult, Verdict
from tests.cases.evidence import TOLERANCE, block_evidence, directions, joint_of

AGREES, WRONG = Verdict.AGREES, Verdict.WRONG
UNDECIDED, SKIPPED = Verdict.UNDECIDED, Verdict.SKIPPED
EPS = 2.0**-52
NAN, INF = np.nan, np.inf
COARSE = replace(TOLERANCE, threshold=0.1, rtol=0.25, eps=0.0)
"""Tolerances at which sums and products of small binary fractions are exact."""


def verdicts(evidence, tolerance=TOLERANCE):
    return [Verdict(list(Verdict)[c]) for c in rules.component_verdicts(evidence, tolerance)]


class TestComponents:
    def test_the_tolerance_is_met_exactly_at_its_edge(self):
        """With rtol 1/4 and a claim of 4, a bar of 1/2 and an error of 3/2 are just allowed."""
        edge = block_evidence([4.0], [2.5], 0.5)
        assert verdicts(edge, COARSE) == [AGREES]
        beyond = block_evidence([4.0], [np.nextafter(2.5, 0.0)], 0.5)
        assert verdicts(beyond, COARSE) == [WRONG]

    def test_the_larger_of_claim_and_measurement_sets_the_tolerance(self):
        for claim, measured in ((3.0, 4.0), (4.0, 3.0)):
            assert verdicts(block_evidence([claim], [measured], 0.0), COARSE) == [AGREES]
        for claim, measured in ((3.0 - 1e-9, 4.0), (4.0, 3.0 - 1e-9)):
            assert verdicts(block_evidence([claim], [measured], 0.0), COARSE) == [WRONG]

    def test_rounding_of_the_largest_entry_is_allowed_everywhere_in_the_block(self):
        rounding = ROUNDING_UNITS * EPS * 1024
        inside = block_evidence([1024.0, 0.0], [1024.0, rounding / 2], 0.0)
        assert verdicts(inside) == [AGREES, AGREES]
        outside = block_evidence([1024.0, 0.0], [1024.0, 2 * rounding], 0.0)
        assert verdicts(outside) == [AGREES, WRONG]

    def test_a_bar_hides_what_it_holds(self):
        assert verdicts(block_evidence([2.0], [1.0], 1.0)) == [AGREES]
        assert verdicts(block_evidence([2.0], [1.0], 0.99)) == [WRONG]

    def test_a_provisional_bar_never_proves_anything(self):
        evidence = block_evidence([2.0, 2.0], [1.0, 1.0], 1e-9, own=[True, False])
        assert verdicts(evidence) == [WRONG, UNDECIDED]
        assert rules.disagreeing(evidence, TOLERANCE).tolist() == [True, True]
        assert rules.wrong_components(evidence, TOLERANCE).tolist() == [True, False]

    @pytest.mark.parametrize(("scale", "verdict"), [(1.0, AGREES), (1e-3, UNDECIDED)])
    def test_steps_that_do_not_agree_decide_where_rounding_does_not(self, scale, verdict):
        """A bias before batch normalisation: the claim and its slopes are 1e-17, beside ones."""
        evidence = block_evidence([-4e-18], [3e-18], 7e-18, kind=UNSETTLED)
        assert verdicts(replace(evidence, elsewhere=scale)) == [verdict]

    @pytest.mark.parametrize(
        ("claim", "measured", "error", "verdict"),
        [
            (NAN, 1.0, 1e-9, WRONG),
            (INF, 1.0, 1e-9, WRONG),
            (-INF, 1.0, 1e-9, WRONG),
            (1.0, NAN, INF, UNDECIDED),
            (1.0, NAN, 1e-9, WRONG),
            (1.0, 1.0, INF, UNDECIDED),
            (1.0, 1.0, NAN, UNDECIDED),
            (NAN, NAN, NAN, UNDECIDED),
            (NAN, 1.0, INF, UNDECIDED),
        ],
    )
    def test_what_is_no_number_never_agrees(self, claim, measured, error, verdict):
        evidence = block_evidence([claim], [measured], error)
        assert rules.disagreeing(evidence, TOLERANCE).tolist() == [True]
        assert verdicts(evidence) == [verdict]
        assert rules.judge([evidence], TOLERANCE)[0] is verdict
        assert rules.judge_block(evidence, TOLERANCE, np.inf).verdict is verdict

    def test_steps_that_do_not_agree_decide_nothing_unless_the_claim_is_outside(self):
        evidence = block_evidence([1.0, 2.0], [1.0, 1.0], 1e-9, kind=UNSETTLED)
        assert verdicts(evidence) == [UNDECIDED, WRONG]

    @pytest.mark.parametrize(
        ("claim", "verdict"), [(-1.0, AGREES), (0.3, AGREES), (1.0, AGREES), (1.1, WRONG)]
    )
    def test_any_subgradient_agrees(self, claim, verdict):
        assert verdicts(block_evidence([claim], [-1.0], 1e-9, upper=[1.0])) == [verdict]

    def test_no_components_have_no_verdicts(self):
        assert verdicts(block_evidence([1.0])) == []


class TestResolution:
    def test_the_worst_component_counts_with_two_bars_and_its_tolerance(self):
        evidence = block_evidence([4.0, 8.0], [4.0, 8.0], [1.0, 0.25])
        # 2 * 1 + 4/4 = 3 and 2 * 1/4 + 8/4 = 5/2
        assert rules.resolution(evidence, COARSE) == 3.0

    @pytest.mark.parametrize("error", [INF, NAN])
    def test_an_unknown_bar_sees_nothing(self, error):
        evidence = block_evidence([4.0, 8.0], [4.0, 8.0], [1.0, error])
        assert rules.resolution(evidence, COARSE) == INF

    def test_nothing_measured_sees_nothing(self):
        assert rules.resolution(block_evidence([4.0]), TOLERANCE) == INF

    def test_directions_alone(self):
        screened = directions([0.0] * 4, [0.5, 0.25, 1.0, 2.0])
        evidence = block_evidence([1.0] * 9, screened=screened)
        assert rules.resolution(evidence, TOLERANCE) == 1.0
        assert rules.resolution(block_evidence([8.0] * 9, screened=screened), COARSE) == 2.0

    def test_joint_directions_count_by_the_block_s_own_weight(self):
        shared = joint_of(directions([0.0] * 4, 0.25), [1.0, 0.5], [1.0, 1.0])
        first = block_evidence([1.0] * 9, joint=shared)
        second = block_evidence([1.0] * 9, joint=shared, number=1)
        assert rules.resolution(first, TOLERANCE) == 1.0
        assert rules.resolution(second, TOLERANCE) == 2.0

    def test_the_coarser_of_components_and_directions(self):
        screened = directions([0.0] * 4, 0.25)
        for error, expected in ((1.0, 3.0), (2.0**-10, 1.0 + 2.0**-9)):
            evidence = block_evidence([4.0] * 9, [4.0], error, screened=screened)
            assert rules.resolution(evidence, COARSE) == expected

    def test_a_spot_check_without_a_bar_leaves_what_directions_saw(self):
        evidence = block_evidence([1.0] * 9, [1.0], INF, screened=directions([0.0] * 4, 0.25))
        assert rules.resolution(evidence, TOLERANCE) == 1.0

    def test_a_block_measured_in_full_needs_no_directions(self):
        evidence = block_evidence([4.0], [4.0], 0.0, screened=directions([0.0] * 4, 9.0))
        assert rules.resolution(evidence, COARSE) == 1.0

    def test_of_all_blocks_the_coarsest_that_was_looked_at(self):
        found = [result(AGREES, 1.0), result(WRONG, 3.0), result(SKIPPED, INF)]
        gradient = np.array([0.0, -2.0, 4.0, 6.0, NAN, INF])
        total = rules.overall_resolution(found, gradient, 0.9)
        assert (total.size, total.probability, total.relative) == (3.0, 0.9, 0.75)
        np.testing.assert_array_equal(gradient, [0.0, -2.0, 4.0, 6.0, NAN, INF])

    def test_of_a_claim_of_zero_has_no_relative_size(self):
        total = rules.overall_resolution([result(AGREES, 1.0)], np.zeros(3), 0.9)
        assert total.size == 1.0
        assert np.isnan(total.relative)

    def test_of_nothing_is_infinite(self):
        assert rules.overall_resolution([result(SKIPPED, 1.0)], np.ones(2), 0.9).size == INF


def result(verdict: Verdict, resolution: float) -> BlockResult:
    known = rules.judge_block(block_evidence([1.0], [1.0]), TOLERANCE)
    return replace(known, verdict=verdict, resolution=resolution)


class TestBlock:
    def test_nothing_measured_is_skipped(self):
        found = rules.judge_block(block_evidence([1.0, 2.0]), TOLERANCE)
        assert (found.verdict, found.checked, found.directions) == (SKIPPED, 0, 0)
        assert (found.wrong, found.worst, found.resolution) == (0, "", INF)

    def test_what_is_stated_of_a_block(self):
        evidence = block_evidence([3.0, 4.0], [3.0, 4.0], 0.0, number=2, start=7, step=1e-4)
        found = rules.judge_block(evidence, TOLERANCE)
        assert (found.name, found.shape, found.size, found.checked) == ("p2", (2,), 2, 2)
        assert (found.norm_grad, found.norm_gradapprox, found.step) == (5.0, 5.0, 1e-4)
        assert (found.relative_difference, found.limit, found.lower) == (0.0, 0.0, 0.0)
        assert found.verdict is AGREES

    @pytest.mark.parametrize(("error", "verdict"), [(0.019, AGREES), (0.021, UNDECIDED)])
    def test_the_limit_of_a_block(self, error, verdict):
        """A bar of e on a claim of 1 leaves R <= e / (2 - e) at most: 0.01 at e = 2/101."""
        assert rules.judge_block(block_evidence([1.0], [1.0], error), TOLERANCE).verdict is verdict

    @pytest.mark.parametrize(
        "located",
        [Located(whole_block=True), Located(regions=(np.array([0, 3, 1, 2, 0, 3]),))],
    )
    def test_what_was_located_is_wrong_and_those_looked_at_are_counted(self, located):
        sharp = directions([0.0] * 4)
        for measured, wrong in (([], 1), ([1.0], 1), ([1.0, 1.0], 2)):
            claim = [2.0] * 9
            evidence = block_evidence(claim, measured, screened=sharp, located=located)
            found = rules.judge_block(evidence, TOLERANCE)
            assert (found.verdict, found.wrong, found.at_least) == (WRONG, wrong, True)

    @pytest.mark.parametrize(
        ("numeric", "screened", "at_least"),
        [([1.0] * 9, False, False), ([1.0] * 3, False, True), ([1.0] * 3, True, False)],
    )
    def test_a_count_is_exact_or_marked(self, numeric, screened, at_least):
        """All measured; some measured; directions that agree through all others."""
        sharp = directions([0.0] * 4) if screened else None
        found = rules.judge_block(block_evidence([2.0] * 9, numeric, screened=sharp), TOLERANCE)
        assert (found.wrong, found.at_least) == (len(numeric), at_least)
        open_ = block_evidence([2.0] * 9, numeric, 1e-9, own=False, screened=sharp)
        assert not rules.judge_block(open_, TOLERANCE).at_least
        mixed = open_.components.has_own_bar.copy()
        mixed[0] = True
        some = replace(open_, components=replace(open_.components, has_own_bar=mixed))
        found = rules.judge_block(some, TOLERANCE)
        assert (found.wrong, found.at_least) == (1, True)
        right = rules.judge_block(block_evidence([1.0] * 9, numeric, screened=sharp), TOLERANCE)
        assert (right.wrong, right.at_least) == (0, False)

    def test_directions_that_nothing_explains_decide_nothing(self):
        sharp = directions([0.0] * 4)
        evidence = block_evidence([1.0] * 9, screened=sharp)
        assert rules.judge_block(evidence, TOLERANCE).verdict is AGREES
        open_ = replace(evidence, located=Located(unexplained=True))
        assert rules.judge_block(open_, TOLERANCE).verdict is UNDECIDED

    @pytest.mark.parametrize("y", [1e-4, NAN])
    def test_shared_directions_that_disagree_decide_nothing(self, y):
        for shown, verdict in ((0.0, AGREES), (y, UNDECIDED)):
            shared = joint_of(directions([0.0, 0.0, 0.0, shown]), [1.0], [3.0])
            evidence = block_evidence([1.0] * 9, joint=shared)
            assert rules.judge_block(evidence, TOLERANCE).verdict is verdict

    def test_only_confirmed_directions_prove_a_block_wrong(self):
        off = directions([9.0, -9.0, 9.0, 9.0])
        evidence = block_evidence([1.0] * 9, screened=off, located=Located(unexplained=True))
        assert rules.judge_block(evidence, TOLERANCE).verdict is UNDECIDED
        sure = replace(evidence, located=Located(unexplained=True, confirmed=True))
        assert rules.judge_block(sure, TOLERANCE).verdict is WRONG

    def test_many_small_errors_prove_a_block_wrong_where_no_component_is(self):
        tolerance = replace(TOLERANCE, rtol=1e-2)
        evidence = block_evidence([1.001] * 9, [1.0] * 9, 1e-9)
        found = rules.judge_block(evidence, tolerance)
        assert (found.verdict, found.wrong) == (WRONG, 0)
        provisional = block_evidence([1.001] * 9, [1.0] * 9, 1e-9, own=False)
        assert rules.judge_block(provisional, tolerance).verdict is AGREES

    def test_the_worst_is_the_furthest_outside_its_bar(self):
        evidence = block_evidence([1.0, 1.0, 1.0], [1.5, 1.4, 1.0], [0.2, 0.01, 3.0], start=5)
        assert rules.judge_block(evidence, TOLERANCE).worst == "p0[1]"

    def test_the_worst_is_one_that_is_wrong_if_any_is(self):
        evidence = block_evidence([1.0, 1.0, 1.0], [9.0, 2.0, 1.0], 0.1, own=[False, True, True])
        assert rules.judge_block(evidence, TOLERANCE).worst == "p0[1]"

    @pytest.mark.parametrize(("measured", "error"), [(NAN, 0.1), (1.0, INF), (NAN, NAN)])
    def test_the_worst_is_what_is_not_known(self, measured, error):
        evidence = block_evidence(
            [1.0, 1.0], [1.5, measured], [0.1, error], index=[1, 0], own=False
        )
        assert rules.judge_block(evidence, TOLERANCE).worst == "p0[0]"


class TestNegligible:
    """Zero to the resolution: the relative difference of a block is 0/0 there."""

    ZERO = block_evidence([0.0, 0.0], [3e-9, 4e-9], 1e-8)
    """Within its bars; the most that it may be off by is 5e-9 + 1e-8 sqrt(2) = 1.92e-8."""

    @pytest.mark.parametrize(
        ("negligible", "verdict"), [(0.0, UNDECIDED), (1.9e-8, UNDECIDED), (1.93e-8, AGREES)]
    )
    def test_neither_claim_nor_error_may_be_larger(self, negligible, verdict):
        found = rules.judge_block(self.ZERO, TOLERANCE, negligible)
        assert (found.verdict, found.limit) == (verdict, 1.0)

    def test_a_claim_above_it_is_not_zero(self):
        evidence = block_evidence([1e-6], [1e-6], 1e-7)
        assert rules.judge_block(evidence, TOLERANCE, 9e-7).verdict is UNDECIDED
        assert rules.judge_block(evidence, TOLERANCE, 1.1e-6).verdict is AGREES

    def test_what_is_confirmed_wrong_stays_wrong(self):
        evidence = block_evidence([1e-9], [2e-9], 1e-12)
        assert rules.judge_block(evidence, TOLERANCE, 1.0).verdict is WRONG

    def test_what_is_in_doubt_stays_in_doubt(self):
        evidence = block_evidence([1e-9], [2e-9], 1e-12, own=False)
        assert rules.judge_block(evidence, TOLERANCE, 1.0).verdict is UNDECIDED

    def test_directions_too(self):
        evidence = block_evidence([0.0] * 9, screened=directions([0.0] * 4, 1e-9))
        assert rules.judge_block(evidence, TOLERANCE, 0.0).verdict is UNDECIDED
        assert rules.judge_block(evidence, TOLERANCE, 1e-7).verdict is AGREES

    @pytest.mark.parametrize(("large", "verdict"), [(1.0, AGREES), (0.1, UNDECIDED)])
    def test_it_is_the_threshold_times_the_whole_claim(self, large, verdict):
        """1.92e-8 is below 1e-7 times a claim of 1, and above 1e-7 times one of 0.1."""
        sharp = block_evidence([large], [large], 0.0, number=1, start=2)
        blocks = rules.judge([self.ZERO, sharp], TOLERANCE)[2]
        assert [b.verdict for b in blocks] == [verdict, AGREES]


class TestJudge:
    GOOD = block_evidence([1.0], [1.0], 1e-12)

    def test_one_wrong_block_makes_all_wrong(self):
        bad = block_evidence([2.0], [1.0], number=1, start=1)
        coarse = block_evidence([1.0], [1.0], 0.5, number=2, start=2)
        verdict, _, blocks = rules.judge([self.GOOD, bad, coarse], TOLERANCE)
        assert verdict is WRONG
        assert [b.verdict for b in blocks] == [AGREES, WRONG, UNDECIDED]

    def test_one_undecided_block_leaves_all_undecided(self):
        """Although it is too small to bring the whole above its threshold."""
        coarse = block_evidence([1e-6], [1e-6], 1e-7, number=1, start=1)
        large = block_evidence([3.0], [3.0], 1e-12)
        tight = replace(TOLERANCE, threshold=1e-7)
        verdict, total, blocks = rules.judge([large, coarse], tight)
        assert total.limit < 1e-7
        assert [b.verdict for b in blocks] == [AGREES, UNDECIDED]
        assert verdict is UNDECIDED

    def test_the_whole_must_be_known_as_well_as_the_threshold(self):
        for error, verdict in ((1.9e-7, AGREES), (2.1e-7, UNDECIDED)):
            found, total, blocks = rules.judge([block_evidence([1.0], [1.0], error)], TOLERANCE)
            assert blocks[0].verdict is AGREES
            assert (found, total.limit <= 1e-7) == (verdict, verdict is AGREES)

    def test_what_was_skipped_says_nothing(self):
        nothing = block_evidence([1.0], number=1, start=1)
        verdict, _, blocks = rules.judge([self.GOOD, nothing], TOLERANCE)
        assert [b.verdict for b in blocks] == [AGREES, SKIPPED]
        assert verdict is AGREES

    def test_nothing_at_all_is_undecided(self):
        assert rules.judge([block_evidence([1.0])], TOLERANCE)[0] is UNDECIDED
        assert rules.judge([], TOLERANCE)[0] is UNDECIDED

    def test_a_cost_and_claim_of_zero_agree(self):
        assert rules.judge([block_evidence([0.0], [0.0], 0.0)], TOLERANCE)[0] is AGREES


def test_a_direction_that_is_no_number_is_not_zero_to_the_resolution() -> None:
    broken = block_evidence([0.0] * 9, screened=directions([0.0, 0.0, 0.0, np.nan]))
    assert rules.judge_block(broken, TOLERANCE, 1e-9).verdict is not Verdict.AGREES
