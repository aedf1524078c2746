"""One component's derivative over shrinking steps, and the plateau that it settles on.

This is the measurement that owns its error bar: it is what `numerical_gradient` falls back on and
what must agree before a component is called wrong. Steps shrink by a factor of four. At each,
two-sided differences D(h), and one-sided slopes on the right and on the left, are formed from the
same values of J.

Where J is smooth the value is the best-agreeing pair of neighbouring D(h), or of their
extrapolations where the errors were seen to fall as h^2 (and only there: near a kink an
extrapolation is confidently wrong). Where the slopes on the two sides differ there is a kink:
extrapolating each side back to theta shows on which side of theta it lies, since only on the
other side does the line pass through J(theta).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.plateau import (
    AGREEMENT,
    RATIO,
    SMOOTH,
    UNSETTLED,
    Rungs,
    Settled,
    settle,
)
from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation.plans import Stencils
from fastgradcheck.evaluation.stream import Stopped, Stream
from fastgradcheck.problem.bounds import Bounds

FIRST_RUNG = 2.0**-5
"""The largest step of a calibration ladder, relative to the component's scale."""


RUNGS = 9
"""Steps of the first ladder; it spans a factor of 4^8 = 65,536."""


EXTENSION = 4
"""Steps added at an end of the ladder when the plateau was found there ..."""


EXTENSIONS = 3
"""... and how often: at most 2 * (9 + 2 * 3 * 4) = 66 evaluations per component."""


def climb(
    stream: Stream,
    index: NDArray[np.int64],
    largest: NDArray[np.float64],
    value: float,
    noise: float,
    bounds: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    stage: str = "confirming",
) -> list[Settled]:
    """Measure the components `index`, each on a ladder of its own.

    Parameters
    ----------
    stream : Stream
    index : int64 array, shape (k,)
    largest : float64 array, shape (k,)
        The first step of each ladder.
    value : float
        J(theta).
    noise : float
        Standard deviation of J's noise.
    bounds : pair of float64 arrays, shape (n,), optional
    stage : str
        For the progress display.

    Returns
    -------
    list of Settled
        In the order of `index`.
    """
    if bounds is not None:
        here = stream.theta[index]
        room = np.maximum(bounds[1][index] - here, here - bounds[0][index])
        largest = np.where((room > 0) & (room < largest), room, largest)
    rungs = _evaluate(stream, index, largest, RUNGS, bounds, stage)
    settled = [settle(rungs.row(r), value, noise) for r in range(len(index))]
    ladders = [rungs.row(r) for r in range(len(index))]
    topped: set[int] = set()
    for _ in range(EXTENSIONS):
        for after in (True, False):
            rows = [
                r
                for r, s in enumerate(settled)
                if _wants_more(s, stream.theta, after) and (after or r not in topped)
            ]
            if not rows:
                continue
            more = np.array(rows)
            start = np.array(
                [
                    settled[r].steps[-1] / RATIO
                    if after
                    else settled[r].steps[0] * RATIO**EXTENSION
                    for r in rows
                ]
            )
            try:
                new = _evaluate(stream, index[more], start, EXTENSION, bounds, stage)
            except Stopped:
                # No time for more steps: what the first ones say, with their bars, stands.
                return _graded(settled, stream.theta)
            for position, r in enumerate(rows):
                grown = ladders[r].joined(new.row(position), np.array([0]), after)
                read = settle(grown, value, noise)
                if not after and _disputed(settled[r], read.value):
                    topped.add(r)
                    continue
                ladders[r], settled[r] = grown, read
    return _graded(settled, stream.theta)


def _disputed(settled: Settled, value: float) -> bool:
    """Whether a value from larger steps overrules smaller ones, which it may only sharpen.

    It does if it leaves their bar, or, since the noise may be overestimated, if three of them in
    a row agree on another slope.
    """
    if not abs(value - settled.value) <= settled.error:
        return True
    for k in range(len(settled.derivatives) - 2):
        three = settled.derivatives[k : k + 3]
        if three.any() and np.ptp(three) < AGREEMENT * abs(float(three[1]) - value):
            return True
    return False


