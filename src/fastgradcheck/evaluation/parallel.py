"""Plans over workers: threads, processes or a cluster, whatever engine each of them runs."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import CostEvaluationError, GradcheckInputError
from fastgradcheck.evaluation.engines.base import CHUNK_SECONDS, Engine
from fastgradcheck.evaluation.plans import Plan
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.problem import Objective

# Starting workers takes about this long; what is done sooner is done here.
WORTH_SENDING_SECONDS = 0.1


# So often a cluster may lose what it was sent, for each plan, before it is asked less of.
DISTURBANCES = 3


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

    Attributes
    ----------
    n_jobs : int
        Workers that will be used.
    t_cost : float
        Seconds per evaluation in the latest chunk; NaN before the first evaluation.
    """

    def __init__(
        self,
        here: Engine,
        rebuild: Callable[[Objective], Engine],
        n_jobs: int | None = None,
        backend: str | None = None,
    ) -> None:
        self.here = here
        self.rebuild = rebuild
        self.name = here.name
        self.objective = here.objective
        self.n_jobs = number_of_workers(n_jobs, backend)
        self.t_cost = here.t_cost
        self._findings: tuple[Finding, ...] = ()
        self._backend: Any = backend
        self._shared: Any = None

    @property
    def compile_seconds(self) -> float:
        return self.here.compile_seconds

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.here.findings + self._findings

    def value(self, theta: NDArray[Any]) -> float:
        """J at a flat theta, evaluated here."""
        value = self.here.value(theta)
        self.t_cost = self.here.t_cost
        return value

    def supports_complex(self) -> str | None:
        """Why the cost cannot be differentiated by complex steps; None if it can."""
        return self.here.supports_complex()

    def evaluate(self, plan: Plan) -> Iterator[tuple[slice, NDArray[Any]]]:
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
        if not isinstance(self._backend, str):
            self._backend = None

    def _elsewhere(self, plan: Plan, start: int) -> Iterator[tuple[slice, NDArray[Any]]]:
        from fastgradcheck.evaluation.workers import WorkerDied

        done = np.zeros(len(plan), bool)
        done[:start] = True
        try:
            yield from self._all_at_once(plan, done)
            return
        except WorkerDied as exc:
            self._tell_death(plan, exc.rows, exc.reason, int((~done).sum()))
        try:
            yield from self._sent(plan, done, one_at_a_time=True)
        except WorkerDied as exc:
            where = _range(self.objective, plan, exc.rows)
            raise CostEvaluationError(
                f"a worker process died while it evaluated J at {where} ({exc.reason}), and so did "
                "the one that tried again with nothing beside it. Compiled code in the cost "
                "crashes there, or one evaluation needs more memory than there is: call the cost "
                "at that point by itself, or check on a subset of the data.",
                where,
            ) from exc

    def _all_at_once(
        self, plan: Plan, done: NDArray[np.bool_]
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Evaluate what is not done in workers, again where a cluster lost it."""
        from fastgradcheck.evaluation.workers import ClusterDisturbed

        for _ in range(DISTURBANCES):
            try:
                yield from self._sent(plan, done, one_at_a_time=False)
                return
            except ClusterDisturbed:
                # What every worker was sent may be among what was lost.
                self._forget()
        yield from self._sent(plan, done, one_at_a_time=False)

    def _sent(
        self, plan: Plan, done: NDArray[np.bool_], one_at_a_time: bool
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Evaluate what is not done in workers, and mark it."""
        from fastgradcheck.evaluation.workers import Shared, sent_to_cluster, stream

        if self._shared is None:
            self._shared = Shared(self.objective, self.rebuild)
            self._backend = self._backend or sent_to_cluster(self._shared)
        chunks = self._chunks(_runs(~done), plan.width)
        for answer in stream(self._shared, plan, chunks, self.n_jobs, self._backend, one_at_a_time):
            done[answer.rows] = True
            self.t_cost = max(answer.seconds, 1e-9) / answer.values.size
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

    def _tell_death(self, plan: Plan, rows: slice, reason: str, missing: int) -> None:
        where = _range(self.objective, plan, rows)
        message = (
            f"A worker process died ({reason}) with {where} unanswered: killed from outside, out "
            "of memory, or crashed in compiled code. What was missing "
            f"({missing:,} of {len(plan):,} rows) was evaluated again, one chunk at a time; with "
            "fewer n_jobs less memory is needed."
        )
        self._findings += (Finding("worker-died", message),)


def number_of_workers(n_jobs: int | None, backend: str | None = None) -> int:
    """How many workers; joblib is imported only if it can be more than one."""
    whole = hasattr(n_jobs, "__index__") and not isinstance(n_jobs, bool)
    if n_jobs is not None and not (whole and n_jobs):
        raise GradcheckInputError(
            f"n_jobs={n_jobs!r} is not a number of workers: use 1, 2, ..., or -1 for all cores."
        )
    if n_jobs == 1 or (n_jobs is None and backend is None and "joblib" not in sys.modules):
        return 1
    from fastgradcheck.evaluation.workers import effective_jobs

    return effective_jobs(n_jobs, backend)


def _runs(wanted: NDArray[np.bool_]) -> list[slice]:
    """The stretches of consecutive rows that are wanted."""
    edges = np.flatnonzero(np.diff(wanted, prepend=False, append=False))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _range(objective: Objective, plan: Plan, rows: slice) -> str:
    """The parameters that rows are about, in words."""
    names = [plan.address(objective.parameters, row) for row in (rows.start, rows.stop - 1)]
    return " to ".join(dict.fromkeys(names))
