"""The plain loop: every component by one difference, at the step of its block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.components import Components, of_differences
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.steps import Steps
from fastgradcheck.evaluation.plans import Stencils


@dataclass(frozen=True, eq=False)
class Loop:
    """Components in the order of their measurement, and the points that their scheme needs.

    Attributes
    ----------
    context : Context
    steps : Steps
    order : int64 array, shape (k,)
    blocks : int64 array, shape (k,)
        The block of each.
    points : array, shape (k, p)
    """

    context: Context
    steps: Steps
    order: NDArray[np.int64]
    blocks: NDArray[np.int64]
    points: NDArray[Any]

    @classmethod
    def over(cls, context: Context, steps: Steps, order: NDArray[np.int64]) -> Loop:
        """The loop over these components."""
        start = context.parameters.blocks_start
        blocks = np.searchsorted(start, order, side="right") - 1
        points = context.scheme.points(context.theta[order], steps.of(order, blocks))
        return cls(context, steps, order, blocks, points)

    def within_bounds(self) -> tuple[Loop, NDArray[np.int64]]:
        """The components whose points lie between the bounds, and the others."""
        if self.context.bounds is None:
            return self, self.order[:0]
        low, high = (bound[self.order][:, np.newaxis] for bound in self.context.bounds)
        inside = ((self.points.real >= low) & (self.points.real <= high)).all(axis=1)
        mine = self.order[inside], self.blocks[inside], self.points[inside]
        return Loop(self.context, self.steps, *mine), self.order[~inside]

    def measured(self, rows: NDArray[Any], values: NDArray[Any]) -> Components:
        """The derivatives of some rows, from J at their points."""
        scheme, order = self.context.scheme, self.order[rows]
        here = self.context.theta[order][:, np.newaxis].astype(np.float64)
        displaced = self.points[rows] - here
        taken = displaced.imag if scheme.imaginary else displaced
        with np.errstate(invalid="ignore", divide="ignore"):
            derivative = scheme.derivative(values, taken, self.context.value)
            bars = self.steps.bars(order, self.blocks[rows], derivative)
        return of_differences(order, derivative, bars)

    def run(self, wrong: Callable[[Components], int], before: int = 0) -> Components:
        """Evaluate and differentiate; whatever was reached when time runs out is returned.

        Parameters
        ----------
        wrong : callable
            Counts what disagrees, for the progress display.
        before : int
            Components that were measured before, for the same.
        """

        def count(rows: NDArray[np.int64], values: NDArray[Any]) -> int:
            return wrong(self.measured(rows, values))

        plan = Stencils(self.order, self.points)
        values, done = self.context.stream.partial(plan, "components", count, before)
        return self.measured(done, values[done])
