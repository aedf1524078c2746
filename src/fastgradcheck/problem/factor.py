"""A factor by which a gradient is off, as people read it."""

from __future__ import annotations

import math


def as_factor(ratio: float, digits: int = 4) -> str:
    """A factor, to as many digits as tell it from one.

    Examples
    --------
    >>> as_factor(1.37), as_factor(1.000001234), as_factor(-0.99998), as_factor(1.0)
    ('1.37', '1.0000012', '-0.99998', '1')
    """
    away = abs(abs(ratio) - 1.0)
    if 0.0 < away < 1.0:
        digits = max(digits, 2 - math.floor(math.log10(away)))
    return f"{ratio:.{min(digits, 16)}g}"
