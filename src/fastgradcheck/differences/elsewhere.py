"""The slopes of J away from theta: how large is what a gradient is a sum of.

Near an optimum the terms of a gradient cancel. What rounding leaves of their sum in float32 depends
on the terms and not on the sum; and from J alone they are seen only where they do not cancel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.context import Context
from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation import hashing
from fastgradcheck.evaluation.plans import Directions

MOVE = 0.5
"""How far theta is moved, relative to the scale of its entries ..."""
NEARER = (1.0, 16.0, 256.0)
"""... or by this much less, where J is no number there."""


def slopes(context: Context) -> NDArray[np.float64]:
    """The size of every block's gradient away from theta, shape (blocks,).

    All blocks are moved at once, by the same part of their scale and to both sides, and what J
    changes by is held against each of them: more than its share, for most.
    """
    n, room = context.parameters.size, context.room
    moving = context.scale if room is None else np.minimum(context.scale, room / (1.5 * MOVE))
    typical = np.array([np.median(moving[block.slice]) for block in context.parameters.blocks])
    change = 0.0
    for nearer in NEARER:
        move = MOVE / nearer
        plan = Directions(
            regions=np.array([[0, n, 0, 1, 0, n]]),
            keys=np.array([hashing.key(context.seed, -2)]),
            offsets=np.array([[move, -move]]),
            scale=moving,
        )
        try:
            values = context.stream.values(plan, "noise")
        except CostEvaluationError:
            continue
        change = float(np.max(np.abs(values - context.value))) / move
        if np.isfinite(change):
            break
    if not np.isfinite(change):
        change = 0.0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.nan_to_num(change / typical)
