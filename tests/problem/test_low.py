"""What rounding leaves of gradients of 16 bits: simulated, and end to end."""

from __future__ import annotations

import functools
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.problem import low
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective

BFLOAT = np.dtype(ml_dtypes.bfloat16)


def summed_in_pairs(terms: np.ndarray) -> np.ndarray:
    """Sums along the first axis, every partial sum rounded."""
    while len(terms) > 1:
        terms = (terms[0::2] + terms[1::2]).astype(terms.dtype)
    return terms[0]


@pytest.mark.parametrize("dtype", [BFLOAT, np.dtype(np.float16)])
@pytest.mark.parametrize("count", [2, 32, 1024])
def test_rounding_is_what_independent_errors_leave(count: int, dtype: Any) -> None:
    rng = np.random.default_rng(count)
    a, b = rng.normal(size=(2, count, 500))
    for factor in (a, b):
        factor[...] = factor.astype(dtype)  # they are exact; each term then has a rounding
    rounded = summed_in_pairs((a.astype(dtype) * b.astype(dtype)).astype(dtype))
    exact = (a * b).sum(0)
    off = np.linalg.norm(rounded.astype(float) - exact) / np.linalg.norm(exact)
    eps = float(ml_dtypes.finfo(dtype).eps)
    # Three factors have none here, and the position within a binade takes a quarter.
    assert 0.4 * low.relative(eps, count) < off < low.relative(eps, count)


def objective(args: tuple[Any, ...], cost: Any = np.sum, theta: Any = 1.0) -> Objective:
    parameters = describe(theta)
    return Objective(cost, args, parameters, parameters.flatten(theta))


def test_terms_are_the_rows_of_the_largest_array() -> None:
    assert low.terms(objective(())) == 1
    assert low.terms(objective((3.0,), theta=np.ones((7, 2)))) == 7
    assert low.terms(objective(({"X": np.ones((5, 4, 3))}, np.ones(12)))) == 20
    held = functools.partial(np.sum)
    assert low.terms(objective((), cost=held)) == 1
    held = functools.partial(lambda X, w: (X @ w).sum(), np.ones((30, 2)))
    assert low.terms(objective((), cost=held)) == 30


X = np.random.default_rng(0).normal(size=(64, 12))
Y = np.random.default_rng(1).normal(size=64)
W = np.random.default_rng(2).normal(size=12)


def cost(w: np.ndarray) -> float:
    return float(np.mean((np.tanh(X @ w) - Y) ** 2))


def exact(w: np.ndarray) -> np.ndarray:
    A = np.tanh(X @ w)
    return 2 * X.T @ ((A - Y) * (1 - A * A)) / len(Y)


def rounded(w: np.ndarray, dtype: Any = BFLOAT) -> np.ndarray:
    A = np.tanh(X @ w).astype(dtype)
    delta = (A - Y.astype(dtype)) * (1 - A * A)
    return summed_in_pairs(X.astype(dtype) * delta[:, np.newaxis]) / dtype.type(32)


@pytest.mark.parametrize("dtype", [BFLOAT, np.dtype(np.float16)])
def test_a_right_gradient_agrees_and_says_what_passes(dtype: Any) -> None:
    result = fgc.gradcheck(cost, lambda w: rounded(w, dtype), W, args=(), seed=0)
    assert result, str(result)
    (finding,) = [f for f in result.findings if f.kind == "low precision"]
    level = low.relative(float(ml_dtypes.finfo(dtype).eps), 12)
    assert f"expected to be off by {level:.1%} of each block" in finding.message
    assert "sums of 12 terms. A gradient that is off by up to" in finding.message
    assert result.threshold == pytest.approx(1.5 * level, rel=1e-12)


@pytest.mark.parametrize(
    "fault",
    [
        lambda g: -g,
        lambda g: 0 * g,
        lambda g: 40 * g,
        lambda g: g * 1.15,
        lambda g: np.where(np.arange(12) == 3, 0 * g, g),
        lambda g: np.roll(g, 1),
    ],
    ids=["negated", "zeroed", "40 times", "15 % more", "one entry", "shifted"],
)
def test_a_wrong_one_is_wrong(fault: Any) -> None:
    result = fgc.gradcheck(cost, lambda w: fault(rounded(w)).astype(BFLOAT), W, seed=0)
    assert result.verdict.name == "WRONG"


def test_j_is_never_evaluated_in_low_precision() -> None:
    seen = set()

    def watched(w: np.ndarray) -> float:
        seen.add(w.dtype)
        return cost(w)

    fgc.gradcheck(watched, rounded, W, seed=0)
    assert seen == {np.dtype(np.float64)}


def test_a_yardstick_sets_the_tolerances() -> None:
    fine = fgc.gradcheck(cost, rounded, W, seed=0, yardstick=rounded)
    assert fine, str(fine)
    (finding,) = [f for f in fine.findings if f.kind == "yardstick"]
    off = np.linalg.norm(rounded(W).astype(float) - exact(W)) / np.linalg.norm(exact(W))
    told = float(finding.message.split("off by ")[1].split("%")[0]) / 100
    assert 0.6 * off < told < 1.6 * off
    assert not [f for f in fine.findings if f.kind == "low precision"]

    def sloppy(w: np.ndarray) -> np.ndarray:
        return (rounded(w).astype(float) * (1 + 0.06 * np.sin(np.arange(12)))).astype(BFLOAT)

    assert not fgc.gradcheck(cost, sloppy, W, seed=0, yardstick=rounded)
    # Beside a yardstick that is as bad, it is good enough.
    assert fgc.gradcheck(cost, sloppy, W, seed=0, yardstick=sloppy)


def test_a_yardstick_is_for_low_precision() -> None:
    with pytest.raises(GradcheckInputError, match="yardstick= is for gradients of 16 bits"):
        fgc.gradcheck(cost, exact, W, yardstick=exact)
    spoiled = rounded(W)
    spoiled[4] = np.nan
    with pytest.raises(GradcheckInputError, match=r"the yardstick is not finite at theta\[4\]"):
        fgc.gradcheck(cost, rounded, W, yardstick=spoiled)
    with pytest.raises(GradcheckInputError, match=r"theta has shape \(3,\), but theta has \(12,\)"):
        fgc.gradcheck(cost, rounded, W, yardstick=np.ones(3))
