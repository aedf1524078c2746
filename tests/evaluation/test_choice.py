"""The engine for a long loop is chosen by what it is measured to take."""

from __future__ import annotations

import os
import threading

import numba
import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.evaluation import choice
from fastgradcheck.evaluation.choice import faster, open_engine
from fastgradcheck.problem.outputs import describe_outputs
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective

THETA = np.linspace(0.5, 1.5, 50)


@numba.njit
def vectorised(theta):
    return np.tanh(theta).sum()


@numba.njit
def looped(theta):
    total = 0.0
    for k in range(200_000):
        total += np.sin(theta[k % theta.size])
    return total


def plain(theta):
    return float(np.tanh(theta).sum())


def opened(cost, n_jobs=None):
    return open_engine(Objective(cost, (), describe(THETA), THETA), "auto", n_jobs)


def chosen(cost, seconds, evaluations, n_jobs=None):
    engine = opened(cost, n_jobs)
    value = float(engine.objective(THETA.copy()))
    return faster(engine, value, seconds, evaluations, n_jobs)


def test_a_short_loop_is_left_alone():
    engine, findings = chosen(vectorised, 1e-5, 1000)
    assert (engine.name, findings) == ("numba", ())


def test_a_compiled_cost_that_is_slower_than_its_python_function_runs_in_python():
    # As if compiled code took a second for what NumPy does in microseconds.
    engine, (finding,) = chosen(vectorised, 1.0, 1000)
    assert engine.name == "python"
    assert engine.objective.cost is vectorised.py_func
    assert finding.kind == "engine"
    assert "its Python function" in finding.message
    assert "numba on" in finding.message


def test_an_interpreted_loop_is_given_up_quickly_and_stays_compiled():
    engine, (finding,) = chosen(looped, 1e-3, 1_000_000)
    assert engine.name == "numba"
    assert "Chosen for speed: numba" in finding.message


def test_a_python_function_with_another_value_is_not_taken(monkeypatch):
    objective = Objective(vectorised, (), describe(THETA), THETA)
    assert choice._timed(objective, 1.001 * plain(THETA), 1.0) is None
    assert choice._timed(objective, plain(THETA), 1.0) > 0


def watched(monkeypatch):
    """A cost that remembers the threads and processes that it was called in."""
    seen = set()

    def cost(theta):
        seen.add((os.getpid(), threading.get_ident()))
        return plain(theta)

    monkeypatch.setattr(choice.os, "cpu_count", lambda: 4)
    return cost, seen


def test_a_python_cost_stays_in_its_thread_and_the_user_is_told_what_workers_would_give(
    monkeypatch,
):
    cost, seen = watched(monkeypatch)
    engine, (finding,) = chosen(cost, 0.1, 1000)
    assert (engine.name, engine.n_jobs) == ("python", 1)
    assert seen == {(os.getpid(), threading.get_ident())}
    assert finding.message.startswith(
        "A Python cost runs on one core unless you ask for more: about 1e+02 s. n_jobs=4 would "
        "take about 26 s with worker processes, their start included"
    )
    assert 'numba.njit (engine="numba")' in finding.message


def test_a_long_check_of_a_python_cost_never_leaves_its_thread(monkeypatch):
    cost, seen = watched(monkeypatch)
    monkeypatch.setattr(choice, "LONG", 0.0)
    monkeypatch.setattr(choice, "START_OF_WORKERS", 0.0)
    result = fgc.gradcheck(cost, lambda t: 1 - np.tanh(t) ** 2, THETA)
    assert result
    assert result.n_jobs == 1
    assert seen == {(os.getpid(), threading.get_ident())}
    assert [f.kind for f in result.findings] == ["engine"]


def test_nothing_is_said_where_workers_would_gain_little(monkeypatch):
    monkeypatch.setattr(choice.os, "cpu_count", lambda: 2)
    assert chosen(plain, 0.0015, 1000)[1] == ()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_users_number_of_workers_is_taken_as_it_is(n_jobs):
    engine, findings = chosen(plain, 0.1, 1000, n_jobs)
    assert (engine.n_jobs, findings) == (n_jobs, ())


def listed(theta):
    return [theta[:2], theta[2:]]


def several(fun):
    outputs = describe_outputs(fun(THETA))
    return Objective(numba.njit(fun), (), describe(THETA), THETA, outputs=outputs)


def test_outputs_that_the_compiled_loop_cannot_take_are_called_from_python():
    engine = open_engine(several(listed), "auto")
    assert engine.name == "python"
    (finding,) = engine.findings
    assert "Called from Python: fun returns a list, and the compiled loop takes" in finding.message
    with pytest.raises(fgc.GradcheckTypeError, match="fun returns a list"):
        open_engine(several(listed), "numba")
    assert open_engine(several(lambda t: (t[:2], t[2:])), "auto").name == "numba"
