"""The frozen values that every stage hands to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.value import row_values


@dataclass(frozen=True, eq=False)
class Objective:
    """The function that engines evaluate: J of a flat theta.

    Attributes
    ----------
    cost : callable
        The user's ``cost(theta, *args)``.
    args : tuple
        Passed through.
    parameters : Parameters
        Rebuilds the user's structure from a flat theta and names its entries.
    theta : float64 or float32 array, shape (n,), read-only
        The point of the check, in the dtype in which J is evaluated.
    batch : int
        How many points the cost takes in one call at most, along a leading axis of every array
        of theta; 0 for a cost of one point, without such an axis.
    """

    cost: Callable[..., Any]
    args: tuple[Any, ...]
    parameters: Parameters
    theta: NDArray[Any]
    batch: int = 0

    def __call__(self, theta: NDArray[Any]) -> Any:
        """J at a flat theta, as the user's own call from Python gives it."""
        if self.batch:
            return self.many(theta[np.newaxis])[0]
        return self.cost(self.parameters.unflatten(theta), *self.args)

    def many(self, points: NDArray[Any]) -> NDArray[Any]:
        """J at the flat thetas ``points[k]``, in one call of a cost that takes many.

        Raises
        ------
        GradcheckTypeError
            If the cost returns anything but one real number for each.
        """
        return row_values(self.cost(self.parameters.unflatten(points), *self.args), len(points))


@dataclass(frozen=True, eq=False)
class Problem:
    """An objective and the gradient that is claimed for it.

    Attributes
    ----------
    objective : Objective
    gradient : float64 array, shape (n,), read-only
        The analytic gradient.
    gradient_eps : float
        Machine epsilon of the dtype in which the gradient came.
    value : float
        J(theta).
    computed_eps : float
        Machine epsilon of the dtype in which it was computed; as `gradient_eps`, unless it was
        evaluated in float64 besides (`problem.precision`).
    rounding : float64 array, shape (blocks,), or None
        How far an ulp of theta was seen to move each block of the gradient, as a norm.
    """

    objective: Objective
    gradient: NDArray[np.float64]
    gradient_eps: float
    value: float
    computed_eps: float = float(np.finfo(np.float64).eps)
    rounding: NDArray[np.float64] | None = None

    @property
    def parameters(self) -> Parameters:
        return self.objective.parameters

    @property
    def theta(self) -> NDArray[Any]:
        return self.objective.theta

    @cached_property
    def sizes(self) -> tuple[float, ...]:
        """The Euclidean norm of every block's claimed gradient."""
        return tuple(norm(self.gradient[block.slice]) for block in self.parameters.blocks)
