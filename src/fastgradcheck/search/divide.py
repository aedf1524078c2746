"""What joint directions disagree about: single entries, decoded, and blocks, by halving.

A single wrong entry j is decoded from the y at hand: y is then a multiple of one column of the
directions, among all columns of theta. What no single entry explains is halved, block by block,
with the same directions: the other half's y is the difference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.directions import Prober
from fastgradcheck.differences.joint import Joint
from fastgradcheck.differences.screen import Screened
from fastgradcheck.evaluation import hashing
from fastgradcheck.problem.region import Region
from fastgradcheck.search.locate import CAP, EXTRA_DIRECTIONS, MANY, Doubtful, decode, size_of


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


@dataclass
class _Division:
    """A division that is under way."""

    prober: Prober
    scale: NDArray[np.float64]
    keys: NDArray[np.uint64]
    steps: NDArray[np.float64]
    bars: NDArray[np.float64]
    joint: Joint
    entries: dict[int, tuple[float, float]] = field(default_factory=dict)
    blocks: dict[int, Screened] = field(default_factory=dict)

    def region(self, low: int, high: int) -> Region:
        """Several blocks in a row, as a region of one row."""
        blocks = self.prober.context.parameters.blocks
        size = blocks[high - 1].stop - blocks[low].start
        return np.array([blocks[low].start, size, 0, 1, 0, size], dtype=np.int64)

    def single(self, doubtful: Doubtful) -> bool:
        """Whether one entry alone explains the y of a doubtful region; it is then found."""
        keys = self.keys
        index = decode(doubtful, keys, MANY, self.scale)
        for extra in range(EXTRA_DIRECTIONS):
            if len(index) < 2 or len(index) > MANY:
                break
            key = np.array([hashing.key(int(self.keys[0]), 1000 + extra)])
            step = np.array([np.median(self.steps)])
            region = doubtful.region[np.newaxis]
            y, error = self.prober.two_point(region, key, step, float(self.bars.max()))
            keys = np.append(keys, key)
            doubtful = Doubtful(
                doubtful.region, np.append(doubtful.y, y), np.append(doubtful.error, error)
            )
            index = decode(doubtful, keys, MANY, self.scale)
        if len(index) != 1:
            return False
        self.entries[int(index[0])] = size_of(doubtful, keys, int(index[0]), self.scale)
        return True

    def follow(self, low: int, high: int, doubtful: Doubtful) -> list[tuple[int, int, Doubtful]]:
        """Settle some blocks in a row, or return the halves that disagree."""
        if self.single(doubtful):
            return []
        if high - low == 1:
            self.blocks[low] = self.of_block(low, doubtful)
            return []
        middle = (low + high) // 2
        region = self.region(low, middle)
        # One direction tells whether one half holds all that is wrong, and so all of y.
        lead, bar = self.two_point(region, slice(0, 1))
        rest = doubtful.y[:1] - lead
        failing = [bool(abs(lead) > bar), bool(abs(rest) > doubtful.error[:1] + bar)]
        if failing == [True, False]:
            return [(low, middle, replace(doubtful, region=region))]
        if failing == [False, True]:
            return [(middle, high, replace(doubtful, region=self.region(middle, high)))]
        y, error = self.two_point(region, slice(1, None))
        y, error = np.append(lead, y), np.append(bar, error)
        parts = [
            (low, middle, Doubtful(region, y, error)),
            (
                middle,
                high,
                Doubtful(self.region(middle, high), doubtful.y - y, doubtful.error + error),
            ),
        ]
        return [
            part for part in parts if part[2].fails and self.joint.weights[part[0] : part[1]].any()
        ]

    def two_point(
        self, region: Region, which: slice
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Y of a region along some of the directions, with the bars that all of theta has."""
        keys, steps = self.keys[which], self.steps[which]
        regions = np.repeat(region[np.newaxis], len(keys), axis=0)
        return self.prober.two_point(regions, keys, steps, self.bars[which])

    def of_block(self, number: int, doubtful: Doubtful) -> Screened:
        """What the directions say of a block, per unit of its own entries."""
        weight = float(self.joint.weights[number])
        return Screened(
            self.keys,
            self.steps * weight,
            doubtful.y / weight,
            doubtful.error / weight,
            self.joint.screened.failure,
            (self.joint.screened.rounding - self.joint.granted) / weight,
            self.prober.claimed(doubtful.region, self.keys) / weight,
        )


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
    count = len(joint.weights)
    everywhere = tuple(np.flatnonzero(joint.weights > 0).tolist())
    if not seen.any():
        return Divided({}, {}, everywhere)
    division = _Division(prober, prober.moving, s.keys[seen], s.steps[seen], s.error[seen], joint)
    # Where something is left to be found, so is what is not known of what was found before.
    bars = s.error[seen] + s.rounding - joint.granted
    root = Doubtful(division.region(0, count), s.y[seen], bars)
    queue = [(0, count, root)]
    while queue and len(division.entries) + len(division.blocks) + len(queue) <= CAP:
        queue.sort(key=lambda part: float(np.max(np.abs(part[2].y))))
        queue += division.follow(*queue.pop())
    left = {b for low, high, _ in queue for b in range(low, high) if b in everywhere}
    return Divided(division.entries, division.blocks, tuple(sorted(left)))
