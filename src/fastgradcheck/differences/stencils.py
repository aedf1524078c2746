"""The plain loop over components, and ladders where only its bars are in the way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.components import Components, of_differences
from fastgradcheck.differences.steps import Steps
from fastgradcheck.differences.sweep import ladders
from fastgradcheck.evaluation.plans import Stencils
from fastgradcheck.evaluation.stream import Stopped, Stream
from fastgradcheck.options import Options
from fastgradcheck.problem.problem import Problem
from fastgradcheck.search.measured import Measured
from fastgradcheck.verdict.tolerances import Tolerances


def loop(
    problem: Problem,
    options: Options,
    tolerance: Tolerances,
    stream: Stream,
    chosen: Steps,
    into: Measured,
) -> None:
    """The plain loop over the sample: each component at its block's step."""
    scheme, order = options.scheme, options.sample.order
    order = order[~np.isin(order, into.components.index)]
    if not len(order):
        return
    blocks = np.searchsorted(problem.parameters.blocks_start, order, side="right") - 1
    theta = stream.theta
    points = scheme.points(theta[order], chosen.of(order, blocks))
    if options.bounds is not None:
        low, high = (bound[order][:, np.newaxis] for bound in options.bounds)
        inside = ((points.real >= low) & (points.real <= high)).all(axis=1)
        edge = order[~inside]
        order, blocks, points = order[inside], blocks[inside], points[inside]
        measure = ladders(stream, chosen.scale, problem.value, chosen.noise, options.bounds)
        into.keep(measure(edge, 1.0), problem.gradient)

    def compared(rows: NDArray[Any], values: NDArray[Any]) -> Components:
        displaced = points[rows] - theta[order[rows]][:, np.newaxis].astype(np.float64)
        taken = displaced.imag if scheme.imaginary else displaced
        with np.errstate(invalid="ignore", divide="ignore"):
            derivative = scheme.derivative(values, taken, problem.value)
            bars = chosen.bars(order[rows], blocks[rows], derivative)
        return of_differences(order[rows], problem.gradient, derivative, bars)

    def count_wrong(rows: NDArray[np.int64], values: NDArray[Any]) -> int:
        c = compared(rows, values)
        size = np.maximum(np.abs(c.analytic), np.abs(c.numeric))
        return int(np.sum(c.discrepancy - c.error > tolerance.rtol * size))

    values, done = stream.partial(Stencils(order, points), "components", count_wrong)
    into.components = compared(done, values[done]).joined(into.components)
    if stream.stopped:
        raise Stopped(stream.stopped)
