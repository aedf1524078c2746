"""The search for what is wrong in one block whose directions disagree."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.components import Components, of_glances
from fastgradcheck.differences.directions import Prober
from fastgradcheck.differences.evidence import BlockEvidence
from fastgradcheck.differences.screen import Screened
from fastgradcheck.differences.sweep import Measure
from fastgradcheck.problem.blocks import Block
from fastgradcheck.problem.problem import Problem
from fastgradcheck.problem.region import Region, entries_of, region_of
from fastgradcheck.search.confirm import CAP
from fastgradcheck.search.locate import WITNESSES, locate, witnesses
from fastgradcheck.search.measured import Measured
from fastgradcheck.verdict import norms, rules
from fastgradcheck.verdict.tolerances import Tolerances

GLANCE = 2.0**-13
"""Relative step of the five-point differences that a search looks at entries with: near the
optimum eps^(1/3) of central differences, which their bars are made of, but above it, where
smooth functions still lose nothing."""


IMPRECISION = 4.0
"""How far above the imprecision that some entries show the others' may lie."""


TINY = float(np.finfo(np.float64).tiny)


@dataclass
class BlockSearch:
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
        norm = norms.norm(self.gradient)
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
        imprecision = norms.norm(c.discrepancy) / max(norms.norm(c.analytic), TINY)
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
        return rules.wrong_components(
            BlockEvidence(self.block, self.gradient, own, None, np.nan), self.tolerance
        )

    def sure(self, region: Region) -> bool:
        """Whether a line that looks wrong throughout holds entries that are confirmed wrong."""
        entries = np.concatenate(list(entries_of(region)))
        inside = np.intersect1d(self.into.components.index, entries)
        return bool(self.wrong(inside[:WITNESSES]).any())
