"""Limits of the rows of a Jacobian fail no oftener than they say."""

from __future__ import annotations

import numpy as np
import pytest

from fastgradcheck.differences.limits import hidden_rows
from fastgradcheck.evaluation import hashing


@pytest.mark.parametrize("rank", [1, 3, 40])
def test_the_limit_of_all_rows_fails_no_oftener_than_stated(rank):
    """Of matrices of any rank; a tenth is asked for, so that failures can be counted."""
    rng = np.random.default_rng(rank)
    R = rng.normal(size=(40, rank)) @ rng.normal(size=(rank, 60))
    t, failed, trials = hidden_rows(0.1, 4, 40), 0, 2000
    for trial in range(trials):
        v = np.stack([hashing.direction(hashing.key(trial, d), np.arange(60)) for d in range(4)])
        seen = np.sqrt((np.abs(R @ v.T).max(axis=1) ** 2).sum())
        failed += seen <= t * np.linalg.norm(R)
    assert failed <= 0.1 * trials


def test_the_bound_is_used_where_it_is_the_sharper_one():
    assert hidden_rows(0.01, 4, 1) == pytest.approx(0.01**0.25 / np.sqrt(2))
    assert hidden_rows(0.01, 4, 10**3) == hidden_rows(0.01, 4, 10**6)
