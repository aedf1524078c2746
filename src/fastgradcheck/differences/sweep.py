"""One component's derivative over shrinking steps: a step sweep, and the plateau read off it.

This measurement gives a component a bar of its own: `numerical_gradient` falls back on it, and no
component is called wrong before it. Steps shrink by a factor of four. At each,
two-sided differences D(h), and one-sided slopes on the right and on the left, are formed from the
same values of J.

Where J is smooth the value is the best-agreeing pair of neighbouring D(h), or of their
extrapolations where the errors were seen to fall as h^2 (and only there: near a kink an
extrapolation is confidently wrong). Where the slopes on the two sides differ there is a kink:
extrapolating each side back to theta shows on which side of theta it lies, since only on the
other side does the line pass through J(theta).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.context import Context
from fastgradcheck.differences.plateau import (
    AGREEMENT,
    JUMP_HERE,
    RATIO,
    SMOOTH,
    UNSETTLED,
    StepSweep,
    SweepValues,
    read_off,
)
from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation.plans import Stencils
from fastgradcheck.evaluation.stream import Stopped, Stream

LARGEST_STEP = 2.0**-5
"""The first step of a sweep, relative to the component's scale ..."""
BETWEEN = 0.6
"""... and of one whose steps lie between those of an earlier one, relative to that."""


VANISHING = 2.0**-20
"""Where J does not move, a scale below this may be none: it is tried whether J moves at one."""


DEFINITE = 10.0
"""Bars that a slope at this other scale is larger than, to count."""


STEPS = 9
"""Steps of a sweep at first; they span a factor of 4^8 = 65,536."""


EXTENSION = 4
"""Steps added at an end of it when the plateau was found there ..."""


EXTENSIONS = 3
"""... and how often: at most 2 * (9 + 2 * 3 * 4) = 66 evaluations per component."""


def sweep(
    context: Context,
    index: NDArray[np.int64],
    *,
    again: bool = False,
    stage: str = "confirming",
) -> list[StepSweep]:
    """Measure components, each over a sweep of steps of its own.

    Parameters
    ----------
    context : Context
    index : int64 array, shape (k,)
    again : bool
        Whether to take the steps between those of an earlier sweep.
    stage : str
        For the progress display.

    Returns
    -------
    list of StepSweep
        In the order of `index`.
    """
    theta, value, noise = context.theta, context.value, context.noise
    first = (BETWEEN if again else 1.0) * LARGEST_STEP
    measured, sweeps = _from(context, index, first * context.scale[index], stage)
    others, scales = _other_scale(context, sweeps)
    if len(others):
        try:
            anew, read = _from(context, index[others], first * scales, stage)
        except Stopped:
            return _graded(sweeps, theta, again)
        for r, own, s in zip(others.tolist(), anew, read, strict=True):
            if _better(s, sweeps[r]):
                measured[r], sweeps[r] = own, s
            elif s.steps[0] > sweeps[r].steps[-1]:
                # A J that does not move is sharply zero only where it was seen to be able to.
                sweeps[r] = replace(sweeps[r], error=max(sweeps[r].error, s.error))
    topped: set[int] = set()
    for _ in range(EXTENSIONS):
        for after in (True, False):
            rows = [
                r
                for r, s in enumerate(sweeps)
                if _wants_more(s, theta, after) and (after or r not in topped)
            ]
            if not rows:
                continue
            more = np.array(rows)
            start = np.array([_next_step(sweeps[r], after) for r in rows])
            try:
                new = _evaluate(context, index[more], start, EXTENSION, stage)
            except Stopped:
                # No time for more steps: what the first ones say, with their bars, stands.
                return _graded(sweeps, theta, again)
            for position, r in enumerate(rows):
                grown = measured[r].joined(new.row(position), np.array([0]), after)
                longer = read_off(grown, value, noise)
                if not after and _disputed(sweeps[r], longer.value):
                    topped.add(r)
                    continue
                measured[r], sweeps[r] = grown, longer
    return _graded(sweeps, theta, again)


