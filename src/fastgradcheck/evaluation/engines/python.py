"""The engine for any Python callable: a lean loop, one call of the cost after the other."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import CostEvaluationError, GradcheckInputError, asks_to_stop, said
from fastgradcheck.evaluation.engines.base import CHUNK_SECONDS
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.engines.failure import (
    evaluation_failure,
    failure_at_theta,
    value_failure,
)
from fastgradcheck.evaluation.plans import Plan
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.problem import Objective
from fastgradcheck.problem.value import complaint


class PythonEngine:
    """Evaluates any callable over plans, in this thread.

    Parameters
    ----------
    objective : Objective

    Attributes
    ----------
    n_jobs : int
        1.
    t_cost : float
        Seconds per evaluation in the latest chunk; NaN before the first evaluation.
    findings : tuple of Finding

    Examples
    --------
    >>> import numpy as np
    >>> from fastgradcheck.evaluation.plans import Stencils
    >>> from fastgradcheck.problem.parameters import describe
    >>> theta = np.array([1.0, 2.0])
    >>> objective = Objective(lambda x: float(np.prod(x)), (), describe(theta), theta)
    >>> plan = Stencils(np.array([0, 1]), np.array([[1.5, 0.5], [2.5, 1.5]]))
    >>> for rows, values in PythonEngine(objective).evaluate(plan):
    ...     print(rows, values)
    slice(0, 1, None) [[3. 1.]]
    slice(1, 2, None) [[2.5 1.5]]
    """

    name = "python"
    n_jobs = 1
    compile_seconds = 0.0

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.t_cost = math.nan
        self.findings: tuple[Finding, ...] = ()

    def value(self, theta: NDArray[Any]) -> float | NDArray[Any]:
        """J at a flat theta, or several outputs as a vector.

        Raises
        ------
        CostEvaluationError
            If the cost raises, or returns anything but what it must.
        """
        with one_blas_thread():
            began = time.perf_counter()
            try:
                value = self.objective(theta)
            except BaseException as exc:
                if asks_to_stop(exc):
                    raise
                raise failure_at_theta(self.objective, exc) from exc
            self._measured(time.perf_counter() - began, 1)
        if reason := self.objective.complaint(value):
            raise CostEvaluationError(reason)
        outputs = self.objective.outputs
        return float(np.asarray(value)[()]) if outputs is None else outputs.flatten(value)

    def evaluate(self, plan: Plan) -> Iterator[tuple[slice, NDArray[Any]]]:
        """J over a plan; see `evaluation.engines.base.Engine.evaluate`.

        Raises
        ------
        CostEvaluationError
            Where the cost raises, or returns anything but a scalar.
        """
        loop = Loop(self.objective, plan.is_complex)
        start = 0
        while start < len(plan):
            # Not measured yet: a single row, which then tells.
            size = 1 if math.isnan(self.t_cost) else CHUNK_SECONDS / (self.t_cost * plan.width)
            rows = slice(start, min(start + max(1, int(size)), len(plan)))
            began = time.perf_counter()
            values = loop.values(plan.rows(rows))
            self._measured(time.perf_counter() - began, values.shape[0] * values.shape[1])
            start = rows.stop
            yield rows, values

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
        except BaseException as exc:
            if asks_to_stop(exc):
                raise
            kind = type(exc).__name__
            return f"{self.objective.name} raised {kind} for a complex theta: {said(exc)}"
        return self.objective.complaint(value, is_complex=True) or None

    def close(self) -> None:
        """Nothing is held."""

    def _measured(self, seconds: float, evaluations: int) -> None:
        # A clock may be too coarse for a very fast cost.
        self.t_cost = max(seconds, 1e-9) / evaluations


# What costs return nearly always; a look-up in this set is all that such a value costs the loop.
_REAL = frozenset({float, np.float64, np.float32})


_COMPLEX = frozenset({complex, np.complex128, np.complex64})


class Loop:
    """Evaluates J over plans on one work copy of theta.

    Parameters
    ----------
    objective : Objective
    is_complex : bool
        Whether theta is moved along the imaginary axis.
    """

    def __init__(self, objective: Objective, is_complex: bool) -> None:
        self.objective = objective
        self.is_complex = is_complex
        self.work = np.array(objective.theta, np.complex128 if is_complex else None)
        self._cost = objective.bound(self.work)
        usual = _COMPLEX if is_complex else _REAL
        self._usual = usual if objective.outputs is None else frozenset()

    def values(self, plan: Plan) -> NDArray[Any]:
        """J at every point of the plan, shape ``(len(plan), plan.width)``.

        Of a function of m outputs, shape ``(len(plan), plan.width, m)``.

        Raises
        ------
        CostEvaluationError
            Where the cost raises or returns anything but what it must.
        """
        values: list[Any] = []
        cost, usual = self._cost, self._usual
        try:
            with one_blas_thread():
                for _ in plan.visit(self.work, self.objective.theta):
                    value = cost()
                    values.append(value if type(value) in usual else self._read(value))
        except _Unusable as exc:
            raise value_failure(self.objective, plan, *_place(values, plan), str(exc)) from None
        except BaseException as exc:
            if asks_to_stop(exc):
                raise
            raise evaluation_failure(self.objective, plan, *_place(values, plan), exc) from exc
        dtype = np.complex128 if self.is_complex else np.float64
        shape = len(plan), plan.width, *self.objective.value_shape
        return np.array(values, dtype).reshape(shape)

    def _read(self, value: Any) -> Any:
        """Several outputs as a vector, or a less usual value as a scalar, if it is one."""
        outputs = self.objective.outputs
        if outputs is not None:
            try:
                return outputs.flatten(value, self.is_complex)
            except GradcheckInputError as error:
                raise _Unusable(str(error)) from None
        if reason := complaint(value, self.is_complex):
            raise _Unusable(reason)
        return np.asarray(value)[()]


class _Unusable(Exception):
    """The cost returned something else than it must; the text is the complaint."""


def _place(values: list[Any], plan: Plan) -> tuple[int, int]:
    """Row and point of the evaluation that comes after `values`."""
    return divmod(len(values), plan.width)
