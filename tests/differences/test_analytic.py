"""Complex steps are trusted only where real differences show the same slopes."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.errors import GradcheckInputError
from tests.cases.results import kinds, message

Array = Any


def cubes(t: Array) -> Any:
    return (t**3).sum()


def single(t: Array) -> Any:
    return (t.astype(np.complex64 if np.iscomplexobj(t) else np.float32) ** 3).sum()


def on_the_way(t: Array) -> Any:
    inner = (t / 3).astype(np.complex64) if np.iscomplexobj(t) else t / 3
    return cubes(t) + (inner**2).sum()


# What is added to the cubes, and drops the imaginary part.
DROPS = {
    "abs": lambda t: np.abs(t).sum(),
    "squared modulus": lambda t: (np.abs(t) ** 2).sum(),
    "norm": np.linalg.norm,
    "vdot": lambda t: np.vdot(t, t),
    "real": lambda t: (t.real**2).sum(),
    "conj": lambda t: (t * t.conj()).sum(),
    "one entry": lambda t: np.abs(t[-1]),
    "little": lambda t: 1e-6 * len(t) * np.abs(t).sum(),
    "sign": lambda t: (t * np.sign(t.real + 0 * t)).sum() + np.hypot(t.real, 1.0).sum(),
}


@pytest.mark.parametrize("n", [2, 9, 2500])
@pytest.mark.parametrize("part", DROPS)
def test_a_part_that_drops_the_imaginary_part_is_refused(part: str, n: int) -> None:
    theta = np.random.default_rng(n).normal(size=n)
    # The claim forgets the part, as complex steps do.
    with pytest.raises(
        GradcheckInputError,
        match=r'scheme="complex" cannot be trusted for this cost: along a random direction complex '
        r"steps show a slope of .*, real differences .* \+- .*A part of it is not analytic .* or "
        r'use scheme="central4"',
    ):
        fgc.gradcheck(
            lambda t: cubes(t) + DROPS[part](t), lambda t: 3 * t**2, theta, scheme="complex", seed=0
        )


def test_the_block_is_named() -> None:
    rng = np.random.default_rng(1)
    theta = {"W": rng.normal(size=(4, 3)), "b": rng.normal(size=3), "c": np.array(0.5)}
    with pytest.raises(GradcheckInputError, match=r"cannot be trusted for this cost in b, c: "):
        fgc.gradcheck(
            lambda p: cubes(p["W"]) + np.abs(p["b"]).sum() + p["c"] * np.conj(p["c"]),
            lambda p: {"W": 3 * p["W"] ** 2, "b": 0 * p["b"], "c": 0 * p["c"]},
            theta,
            scheme="complex",
            seed=0,
        )


@pytest.mark.parametrize("cost", [single, on_the_way])
def test_single_precision_is_refused(cost: Any) -> None:
    theta = np.random.default_rng(2).normal(size=9)
    with pytest.raises(GradcheckInputError, match=r"cannot be trusted .*float32"):
        fgc.gradcheck(cost, lambda t: 3 * t**2, theta, scheme="complex", seed=0)


def test_compiled_costs_are_compared_too() -> None:
    @numba.njit
    def modulus(t):
        return (t**3).sum() + np.abs(t).sum()

    theta = np.random.default_rng(3).normal(size=9)
    with pytest.raises(GradcheckInputError, match="cannot be trusted"):
        fgc.gradcheck(modulus, lambda t: 3 * t**2, theta, scheme="complex", seed=0)


# What is analytic where it matters

A = np.random.default_rng(4).normal(size=(40, 9))
ANALYTIC = {
    "cubes": (cubes, lambda t: 3 * t**2),
    "exp": (lambda t: np.exp(np.sin(t)).sum(), lambda t: np.exp(np.sin(t)) * np.cos(t)),
    "product": (lambda t: t @ t * t.sum(), lambda t: 2 * t * t.sum() + t @ t),
    "root": (lambda t: np.sqrt(t @ t), lambda t: t / np.sqrt(t @ t)),
    "relu": (lambda t: np.maximum(A @ t, 0).sum(), lambda t: A.T @ (A @ t > 0)),
    "sorted": (lambda t: (np.sort(t)[:3] ** 2).sum(), lambda t: 2 * t * (t <= np.sort(t)[2])),
}


@pytest.mark.parametrize("strategy", ["components", "screen"])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("name", ANALYTIC)
def test_analytic_costs_are_trusted(name: str, scale: float, strategy: str) -> None:
    cost, grad = ANALYTIC[name]
    for seed in range(4):
        theta = np.random.default_rng(seed).normal(size=9)
        result = fgc.gradcheck(
            lambda t: cost(t / scale), lambda t: grad(t / scale) / scale, scale * theta,
            scheme="complex", strategy=strategy, seed=seed,
        )  # fmt: skip
        assert result
        assert not result.partial
        assert result.limit < 1e-11
        wrong = fgc.gradcheck(
            lambda t: cost(t / scale), lambda t: 1.001 * grad(t / scale) / scale, scale * theta,
            scheme="complex", strategy=strategy, seed=seed,
        )  # fmt: skip
        assert wrong.verdict is fgc.Verdict.WRONG


def test_a_stationary_point_is_no_reason_to_refuse() -> None:
    result = fgc.gradcheck(
        lambda t: ((t - 1) ** 2).sum(), lambda t: 2 * (t - 1), np.ones(5), scheme="complex", seed=0
    )
    assert result.verdict is not fgc.Verdict.WRONG


def test_what_noise_hides_is_told() -> None:
    def rough(t: Array) -> Any:
        return cubes(t) + 1e-7 * np.sin(1e15 * t.real).sum()

    theta = np.random.default_rng(5).normal(size=9)
    result = fgc.gradcheck(rough, lambda t: 3 * t**2, theta, scheme="complex", seed=0)
    assert "but these tell no more than" in message(result, "complex")
    clean = fgc.gradcheck(cubes, lambda t: 3 * t**2, theta, scheme="complex", seed=0)
    assert "complex" not in kinds(clean)
    assert clean.evaluations < fgc.gradcheck(cubes, lambda t: 3 * t**2, theta, seed=0).evaluations


def test_a_slope_that_real_differences_are_too_coarse_to_see_is_no_refusal():
    # At 14, tanh is 1 - 1e-12: it does not move in its last digit, but its derivative is there.
    result = fgc.gradcheck(
        lambda t: np.tanh(14 + t.sum()),
        lambda t: np.full(3, 1 / np.cosh(14 + t.sum()) ** 2),
        1e-3 * np.ones(3),
        scheme="complex",
        seed=1,
    )
    assert result.verdict is not fgc.Verdict.WRONG


@pytest.mark.parametrize("seed", [3, 4, 7])
def test_what_rounding_a_claim_takes_from_values_is_no_disagreement(seed: int) -> None:
    # 1 - tanh^2 has no more digits than 1 has where tanh is close to it.
    A = np.random.default_rng(seed).normal(size=80)
    theta = np.random.default_rng(seed + 100).normal(size=80) / 1.5
    result = fgc.gradcheck(
        lambda t: np.tanh(A @ t),
        lambda t: (1 - np.tanh(A @ t) ** 2) * A,
        theta,
        scheme="complex",
        strategy="screen",
        seed=seed,
    )
    assert result.verdict is not fgc.Verdict.WRONG
    assert "unlocated" not in kinds(result)
    # What the claim may be off by is not hidden either: 2e-16 beside the slope that is left.
    left = 1 / np.cosh(A @ theta) ** 2
    assert bool(result) == (left > 1e-8)
