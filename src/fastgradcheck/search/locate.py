"""Which entries of a block are wrong: group testing over an abstract probe.

Nothing here knows of derivatives. A probe measures y = r . v for the unknown error vector r,
restricted to any region of the block, along given random directions v, with bars. Single entries
are decoded, and what they do not explain is halved by rows or by columns (`search.halving`). What
was found is then taken out of y, and whatever it leaves unexplained is searched again: a large
error hides small ones while it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.evaluation import hashing
from fastgradcheck.problem.region import (
    Region,
    columns_of,
    entries_of,
    extent,
    halves,
    inside,
    overlap,
    rows_of,
)
from fastgradcheck.search.halving import (
    BY_CHANCE,
    Doubtful,
    Halves,
    Probe,
    chance,
    explaining,
    size_of,
)

CAP = 32
"""Wrong entries followed per block; beyond it, the block is wrong as a whole."""


ROUNDS = 3


CANDIDATES = 6
"""So few are told apart by looking at each; more need another direction first."""


SAMPLED = 8
"""A region is wrong as a whole if all of so many entries drawn from it are; up to twice as many,
all of it is looked at. So eight wrong entries never pass for a line of more than sixteen, but for
one draw in C(17, 8) = 24,310."""


Look = Callable[
    [NDArray[np.int64]], tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]
]
"""Entries to their own errors, the bars of these, and whether each is wrong."""


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in one block.

    Attributes
    ----------
    entries : tuple of int
        Flat indices of single wrong entries.
    regions : tuple of Region
        Rows, columns or other regions that are wrong as a whole.
    complete : bool
        True if nothing of y is left beyond its bars when these are taken out.
    sizes : tuple of (float, float)
        How far each of the entries is off, and the bar of that.
    capped : bool
        True if more is wrong than was followed.
    """

    entries: tuple[int, ...]
    regions: tuple[Region, ...]
    complete: bool
    sizes: tuple[tuple[float, float], ...] = ()
    capped: bool = False


def sampled(region: Region, seed: int) -> NDArray[np.int64]:
    """The entries of a region, drawn at random, that speak for all of it; small ones speak up."""
    size = rows_of(region) * columns_of(region)
    count = size if size <= 2 * SAMPLED else SAMPLED
    place = np.random.default_rng([seed, 3, *region]).choice(size, count, replace=False)
    row, column = region[2] + place // columns_of(region), region[4] + place % columns_of(region)
    index: NDArray[np.int64] = region[0] + row * region[1] + column
    return index


