"""The data that a report tells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COMPONENT = np.dtype(
    [
        ("index", np.int64),
        ("analytic", np.float64),
        ("numeric", np.float64),
        ("error", np.float64),
        ("verdict", np.uint8),
    ]
)
"""dtype of ``GradcheckResult.components``; ``verdict`` holds `Verdict.code`."""


@dataclass(frozen=True)
class Seconds:
    """Where the wall time went.

    Attributes
    ----------
    total : float
    compiling : float
        Numba's time for the user's cost; part of `total`.
    """

    total: float
    compiling: float


@dataclass(frozen=True, eq=False)
class Sweep:
    """Differences of one component over a ladder of steps: the V-curve.

    Attributes
    ----------
    address : str
    steps : float array, shape (k,), decreasing
    derivatives : float array, shape (k,)
        The unextrapolated central differences.
    value, error : float
        What the ladder settled on, and its bar.
    """

    address: str
    steps: NDArray[np.float64]
    derivatives: NDArray[np.float64]
    value: float
    error: float
