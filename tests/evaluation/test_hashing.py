"""Signed magnitudes: their distribution and their independence."""

from __future__ import annotations

import numpy as np
from scipy import stats

from fastgradcheck.differences.screen import (
    SECOND_MOMENT,
)
from fastgradcheck.evaluation.hashing import direction, key


def test_entries_are_signed_magnitudes() -> None:
    """Uniform on [1/2, 3/2), with a fair sign; the seed is fixed, so that it repeats."""
    v = direction(key(1, 2), np.arange(400_000))
    assert np.abs(v).min() >= 0.5
    assert np.abs(v).max() <= 1.5
    assert stats.kstest(np.abs(v), "uniform", args=(0.5, 1.0)).pvalue > 1e-3
    assert stats.binomtest(int((v > 0).sum()), v.size).pvalue > 1e-3
    assert abs(np.mean(v**2) - SECOND_MOMENT) < 4 * np.std(v**2) / np.sqrt(v.size)
    # The magnitude does not know the sign.
    assert stats.ks_2samp(v[v > 0], -v[v < 0]).pvalue > 1e-3


def test_entries_are_independent_along_and_across_directions() -> None:
    n = 200_000
    index = np.arange(n)
    v = direction(key(1, 0), index)
    others = [direction(key(1, d), index) for d in range(1, 6)]
    others += [direction(key(seed, 0), index) for seed in (2, 3)]
    others += [np.roll(v, shift) for shift in (1, 2, 64, 1000)]
    # A product of independent entries has mean 0 and variance (13/12)^2.
    sd = SECOND_MOMENT / np.sqrt(n)
    for other in others:
        assert abs(np.mean(v * other)) < 4.5 * sd
        magnitudes = np.corrcoef(np.abs(v), np.abs(other))[0, 1]
        assert abs(magnitudes) < 4.5 / np.sqrt(n)


def test_keys_differ_with_every_part_of_their_path() -> None:
    keys = {int(key(s, b, d)) for s in range(20) for b in range(-1, 20) for d in range(-1, 20)}
    assert len(keys) == 20 * 21 * 21
