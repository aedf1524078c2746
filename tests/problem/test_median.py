"""The median size, against NumPy's median of all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgradcheck.problem import median
from fastgradcheck.problem.median import median_size


def plain(entries: Any) -> float:
    sizes = np.abs(np.asarray(entries, np.float64).ravel())
    return float(np.median(sizes[(sizes > 0) & np.isfinite(sizes)]))


@pytest.mark.parametrize("size", [1, 2, 7, 8192, 8193, 65_536, 200_000, 200_001])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_size_of_array(size: int, dtype: Any) -> None:
    entries = np.random.default_rng(size).normal(size=size).astype(dtype)
    assert median_size(entries) == plain(entries)


@pytest.mark.parametrize("size", [50_000, 50_001])
def test_few_are_sorted(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = np.random.default_rng(0).lognormal(sigma=9.0, size=size)
    expected = plain(entries)
    monkeypatch.setattr(median.np, "median", None)  # that of all
    assert median_size(entries) == expected


def test_zeros_and_what_is_no_number_do_not_count() -> None:
    entries = np.random.default_rng(1).normal(size=(300, 200))
    entries[::3] = 0.0
    entries[1, :7] = np.nan, np.inf, -np.inf, 0.0, -0.0, 1e308, 5e-324
    assert median_size(entries) == plain(entries)
    assert median_size(np.zeros(100_000)) == median_size(np.zeros(0)) == 0.0
    assert median_size(np.array([np.nan, -np.inf])) == 0.0
    assert median_size(np.array([-2.0])) == 2.0
    assert median_size(np.array([[np.nan]])) == 0.0


def test_an_order_that_misleads_the_sample() -> None:
    """Every twelfth entry is large, and just these are looked at first."""
    entries = np.random.default_rng(2).normal(size=12 * median.SAMPLE)
    entries[::12] += 1e6
    assert median_size(entries) == plain(entries) < 2
    entries[:] = 0.0
    entries[1::12] = 3.0
    assert median_size(entries) == 3.0


def test_ties() -> None:
    entries = np.repeat([1.0, -2.0, 2.0, 3.0], 10_000)
    assert median_size(entries) == 2.0
    assert median_size(np.repeat([1.0, 3.0], 10_000)) == 2.0
    assert median_size(np.full(30_000, -0.1)) == 0.1


def test_the_array_is_left_as_it_is() -> None:
    entries = np.random.default_rng(3).normal(size=20_000)
    before = entries.copy()
    entries.flags.writeable = False
    median_size(entries)
    np.testing.assert_array_equal(entries, before)
