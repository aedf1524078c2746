"""Costs that take many points in one call: how many, and whether each row is alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, said, shown
from fastgradcheck.problem.bounds import Bounds
from fastgradcheck.problem.calls import GRADIENT, Names
from fastgradcheck.problem.guards import CLOSE, off
from fastgradcheck.problem.outputs import alone, eps_of
from fastgradcheck.problem.problem import Objective
from fastgradcheck.problem.value import is_jitted

MOST = 64
"""Points of a batch unless the user says how many: beyond it little is gained per point ..."""
MEMORY = 2**28
"""... and fewer, where the points alone would take more than so many bytes."""

FIRST = 8
"""Points of the first batch, which is compared with single calls."""

_AXIS = (
    "Every array of theta has a first axis more there, with one entry for each point, and so has "
    "what is returned; leave vectorized= out for a cost of one point."
)


def batch_of(vectorized: Any, size: int) -> int:
    """The argument ``vectorized`` as the largest batch; 0 for a cost of one point.

    Parameters
    ----------
    vectorized : bool or int
    size : int
        Entries of theta.

    Examples
    --------
    >>> batch_of(False, 10), batch_of(True, 10), batch_of(True, 10_000_000), batch_of(8, 10)
    (0, 64, 3, 8)
    """
    if isinstance(vectorized, (bool, np.bool_)):
        return max(1, min(MOST, MEMORY // (8 * size))) if vectorized else 0
    if isinstance(vectorized, (int, np.integer)) and vectorized > 0:
        return int(vectorized)
    raise GradcheckInputError(
        f"vectorized={shown(vectorized)} is no number of points: use True, or the largest number "
        "that one call of the cost may get."
    )


def refuse_unvectorized(
    cost: Any,
    grad: Any,
    engine: str,
    n_jobs: int | None,
    executor: Any = None,
    names: Names = GRADIENT,
) -> None:
    """Refuse what does not go with ``vectorized=``.

    Raises
    ------
    GradcheckInputError
    """
    if grad is True:
        raise GradcheckInputError(
            f"vectorized= goes with a {names.claim} of its own: a function that returns "
            f"({names.value}, {names.derivative}) would have to return both for every point. Pass "
            f"the {names.claim} as {names.derivative}."
        )
    if engine == "numba" or is_jitted(cost):
        raise GradcheckInputError(
            "vectorized= is for Python functions that gain by many points in one call; compiled "
            "ones are evaluated in parallel without it. Leave vectorized= out."
        )
    if executor is not None or n_jobs not in (None, 1):
        other = "executor=" if executor is not None else f"n_jobs={n_jobs}"
        raise GradcheckInputError(
            f"{other} and vectorized= are two ways to evaluate many points at a time: "
            "leave one of them out."
        )


def refuse_single(objective: Objective) -> None:
    """Refuse a cost that does not take the axis of the points at all.

    Raises
    ------
    GradcheckInputError
    """
    first = objective.theta[np.newaxis].copy()
    _of_one_point(lambda: objective.many(first), "cost")


def first_value(objective: Objective, function: str) -> Any:
    """What a function of several outputs, which are not known yet, returns at theta.

    Raises
    ------
    GradcheckInputError
        If it is to take many points, and does not take the axis of these.
    """
    theta = objective.theta.copy()
    if not objective.batch:
        return objective(theta)
    points = objective.parameters.unflatten(theta[np.newaxis])
    returned = _of_one_point(lambda: objective.called(points), function)
    try:
        return alone(returned)
    except GradcheckInputError as error:
        raise GradcheckInputError(f"{error}, with vectorized=. {_AXIS}") from error


def _of_one_point(call: Callable[[], Any], function: str) -> Any:
    try:
        return call()
    except GradcheckInputError:
        raise
    except Exception as error:
        raise GradcheckInputError(
            f"{function} raised {type(error).__name__} for one point with vectorized=: "
            f"{_text(error)}. {_AXIS}"
        ) from error


def inspect_batch(objective: Objective, bounds: Bounds | None = None) -> tuple[float, int]:
    """Compare a first batch with single calls; the last one is at theta.

    Parameters
    ----------
    objective : Objective
        Of many points.
    bounds : pair of float64 arrays, shape (n,), optional

    Returns
    -------
    seconds, evaluations : float, int
        For each point of the batch, and how many there were, single calls included.

    Raises
    ------
    GradcheckInputError
        If a batch fails where single points do not, or the value at a point depends on the others.
    """
    theta = objective.theta
    scale = np.maximum(np.abs(theta), float(np.abs(theta).max()) or 1.0)
    count = min(objective.batch, FIRST)
    points = np.random.default_rng(0).uniform(-CLOSE, CLOSE, (count, len(theta)))
    points = theta + scale * points
    points[0] = theta
    if bounds is not None:
        points = np.clip(points, *bounds)
    points = points.astype(theta.dtype)
    began = time.perf_counter()
    try:
        values = objective.many(points.copy())
    except GradcheckInputError:
        raise
    except Exception as error:
        if _fails_alone(objective, points):  # outside of the domain: the check says where
            return np.inf, 2 * count
        raise GradcheckInputError(
            f"{objective.name} takes one point, but not {count} in one call: it raised "
            f"{type(error).__name__}: {_text(error)}. {_AXIS} Where memory is short, vectorized=2 "
            "asks for smaller batches."
        ) from error
    seconds = (time.perf_counter() - began) / count
    singles = sorted({0, count // 2, count - 1}, reverse=True)
    for k in singles:
        returned = objective(points[k])
        outputs = objective.outputs
        single = np.atleast_1d(returned) if outputs is None else outputs.flatten(returned)
        together = np.atleast_1d(values[k])
        # Outside of the domain both may be no numbers: the check itself tells that.
        same = (together == single) | (np.isnan(together) & np.isnan(single))
        with np.errstate(invalid="ignore"):
            differ = off(together, single, eps_of(returned)) & ~same
        if differ.any():
            i = int(np.argmax(differ))
            what = "J" if outputs is None else outputs.address(i)
            raise GradcheckInputError(
                f"{objective.name} mixes its rows: {what} of point {k} of {count} is "
                f"{float(together[i])!r} in one call with the others, but {float(single[i])!r} by "
                "itself. A mean, a sum or a norm over the first axis is the usual cause: reduce "
                "over all axes but that one."
            )
    return seconds, count + len(singles)


def _fails_alone(objective: Objective, points: NDArray[Any]) -> bool:
    """Whether a point fails by itself, too."""
    for point in points:
        try:
            objective(point)
        except Exception:
            return True
    return False


def _text(error: Exception) -> str:
    return said(error).strip().rstrip(".")
