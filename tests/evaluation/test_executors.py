"""Executors of `concurrent.futures`: threads, processes, and workers with a memory of their own."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

from fastgradcheck import gradcheck
from fastgradcheck.errors import (
    CostEvaluationError,
    GradcheckInputError,
    GradcheckTypeError,
    WorkersLostError,
)
from fastgradcheck.evaluation import workers
from fastgradcheck.evaluation.choice import open_engine
from tests.cases.interpreted import collect, objective, stencils


def tangents(x):
    return float(np.tanh(x * np.sqrt(np.arange(1, 41))).sum())


class Remote(Executor):
    """Workers elsewhere, each with a memory of its own: everything goes through pickle."""

    _max_workers = 1

    def __init__(self) -> None:
        self.bytes: list[int] = []

    def submit(self, fn, /, *args, **kwargs):
        future: Future[Any] = Future()
        sent = pickle.dumps((fn, args, kwargs))
        self.bytes.append(len(sent))
        own, workers._own = workers._own, {}
        try:
            fn, args, kwargs = pickle.loads(sent)
            future.set_result(pickle.loads(pickle.dumps(fn(*args, **kwargs))))
        except Exception as exc:
            future.set_exception(exc)
        finally:
            workers._own = own
        return future


@contextmanager
def closed(executor):
    """An executor that was shut down."""
    executor.shutdown()
    yield executor


class TestExecutors:
    @pytest.mark.parametrize("kind", ["threads", "spawned", "forked", "remote"])
    def test_values_are_those_of_one_process(self, kind, send):
        subject = objective(tangents, np.zeros(40))
        plan = stencils(subject, 0.3, -0.2)
        makes = {
            "threads": lambda: ThreadPoolExecutor(2),
            "spawned": lambda: ProcessPoolExecutor(2, mp_context=get_context("spawn")),
            "forked": lambda: ProcessPoolExecutor(2, mp_context=get_context("fork")),
            "remote": Remote,
        }
        with makes[kind]() as executor:
            engine = open_engine(subject, "python", executor=executor)
            assert engine.n_jobs == (1 if kind == "remote" else 2)
            values = collect(engine, plan)
            # It is the user's: what he does with it afterwards is up to him.
            assert kind == "remote" or executor.submit(abs, -3).result() == 3
        np.testing.assert_array_equal(values, collect(open_engine(subject, "python"), plan))

    def test_theta_and_args_travel_once(self, send):
        def cost(x, X):
            return float(x.sum() + X.sum())

        remote = Remote()
        subject = objective(cost, np.zeros(40), np.ones(100_000))
        values = collect(open_engine(subject, "python", executor=remote), stencils(subject, 1.0))
        assert values[:, 0].tolist() == [100_001.0] * 40
        # Two chunks are in flight before the first of them says what its worker lacks.
        assert sum(size > 800_000 for size in remote.bytes) == 2

    def test_threads_are_sent_nothing(self, send):
        lock = threading.Lock()

        def cost(x):
            with lock:
                return float(x.sum())

        subject = objective(cost, np.zeros(8))
        with ThreadPoolExecutor(2) as executor:
            engine = open_engine(subject, "python", executor=executor)
            assert (collect(engine, stencils(subject, 1.0)) == 1.0).all()
        with pytest.raises(GradcheckInputError, match="its closure variable 'lock'"):
            collect(open_engine(subject, "python", executor=Remote()), stencils(subject, 1.0))

    def test_an_exception_keeps_address_and_cause(self, send):
        def cost(x):
            if x[5] > 0:
                raise ValueError("outside")
            return 0.0

        subject = objective(cost, np.zeros(8))
        with pytest.raises(CostEvaluationError, match=r"ValueError at theta\[5\]") as caught:
            collect(open_engine(subject, "python", executor=Remote()), stencils(subject, 1.0))
        assert caught.value.__cause__.args == ("outside",)

    @pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
    def test_a_death_ends_the_check_and_says_so(self, send):
        pid = os.getpid()

        def cost(x):
            if x[5] > 0 and os.getpid() != pid:
                os.kill(os.getpid(), signal.SIGKILL)
            return 0.0

        subject = objective(cost, np.zeros(8))
        with (
            ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor,
            pytest.raises(WorkersLostError) as caught,
        ):
            collect(open_engine(subject, "python", executor=executor), stencils(subject, 1.0))
        assert str(caught.value).startswith(
            "the executor (ProcessPoolExecutor) failed: BrokenProcessPool: "
        )
        assert "A worker died, and an executor that is broken cannot be mended" in str(caught.value)

    def test_one_that_was_shut_down_says_so(self, send):
        subject = objective(tangents, np.zeros(40))
        with closed(ThreadPoolExecutor(2)) as executor, pytest.raises(WorkersLostError) as caught:
            collect(open_engine(subject, "python", executor=executor), stencils(subject, 1.0))
        assert "It was shut down: keep it open until the check has ended." in str(caught.value)

    def test_workers_without_what_the_cost_imports_are_told(self, send):
        class Bare(Remote):
            def submit(self, fn, /, *args, **kwargs):
                future: Future[Any] = Future()
                future.set_exception(ModuleNotFoundError("No module named 'fastgradcheck'"))
                return future

        subject = objective(tangents, np.zeros(40))
        with pytest.raises(WorkersLostError) as caught:
            collect(open_engine(subject, "python", executor=Bare()), stencils(subject, 1.0))
        assert "Workers need this package, and whatever the cost imports." in str(caught.value)

    def test_an_early_close_takes_back_what_has_not_begun(self, send):
        began: list[int] = []

        def cost(x):
            began.append(1)
            time.sleep(0.01)
            return float(x.sum())

        subject = objective(cost, np.zeros(2000))
        with ThreadPoolExecutor(2) as executor:
            engine = open_engine(subject, "python", executor=executor)
            engine.t_cost = 0.01
            chunks = engine.evaluate(stencils(subject, 1.0))
            next(chunks)
            chunks.close()
        assert len(began) < 200

    def test_what_is_no_executor_is_refused(self):
        subject = objective(tangents, np.zeros(40))
        with pytest.raises(GradcheckTypeError, match=r"^executor is a int; pass a concurrent\."):
            open_engine(subject, "python", executor=4)  # type: ignore[arg-type]

    def test_a_check_by_one_is_that_of_one_process(self, send):
        def cost(x):
            return float((x**3).sum())

        def grad(x):
            return 3 * x**2 + (np.arange(len(x)) == 3)

        def plain(result):
            told = result.to_dict(components=True)
            del told["seconds"], told["n_jobs"]
            return told

        theta = np.linspace(1.0, 2.0, 30)
        with ThreadPoolExecutor(2) as executor:
            result = gradcheck(cost, grad, theta, executor=executor, seed=1)
        assert plain(result) == plain(gradcheck(cost, grad, theta, seed=1))
        assert result.n_jobs == 2
