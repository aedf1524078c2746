"""Bounds of theta, and the entries that have room between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError, shown
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.structure import Flat

Bounds = tuple[NDArray[np.float64], NDArray[np.float64]]


OPEN = (-np.inf, np.inf)
"""What None stands for below and above."""

_FORMS = (
    "bounds must be a pair (low, high), a list with such a pair for each of the {:,} entries of "
    "theta, a dict with such a pair for some of its blocks, or a scipy.optimize.Bounds; None "
    "leaves a side open."
)

_TWO_PAIRS = (
    " Two pairs of numbers are the bounds of one entry each, as in SciPy; pass "
    "scipy.optimize.Bounds(low, high) if they are low and high."
)


def flat_bounds(bounds: Any, theta: NDArray[Any], parameters: Parameters) -> Bounds | None:
    """The argument ``bounds`` as two flat arrays.

    As in ``scipy.optimize.minimize``, n pairs of numbers are a pair for each of the n entries,
    even where n is 2 and they could be low and high.

    Raises
    ------
    GradcheckInputError
        If it has none of the forms that `gradcheck` takes, or theta lies outside.
    """
    if bounds is None:
        return None
    if isinstance(bounds, Mapping):
        low, high = _of_blocks(bounds, parameters)
    elif _are_pairs(bounds) and len(bounds) == parameters.size:
        columns = zip(*bounds, strict=True)
        low, high = (
            _limits(list(column), side, (parameters.size,), "bounds")
            for column, side in zip(columns, OPEN, strict=True)
        )
    else:
        forms = _FORMS.format(parameters.size)
        if _are_pairs(bounds) and isinstance(parameters.structure, Flat):
            raise GradcheckInputError(f"{forms} There are {len(bounds):,} here.")
        pair = _pair(bounds, forms)
        low, high = (_of_theta(x, side, parameters) for x, side in zip(pair, OPEN, strict=True))
    complaint = _complaint(low, high, theta, parameters)
    if complaint:
        ambiguous = parameters.size == 2 and _are_pairs(bounds)
        raise GradcheckInputError(complaint + (_TWO_PAIRS if ambiguous else ""))
    return low, high


def _are_pairs(bounds: Any) -> bool:
    """Whether these are pairs of numbers: then each is meant for one entry of theta."""
    if isinstance(bounds, np.ndarray):
        return bool(bounds.ndim == 2 and bounds.shape[1] == 2)
    return isinstance(bounds, tuple | list) and all(
        isinstance(pair, tuple | list | np.ndarray)
        and len(pair) == 2
        and all(np.ndim(side) == 0 for side in pair)
        for pair in bounds
    )


def _of_blocks(bounds: Mapping[Any, Any], parameters: Parameters) -> Bounds:
    low, high = (np.full(parameters.size, side) for side in OPEN)
    blocks = {block.name: block for block in parameters.blocks}
    for name, given in bounds.items():
        if name not in blocks:
            raise GradcheckInputError(
                f"bounds names the block {shown(name)}, which theta does not have; its blocks are "
                f"{', '.join(blocks)}."
            )
        where = f"bounds[{shown(name)}]"
        pair = _pair(given, f"{where} must be a pair (low, high); None leaves a side open.")
        for flat, x, side in zip((low, high), pair, OPEN, strict=True):
            flat[blocks[name].slice] = _limits(x, side, blocks[name].shape, where).ravel()
    return low, high


def _pair(bounds: Any, complaint: str) -> tuple[Any, Any]:
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        # scipy.optimize.Bounds makes arrays of shape (1,) of numbers.
        return tuple(x.item() if np.size(x) == 1 else x for x in (bounds.lb, bounds.ub))
    single = isinstance(bounds, np.ndarray) and bounds.ndim == 0
    if isinstance(bounds, tuple | list | np.ndarray) and not single and len(bounds) == 2:
        return bounds[0], bounds[1]
    raise GradcheckInputError(complaint)


def _of_theta(bound: Any, side: float, parameters: Parameters) -> NDArray[np.float64]:
    """One side of all of theta: a number, None, or a nest of theta's structure."""
    if isinstance(bound, int | float | np.number | None):
        return _limits(bound, side, (parameters.size,), "bounds")
    flat = np.empty(parameters.size)
    for block, part in parameters.parts(bound, "in bounds, "):
        flat[block.slice] = _limits(part, side, block.shape, f"in bounds, {block.name}").ravel()
    return flat


def _limits(bound: Any, side: float, shape: tuple[int, ...], where: str) -> NDArray[np.float64]:
    """One side of a block, None replaced by an open one."""
    values = np.asarray(bound)
    if values.dtype == object:
        values = np.where(values == None, side, values)  # noqa: E711 -- entry by entry
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):
        raise GradcheckTypeError(f"{where} holds {shown(bound)}: use numbers, or None.") from None
    if numbers.ndim and numbers.shape != shape:
        raise GradcheckInputError(
            f"{where} has shape {numbers.shape}, but theta has {shape} there: pass one number for "
            "all, or one for each entry."
        )
    return np.broadcast_to(numbers, shape)


def _complaint(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    theta: NDArray[Any],
    parameters: Parameters,
) -> str:
    """What is wrong with the first entry that does not lie between its bounds."""
    outside = np.flatnonzero(~((low <= theta) & (theta <= high)))
    if not len(outside):
        return ""
    where = int(outside[0])
    name, least, most = parameters.address(where), low[where], high[where]
    if np.isnan(least) or np.isnan(most):
        return f"a bound of {name} is nan: None, or an infinity, leaves a side open."
    if least > most:
        return (
            f"the lower bound {least:g} of {name} is above its upper bound {most:g}: are low and "
            "high exchanged?"
        )
    return (
        f"{name} = {theta[where]:g} lies outside its bounds [{least:g}, {most:g}]; check at a "
        "point inside."
    )


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
