"""The search for what is wrong in one block whose directions disagree."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.components import of_five_points
from fastgradcheck.differences.directions import Prober
from fastgradcheck.differences.evidence import Evidence, Located
from fastgradcheck.differences.screen import Screened
from fastgradcheck.problem.blocks import Block
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.region import Region, entries_of, region_of
from fastgradcheck.search.confirm import CAP, measured_twice
from fastgradcheck.search.locate import SAMPLED, locate, sampled
from fastgradcheck.search.task import Task
from fastgradcheck.verdict import rules
from fastgradcheck.verdict.support import (
    FIVE_POINTS_PROVE,
    UNEVEN,
    BlockEvidence,
    Compared,
)

FIVE_POINT_STEP = 2.0**-13
"""Relative step of the five-point values that a search looks at entries with: near the optimum
eps^(1/3) of central differences, which their bars are made of, but above it, where smooth functions
still lose nothing."""
IMPRECISION = 4.0
"""How far above the imprecision that some entries show the others' may lie."""
TINY = float(np.finfo(np.float64).tiny)


@dataclass
class BlockSearch:
    """The search for what is wrong in one block whose directions disagree.

    Every entry is looked at by its own five-point value, and measured by a step sweep where that
    is not beyond doubt.

    Attributes
    ----------
    evidence : Evidence
        What is known so far, at any moment.
    trusting : bool
        Whether single entries are confirmed by other directions, and need no step sweeps here. The
        directions of the block then have no bars of their own yet, which only those need whose
        errors are not single entries.
    cap : int
        Beyond so many wrong entries, the block is not followed any more.
    decoded : dict of int to (float, float)
        Entries that other directions confirm: how far the claim is off, and the bar of that.
    """

    task: Task
    prober: Prober
    number: int
    evidence: Evidence
    looked: dict[int, tuple[float, float, bool]] = field(default_factory=dict)
    level: float = 0.0
    trusting: bool = False
    cap: int = CAP
    decoded: dict[int, tuple[float, float]] = field(default_factory=dict)
    measured: bool = False

    @property
    def block(self) -> Block:
        return self.task.problem.parameters.blocks[self.number]

    @property
    def screened(self) -> Screened:
        return self.evidence.screened[self.number]

    @property
    def known(self) -> Located:
        """What was located so far."""
        return self.evidence.location(self.number)

    def run(self) -> None:
        """Find what is wrong, and leave it in the evidence."""
        size = norm(self.task.gradient[self.block.slice])
        self.level = self.screened.rounding / size if size else 0.0
        whole = region_of(self.block)
        visible, wrong = self.first_look(whole)
        if wrong.all():
            self.measure()
            self.keep(replace(self.known, whole_block=True))
            return
        if visible.all():
            self.measure()
            self.tolerate(size)
            if not self.screened.fails:
                return
        s = self.screened
        seed, trusting = self.task.context.seed, self.trusting and not visible.all()
        located = locate(
            whole,
            s.keys,
            s.y,
            s.error + s.rounding,
            self.probe,
            self.look,
            seed,
            self.cap,
            trusting,
        )
        if trusting and located.entries and not (located.regions or located.capped):
            self.decoded = dict(zip(located.entries, located.sizes, strict=True))
            return
        self.measure()
        entries = np.array(located.entries, np.int64)
        # Of more than is followed, a few are shown.
        self.look(entries if located.complete else entries[:SAMPLED])
        regions = [region for region in located.regions if self.sure(region)]
        explained = located.complete and self.wrong(entries).all()
        full = len(entries) + len(regions) >= CAP and not located.complete
        whole_block = full or any(np.array_equal(region, whole) for region in regions)
        self.keep(
            replace(
                self.known,
                unexplained=not explained,
                whole_block=whole_block,
                regions=() if whole_block else tuple(regions),
            )
        )

    def measure(self) -> None:
        """Give the directions of the block bars of their own, where these matter.

        They have none yet if others confirm what is found. Then two points each were enough so far;
        they stay enough where all of y is beyond any doubt that two steps leave.
        """
        s = self.screened
        beyond_doubt = np.all(np.abs(s.y) > FIVE_POINTS_PROVE * (s.error + s.rounding))
        if not self.trusting or self.measured or beyond_doubt:
            return
        regions = np.repeat(region_of(self.block)[np.newaxis], len(s), axis=0)
        y, error = self.prober(regions, s.keys, s.steps, "locating")
        own = replace(s, y=y, error=error)
        self.evidence = self.evidence.with_screened({self.number: own})
        self.measured = True

    def keep(self, located: Located) -> None:
        """Keep what was located."""
        self.evidence = self.evidence.with_located(self.number, located)

    def first_look(self, whole: Region) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which of a few entries drawn at random visibly differ, and which by too much.

        The same that `locate` asks first: none is looked at twice, and more than one only if the
        first differs.
        """
        drawn = sampled(whole, self.task.context.seed)
        y, error, _ = self.look(drawn[:1])
        if not np.abs(y) > error:
            return np.zeros(1, bool), np.zeros(1, bool)
        y, error, wrong = self.look(drawn)
        visible = np.abs(y) > error
        if visible.all():
            own = self.confirmed(drawn).components
            return own.discrepancy > own.error, self.wrong(drawn)
        return visible, wrong

    def tolerate(self, size: float) -> None:
        """Take what everything is off by, within the tolerance, as rounding of the gradient.

        What stands out from that is wrong.
        """
        c = self.beside.components
        imprecision = norm(c.discrepancy) / max(norm(c.analytic), TINY)
        self.level = IMPRECISION * imprecision
        rounding = self.level * size
        doubt = self.beside.doubt
        if doubt:
            known = max(doubt, IMPRECISION * self.task.tolerance.rtol * size)
            rounding = min(rounding, known)
        rounded = replace(self.screened, rounding=rounding)
        self.evidence = self.evidence.with_screened({self.number: rounded})
        self.keep(replace(self.known, confirmed=True))

    def probe(
        self, regions: NDArray[np.int64], keys: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What `locate` asks of regions."""
        s = self.screened
        steps = np.full(len(keys), float(np.median(s.steps)))
        measured = self.prober.two_point if self.trusting else self.prober.sharpened
        y, error = measured(regions, keys, steps, s.error.max())
        return y, error + self.prober.rounding(regions, self.level)

    def look(
        self, index: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """What `locate` asks of entries: errors, bars, and which are beyond what is tolerated."""
        new = np.array([i for i in np.sort(index) if int(i) not in self.looked], np.int64)
        if len(new):
            # The claim without what was found before, as the prober has it.
            context, gradient = self.task.context, self.prober.problem.gradient
            y, error = self.prober.entries(new, FIVE_POINT_STEP * context.scale[new])
            numeric = gradient[new] - y
            self.evidence = self.evidence.with_components(of_five_points(new, numeric, error))
            largest = float(np.max(np.abs(self.prober.gradient[self.block.slice])))
            known = self.beside
            share = min(1.0, UNEVEN / float(np.sqrt(self.block.size)))
            allowed = self.task.tolerance.allowed(gradient[new], numeric, largest, known.rounding)
            wrong = np.abs(y) - error > np.maximum(allowed, known.doubt * share)
            self.looked.update(zip(new.tolist(), zip(y, error, wrong, strict=True), strict=True))
        y, error, wrong = np.array([self.looked[int(i)] for i in index]).reshape(-1, 3).T
        return y, error, wrong.astype(bool)

    @property
    def beside(self) -> BlockEvidence:
        """What is known of the block, beside the claim."""
        return self.task.beside(self.evidence)[self.number]

    def confirmed(self, index: NDArray[np.int64]) -> BlockEvidence:
        """These entries, by step sweeps where a five-point value is not beyond doubt."""
        c: Compared = self.beside.components
        doubtful = index[~np.isin(index, c.index[c.has_own_bar])]
        self.evidence = measured_twice(self.evidence, self.task, doubtful)
        known = self.beside
        rows = np.flatnonzero(np.isin(known.components.index, index))
        return replace(known, components=known.components.take(rows))

    def wrong(self, index: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these entries, in order, are confirmed wrong."""
        return rules.wrong_components(self.confirmed(index), self.task.tolerance)

    def sure(self, region: Region) -> bool:
        """Whether a line that looks wrong as a whole holds entries that are confirmed wrong."""
        entries = np.concatenate(list(entries_of(region)))
        inside = np.intersect1d(self.evidence.components.index, entries)
        return bool(self.wrong(inside[:SAMPLED]).any())
