"""The slopes of J away from theta: how large is what a gradient is a sum of.

Near an optimum the terms of a gradient cancel. What rounding leaves of their sum depends on the
terms and not on the sum; and from J alone they are seen only where they do not cancel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.context import Context
from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation import hashing
from fastgradcheck.evaluation.plans import Directions
from fastgradcheck.problem.median import median_size

MOVE = 0.125
"""How far theta is moved, relative to the scale of its entries ..."""
LARGEST = 1e150
"""Slopes above this are none."""
NEARER = (1.0, 16.0, 256.0)
"""... or by this much less, where J is no number there."""


def slopes(context: Context) -> NDArray[np.float64]:
    """The size of every block's gradient away from theta, shape (blocks,).

    All blocks are moved at once, by the same part of their scale and to both sides, and what J
    changes by is held against each of them: more than its share, for most.
    """
    n, room = context.parameters.size, context.room
    # Each by a part of itself: the scale of a block may be far more than all of a small entry.
    moving = np.abs(context.theta).astype(np.float64, copy=False)
    moving = np.where(moving > 0, moving, context.scale)
    if room is not None:
        moving = np.minimum(moving, room / (1.5 * MOVE))
    typical = np.array(
        [
            median_size(context.scale[block.slice]) if moving[block.slice].any() else 0.0
            for block in context.parameters.blocks
        ]
    )
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
    # Nothing is known of a block that has no room to move.
    found: NDArray[np.float64] = np.zeros(len(typical))
    np.divide(change, typical, out=found, where=typical > change / LARGEST)
    return found
