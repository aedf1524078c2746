"""Regions of a block: their entries, their parts and their names."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.region import (
    CHUNK,
    columns_of,
    entries_of,
    halves,
    inside,
    named,
    overlap,
    part,
    region_of,
    rows_of,
)
from tests.cases.sets import block_of, shapes


@settings(max_examples=60, deadline=None)
@given(shape=shapes, data=st.data())
def test_regions_are_what_they_say(shape: tuple[int, ...], data: Any) -> None:
    block = block_of(*shape, start=3)
    rows = sorted(data.draw(st.tuples(*[st.integers(0, block.rows)] * 2)))
    columns = sorted(data.draw(st.tuples(*[st.integers(0, block.columns)] * 2)))
    if rows[0] == rows[1] or columns[0] == columns[1]:
        return
    region = np.array([block.start, block.columns, *rows, *columns])
    grid = np.arange(block.start, block.stop).reshape(block.rows, block.columns)
    expected = grid[rows[0] : rows[1], columns[0] : columns[1]]
    index = np.concatenate(list(entries_of(region)))
    assert index.tolist() == expected.ravel().tolist()
    assert (rows_of(region), columns_of(region)) == expected.shape
    every = np.arange(block.start, block.stop)
    held = inside(region[np.newaxis], every)[0]
    assert every[held].tolist() == sorted(index.tolist())
    for axis in (0, 1):
        if expected.shape[axis] > 1:
            parts = [np.concatenate(list(entries_of(part))) for part in halves(region, axis)]
            assert sorted(np.concatenate(parts)) == sorted(index)
            common = overlap(region[np.newaxis], halves(region, axis)[1])[0]
            assert common.tolist() == halves(region, axis)[1].tolist()


def test_large_regions_come_in_chunks() -> None:
    chunks = list(entries_of(np.array([0, 1000, 0, 784, 0, 1000])))
    assert max(map(len, chunks)) == CHUNK
    assert np.array_equal(np.concatenate(chunks), np.arange(784_000))


def test_parts_of_a_vector_and_of_a_volume_are_named_in_their_own_indices() -> None:
    vector, volume = block_of(10), block_of(4, 3, 5)
    assert named(vector, np.array([0, 10, 0, 1, 4, 8])) == "W[4:8]"
    assert named(vector, np.array([0, 10, 0, 1, 4, 5])) == "W[4]"
    assert named(volume, np.array([0, 15, 1, 2, 0, 15])) == "W[1, ...]"
    assert named(volume, np.array([0, 15, 0, 4, 7, 8])) == "W[:, 1, 2]"


def test_a_region_is_a_view() -> None:
    array = np.arange(30.0)
    piece = part(array, np.array([3, 5, 1, 4, 2, 4]))
    assert piece.tolist() == [[10.0, 11.0], [15.0, 16.0], [20.0, 21.0]]
    assert np.shares_memory(piece, array)


def test_a_blocks_region_is_all_of_it() -> None:
    block = describe({"a": np.zeros(3), "W": np.zeros((4, 5))}).blocks[1]
    assert region_of(block).tolist() == [3, 5, 0, 4, 0, 5]
