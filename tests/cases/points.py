"""Plans of every kind, and the points that they write by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastgradcheck.evaluation.hashing import LARGE_REGION, key
from fastgradcheck.evaluation.plans import Directions, Plan, Stencils
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective

OFFSETS = np.array([1e-5, -1e-5, 2.7e-5, -2.7e-5])


def theta_of(size: int) -> np.ndarray:
    """Over many decades, with zeros of both signs."""
    rng = np.random.default_rng(size)
    theta = rng.normal(size=size) * 10.0 ** rng.uniform(-12, 6, size)
    theta[1], theta[2] = 0.0, -0.0
    return theta


def stencils() -> tuple[np.ndarray, Plan]:
    theta, index = theta_of(40), np.array([3, 3, 39, 0])
    return theta, Stencils(index, theta[index][:, None] + OFFSETS)


def directions(size: int, regions: Any, scaled: bool) -> tuple[np.ndarray, Plan]:
    theta, rng = theta_of(size), np.random.default_rng(7)
    scale = np.where(rng.random(size) < 0.1, 0.0, rng.uniform(1e-6, 1e3, size)) if scaled else None
    keys = np.array([key(5, k) for k in range(len(regions))])
    offsets = OFFSETS * rng.uniform(0.5, 2.0, (len(regions), 1))
    return theta, Directions(np.array(regions, np.int64), keys, offsets, scale)


LARGE = LARGE_REGION + 1001
PLANS: dict[str, Callable[[], tuple[np.ndarray, Plan]]] = {
    "stencils": stencils,
    "all": lambda: directions(40, [[0, 40, 0, 1, 0, 40]] * 3, False),
    "all, scaled": lambda: directions(40, [[0, 40, 0, 1, 0, 40]] * 3, True),
    "a rectangle, scaled": lambda: directions(
        40, [[4, 6, 1, 4, 2, 5], [4, 6, 0, 5, 0, 6], [39, 1, 0, 1, 0, 1]], True
    ),
    "large": lambda: directions(LARGE, [[0, LARGE, 0, 1, 0, LARGE]], False),
    "large, scaled": lambda: directions(LARGE, [[0, LARGE, 0, 1, 0, LARGE]], True),
}
"""Large ones are written by Numba, the others by NumPy."""


def written(plan: Plan, theta: np.ndarray) -> np.ndarray:
    """The points that a plan writes by itself, one in each row."""
    work, found = theta.copy(), []
    for _ in plan.visit(work, theta):
        found.append(work.copy())
    return np.array(found)


def assert_identical(found: Any, expected: Any) -> None:
    """The same bits, signs of zeros too."""
    found, expected = np.ascontiguousarray(found), np.ascontiguousarray(expected)
    assert found.dtype == expected.dtype == np.float64
    np.testing.assert_array_equal(found.view(np.int64), expected.view(np.int64))


def objective_of(cost: Any, theta: Any) -> Objective:
    """An objective of many points."""
    parameters = describe(theta)
    return Objective(cost, (), parameters, parameters.flatten(theta), 64)
