"""A budget is kept, and what was reached within it is a fair sample."""

from __future__ import annotations

import time

import numpy as np
import pytest

from fastgradcheck import GradcheckInputError, Verdict, gradcheck
from fastgradcheck.evaluation.budget import Budget, budget_of
from tests.cases.clocks import Clock


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(time, "monotonic", moved)
    monkeypatch.setattr(time, "perf_counter", moved)
    monkeypatch.setattr(sleepy, "clock", moved, raising=False)
    return moved


def sleepy(seconds: float):
    def cost(theta: dict[str, np.ndarray]) -> float:
        sleepy.clock.now += seconds
        return float((theta["a"] ** 2).sum() + (theta["b"] ** 3).sum())

    return cost


def gradient(theta: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"a": 2 * theta["a"], "b": 3 * theta["b"] ** 2}


THETA = {"a": np.linspace(1.0, 2.0, 600), "b": np.linspace(1.0, 2.0, 200)}


@pytest.mark.parametrize(("seconds", "budget"), [(1e-4, 0.1), (0.01, 1.5), (0.3, 2.5)])
def test_the_overrun_is_at_most_one_evaluation_and_half_a_second(
    seconds: float, budget: float, clock: Clock
) -> None:
    result = gradcheck(
        sleepy(seconds), gradient, THETA, strategy="components", budget=budget, seed=1
    )
    assert clock.now < budget + seconds + 0.5
    assert result.interrupted
    assert [f.kind for f in result.findings if f.kind == "budget"] == ["budget"]


def test_what_was_reached_is_stratified_and_drawn_by_the_seed() -> None:
    reached = []
    for seed in (1, 1, 2):
        result = gradcheck(
            sleepy(1e-3), gradient, THETA, strategy="components", budget=0.8, seed=seed
        )
        a, b = (block.checked for block in result.blocks)
        assert 0 < a + b < 800
        # Both blocks at the same rate, to within the calibration's few and the order's one.
        assert abs(a / 600 - b / 200) < 0.06
        assert f"{a + b} of 800 components" in result.coverage
        reached.append(set(result.components["index"].tolist()))
    first, again, other = reached
    smaller, larger = sorted((first, again), key=len)
    assert smaller <= larger
    assert len(first & other) < 0.9 * min(len(first), len(other))


def test_time_is_left_to_confirm_what_looks_wrong() -> None:
    def wrong(theta: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**gradient(theta), "b": 3.03 * theta["b"] ** 2}

    result = gradcheck(sleepy(2e-3), wrong, THETA, strategy="components", budget=3.0, seed=1)
    assert result.interrupted
    assert result.verdict is Verdict.WRONG
    assert len(result.wrong) > 8
    assert all(address.startswith("b") for address in result.wrong)


def test_everything_within_the_budget_is_no_interruption() -> None:
    result = gradcheck(sleepy(0.0), gradient, THETA, budget=60.0)
    assert result
    assert not result.interrupted
    assert all(block.checked == block.size for block in result.blocks)


def test_with_a_budget_the_screen_comes_first() -> None:
    result = gradcheck(sleepy(2e-3), gradient, THETA, budget=2.0, seed=1)
    assert "budget" in [finding.kind for finding in result.findings]
    assert not result.interrupted
    assert all(block.directions > 0 for block in result.blocks)
    assert result, "directions cover everything, though components were not through"


def test_no_time_at_all_decides_nothing() -> None:
    result = gradcheck(sleepy(1e-3), gradient, THETA, budget=1e-6)
    assert result.verdict is Verdict.UNDECIDED
    assert result.interrupted
    assert "No component was checked" in result.coverage


def test_the_reserve_grows_with_what_is_doubtful_up_to_a_quarter() -> None:
    budget = Budget(100.0)
    assert budget.reserve(0.01, 0) == budget.reserve(0.01, 1) == pytest.approx(0.42)
    assert budget.reserve(0.01, 10) == pytest.approx(4.2)
    assert budget.reserve(0.01, 10_000) == pytest.approx(32 * 0.42)
    assert budget.reserve(1.0, 10) == 25.0


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (0, "budget=0 leaves no time; it is a positive number of seconds"),
        (-3.0, "budget=-3.0 leaves no time"),
        (float("nan"), "budget=nan leaves no time"),
        ("30", "budget is a str; it is a number of seconds, such as 30"),
        (True, "budget is a bool"),
    ],
)
def test_what_is_no_budget_is_refused(budget: object, message: str) -> None:
    with pytest.raises(GradcheckInputError, match=message):
        gradcheck(sleepy(0.0), gradient, THETA, budget=budget)


def test_no_budget_is_no_limit() -> None:
    assert budget_of(None).left() == np.inf
