"""The plain loop over components, and ladders where only its bars are in the way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck import judge
from fastgradcheck.confirm import Measure, ladders
from fastgradcheck.evidence import Components, of_differences
from fastgradcheck.judge import Tolerances
from fastgradcheck.measured import Measured, Options, evidence_of
from fastgradcheck.plans import Stencils
from fastgradcheck.problem import Problem
from fastgradcheck.result import Verdict
from fastgradcheck.steps import Steps
from fastgradcheck.stream import Stopped, Stream

REFINED = 256
"""Components remeasured on ladders where only their bars stand between a block and agreement."""


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


def refine(
    problem: Problem, tolerance: Tolerances, chosen: Steps, measure: Measure, into: Measured
) -> None:
    """Ladders for the widest bars, where only bars stand between a block and agreement.

    Not where the user chose the step: that is honoured, and the verdict says what it can see.
    """
    evidence = evidence_of(problem, into)
    verdict, overall, blocks = judge.judge(evidence, tolerance)
    if verdict is not Verdict.UNDECIDED:
        return
    for b, (e, block) in enumerate(zip(evidence, blocks, strict=True)):
        if block.verdict is Verdict.SKIPPED:
            continue
        if block.verdict is Verdict.AGREES and overall.limit <= tolerance.threshold:
            continue
        if chosen.by_user(b):
            continue
        c = e.components
        rows = np.flatnonzero(~c.owned)
        widest = rows[np.argsort(-c.error[rows], kind="stable")][:REFINED]
        if len(widest):
            into.keep(measure(c.index[widest], 1.0), problem.gradient)
