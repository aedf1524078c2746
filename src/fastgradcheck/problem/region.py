"""Rectangles of a block: rows and columns of its entries."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem.blocks import OF, Block, entry_name

CHUNK = 1 << 16
"""Entries decoded at a time."""


Region = NDArray[np.int64]
"""start, columns, row0, row1, column0, column1: see `fastgradcheck.evaluation.plans.Directions`."""


def region_of(block: Block) -> Region:
    """The whole block as a region."""
    return np.array([block.start, block.columns, 0, block.rows, 0, block.columns], dtype=np.int64)


def part(flat: NDArray[Any], region: Region) -> NDArray[Any]:
    """A region of a flat array, as a view of shape (rows, columns)."""
    start, columns, row0, row1, column0, column1 = region.tolist()
    rows = flat[start + row0 * columns : start + row1 * columns].reshape(-1, columns)
    return rows[:, column0:column1]


def flat_index(region: Region) -> NDArray[np.int64]:
    """The flat indices of a region's entries, shape (rows, columns)."""
    start, columns, row0, row1, column0, column1 = region.tolist()
    rows = np.arange(row0, row1)[:, np.newaxis]
    index: NDArray[np.int64] = start + rows * columns + np.arange(column0, column1)
    return index


def rows_of(region: Region) -> int:
    """How many rows a region has."""
    return int(region[3] - region[2])


def columns_of(region: Region) -> int:
    """How many columns a region has."""
    return int(region[5] - region[4])


def extent(region: Region, axis: int) -> int:
    """How many rows (0) or columns (1) a region has."""
    return int(region[3 + 2 * axis] - region[2 + 2 * axis])


def named(block: Block, region: Region) -> str:
    """A region in the words of an address: ``W1[3, :]``, ``W1[:, 5]``, ``b1[4:8]``."""
    if np.array_equal(region, region_of(block)):
        return block.name
    if block.split is not None:
        output, _, parameter = block.name.partition(OF)
        of_output, of_parameter = block.shape[: block.split], block.shape[block.split :]
        rows = _stretch(output, of_output, int(region[2]), int(region[3]))
        return f"{rows}{OF}{_stretch(parameter, of_parameter, int(region[4]), int(region[5]))}"
    rows = _span(int(region[2]), int(region[3]), block.rows)
    columns = _span(int(region[4]), int(region[5]), block.columns)
    if len(block.shape) < 2:
        return f"{block.name}[{columns}]"
    if len(block.shape) > 2:
        if columns != ":":
            first = np.unravel_index(int(region[4]), block.shape[1:])
            last = np.unravel_index(int(region[5]) - 1, block.shape[1:])
            columns = ", ".join(
                _span(int(a), int(b) + 1, -1) for a, b in zip(first, last, strict=True)
            )
        else:
            columns = "..."
    return f"{block.name}[{rows}, {columns}]"


def _stretch(name: str, shape: tuple[int, ...], low: int, high: int) -> str:
    """Entries in a row of an array: all of them, one, or from one to another."""
    if high - low == math.prod(shape):
        return name
    ends = [entry_name(name, shape, i) for i in (low, high - 1)]
    return " to ".join(dict.fromkeys(ends))


def _span(low: int, high: int, size: int) -> str:
    if (low, high) == (0, size):
        return ":"
    return str(low) if high == low + 1 else f"{low}:{high}"


def entries_of(region: Region) -> Iterator[NDArray[np.int64]]:
    """The flat indices of a region, row by row, in chunks."""
    start, columns, row0, row1, column0, column1 = (int(x) for x in region)
    width = column1 - column0
    for first in range(0, (row1 - row0) * width, CHUNK):
        place = np.arange(first, min(first + CHUNK, (row1 - row0) * width))
        yield start + columns * (row0 + place // width) + column0 + place % width


def halves(region: Region, axis: int) -> tuple[Region, Region]:
    """The two halves of a region, by rows (0) or by columns (1)."""
    low, high = 2 + 2 * axis, 3 + 2 * axis
    middle = (region[low] + region[high]) // 2
    first, second = region.copy(), region.copy()
    first[high] = second[low] = middle
    return first, second


def overlap(regions: NDArray[np.int64], other: Region) -> NDArray[np.int64]:
    """What each of several regions of a block has in common with another; may be empty."""
    common = regions.copy()
    common[:, [2, 4]] = np.maximum(regions[:, [2, 4]], other[[2, 4]])
    common[:, [3, 5]] = np.minimum(regions[:, [3, 5]], other[[3, 5]])
    return common


def inside(regions: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which entries lie in which of several regions of a block; shape (regions, entries)."""
    start, columns, row0, row1, column0, column1 = regions.T[:, :, np.newaxis]
    row, column = (index - start) // columns, (index - start) % columns
    held: NDArray[np.bool_] = (
        (row0 <= row) & (row < row1) & (column0 <= column) & (column < column1)
    )
    return held
