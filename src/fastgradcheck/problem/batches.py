"""Costs that take many points in one call: how many, and whether each row is alone."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from fastgradcheck.errors import GradcheckInputError, said, shown
from fastgradcheck.problem.bounds import Bounds
from fastgradcheck.problem.guards import CLOSE, IRREPRODUCIBLE, Inspected
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
    cost: Any, grad: Any, engine: str, n_jobs: int | None, executor: Any = None
) -> None:
    """Refuse what does not go with ``vectorized=``.

    Raises
    ------
    GradcheckInputError
    """
    if grad is True:
        raise GradcheckInputError(
            "vectorized= goes with a gradient of its own: a cost that returns (J, grad) would have "
            "to return both for every point. Pass the gradient as grad."
        )
    if engine == "numba" or is_jitted(cost):
        raise GradcheckInputError(
            "vectorized= is for Python costs that gain by many points in one call; compiled costs "
            "are evaluated in parallel without it. Leave vectorized= out."
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
    try:
        objective.many(objective.theta[np.newaxis].copy())
    except GradcheckInputError:
        raise
    except Exception as error:
        raise GradcheckInputError(
            f"cost raised {type(error).__name__} for one point with vectorized=: {_text(error)}. "
            f"{_AXIS}"
        ) from error


def inspect_batch(inspected: Inspected, bounds: Bounds | None = None) -> Inspected:
    """Compare a first batch with single calls; the last one is at theta.

    Parameters
    ----------
    inspected : Inspected
        What single calls showed, of an objective of many points.
    bounds : pair of float64 arrays, shape (n,), optional

    Raises
    ------
    GradcheckInputError
        If a batch fails where single points do not, or the value at a point depends on the others.
    """
    objective, theta = inspected.objective, inspected.objective.theta
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
        raise GradcheckInputError(
            f"cost takes one point, but not {count} in one call: it raised {type(error).__name__}: "
            f"{_text(error)}. {_AXIS} Where memory is short, vectorized=2 asks for smaller batches."
        ) from error
    seconds = (time.perf_counter() - began) / count
    eps = np.finfo(values.dtype if values.dtype.kind == "f" else np.float64).eps
    alone = sorted({0, count // 2, count - 1}, reverse=True)
    for k in alone:
        single = float(objective(points[k]))
        if abs(single - float(values[k])) > IRREPRODUCIBLE * eps * abs(single):
            raise GradcheckInputError(
                f"cost mixes its rows: J of point {k} of {count} is {float(values[k])!r} in one "
                f"call with the others, but {single!r} by itself. A mean, a sum or a norm over "
                "the first axis is the usual cause: reduce over all axes but that one."
            )
    evaluations = inspected.evaluations + count + len(alone)
    return replace(inspected, seconds=min(seconds, inspected.seconds), evaluations=evaluations)


def _text(error: Exception) -> str:
    return said(error).strip().rstrip(".")
