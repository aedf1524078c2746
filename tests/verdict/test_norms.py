"""Norms and their limits, against exact fractions and NumPy."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from fastgradcheck.differences.evidence import Located
from fastgradcheck.differences.screen import BEYOND_DOUBT, HIDDEN_BELOW
from fastgradcheck.evaluation.hashing import direction
from fastgradcheck.problem.norm import norm
from fastgradcheck.verdict.norms import Norms, norms, overall
from tests.cases.evidence import TOLERANCE, block_evidence, directions, joint_of

NAN, INF = np.nan, np.inf


def stated(grad, approx, difference, upper, lower=0.0) -> Norms:
    return Norms(*(float(x) for x in (grad, approx, difference, upper, lower)))


class TestRelative:
    def test_against_fractions(self):
        for grad, approx, difference in product((1, 3, 7), (1, 2, 5), (0, 1, 3)):
            expected = min(Fraction(difference, grad + approx), Fraction(1))
            found = stated(grad, approx, difference, difference).relative
            assert found == pytest.approx(float(expected), rel=1e-15)

    def test_of_zeros_is_zero(self):
        assert stated(0, 0, 0, 0).relative == 0.0

    @pytest.mark.parametrize("place", range(3))
    def test_what_is_no_number_is_not_compared(self, place):
        values = [1.0, 1.0, 0.0]
        values[place] = NAN
        assert np.isnan(stated(*values, 0.0).relative)

    def test_rounding_does_not_take_it_above_one(self):
        assert stated(1.0, 0.0, np.nextafter(1.0, 2.0), 2.0).relative == 1.0


class TestLimit:
    def test_no_claim_within_the_bar_is_further_off(self):
        """The numeric norm may be any within the bar, and the difference any up to `upper`."""
        rng = np.random.default_rng(0)
        for _ in range(200):
            claim, measured = rng.normal(size=(2, 3))
            bars = 10 ** rng.uniform(-3, 0.5) * rng.uniform(size=3)
            difference = np.linalg.norm(claim - measured)
            own = stated(
                np.linalg.norm(claim),
                np.linalg.norm(measured),
                difference,
                difference + np.linalg.norm(bars),
            )
            true = measured + rng.uniform(-1, 1, size=(50, 3)) * bars
            apart = np.linalg.norm(claim - true, axis=1)
            worst = np.max(apart / (np.linalg.norm(claim) + np.linalg.norm(true, axis=1)))
            assert worst <= own.limit <= 1.0

    def test_against_fractions(self):
        # At most 3/8 apart, of 2 + (2 - 1/8) at least.
        expected = Fraction(3, 8) / (2 + 2 - Fraction(1, 8))
        assert stated(2, 2, 0.25, 0.375).limit == float(expected)

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ((0, 0, 0, 0), 0.0),
            ((5, 5, 0, 0), 0.0),
            ((0, 0, 0, 1), 1.0),
            ((0, 1, 1, 3), 1.0),
            ((1, 1, 0, INF), 1.0),
            ((1, 0, 1, 9), 1.0),
        ],
    )
    def test_not_knowing_is_one(self, values, expected):
        assert stated(*values).limit == expected

    @pytest.mark.parametrize("values", [(NAN, 1, 0, 1), (1, 1, NAN, NAN), (1, NAN, NAN, NAN)])
    def test_what_is_no_number_is_below_no_threshold(self, values):
        assert np.isnan(stated(*values).limit)


class TestProven:
    def test_against_fractions(self):
        # At least 1/4, of at most 2 + 3 + (7/8 - 1/2).
        expected = Fraction(1, 4) / (5 + Fraction(3, 8))
        assert stated(2, 3, 0.5, 0.875, 0.25).proven == float(expected)

    @pytest.mark.parametrize(
        "values", [(0, 0, 0, 0), (1, 1, 0.5, INF), (1, NAN, NAN, NAN), (INF, 1, 0.5, 1)]
    )
    def test_nothing_is_proven_of_what_is_not_known(self, values):
        assert stated(*values, 0.0).proven == 0.0

    def test_it_never_exceeds_the_limit(self):
        rng = np.random.default_rng(1)
        for _ in range(200):
            claim, measured = rng.normal(size=(2, 4))
            bars = 10 ** rng.uniform(-6, 0, size=4)
            own = norms(block_evidence(claim, measured, bars), TOLERANCE)
            assert own.proven <= own.relative <= own.limit


def test_blocks_together_are_one_vector():
    parts = [stated(3, 5, 8, 20, 0), stated(4, 12, 15, 21, 2)]
    assert Norms.together(parts) == stated(5, 13, 17, 29, 2)


def test_no_blocks_are_zero():
    assert Norms.together([]) == stated(0, 0, 0, 0)


class TestOfComponents:
    def test_against_numpy(self):
        rng = np.random.default_rng(2)
        claim, measured, bars = rng.normal(size=(3, 6))
        bars = np.abs(bars) * 1e-3
        own = norms(block_evidence(claim, measured, bars), TOLERANCE)
        apart = np.linalg.norm(claim - measured)
        known = [
            np.linalg.norm(claim),
            np.linalg.norm(measured),
            apart,
            apart + np.linalg.norm(bars),
            np.linalg.norm(np.abs(claim - measured) - bars),
        ]
        found = [own.grad, own.gradapprox, own.difference, own.upper, own.lower]
        np.testing.assert_allclose(found, known, rtol=1e-14)

    def test_two_exact_zeros_have_no_bar(self):
        own = norms(block_evidence([0.0, 1.0], [0.0, 1.0], [0.5, 0.25]), TOLERANCE)
        assert own.upper == 0.25

    def test_only_measured_components_count(self):
        own = norms(block_evidence([3.0, 4.0, 100.0], [3.0, 4.0]), TOLERANCE)
        assert (own.grad, own.gradapprox) == (5.0, 5.0)

    @pytest.mark.parametrize(("bars", "lower"), [(0.99, 3.0 - 0.99), (1.0, 0.0), (1.01, 0.0)])
    def test_only_what_is_three_bars_large_proves_anything(self, bars, lower):
        assert BEYOND_DOUBT == 3.0
        assert norms(block_evidence([4.0], [1.0], bars), TOLERANCE).lower == lower

    def test_a_provisional_bar_proves_nothing(self):
        own = norms(block_evidence([2.0], [1.0], own=False), TOLERANCE)
        assert (own.difference, own.lower) == (1.0, 0.0)

    def test_rounding_proves_nothing(self):
        eight = 8 * 2.0**-52
        for units, lower in ((1.0, 0.0), (2.0, 2 * eight)):
            measured = [1.0, units * eight]
            own = norms(block_evidence([1.0, 0.0], measured, 0.0), TOLERANCE)
            assert own.lower == lower

    def test_an_unknown_bar_leaves_no_limit(self):
        own = norms(block_evidence([1.0, 1.0], [1.0, NAN], [0.0, INF]), TOLERANCE)
        assert np.isnan(own.limit)
        assert own.proven == 0.0


SHARP = directions([1e-9, -2e-9, 0.0, 2e-9], 1e-9)
ESTIMATE = 3e-9 / np.sqrt(4 * 13 / 12)
"""sqrt(1 + 4 + 4) over sqrt(m c), c being E v_i^2 of U[1/2, 3/2)."""


class TestOfDirections:
    def test_they_count_where_components_do_not_cover_the_block(self):
        evidence = block_evidence([3.0, 4.0, 12.0], [3.0], 1e-3, screened=SHARP)
        own = norms(evidence, TOLERANCE)
        estimate = float(np.linalg.norm(SHARP.y) / np.sqrt(4 * 13 / 12))
        hidden = 0.01 ** (1 / 4) / np.sqrt(2)
        assert (own.grad, own.gradapprox) == (13.0, 13.0)
        assert own.difference == pytest.approx(estimate, rel=1e-14)
        assert own.upper == pytest.approx(3e-9 / hidden, rel=1e-14)
        assert own.lower == 0.0

    def test_components_count_where_they_cover_it(self):
        shared = joint_of(SHARP, [1.0], [5.0])
        for known in ({"screened": SHARP}, {"joint": shared}):
            own = norms(block_evidence([3.0, 4.0], [3.0, 4.0], 0.0, **known), TOLERANCE)
            assert own.upper == 0.0

    def test_they_prove_what_differences_of_entries_confirmed(self):
        off = directions([1.0, -3.0, 2.0, 2.0], 0.5)
        evidence = block_evidence([3.0, 4.0], screened=off)
        assert norms(evidence, TOLERANCE).lower == 0.0
        sure = replace(evidence, located=Located(confirmed=True))
        expected = (3.0 - 0.5) / HIDDEN_BELOW
        assert norms(sure, TOLERANCE).lower == pytest.approx(expected, rel=1e-14)

    def test_the_numeric_norm_is_no_smaller_than_the_error(self):
        own = norms(block_evidence([0.0] * 3, screened=directions([4.0] * 4, 0.0)), TOLERANCE)
        assert own.gradapprox == own.difference > 0.0


class TestShared:
    """Joint directions: y belongs to the claims times their weights."""

    SHARED = joint_of(SHARP, [1.0, 0.5, 0.25], [3.0, 2.0, 3.0])
    CLAIMS = ([3.0, 0.0], [0.0, 4.0], [12.0, 0.0])

    def blocks(self, **known):
        return [
            block_evidence(claim, number=b, start=2 * b, **known)
            for b, claim in enumerate(self.CLAIMS)
        ]

    def test_one_block(self):
        upper = SHARP.upper
        for b, own in enumerate(self.blocks(joint=self.SHARED)):
            found = norms(own, TOLERANCE)
            claim = (3.0, 4.0, 12.0)[b]
            assert found.grad == claim
            assert found.upper == pytest.approx(upper / (1.0, 0.5, 0.25)[b], rel=1e-14)
            share = ESTIMATE / np.sqrt(9 + 4 + 9)
            assert found.difference == pytest.approx(share * claim, rel=1e-14)

    def test_all_blocks_share_one_limit_of_the_smallest_weight(self):
        total = overall(self.blocks(joint=self.SHARED), TOLERANCE)
        assert total.grad == 13.0
        assert total.upper == pytest.approx(SHARP.upper / 0.25, rel=1e-14)
        assert total.difference == pytest.approx(13 * ESTIMATE / np.sqrt(22), rel=1e-14)

    def test_blocks_with_their_own_directions_are_added_up(self):
        total = overall(self.blocks(screened=SHARP), TOLERANCE)
        assert total.upper == pytest.approx(np.sqrt(3) * SHARP.upper, rel=1e-14)
        assert total.difference == pytest.approx(np.sqrt(3) * ESTIMATE, rel=1e-14)

    def test_sets_of_joint_directions_are_added_up(self):
        first = joint_of(SHARP, [1.0, 1.0, 0.0], [3.0, 4.0, 0.0])
        second = joint_of(SHARP, [0.0, 0.0, 1.0], [0.0, 0.0, 12.0])
        blocks = self.blocks()
        mixed = [replace(b, joint=j) for b, j in zip(blocks, (first, first, second), strict=True)]
        total = overall(mixed, TOLERANCE)
        assert total.upper == pytest.approx(np.sqrt(2) * SHARP.upper, rel=1e-14)

    def test_shared_own_and_measured_blocks(self):
        shared = joint_of(SHARP, [1.0, 1.0, 0.0, 0.0], [3.0, 4.0, 0.0, 0.0])
        first, second, third = self.blocks()
        full = block_evidence([8.0], [8.0], 2e-8, number=3, start=6)
        total = overall(
            [
                replace(first, joint=shared),
                replace(second, joint=shared),
                replace(third, screened=SHARP),
                full,
            ],
            TOLERANCE,
        )
        assert total.grad == np.sqrt(9 + 16 + 144 + 64)
        assert total.upper == pytest.approx(np.hypot(np.sqrt(2) * SHARP.upper, 2e-8), rel=1e-14)

    def test_a_block_measured_in_full_does_not_widen_the_shared_limit(self):
        """Its weight is the smallest, but its own components tell more."""
        first, second, _ = self.blocks(joint=self.SHARED)
        full = block_evidence([12.0, 0.0], [12.0, 0.0], 0.0, number=2, joint=self.SHARED)
        total = overall([first, second, full], TOLERANCE)
        assert total.upper == pytest.approx(SHARP.upper / 0.5, rel=1e-14)

    def test_what_was_repaired_is_found_wrong_besides(self):
        shared = joint_of(SHARP, [1.0, 1.0], [5.0, 1.0], {1: 0.5, 2: 1.0})
        first = block_evidence([3.0, 4.0, 0.0], [3.5, 1.0], 1e-3, joint=shared)
        own = norms(first, TOLERANCE)
        assert own.lower == 3.0 - 1e-3
        assert own.upper == pytest.approx(SHARP.upper + 3.0 + 1e-3, rel=1e-12)
        assert own.difference == pytest.approx(3.0, rel=1e-12)

    def test_claims_of_zero(self):
        shared = joint_of(SHARP, [1.0], [0.0])
        own = norms(block_evidence([0.0, 0.0], joint=shared), TOLERANCE)
        assert (own.grad, own.gradapprox, own.difference) == (0.0, 0.0, 0.0)
        assert own.limit == 1.0

    def test_what_is_no_number_leaves_no_limit(self):
        shared = joint_of(directions([0.0, NAN, 0.0, 0.0]), [1.0, 1.0, 1.0], [3.0, 4.0, 12.0])
        assert np.isnan(overall(self.blocks(joint=shared), TOLERANCE).limit)


class TestEstimated:
    """What directions say of norms: against those of vectors that are known."""

    def drawn(self, claim, truth, rng, count=4):
        keys = rng.integers(0, 2**63, count).astype(np.uint64)
        v = np.stack([direction(key, np.arange(len(claim))) for key in keys])
        measured = directions(v @ (claim - truth), 0.0)
        with np.errstate(over="ignore"):
            own = block_evidence(claim, screened=replace(measured, keys=keys, claimed=v @ claim))
        return norms(replace(own, size=norm(claim)), TOLERANCE)

    @pytest.mark.parametrize("n", [2, 5, 40, 3000])
    @pytest.mark.parametrize("factor", [2.0, 1 / 2, -1.0, 256.0, 1 / 256, 1.01, 1e6])
    @pytest.mark.parametrize("scale", [1.0, 1e-200, 1e200])
    def test_a_factor_is_seen_whatever_the_directions(self, n, factor, scale):
        rng = np.random.default_rng(n)
        truth = scale * rng.normal(size=n)
        for _ in range(5):
            own = self.drawn(factor * truth, truth, rng)
            assert own.relative == pytest.approx(abs(factor - 1) / (abs(factor) + 1), rel=1e-6)
            assert own.gradapprox == pytest.approx(norm(truth), rel=1e-6)

    def test_a_claim_of_zeros_is_off_by_all(self):
        rng = np.random.default_rng(3)
        own = self.drawn(np.zeros(50), rng.normal(size=50), rng)
        assert own.relative == 1.0
        assert own.gradapprox == own.difference > 0

    @pytest.mark.parametrize("n", [5, 40, 400])
    @pytest.mark.parametrize(
        "fault",
        [
            lambda g, noise: g - noise,
            lambda g, noise: 0.5 * g + 0.05 * noise,
            lambda g, noise: np.where(np.arange(len(g)) == 0, 0.0, g),
            lambda g, noise: np.where(np.arange(len(g)) % 2, g, g / 2),
            lambda g, noise: g + 100 * noise,
        ],
        ids=["unrelated", "a factor and noise", "one entry", "half of them", "a tiny claim"],
    )
    def test_squares_are_unbiased(self, n, fault):
        """The mean of 400 squares that deviate by sqrt(2 / 4) is off by 0.035: by 4 of these.

        The root of such a square is too small by 1/16 (half of its variance, over 4).
        """
        rng = np.random.default_rng(n)
        seen, true, relative = [], [], []
        for _ in range(400):
            claim = rng.normal(size=n)
            truth = fault(claim, rng.normal(size=n))
            own = self.drawn(claim, truth, rng)
            seen.append((own.difference**2, own.gradapprox**2))
            true.append((norm(claim - truth) ** 2, norm(truth) ** 2))
            relative.append(own.relative - norm(claim - truth) / (norm(claim) + norm(truth)))
        assert np.mean(seen, axis=0) == pytest.approx(np.mean(true, axis=0), rel=0.14)
        assert abs(np.mean(relative)) < 1 / 16

    def test_a_right_gradient_has_the_norm_of_its_claim(self):
        rng = np.random.default_rng(4)
        claim = rng.normal(size=300)
        own = self.drawn(claim, claim * (1 + 1e-9 * rng.normal(size=300)), rng)
        assert own.gradapprox != own.grad
        assert own.gradapprox == pytest.approx(own.grad, rel=1e-8)
        assert own.relative < 1e-8

    def test_the_estimate_keeps_within_the_limit(self):
        rng = np.random.default_rng(5)
        for _ in range(200):
            claim = rng.normal(size=30)
            own = self.drawn(claim, claim - rng.normal(size=30), rng)
            assert own.difference <= own.upper

    def test_blocks_that_share_directions_share_a_factor(self):
        rng = np.random.default_rng(6)
        truth = rng.normal(size=(3, 2))
        weights = np.array([1.0, 0.5, 0.25])
        v = rng.uniform(0.5, 1.5, (4, 3, 2)) * rng.choice([-1, 1], (4, 3, 2))
        claimed = np.einsum("kbi,b,bi->k", v, weights, 2 * truth)
        measured = replace(directions(claimed / 2, 0.0), claimed=claimed)
        shared = joint_of(measured, weights, weights * np.linalg.norm(2 * truth, axis=1))
        blocks = [
            block_evidence(2 * part, number=b, start=2 * b, joint=shared)
            for b, part in enumerate(truth)
        ]
        for own in (*(norms(block, TOLERANCE) for block in blocks), overall(blocks, TOLERANCE)):
            assert own.relative == pytest.approx(1 / 3, rel=1e-12)
            assert own.gradapprox == pytest.approx(own.grad / 2, rel=1e-12)
