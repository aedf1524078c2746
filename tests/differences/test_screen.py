"""Random directions: the bound and the certificate.

Oracles are closed forms; simulations draw with NumPy.
"""

from __future__ import annotations

import numpy as np
import pytest

from fastgradcheck.differences.screen import (
    CONFIDENCE,
    HIDDEN_BELOW,
    Screened,
)
from fastgradcheck.evaluation.hashing import direction, key
from tests.cases.screened import Array

# No error hides often.

ERRORS = {
    "isolated": lambda rng: np.eye(1, 200, 17)[0],
    "two of equal size": lambda rng: np.eye(1, 200, 3)[0] + np.eye(1, 200, 150)[0],
    "two of equal size and other sign": lambda rng: np.eye(1, 200, 3)[0] - np.eye(1, 200, 150)[0],
    "three, one large": lambda rng: np.eye(1, 200, 3)[0] * 3 + np.repeat([0, 1, 0], [90, 2, 108]),
    "dense, equal": lambda rng: np.ones(200),
    "dense, normal": lambda rng: rng.normal(size=200),
    "dense, heavy tails": lambda rng: rng.standard_cauchy(size=200),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_no_error_vector_hides_more_often_than_the_bound(kind: str) -> None:
    """P(|r . v| <= t ||r||) <= sqrt(2) t; the simulation may be four standard errors above."""
    r = ERRORS[kind](np.random.default_rng(0))
    draws = 20_000
    # The entries of one long direction, cut into rows, are independent directions.
    v = direction(key(11), np.arange(draws * r.size)).reshape(draws, r.size)
    y = np.abs(v @ r) / np.linalg.norm(r)
    for t in (0.02, 0.05, 0.1, 0.2, 0.4):
        bound = np.sqrt(2) * t
        assert np.mean(y <= t) <= bound + 4 * np.sqrt(bound / draws)
    if kind == "isolated":
        assert y.min() >= 0.5
    assert y.max() < HIDDEN_BELOW


def test_the_bound_is_nearly_attained() -> None:
    """Two equal entries come within a quarter of it: a bound of half the size would be wrong."""
    v = direction(key(11), np.arange(400_000)).reshape(-1, 2)
    hidden = np.mean(np.abs(v.sum(axis=1)) <= 0.1 * np.sqrt(2))
    assert hidden > 0.45 * np.sqrt(2) * 0.1


# The certificate.


def certified(
    error: Array, bar: float, rng: np.random.Generator, failure: float = (1 - CONFIDENCE) / 6
) -> Screened:
    keys = rng.integers(0, 2**63, 4).astype(np.uint64)
    v = np.stack([direction(word, np.arange(error.size)) for word in keys])
    y = v @ error + bar * rng.uniform(-1, 1, 4)
    return Screened(keys, np.ones(4), y, np.full(4, bar), failure)


def test_the_upper_limit_is_no_better_than_stated() -> None:
    """For two equal errors, which come near the bound: t = 0.2236, and each direction hides

    them with probability (1 - (1 - sqrt(2) t)^2) / 2 = 0.266, all four with 0.005.
    """
    rng = np.random.default_rng(4)
    pair = np.array([1.0, 1.0])
    misses = sum(certified(pair, 0.0, rng, 0.01).upper < np.sqrt(2) for _ in range(4000))
    assert 0.002 * 4000 < misses <= 0.01 * 4000


@pytest.mark.parametrize("kind", ERRORS)
def test_limits_of_the_error_norm_hold_as_often_as_stated(kind: str) -> None:
    """The upper limit at its stated confidence, the lower always, at bars from none to half."""
    rng = np.random.default_rng(5)
    misses = count = 0
    for trial in range(1500):
        r = ERRORS[kind](rng)
        size = float(np.linalg.norm(r))
        screened = certified(r, [0.0, 0.05, 0.5][trial % 3] * size, rng)
        misses += screened.upper < size
        count += 1
        assert screened.lower <= size
    allowed = (1 - CONFIDENCE) / 6
    assert misses <= count * allowed + 4 * np.sqrt(count * allowed)


def test_an_isolated_error_of_the_stated_size_is_always_seen() -> None:
    rng = np.random.default_rng(6)
    for _ in range(2000):
        error = np.zeros(50)
        bar = 10.0 ** rng.uniform(-6, 0)
        error[rng.integers(50)] = 4 * bar
        screened = certified(error, bar, rng)
        assert screened.isolated == pytest.approx(4 * bar)
        assert screened.fails


def test_pairs_and_dense_errors_of_the_upper_limits_size_are_seen() -> None:
    """An error of the norm that a correct gradient's limit excludes makes some direction fail.

    ``|y| - bar > bar`` follows from ``|r . v| > 2 bar``, so twice the reach is what is excluded.
    """
    rng = np.random.default_rng(7)
    for kind in ("two of equal size", "dense, normal"):
        missed = 0
        for _ in range(1000):
            r = ERRORS[kind](rng)
            reach = certified(0 * r, 1.0, rng).reach
            missed += not certified(2 * reach * r / np.linalg.norm(r), 1.0, rng).fails
        allowed = 1000 * (1 - CONFIDENCE) / 6
        assert missed <= allowed + 4 * np.sqrt(allowed)


def test_what_is_not_a_number_fails() -> None:
    one = np.array([np.nan])
    assert Screened(np.array([key(0)]), np.ones(1), one, np.ones(1), 1e-3).fails
