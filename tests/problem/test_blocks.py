"""A block of theta."""

from __future__ import annotations

import pytest

from fastgradcheck.problem.blocks import Block


@pytest.mark.parametrize(
    ("shape", "rows", "columns"),
    [((), 1, 1), ((5,), 1, 5), ((3, 4), 3, 4), ((3, 4, 2), 3, 8)],
)
def test_a_block_seen_as_a_matrix(shape: tuple[int, ...], rows: int, columns: int) -> None:
    block = Block("W", 2, shape)
    assert (block.rows, block.columns) == (rows, columns)
    assert block.slice == slice(2, 2 + rows * columns)
