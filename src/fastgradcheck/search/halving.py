"""A region that disagrees: the single entry that alone explains it, and its halves.

Directions v have measured y = r . v of the region, with bars, for the unknown error vector r. A
single wrong entry is decoded from that: y is then a multiple of one column of V (matched filter).
What no single entry explains is halved with the same v: the other half's y is the difference. One
direction tells whether one half holds all that is wrong, and with it all of y; only if both hold
some of it are the others asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.evaluation import hashing
from fastgradcheck.problem.region import Region, columns_of, entries_of, rows_of

EXTRA_DIRECTIONS = 3
"""So many are tried, one at a time, where several entries explain y ..."""


MANY = 384
"""... but these are not even counted beyond this."""


BY_CHANCE = 0.01
"""So many right entries may explain y by chance before another direction is asked."""


ROUNDING = 4 * float(np.finfo(np.float64).eps)
"""Of y, v and their quotient."""


Probe = Callable[
    [NDArray[np.int64], NDArray[np.uint64]], tuple[NDArray[np.float64], NDArray[np.float64]]
]
"""(regions, keys) to (y, bars), one per row."""


@dataclass(frozen=True, eq=False)
class Doubtful:
    """A region that disagrees, and how: y and bars along the directions `keys`.

    `axis` is the one along which halving has led here, by leaving out a half that agrees.
    """

    region: Region
    keys: NDArray[np.uint64]
    y: NDArray[np.float64]
    error: NDArray[np.float64]
    axis: int | None = None

    @property
    def fails(self) -> bool:
        return bool(np.any(np.abs(self.y) > self.error))

    @property
    def size(self) -> int:
        return (rows_of(self.region)) * (columns_of(self.region))

    @property
    def largest(self) -> float:
        """The largest of all |y|."""
        return float(np.max(np.abs(self.y)))

    def beside(self, probe: Probe, key: np.uint64) -> Doubtful:
        """The same with another direction."""
        keys = np.array([key], np.uint64)
        y, error = probe(self.region[np.newaxis], keys)
        return replace(
            self,
            keys=np.append(self.keys, keys),
            y=np.append(self.y, y),
            error=np.append(self.error, error),
        )

    def turned(self) -> Doubtful:
        """The same with the next direction as the leading one."""
        return replace(
            self,
            keys=np.roll(self.keys, -1),
            y=np.roll(self.y, -1),
            error=np.roll(self.error, -1),
        )


def explaining(
    doubtful: Doubtful,
    probe: Probe,
    ambiguous: Callable[[Doubtful, NDArray[np.int64]], bool],
    scale: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.int64], Doubtful]:
    """The single entries that alone would explain a region, and all directions that say so.

    While these are ambiguous another direction is asked, a few times.
    """
    index = decode(doubtful, MANY, scale)
    for extra in range(EXTRA_DIRECTIONS):
        if not ambiguous(doubtful, index):
            break
        doubtful = doubtful.beside(probe, hashing.key(int(doubtful.keys[0]), 1000 + extra))
        index = decode(doubtful, MANY, scale)
    return index, doubtful


def sizes_within(
    y: NDArray[np.float64], error: NDArray[np.float64], v: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From where to where the sizes lie with which each entry alone would explain y.

    An entry j does if one size s is within every bar, |y_d - s v_dj| <= e_d, that is, if the
    intervals (y_d -+ e_d) / v_dj have a point in common: from the first result to the second, the
    second being the smaller one where they have none.

    Parameters
    ----------
    y, error : float64 array, shape (d,)
    v : float64 array, shape (d, k)
    """
    size, doubt = y[:, np.newaxis] / v, error[:, np.newaxis] / np.abs(v)
    doubt += ROUNDING * np.abs(size)
    return np.max(size - doubt, axis=0), np.min(size + doubt, axis=0)


