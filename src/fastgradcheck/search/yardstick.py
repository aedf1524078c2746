"""How far another gradient of the same precision is off, block by block.

A check against a yardstick asks whether the claim is about as good: its error may be three times
the yardstick's. That is measured by directions in each block: y = yardstick . v - D_v J is the
error of the yardstick along v, and sqrt(mean y^2 / E v_i^2) its norm. Nothing here knows the claim.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.directions import Prober
from fastgradcheck.differences.draws import DIRECTIONS as SET
from fastgradcheck.differences.rows import measure_noise
from fastgradcheck.differences.screen import SECOND_MOMENT
from fastgradcheck.evaluation import hashing
from fastgradcheck.evaluation.stream import Stopped
from fastgradcheck.problem import bounds
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.problem.jacobian import Jacobian
from fastgradcheck.problem.low import passes
from fastgradcheck.problem.median import median_size
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.problem import Problem
from fastgradcheck.problem.region import region_of
from fastgradcheck.search.columns import JacobianTask
from fastgradcheck.search.residuals import Residuals
from fastgradcheck.search.task import Task
from fastgradcheck.verdict.tolerances import LARGEST, of_rows, tolerances

DIRECTIONS = 16
"""In each block, two points each."""
UNSURE = 1.7
"""The norm may be so much larger than its estimate: chi-squared with 16 degrees of freedom is below
5.8, its mean over 1.7 squared, once in a hundred times."""
WIDER = 1.5
"""What is expected is known here, so that limits may lie further above it: directions go on from
four to sixteen only where the first limit is within 2.4 times the threshold."""
STEP = 2.0**-13
"""Of the directions, relative to a block's typical entry: truncation and rounding of J are far
below what a gradient of 16 bits is off by."""


def calibrated(
    task: Task, yardstick: NDArray[np.float64], threshold: Any, rtol: Any
) -> tuple[Task, tuple[Finding, ...]]:
    """The task with the tolerances that a yardstick sets, and what it showed.

    Parameters
    ----------
    task : Task
    yardstick : float64 array, shape (n,)
    threshold, rtol
        The user's own, which stand.
    """
    try:
        sizes = errors(task, yardstick)
    except Stopped:
        return task, ()
    problem = replace(task.problem, rounding=UNSURE * sizes)
    known = np.array(task.problem.sizes)
    shares = np.divide(sizes, known, out=np.zeros(len(sizes)), where=known > 0)
    names = problem.parameters.names
    worst, best = int(np.argmax(shares)), int(np.argmin(shares))
    tolerance = tolerances(problem, threshold, rtol, task.screens)
    if task.screens and threshold is None:
        tolerance = replace(
            tolerance,
            threshold=min(WIDER * tolerance.threshold, LARGEST),
            block_limit=min(WIDER * tolerance.block_limit, LARGEST),
        )
    level = float(UNSURE * shares[worst])
    message = (
        f"The yardstick is off by {shares[best]:.2%} ({names[best]}) to {shares[worst]:.2%} "
        f"({names[worst]}) of a block, as measured; the gradient may be off by three times as much."
        f" {passes(level, tolerance.threshold)}"
    )
    return replace(task, problem=problem, tolerance=tolerance), (
        Finding("yardstick", message, Rank.LIMIT),
    )


def calibrated_rows(
    task: JacobianTask, yardstick: Jacobian, threshold: Any, rtol: Any, claim: str
) -> tuple[JacobianTask, tuple[Finding, ...]]:
    """The same of a Jacobian: a row may be off by what the rows of its output are off by.

    Parameters
    ----------
    task : JacobianTask
    yardstick : Jacobian
        Of the same rows.
    threshold, rtol
        The user's own, which stand.
    claim : {"Jacobian", "Hessian"}
    """
    try:
        shares = errors_of_rows(task, yardstick)
    except Stopped:
        return task, ()
    level = UNSURE * float(np.max(shares, initial=0.0))
    shape = task.rows.count, len(task.entries.parameters.blocks)
    tolerance = of_rows(level, shape, threshold, rtol, task.screens)
    names = [block.name for block in task.entries.outputs.blocks]
    worst, best = int(np.argmax(shares)), int(np.argmin(shares))
    message = (
        f"The yardstick is off by {shares[best]:.2%} ({names[best]}) to {shares[worst]:.2%} "
        f"({names[worst]}) of the rows of an output, as measured; the {claim} may be off by three "
        f"times as much. {passes(level, tolerance.threshold, claim)}"
    )
    return replace(task, tolerance=tolerance), (Finding("yardstick", message, Rank.LIMIT),)


def errors_of_rows(task: JacobianTask, yardstick: Jacobian) -> NDArray[np.float64]:
    """What the yardstick is off by relative to the rows of each output, shape (outputs,)."""
    context = task.rows.context
    rows = replace(task.rows, noise=measure_noise(context, task.rows.values))
    state = Residuals.over(replace(task, rows=rows, claim=yardstick, recording=None))
    outputs = task.entries.outputs.blocks
    if state is None:
        return np.zeros(len(outputs))
    draws = [state.measure((7, k)) for k in range(DIRECTIONS // SET)]
    y = np.vstack([state.seen(own)[0] for own in draws])
    squares = np.mean(y**2, axis=0) / SECOND_MOMENT
    found = []
    for output in outputs:
        size = norm(state.sizes[output.slice])
        found.append(norm(np.sqrt(squares[output.slice])) / size if size else 0.0)
    return np.array(found)


def errors(task: Task, yardstick: NDArray[np.float64]) -> NDArray[np.float64]:
    """The norm of the yardstick's error in every block, shape (blocks,)."""
    context = task.context
    blocks = context.parameters.blocks
    claim: Problem = replace(task.problem, gradient=yardstick)
    prober = Prober(context, claim, bounds.movable(context.bounds, context.theta, context.scale))
    regions = np.repeat([region_of(block) for block in blocks], DIRECTIONS, axis=0)
    places = [(b, d) for b in range(len(blocks)) for d in range(DIRECTIONS)]
    keys = np.array([hashing.key(context.seed, 7, *place) for place in places])
    typical = [median_size(context.scale[block.slice]) for block in blocks]
    steps = STEP * np.repeat(typical, DIRECTIONS)
    farthest = np.array([prober.farthest(region) for region in regions])
    y, _ = prober.two_point(regions, keys, np.minimum(steps, farthest), 0.0)
    squares = np.mean(y.reshape(len(blocks), DIRECTIONS) ** 2, axis=1)
    found: NDArray[np.float64] = np.sqrt(squares / SECOND_MOMENT)
    return found
