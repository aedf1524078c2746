"""What directions say of all rows of a Jacobian: limits that hold for any number of them.

With R the error of a claimed Jacobian, y_id = (R S v_d)_i, and m directions, each row's limit is
that of a gradient (`differences.screen`). For all rows together none of the probability is shared:
with Z_i = max_d |y_id| / ||r_i||, w_i = ||r_i||^2 / ||R||^2 and 0 < q < m, z^(-q/2) is convex, so
that

    P(sum_i max_d y_id^2 <= t^2 ||R||^2) = P((sum_i w_i Z_i^2)^(-q/2) >= t^(-q))
                                        <= t^q sum_i w_i E Z_i^(-q) <= x^q m / (m - q)

with x = sqrt(2) t, since P(Z_i <= t) <= x^m. The best q = m - 1 / ln(1/x) makes it

    e m x^m ln(1/x),    for any number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import e as EULER
from math import log

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.screen import (
    BEYOND_DOUBT,
    HIDDEN_BELOW,
    Screened,
)
from fastgradcheck.problem.norm import norm

Array = NDArray[np.float64]


def hidden_rows(failure: float, directions: int, rows: int) -> float:
    """The t for which sum_i max_d y_id^2 <= t^2 ||R||^2 with that probability at most.

    Of the two bounds, the one for any number of rows and the one that shares the probability
    among them, the sharper one, which depends on their number alone.

    Examples
    --------
    >>> round(hidden_rows(0.01, 4, 1), 4), round(hidden_rows(0.01, 4, 300), 4)
    (0.2236, 0.1048)
    """
    shared = (failure / rows) ** (1 / directions) / np.sqrt(2)
    low, high = 0.0, float(np.exp(-1 / directions))
    for _ in range(60):
        x = (low + high) / 2
        if EULER * directions * x**directions * log(1 / x) > failure:
            high = x
        else:
            low = x
    return max(float(shared), low / float(np.sqrt(2)))


@dataclass(frozen=True, eq=False)
class ScreenedRows(Screened):
    """What directions say of the rows of an output; `y` and `error` have shape (d, rows).

    The limits are of the Euclidean norm of all rows together.

    Attributes
    ----------
    sizes, allowed : float64 array, shape (rows,)
        The norm of every row of the claim in the directions' weights, and what its rounding may
        contribute to y.
    lost : bool array, shape (rows,)
        Rows that were found wrong throughout: they count in the limits, and fail no more.
    """

    sizes: Array = field(default_factory=lambda: np.zeros(0))
    allowed: Array = field(default_factory=lambda: np.zeros(0))
    lost: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))

    @cached_property
    def hidden(self) -> float:
        return hidden_rows(self.failure, len(self), self.y.shape[1])

    @cached_property
    def upper(self) -> float:
        most: Array = np.max(np.abs(self.y) + self.error, axis=0)
        return norm(most) / self.hidden

    @property
    def reach(self) -> float:
        return norm(np.asarray(np.max(self.error, axis=0))) / self.hidden

    @property
    def lower(self) -> float:
        sure = np.abs(self.y) > BEYOND_DOUBT * (self.error + self.allowed)
        seen = np.max(np.where(sure, np.abs(self.y) - self.error, 0.0), axis=0, initial=0.0)
        return float(np.max(seen, initial=0.0) / HIDDEN_BELOW)

    @cached_property
    def isolated(self) -> float:
        """The smallest error of a single entry that would have been seen, in any row.

        Two directions must show it: of many rows, one bar in a thousand misses.
        """
        second = np.sort(self.error + self.allowed, axis=0)[min(1, len(self) - 1)]
        return 4 * float(np.max(second, where=~self.lost, initial=0.0))

    @property
    def failing(self) -> NDArray[np.bool_]:
        """Which rows disagree: in two directions, or in one beyond doubt. NaN does."""
        outside = ~(np.abs(self.y) <= self.error + self.allowed)
        several: NDArray[np.bool_] = outside.sum(axis=0) >= min(2, len(self))
        return (several | self.surely) & ~self.lost

    @property
    def surely(self) -> NDArray[np.bool_]:
        """Which rows disagree beyond doubt in a direction. NaN does."""
        far = ~(np.abs(self.y) <= BEYOND_DOUBT * (self.error + self.allowed))
        return far.any(axis=0) & ~self.lost

    @cached_property
    def fails(self) -> bool:
        return bool(self.failing.any())

    def of_rows(self) -> Array:
        """Upper limit of the norm of each row, the probability shared among them."""
        t = (self.failure / max(self.y.shape[1], 1)) ** (1 / len(self)) / np.sqrt(2)
        limits: Array = np.max(np.abs(self.y) + self.error, axis=0) / t
        return limits
