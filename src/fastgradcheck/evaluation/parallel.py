"""Plans over workers: threads, processes or a cluster, whatever engine each of them runs."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import CostEvaluationError, GradcheckInputError, WorkersLostError, shown
from fastgradcheck.evaluation.engines.base import CHUNK_SECONDS, Engine
from fastgradcheck.evaluation.plans import Plan
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.problem import Objective

if TYPE_CHECKING:
    from fastgradcheck.evaluation.pools import Pool

Chunk = tuple[slice, NDArray[Any]]


# Starting workers takes about this long; what is done sooner is done here.
WORTH_SENDING_SECONDS = 0.1


# So often in a row workers may be lost without one answer in between.
DISTURBANCES = 3


# A chunk that is alone must kill so many processes to be blamed: the first may be a coincidence.
DEATHS = 2


# After so many deaths within a plan, half as many workers go on: memory may be what is short.
ACCIDENTS = 3


class ParallelEngine:
    """Sends chunks of large plans to workers; small plans stay with the engine here.

    Values are those of that engine, bit for bit.

    Parameters
    ----------
    here : Engine
        Evaluates single points, and plans that are not worth sending.
    rebuild : callable
        ``rebuild(objective)``: the same engine, in a worker.
    n_jobs : int, optional
        Workers, as for joblib.
    backend : str, optional
        A joblib backend such as ``"threading"``; None for the one that is active.
    executor : concurrent.futures.Executor, optional
        Takes the place of joblib.

    Attributes
    ----------
    n_jobs : int
        Workers that there are.
    t_cost : float
        Seconds per evaluation in the latest chunk; NaN before the first evaluation.
    """

    def __init__(
        self,
        here: Engine,
        rebuild: Callable[[Objective], Engine],
        n_jobs: int | None = None,
        backend: str | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.here = here
        self.rebuild = rebuild
        self.name = here.name
        self.objective = here.objective
        refuse_no_number(n_jobs)
        self.t_cost = here.t_cost
        self._pool = _pool(n_jobs, backend, executor)
        self._workers = self._pool.n_jobs
        self._shared: Any = None
        self._deaths: list[str] = []

    @property
    def n_jobs(self) -> int:
        return self._pool.n_jobs

    @property
    def compile_seconds(self) -> float:
        return self.here.compile_seconds

    @property
    def findings(self) -> tuple[Finding, ...]:
        return (*self.here.findings, *self._told())

    def value(self, theta: NDArray[Any]) -> float | NDArray[Any]:
        """J at a flat theta, or several outputs as a vector, evaluated here."""
        value = self.here.value(theta)
        self.t_cost = self.here.t_cost
        return value

    def supports_complex(self) -> str | None:
        """Why the cost cannot be differentiated by complex steps; None if it can."""
        return self.here.supports_complex()

    def evaluate(self, plan: Plan) -> Iterator[Chunk]:
        """J over a plan; see `evaluation.engines.base.Engine.evaluate`.

        Raises
        ------
        CostEvaluationError
            Where the cost raises, or returns anything but a scalar.
        GradcheckInputError
            If the cost cannot be sent to the workers.
        """
        start = 0
        if math.isnan(self.t_cost) and len(plan):
            rows, values = next(self.here.evaluate(plan.rows(slice(0, 1))))
            start, self.t_cost = rows.stop, self.here.t_cost
            yield rows, values
        if (len(plan) - start) * plan.width * self.t_cost < WORTH_SENDING_SECONDS:
            for rows, values in self.here.evaluate(plan.rows(slice(start, None))):
                self.t_cost = self.here.t_cost
                yield slice(rows.start + start, rows.stop + start), values
        else:
            yield from self._elsewhere(plan, start)

    def close(self) -> None:
        """Let go of what a cluster was sent; idle workers are joblib's to keep and to end."""
        self._forget()
        self.here.close()

    def _forget(self) -> None:
        self._shared = None
        self._pool.forget()

    def _elsewhere(self, plan: Plan, start: int) -> Iterator[Chunk]:
        """Evaluate the rows from `start` on in workers, whatever happens to these.

        When a worker dies, any chunk that was in flight may have been the cause. So these are
        evaluated one by one with nothing beside them, and then the others go on together.
        """
        from fastgradcheck.evaluation.pools import WorkersDied

        done = np.zeros(len(plan), bool)
        done[:start] = True
        deaths = idle = 0
        while not done.all():
            try:
                yield from self._sent(plan, done, _runs(~done))
            except WorkersDied as death:
                deaths, idle = deaths + 1, 0 if death.chunks else idle + 1
                if idle > DISTURBANCES:
                    raise WorkersLostError(
                        f"worker processes died before they were given anything ({death.reason}). "
                        "They cannot be started here: use n_jobs=1."
                    ) from death
                if deaths > ACCIDENTS:
                    self._workers = max(2, self._workers // 2)
                self._deaths.append(death.reason)
                for rows in death.chunks:
                    yield from self._alone(plan, done, rows)

    def _alone(self, plan: Plan, done: NDArray[np.bool_], rows: slice) -> Iterator[Chunk]:
        """Evaluate rows with nothing beside them.

        Raises
        ------
        CostEvaluationError
            If processes die over a single row of them.
        """
        from fastgradcheck.evaluation.pools import WorkersDied

        for _ in range(DEATHS):
            try:
                yield from self._sent(plan, done, [rows], one_at_a_time=True)
                return
            except WorkersDied as death:
                self._deaths.append(death.reason)
                latest = death
                if not death.again:
                    break
        middle = (rows.start + rows.stop) // 2
        if not latest.again or middle == rows.start:
            raise self._deadly(plan, rows, latest.reason) from latest
        yield from self._alone(plan, done, slice(rows.start, middle))
        yield from self._alone(plan, done, slice(middle, rows.stop))

    def _deadly(self, plan: Plan, rows: slice, reason: str) -> CostEvaluationError:
        where = _range(self.objective, plan, rows)
        return CostEvaluationError(
            f"a worker process died while it evaluated J at {where} ({reason}), and so did the one "
            "that tried again with nothing beside it. Compiled code in the cost crashes there, or "
            "one evaluation needs more memory than there is: call the cost at that point by "
            "itself, or check on a subset of the data.",
            where,
        )

    def _sent(
        self,
        plan: Plan,
        done: NDArray[np.bool_],
        runs: list[slice],
        one_at_a_time: bool = False,
    ) -> Iterator[Chunk]:
        """Evaluate runs of rows in workers, again what a cluster lost of them, and mark them.

        Raises
        ------
        WorkersDied
        WorkersLostError
            If a cluster loses whatever it is sent.
        """
        from fastgradcheck.evaluation.pools import ClusterDisturbed

        idle = 0
        while runs:
            chunks = iter(runs) if one_at_a_time else self._chunks(runs, plan.width)
            try:
                for chunk in self._answered(plan, chunks):
                    done[chunk[0]] = True
                    idle = 0
                    yield chunk
                return
            except ClusterDisturbed as exc:
                idle += 1
                if idle > DISTURBANCES:
                    raise WorkersLostError(
                        f"the cluster lost what it was sent {idle} times in a row, without one "
                        "answer in between. Look at the logs of its workers and its scheduler; "
                        "with checkpoint= the same line goes on from here."
                    ) from exc
                # What every worker was sent may be among what was lost.
                self._forget()
                wanted = np.zeros(len(plan), bool)
                for rows in runs:
                    wanted[rows] = True
                runs = _runs(wanted & ~done)

    def _answered(self, plan: Plan, chunks: Iterator[slice]) -> Iterator[Chunk]:
        from fastgradcheck.evaluation.workers import Shared

        if self._shared is None:
            self._shared = Shared(self.objective, self.rebuild)
            self._pool.prepare(self._shared)
        answers = self._pool.answers(self._shared, plan, chunks, self._workers)
        with contextlib.closing(answers):
            for answer in answers:
                evaluated = answer.values.shape[0] * answer.values.shape[1]
                self.t_cost = max(answer.seconds, 1e-9) / evaluated
                yield answer.rows, answer.values

    def _chunks(self, runs: list[slice], width: int) -> Iterator[slice]:
        """Pieces of the runs, each as long as the latest measured speed allows."""
        for run in runs:
            start = run.start
            while start < run.stop:
                # Not measured yet: a single row, which then tells.
                rows = 1 if math.isnan(self.t_cost) else CHUNK_SECONDS / (self.t_cost * width)
                stop = min(start + max(1, int(rows)), run.stop)
                yield slice(start, stop)
                start = stop

    def _told(self) -> Iterator[Finding]:
        """What the user should know of workers that died."""
        if not self._deaths:
            return
        times = len(self._deaths)
        who = "A worker process" if times == 1 else f"{times} worker processes, one by one,"
        reasons = ", ".join(dict.fromkeys(self._deaths))
        message = (
            f"{who} died ({reasons}): killed from outside, out of memory, or crashed in compiled "
            "code. What was in flight was evaluated again, by others, and no value is missing; "
            "with fewer n_jobs less memory is needed."
        )
        yield Finding("worker-died", message)


def _pool(n_jobs: int | None, backend: str | None, executor: Executor | None) -> Pool:
    """The workers that a user asks for."""
    if executor is not None:
        from fastgradcheck.evaluation.executors import ExecutorPool

        return ExecutorPool(executor, n_jobs)
    from fastgradcheck.evaluation.pools import JoblibPool

    return JoblibPool(n_jobs, backend)


def refuse_no_number(n_jobs: Any) -> None:
    """Raise `GradcheckInputError` unless this is a number of workers, or None."""
    whole = isinstance(n_jobs, (int, np.integer)) and not isinstance(n_jobs, bool)
    if n_jobs is not None and not (whole and n_jobs):
        raise GradcheckInputError(
            f"n_jobs={shown(n_jobs)} is not a number of workers: use 1, 2, ..., or -1 for all "
            "cores."
        )


def number_of_workers(n_jobs: int | None, backend: str | None = None) -> int:
    """How many workers; joblib is imported only if it can be more than one."""
    refuse_no_number(n_jobs)
    if n_jobs == 1 or (n_jobs is None and backend is None and "joblib" not in sys.modules):
        return 1
    from fastgradcheck.evaluation.pools import effective_jobs

    return effective_jobs(n_jobs, backend)


def _runs(wanted: NDArray[np.bool_]) -> list[slice]:
    """The stretches of consecutive rows that are wanted."""
    edges = np.flatnonzero(np.diff(wanted, prepend=False, append=False))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _range(objective: Objective, plan: Plan, rows: slice) -> str:
    """The parameters that rows are about, in words."""
    names = [plan.address(objective.parameters, row) for row in (rows.start, rows.stop - 1)]
    return " to ".join(dict.fromkeys(names))
