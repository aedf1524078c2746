"""Halves and decoded entries, by a probe that knows the error vector: y = r . v to rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgradcheck.evaluation.hashing import direction, key
from fastgradcheck.problem.region import entries_of, halves
from fastgradcheck.search.halving import Doubtful, Halves, chance, decode, explaining, size_of

Array = np.ndarray[Any, Any]
SIZE, BAR = 4096, 1e-6
KEYS = np.array([key(3, d) for d in range(4)])
REGION = np.array([0, 64, 0, 64, 0, 64])


class Truth:
    """The errors of some entries, and how many directions were asked."""

    def __init__(self, wrong: dict[int, float], bar: float = BAR) -> None:
        self.error, self.bar, self.asked = np.zeros(SIZE), bar, 0
        self.error[list(wrong)] = list(wrong.values())

    def probe(self, regions: Array, keys: Array) -> tuple[Array, Array]:
        self.asked += len(keys)
        y = []
        for region, word in zip(regions, keys, strict=True):
            index = np.concatenate(list(entries_of(region)))
            y.append(direction(word, index) @ self.error[index])
        return np.array(y), np.full(len(keys), self.bar)

    def doubtful(self) -> Doubtful:
        y, error = self.probe(np.repeat(REGION[np.newaxis], len(KEYS), axis=0), KEYS)
        self.asked = 0
        return Doubtful(REGION, KEYS, y, error)


def never(doubtful: Doubtful, index: Array) -> bool:
    return False


@pytest.mark.parametrize("place", [0, 1000, SIZE - 1])
def test_a_single_entry_is_decoded_with_its_size(place: int) -> None:
    truth = Truth({place: 0.01})
    index, doubtful = explaining(truth.doubtful(), truth.probe, never)
    assert index.tolist() == [place]
    size, bar = size_of(doubtful, place)
    assert abs(size - 0.01) <= bar <= 2 * BAR / 0.5
    assert not truth.asked


def test_entries_that_were_not_moved_explain_nothing() -> None:
    scale = np.full(SIZE, 2.0)
    scale[1000] = 0.0
    doubtful = Truth({1000: 0.01}).doubtful()
    assert len(decode(doubtful, 10, scale)) == 0
    scale[1000] = 2.0
    assert decode(doubtful, 10, scale).tolist() == [1000]
    assert size_of(doubtful, 1000, scale)[0] == pytest.approx(0.005)


def test_several_entries_are_told_apart_by_more_directions() -> None:
    # Of 4,096 entries some explain four numbers that are known to one part in ten.
    truth = Truth({1000: 0.01}, bar=1e-3)
    whole = truth.doubtful()
    first = decode(whole, SIZE)
    assert len(first) > 1
    assert chance(whole) > 1
    index, doubtful = explaining(whole, truth.probe, lambda _, index: len(index) > 1)
    assert truth.asked == len(doubtful.keys) - len(KEYS) > 0
    assert 1000 in index
    assert len(index) < len(first)
    # The first of them is the same whoever asks, so that a check can be repeated.
    assert doubtful.keys[4] == key(int(KEYS[0]), 1000)


@pytest.mark.parametrize(("place", "half"), [(5, 0), (SIZE - 5, 1)])
def test_one_direction_tells_which_half_holds_all(place: int, half: int) -> None:
    truth = Truth({place: 0.01, place + 1: -0.02})
    whole = truth.doubtful()
    asked = Halves.asked(whole, halves(REGION, 0), truth.probe, 0)
    assert asked.one_holds_all
    parts = asked.parts(truth.probe)
    assert truth.asked == 1
    assert [part.fails for part in parts] == [half == 0, half == 1]
    there = parts[half]
    assert np.array_equal(there.y, whole.y)
    assert np.array_equal(there.region, halves(REGION, 0)[half])
    assert there.axis == 0


def test_where_both_hold_some_the_other_half_has_the_difference() -> None:
    wrong = {5: 0.01, SIZE - 5: -0.02}
    truth = Truth(wrong)
    asked = Halves.asked(truth.doubtful(), halves(REGION, 0), truth.probe, 0)
    assert not asked.one_holds_all
    parts = asked.parts(truth.probe)
    assert truth.asked == len(KEYS)
    for part, (place, size) in zip(parts, wrong.items(), strict=True):
        assert part.axis is None
        assert decode(part, 10).tolist() == [place]
        found, bar = size_of(part, place)
        assert abs(found - size) <= bar


def test_directions_turn_together() -> None:
    whole = Truth({7: 1.0}).doubtful()
    turned = whole.turned()
    assert turned.keys.tolist() == [*KEYS[1:].tolist(), int(KEYS[0])]
    assert decode(turned, 10).tolist() == [7]