def _from(
    context: Context, index: NDArray[np.int64], largest: NDArray[np.float64], stage: str
) -> tuple[list[SweepValues], list[StepSweep]]:
    """The first steps of components, from these downwards, within the bounds."""
    if context.bounds is not None:
        low, high = context.bounds
        here = context.theta[index]
        room = np.maximum(high[index] - here, here - low[index])
        largest = np.where((room > 0) & (room < largest), room, largest)
    values = _evaluate(context, index, largest, STEPS, stage)
    measured = [values.row(r) for r in range(len(index))]
    return measured, [read_off(own, context.value, context.noise) for own in measured]


def _other_scale(
    context: Context, sweeps: list[StepSweep]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The sweeps that found nothing at the scale of their block, and the scale to try instead.

    That is the component's own magnitude where that is smaller than all steps: log(1e-14) beside
    ones. Where all of theta is tiny and J did not move at all, it is one: a coefficient of 1e-17
    that standardised data left is a zero, and no scale.
    """
    rows, scales = [], []
    for r, s in enumerate(sweeps):
        own = abs(float(context.theta[s.index]))
        if 0 < own < s.steps[-1] and _wants_more(s, context.theta, True):
            rows.append(r)
            scales.append(own)
        elif context.scale[s.index] < VANISHING and not s.derivatives.any():
            rows.append(r)
            scales.append(1.0)
    return np.array(rows, np.int64), np.array(scales, np.float64)


def _better(anew: StepSweep, known: StepSweep) -> bool:
    """Whether a sweep at another scale counts instead of the first.

    It does if it is sharper, or if it has smaller steps and contradicts: they are not stepped over.
    Larger steps must show a definite slope: those of any bounded oscillation tend to zero.
    """
    if not np.isfinite(anew.error):
        return False
    if anew.steps[0] > known.steps[-1]:
        return anew.kind == SMOOTH and DEFINITE * anew.error < abs(anew.value)
    contradicts = not abs(anew.value - known.value) <= anew.error + known.error
    return contradicts or anew.error < known.error


def _next_step(known: StepSweep, after: bool) -> float:
    """The largest of the steps to be added at the small end (`after`) or the large one."""
    step = known.steps[-1] / RATIO if after else known.steps[0] * RATIO**EXTENSION
    return float(step)


def _disputed(settled: StepSweep, value: float) -> bool:
    """Whether a value from larger steps contradicts smaller ones, which it may only sharpen.

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


def _graded(sweeps: list[StepSweep], theta: NDArray[Any], again: bool) -> list[StepSweep]:
    """With the number of steps that are not small against theta; of a zero, the first ones."""
    graded = []
    for s in sweeps:
        size = abs(float(theta[s.index]))
        count = int(np.sum(s.steps >= 2.0**-21 * size)) if size else STEPS
        graded.append(replace(s, ordinary=count, again=again))
    return graded


def _wants_more(settled: StepSweep, theta: NDArray[Any], after: bool) -> bool:
    """Whether the plateau may continue beyond this end of the sweep."""
    count = len(settled.steps)
    if after:
        size = max(abs(float(theta[settled.index])), float(np.finfo(theta.dtype).tiny))
        room = settled.steps[-1] > 64 * np.finfo(theta.dtype).eps * size
        unclear = settled.kind in (UNSETTLED, JUMP_HERE) or settled.restless
        unfinished = settled.best >= count - 2 or unclear
        return bool(room and unfinished)
    sharp = settled.error <= 1e-9 * abs(settled.value)
    moves = bool(settled.derivatives.any())
    calm = settled.kind == SMOOTH and not settled.restless
    return settled.best <= 1 and calm and not sharp and moves


def _evaluate(
    context: Context,
    index: NDArray[np.int64],
    largest: NDArray[np.float64],
    count: int,
    stage: str,
) -> SweepValues:
    theta, bounds = context.theta, context.bounds
    here = theta[index].astype(np.float64)[:, np.newaxis]
    steps = largest[:, np.newaxis] / RATIO ** np.arange(count)
    points = np.hstack([here + steps, here - steps])
    if bounds is not None:
        low, high = bounds[0][index][:, np.newaxis], bounds[1][index][:, np.newaxis]
        points = np.where((points < low) | (points > high), here, points)
    points = points.astype(theta.dtype)
    values = _defined(context.stream, Stencils(index, points), stage)
    moved = points.astype(np.float64) - here
    values[moved == 0] = np.nan
    moved[moved == 0] = np.nan
    right, left = moved[:, :count], -moved[:, count:]
    return SweepValues(index, steps, right, left, values[:, :count], values[:, count:])


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
