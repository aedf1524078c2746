"""Directions over all of theta, and the search for what is wrong where they disagree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck import judge, steps
from fastgradcheck.confirm import CAP, Measure, ladders
from fastgradcheck.evidence import Components, of_glances
from fastgradcheck.judge import BlockEvidence, Tolerances
from fastgradcheck.locate import WITNESSES, Region, entries_of, locate, witnesses
from fastgradcheck.measured import Measured, Options, evidence_of
from fastgradcheck.problem import Problem
from fastgradcheck.result import Verdict
from fastgradcheck.screen import Prober, extended, region_of, screen
from fastgradcheck.stream import Stream

SHARE = 0.7
"""The part of the threshold that the directions' limits should stay within."""
GLANCE = 2.0**-13
"""Relative step of the five-point differences that a search looks at entries with: near the
optimum eps^(1/3) of central differences, which their bars are made of, but above it, where
smooth functions still lose nothing."""
EXTENSIONS = 2
IMPRECISION = 4.0
"""How far above the imprecision that some entries show the others' may lie."""
TINY = float(np.finfo(np.float64).tiny)
STILL = 100
"""Entries at their bounds, which take no part in directions, that are measured one by one."""


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
            _locate(problem, options, tolerance, prober, measure, scale, b, into)
    for _ in range(EXTENSIONS):
        if not _extend(problem, options, tolerance, prober, into):
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
    return Prober(problem, stream, level, steps.movable(options.bounds, stream.theta, scale), room)


def _extend(
    problem: Problem, options: Options, tolerance: Tolerances, prober: Prober, into: Measured
) -> bool:
    """More directions where nothing is wrong, but the limit is too far above what was seen.

    That is so when the gradient is right but rounded, to float32 say.
    """
    evidence = evidence_of(problem, into)
    verdict, overall, _ = judge.judge(evidence, tolerance)
    if verdict is not Verdict.UNDECIDED or overall.difference > overall.upper / 2:
        return False
    share = overall.upper / np.sqrt(len(evidence))
    coarse = [
        b
        for b, screened in into.screened.items()
        if screened.upper >= share and screened.reach < screened.upper / 2
    ]
    for b in coarse:
        into.screened[b] = extended(prober, into.screened[b], b, options.seed)
    return bool(coarse)


def _locate(
    problem: Problem,
    options: Options,
    tolerance: Tolerances,
    prober: Prober,
    measure: Measure,
    scale: NDArray[np.float64],
    b: int,
    into: Measured,
) -> None:
    """Find what is wrong in a block whose directions disagree.

    Every entry is confirmed by its own five-point difference, and on a ladder where that is not
    beyond doubt.
    """
    block, screened = problem.parameters.blocks[b], into.screened[b]
    whole, step = region_of(block), float(np.median(screened.steps))
    largest = float(np.max(np.abs(prober.gradient[block.slice])))
    level = screened.rounding / norm if (norm := judge.norm(problem.gradient[block.slice])) else 0.0

    def probe(
        regions: NDArray[np.int64], keys: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        y, error = prober.sharpened(regions, keys, np.full(len(keys), step), screened.error.max())
        return y, error + prober.rounding(regions, level)

    looked: dict[int, tuple[float, float, bool]] = {}

    def look(
        index: NDArray[np.int64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """The errors of entries, their bars, and which are beyond what is tolerated."""
        new = np.array([i for i in np.sort(index) if int(i) not in looked], np.int64)
        if len(new):
            y, error = prober.entries(new, GLANCE * scale[new])
            seen = of_glances(new, problem.gradient, y, error)
            into.components = into.components.joined(seen)
            wrong = np.abs(y) - error > tolerance.of_components(seen, largest)
            looked.update(zip(new.tolist(), zip(y, error, wrong, strict=True), strict=True))
        y, error, wrong = np.array([looked[int(i)] for i in index]).T
        return y, error, wrong.astype(bool)

    def confirmed(index: NDArray[np.int64]) -> Components:
        """These entries, from ladders where a glance is not beyond doubt."""
        c = into.components
        into.keep(measure(index[~np.isin(index, c.index[c.owned])], 1.0), problem.gradient)
        c = into.components
        return c.take(np.flatnonzero(np.isin(c.index, index)))

    def sure(region: Region) -> bool:
        """Whether a line that looks wrong throughout holds entries that are confirmed wrong."""
        inside = np.intersect1d(into.components.index, np.concatenate(list(entries_of(region))))
        own = confirmed(inside[:WITNESSES])
        evidence = BlockEvidence(block, problem.gradient[block.slice], own, None, step)
        return bool(judge.wrong_components(evidence, tolerance).any())

    # The same that `locate` asks first: none is looked at twice.
    drawn = witnesses(whole, options.seed)
    y, error, wrong = look(drawn[:1])
    if np.abs(y) > error:
        y, error, wrong = look(drawn)
    visible, wrong = np.abs(y) > error, wrong & (len(wrong) == len(drawn))
    if wrong.all() or visible.all():
        own = confirmed(drawn)
        visible, wrong = (
            own.discrepancy > own.error,
            judge.wrong_components(
                BlockEvidence(block, problem.gradient[block.slice], own, None, step), tolerance
            ),
        )
    if wrong.all():
        into.throughout.add(b)
        return
    if visible.all():
        screened = replace(screened, confirmed=True)
        # Everything is a little off, within the tolerance: what stands out from that is wrong.
        c = into.components.between(block.start, block.stop)
        level = IMPRECISION * judge.norm(c.discrepancy) / max(judge.norm(c.analytic), TINY)
        screened = replace(screened, rounding=level * norm)
        into.screened[b] = screened
        if not screened.fails:
            return
    doubt = screened.error + screened.rounding
    found = locate(whole, screened.keys, screened.y, doubt, probe, look, options.seed)
    confirmed(np.array(found.entries, np.int64))
    regions = [region for region in found.regions if sure(region)]
    if not found.complete:
        into.incomplete.add(b)
    if any(np.array_equal(region, whole) for region in regions) or (
        len(found.entries) + len(regions) >= CAP and not found.complete
    ):
        into.throughout.add(b)
    else:
        into.regions[b] = regions
