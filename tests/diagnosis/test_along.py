"""What directions alone tell, on errors that are made up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastgradcheck.diagnosis.along import pattern
from fastgradcheck.differences import joint
from fastgradcheck.differences.directions import Prober
from fastgradcheck.differences.draws import Draws
from fastgradcheck.evaluation.hashing import direction, key
from fastgradcheck.problem.problem import Problem
from tests.cases.contexts import context_of

RNG = np.random.default_rng(0)
THETA = {"W": RNG.normal(size=(6, 5)), "b": RNG.normal(size=5)}
CLAIM = RNG.normal(size=35)
FLAT = np.concatenate([part.ravel() for part in THETA.values()])


def told(error: np.ndarray, bar: float = 1e-9, count: int = 16) -> tuple[tuple[int, ...], str]:
    """The pattern of this error of the claim."""
    context = replace(context_of(lambda t: 0.0, THETA), noise=1e-16)
    problem = Problem(context.stream.engine.objective, CLAIM, 2.2e-16, 0.0)
    prober = Prober(context, problem, np.ones(35))
    keys = np.array([key(0, d) for d in range(count)])
    y = np.array([direction(k, np.arange(35)) @ error for k in keys])
    draws = Draws(keys, np.ones(count), y, np.full(count, bar), np.zeros((count, 4)))
    found = pattern(prober, joint.limits(prober, draws, np.ones(2), {}, 0))
    return ((), "") if found is None else (found.blocks, found.finding.message)


W, B = np.arange(30), np.arange(30, 35)


def part(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.where(np.isin(np.arange(35), where), values, 0.0)


@pytest.mark.parametrize(
    ("error", "blocks", "words"),
    [
        # A claim that is 1.5 times the truth is off by a third of itself.
        (part(CLAIM, W) / 3, (0,), "The gradient of W is 1.5 times what the slopes"),
        (part(CLAIM, B) * 2, (1,), "The gradient of b is -1 times what the slopes"),
        (part(CLAIM, B), (1,), "The gradient of b is not zero, but the slopes along all"),
        (CLAIM * 0.5, (0, 1), "The gradient of every block is 2 times what"),
        (-0.01 * FLAT, (0, 1), "lacks 0.01 * theta"),
        (-0.01 * part(FLAT, W), (0,), "lacks 0.01 * the matrices of theta"),
        (0.3 * part(FLAT, B), (1,), "has 0.3 * b too much"),
    ],
)
def test_what_is_proportional_to_something_known_is_named(error, blocks, words) -> None:
    found, message = told(error)
    assert found == blocks
    assert words in message


def test_errors_of_their_own_have_no_pattern() -> None:
    for seed in range(1, 50):
        error = np.random.default_rng(seed).normal(size=35)
        assert told(error) == ((), "")
        assert told(part(error, W)) == ((), "")


def test_small_errors_and_few_directions_have_none() -> None:
    assert told(CLAIM * 0.5, bar=1.0) == ((), "")
    assert told(CLAIM * 0.5, count=4) == ((), "")
