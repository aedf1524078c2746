"""Defects of other gradient checkers, each of which must not be ours.

Doubled, zero and sign-flipped gradients that pass because the tolerance grows with the output or
is absolute first; NaN that compares false and passes; a kink that is extrapolated over; noise
that is taken for evidence.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck import Verdict
from fastgradcheck.errors import GradcheckInputError


def half_squares(x: np.ndarray) -> float:
    return float((x * x).sum() / 2)


@pytest.mark.parametrize("n", [1000, 5000])
@pytest.mark.parametrize("factor", [2.0, 0.0, -1.0])
def test_a_scaled_float32_gradient_with_thousands_of_entries_is_wrong(
    n: int, factor: float
) -> None:
    theta = np.random.default_rng(0).normal(size=n).astype(np.float32)
    right = fgc.gradcheck(half_squares, theta.copy(), theta, seed=0)
    wrong = fgc.gradcheck(half_squares, np.float32(factor) * theta, theta, seed=0)
    assert right.verdict is Verdict.AGREES, str(right)
    assert wrong.verdict is Verdict.WRONG, str(wrong)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [1e-30, 1e-9, 1.0, 1e9, 1e30])
def test_the_size_of_the_gradient_does_not_matter(size: float, dtype: type) -> None:
    theta = np.array([0.3, -1.2, 0.8], dtype=dtype)

    def cost(x: np.ndarray) -> float:
        return float(size * np.tanh(x).sum())

    gradient = (size * (1 - np.tanh(theta.astype(np.float64)) ** 2)).astype(dtype)
    right = fgc.gradcheck(cost, gradient, theta, seed=0)
    flipped = fgc.gradcheck(cost, -gradient, theta, seed=0)
    one = gradient.copy()
    one[1] = -one[1]
    one_flipped = fgc.gradcheck(cost, one, theta, seed=0)
    assert right.verdict is Verdict.AGREES, str(right)
    assert flipped.verdict is Verdict.WRONG, str(flipped)
    assert one_flipped.verdict is Verdict.WRONG, str(one_flipped)
    assert one_flipped.wrong == ("theta[1]",)


@pytest.mark.parametrize("entry", [0, 2])
def test_nan_in_the_gradient_is_never_agreement(entry: int) -> None:
    theta = np.array([0.3, -1.2, 0.8])
    gradient = theta.copy()
    gradient[entry] = np.nan
    try:
        result = fgc.gradcheck(half_squares, gradient, theta, seed=0)
    except GradcheckInputError as refusal:
        assert f"theta[{entry}]" in str(refusal)  # noqa: PT017
    else:
        assert result.verdict is not Verdict.AGREES
        assert not result


def test_nan_in_the_cost_next_to_theta_is_never_agreement() -> None:
    theta = np.array([0.3, -1.2])

    def cost(x: np.ndarray) -> float:
        return half_squares(x) if x[1] == theta[1] else float("nan")

    result = fgc.gradcheck(cost, theta.copy(), theta, seed=0)
    assert result.verdict is not Verdict.AGREES


@pytest.mark.parametrize("distance", [1e-3, 1e-5, 1e-7, 1e-9])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_relu_beside_its_kink_has_the_slope_of_its_side(distance: float, side: float) -> None:
    def relu(x: np.ndarray) -> float:
        return float(np.maximum(x, 0).sum())

    theta = np.array([side * distance, 0.7])
    slope = np.array([float(side > 0), 1.0])
    numeric = fgc.numerical_gradient(relu, theta)
    assert (np.abs(numeric.value - slope) <= numeric.error).all()
    assert (numeric.error <= 1e-6).all()
    assert fgc.gradcheck(relu, slope, theta, seed=0).verdict is Verdict.AGREES
    slope[0] = 1 - slope[0]
    assert fgc.gradcheck(relu, slope, theta, seed=0).verdict is Verdict.WRONG


def noisy(relative: float):
    """Exp with noise of that size: reproducible, but without any smoothness below it."""

    def cost(x: np.ndarray) -> float:
        bits = np.ascontiguousarray(x, dtype=np.float64).view(np.uint64)
        seed = np.random.SeedSequence([int(b) for b in bits])
        uniform = seed.generate_state(1, np.uint64)[0] / 2.0**64
        return float(np.exp(x).sum() * (1 + relative * (2 * uniform - 1)))

    return cost


@pytest.mark.parametrize("relative", [1e-12, 1e-9, 1e-6])
def test_noise_is_never_evidence(relative: float) -> None:
    cost = noisy(relative)
    missed, total = 0, 0
    for seed in range(20):
        theta = np.random.default_rng(seed).uniform(-1, 1, size=4)
        exact = np.exp(theta)
        numeric = fgc.numerical_gradient(cost, theta)
        missed += int((np.abs(numeric.value - exact) > numeric.error).sum())
        total += theta.size
        result = fgc.gradcheck(cost, exact, theta, seed=seed)
        assert result.verdict is not Verdict.WRONG, str(result)
        # Central differences of a function with derivatives of order one cannot do better than
        # (relative * J) ** (2/3); ten times below that is a claim finer than the noise allows,
        # also for a scheme of fourth order, whose limit is (relative * J) ** (4/5).
        finest = relative ** (4 / 5) / 10
        assert np.median(numeric.error) >= finest
        if result.verdict is Verdict.AGREES:
            assert result.resolution.size >= finest
    assert missed <= 0.01 * total, f"{missed} of {total} bars do not hold"


@pytest.mark.parametrize("relative", [1e-9, 1e-6])
def test_an_error_below_the_noise_is_not_called_wrong_and_one_above_is(relative: float) -> None:
    cost = noisy(relative)
    theta = np.array([0.2, -0.4, 0.9])
    exact = np.exp(theta)
    hidden = exact + relative * np.array([0.5, -0.5, 0.5])
    assert fgc.gradcheck(cost, hidden, theta, seed=0).verdict is not Verdict.WRONG
    result = fgc.gradcheck(cost, 1.3 * exact, theta, seed=0)
    assert result.verdict is Verdict.WRONG, str(result)


def test_the_edge_of_a_domain_beside_theta_is_not_an_error() -> None:
    """Entries of 0.01 and 5 in one block, both of a logarithm; warnings are errors here."""
    theta = np.array([0.01, 0.7, 5.0])
    result = fgc.gradcheck(lambda x: float(np.log(x).sum()), 1 / theta, theta, seed=0)
    assert result.verdict is Verdict.AGREES, str(result)


def test_an_exception_outside_of_the_domain_beside_theta_is_not_an_error() -> None:
    theta = np.array([0.01, 0.7, 5.0])
    result = fgc.gradcheck(lambda x: sum(map(math.log, x)), 1 / theta, theta, seed=0)
    assert result.verdict is Verdict.AGREES, str(result)