def _graded(settled: list[Settled], theta: NDArray[Any]) -> list[Settled]:
    """With the number of steps that are not small against theta; of a zero, the first ladder's."""
    graded = []
    for s in settled:
        size = abs(float(theta[s.index]))
        count = int(np.sum(s.steps >= 2.0**-21 * size)) if size else RUNGS
        graded.append(replace(s, ordinary=count))
    return graded


def _wants_more(settled: Settled, theta: NDArray[Any], after: bool) -> bool:
    """Whether the plateau may continue beyond this end of the ladder."""
    count = len(settled.steps)
    if after:
        size = max(abs(float(theta[settled.index])), float(np.finfo(theta.dtype).tiny))
        room = settled.steps[-1] > 64 * np.finfo(theta.dtype).eps * size
        unfinished = settled.best >= count - 2 or settled.kind == UNSETTLED or settled.restless
        return bool(room and unfinished)
    sharp = settled.error <= 1e-9 * abs(settled.value)
    moves = bool(settled.derivatives.any())
    calm = settled.kind == SMOOTH and not settled.restless
    return settled.best <= 1 and calm and not sharp and moves


def _evaluate(
    stream: Stream,
    index: NDArray[np.int64],
    largest: NDArray[np.float64],
    count: int,
    bounds: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    stage: str,
) -> Rungs:
    theta = stream.theta
    here = theta[index].astype(np.float64)[:, np.newaxis]
    steps = largest[:, np.newaxis] / RATIO ** np.arange(count)
    points = np.hstack([here + steps, here - steps])
    if bounds is not None:
        low, high = bounds[0][index][:, np.newaxis], bounds[1][index][:, np.newaxis]
        points = np.where((points < low) | (points > high), here, points)
    points = points.astype(theta.dtype)
    values = _defined(stream, Stencils(index, points), stage)
    moved = points.astype(np.float64) - here
    values[moved == 0] = np.nan
    moved[moved == 0] = np.nan
    right, left = moved[:, :count], -moved[:, count:]
    return Rungs(index, steps, right, left, values[:, :count], values[:, count:])


def _defined(stream: Stream, plan: Stencils, stage: str) -> NDArray[np.float64]:
    """J at the points of a plan, nan where the cost raises: large steps may leave its domain.

    Raises
    ------
    CostEvaluationError
        If it raises at the smallest steps of some component too, on both sides.
    """
    try:
        return np.array(stream.values(plan, stage))
    except CostEvaluationError:
        values = np.full((len(plan), plan.width), np.nan)
    for row in range(len(plan)):
        failure: CostEvaluationError | None = None
        for point in range(plan.width):
            one = Stencils(plan.index[row : row + 1], plan.points[row : row + 1, [point]])
            try:
                values[row, point] = stream.values(one, stage)[0, 0]
            except CostEvaluationError as error:
                failure = error
        smallest = [plan.width // 2 - 1, plan.width - 1]
        if failure is not None and np.isnan(values[row, smallest]).all():
            raise failure
    return values


Measure = Callable[[NDArray[np.int64], float], list[Settled]]
"""Ladders for components, their largest step times a factor."""


def ladders(
    stream: Stream,
    scale: NDArray[np.float64],
    value: float,
    noise: float,
    bounds: Bounds | None,
) -> Measure:
    """The measurement that owns its bars, for any components.

    Parameters
    ----------
    stream : Stream
    scale : float64 array, shape (n,)
        The scale of every component; its ladder begins at a fixed part of it.
    value, noise : float
        J(theta) and the standard deviation of its noise.
    bounds : pair of float64 arrays, shape (n,), or None
    """

    def measure(index: NDArray[np.int64], factor: float) -> list[Settled]:
        largest = factor * FIRST_RUNG * scale[index]
        return climb(stream, index, largest, value, noise, bounds)

    return measure
