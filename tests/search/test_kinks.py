"""Screens where theta stands on kinks of J: penalties on entries that are exactly zero.

Oracles are closed forms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.search.cover import AT_BOUNDS
from tests.cases.results import message

Array = np.ndarray
WEIGHT = 0.1


class Lasso:
    """Least squares with an L1 penalty, at a theta of which some entries are exactly zero."""

    def __init__(self, size: int, zeros: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.data = rng.normal(size=(50, size)) / np.sqrt(size)
        self.targets = rng.normal(size=50)
        self.theta = rng.normal(size=size)
        self.zero = np.sort(rng.permutation(size)[:zeros])
        self.theta[self.zero] = 0.0

    def cost(self, x: Array) -> float:
        residual = self.data @ x - self.targets
        return float(residual @ residual + WEIGHT * np.abs(x).sum())

    def claim(self, at_zero: float | Array = 0.0) -> Array:
        """A subgradient, if `at_zero` is between -1 and 1."""
        smooth = 2 * self.data.T @ (self.data @ self.theta - self.targets)
        signs = np.sign(self.theta)
        signs[self.zero] = at_zero
        return smooth + WEIGHT * signs


def screened(case: Lasso, claim: Array, seed: int = 0) -> Any:
    return fgc.gradcheck(case.cost, claim, case.theta, strategy="screen", seed=seed)


@pytest.mark.parametrize(("size", "zeros"), [(40, 1), (40, 20), (40, 40), (3000, 1500)])
def test_the_middle_of_both_slopes_agrees_by_directions_alone(size: int, zeros: int) -> None:
    for seed in range(5):
        case = Lasso(size, zeros, seed)
        result = screened(case, case.claim(), seed)
        assert result, str(result)
        assert result.evaluations <= 100
        told = message(result, "kink")
        assert told.startswith("Theta stands on kinks of J: along every direction its slopes")
        assert f"({zeros:,} of {size:,} entries of theta are exactly zero)" in told


def test_the_spot_check_of_zeros_is_not_as_coarse_as_their_kinks() -> None:
    case = Lasso(3000, 900)
    result = fgc.gradcheck(case.cost, case.claim(), case.theta, seed=0)
    assert result, str(result)
    zeros = result.components[np.isin(result.components["index"], case.zero)]
    assert len(zeros)
    assert (zeros["error"] < 1e-6 * WEIGHT).all()
    assert result.resolution.size < 1e-3 * WEIGHT


@pytest.mark.parametrize("at_zero", ["ends", "random"])
def test_other_subgradients_agree_entry_by_entry(at_zero: str) -> None:
    rng = np.random.default_rng(1)
    for seed in range(5):
        case = Lasso(60, 12, seed)
        signs = rng.choice([-1.0, 1.0], 12) if at_zero == "ends" else rng.uniform(-1, 1, 12)
        result = screened(case, case.claim(signs), seed)
        assert result, str(result)
        assert "any value between them is a subgradient and is accepted" in message(result, "kink")


@pytest.mark.parametrize(("size", "zeros"), [(60, 12), (3000, 1500)])
def test_one_entry_with_another_subgradient_is_measured_by_itself(size: int, zeros: int) -> None:
    case = Lasso(size, zeros)
    claim = case.claim()
    claim[case.zero[3]] += 0.5 * WEIGHT
    result = screened(case, claim)
    assert result, str(result)
    assert result.evaluations <= 140


@pytest.mark.parametrize(("size", "zeros"), [(60, 12), (3000, 1500)])
@pytest.mark.parametrize("where", ["zero", "elsewhere"])
def test_one_wrong_entry_is_named(size: int, zeros: int, where: str) -> None:
    for seed in range(3):
        case = Lasso(size, zeros, seed)
        claim = case.claim()
        others = np.setdiff1d(np.arange(size), case.zero)
        wrong = int(case.zero[5]) if where == "zero" else int(others[5])
        claim[wrong] += 1.5 * WEIGHT if where == "zero" else 0.05 * WEIGHT
        assert screened(case, claim, seed).wrong == (f"theta[{wrong}]",)


def test_zeros_that_are_wrong_throughout_are_wrong() -> None:
    case = Lasso(60, 12)
    result = screened(case, case.claim(3.0))
    assert set(result.wrong) == {f"theta[{i}]" for i in case.zero}


def test_too_many_zeros_with_other_subgradients_are_undecided() -> None:
    case = Lasso(3000, 1500)
    result = screened(case, case.claim(1.0))
    assert result.verdict is fgc.Verdict.UNDECIDED
    assert "1,500 of 3,000 parameters were covered" in result.coverage
    assert f"{AT_BOUNDS} of these were measured one by one" in result.coverage
    assert 'Measure every component with strategy="components"' in message(result, "unlocated")


def test_zeros_that_were_not_measured_are_not_known_to_vanish() -> None:
    """At w = 0, a sum of max(0, x . w), claimed to have no slope at all."""
    data = np.random.default_rng(0).normal(size=(100, 300))
    result = fgc.gradcheck(
        lambda w: float(np.maximum(0.0, data @ w).sum()),
        np.zeros(300),
        np.zeros(300),
        strategy="screen",
        seed=0,
    )
    assert result.verdict is fgc.Verdict.UNDECIDED, str(result)


def test_a_wrong_gradient_elsewhere_is_no_matter_of_subgradients() -> None:
    case = Lasso(3000, 1500)
    claim = case.claim()
    claim[case.theta != 0] *= 1.01
    assert screened(case, claim).verdict is fgc.Verdict.WRONG


def test_recorded_directions_know_kinks() -> None:
    case = Lasso(300, 10)
    recorded = fgc.fingerprint(case.cost, case.theta, seed=0)
    assert recorded.check(case.claim())
    assert recorded.check(case.claim(1.0)).verdict is fgc.Verdict.UNDECIDED
    assert recorded.check(2 * case.claim()).verdict is fgc.Verdict.WRONG
