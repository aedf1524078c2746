"""The derivative along a direction, and its bar."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fastgradcheck.differences.directions import OFFSETS, ON_KINKS, five_point
from tests.cases.screened import Array

SMOOTH: dict[str, tuple[Callable[[Array], Array], float]] = {
    "exp": (np.expm1, 1.0),
    "sine": (lambda t: np.sin(3 * t), 3.0),
    "tanh": (lambda t: np.tanh(t + 0.3) - np.tanh(0.3), 1 - np.tanh(0.3) ** 2),
    "rational": (lambda t: 1 / (1 - t) - 1, 1.0),
    "line": (lambda t: 0.7 * t, 0.7),
    "cubic": (lambda t: t**3 - 2 * t, -2.0),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_the_bar_of_a_smooth_slope_holds(name: str) -> None:
    function, slope = SMOOTH[name]
    rng = np.random.default_rng(9)
    steps = np.logspace(-1, -8, 200)
    noise = 1e-13
    values = function(steps[:, np.newaxis] * OFFSETS) + noise * rng.normal(size=(200, 4))
    value, bar = five_point(values, steps, noise)
    assert (np.abs(value - slope) <= bar).all()
    # And it is worth something: about 1e-9 where noise and truncation balance.
    assert bar.min() < 1e-7


@pytest.mark.parametrize("slope", [2.0, -1.0, 0.1])
@pytest.mark.parametrize("at", [0.0, 0.01, 0.5, 0.99, 1.0, 1.5, 1.99, 2.0, 2.5, -0.3, -1.2])
def test_the_bar_holds_what_a_kink_between_the_points_does(slope: float, at: float) -> None:
    """Beside a kink at `at` steps, the slope at zero is the one of zero's own side."""
    step = np.array([1e-3])

    def kinked(t: Array) -> Array:
        own = t / step[0]
        beyond = np.maximum(own - at, 0) if at > 0 else np.maximum(at - own, 0)
        return np.sin(t) + step[0] * slope * beyond

    values = kinked(step[:, np.newaxis] * OFFSETS)
    value, bar = five_point(values, step, 1e-15)
    if at != 0:
        assert abs(value[0] - 1.0) <= bar[0]
    else:
        # On the kink, any slope between the two sides'.
        assert min(1.0, 1.0 - slope) - bar[0] <= value[0] <= max(1.0, 1.0 - slope) + bar[0]


@pytest.mark.parametrize("slope", [2.0, -1.0, 0.1])
@pytest.mark.parametrize("at", [0.0, 0.3, 0.5, 0.8, 1.0, 1.5, 1.99, 2.5, -0.3, -0.8])
def test_six_points_tell_kinks_at_zero_from_those_beside_it(slope: float, at: float) -> None:
    """With |t| / 3 at zero in any case, whose middle slope is zero."""
    step = np.array([1e-3])

    def kinked(t: Array) -> Array:
        own = t / step[0]
        beyond = np.maximum(own - at, 0) if at >= 0 else np.maximum(at - own, 0)
        return np.sin(t) + np.abs(t) / 3 + step[0] * slope * beyond

    value, bar = five_point(kinked(step[:, np.newaxis] * ON_KINKS), step, 1e-15)
    if at != 0:
        assert abs(value[0] - 1.0) <= bar[0]
        assert bar[0] > abs(slope) / 100 or at > 1.9
    else:
        assert value[0] == pytest.approx(1.0 + slope / 2, abs=bar[0])
        assert bar[0] < 1e-6  # h^2 of sin is left


def test_noise_on_six_points_is_no_kink() -> None:
    steps = np.logspace(-5, -8, 200)
    noise = 1e-13
    points = steps[:, np.newaxis] * ON_KINKS
    values = np.abs(points) + points + noise * np.random.default_rng(3).normal(size=(200, 6))
    value, bar = five_point(values, steps, noise)
    assert (np.abs(value - 1.0) <= bar).all()
    assert (bar * steps <= 50 * noise).all()


def test_values_that_are_no_numbers_give_an_infinite_bar() -> None:
    values = np.array([[1.0, -1.0, np.inf, -2.0], [1.0, -1.0, 2.0, np.nan]])
    with np.errstate(invalid="ignore"):
        assert np.isinf(five_point(values, np.ones(2), 0.0)[1]).all()


def test_a_signal_that_is_exactly_zero_has_no_bar() -> None:
    slope, bar = five_point(np.zeros((1, 4)), np.ones(1), 1e-10)
    assert slope[0] == bar[0] == 0
