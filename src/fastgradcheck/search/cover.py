"""Directions over all of theta, and the search for what is wrong where they disagree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.directions import Prober
from fastgradcheck.differences.evidence import STILL
from fastgradcheck.differences.screen import screen
from fastgradcheck.differences.sweep import ladders
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.options import Options
from fastgradcheck.problem import bounds
from fastgradcheck.problem.problem import Problem
from fastgradcheck.search.block import BlockSearch
from fastgradcheck.search.confirm import CAP
from fastgradcheck.search.measured import Measured
from fastgradcheck.search.sharpen import EXTENSIONS, extend
from fastgradcheck.verdict.tolerances import Tolerances

SHARE = 0.7
"""The part of the threshold that the directions' limits should stay within."""


def search(
    problem: Problem,
    options: Options,
    tolerance: Tolerances,
    stream: Stream,
    scale: NDArray[np.float64],
    into: Measured,
) -> None:
    """Directions over every block of more than one entry, and the search where they disagree."""
    blocks = problem.parameters.blocks
    prober = _prober(problem, options, stream, scale, into.noise.level)
    wide = [
        b
        for b, block in enumerate(blocks)
        if block.size > 1 and (prober.scale is None or prober.scale[block.slice].any())
    ]
    into.screened = screen(prober, wide, scale, options.seed, SHARE * tolerance.threshold)
    measure = ladders(stream, scale, problem.value, into.noise.level, options.bounds)
    if prober.scale is not None:
        into.still = np.flatnonzero(prober.scale == 0)
        into.keep(measure(into.still[:STILL], 1.0), problem.gradient)
    for b in range(len(blocks)):
        broken = blocks[b].start + np.flatnonzero(~np.isfinite(problem.gradient[blocks[b].slice]))
        if len(broken):
            into.keep(measure(broken[:CAP], 1.0), problem.gradient)
            into.throughout |= {b} if len(broken) > CAP else set()
    for b, screened in into.screened.items():
        if screened.fails and b not in into.throughout:
            BlockSearch(problem, tolerance, prober, measure, scale, options.seed, b, into).run()
    for _ in range(EXTENSIONS):
        if not extend(problem, options, tolerance, prober, into):
            break


def _prober(
    problem: Problem,
    options: Options,
    stream: Stream,
    scale: NDArray[np.float64],
    level: float,
) -> Prober:
    """What measures directions: inside the bounds, or by complex steps, which leave none."""
    if options.scheme.imaginary:
        return Prober(problem, stream, level, imaginary=True)
    if options.bounds is None:
        return Prober(problem, stream, level)
    low, high = options.bounds
    room = np.minimum(stream.theta - low, high - stream.theta)
    return Prober(problem, stream, level, bounds.movable(options.bounds, stream.theta, scale), room)
