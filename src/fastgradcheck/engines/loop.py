"""The plain loop: J over a plan, one call of the user's cost after the other."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.engines.blas import one_blas_thread
from fastgradcheck.engines.failure import complaint, evaluation_failure, value_failure
from fastgradcheck.hashing import direction
from fastgradcheck.parameters import Leaf, Node, Structure
from fastgradcheck.plans import Directions, Plan, Stencils
from fastgradcheck.problem import Objective

# NumPy hashes about 60 entries per microsecond, the kernel a thousand: importing Numba (0.3 to
# 0.5 s) pays off where regions are large and never where they are small.
LARGE_REGION = 20_000

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
        self._cost = _bind(objective, self.work)
        self._usual = _COMPLEX if is_complex else _REAL

    def values(self, plan: Plan) -> NDArray[Any]:
        """J at every point of the plan, shape ``(len(plan), plan.width)``.

        Raises
        ------
        CostEvaluationError
            Where the cost raises or returns anything but a scalar.
        """
        values: list[Any] = []
        try:
            with one_blas_thread():
                if isinstance(plan, Stencils):
                    self._stencils(plan, values)
                else:
                    self._directions(plan, values)
        except _NotScalar as exc:
            raise value_failure(self.objective, plan, *_place(values, plan), str(exc)) from None
        except Exception as exc:
            raise evaluation_failure(self.objective, plan, *_place(values, plan), exc) from exc
        dtype = np.complex128 if self.is_complex else np.float64
        return np.array(values, dtype).reshape(len(plan), plan.width)

    def _stencils(self, plan: Stencils, values: list[Any]) -> None:
        # Python numbers, because NumPy scalars make the item assignment twice as slow.
        work, cost, usual = self.work, self._cost, self._usual
        origins = self.objective.theta[plan.index].tolist()
        for i, origin, points in zip(
            plan.index.tolist(), origins, plan.points.tolist(), strict=True
        ):
            for point in points:
                work[i] = point
                value = cost()
                values.append(value if type(value) in usual else self._scalar(value))
            work[i] = origin

    def _directions(self, plan: Directions, values: list[Any]) -> None:
        work, cost, usual = self.work, self._cost, self._usual
        for row, region in enumerate(plan.regions):
            move = self._mover(plan, row)
            for offset in plan.offsets[row]:
                move(offset)
                value = cost()
                values.append(value if type(value) in usual else self._scalar(value))
            _part(work, region)[...] = _part(self.objective.theta, region)

    def _mover(self, plan: Directions, row: int) -> Callable[[Any], None]:
        """Writes ``theta + offset * v * scale`` to the region of a row, for one offset."""
        region, key = plan.regions[row], plan.keys[row]
        work, theta = self.work, self.objective.theta
        here, origin = _part(work, region), _part(theta, region)
        if here.size > LARGE_REGION:
            from fastgradcheck.engines.kernels import perturb

            return lambda offset: perturb(work, theta, region, key, offset, plan.scale)
        v = direction(key, _flat_index(region))
        factor = 1.0 if plan.scale is None else _part(plan.scale, region)

        def move(offset: Any) -> None:
            here[...] = origin + offset * v * factor

        return move

    def _scalar(self, value: Any) -> Any:
        """A less usual value as a scalar, if it is one."""
        if reason := complaint(value, self.is_complex):
            raise _NotScalar(reason)
        return np.asarray(value)[()]


class _NotScalar(Exception):
    """The cost returned something else than a scalar; the text is the complaint."""


def _bind(objective: Objective, work: NDArray[Any]) -> Callable[[], Any]:
    """A call of the cost at whatever `work` holds at that moment.

    A cost may put new arrays into a dict or list that it is given (``p["W"] = p["W"].T``), and a
    nest that is used again would from then on be blind to `work`. So every call gets containers
    of its own, around the same views.
    """
    parameters = objective.parameters
    if not parameters.has_views or not _simple(parameters.structure):
        return partial(objective, work)
    cost, args, theta = objective.cost, objective.args, parameters.unflatten(work)
    if isinstance(theta, dict | list):
        return lambda: cost(copy.copy(theta), *args)
    return partial(cost, theta, *args)


def _simple(structure: Structure) -> bool:
    """True if a shallow copy renews every container that can be written to."""
    return not isinstance(structure, Node) or all(
        isinstance(child, Leaf) for child in structure.children
    )


def _place(values: list[Any], plan: Plan) -> tuple[int, int]:
    """Row and point of the evaluation that comes after `values`."""
    return divmod(len(values), plan.width)


def _part(flat: NDArray[Any], region: NDArray[np.int64]) -> NDArray[Any]:
    """A region (see `Directions.regions`) as a matrix view of a flat array."""
    start, columns, row0, row1, column0, column1 = region.tolist()
    rows = flat[start + row0 * columns : start + row1 * columns].reshape(-1, columns)
    return rows[:, column0:column1]


def _flat_index(region: NDArray[np.int64]) -> NDArray[np.int64]:
    """The flat indices of a region's entries, in its matrix shape."""
    start, columns, row0, row1, column0, column1 = region.tolist()
    rows = np.arange(row0, row1)[:, None]
    index: NDArray[np.int64] = start + rows * columns + np.arange(column0, column1)
    return index
