"""The engine for a long loop is chosen by what it is measured to take."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from fastgradcheck.engines import choice, open_engine, workers
from fastgradcheck.engines.choice import faster
from fastgradcheck.parameters import describe
from fastgradcheck.problem import Objective

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


@pytest.fixture(autouse=True)
def no_workers_yet(monkeypatch):
    monkeypatch.setattr(workers, "are_running", lambda n_jobs: False)


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


def test_a_python_cost_with_long_work_goes_to_workers(monkeypatch):
    monkeypatch.setattr(choice.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(choice, "_gain_of_threads", lambda objective, seconds: 1.0)
    engine, (finding,) = chosen(plain, 0.1, 1000)
    assert (engine.name, engine.n_jobs) == ("python", 4)
    assert "processes on 4 cores" in finding.message


def test_workers_that_are_there_already_need_no_start(monkeypatch):
    monkeypatch.setattr(choice.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(choice, "_gain_of_threads", lambda objective, seconds: 1.0)
    engine, _ = chosen(plain, 0.0015, 1000)
    assert engine.n_jobs == 1
    monkeypatch.setattr(workers, "are_running", lambda n_jobs: n_jobs == 2)
    engine, (finding,) = chosen(plain, 0.0015, 1000)
    assert engine.n_jobs == 2
    assert "processes on 2 cores 0.75 s" in finding.message


def test_threads_are_taken_where_the_cost_releases_the_lock(monkeypatch):
    monkeypatch.setattr(choice.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(choice, "_gain_of_threads", lambda objective, seconds: 1.8)
    engine, (finding,) = chosen(plain, 0.002, 1000)
    assert "4 threads" in finding.message
    assert engine.name == "python"


def test_a_python_cost_is_never_compiled_unasked_but_told_of_it(monkeypatch):
    monkeypatch.setattr(choice.os, "cpu_count", lambda: 1)
    engine, (finding,) = chosen(plain, 0.1, 1000)
    assert (engine.name, engine.n_jobs) == ("python", 1)
    assert 'numba.njit (engine="numba")' in finding.message


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_the_users_number_of_workers_is_taken_as_it_is(n_jobs):
    engine, findings = chosen(plain, 0.1, 1000, n_jobs)
    assert (engine.n_jobs, findings) == (n_jobs, ())


def test_threads_that_share_a_buffer_are_found_out():
    buffer = np.empty_like(THETA)

    def shared(theta):
        for k in range(len(theta)):
            buffer[k] = theta[k]
        return float(sum(buffer))

    objective = Objective(shared, (), describe(THETA), THETA)
    assert choice._gain_of_threads(objective, 1e-5) == 1.0
