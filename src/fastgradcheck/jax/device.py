"""Points of plans where jax evaluates J, by the hash that NumPy uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from fastgradcheck.evaluation.hashing import signed_magnitude
from fastgradcheck.evaluation.plans import Plan
from fastgradcheck.jax.trees import double
from fastgradcheck.problem.parameters import Parameters

HERE = "cpu"
"""The platform that works in the memory of NumPy's arrays: they need not be copied."""
LARGE = 100_000
"""Entries of theta: compiling takes longer than copying less."""


class JaxDevice:
    """Makes points where jax evaluates J; see `evaluation.plans.Device`.

    Parameters
    ----------
    evaluate : callable
        J of the blocks of many points: an array with one entry for each.
    parameters : Parameters
    theta : float64 array, shape (n,)
    """

    def __init__(
        self,
        evaluate: Callable[[Mapping[str, Any]], Any],
        parameters: Parameters,
        theta: NDArray[np.float64],
    ) -> None:
        self._evaluate = evaluate
        self._parameters = parameters
        with double():
            self._theta = jnp.asarray(theta)
        self._scale: tuple[Any, Any] = (None, 1.0)

    def values(self, plan: Plan) -> NDArray[Any]:
        """J at every point of a plan."""
        with double():
            values = self._evaluate(self._parameters.unflatten(plan.on(self)))
        return np.asarray(values)[: len(plan) * plan.width]

    def stencils(self, index: NDArray[np.int64], points: NDArray[Any]) -> Any:
        """The points of `Stencils`, as rows; the last ones only fill `room`."""
        rows = self._rows(points.size)
        columns = np.repeat(index, points.shape[1])[rows]
        with double():
            return _written(self._theta, columns, points.ravel()[rows])

    def directions(
        self,
        regions: NDArray[np.int64],
        keys: NDArray[np.uint64],
        offsets: NDArray[Any],
        scale: NDArray[np.float64] | None,
    ) -> Any:
        """The points of `Directions`, as rows; the last ones only fill `room`."""
        rows = self._rows(offsets.size)
        owner = rows // offsets.shape[1]
        with double():
            if scale is not self._scale[0]:
                # One array serves for all plans of a check: it is copied once.
                self._scale = scale, 1.0 if scale is None else jnp.asarray(scale)
            offset = offsets.ravel()[rows]
            size = len(self._theta)
            steps = _steps(regions[owner], keys[owner], offset, self._scale[1], size)
            # A program by itself: within one, XLA may round a product and a sum only once.
            return self._theta + steps

    def _rows(self, count: int) -> NDArray[np.int64]:
        return np.minimum(np.arange(room(count, len(self._theta))), count - 1)


def room(count: int, size: int) -> int:
    """How many points a call gets room for.

    jax compiles anew for every number of them, so there are few: 8, 64, 512; where theta is large,
    filling up costs more than compiling.
    """
    if size > LARGE:
        return 1 << (count - 1).bit_length()
    threes = -(-(count - 1).bit_length() // 3)
    return 1 << int(3 * max(1, threes))


def _written_to(theta: Any, columns: Any, values: Any) -> Any:
    rows = jnp.tile(theta, (len(columns), 1))
    return rows.at[jnp.arange(len(columns)), columns].set(values)


def _steps_of(regions: Any, keys: Any, offsets: Any, scale: Any, size: int) -> Any:
    """What is added to theta at each point: ``offset * v * scale`` within its region.

    Regions are numbers here and not slices, for which jax would compile anew.
    """
    start, columns, row0, row1, column0, column1 = regions.T[:, :, jnp.newaxis]
    index = jnp.arange(size)
    # Whole numbers below 2^51 divided as floats, which is several times faster, and exact.
    row = jnp.floor((index - start) / columns).astype(jnp.int64)
    column = index - start - row * columns
    held = (row0 <= row) & (row < row1) & (column0 <= column) & (column < column1)
    v = signed_magnitude(keys[:, jnp.newaxis], index.astype(jnp.uint64))
    # Minus zero, because that leaves every number as it is, minus zero too.
    return jnp.where(held, offsets[:, jnp.newaxis] * v * scale, -0.0)


_written = jax.jit(_written_to)
_steps = jax.jit(_steps_of, static_argnames="size")
