"""What joint directions disagree about: single entries, decoded, and blocks, by halving.

A single wrong entry j is decoded from the y at hand: y is then a multiple of one column of the
directions, among all columns of theta. What no single entry explains is halved, block by block,
with the same directions: the other half's y is the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.directions import Prober
from fastgradcheck.differences.joint import Joint
from fastgradcheck.differences.screen import Screened
from fastgradcheck.problem.blocks import Block
from fastgradcheck.problem.region import Region
from fastgradcheck.search.halving import MANY, Doubtful, Halves, explaining, size_of
from fastgradcheck.search.locate import CAP


@dataclass(frozen=True)
class Divided:
    """What was found.

    Attributes
    ----------
    entries : mapping of int to (float, float)
        Single entries: how far the claim is off, and the bar of that.
    blocks : mapping of int to Screened
        Blocks in which more than one entry is off, and what the directions say of each, with the
        bars of all of theta: two points were enough to come here.
    left : tuple of int
        Blocks that were not looked at any more, since too much had been found.
    """

    entries: Mapping[int, tuple[float, float]]
    blocks: Mapping[int, Screened]
    left: tuple[int, ...] = ()


_Part = tuple[int, int, Doubtful]
"""Blocks in a row, from the first to the one after the last, and how they disagree."""


@dataclass
class _Division:
    """A division that is under way.

    `steps` and `bars` are those of the root's directions; `entries` and `blocks` are as in
    `Divided`.
    """

    prober: Prober
    scale: NDArray[np.float64]
    joint: Joint
    root: Doubtful
    steps: NDArray[np.float64]
    bars: NDArray[np.float64]
    entries: dict[int, tuple[float, float]] = field(default_factory=dict)
    blocks: dict[int, Screened] = field(default_factory=dict)

    def run(self) -> list[_Part]:
        """Follow what disagrees, the largest |y| first; what the cap leaves is returned."""
        queue = [(0, len(self.joint.weights), self.root)]
        while queue and len(self.entries) + len(self.blocks) + len(queue) <= CAP:
            queue.sort(key=lambda part: part[2].largest)
            queue += self.follow(*queue.pop())
        return queue

    def follow(self, low: int, high: int, doubtful: Doubtful) -> list[_Part]:
        """Settle some blocks in a row, or return the halves that disagree."""
        if self.single(doubtful):
            return []
        if high - low == 1:
            self.blocks[low] = self.of_block(low, doubtful)
            return []
        middle = (low + high) // 2
        pair = self.region(low, middle), self.region(middle, high)
        first, second = Halves.asked(doubtful, pair, self.probe).parts(self.probe)
        return [
            part
            for part in ((low, middle, first), (middle, high, second))
            if part[2].fails and self.joint.weights[part[0] : part[1]].any()
        ]

    def single(self, doubtful: Doubtful) -> bool:
        """Whether one entry alone explains the y of a doubtful region; it is then found."""
        index, doubtful = explaining(doubtful, self.probe, _several, self.scale)
        if len(index) != 1:
            return False
        self.entries[int(index[0])] = size_of(doubtful, int(index[0]), self.scale)
        return True

    def region(self, low: int, high: int) -> Region:
        """Several blocks in a row, as a region of one row."""
        return in_a_row(self.prober.context.parameters.blocks[low:high])

    def probe(
        self, regions: NDArray[np.int64], keys: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Y of regions by two points each, with the bars that all of theta has.

        A direction that it was not measured along has the coarsest of them.
        """
        known = {int(key): d for d, key in enumerate(self.root.keys)}
        rows = [known.get(int(key), slice(None)) for key in keys]
        steps = np.array([np.median(self.steps[row]) for row in rows])
        bars = np.array([np.max(self.bars[row]) for row in rows])
        return self.prober.two_point(regions, keys, steps, bars)

    def of_block(self, number: int, doubtful: Doubtful) -> Screened:
        """What the directions say of a block, per unit of its own entries."""
        weight = float(self.joint.weights[number])
        return Screened(
            doubtful.keys,
            self.steps * weight,
            doubtful.y / weight,
            doubtful.error / weight,
            self.joint.screened.failure,
            (self.joint.screened.rounding - self.joint.granted) / weight,
            self.prober.claimed(doubtful.region, doubtful.keys) / weight,
        )


def _several(_: Doubtful, index: NDArray[np.int64]) -> bool:
    """Whether another direction should tell which of these entries it is."""
    return 1 < len(index) <= MANY


def in_a_row(blocks: Sequence[Block]) -> Region:
    """Neighbouring blocks as a region of one row."""
    size = blocks[-1].stop - blocks[0].start
    return np.array([blocks[0].start, size, 0, 1, 0, size], dtype=np.int64)


def divide(prober: Prober, joint: Joint) -> Divided:
    """Find the entries and blocks that joint directions disagree about.

    Parameters
    ----------
    prober : Prober
        That measured them, with their weights.
    joint : Joint
    """
    assert prober.moving is not None
    s = joint.screened
    seen = np.isfinite(s.y) & np.isfinite(s.error)
    everywhere = tuple(np.flatnonzero(joint.weights > 0).tolist())
    if not seen.any():
        return Divided({}, {}, everywhere)
    # Where something is left to be found, so is what is not known of what was found before.
    bars = s.error[seen] + s.rounding - joint.granted
    root = Doubtful(in_a_row(prober.context.parameters.blocks), s.keys[seen], s.y[seen], bars)
    division = _Division(prober, prober.moving, joint, root, s.steps[seen], s.error[seen])
    queue = division.run()
    left = {b for low, high, _ in queue for b in range(low, high) if b in everywhere}
    return Divided(division.entries, division.blocks, tuple(sorted(left)))
