"""The size of a gradient away from theta, which may be at an optimum itself."""

from __future__ import annotations

import numpy as np

from fastgradcheck.differences.elsewhere import slopes
from tests.cases.contexts import context_of


def test_an_optimum_does_not_hide_the_slopes_around_it() -> None:
    """J = 3 |theta - theta0|^2: moved by half of |theta_i| or more, its gradient is as large."""
    theta = np.linspace(1.0, 3.0, 50)
    (found,) = slopes(context_of(lambda t: 3 * float((t - theta) @ (t - theta)), theta))
    # u is between 1/2 and 3/2: half a step on, the slope is 3 h |u s|^2 over the median scale.
    assert 0.5 * 0.25 < found / (3 * 50 * 2.0) < 2.25


def test_every_block_has_its_own_scale() -> None:
    theta = {"small": np.full(4, 1e-3), "large": np.full(4, 1e3)}
    small, large = slopes(context_of(lambda t: float(t["small"].sum()), theta))
    assert np.isclose(small / large, 1e6)


def test_the_edge_of_the_domain_shortens_the_move() -> None:
    def cost(t: np.ndarray) -> float:
        if t.min() <= 0.9:
            raise ValueError("outside")
        return float(np.log(t).sum())

    (found,) = slopes(context_of(cost, np.ones(5)))
    assert 0 < found < 10


def test_bounds_hold() -> None:
    seen = []

    def cost(t: np.ndarray) -> float:
        seen.append(t.copy())
        return float(t @ t)

    slopes(context_of(cost, np.ones(3), bounds=(0.99, 1.2)))
    assert np.min(seen) >= 0.99
    assert np.max(seen) <= 1.2


def test_a_constant_has_none() -> None:
    assert np.array_equal(slopes(context_of(lambda t: 1.0, np.zeros(3))), [0.0])


def test_nothing_is_known_of_a_block_without_room() -> None:
    theta = {"free": np.ones(3), "fixed": np.ones(3)}
    bounds = ({"free": np.full(3, -9.0), "fixed": np.ones(3)}, 9.0)
    context = context_of(lambda t: float(t["free"] @ t["free"]), theta, bounds=bounds)
    free, fixed = slopes(context)
    assert free > 0
    assert fixed == 0
