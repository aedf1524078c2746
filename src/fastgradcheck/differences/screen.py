"""Random directions: every entry of a region covered by a handful of evaluations.

`fastgradcheck.differences.joint` sends them through all blocks at once, `draws` says at which
steps; here is what a set of them proves.

The error of a block's gradient, r = grad - grad J, is probed along random directions v of signed
magnitudes (`evaluation.hashing`): y = grad . v - D_v J = r . v. Two facts make that a proof. An
isolated error never hides, since |y| >= |r_i| / 2. And no error vector hides often: whatever r is,
P(|y| <= t ||r||) <= sqrt(2) t, because the entries of v have densities of at most 1/2
(Livshyts, Paouris, Pivovarov, *On sharp bounds for marginal densities of product measures*,
Israel J. Math. 216 (2016)). So m directions with bars e give

    ||r|| <= (max |y| + e) / t    with probability 1 - (sqrt(2) t)^m.

Every direction is measured at +-h and +-2h and owns its bar, the difference of its two central
differences: the truncation along one direction says nothing about that along another. Where J
takes complex numbers, D_v J = Im J(theta + i h v) / h is exact to rounding after one evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.evaluation import hashing
from fastgradcheck.problem.region import CHUNK

CONFIDENCE = 0.99
"""Of all upper limits together."""


ROUNDING_UNITS = 16.0
"""In units of the eps of the gradient's dtype: y may be off by this much of ||grad|| when every
entry is rounded. The entries' own last rounding is 0.3, sums within back-propagation a few more,
and y exceeds four standard deviations once in 10,000."""

OF_VALUES = 256.0
"""So many times the rounding of J a claim may be off that is computed from its values, as a slope
1 - J**2 is where J is close to 1. Differences do not see it; complex steps do."""

SEEN_UNITS = 4.0
"""The same, in units of how far an ulp of theta was seen to move the gradient: four standard
deviations."""

HIDDEN_BELOW = float(1.5 * np.sqrt(2 * np.log(2 / 1e-9)))
"""|y| exceeds this many ||r|| with probability 1e-9 only (Hoeffding, entries below 3/2)."""


BEYOND_DOUBT = 3.0
"""Only what is so many bars large proves anything about a norm: one bar in a thousand misses, and
the threshold is so low that a single miss would exceed it."""
SECOND_MOMENT = 13 / 12
"""E v_i^2 for U[1/2, 3/2)."""


@dataclass(frozen=True, eq=False)
class Screened:
    """What the directions say of one block.

    Attributes
    ----------
    keys : uint64 array, shape (m,)
    steps : float64 array, shape (m,)
    y, error : float64 arrays, shape (m,)
        grad . v - D_v J, and bars.
    failure : float
        The probability with which `upper` may be wrong.
    rounding : float
        What rounding of the gradient itself, and what is not known of errors that were taken out
        of it, may contribute to y: no cause for a search.
    claimed : float64 array, shape (m,), or empty
        grad . v along the same directions; empty where nobody asked for it.
    """

    keys: NDArray[np.uint64]
    steps: NDArray[np.float64]
    y: NDArray[np.float64]
    error: NDArray[np.float64]
    failure: float
    rounding: float = 0.0
    claimed: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def hidden(self) -> float:
        """The t for which all |y| <= t ||r|| with probability `failure` at most."""
        return float(self.failure ** (1 / len(self)) / np.sqrt(2))

    @cached_property
    def upper(self) -> float:
        """Upper limit of ||r||."""
        return float(np.max(np.abs(self.y) + self.error) / self.hidden)

    @property
    def reach(self) -> float:
        """What `upper` would be for a correct gradient: the part that the bars contribute."""
        return float(np.max(self.error)) / self.hidden

    @property
    def lower(self) -> float:
        """Lower limit of ||r||, with probability 1 - 1e-9."""
        sure = np.abs(self.y) > BEYOND_DOUBT * (self.error + self.rounding)
        return float(np.max(np.where(sure, np.abs(self.y) - self.error, 0.0)) / HIDDEN_BELOW)

    @cached_property
    def isolated(self) -> float:
        """The smallest error of a single entry that would have been seen.

        It contributes at least half of itself to every y, which the bar, and what rounding is
        granted, may hide once and the measurement once more.
        """
        return 4 * (float(np.min(self.error)) + self.rounding)

    def moved(self, start: int, change: NDArray[np.float64]) -> Screened:
        """The same, had the claim been larger by so much in the entries from `start` on."""
        shift = np.zeros(len(self))
        for first in range(0, len(change), CHUNK):
            part = change[first : first + CHUNK]
            if part.any():
                index = np.arange(start + first, start + first + len(part))
                shift += [hashing.direction(key, index) @ part for key in self.keys]
        return replace(self, y=self.y + shift)

    @cached_property
    def fails(self) -> bool:
        """Whether some direction disagrees beyond its bar and rounding; NaN does."""
        return not bool(np.all(np.abs(self.y) <= self.error + self.rounding))
