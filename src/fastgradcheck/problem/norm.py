"""The Euclidean norm, of vectors of any size of entry."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 20
"""Entries squared at a time: no second vector of the size of theta is held."""
SAFE = 1e-280
"""A sum of squares above this has lost nothing to underflow."""


def norm(vector: NDArray[np.float64]) -> float:
    """Euclidean norm without overflow; inf and nan stay what they are."""
    if vector.size > CHUNK:
        parts = (vector[first : first + CHUNK] for first in range(0, vector.size, CHUNK))
        return norm(np.array([norm(part) for part in parts]))
    with np.errstate(over="ignore", under="ignore"):
        squares = float(np.sum(vector * vector))
    if SAFE < squares < np.inf:
        return float(np.sqrt(squares))
    largest = float(np.max(np.abs(vector), initial=0.0))
    if largest == 0 or not np.isfinite(largest):
        return largest
    return largest * float(np.sqrt(np.sum((vector / largest) ** 2)))
