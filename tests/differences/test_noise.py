"""The noise of J: planted noise is found within a small factor, and its kind is told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgradcheck.differences import noise
from fastgradcheck.differences.noise import Noise, difference_table, ecnoise
from tests.cases.contexts import context_of

EPS = float(np.finfo(np.float64).eps)
THETA = np.array([0.7, -1.3, 2.1, 0.4])


def measure(cost: Any, theta: Any = THETA, seed: int = 0, bounds: Any = None) -> Noise:
    return noise.measure(context_of(cost, theta, seed=seed, bounds=bounds))


def shaken(level: float, seed: int = 0) -> Any:
    """A smooth function with Gaussian noise that is a function of theta's bits."""

    def cost(theta: np.ndarray) -> float:
        bits = np.ascontiguousarray(theta, dtype=np.float64).view(np.uint64)
        rng = np.random.default_rng([seed, *(int(b) for b in bits)])
        return float(np.sin(theta).sum() + level * rng.normal())

    return cost


@pytest.mark.parametrize("level", [1e-13, 1e-10, 1e-7, 1e-4])
def test_planted_noise_is_found(level: float) -> None:
    found = np.array([measure(shaken(level, seed), seed=seed).level for seed in range(40)])
    # Eight points give a standard deviation to a third or so; none may be off by ten.
    assert 0.5 * level < np.median(found) < 2 * level
    assert found.max() < 6 * level
    assert (found > 0.1 * level).mean() >= 0.95


def test_rounding_is_about_eps() -> None:
    found = measure(lambda t: float(np.exp(t).sum()))
    assert found.kind == "rounding"
    value = float(np.exp(THETA).sum())
    assert 0.1 * EPS * value < found.level < 10 * EPS * value


def test_solver_noise_is_told() -> None:
    assert measure(shaken(1e-8)).kind == "solver"


@pytest.mark.parametrize("theta", [THETA, THETA.astype(np.float32)], ids=["inside", "theta too"])
def test_float32_is_recognised(theta: np.ndarray) -> None:
    def cost(t: np.ndarray) -> float:
        return float(np.exp(t.astype(np.float32)).sum(dtype=np.float32))

    found = measure(cost, theta)
    value = cost(theta)
    assert found.kind == "float32"
    # A grid of 2^-23 of J, spread evenly: its standard deviation is the grid over sqrt(12).
    grid = float(np.finfo(np.float32).eps) * value
    assert 0.25 * grid / np.sqrt(12) < found.level < 10 * grid


def test_a_constant_is_told() -> None:
    assert measure(lambda t: 0.1).kind == "constant"
    zero = measure(lambda t: 0.0)
    assert (zero.kind, zero.level) == ("constant", 0.0)


def test_a_coarse_grid_is_noise() -> None:
    grid = 1e-6
    found = measure(lambda t: float(np.round(np.sin(t).sum() / grid) * grid))
    assert 0.1 * grid < found.level < 2 * grid


def test_kinks_close_by_are_no_noise() -> None:
    # A ReLU network has kinks everywhere; at a few ulps of theta none is crossed.
    rng = np.random.default_rng(0)
    W, X = rng.normal(size=(4, 300)), rng.normal(size=(50, 4))

    def cost(t: np.ndarray) -> float:
        return float(np.maximum((X * t) @ W, 0).mean())

    assert measure(cost).level < 20 * EPS * cost(THETA)


@pytest.mark.parametrize("size", [1e300, 1e-290])
def test_extreme_values_neither_overflow_nor_vanish(size: float) -> None:
    plain = measure(lambda t: float(np.exp(t).sum()))
    scaled = measure(lambda t: float(size * np.exp(t).sum()))
    assert scaled.level / size == pytest.approx(plain.level, rel=10)
    assert scaled.kind == "rounding"


def test_scaling_by_powers_of_two_changes_no_bit() -> None:
    plain, scaled = (measure(lambda t, s=s: float(s * np.exp(t).sum())) for s in (1.0, 2.0**70))
    assert scaled.level == plain.level * 2.0**70


def test_long_sums_are_rounded_alike_close_together() -> None:
    theta = np.random.default_rng(0).normal(size=noise.MANY + 1)
    context = context_of(lambda t: float(np.cumsum(t**4)[-1]), theta)
    close, apart = noise.measure(context), noise.measure(context, noise.FINEST)
    assert close.spacing < noise.FINEST <= apart.spacing
    assert apart.level > 2 * close.level
    few = context_of(lambda t: float(np.cumsum(t**4)[-1]), theta[:-1])
    assert noise.measure(few, noise.FINEST).spacing < noise.FINEST


def test_bounds_are_kept() -> None:
    seen = []

    def cost(t: np.ndarray) -> float:
        seen.append(t.copy())
        return float(np.exp(t).sum())

    low, high = THETA - np.array([0, 1, 1, 1]), THETA + np.array([1, 0, 1, 1e-15])
    found = measure(cost, bounds=(low, high))
    assert all(((low <= t) & (t <= high)).all() for t in seen)
    assert found.level > 0


def test_values_that_are_not_finite_are_passed_over() -> None:
    def cost(t: np.ndarray) -> float:
        return float(np.exp(t).sum()) if np.array_equal(t, THETA) else np.nan

    found = measure(cost)
    assert 0 < found.level < 10 * EPS * cost(THETA)


def test_the_table_annihilates_polynomials() -> None:
    x = np.arange(8.0)
    for order in range(1, 6):
        table = difference_table(x**order)
        assert (table[:order] > 0).all()
        assert np.allclose(table[order:], 0)


def test_the_table_of_white_noise_estimates_its_level_at_every_order() -> None:
    rng = np.random.default_rng(0)
    tables = np.array([difference_table(rng.normal(size=8)) for _ in range(4000)])
    # gamma_k normalises the k-th difference: each order's mean square is one.
    assert np.sqrt((tables**2).mean(axis=0)) == pytest.approx(np.ones(6), rel=0.05)


def test_a_trend_is_not_noise() -> None:
    assert ecnoise(np.exp(np.linspace(0, 0.1, 8))) is None
    rng = np.random.default_rng(1)
    level = ecnoise(np.linspace(0, 1, 8) + 1e-3 * rng.normal(size=8))
    assert level == pytest.approx(1e-3, rel=0.8)
