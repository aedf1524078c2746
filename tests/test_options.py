"""Options that make no sense are refused before any long work, in words that say what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck import options
from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.problem.parameters import describe
from tests.cases.refusals import NEST, THETA, Counted, nested_cost, nested_grad, refused, slope


@pytest.mark.parametrize(
    ("epsilon", "message"),
    [
        (0, r"epsilon=0 is not a step: use \"auto\", or a positive number in theta's units such"),
        (-1e-6, r"epsilon=-1e-06 is not a step"),
        (np.nan, r"epsilon=nan is not a step"),
        (np.inf, r"epsilon=inf is not a step"),
        (True, r"epsilon=True is not a step"),
        ("small", r"epsilon='small' is not a step"),
        ([1e-6], r"epsilon=\[1e-06\] is not a step"),
        ({"W1": -1.0}, r"epsilon\['W1'\]=-1\.0 is not a step"),
        ({"W7": 1e-6}, r"epsilon names the block 'W7', which theta does not have; .* W1, b1\."),
        (
            1e-17,
            r"epsilon=1e-17 is too small for W1\[0, 0\] = 1: theta \+ epsilon is theta in float64\."
            r" Use epsilon >= 6e-06, or epsilon=\"auto\"",
        ),
    ],
)
def test_epsilon(epsilon: Any, message: str) -> None:
    refused(message, nested_cost, nested_grad, NEST, epsilon=epsilon)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("scheme", "centre", r"scheme='centre' is not a difference scheme; use one of 'central', "),
        ("scheme", 2, r"scheme=2 is not a difference scheme"),
        ("engine", "jax", r"engine='jax' is not an engine; use one of 'auto', 'numba', 'python'"),
        ("engine", None, r"engine=None is not an engine"),
        ("strategy", "spot", r"strategy='spot' is not a strategy; use one of 'auto', 'comp"),
        ("seed", -1, r"seed=-1 is not a seed; use a non-negative integer"),
        ("seed", 1.5, r"seed=1\.5 is not a seed"),
        ("n_jobs", 0, r"n_jobs=0 is not a number of workers: use 1, 2, \.\.\., or -1 for all"),
        ("threshold", 0.0, r"threshold=0\.0 is not a tolerance; use a positive number such as"),
        ("threshold", "tight", r"threshold='tight' is not a tolerance"),
        ("threshold", 0.9, r"threshold=0\.9 lets everything pass: a gradient of twice the right"),
        ("threshold", 1e-17, r"threshold=1e-17 cannot be met: the gradient's eps is 2e-16\. Use "),
        ("rtol", -1.0, r"rtol=-1\.0 is not a tolerance"),
        ("rtol", 2.0, r"rtol=2 lets everything pass"),
        ("rtol", True, r"rtol=True is not a tolerance"),
        (
            "bounds",
            3.0,
            r"bounds must be a pair \(low, high\), a list with such a pair for each of",
        ),
        ("bounds", (1.0, 5.0), r"theta\[1\] = -2 lies outside its bounds \[1, 5\]; check at a po"),
    ],
)
def test_options(option: str, value: Any, message: str) -> None:
    given = {"seed": 0, option: value}
    with pytest.raises(GradcheckInputError, match=message):
        fgc.gradcheck(Counted(), slope, THETA, **given)


def test_a_threshold_that_float32_cannot_reach() -> None:
    def single(theta: np.ndarray) -> np.float32:
        if theta.dtype != np.float32:
            raise TypeError("float32 only")
        return np.float32((theta**2).sum())

    refused(
        r"threshold=1e-07 cannot be met: J is evaluated in float32\. Use threshold >= 3e-05, or "
        r"pass theta and the gradient in float64",
        single,
        theta=THETA.astype(np.float32),
        threshold=1e-7,
    )
    refused(
        r"threshold=1e-09 cannot be met: the gradient's eps is 1e-07\. Use threshold >= 2e-07",
        grad=lambda t: (2 * t).astype(np.float32),
        threshold=1e-9,
    )


def test_an_epsilon_that_vanishes_is_refused_with_the_address() -> None:
    parameters = describe({"W": np.array([[1.0, 1e-3], [1e4, 0.0]])})
    flat = parameters.flatten({"W": np.array([[1.0, 1e-3], [1e4, 0.0]])})
    options.refuse_vanishing(flat, np.array([1e-11]), parameters)
    with pytest.raises(
        GradcheckInputError,
        match=r"epsilon=1e-13 is too small for W\[1, 0\] = 10000: theta \+ epsilon is theta in "
        r"float64\. Use epsilon >= 0\.06, or epsilon=\"auto\"",
    ):
        options.refuse_vanishing(flat, np.array([1e-13]), parameters)
