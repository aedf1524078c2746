"""Directions over all of theta, and the search for what is wrong where they disagree."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck import judge, steps
from fastgradcheck.confirm import CAP, Measure, ladders
from fastgradcheck.evidence import Components, of_glances
from fastgradcheck.judge import BlockEvidence, Tolerances
from fastgradcheck.locate import WITNESSES, Region, entries_of, locate, witnesses
from fastgradcheck.measured import Measured, Options, evidence_of
from fastgradcheck.parameters import Block
from fastgradcheck.problem import Problem
from fastgradcheck.result import Verdict
from fastgradcheck.screen import Prober, Screened, extended, region_of, screen
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
            _BlockSearch(problem, tolerance, prober, measure, scale, options.seed, b, into).run()
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


@dataclass
class _BlockSearch:
    """The search for what is wrong in one block whose directions disagree.

    Every entry is looked at by its own five-point difference, and confirmed on a ladder where
    that is not beyond doubt.
    """

    problem: Problem
    tolerance: Tolerances
    prober: Prober
    measure: Measure
    scale: NDArray[np.float64]
    seed: int
    number: int
    into: Measured
    looked: dict[int, tuple[float, float, bool]] = field(default_factory=dict)
    level: float = 0.0

    @property
    def block(self) -> Block:
        return self.problem.parameters.blocks[self.number]

    @property
    def screened(self) -> Screened:
        return self.into.screened[self.number]

    @property
    def gradient(self) -> NDArray[np.float64]:
        return self.problem.gradient[self.block.slice]

    def run(self) -> None:
        """Find what is wrong, and leave it in what has been measured."""
        norm = judge.norm(self.gradient)
        self.level = self.screened.rounding / norm if norm else 0.0
        whole = region_of(self.block)
        visible, wrong = self.witnessed(whole)
        if wrong.all():
            self.into.throughout.add(self.number)
            return
        if visible.all():
            self.tolerate(norm)
            if not self.screened.fails:
                return
        s = self.screened
        found = locate(
            whole, s.keys, s.y, s.error + s.rounding, self.probe, self.look, self.seed
        )  # fmt: skip
        entries = np.array(found.entries, np.int64)
        regions = [region for region in found.regions if self.sure(region)]
        if not (found.complete and self.wrong(entries).all()):
            self.into.incomplete.add(self.number)
        full = len(entries) + len(regions) >= CAP and not found.complete
        if full or any(np.array_equal(region, whole) for region in regions):
            self.into.throughout.add(self.number)
        else:
            self.into.regions[self.number] = regions

    def witnessed(self, whole: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which of a few entries drawn at random visibly differ, and which by too much.

        The same that `locate` asks first: none is looked at twice, and more than one only if the
        first differs.
        """
        drawn = witnesses(whole, self.seed)
        y, error, _ = self.look(drawn[:1])
        if not np.abs(y) > error:
            return np.zeros(1, bool), np.zeros(1, bool)
        y, error, wrong = self.look(drawn)
        visible = np.abs(y) > error
        if visible.all():
            own = self.confirmed(drawn)
            return own.discrepancy > own.error, self.wrong(drawn)
        return visible, wrong

    def tolerate(self, norm: float) -> None:
        """Take what everything is off by, within the tolerance, as rounding of the gradient.

        What stands out from that is wrong.
        """
        c = self.into.components.between(self.block.start, self.block.stop)
        imprecision = judge.norm(c.discrepancy) / max(judge.norm(c.analytic), TINY)
        self.level = IMPRECISION * imprecision
        self.into.screened[self.number] = replace(
            self.screened, confirmed=True, rounding=self.level * norm
        )

    def probe(
        self, regions: NDArray[np.int64], keys: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What `locate` asks of regions."""
        s = self.screened
        steps = np.full(len(keys), float(np.median(s.steps)))
        y, error = self.prober.sharpened(regions, keys, steps, s.error.max())
        return y, error + self.prober.rounding(regions, self.level)

    def look(
        self, index: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """What `locate` asks of entries: errors, bars, and which are beyond what is tolerated."""
        new = np.array([i for i in np.sort(index) if int(i) not in self.looked], np.int64)
        if len(new):
            y, error = self.prober.entries(new, GLANCE * self.scale[new])
            seen = of_glances(new, self.problem.gradient, y, error)
            self.into.components = self.into.components.joined(seen)
            largest = float(np.max(np.abs(self.prober.gradient[self.block.slice])))
            wrong = np.abs(y) - error > self.tolerance.of_components(seen, largest)
            self.looked.update(zip(new.tolist(), zip(y, error, wrong, strict=True), strict=True))
        y, error, wrong = np.array([self.looked[int(i)] for i in index]).T
        return y, error, wrong.astype(bool)

    def confirmed(self, index: NDArray[np.int64]) -> Components:
        """These entries, from ladders where a glance is not beyond doubt."""
        c = self.into.components
        doubtful = index[~np.isin(index, c.index[c.owned])]
        self.into.keep(self.measure(doubtful, 1.0), self.problem.gradient)
        c = self.into.components
        return c.take(np.flatnonzero(np.isin(c.index, index)))

    def wrong(self, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these entries, in order, are confirmed wrong."""
        own = self.confirmed(index)
        return judge.wrong_components(
            BlockEvidence(self.block, self.gradient, own, None, np.nan), self.tolerance
        )

    def sure(self, region: Region) -> bool:
        """Whether a line that looks wrong throughout holds entries that are confirmed wrong."""
        entries = np.concatenate(list(entries_of(region)))
        inside = np.intersect1d(self.into.components.index, entries)
        return bool(self.wrong(inside[:WITNESSES]).any())
