"""The engine for any Python callable: a lean loop here, or the same loop in workers."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.engines.blas import one_blas_thread
from fastgradcheck.engines.failure import complaint
from fastgradcheck.engines.loop import Loop
from fastgradcheck.errors import CostEvaluationError, GradcheckInputError
from fastgradcheck.plans import Plan, Stencils
from fastgradcheck.problem import Finding, Objective

# Long enough that sending a chunk to a worker (about a millisecond) does not count, short enough
# that progress is live and Ctrl-C prompt.
CHUNK_SECONDS = 0.15

# Starting workers takes about this long; what is done sooner is done here.
WORTH_SENDING_SECONDS = 0.1

# So often a cluster may lose what it was sent, for each plan, before it is asked less of.
DISTURBANCES = 3


class PythonEngine:
    """Evaluates any callable over plans, in this process or through joblib.

    Parameters
    ----------
    objective : Objective
    n_jobs : int, optional
        Workers; -1 for one per core. None: one process, unless the check runs inside a
        `joblib.parallel_config`, which then decides.
    backend : str, optional
        A joblib backend such as ``"threading"``; None for the one that is active.

    Attributes
    ----------
    n_jobs : int
        Workers that will be used.
    t_cost : float
        Seconds per evaluation in the latest chunk; NaN before the first evaluation.
    findings : tuple of Finding

    Examples
    --------
    >>> import numpy as np
    >>> from fastgradcheck.parameters import describe
    >>> theta = np.array([1.0, 2.0])
    >>> objective = Objective(lambda x: float(np.prod(x)), (), describe(theta), theta)
    >>> plan = Stencils(np.array([0, 1]), np.array([[1.5, 0.5], [2.5, 1.5]]))
    >>> for rows, values in PythonEngine(objective).evaluate(plan):
    ...     print(rows, values)
    slice(0, 1, None) [[3. 1.]]
    slice(1, 2, None) [[2.5 1.5]]
    """

    name = "python"
    compiled = False
    compile_seconds = 0.0

    def __init__(
        self, objective: Objective, n_jobs: int | None = None, backend: str | None = None
    ) -> None:
        self.objective = objective
        self.n_jobs = _jobs(n_jobs, backend)
        self.t_cost = math.nan
        self.findings: tuple[Finding, ...] = ()
        self._backend: Any = backend
        self._shared: Any = None

    def value(self, theta: NDArray[Any]) -> float:
        """J at a flat theta.

        Raises
        ------
        CostEvaluationError
            If the cost raises, or returns anything but a real scalar.
        """
        with one_blas_thread():
            began = time.perf_counter()
            try:
                value = self.objective(theta)
            except Exception as exc:
                text = f": {exc}".rstrip(" :.")
                message = f"cost raised {type(exc).__name__}{text}."
                raise CostEvaluationError(message) from exc
            self._measured(time.perf_counter() - began, 1)
        if reason := complaint(value):
            raise CostEvaluationError(reason)
        return float(np.asarray(value)[()])

    def evaluate(self, plan: Plan) -> Iterator[tuple[slice, NDArray[Any]]]:
        """J over a plan; see `fastgradcheck.engines.base.Engine.evaluate`.

        Raises
        ------
        CostEvaluationError
            Where the cost raises, or returns anything but a scalar.
        GradcheckInputError
            If the cost cannot be sent to the workers.
        """
        if self.n_jobs == 1:
            yield from self._here(plan, 0)
            return
        start = 0
        if math.isnan(self.t_cost) and len(plan):
            rows, values = next(self._here(plan, 0))
            start = rows.stop
            yield rows, values
        if (len(plan) - start) * plan.width * self.t_cost < WORTH_SENDING_SECONDS:
            yield from self._here(plan, start)
        else:
            yield from self._elsewhere(plan, start)

    def supports_complex(self) -> str | None:
        """Why the cost cannot be differentiated by complex steps; None if it can.

        Evaluates J once, at theta as a complex array.
        """
        theta = self.objective.theta.astype(np.complex128)
        try:
            with warnings.catch_warnings(), one_blas_thread():
                # NumPy only warns when an imaginary part is thrown away.
                warnings.simplefilter("error", np.exceptions.ComplexWarning)
                value = self.objective(theta)
        except Exception as exc:
            return f"cost raised {type(exc).__name__} for a complex theta: {exc}"
        return complaint(value, is_complex=True) or None

    def close(self) -> None:
        """Let go of what a cluster was sent; idle workers are joblib's to keep and to end."""
        self._shared = None
        if not isinstance(self._backend, str):
            self._backend = None

    def _measured(self, seconds: float, evaluations: int) -> None:
        # A clock may be too coarse for a very fast cost.
        self.t_cost = max(seconds, 1e-9) / evaluations

    def _here(self, plan: Plan, start: int) -> Iterator[tuple[slice, NDArray[Any]]]:
        loop = Loop(self.objective, plan.is_complex)
        for rows in self._chunks([slice(start, len(plan))], plan.width):
            began = time.perf_counter()
            values = loop.values(plan.rows(rows))
            self._measured(time.perf_counter() - began, values.size)
            yield rows, values

    def _elsewhere(self, plan: Plan, start: int) -> Iterator[tuple[slice, NDArray[Any]]]:
        from fastgradcheck.engines.workers import WorkerDied

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
        from fastgradcheck.engines.workers import ClusterDisturbed

        for _ in range(DISTURBANCES):
            try:
                yield from self._sent(plan, done, one_at_a_time=False)
                return
            except ClusterDisturbed:
                # What every worker was sent may be among what was lost.
                self.close()
        yield from self._sent(plan, done, one_at_a_time=False)

    def _sent(
        self, plan: Plan, done: NDArray[np.bool_], one_at_a_time: bool
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Evaluate what is not done in workers, and mark it."""
        from fastgradcheck.engines.workers import Shared, sent_to_cluster, stream

        if self._shared is None:
            self._shared = Shared(self.objective, self.compiled)
            self._backend = self._backend or sent_to_cluster(self._shared)
        chunks = self._chunks(_runs(~done), plan.width)
        for answer in stream(self._shared, plan, chunks, self.n_jobs, self._backend, one_at_a_time):
            done[answer.rows] = True
            self._measured(answer.seconds, answer.values.size)
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
        self.findings += (Finding("worker-died", message),)


def _jobs(n_jobs: int | None, backend: str | None) -> int:
    """How many workers; joblib is imported only if it can be more than one."""
    whole = hasattr(n_jobs, "__index__") and not isinstance(n_jobs, bool)
    if n_jobs is not None and not (whole and n_jobs):
        raise GradcheckInputError(
            f"n_jobs={n_jobs!r} is not a number of workers: use 1, 2, ..., or -1 for all cores."
        )
    if n_jobs == 1 or (n_jobs is None and backend is None and "joblib" not in sys.modules):
        return 1
    from fastgradcheck.engines.workers import effective_jobs

    return effective_jobs(n_jobs, backend)


def _runs(wanted: NDArray[np.bool_]) -> list[slice]:
    """The stretches of consecutive rows that are wanted."""
    edges = np.flatnonzero(np.diff(wanted, prepend=False, append=False))
    return [slice(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def _range(objective: Objective, plan: Plan, rows: slice) -> str:
    """The parameters that rows are about, in words."""
    ends = [rows.start, rows.stop - 1]
    if isinstance(plan, Stencils):
        names = [objective.parameters.address(int(i)) for i in plan.index[ends]]
    else:
        numbers = [objective.parameters.block_index(int(i)) for i in plan.regions[ends, 0]]
        names = [objective.parameters.blocks[number].name for number in numbers]
    return " to ".join(dict.fromkeys(names))
