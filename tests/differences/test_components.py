"""Components are sorted by index, and the newest of each counts."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from fastgradcheck.differences.components import (
    EMPTY,
    of_decoded,
    of_differences,
    of_five_points,
    of_sweeps,
)
from fastgradcheck.differences.plateau import DECODED, FIVE_POINT, KINK_HERE, KINK_RIGHT, SMOOTH
from tests.cases.evidence import step_sweep

NAN, INF = np.nan, np.inf


def differences(index, slopes, bars=1.0):
    index = np.array(index, np.int64)
    return of_differences(index, np.array(slopes, float), np.full(len(index), bars))


class TestOfDifferences:
    def test_they_are_sorted_and_provisional(self):
        own = of_differences(np.array([5, 2]), np.array([50.0, 20.0]), np.array([0.5, 0.2]))
        assert own.index.tolist() == [2, 5]
        assert own.lower.tolist() == own.upper.tolist() == [20.0, 50.0]
        assert own.error.tolist() == [0.2, 0.5]
        assert own.has_own_bar.tolist() == [False, False]
        assert own.kind.tolist() == [SMOOTH, SMOOTH]

    def test_what_is_no_number_has_no_bar(self):
        own = differences([0, 1, 2], [NAN, INF, 1.0])
        assert own.error.tolist() == [INF, INF, 1.0]

    def test_two_steps_and_decoded_entries(self):
        index, slopes, bars = np.array([3, 1]), np.array([3.0, 1.0]), np.array([0.3, 0.1])
        five = of_five_points(index, slopes, bars)
        decoded = of_decoded(index, slopes, bars)
        assert five.kind.tolist() == [FIVE_POINT] * 2
        assert decoded.kind.tolist() == [DECODED] * 2
        assert (five.has_own_bar.any(), decoded.has_own_bar.all()) == (False, True)
        for own in (five, decoded):
            assert (own.index.tolist(), own.lower.tolist()) == ([1, 3], [1.0, 3.0])
            assert own.error.tolist() == [0.1, 0.3]


class TestOfSweeps:
    def test_only_theta_on_a_kink_leaves_two_slopes(self):
        known = {"lower": -1.0, "upper": 1.0}
        sweeps = [
            step_sweep([1.0] * 5, 1.0, 0.1, index=9, kind=KINK_RIGHT, **known),
            step_sweep([0.5] * 5, 0.5, 0.2, index=4, kind=KINK_HERE, **known),
        ]
        own = of_sweeps(iter(sweeps))
        assert own.index.tolist() == [4, 9]
        assert (own.lower.tolist(), own.upper.tolist()) == ([-1.0, 1.0], [1.0, 1.0])
        assert own.error.tolist() == [0.2, 0.1]
        assert own.kind.tolist() == [KINK_HERE, KINK_RIGHT]
        assert own.has_own_bar.all()

    def test_none_are_empty(self):
        assert len(EMPTY) == 0
        kinds = {field.name: getattr(EMPTY, field.name).dtype for field in fields(EMPTY)}
        assert kinds == {
            "index": np.int64,
            "lower": np.float64,
            "upper": np.float64,
            "error": np.float64,
            "has_own_bar": np.bool_,
            "kind": np.uint8,
        }


class TestJoined:
    def test_the_newer_counts_in_every_column(self):
        old, new = differences([0, 2, 4], [1.0, 2.0, 3.0]), differences([4, 1], [9.0, 8.0], 0.5)
        new = replace(new, upper=new.upper + 1, has_own_bar=np.ones(2, bool), kind=new.kind + 6)
        both = old.joined(new)
        assert both.index.tolist() == [0, 1, 2, 4]
        assert both.lower.tolist() == [1.0, 8.0, 2.0, 9.0]
        assert both.upper.tolist() == [1.0, 9.0, 2.0, 10.0]
        assert both.error.tolist() == [1.0, 0.5, 1.0, 0.5]
        assert both.has_own_bar.tolist() == [False, True, False, True]
        assert both.kind.tolist() == [SMOOTH, FIVE_POINT, SMOOTH, FIVE_POINT]

    def test_neither_is_changed(self):
        old, new = differences([0, 2], [1.0, 2.0]), differences([2, 3], [9.0, 8.0])
        old.joined(new).lower[:] = 7.0
        assert (old.index.tolist(), old.lower.tolist()) == ([0, 2], [1.0, 2.0])
        assert (new.index.tolist(), new.lower.tolist()) == ([2, 3], [9.0, 8.0])

    def test_against_a_dictionary(self):
        rng = np.random.default_rng(0)
        own, known = EMPTY, {}
        for _ in range(30):
            index = rng.choice(40, size=rng.integers(0, 12), replace=False)
            slopes = rng.normal(size=len(index))
            own = own.joined(differences(index, slopes))
            known |= dict(zip(index.tolist(), slopes.tolist(), strict=True))
        assert own.index.tolist() == sorted(known)
        assert own.lower.tolist() == [known[i] for i in sorted(known)]

    @pytest.mark.parametrize("swapped", [False, True])
    def test_with_nothing(self, swapped):
        own = differences([3, 1], [3.0, 1.0])
        both = EMPTY.joined(own) if swapped else own.joined(EMPTY)
        assert (both.index.tolist(), both.lower.tolist()) == ([1, 3], [1.0, 3.0])


class TestParts:
    OWN = differences([1, 4, 6, 9], [1.0, 4.0, 6.0, 9.0])

    def test_rows(self):
        part = self.OWN.take(np.array([3, 0]))
        for field in fields(part):
            expected = getattr(self.OWN, field.name)[[3, 0]]
            np.testing.assert_array_equal(getattr(part, field.name), expected)