def decode(
    doubtful: Doubtful, most: int, scale: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """The single entries that alone would explain the y of a doubtful region.

    At most `most` + 1 are returned. Where directions are scaled entry by entry, entries of scale
    zero were not moved and explain nothing.
    """
    indices, count = [], 0
    for index in entries_of(doubtful.region):
        v = np.stack([hashing.direction(key, index) for key in doubtful.keys])
        if scale is not None:
            moved = scale[index] > 0
            index, v = index[moved], v[:, moved] * scale[index[moved]]
        low, high = sizes_within(doubtful.y, doubtful.error, v)
        fits = low <= high
        indices.append(index[fits])
        count += int(fits.sum())
        if count > most:
            break
    return np.concatenate(indices)[: most + 1]


def chance(doubtful: Doubtful) -> float:
    """How many entries that are right explain y by chance.

    An error s of entry j shows as y_1 = s v_1j, and s is known to e_1 / |v_1j| by this. To explain
    y_d as well, v_dj, whose density is at most 1/2, must lie within (e_d + e_1 |v_dj / v_1j|) / |s|
    of y_d / s. Here |v_dj / v_1j| <= 3, and |s| >= 2 |y_1| / 3, direction 1 being that of the
    largest |y|.
    """
    first = int(np.argmax(np.abs(doubtful.y)))
    size = 2 * abs(doubtful.y[first]) / 3
    others = np.delete(doubtful.error, first)
    shares = np.minimum((others + 3 * doubtful.error[first]) / size, 1.0)
    return float(doubtful.size * np.prod(shares))


def size_of(
    doubtful: Doubtful, entry: int, scale: NDArray[np.float64] | None = None
) -> tuple[float, float]:
    """How large the error of a decoded entry is: where the intervals of all directions overlap."""
    at = np.array([entry])
    v = np.array([hashing.direction(key, at) for key in doubtful.keys])
    if scale is not None:
        v = v * scale[entry]
    (low,), (high,) = sizes_within(doubtful.y, doubtful.error, v)
    return float(low + high) / 2, float(high - low) / 2


@dataclass(frozen=True, eq=False)
class Halves:
    """The halves of a doubtful region, after one direction was asked of the first of them.

    Attributes
    ----------
    whole : Doubtful
    pair : (Region, Region)
    axis : int or None
        Along which it was halved.
    y, error : float64 arrays, shape (1,)
        Of the first half, along the leading direction.
    """

    whole: Doubtful
    pair: tuple[Region, Region]
    axis: int | None
    y: NDArray[np.float64]
    error: NDArray[np.float64]

    @classmethod
    def asked(
        cls, whole: Doubtful, pair: tuple[Region, Region], probe: Probe, axis: int | None = None
    ) -> Halves:
        """Ask the leading direction."""
        return cls(whole, pair, axis, *probe(pair[0][np.newaxis], whole.keys[:1]))

    @property
    def one_holds_all(self) -> bool:
        """Whether one half alone disagrees along the leading direction."""
        return bool(np.sum(self._failing) == 1)

    @property
    def _failing(self) -> NDArray[np.bool_]:
        rest, bar = self.whole.y[:1] - self.y, self.whole.error[:1] + self.error
        return np.abs(np.append(self.y, rest)) > np.append(self.error, bar)

    def parts(self, probe: Probe) -> tuple[Doubtful, Doubtful]:
        """What remains of the region in either half.

        A half that holds all has the y of the whole: the other one adds nothing to it, and has
        none. If none does, the other directions are asked of the first half.
        """
        whole, (first, second) = self.whole, self.pair
        if self.one_holds_all:
            there, none = replace(whole, axis=self.axis), np.zeros(len(whole.y))
            empty = replace(there, y=none, error=none)
            parts = (there, empty) if self._failing[0] else (empty, there)
            return replace(parts[0], region=first), replace(parts[1], region=second)
        others = whole.keys[1:]
        y, error = probe(np.repeat(first[np.newaxis], len(others), axis=0), others)
        y, error = np.append(self.y, y), np.append(self.error, error)
        return (
            Doubtful(first, whole.keys, y, error),
            Doubtful(second, whole.keys, whole.y - y, whole.error + error),
        )
