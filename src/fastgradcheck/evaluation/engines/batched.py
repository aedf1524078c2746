"""The engine for costs that take many points in one call, along a leading axis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import CostEvaluationError, asks_to_stop, told
from fastgradcheck.evaluation.engines.base import CHUNK_SECONDS
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.engines.failure import evaluation_failure
from fastgradcheck.evaluation.engines.python import PythonEngine
from fastgradcheck.evaluation.plans import Device, Plan
from fastgradcheck.problem.problem import Objective

WORTHWHILE = 0.75
"""A batch that takes no more than this part of the time per point, compared with one of half the
size, is worth the wait for a longer chunk."""


class DeviceCost:
    """A cost whose points are made where it is evaluated, rather than copied there."""

    def device(self, objective: Objective) -> Device | None:
        """Where that is; None if points have to be copied there all the same."""
        raise NotImplementedError


def device_of(objective: Objective) -> Device | None:
    """Where the points of an objective are made; None if here."""
    return objective.cost.device(objective) if isinstance(objective.cost, DeviceCost) else None


class BatchedEngine(PythonEngine):
    """Evaluates a cost of many points over plans, in this thread; a single value is a batch of one.

    Batches grow from one point: by doubling, as long as a batch is short or the time per point
    falls, up to ``objective.batch`` points. Where memory does not suffice they are halved.

    Parameters
    ----------
    objective : Objective
        With a ``batch`` of one point or more.

    Attributes
    ----------
    n_jobs : int
        1.
    t_cost : float
        Seconds per point in the latest batch; NaN before the first.
    findings : tuple of Finding

    Examples
    --------
    >>> import numpy as np
    >>> from fastgradcheck.evaluation.plans import Stencils
    >>> from fastgradcheck.problem.parameters import describe
    >>> theta = np.array([1.0, 2.0])
    >>> objective = Objective(lambda x: x.prod(axis=-1), (), describe(theta), theta, batch=64)
    >>> plan = Stencils(np.array([0, 1]), np.array([[1.5, 0.5], [2.5, 1.5]]))
    >>> for rows, values in BatchedEngine(objective).evaluate(plan):
    ...     print(rows, values)
    slice(0, 1, None) [[3. 1.]]
    slice(1, 2, None) [[2.5 1.5]]
    """

    name = "batched"

    def __init__(self, objective: Objective) -> None:
        super().__init__(objective)
        self._most = objective.batch
        self._size = 1
        self._device = device_of(objective)
        self._rows = np.empty((0, objective.theta.size))

    def evaluate(self, plan: Plan) -> Iterator[tuple[slice, NDArray[Any]]]:
        """J over a plan; see `evaluation.engines.base.Engine.evaluate`.

        Raises
        ------
        CostEvaluationError
            Where the cost raises.
        """
        start = 0
        while start < len(plan):
            rows = slice(start, min(start + max(1, self._size // plan.width), len(plan)))
            values = self._values(plan.rows(rows))
            start = rows.stop
            yield rows, values

    def _values(self, plan: Plan) -> NDArray[Any]:
        """J at every point of a plan, shape ``(len(plan), plan.width)``, and ``m`` of m outputs."""
        total = len(plan) * plan.width
        pieces = [plan]
        if total > self._most:
            points, most = plan.by_point(), self._most
            pieces = [points.rows(slice(k, k + most)) for k in range(0, total, most)]
        with one_blas_thread():
            values = np.concatenate([self._batch(piece) for piece in pieces])
        return values.reshape(len(plan), plan.width, *self.objective.value_shape)

    def _batch(self, plan: Plan) -> NDArray[Any]:
        """J at the points of a plan, in one call unless memory is short."""
        count = len(plan) * plan.width
        began = time.perf_counter()
        try:
            values = self._called(plan)
        except BaseException as exc:
            if asks_to_stop(exc):
                raise
            if not (_out_of_memory(exc) and count > 1):
                raise self._failure(plan, exc) from exc
            self._most = self._size = half = count // 2
            points = plan.by_point()
            parts = points.rows(slice(half)), points.rows(slice(half, count))
            return np.concatenate([self._batch(part) for part in parts])
        self._measured(time.perf_counter() - began, count)
        return values

    def _called(self, plan: Plan) -> NDArray[Any]:
        if self._device is None or plan.is_complex:
            return self.objective.many(self._points(plan))
        return self._device.values(plan)

    def _points(self, plan: Plan) -> NDArray[Any]:
        """The points of a plan, one in each row."""
        dtype = np.complex128 if plan.is_complex else self.objective.theta.dtype
        work = self.objective.theta.astype(dtype)
        count = len(plan) * plan.width
        if len(self._rows) < count or self._rows.dtype != dtype:
            # Kept for the next batch: fresh memory takes longer to get than to fill.
            self._rows = np.empty((count, work.size), dtype)
        for k, _ in enumerate(plan.visit(work, self.objective.theta)):
            self._rows[k] = work
        return self._rows[:count]

    def _measured(self, seconds: float, points: int) -> None:
        before = self.t_cost
        # A clock may be too coarse for a very fast cost.
        self.t_cost = max(seconds, 1e-9) / points
        if points >= self._size and not (
            seconds > CHUNK_SECONDS / 2 and self.t_cost > WORTHWHILE * before
        ):
            self._size = min(2 * self._size, self._most)

    def _failure(self, plan: Plan, exc: BaseException) -> CostEvaluationError:
        """The error for a batch that failed: at the first point that fails by itself."""
        place = 0
        for k, point in enumerate(self._points(plan)):
            try:
                self.objective(point)
            except BaseException as own:
                if asks_to_stop(own):
                    raise
                place, exc = k, own
                break
        return evaluation_failure(self.objective, plan, *divmod(place, plan.width), exc)


def _out_of_memory(exc: BaseException) -> bool:
    """Whether memory did not suffice, by the names of Python, torch and jax for it."""
    return any(sign in told(exc) for sign in ("MemoryError", "OutOfMemory", "RESOURCE_EXHAUSTED"))
