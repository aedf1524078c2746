"""Classes of right gradients that are hard to measure: never wrong; and wrong ones, still found.

Each is swept over distances, scales or seeds. The derivatives are known in closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastgradcheck as fgc
from fastgradcheck import Verdict
from tests.cases.results import kinds, message

Array = NDArray[Any]


def check(cost: Any, grad: Any, theta: Any, **options: Any) -> Any:
    return fgc.gradcheck(cost, grad, theta, seed=1, engine="python", **options)


# A dead unit, whose kink lies at some distance


def unit(t: Array) -> float:
    return float(max(t[0], 0.0) + np.sum(t[1:] ** 2))


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_kink_at_any_distance(side: float) -> None:
    for distance in np.geomspace(1e-6, 0.1, 26):
        theta = np.random.default_rng(int(1e9 * distance)).normal(size=5)
        theta[0] = side * distance
        gradient = 2 * theta
        gradient[0] = float(side > 0)
        assert check(unit, gradient, theta), distance
        gradient[0] = 0.5
        assert check(unit, gradient, theta).wrong == ("theta[0]",), distance


# Scales


def scaled(spread: float, seed: int) -> tuple[Any, Any, Array]:
    """J = sum tanh(A u)^2 with u = theta / s, s from 10^-spread to 10^spread: as hard as any u."""
    scale = np.array([10.0**-spread, 1.0, 10.0**spread])
    rng = np.random.default_rng(seed)
    x, mixed = rng.normal(size=3), rng.normal(size=(3, 3))

    def cost(t: Array) -> float:
        return float(np.sum(np.tanh(mixed @ (t / scale)) ** 2))

    def grad(t: Array) -> Array:
        a = np.tanh(mixed @ (t / scale))
        return mixed.T @ (2 * a * (1 - a**2)) / scale

    return cost, grad, x * scale


@pytest.mark.parametrize("spread", [3, 6, 9, 10, 12])
def test_parameters_of_many_scales_in_one_vector(spread: float) -> None:
    for seed in range(3):
        cost, grad, theta = scaled(spread, seed)
        assert check(cost, grad, theta), seed
        for i in range(3):
            gradient = grad(theta)
            gradient[i] *= 1.01
            assert check(cost, gradient, theta).wrong == (f"theta[{i}]",), (seed, i)


SINGULAR: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "log": (np.log, lambda t: 1 / t),
    "sqrt": (np.sqrt, lambda t: 0.5 / np.sqrt(t)),
    "t log t": (lambda t: t * np.log(t), lambda t: np.log(t) + 1),
    "t^0.1": (lambda t: t**0.1, lambda t: 0.1 * t**-0.9),
    "|t|^1.5": (lambda t: np.abs(t) ** 1.5, lambda t: 1.5 * np.sqrt(t)),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_one_entry_close_to_a_singularity(name: str) -> None:
    """Its own magnitude is the scale of J, and not that of the ones beside it."""
    function, slope = SINGULAR[name]

    def cost(t: Array) -> float:
        return float(np.sum(function(t)))

    for tiny in (1e-14, 1e-12, 1e-10, 1e-7, 1e-5, 1e-3):
        theta = np.random.default_rng(0).uniform(0.5, 2.0, 8)
        theta[3] = tiny
        right = check(cost, slope, theta)
        assert right.verdict is not Verdict.WRONG, f"{tiny}\n{right}"
        if tiny > 1e-7:
            assert right, f"{tiny}\n{right}"
        for i, factor in ((3, 2.0), (5, 1.01)):
            gradient = slope(theta)
            gradient[i] *= factor
            result = check(cost, gradient, theta)
            hidden = name == "|t|^1.5" and i == 3 and tiny < 1e-5
            assert result.verdict is Verdict.WRONG or hidden, f"{tiny}, {i}\n{result}"


@pytest.mark.parametrize("name", SINGULAR)
def test_very_small_and_very_large_arguments(name: str) -> None:
    function, slope = SINGULAR[name]
    for size in (1e-300, 1e-100, 1e-30, 1e-10, 1e10, 1e30, 1e100):
        theta = np.array([size])
        alone = check(lambda t: float(function(t[0])), slope, theta)
        assert alone.verdict is not Verdict.WRONG, f"{size}\n{alone}"
        beside = check(
            lambda t: float(function(t[0]) + t[1] ** 2),
            lambda t: np.array([slope(t[0]), 2 * t[1]]),
            np.array([size, 0.7]),
        )
        assert beside.verdict is not Verdict.WRONG, f"{size}\n{beside}"


@pytest.mark.parametrize("value", [1e-17, -3e-17, 1e-20, 1e-300])
def test_what_rounding_leaves_of_a_zero_is_no_scale(value: float) -> None:
    """The intercept of standardised data: steps of 1e-17 move nothing, and prove nothing."""
    rng = np.random.default_rng(3)
    data = rng.normal(size=(30, 4))
    target = rng.normal(size=30)
    theta = {"w": rng.normal(size=4), "b": np.array([value])}

    def cost(p: Any) -> float:
        return float(np.mean((data @ p["w"] + p["b"] - target) ** 2))

    def grad(p: Any) -> Any:
        r = data @ p["w"] + p["b"] - target
        return {"w": 2 * data.T @ r / 30, "b": np.array([2 * r.mean()])}

    assert check(cost, grad, theta)
    forgotten = grad(theta) | {"b": np.zeros(1)}
    assert check(cost, forgotten, theta).wrong == ("b[0]",)
    alone = np.array([value])
    assert check(lambda t: float((t[0] - 0.5) ** 2), lambda t: 2 * (t - 0.5), alone)
    assert check(lambda t: float((t[0] - 0.5) ** 2), lambda t: 0 * t, alone).wrong == ("theta[0]",)


# Where the gradient is zero


@pytest.mark.parametrize("k", range(-4, 5))
def test_a_stationary_point(k: int) -> None:
    """sin(k pi) is not zero in floating point: the claim is rounding, as what is measured."""
    theta = np.array([k * np.pi, 0.3])
    for size in (1, 2):
        at = theta[:size]
        assert check(lambda t: float(np.cos(t).sum()), lambda t: -np.sin(t), at)
        wrong = check(lambda t: float(np.cos(t).sum()), lambda t: 1e-4 - np.sin(t), at)
        assert wrong.verdict is Verdict.WRONG


@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_an_optimum_is_zero_to_the_resolution(strategy: str) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        data, target = rng.normal(size=(30, 4)), rng.normal(size=30)
        best = np.linalg.lstsq(data, target, rcond=None)[0]

        def cost(t: Array, data: Array = data, target: Array = target) -> float:
            return float(np.sum((data @ t - target) ** 2))

        def grad(t: Array, data: Array = data, target: Array = target) -> Array:
            return 2 * data.T @ (data @ t - target)

        result = check(cost, grad, best, strategy=strategy)
        assert result, str(result)
        assert "an optimum, or parameters that" in message(result, "zero")
        off = grad(best) + np.array([0, 0, 1e-3, 0])
        assert check(cost, off, best, strategy=strategy).verdict is Verdict.WRONG


# Jumps


@pytest.mark.parametrize(
    ("jumping", "at"),
    [
        (np.floor, 1.0),
        (lambda x: float(int(100 * x)), 0.29),
        (lambda x: float(x >= 0), 0.0),
        (lambda x: float(x >= 1) + 3 * x, 1.0),
        (np.round, 0.5),
    ],
)
def test_theta_on_a_jump_has_no_derivative(jumping: Any, at: float) -> None:
    for claim in (0.0, 1.0, 3.0):
        result = check(
            lambda t: float(jumping(t[0]) + t[1] ** 2), np.array([claim, 4.0]), np.array([at, 2.0])
        )
        assert result.verdict is Verdict.UNDECIDED, str(result)
        assert "J jumps at theta in theta[0]" in message(result, "jump")
        assert "lost" not in kinds(result)
        assert "move theta off the jump" in result.blocks[0].reason
