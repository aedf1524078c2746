"""What all measurements of one check share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.schemes import CENTRAL, Scheme
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.problem.bounds import Bounds
from fastgradcheck.problem.parameters import Parameters


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
        """The median size of the entries of each block that are not zero; shape (blocks,).

        A block of zeros (biases at initialisation) takes that of all of theta, or one.
        """
        blocks = self.parameters.blocks
        typical = np.array([_median_size(self.theta[block.slice]) for block in blocks])
        if not typical.all():
            typical[typical == 0] = _median_size(self.theta) or 1.0
        return typical

    @cached_property
    def scale(self) -> NDArray[np.float64]:
        """The scale of each component: |theta_i|, but at least what is typical of its block."""
        scale: NDArray[np.float64] = np.abs(self.theta).astype(np.float64, copy=False)
        for block, own in zip(self.parameters.blocks, self.typical, strict=True):
            np.maximum(scale[block.slice], own, out=scale[block.slice])
        return scale

    @cached_property
    def room(self) -> NDArray[np.float64] | None:
        """How far each component may move to either side; None without bounds."""
        if self.bounds is None:
            return None
        low, high = self.bounds
        room: NDArray[np.float64] = np.minimum(self.theta - low, high - self.theta)
        return room


def _median_size(entries: NDArray[Any]) -> float:
    """The median magnitude of what is not zero; 0 if nothing is."""
    sizes = np.abs(entries[entries != 0]).astype(np.float64, copy=False)
    return float(np.median(sizes, overwrite_input=True)) if len(sizes) else 0.0
