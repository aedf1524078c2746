"""Wrong entries of rows are told apart from y alone; no derivative is involved."""

from __future__ import annotations

import numpy as np
import pytest

from fastgradcheck.evaluation import hashing
from fastgradcheck.search.separate import Separation

N, M = 500, 6
BAR = 1e-9


def separation(R, edges=(0, N)):
    """A separation of the error matrix R, and how many directions it asked for."""
    asked = []

    def direction(number):
        return hashing.direction(hashing.key(9, number), np.arange(N))

    def probe(low, high, start, stop):
        asked.append(stop - start)
        y = np.stack([R[:, low:high] @ direction(d)[low:high] for d in range(start, stop)])
        return y, np.full(y.shape, BAR)

    def look(columns):
        error = R[:, columns]
        return error, np.full(error.shape, BAR), np.abs(error) > BAR

    taken = np.stack([direction(d) for d in range(4)])
    return Separation(probe, look, direction, taken, list(edges), 0), asked


def found(R, edges=(0, N)):
    search, asked = separation(R, edges)
    y = search.taken @ R.T
    rows = np.flatnonzero(R.any(axis=1))
    return search.run(rows, y[:, rows], np.full((4, len(rows)), BAR)), asked


def test_a_single_entry_of_each_row_costs_nothing():
    R = np.zeros((M, N))
    R[np.arange(M), [3, 77, 200, 201, 499, 0]] = [1, -2, 1e-3, 5, 1e-2, 1]
    result, asked = found(R)
    assert set(result.entries) == {(i, int(j)) for i, j in zip(*np.nonzero(R), strict=True)}
    assert asked == []
    for (i, j), (size, bar) in result.entries.items():
        assert abs(size - R[i, j]) <= bar


@pytest.mark.parametrize("seed", range(5))
def test_several_entries_of_a_row_are_separated(seed):
    rng = np.random.default_rng(seed)
    R = np.zeros((M, N))
    R[2, rng.choice(N, 8, replace=False)] = rng.normal(size=8)
    R[4, rng.choice(N, 2, replace=False)] = rng.normal(size=2)
    result, asked = found(R)
    assert set(result.entries) == {(int(i), int(j)) for i, j in zip(*np.nonzero(R), strict=True)}
    assert sum(asked) < N / 4
    assert not result.left


def test_a_row_that_is_wrong_throughout_a_block_is_a_line():
    R = np.zeros((M, N))
    R[3, 100:400] = np.random.default_rng(0).normal(size=300)
    result, _ = found(R, (0, 100, 400, N))
    assert result.lines == {(3, 1)}
    assert not result.entries