@dataclass
class _Search:
    probe: Probe
    look: Look
    root: Doubtful
    seed: int
    trusting: bool = False
    entries: dict[int, tuple[float, float]] = field(default_factory=dict)
    regions: list[Doubtful] = field(default_factory=list)

    def round(self, cap: int) -> bool:
        """Follow what is left of the root to the end; False if the cap was reached."""
        queue = self.unsettled([self.rest()])
        while queue:
            if len(self.entries) + len(self.regions) + len(queue) > cap:
                return False
            queue.sort(key=lambda doubtful: doubtful.largest)
            queue += self.follow(queue.pop())
        return True

    def rest(self) -> Doubtful:
        """The root without what has been found."""
        y, error = self.root.y.copy(), self.root.error.copy()
        for found in self.regions:
            y -= found.y
            error += found.error
        keys = self.root.keys
        regions = np.repeat(self.root.region[np.newaxis], len(keys), axis=0)
        y, error = self.without_entries(regions, keys, y, error)
        return replace(self.root, y=y, error=error)

    def turned(self) -> None:
        """Let another direction lead: errors that cancel along one do not along the next."""
        self.root, *self.regions = [found.turned() for found in (self.root, *self.regions)]

    def measure(
        self, regions: NDArray[np.int64], keys: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Y and bars of regions, without what has been found in them."""
        y, error = (np.array(part, np.float64) for part in self.probe(regions, keys))
        for found in self.regions:
            common = overlap(regions, found.region)
            rows = np.flatnonzero((common[:, 3] > common[:, 2]) & (common[:, 5] > common[:, 4]))
            if len(rows):
                part, bar = self.probe(common[rows], keys[rows])
                y[rows] -= part
                error[rows] += bar
        y, error = self.without_entries(regions, keys, y, error)
        known = np.isfinite(y) & np.isfinite(error)
        return np.where(known, y, 0.0), np.where(known, error, np.inf)

    def without_entries(
        self,
        regions: NDArray[np.int64],
        keys: NDArray[np.uint64],
        y: NDArray[np.float64],
        error: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Y and bars of regions when the single entries found in them are taken out."""
        index = np.array(list(self.entries), np.int64)
        sizes, bars = np.array(list(self.entries.values())).reshape(-1, 2).T
        if len(index):
            v = np.stack([hashing.direction(key, index) for key in keys])
            v = np.where(inside(regions, index), v, 0.0)
            y, error = y - v @ sizes, error + np.abs(v) @ bars
        return y, error

    def follow(self, doubtful: Doubtful) -> list[Doubtful]:
        """Settle a doubtful region, or return the smaller ones that it falls into."""
        if not self.all_wrong(doubtful.region):
            return self.split(doubtful)
        if doubtful.size <= 2 * SAMPLED and not self.is_line(doubtful.region):
            # A few neighbours, all of which were looked at.
            index = np.concatenate(list(entries_of(doubtful.region)))
            error, bar, wrong = self.look(index)
            sizes = zip(error[wrong].tolist(), bar[wrong].tolist(), strict=True)
            self.entries |= dict(zip(index[wrong].tolist(), sizes, strict=True))
        else:
            self.regions.append(doubtful)
        return []

    def single(self, doubtful: Doubtful) -> bool:
        """Whether one entry explains a doubtful region and is confirmed; it is then found."""
        index, doubtful = explaining(doubtful, self.measure, self.ambiguous)
        if not 0 < len(index) <= CANDIDATES:
            return False
        if self.trusting and len(index) == 1:
            self.entries[int(index[0])] = size_of(doubtful, int(index[0]))
            return True
        error, bar, wrong = self.look(index)
        if wrong.sum() != 1:
            return False
        (k,) = np.flatnonzero(wrong)
        self.entries[int(index[k])] = float(error[k]), float(bar[k])
        return True

    def ambiguous(self, doubtful: Doubtful, index: NDArray[np.int64]) -> bool:
        """Whether another direction should tell whether, or which, one of these entries it is.

        An entry that is not looked at must not be there by chance: taking out the wrong one costs
        a round of all directions.
        """
        if not self.trusting:
            return len(index) > CANDIDATES
        return len(index) > 1 or (len(index) == 1 and chance(doubtful) > BY_CHANCE)

    def all_wrong(self, region: Region) -> bool:
        """Whether entries drawn at random are all wrong; only asked of blocks and of lines.

        The first one is drawn alone: where few entries are wrong it says no for all of them.
        """
        rows, columns = rows_of(region), columns_of(region)
        if region is not self.root.region and min(rows, columns) > 1:
            return False
        drawn = np.split(sampled(region, self.seed), [1, SAMPLED])
        found = False
        for index in drawn:
            if len(index):
                error, bar, wrong = self.look(index)
                # What is exactly zero, as at a dead unit, has no say.
                if not wrong[(error != 0) | (bar != 0)].all():
                    return False
                found = found or bool(wrong.any())
        return found

    def is_line(self, region: Region) -> bool:
        """Whether a region is all of the block, or of a row or column of several."""
        across, along = (region[2:] == self.root.region[2:]).reshape(2, 2).all(axis=1)
        has_lines = min(rows_of(self.root.region), columns_of(self.root.region)) > 1
        return bool((across or along) if has_lines else (across and along))

    def unsettled(self, parts: Sequence[Doubtful]) -> list[Doubtful]:
        """Those that disagree by more than a single entry, which is then found."""
        return [part for part in parts if part.fails and not self.single(part) and part.size > 1]

    def split(self, doubtful: Doubtful) -> list[Doubtful]:
        """What remains of a region in its halves.

        A wrong row goes through both halves by columns at any size, and through one by rows: where
        both halves by one axis hold more than an entry, the other axis is looked along first.
        """
        region = doubtful.region
        axes = [axis for axis in (0, 1) if extent(region, axis) > 1]
        axes.sort(key=lambda axis: (axis != doubtful.axis, -extent(region, axis)))
        rest = self.unsettled(self.halves(doubtful, axes[0]).parts(self.measure))
        if len(rest) == 2 == len(axes):
            across = self.halves(doubtful, axes[1])
            if across.one_holds_all:
                return self.unsettled(across.parts(self.measure))
        return rest

    def halves(self, doubtful: Doubtful, axis: int) -> Halves:
        """The halves along an axis."""
        return Halves.asked(doubtful, halves(doubtful.region, axis), self.measure, axis)


def locate(
    region: Region,
    keys: NDArray[np.uint64],
    y: NDArray[np.float64],
    error: NDArray[np.float64],
    probe: Probe,
    look: Look,
    seed: int = 0,
    cap: int = CAP,
    trusting: bool = False,
) -> Found:
    """Find the wrong entries of a region that fails.

    Parameters
    ----------
    region : int64 array, shape (6,)
    keys : uint64 array, shape (m,)
        The directions that were measured.
    y, error : float64 arrays, shape (m,)
        What they gave.
    probe : callable
        ``probe(regions, keys) -> (y, error)``.
    look : callable
        ``look(indices) -> (error, bar, wrong)``, each entry by its own difference.
    seed : int
        Of the entries drawn as sampled.
    cap : int
        Give up beyond this many.
    trusting : bool
        Whether an entry that alone explains y need not be looked at: what is found is confirmed
        by other directions.

    Returns
    -------
    Found
    """
    seen = np.isfinite(y) & np.isfinite(error)
    if not seen.any():
        return Found((), (), False)
    root = Doubtful(region, keys[seen], y[seen], error[seen])
    search = _Search(probe, look, root, seed, trusting)
    for _ in range(ROUNDS):
        within = search.round(cap)
        explained = within and not search.rest().fails
        if explained or not within:
            break
        search.turned()
    return Found(
        tuple(sorted(search.entries)),
        tuple(found.region for found in search.regions),
        explained,
        tuple(search.entries[i] for i in sorted(search.entries)),
        not within,
    )
