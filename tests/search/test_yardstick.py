"""How far another gradient is off, block by block: against what was planted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgradcheck.options import options_of
from fastgradcheck.problem.problem import Problem
from fastgradcheck.search.task import Task
from fastgradcheck.search.yardstick import calibrated, errors
from fastgradcheck.verdict.tolerances import tolerances
from tests.cases.contexts import context_of

THETA = {"a": np.linspace(0.5, 1.5, 40), "b": np.linspace(-1.0, 1.0, 30), "c": 2.0}
EXACT = np.concatenate([np.cos(THETA["a"]), 3 * THETA["b"] ** 2, [4.0]])


def cost(t: Any) -> float:
    return float(np.sin(t["a"]).sum() + (t["b"] ** 3).sum() + t["c"] ** 2)


def task(**options: Any) -> Task:
    context = context_of(cost, THETA, **options)
    flat, parameters = context.theta, context.parameters
    given = options_of(parameters, flat, None, "auto", "central", "auto", None, 0, False)
    problem = Problem(context.stream.engine.objective, EXACT, 2.0**-7, context.value)
    return Task(
        context, problem, tolerances(problem, None, None), given.sample, given.screens, given.spot
    )


@pytest.mark.parametrize("seed", range(5))
def test_errors_are_those_planted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    planted = np.array([1e-2, 1e-3, 1e-4])
    r = np.concatenate([s * rng.normal(size=n) for s, n in zip(planted, (40, 30, 1), strict=True)])
    found = errors(task(seed=seed), EXACT + r)
    sizes = [np.linalg.norm(r[:40]), np.linalg.norm(r[40:70]), abs(r[70])]
    # The mean square of 16: within a factor of two of each.
    assert (0.6 * np.array(sizes) < found).all()
    assert (found < 1.5 * np.array(sizes)).all()


def test_an_exact_yardstick_is_exact() -> None:
    assert (errors(task(), EXACT) < 1e-6).all()


def test_bounds_are_kept() -> None:
    low = {name: np.asarray(value) - 1e-9 for name, value in THETA.items()}
    high = {name: np.asarray(value) + 1e-9 for name, value in THETA.items()}

    def watched(t: Any) -> float:
        assert all((np.asarray(t[name]) >= low[name]).all() for name in t)
        assert all((np.asarray(t[name]) <= high[name]).all() for name in t)
        return cost(t)

    context = context_of(watched, THETA, bounds=(low, high))
    plain = task()
    narrow = Task(context, plain.problem, plain.tolerance, plain.sample, plain.screens)
    errors(narrow, EXACT)


def test_the_users_own_tolerances_stand() -> None:
    measured, (finding,) = calibrated(task(), EXACT * 1.01, 0.02, None)
    assert measured.tolerance.threshold == 0.02
    assert finding.message.startswith("The yardstick is off by ")
    assert "the gradient may be off by three times as much" in finding.message
