"""The claimed gradient along the displacements that are taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgradcheck.differences.directions import OFFSETS
from fastgradcheck.evaluation.hashing import direction, key
from fastgradcheck.evaluation.plans import Directions
from fastgradcheck.evaluation.projection import project


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [500, 30_000])
def test_projections_use_the_displacement_that_is_taken(dtype: Any, size: int) -> None:
    """Both ways, in NumPy and compiled, against sums in extended precision."""
    rng = np.random.default_rng(10)
    theta = rng.normal(size=size).astype(dtype)
    covector = rng.normal(size=size)
    region, words = np.array([[0, size, 0, 1, 0, size]]), np.array([key(3)])
    step = 1e-6 if dtype is np.float32 else 1e-9
    plan = Directions(region, words, step * OFFSETS[np.newaxis])
    v = direction(words[0], np.arange(size))
    taken = (theta + plan.offsets[0][:, np.newaxis] * v).astype(dtype).astype(np.longdouble) - theta
    expected = (taken @ covector.astype(np.longdouble)).astype(np.float64)
    got = project(covector, theta, plan, 1)[0]
    assert got == pytest.approx(expected, rel=1e-12, abs=1e-13 * step * np.sqrt(size))
    nominal = plan.offsets[0] * (v @ covector)
    if dtype is np.float32:
        assert np.abs(nominal - expected).max() > 1e-3 * np.abs(expected).max()
