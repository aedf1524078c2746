"""Jumps between smooth pieces are found, and nothing else is taken for one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fastgradcheck.differences.pieces import Pieces, pieces
from tests.cases.contexts import context_of, with_noise

THETA = np.array([0.7, -1.3, 2.1, 0.4])


def found(cost: Callable[[Any], float], seed: int = 0, **options: Any) -> Pieces | None:
    return pieces(replace(with_noise(context_of(cost, THETA, **options)), seed=seed))


def smooth(t: Any) -> float:
    return float(np.exp(0.3 * t).sum() + np.sin(t[0] * t[1]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("height", [1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("place", [1e-3, 2e-2, 0.1])
def test_a_jump_is_found_and_measured(place, height, seed):
    """Where t_2 passes a number; random directions move it by half to one and a half of itself."""
    edge = THETA[2] * (1 + place)
    jump = found(lambda t: smooth(t) + height * (t[2] > edge), seed)
    assert jump.jump == pytest.approx(height, rel=0.01)
    assert place / 1.51 < jump.distance < place / 0.49


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "cost",
    [
        smooth,
        lambda t: smooth(t) + abs(t[0] - 0.71),
        lambda t: smooth(t) + float(np.maximum(t - 1.02 * THETA, 0.0).sum()),
        lambda t: smooth(t) + 1e-3 * np.sin(40 * t[2]),
        lambda t: float(np.float32(smooth(t))),
        lambda t: 2.0,
    ],
    ids=["smooth", "kink", "kinks", "fast", "float32", "constant"],
)
def test_nothing_else_is_one(cost, seed):
    assert found(cost, seed) is None


def test_noise_is_none():
    rng = np.random.default_rng(0)
    assert found(lambda t: smooth(t) + 1e-9 * rng.normal()) is None


def test_the_edge_of_the_domain_ends_it():
    def edged(t):
        if t[0] > 0.7001:
            raise ValueError("outside")
        return smooth(t)

    assert found(edged) is None


def test_bounds_are_kept():
    seen = []

    def watched(t):
        seen.append(t.copy())
        return smooth(t) + (t[0] > 0.71)

    low, high = THETA - 1e-3, THETA + np.array([1e-3, 9.0, 9.0, 9.0])
    found(watched, bounds=(low, high))
    assert (np.array(seen) >= low).all()
    assert (np.array(seen) <= high).all()
