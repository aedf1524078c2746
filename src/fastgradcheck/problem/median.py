"""The median size of an array's entries: what is typical of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem.norm import largest
from fastgradcheck.problem.region import CHUNK

SAMPLE = 4096
"""So many entries tell where the median lies: the rank that it has among them has a standard
deviation of half the square root of their number, 32 ..."""
AWAY = 8 * 32
"""... and lies between ranks so far to either side of the middle one."""


def median_size(entries: NDArray[Any]) -> float:
    """The median size of the entries that are finite and not zero; 0 if there are none.

    Of all of them, though few are sorted: smaller ones than those near the median are only
    counted. Where the order of the entries misleads the sample, all are sorted.

    Examples
    --------
    >>> import numpy as np
    >>> median_size(np.array([0.0, 3.0, -1.0, np.nan, 2.0])), median_size(np.zeros(2))
    (2.0, 0.0)
    """
    if entries.size == 1:
        return largest(entries)
    entries = entries.ravel()
    if len(entries) > 2 * SAMPLE:
        selected = _selected(entries)
        if selected is not None:
            return selected
    sizes = _sizes(entries)
    return float(np.median(sizes, overwrite_input=True)) if len(sizes) else 0.0


def _selected(entries: NDArray[Any]) -> float | None:
    """The median, from the entries near it; None where the sample does not tell which these are."""
    sample = np.sort(_sizes(entries[:: len(entries) // SAMPLE]))
    middle = len(sample) // 2
    if middle <= AWAY:
        return None
    low, high = sample[middle - AWAY], sample[middle + AWAY]
    count, below, near = 0, 0, []
    for first in range(0, len(entries), CHUNK):
        sizes = _sizes(entries[first : first + CHUNK])
        count += len(sizes)
        below += int(np.count_nonzero(sizes < low))
        near.append(sizes[(low <= sizes) & (sizes <= high)])
    between = np.concatenate(near)
    ranks = [(count - 1) // 2 - below, count // 2 - below]
    if ranks[0] < 0 or ranks[1] >= len(between):
        return None
    between.partition(ranks)
    return float(np.mean(between[ranks]))


def _sizes(entries: NDArray[Any]) -> NDArray[np.float64]:
    """The sizes of what is finite and not zero."""
    sizes: NDArray[np.float64] = np.abs(entries).astype(np.float64, copy=False)
    kept = (sizes > 0) & (sizes < np.inf)
    return sizes if kept.all() else sizes[kept]
