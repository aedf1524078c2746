"""Theta at the edge of J's domain, or close to it: measured from inside, and named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.errors import CostEvaluationError
from tests.cases.results import kinds, message

PLACE = 7
Cost = Callable[[np.ndarray], float]


def cubes(theta: np.ndarray) -> np.ndarray:
    return 3 * theta**2


def off(theta: np.ndarray) -> np.ndarray:
    claim = cubes(theta)
    claim[PLACE] *= 1.001
    return claim


def edged(inside: Callable[[np.ndarray], bool], ends: str = "raises") -> Cost:
    """The sum of cubes, where `inside` holds; elsewhere it raises, or is no number."""

    def cost(theta: np.ndarray) -> float:
        if inside(theta):
            return float((theta**3).sum())
        if ends == "raises":
            raise ValueError("outside of the domain")
        return float(ends)

    return cost


def at_one(n: int, distance: float = 0.0) -> np.ndarray:
    theta = np.random.default_rng(n).uniform(0.1, 0.9, n)
    theta[PLACE] = 1.0 - distance
    return theta


@pytest.mark.parametrize("ends", ["raises", "nan", "inf"])
@pytest.mark.parametrize("n", [9, 60, 2500])
@pytest.mark.parametrize("side", ["above", "below"])
def test_an_entry_at_the_edge_is_measured_from_inside(side: str, n: int, ends: str) -> None:
    sign = 1 if side == "above" else -1
    theta = sign * at_one(n)
    cost = edged(lambda t: sign * t[PLACE] <= 1, ends)
    result = fgc.gradcheck(cost, cubes, theta, seed=0)
    assert result
    assert not result.partial
    said = message(result, "edge")
    other = "below" if side == "above" else "above"
    assert f"J is not defined {side} theta[7], and was measured from {other} there" in said
    wrong = fgc.gradcheck(cost, off, theta, seed=0)
    assert wrong.wrong == ("theta[7]",)
    # |0.003| over twice the norm, of the claim and of the truth.
    expected = 0.003 / (2 * np.linalg.norm(cubes(theta)))
    assert wrong.relative_difference == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("distance", [1e-13, 1e-10, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2])
@pytest.mark.parametrize(
    "options",
    [
        {"strategy": "components"},
        {"strategy": "screen"},
        {"strategy": "components", "scheme": "forward"},
        {"strategy": "components", "scheme": "central4"},
    ],
    ids=str,
)
def test_an_entry_near_the_edge_needs_no_help(options: dict[str, str], distance: float) -> None:
    theta = at_one(30, distance)
    cost = edged(lambda t: t[PLACE] <= 1)
    assert fgc.gradcheck(cost, cubes, theta, seed=0, **options)
    wrong = fgc.gradcheck(cost, off, theta, seed=0, **options)
    assert wrong.wrong == ("theta[7]",)


@pytest.mark.parametrize("n", [30, 2500])
def test_zeros_that_may_not_fall(n: int) -> None:
    theta = 0.01 + np.abs(np.random.default_rng(n).normal(size=n))
    theta[3:20] = 0.0
    cost = edged(lambda t: bool((t >= 0).all()))
    result = fgc.gradcheck(cost, cubes, theta, seed=0)
    assert result
    assert not result.partial
    assert "below theta[3], theta[4], theta[5] and 14 more" in message(result, "edge")


def test_two_edges_of_different_values_on_both_sides() -> None:
    theta = np.linspace(0.1, 0.9, 40)
    low, high = theta.copy() - 1, theta.copy() + 1
    low[5], high[11], high[30] = theta[5], theta[11], theta[30]
    cost = edged(lambda t: bool((t >= low).all() and (t <= high).all()))
    result = fgc.gradcheck(cost, cubes, theta, seed=0)
    assert result
    said = message(result, "edge")
    assert "above theta[11], theta[30], and was measured from below there" in said
    assert "nor below theta[5], and was measured from above there" in said


def test_twins_that_are_free_stay_free() -> None:
    theta = np.linspace(0.5, 0.9, 40)
    theta[[2, 8, 30]] = 0.25
    result = fgc.gradcheck(edged(lambda t: t[8] >= 0.25), cubes, theta, seed=0)
    assert result
    assert "below theta[8], and was" in message(result, "edge")


def test_a_sum_that_is_at_its_limit_leaves_every_entry_one_side() -> None:
    theta = np.random.default_rng(2).dirichlet(np.ones(50))
    total = theta.sum()
    cost = edged(lambda t: t.sum() <= total + 1e-15)
    result = fgc.gradcheck(cost, cubes, theta, strategy="components", seed=0)
    assert result
    assert "theta[0], theta[1], theta[2] and 47 more" in message(result, "edge")


def test_bounds_of_the_user_are_kept_as_well() -> None:
    theta = at_one(20)
    seen = []

    def cost(t: np.ndarray) -> float:
        seen.append(t.copy())
        return edged(lambda t: t[PLACE] <= 1)(t)

    bounds = (np.full(20, -1.0), np.where(np.arange(20) == 3, theta, 5.0))
    assert fgc.gradcheck(cost, cubes, theta, bounds=bounds, seed=0)
    assert max(t[3] for t in seen) == theta[3]


@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_an_entry_that_cannot_be_moved_is_named(strategy: str) -> None:
    theta = {"W": at_one(40).reshape(4, 10), "b": np.ones(3)}

    def cost(p: Any) -> float:
        if p["W"][0, PLACE] != 1:
            raise ValueError("must be one")
        return float((p["W"] ** 3).sum() + p["b"].sum())

    with pytest.raises(
        CostEvaluationError,
        match=r"^cost raised ValueError on both sides of W\[0, 7\] = 1, 1e-06 away: must be one\. "
        r"There is no derivative where J has no neighbourhood: leave W\[0, 7\] out of theta",
    ) as caught:
        fgc.gradcheck(cost, lambda p: p, theta, strategy=strategy, seed=0)
    assert caught.value.address == "W[0, 7]"
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_cost_that_raises_everywhere_else_names_the_first() -> None:
    theta = at_one(12)
    with pytest.raises(CostEvaluationError, match=r"theta\[0\] = .* for 11 more entries"):
        fgc.gradcheck(edged(lambda t: bool((t == theta).all())), cubes, theta, seed=0)


def test_a_cost_that_raises_from_some_call_on_says_where_that_was() -> None:
    calls = 0

    def failing(theta: np.ndarray) -> float:
        nonlocal calls
        calls += 1
        if calls > 20:
            raise RuntimeError("no more")
        return float((theta**3).sum())

    with pytest.raises(CostEvaluationError, match=r"cost raised RuntimeError at theta.*: no more"):
        fgc.gradcheck(failing, cubes, at_one(12), seed=0)


def test_one_that_is_no_number_on_both_sides_is_undecided() -> None:
    theta = at_one(30)
    result = fgc.gradcheck(edged(lambda t: t[PLACE] == 1, "nan"), cubes, theta, seed=0)
    assert result.verdict is fgc.Verdict.UNDECIDED
    undecided = result.components["index"][result.components["verdict"] == 2]
    assert undecided.tolist() == [PLACE]


def test_numerical_gradients_too() -> None:
    theta = at_one(9)
    numeric = fgc.numerical_gradient(edged(lambda t: t[PLACE] <= 1), theta)
    assert (abs(numeric.value - cubes(theta)) <= numeric.error).all()


def test_inside_of_the_domain_nothing_is_asked() -> None:
    theta = at_one(30, 0.5)
    plain = fgc.gradcheck(edged(lambda t: True), cubes, theta, seed=0)
    assert "edge" not in kinds(plain)
    dead = fgc.gradcheck(lambda t: float(np.maximum(t - 3, 0).sum()), np.zeros_like, theta, seed=0)
    assert "edge" not in kinds(dead)
