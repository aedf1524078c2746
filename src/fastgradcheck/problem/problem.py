"""The frozen values that every stage hands to the next."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem.foreign import COARSE
from fastgradcheck.problem.median import median_size
from fastgradcheck.problem.norm import largest, norm
from fastgradcheck.problem.outputs import Outputs, alone
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.region import CHUNK
from fastgradcheck.problem.structure import Leaf, Node, Structure
from fastgradcheck.problem.value import complaint, row_values

KEPT = 1 << 26
"""Bytes of copies of theta that are kept alive for a cost that knows them by their identity."""


class Copies:
    """Copies of theta for a cost that keeps what it was given: at every call another one.

    They are kept alive, as many as `KEPT` allows, so that none has the identity of an earlier one.
    """

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes
        self._alive: deque[Any] = deque(maxlen=max(1, KEPT // nbytes))

    def keep(self, theta: Any) -> Any:
        """The same theta, kept alive."""
        self._alive.append(theta)
        return theta

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return Copies, (self._nbytes,)


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
    copies : Copies or None
        Where the cost must not be given the same array twice.
    outputs : Outputs or None
        Of a function of several outputs: what it returns.
    """

    cost: Callable[..., Any]
    args: tuple[Any, ...]
    parameters: Parameters
    theta: NDArray[Any]
    batch: int = 0
    copies: Copies | None = None
    outputs: Outputs | None = None

    @property
    def name(self) -> str:
        """What the user calls the function."""
        return "cost" if self.outputs is None else self.outputs.function

    @property
    def value_shape(self) -> tuple[int, ...]:
        """The shape of one value: none of a scalar J, (m,) of a function of m outputs."""
        return () if self.outputs is None else (self.outputs.size,)

    def complaint(self, value: Any, is_complex: bool = False) -> str:
        """What is wrong with a value of the function; empty if nothing is."""
        if self.outputs is None:
            return complaint(value, is_complex)
        return self.outputs.complaint(value, is_complex)

    def __call__(self, theta: NDArray[Any]) -> Any:
        """J at a flat theta, as the user's own call from Python gives it."""
        if not self.batch:
            return self.called(self._given(theta))
        if self.outputs is None:
            return self.many(theta[np.newaxis])[0]
        return alone(self.called(self._given(theta[np.newaxis])))

    def called(self, theta: Any) -> Any:
        """J at a theta of the user's structure."""
        return self.cost(theta, *self.args)

    def many(self, points: NDArray[Any]) -> NDArray[Any]:
        """J at the flat thetas ``points[k]``, in one call of a cost that takes many.

        Of a function of m outputs, an array of shape (K, m).

        Raises
        ------
        GradcheckInputError
            If the cost returns anything but real numbers, one for each point, or m.
        """
        returned, count = self.called(self._given(points)), len(points)
        if self.outputs is None:
            return row_values(returned, count)
        return self.outputs.rows(returned, count, bool(np.iscomplexobj(points)))

    def bound(self, work: NDArray[Any]) -> Callable[[], Any]:
        """A call of the cost at whatever `work` holds at that moment.

        A cost may put new arrays into a dict or list that it is given (``p["W"] = p["W"].T``), and
        a nest that is used again would from then on not follow `work`. So every call gets
        containers of its own, around the same views.
        """
        parameters, structure = self.parameters, self.parameters.structure
        anew = self.batch or self.copies is not None or not parameters.has_views
        if anew or not _simple(structure):
            return partial(self, work)
        cost, args, theta = self.cost, self.args, parameters.unflatten(work)
        if isinstance(theta, dict | list):
            return lambda: cost(copy.copy(theta), *args)
        return partial(cost, theta, *args)

    def _given(self, flat: NDArray[Any]) -> Any:
        """What the cost is given for a flat theta, or for many of them."""
        if self.copies is None:
            return self.parameters.unflatten(flat)
        return self.copies.keep(self.parameters.unflatten(flat.copy()))


def _simple(structure: Structure) -> bool:
    """True if a shallow copy renews every container that can be written to."""
    return not isinstance(structure, Node) or all(
        isinstance(child, Leaf) for child in structure.children
    )


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
    moves : bool
        False if J was the same wherever theta was moved.
    """

    objective: Objective
    gradient: NDArray[np.float64]
    gradient_eps: float
    value: float
    computed_eps: float = float(np.finfo(np.float64).eps)
    rounding: NDArray[np.float64] | None = None
    moves: bool = True

    @property
    def entry_eps(self) -> float:
        """What each entry is granted, in units of the largest of its block.

        Of a gradient of 16 bits, `rounding` says all.
        """
        return self.gradient_eps if self.gradient_eps <= COARSE else 0.0

    @property
    def parameters(self) -> Parameters:
        return self.objective.parameters

    @property
    def theta(self) -> NDArray[Any]:
        return self.objective.theta

    def typical(self, block: int) -> float:
        """The median |theta_j| of a block but for zeros; 0 if all are."""
        if block not in self._typical:
            self._typical[block] = median_size(self.theta[self.parameters.blocks[block].slice])
        return self._typical[block]

    @cached_property
    def _typical(self) -> dict[int, float]:
        return {}

    @cached_property
    def weighted(self) -> tuple[float, ...]:
        """Of every block, the largest |gradient_j theta_j|."""
        found = []
        with np.errstate(invalid="ignore", over="ignore"):
            for block in self.parameters.blocks:
                size = 0.0
                for first in range(block.start, block.stop, CHUNK):
                    part = slice(first, min(first + CHUNK, block.stop))
                    size = max(size, largest(self.gradient[part] * self.theta[part]))
                found.append(size)
        return tuple(found)

    @cached_property
    def is_finite(self) -> bool:
        """Whether every entry of the claimed gradient is a number."""
        return bool(np.isfinite(self.gradient).all())

    @cached_property
    def finite(self) -> NDArray[np.float64]:
        """The claimed gradient, zero where it is no number."""
        if self.is_finite:
            return self.gradient
        return np.nan_to_num(self.gradient, nan=0.0, posinf=0.0, neginf=0.0)

    @cached_property
    def largest(self) -> tuple[float, ...]:
        """Of every block, the largest |gradient_j| that is a number."""
        return tuple(largest(self.gradient[block.slice]) for block in self.parameters.blocks)

    @cached_property
    def sizes(self) -> tuple[float, ...]:
        """The Euclidean norm of every block's claimed gradient."""
        return tuple(norm(self.gradient[block.slice]) for block in self.parameters.blocks)
