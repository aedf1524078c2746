"""Signed magnitudes from a counter-based hash: directions that are never stored.

The expressions below are plain integer arithmetic on 64-bit words. NumPy runs them on arrays and
`evaluation.engines.kernels` compiles the same functions for scalars: one definition, bit for bit
the same numbers.

Sources: the finaliser is SplitMix64 (Steele, Lea, Flood, *Fast splittable pseudorandom number
generators*, OOPSLA 2014; constants of Stafford's variant 13).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


_MIX1 = np.uint64(0xBF58476D1CE4E5B9)


_MIX2 = np.uint64(0x94D049BB133111EB)


_S30, _S27, _S31, _S11 = (np.uint64(s) for s in (30, 27, 31, 11))


_ONE = np.uint64(1)


_TO_UNIT = 2.0**-53


def mix(z: Any) -> Any:
    """SplitMix64's finaliser: a bijection of 64-bit words that leaves no visible pattern."""
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    return z ^ (z >> _S31)


def signed_magnitude(key: Any, index: Any) -> Any:
    """Entry `index` of the direction `key`: a random sign times U[1/2, 3/2).

    The density of an entry is at most 1/2, which is what the bound on the error norm needs, and
    no entry is smaller than 1/2, so that an isolated error cannot hide.

    Parameters
    ----------
    key, index : uint64 scalars or arrays
        The direction's key and the flat indices of the entries.

    Returns
    -------
    float64 scalar or array
    """
    z = mix(key + (index + _ONE) * _GOLDEN)
    magnitude = 0.5 + (z >> _S11) * _TO_UNIT
    return magnitude * (1.0 - 2.0 * (z & _ONE))


def key(seed: int, *path: int) -> np.uint64:
    """The hash key of a direction, from the check's seed and the direction's place in it."""
    word = np.array([seed % 2**64], dtype=np.uint64)
    for part in path:
        word = mix(word * _GOLDEN + np.uint64((int(part) + 1) % 2**64))
    return np.uint64(mix(word)[0])


def direction(key: np.uint64, index: NDArray[np.int64]) -> NDArray[np.float64]:
    """The entries `index` of a direction, as an array.

    Examples
    --------
    >>> import numpy as np
    >>> v = direction(key(0, 1), np.arange(1000))
    >>> bool((abs(v) >= 0.5).all() and (abs(v) < 1.5).all())
    True
    """
    entries: NDArray[np.float64] = signed_magnitude(key, index.astype(np.uint64))
    return entries


# NumPy hashes about 60 entries per microsecond, the kernel a thousand: importing Numba (0.3 to
# 0.5 s) pays off where regions are large and never where they are small.
LARGE_REGION = 20_000
