"""How much every output of a function moves when all of theta does: the sizes of its rows.

They weigh the outputs where these are combined (`problem.products`): outputs in units of their own
then count alike. They come from F alone, so that no claim can hide behind them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem.bounds import Bounds
from fastgradcheck.problem.inspection import InspectedOutputs
from fastgradcheck.problem.typical import typical_sizes

STEP = 2.0**-40
"""Relative to theta. So small that noise passes for movement: a row that is lost in the noise of
its output is taken for larger than it is, and noise of size s leaves STEP / h of a row of that
size, 1e-8 at a step h of 1e-4, in a difference that is weighted by it."""
DIRECTIONS = 4
"""With a single one, one row in 100 would be taken for 100 times smaller than it is."""
Array = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)


def row_sizes(inspected: InspectedOutputs, bounds: Bounds | None, seed: int) -> tuple[Array, int]:
    """How far every output moves at a tiny step of theta, shape (m,), and what that took.

    It is the root mean square of the output's differences along random directions, at least its
    rounding, relative to the largest output. What does not move at all takes the median of the
    others.
    """
    objective, values = inspected.objective, inspected.values
    theta, parameters = objective.theta, objective.parameters
    of_blocks = typical_sizes(theta, parameters)
    step = STEP * np.repeat(of_blocks, [block.size for block in parameters.blocks])
    rng = np.random.default_rng([seed, 9])
    squares = np.zeros(len(values))
    largest = float(np.max(np.abs(values))) or 1.0
    for _ in range(DIRECTIONS):
        v = rng.choice([-1.0, 1.0], len(theta)) * rng.uniform(0.5, 1.5, len(theta))
        moved = theta + step * v
        if bounds is not None:
            moved = np.where((moved < bounds[0]) | (moved > bounds[1]), theta - step * v, moved)
            moved = np.clip(moved, *bounds)
        try:
            there = inspected.outputs.flatten(objective(moved))
        except Exception:  # the edge of the domain: the directions meet it again, and say where
            continue
        change = (there - values) / largest
        squares += np.where(np.isfinite(change), change, 0.0) ** 2
    sizes = np.maximum(np.sqrt(squares / DIRECTIONS), EPS * np.abs(values) / largest)
    moves = sizes > 0
    middle = np.median(sizes[moves]) if moves.any() else 1.0
    return np.where(moves, sizes, middle), DIRECTIONS
