"""How large a vector is: its Euclidean norm, and its largest entry."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 20
"""Entries squared at a time: no second vector of the size of theta is held."""
SAFE = 1e-280
"""A sum of squares above this has lost nothing to underflow."""


def norm(vector: NDArray[np.float64]) -> float:
    """Euclidean norm without overflow; inf and nan stay what they are."""
    if vector.size == 1:  # most norms, in a theta of thousands of scalars
        return abs(float(vector.item()))
    if vector.size > CHUNK:
        parts = (vector[first : first + CHUNK] for first in range(0, vector.size, CHUNK))
        return norm(np.array([norm(part) for part in parts]))
    with np.errstate(over="ignore", under="ignore"):
        squares = float(np.sum(vector * vector))
    if SAFE < squares < np.inf:
        return float(np.sqrt(squares))
    size = float(np.max(np.abs(vector), initial=0.0))
    if size == 0 or not np.isfinite(size):
        return size
    return size * float(np.sqrt(np.sum((vector / size) ** 2)))


def largest(vector: NDArray[Any]) -> float:
    """The largest size of the entries that are finite; 0 if there is none.

    Examples
    --------
    >>> import numpy as np
    >>> largest(np.array([1.0, -3.0, np.nan, -np.inf]))
    3.0
    """
    if vector.size == 1:
        return size if (size := abs(float(vector.item()))) < np.inf else 0.0
    if not vector.size:
        return 0.0
    size = max(abs(float(np.max(vector))), abs(float(np.min(vector))))
    if size < np.inf:
        return size  # without an array of the vector's size
    return float(np.max(np.abs(vector[np.isfinite(vector)]), initial=0.0))
