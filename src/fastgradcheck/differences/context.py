"""What all measurements of one check share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.schemes import CENTRAL, Scheme
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.problem.bounds import Bounds
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.typical import typical_sizes

OUTLYING = 2.0**-10
"""An entry that is smaller than this part of its block's scale may have a scale of its own. Among
weights drawn at random it is one of 2,000 ..."""
FEW = 32
"""... and more than so many of a block are pruned or regularised: no scales."""


@dataclass(frozen=True, eq=False)
class Context:
    """Where and how J is differentiated; nothing of it depends on the claimed gradient.

    Attributes
    ----------
    stream : Stream
    value : float
        J(theta).
    noise : float
        Standard deviation of J's noise.
    bounds : pair of float64 arrays, shape (n,), or None
    scheme : Scheme
        Of the plain loop over components.
    epsilon : float64 array, shape (blocks,), or None
        The user's step of each block, nan where it is left to us; None for all of them.
    seed : int
    """

    stream: Stream
    value: float
    noise: float = 0.0
    bounds: Bounds | None = None
    scheme: Scheme = CENTRAL
    epsilon: NDArray[np.float64] | None = None
    seed: int = 0

    @property
    def theta(self) -> NDArray[Any]:
        return self.stream.theta

    @property
    def parameters(self) -> Parameters:
        return self.stream.engine.objective.parameters

    @cached_property
    def typical(self) -> NDArray[np.float64]:
        """The typical size of the entries of each block; shape (blocks,)."""
        return typical_sizes(self.theta, self.parameters)

    @cached_property
    def scale(self) -> NDArray[np.float64]:
        """The scale of each component: |theta_i|, but at least what is typical of its block."""
        scale: NDArray[np.float64] = np.abs(self.theta).astype(np.float64, copy=False)
        for block, own in zip(self.parameters.blocks, self.typical, strict=True):
            np.maximum(scale[block.slice], own, out=scale[block.slice])
        return scale

    def outliers(self, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these are so small beside their block that its step may not be theirs.

        Zeros are not: they have no scale but the block's. Nor are those of a block that holds many.
        """
        size = np.abs(self.theta[index])
        small: NDArray[np.bool_] = (size > 0) & (size < OUTLYING * self.scale[index])
        edges = np.searchsorted(index, [*self.parameters.blocks_start, len(self.theta)])
        for low, high in pairwise(edges):
            if np.count_nonzero(small[low:high]) > FEW:
                small[low:high] = False
        return small

    @cached_property
    def room(self) -> NDArray[np.float64] | None:
        """How far each component may move to either side; None without bounds."""
        if self.bounds is None:
            return None
        low, high = self.bounds
        room: NDArray[np.float64] = np.minimum(self.theta - low, high - self.theta)
        return room
