"""Bounds of theta, and the entries that have room between them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.problem.parameters import Parameters

Bounds = tuple[NDArray[np.float64], NDArray[np.float64]]


def flat_bounds(bounds: Any, theta: NDArray[Any], parameters: Parameters) -> Bounds | None:
    """The argument ``bounds`` as two flat arrays.

    Raises
    ------
    GradcheckInputError
        If it is no pair, or theta lies outside.
    """
    if bounds is None:
        return None
    pair = (bounds.lb, bounds.ub) if hasattr(bounds, "lb") else bounds
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise GradcheckInputError(
            "bounds must be a pair (low, high), each a number or of theta's structure, or a "
            "scipy.optimize.Bounds."
        )
    low, high = (_one_bound(bound, parameters) for bound in pair)
    outside = np.flatnonzero(~((low <= theta) & (theta <= high)))
    if len(outside):
        where = int(outside[0])
        raise GradcheckInputError(
            f"{parameters.address(where)} = {theta[where]:g} lies outside its bounds "
            f"[{low[where]:g}, {high[where]:g}]; check at a point inside."
        )
    return low, high


def _one_bound(bound: Any, parameters: Parameters) -> NDArray[np.float64]:
    # scipy.optimize.Bounds makes arrays of shape (1,) of numbers.
    if isinstance(bound, np.ndarray) and bound.shape in ((), (1,)):
        bound = bound.item()
    if isinstance(bound, int | float | np.number):
        return np.full(parameters.size, float(bound))
    try:
        return parameters.match(bound)
    except GradcheckInputError as error:
        reason = str(error).removeprefix("the gradient of ")
        raise type(error)(f"in bounds, {reason}") from error


MOVABLE = 1e-4
"""Entries with less room than this, relative to their scale, stay out of directions."""


def movable(
    bounds: Bounds | None, theta: NDArray[Any], scale: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Multipliers that keep directions inside the bounds: 0 for entries at a bound, 1 inside.

    None if there are no bounds.
    """
    if bounds is None:
        return None
    room = np.minimum(theta - bounds[0], bounds[1] - theta)
    inside: NDArray[np.float64] = (room > MOVABLE * scale).astype(np.float64)
    return inside
