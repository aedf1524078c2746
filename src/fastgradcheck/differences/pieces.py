"""Jumps between smooth pieces of J, as the output of adaptive and truncated methods has them.

An ODE solver chooses its steps, an iteration stops at a tolerance. Near theta nothing of that
changes, and J is smooth; farther away another step is taken, and J jumps by what the method leaves
out. The derivative of such a J is not that of what it approximates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.context import Context
from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation import hashing
from fastgradcheck.evaluation.plans import Directions

WIDTHS = (2.0**-7, 2.0**-5, 2.0**-3, 2.0**-1)
"""How far J is looked at to both sides, relative to theta ..."""
DIRECTIONS = 3
"""... along so many directions ..."""
POINTS = 33
"""... at so many points, a sixteenth of the width apart."""
ORDER = 6
"""Of the differences: those of a jump are ten times as high as it is, those of a smooth J fall by
20,000 from one look to the next."""
OUTSTANDING = 10.0
"""A jump stands out from the median of the differences by this factor at least ..."""
CLEAR = 300.0
"""... and by so many standard deviations of J's noise, of which a difference of noise has 30."""
LOOKS = 6
"""How often it is looked at, 16/3 times as closely each time. A kink falls by that, a jump stays,
or is the largest of several."""
STAYS = 0.4


@dataclass(frozen=True)
class Pieces:
    """A jump between two smooth pieces of J.

    Attributes
    ----------
    jump : float
        How high it is.
    distance : float
        How far it is from theta along a random direction, relative to theta.
    """

    jump: float
    distance: float


def pieces(context: Context) -> Pieces | None:
    """A jump that stands out of a smooth J, along random directions, if one is found.

    Parameters
    ----------
    context : Context
        With the noise of J.

    Returns
    -------
    Pieces or None
        The first one found, at the smallest width.
    """
    room, scale = context.room, context.scale
    for width in WIDTHS:
        # Random directions move entries by up to 1.5 of their scale.
        moving = scale if room is None else np.where(room > 1.5 * width * scale, scale, 0.0)
        for direction in range(DIRECTIONS):
            try:
                found = _along(context, moving, width, hashing.key(context.seed, -3, direction))
            except CostEvaluationError:
                return None  # theta is near the edge of J's domain
            if found is not None:
                return found
    return None


def _along(
    context: Context, moving: NDArray[np.float64], width: float, key: np.uint64
) -> Pieces | None:
    """A jump along one direction, within the width."""
    n, height = context.parameters.size, 0.0
    low, high = -width, width
    for _ in range(LOOKS):
        offsets = np.linspace(low, high, POINTS)
        plan = Directions(
            regions=np.array([[0, n, 0, 1, 0, n]]),
            keys=np.array([key]),
            offsets=offsets[np.newaxis],
            scale=moving,
        )
        bends = np.abs(np.diff(context.stream.values(plan, "confirming")[0], ORDER))
        k = int(np.argmax(bends))
        least = max(OUTSTANDING * float(np.median(bends)), CLEAR * context.noise)
        if not bends[k] > max(least, STAYS * height):
            return None
        height = float(bends[k])
        low, high = offsets[k], offsets[k + ORDER]
    return Pieces(height / 10, abs(low + high) / 2)
