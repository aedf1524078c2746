"""Group testing, with fake probes that know the error vector: no derivatives, no cost."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgradcheck.evaluation.hashing import direction, key
from fastgradcheck.problem.blocks import Block
from fastgradcheck.problem.region import (
    entries_of,
    named,
)
from fastgradcheck.search.locate import CAP, SAMPLED, Found, locate
from tests.cases.sets import block_of, shapes

Array = np.ndarray[Any, Any]
DIRECTIONS = 4


def whole(block: Block) -> Array:
    return np.array([block.start, block.columns, 0, block.rows, 0, block.columns])


class Truth:
    """A known error vector, measured as `locate` asks, with errors of any size up to the bars."""

    def __init__(
        self,
        block: Block,
        wrong: dict[int, float],
        bar: float = 1e-9,
        noise: float = 0.0,
        seed: int = 0,
        sharp: float = 1.0,
    ) -> None:
        self.block, self.bar, self.noise, self.sharp = block, bar, noise, sharp
        self.error = np.zeros(block.stop)
        for place, size in wrong.items():
            self.error[block.start + place] = size
        self.rng = np.random.default_rng(seed)
        self.probes = self.looks = 0
        self.seen: set[int] = set()

    def measured(self, exact: Array, factor: float = 1.0) -> tuple[Array, Array]:
        bars = np.full(len(exact), factor * self.bar)
        return exact + self.noise * bars * self.rng.uniform(-1, 1, len(exact)), bars

    def probe(self, regions: Array, keys: Array) -> tuple[Array, Array]:
        self.probes += len(keys)
        exact = []
        for region, word in zip(regions, keys, strict=True):
            assert region[3] > region[2]
            assert region[5] > region[4]
            index = np.concatenate(list(entries_of(region)))
            exact.append(direction(word, index) @ self.error[index])
        return self.measured(np.array(exact))

    def look(self, index: Array) -> tuple[Array, Array, Array]:
        self.looks += len(index)
        self.seen |= set(index.tolist())
        y, bars = self.measured(self.error[index], self.sharp)
        return y, bars, np.abs(y) > bars

    def located(self, seed: int = 0, cap: int = CAP) -> Found:
        keys = np.array([key(seed, d) for d in range(DIRECTIONS)])
        region = whole(self.block)
        y, bars = self.probe(np.repeat(region[np.newaxis], DIRECTIONS, axis=0), keys)
        return locate(region, keys, y, bars, self.probe, self.look, seed, cap)


def addressed(found: Found) -> set[int]:
    """Every entry that is called wrong, by itself or in a line."""
    lines = [np.concatenate(list(entries_of(region))).tolist() for region in found.regions]
    return set(found.entries).union(*lines)


def spread(draw: Any, size: int, most: int) -> dict[int, float]:
    places = draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=min(most, size)))
    sizes = st.floats(1e-3, 1e3).flatmap(lambda x: st.sampled_from([x, -x]))
    return {place: draw(sizes) for place in sorted(places)}


@settings(max_examples=100, deadline=None)
@given(shape=shapes, start=st.sampled_from([0, 7]), data=st.data(), seed=st.integers(0, 2**32))
def test_up_to_eight_wrong_entries_are_found_and_nothing_else(
    shape: tuple[int, ...], start: int, data: Any, seed: int
) -> None:
    block = block_of(*shape, start=start)
    wrong = spread(data.draw, block.size, 8)
    truth = Truth(block, wrong, noise=1.0, seed=seed)
    found = truth.located(seed)
    assert addressed(found) == {block.start + place for place in wrong}
    assert found.complete
    # A wrong entry costs two probes and a whole measurement a level, and the looks at the end.
    levels = np.log2(block.rows) + np.log2(block.columns) + 2
    assert truth.probes <= DIRECTIONS + len(wrong) * (levels * (2 + DIRECTIONS) + 8)


def test_an_entry_that_only_a_size_at_the_edge_of_the_bars_explains_is_found():
    # Least squares puts one of the four residuals beyond its bar here, though the truth does not.
    truth = Truth(block_of(2), {0: 1.0}, noise=1.0, seed=22826)
    assert addressed(truth.located(22826)) == {0}


@settings(max_examples=60, deadline=None)
@given(shape=shapes, data=st.data(), seed=st.integers(0, 2**32))
def test_noise_up_to_the_bars_never_makes_a_false_address(
    shape: tuple[int, ...], data: Any, seed: int
) -> None:
    """Errors near the bars may be missed, and then it says so; what is named is wrong."""
    block = block_of(*shape)
    places = data.draw(st.sets(st.integers(0, block.size - 1), min_size=1, max_size=8))
    wrong = {place: data.draw(st.floats(0.5, 20.0)) for place in places}
    truth = Truth(block, wrong, bar=1.0, noise=1.0, seed=seed)
    found = truth.located(seed)
    assert addressed(found) <= set(wrong)


@settings(max_examples=40, deadline=None)
@given(shape=shapes, seed=st.integers(0, 2**32))
def test_a_correct_block_that_is_searched_anyway_names_nothing(
    shape: tuple[int, ...], seed: int
) -> None:
    truth = Truth(block_of(*shape), {}, bar=1.0, noise=1.0, seed=seed)
    found = truth.located(seed)
    assert found.entries == ()
    assert found.regions == ()
    assert found.complete


def test_one_entry_costs_no_probe_at_all() -> None:
    truth = Truth(block_of(784, 1000), {123_456: 1.0})
    found = truth.located()
    assert found == Found((123_456,), (), True) or found.entries == (123_456,)
    assert truth.probes == DIRECTIONS
    assert truth.looks <= 4


def test_twenty_entries_among_many() -> None:
    rng = np.random.default_rng(3)
    places = rng.choice(200 * 300, 20, replace=False)
    truth = Truth(block_of(200, 300), {int(p): float(rng.normal()) for p in places}, noise=1.0)
    found = truth.located()
    assert set(found.entries) == set(places.tolist())
    assert found.complete
    assert truth.probes < 250


def lines_of(block: Block, regions: Iterable[Array]) -> list[str]:
    return [named(block, region) for region in regions]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("shape", "where", "name"),
    [
        ((40, 60), np.s_[7, :], "W[7, :]"),
        ((40, 60), np.s_[:, 59], "W[:, 59]"),
        ((40, 60), np.s_[0, :], "W[0, :]"),
        ((5, 17), np.s_[:, 3], "W[:, 3]"),
        ((40, 60), np.s_[:, :], "W"),
        ((33,), np.s_[:], "W"),
        ((3, 4, 5), np.s_[2], "W[2, ...]"),
        ((3, 4, 5), np.s_[:, 1, 2], "W[:, 1, 2]"),
    ],
)
def test_a_line_or_a_block_is_named_as_such_and_nothing_else_is(
    shape: tuple[int, ...], where: Any, name: str, seed: int
) -> None:
    block = block_of(*shape)
    error = np.zeros(shape)
    error[where] = np.random.default_rng(seed).uniform(0.5, 2.0, error[where].shape)
    truth = Truth(block, dict(enumerate(error.ravel())), noise=1.0, seed=seed)
    found = truth.located(seed)
    assert lines_of(block, found.regions) == [name]
    assert found.entries == ()
    assert found.complete
    assert truth.looks <= 4 * SAMPLED


@pytest.mark.parametrize("seed", range(10))
def test_a_row_and_an_entry_elsewhere_are_told_apart(seed: int) -> None:
    block, error = block_of(30, 50), np.zeros((30, 50))
    rng = np.random.default_rng(seed)
    error[4] = rng.normal(size=50)
    error[20, 30] = 0.7
    truth = Truth(block, dict(enumerate(error.ravel())), noise=1.0, seed=seed)
    found = truth.located(seed)
    assert addressed(found) == set(np.flatnonzero(error).tolist())
    assert found.complete


@pytest.mark.parametrize("seed", range(20))
def test_a_line_with_one_right_entry_is_not_called_wrong_as_a_whole(seed: int) -> None:
    """Nine entries, eight of them wrong: those sampled alone would say yes one time in nine."""
    wrong = {place: 1.0 + place for place in range(9) if place != seed % 9}
    found = Truth(block_of(9), wrong, seed=seed).located(seed)
    assert addressed(found) == set(wrong)


def test_a_small_error_beside_large_ones_is_found_in_a_later_round() -> None:
    """While the large ones are in, bars that grow on the way down hide it."""
    missed = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        places = rng.choice(64 * 64, 20, replace=False)
        wrong = {int(p): 1e4 for p in places[:16]} | {int(p): 5.0 for p in places[16:]}
        truth = Truth(block_of(64, 64), wrong, bar=1.0, noise=1.0, seed=seed, sharp=1e-3)
        found = truth.located(seed)
        assert set(found.entries) <= set(wrong)
        missed += set(found.entries) != set(wrong) and found.complete
    # All four would have to lie within what four directions' bars may hide.
    assert missed <= 4


def test_errors_that_cancel_along_the_leading_direction_are_found() -> None:
    block, keys = block_of(16, 16), np.array([key(0, d) for d in range(DIRECTIONS)])
    v = direction(keys[0], np.arange(256))
    # The pair cancels exactly in the halves that the first direction is looked at in.
    wrong = {3: 1.0, 5: -v[3] / v[5], 200: 2.0}
    found = Truth(block, wrong).located(0)
    assert set(found.entries) == set(wrong)
    assert found.complete


def test_the_cap_ends_the_search_and_says_so() -> None:
    rng = np.random.default_rng(0)
    wrong = {int(p): 1.0 for p in rng.choice(4000, 300, replace=False)}
    truth = Truth(block_of(40, 100), wrong)
    found = truth.located(cap=8)
    assert not found.complete
    assert len(found.entries) + len(found.regions) <= 8
    assert addressed(found) <= set(wrong)
    assert truth.probes < 200


def test_entries_that_look_right_by_themselves_are_not_named() -> None:
    """What the directions see may be spread so thinly that no entry is wrong by itself."""
    truth = Truth(block_of(20, 30), dict.fromkeys(range(600), 1e-6))

    def tolerant(index: Array) -> tuple[Array, Array, Array]:
        y, bars, _ = truth.look(index)
        return y, bars, np.zeros(len(index), bool)

    keys = np.array([key(0, d) for d in range(DIRECTIONS)])
    region = whole(truth.block)
    y, bars = truth.probe(np.repeat(region[np.newaxis], DIRECTIONS, axis=0), keys)
    found = locate(region, keys, y, bars, truth.probe, tolerant)
    assert found == Found((), (), False) or not (found.entries or found.regions)
    assert not found.complete


def test_directions_along_which_nothing_was_measured_are_left_out() -> None:
    truth = Truth(block_of(12, 12), {17: 1.0})
    keys = np.array([key(0, d) for d in range(DIRECTIONS)])
    region = whole(truth.block)
    y, bars = truth.probe(np.repeat(region[np.newaxis], DIRECTIONS, axis=0), keys)
    y[1], bars[1] = np.nan, np.inf
    assert locate(region, keys, y, bars, truth.probe, truth.look).entries == (17,)
    y[:], bars[:] = np.nan, np.inf
    nothing = locate(region, keys, y, bars, truth.probe, truth.look)
    assert (nothing.entries, nothing.regions, nothing.complete) == ((), (), False)


def test_a_probe_that_fails_now_and_then_names_nothing_false() -> None:
    truth = Truth(block_of(30, 30), {17: 1.0, 400: -2.0, 800: 0.5})
    calls = iter(range(10**6))

    def failing(regions: Array, keys: Array) -> tuple[Array, Array]:
        y, bars = truth.probe(regions, keys)
        if next(calls) % 3 == 1:
            y[0], bars[0] = np.nan, np.inf
        return y, bars

    keys = np.array([key(0, d) for d in range(DIRECTIONS)])
    region = whole(truth.block)
    y, bars = truth.probe(np.repeat(region[np.newaxis], DIRECTIONS, axis=0), keys)
    found = locate(region, keys, y, bars, failing, truth.look)
    assert set(found.entries) == {17, 400, 800}


def test_two_columns_of_v_that_look_alike_are_told_apart_by_looking() -> None:
    """With bars as wide as a tenth of y, many entries would explain it."""
    for seed in range(20):
        truth = Truth(block_of(100, 100), {4321: 1.0}, bar=0.05, noise=1.0, seed=seed)
        found = truth.located(seed)
        assert found.entries == (4321,)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_exactly_zero_has_no_say_about_its_line(seed: int) -> None:
    """A row that is wrong by a factor, in a layer some of whose units are dead."""
    block, error = block_of(40, 60), np.zeros((40, 60))
    error[7] = np.random.default_rng(seed).uniform(0.5, 2.0, 60)
    error[7, 10:20] = 0.0
    truth = Truth(block, dict(enumerate(error.ravel())), seed=seed)

    def look(index: Array) -> tuple[Array, Array, Array]:
        y, bars, wrong = truth.look(index)
        return y, np.where(index % 60 // 10 == 1, 0.0, bars), wrong

    keys = np.array([key(seed, d) for d in range(DIRECTIONS)])
    y, bars = truth.probe(np.repeat(whole(block)[np.newaxis], DIRECTIONS, axis=0), keys)
    found = locate(whole(block), keys, y, bars, truth.probe, look, seed)
    assert lines_of(block, found.regions) == ["W[7, :]"]
    assert found.entries == ()


def test_a_few_wrong_neighbours_are_named_one_by_one() -> None:
    truth = Truth(block_of(20, 5), {52: 1.0, 57: 2.0, 62: 0.5})
    found = truth.located()
    assert found.entries == (52, 57, 62)
    assert found.regions == ()
    part = {place: 1.0 + place for place in range(7 * 60, 7 * 60 + 30)}
    block = block_of(40, 60)
    assert lines_of(block, Truth(block, part).located().regions) == ["W[7, 0:30]"]
