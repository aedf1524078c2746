"""How much time a check may take, and how much of it is kept for confirming what disagrees."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError

SWEEP = 42
"""Evaluations that confirm one component by a step sweep, at most; the loop over components leaves
time for one sweep at least ..."""


SWEEPS = 32
"""... for this many at most, since a block with so many wrong is wrong as a whole ..."""


SHARE = 0.25
"""... and never more than this part of the budget."""


@dataclass(frozen=True)
class Budget:
    """Seconds of wall time.

    Attributes
    ----------
    seconds : float
        inf for no limit.
    began : float
        When the check began, as `time.monotonic` tells it.

    Examples
    --------
    >>> 9 < Budget(10.0).left() <= 10
    True
    """

    seconds: float
    began: float = field(default_factory=lambda: time.monotonic())

    def left(self) -> float:
        """Seconds until the end; negative after it."""
        return self.began + self.seconds - time.monotonic()

    def reserve(self, evaluation: float, doubtful: int) -> float:
        """Seconds to be left for confirming what is doubtful, if an evaluation takes this long."""
        sweeps = min(max(doubtful, 1), SWEEPS)
        return min(SHARE * self.seconds, sweeps * SWEEP * evaluation)


UNLIMITED = Budget(np.inf)


def budget_of(seconds: Any) -> Budget:
    """The budget that the argument ``budget`` asks for; it begins to run now.

    Raises
    ------
    GradcheckInputError
        If it is not a positive number of seconds.
    """
    if seconds is None:
        return UNLIMITED
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float, np.number)):
        raise GradcheckTypeError(
            f"budget is a {type(seconds).__name__}; it is a number of seconds, such as 30, or None."
        )
    if not seconds > 0:
        raise GradcheckInputError(
            f"budget={seconds} leaves no time; it is a positive number of seconds, or None."
        )
    return Budget(float(seconds))
