"""How many workers there are, that their number changes no bit, and nor do their deaths."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import pytest

from fastgradcheck.errors import CostEvaluationError, GradcheckInputError, WorkersLostError
from fastgradcheck.evaluation import parallel
from fastgradcheck.evaluation.choice import open_engine
from fastgradcheck.evaluation.engines import python
from fastgradcheck.evaluation.engines.python import PythonEngine
from fastgradcheck.evaluation.parallel import ParallelEngine
from fastgradcheck.evaluation.plans import Directions, Plan
from fastgradcheck.evaluation.pools import ClusterDisturbed, WorkersDied
from fastgradcheck.evaluation.workers import Answer, Shared, evaluate
from tests.cases.interpreted import WORKERS, collect, draw, flat_cost, objective, stencils


class TestBits:
    @pytest.mark.parametrize("workers", WORKERS)
    def test_same_bits_for_every_number_of_workers_and_chunks(self, workers, send):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(50, 30))

        def cost(x, X):
            return np.mean(np.tanh(X @ x.reshape(30, 4)) ** 2)

        subject = objective(cost, rng.normal(size=120), X)
        regions = np.array([[0, 120, 0, 1, 0, 120], [0, 4, 2, 9, 1, 3]] * 10)
        directions = Directions(regions, np.arange(20, dtype=np.uint64), np.full((20, 2), 0.1))
        for plan in (stencils(subject, 1e-5, -1e-5), directions):
            whole = python.Loop(subject, False).values(plan)
            np.testing.assert_array_equal(
                collect(open_engine(subject, "python", **workers), plan), whole
            )


class TestNumberOfWorkers:
    def test_one_process_by_default(self):
        assert open_engine(objective(flat_cost, draw(2)), "python").n_jobs == 1

    def test_as_asked(self):
        assert open_engine(objective(flat_cost, draw(2)), "python", n_jobs=3).n_jobs == 3
        assert open_engine(objective(flat_cost, draw(2)), "python", n_jobs=-1).n_jobs >= 1

    def test_as_configured_around(self):
        import joblib

        with joblib.parallel_config(backend="threading", n_jobs=2):
            assert open_engine(objective(flat_cost, draw(2))).n_jobs == 2
            assert open_engine(objective(flat_cost, draw(2)), "python", n_jobs=1).n_jobs == 1

    @pytest.mark.parametrize("n_jobs", [0, True, 1.5, "2"])
    def test_refused(self, n_jobs):
        with pytest.raises(GradcheckInputError, match="is not a number of workers"):
            open_engine(objective(flat_cost, draw(2)), "python", n_jobs=n_jobs)

    def test_tiny_work_stays_here(self):
        def cost(x):
            return float(os.getpid())

        engine = open_engine(objective(cost, np.zeros(3)), "python", n_jobs=2)
        assert (collect(engine, stencils(engine.objective, 1.0)) == os.getpid()).all()


class Deadly:
    """A pool whose workers die over chunks that hold one of these rows, so many times each."""

    def __init__(self, deaths: dict[int, float], *, again: bool = True) -> None:
        self.n_jobs = 8
        self.deaths = dict(deaths)
        self.again = again
        self.asked: list[list[slice]] = []
        self.workers: list[int] = []

    def prepare(self, shared: Shared) -> None: ...

    def forget(self) -> None: ...

    def answers(
        self, shared: Shared, plan: Plan, chunks: Iterator[slice], workers: int
    ) -> Generator[Answer, None, None]:
        self.workers.append(workers)
        self.asked.append([])
        for rows in chunks:
            self.asked[-1].append(rows)
            for row in range(rows.start, rows.stop):
                if self.deaths.get(row, 0) > 0:
                    self.deaths[row] -= 1
                    raise WorkersDied((rows,), f"exit code {row}", self.again)
            yield evaluate(shared, plan.common, plan.rows(rows).with_common(None), rows)


@pytest.mark.usefixtures("send")
class TestDeaths:
    SUBJECT = objective(lambda x: float(np.tanh(x * np.sqrt(np.arange(1, 41))).sum()), np.zeros(40))
    PLAN = stencils(SUBJECT, 0.3, -0.2)

    def engine(self, pool: Any, chunk: float = 1e-9) -> ParallelEngine:
        engine = ParallelEngine(PythonEngine(self.SUBJECT), PythonEngine, 2)
        engine._pool, engine._workers = pool, pool.n_jobs
        engine.value(self.SUBJECT.theta)
        self.monkeypatch.setattr(parallel, "CHUNK_SECONDS", chunk)
        return engine

    @pytest.fixture(autouse=True)
    def patches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch

    @pytest.mark.parametrize("chunk", [1e-9, 1e9], ids=["rows", "whole"])
    def test_deaths_over_many_rows_change_no_bit(self, chunk: float) -> None:
        expected = collect(PythonEngine(self.SUBJECT), self.PLAN)
        pool = Deadly({3: 1, 9: 2, 10: 1, 30: 2, 39: 1})
        engine = self.engine(pool, chunk)
        np.testing.assert_array_equal(collect(engine, self.PLAN), expected)
        assert not any(pool.deaths.values())
        (finding,) = engine.findings
        assert finding.message.startswith("7 worker processes, one by one, died (exit code 3, exit")

    def test_what_was_in_flight_goes_alone_and_the_others_go_on_together(self) -> None:
        pool = Deadly({20: 1})
        collect(self.engine(pool), self.PLAN)
        first, alone, rest = pool.asked
        assert alone == [slice(20, 21)] == first[-1:]
        assert len(rest) == 19

    def test_a_row_that_kills_twice_alone_is_found_in_its_chunk_and_blamed(self) -> None:
        pool = Deadly({23: np.inf})
        answered: set[int] = set()

        def run() -> None:
            for rows, _ in self.engine(pool, 1e9).evaluate(self.PLAN):
                answered.update(range(rows.start, rows.stop))

        with pytest.raises(CostEvaluationError, match=r"evaluated J at theta\[23\] \(exit code 23"):
            run()
        # Halving goes from the front: what comes before the deadly row is kept.
        assert answered == set(range(23))
        assert pool.asked[-1] == pool.asked[-2] == [slice(23, 24)]

    def test_where_several_have_tried_nobody_tries_again(self) -> None:
        pool = Deadly({23: np.inf}, again=False)
        with pytest.raises(CostEvaluationError, match=r"evaluated J at theta\[23\] \(exit code 23"):
            collect(self.engine(pool), self.PLAN)
        assert pool.asked[-1] == [slice(23, 24)] != pool.asked[-2]

    def test_after_many_deaths_fewer_workers_go_on(self) -> None:
        pool = Deadly(dict.fromkeys(range(5, 15), 1))
        collect(self.engine(pool), self.PLAN)
        together = [n for n, asked in zip(pool.workers, pool.asked, strict=True) if len(asked) > 1]
        assert together == sorted(together, reverse=True)
        assert (together[0], together[-1]) == (8, 2)

    def test_workers_that_never_start_are_given_up(self) -> None:
        class Stillborn(Deadly):
            def answers(self, *_: Any) -> Any:
                raise WorkersDied((), "exit code 1")

        text = r"died before they were given anything \(exit code 1\)\. They cannot be started here"
        with pytest.raises(WorkersLostError, match=text):
            collect(self.engine(Stillborn({})), self.PLAN)

    def test_a_cluster_that_loses_everything_is_given_up(self) -> None:
        class Forgetful(Deadly):
            def answers(self, *_: Any) -> Any:
                self.asked.append([])
                raise ClusterDisturbed

        pool = Forgetful({})
        with pytest.raises(WorkersLostError, match="lost what it was sent 4 times in a row"):
            collect(self.engine(pool), self.PLAN)
        assert len(pool.asked) == 4

    def test_a_cluster_that_loses_something_now_and_then_is_asked_again(self) -> None:
        class Absent(Deadly):
            def answers(self, *args: Any) -> Any:
                for number, answer in enumerate(super().answers(*args)):
                    yield answer
                    if number == 2:
                        raise ClusterDisturbed

        values = collect(self.engine(Absent({})), self.PLAN)
        np.testing.assert_array_equal(values, collect(PythonEngine(self.SUBJECT), self.PLAN))
