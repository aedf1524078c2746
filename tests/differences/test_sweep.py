"""The step sweep and its plateau: bars that hold, kinks on either side, edges of the domain.

The oracle is the closed form of each function; the seeds are fixed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastgradcheck.differences.plateau import (
    KINK_HERE,
    KINK_LEFT,
    KINK_RIGHT,
    SMOOTH,
    UNSETTLED,
    StepSweep,
)
from fastgradcheck.differences.sweep import sweep
from tests.cases.contexts import context_of, with_noise

EPS = float(np.finfo(np.float64).eps)
DISTANCES = [sign * 10.0**-k for k in range(1, 17) for sign in (1, -1)]
E = float(np.e)


def measured(cost: Callable[[Any], float], theta: Any, bounds: Any = None) -> list[StepSweep]:
    """The step sweeps of all components."""
    theta = np.atleast_1d(np.asarray(theta, float))
    return sweep(with_noise(context_of(cost, theta, bounds=bounds)), np.arange(theta.size))


def one(cost: Callable[[Any], float], theta: float, bounds: Any = None) -> StepSweep:
    (only,) = measured(cost, theta, bounds)
    return only


def holds(s: StepSweep, truth: float) -> bool:
    """Whether the bar holds the truth, on a kink between the slopes; one rounding is free."""
    low, high = (s.lower, s.upper) if s.kind == KINK_HERE else (s.value, s.value)
    bar = s.error + EPS * abs(truth)
    return low - bar <= truth <= high + bar


@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (np.exp, np.exp),
        (np.sin, np.cos),
        (np.tanh, lambda t: 1 - np.tanh(t) ** 2),
        (lambda t: t**3, lambda t: 3 * t**2),
        (lambda t: 1 / t, lambda t: -1 / t**2),
        (lambda t: np.float64(7.0) * t, lambda t: 7.0),
    ],
)
@pytest.mark.parametrize("theta", [1.0, -0.37, 1e-3, 3e5])
@pytest.mark.parametrize("size", [1.0, 1e-280, 1e290])
def test_smooth_functions(function: Any, slope: Any, theta: float, size: float) -> None:
    if function is np.exp:
        theta = min(theta, 3.0)
    if size > 1 and abs(function(np.float64(theta))) > 1e10:
        pytest.skip("overflows at the largest step")
    truth = size * float(slope(theta))
    s = one(lambda t: float(size * function(t[0])), theta)
    assert s.kind == SMOOTH
    assert holds(s, truth)
    # Noise eps J over a step that truncation allows: far better than the tolerance 1e-5, unless
    # sin at 3e5 and tanh beyond saturation, where theta itself is rounded by 6e-11.
    if abs(theta) <= 1:
        assert s.error <= 1e-8 * max(abs(truth), size * abs(float(function(theta))))


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("bend", [0.0, 1.0], ids=["straight", "curved"])
def test_a_kink_at_any_distance_on_either_side(distance: float, bend: float) -> None:
    kink = 1 + distance

    def cost(t: np.ndarray) -> float:
        return float(t[0] + bend * np.exp(t[0]) + 2 * max(t[0] - kink, 0.0))

    truth = 1 + bend * E + (0 if kink > 1 else 2 if kink < 1 else np.nan)
    s = one(cost, 1.0)
    if abs(distance) > 1e-14:
        # Beyond a few ulps of J the kink is seen, and on its own side.
        assert s.kind in (SMOOTH, KINK_RIGHT if distance > 0 else KINK_LEFT)
    if s.kind in (KINK_RIGHT, KINK_LEFT):
        assert s.distance == pytest.approx(abs(distance), rel=0.2, abs=5e-16)
    if kink != 1:
        assert holds(s, truth)
        assert s.kind == KINK_HERE or s.error < 1e-6


def test_theta_on_a_kink() -> None:
    s = one(lambda t: float(t[0] + 2 * max(t[0] - 1, 0.0)), 1.0)
    assert s.kind == KINK_HERE
    assert (s.lower, s.upper) == pytest.approx((1.0, 3.0), abs=1e-9)
    assert s.distance == 0


def test_the_absolute_value_at_zero() -> None:
    s = measured(lambda t: float(abs(t[0]) + t[1] ** 2), [0.0, 1.0])[0]
    assert s.kind == KINK_HERE
    assert (s.lower, s.upper) == pytest.approx((-1.0, 1.0), abs=1e-9)


@pytest.mark.parametrize("x", [1e-5, 1e-7, 1e-9, 1e-12, -1e-5, -1e-7, -1e-12])
def test_relu_close_to_zero_has_the_slope_of_its_side(x: float) -> None:
    among_others = measured(lambda t: float(max(t[0], 0.0) + t[1] ** 2), [x, 1.0])[0]
    alone = one(lambda t: float(max(t[0], 0.0)), x)
    for s in (among_others, alone):
        assert s.kind != KINK_HERE
        assert s.value == pytest.approx(1.0 if x > 0 else 0.0, abs=1e-8)


@pytest.mark.parametrize("width", [10.0**-k for k in range(1, 11)])
@pytest.mark.parametrize("uneven", [1.0, 0.03])
@pytest.mark.parametrize("bend", [0.0, 1.0], ids=["straight", "curved"])
def test_between_two_kinks(width: float, uneven: float, bend: float) -> None:
    # np.clip: larger steps see J flat, and agree with each other on a slope that is not there.
    def cost(t: np.ndarray) -> float:
        return float(bend * np.exp(t[0]) + np.clip(t[0], 1 - width, 1 + uneven * width))

    s = one(cost, 1.0)
    assert holds(s, 1 + bend * E)
    assert s.error < 3e-16 / (uneven * width) * 100 + 1e-9


@pytest.mark.parametrize("width", [3e-14, 1e-14])
@pytest.mark.parametrize("bend", [0.0, 1.0], ids=["straight", "curved"])
def test_between_two_kinks_nearer_than_any_step(width: float, bend: float) -> None:
    # From the smallest step, J looks as if it jumped at theta: there is no plateau.
    s = one(lambda t: float(bend * np.exp(t[0]) + np.clip(t[0], 1 - width, 1 + width)), 1.0)
    assert s.kind == UNSETTLED
    assert np.isinf(s.error)


def test_many_kinks_at_all_distances_are_never_a_false_alarm() -> None:
    rng = np.random.default_rng(0)
    missed, vague = 0, 0
    for _ in range(300):
        kinks = 1 + rng.uniform(-1, 1, 200)
        weights = rng.normal(size=200) / 14

        def cost(t: np.ndarray, kinks: Any = kinks, weights: Any = weights) -> float:
            return float(np.exp(t[0]) + weights @ np.maximum(t[0] - kinks, 0))

        truth = E + weights[kinks < 1].sum()
        s = one(cost, 1.0)
        missed += not holds(s, truth)
        vague += s.error > 1e-5 * abs(truth)
    assert missed == 0
    assert vague <= 3


@pytest.mark.parametrize("x", [1e-3, 1e-6, 1e-9])
def test_the_edge_of_the_domain_is_near(x: float) -> None:
    def cost(t: np.ndarray) -> float:
        with np.errstate(all="ignore"):
            return float(np.log(t[0]) + t[1])

    s, other = measured(cost, [x, 1.0])
    assert holds(s, 1 / x)
    assert s.error < 1e-6 / x
    assert holds(other, 1.0)


def test_at_the_edge_of_the_domain_one_side_is_enough() -> None:
    def cost(t: np.ndarray) -> float:
        return float(np.exp(t[0])) if t[0] >= 1 else np.nan

    s = one(cost, 1.0)
    assert holds(s, E)
    assert s.error < 1e-6


def test_an_infinite_slope_is_no_plateau() -> None:
    def cost(t: np.ndarray) -> float:
        with np.errstate(all="ignore"):
            return float(np.sqrt(t[0]))

    s = one(cost, 0.0)
    # The slopes grow without end: there is none.
    assert s.kind == UNSETTLED
    assert s.error == np.inf


def test_nothing_finite_is_unsettled() -> None:
    s = one(lambda t: 1.0 if t[0] == 1 else np.nan, 1.0)
    assert s.kind == UNSETTLED
    assert np.isinf(s.error)


@pytest.mark.parametrize(
    "bounds", [(1.0, 5.0), (-5.0, 1.0), (1 - 1e-4, 1 + 1e-4), (1 - 1e-9, 1 + 1e-2), (1.0, 1 + 1e-8)]
)
def test_bounds_are_kept(bounds: tuple[float, float]) -> None:
    seen = []

    def cost(t: np.ndarray) -> float:
        seen.append(t[0])
        return float(np.exp(t[0]))

    s = one(cost, 1.0, bounds)
    assert bounds[0] <= min(seen)
    assert max(seen) <= bounds[1]
    assert holds(s, E)
    # Six roundings of J, 1.2e-15, in one-sided slopes that gain 5/3 and count twice, at a
    # sixteenth of the room that there is.
    assert s.error < 1e-9 + 1.2e-15 * 5 / 3 * 2 * 16 * 2 / max(1 - bounds[0], bounds[1] - 1)


def test_no_room_at_all_is_unsettled() -> None:
    s = one(lambda t: float(np.exp(t[0])), 1.0, (1.0, 1.0))
    assert s.kind == UNSETTLED


@pytest.mark.parametrize("level", [1e-6, 1e-9, 1e-12])
def test_noise_is_in_the_bar(level: float) -> None:
    missed, ratios = 0, []
    for seed in range(100):

        def cost(t: np.ndarray, seed: int = seed) -> float:
            shake = np.random.default_rng([seed, int(t.view(np.uint64)[0])]).normal()
            return float(np.exp(t[0]) + level * shake)

        s = one(cost, 1.0)
        missed += not holds(s, E)
        ratios.append(s.error / level ** (2 / 3))
    # Three standard deviations in the worst signs: 0.3 % at most, and a sweep chooses its step.
    assert missed <= 1
    # Noise against the truncation of a central difference leaves level^(2/3) or so.
    assert np.median(ratios) < 30


def test_a_constant_has_slope_zero() -> None:
    s = one(lambda t: 0.1, 1.0)
    assert s.value == 0
    assert s.kind == SMOOTH


def test_sweeps_report_their_steps() -> None:
    s = one(lambda t: float(np.exp(t[0])), 1.0)
    assert (np.diff(s.steps) < 0).all()
    assert s.steps.shape == s.derivatives.shape
    assert s.steps[0] / s.steps[1] == 4
    assert s.derivatives[s.best] == pytest.approx(E, rel=1e-4)


def test_scaling_by_powers_of_two_changes_no_bit() -> None:
    def cost(size: float) -> StepSweep:
        return one(lambda t: float(size * (np.sin(t[0]) + abs(t[0] - 1.001))), 1.0)

    plain, scaled = cost(1.0), cost(2.0**100)
    assert (scaled.value, scaled.error) == (plain.value * 2.0**100, plain.error * 2.0**100)
    assert (scaled.kind, scaled.best) == (plain.kind, plain.best)
