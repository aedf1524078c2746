"""Numbers as people read them."""

from __future__ import annotations

import math

_COMPARED = 10
"""Significant digits of values that the reader compares with each other."""


def short(x: float) -> str:
    """Three significant digits.

    Examples
    --------
    >>> short(0.000123456), short(2.0), short(float("nan"))
    ('0.000123', '2', 'nan')
    """
    return f"{x:.3g}"


def compared(x: float, digits: int = _COMPARED) -> str:
    """So many significant digits, without the zeros that say nothing.

    Examples
    --------
    >>> compared(1.0), compared(2 / 3)
    ('1', '0.6666666667')
    """
    return f"{x:.{digits}g}"


def measured(x: float, bar: float, most: int = _COMPARED) -> str:
    """A measured value, to one digit beyond its error bar, and `most` digits in all.

    Examples
    --------
    >>> measured(0.123456789, 2e-5)
    '0.123457'
    >>> measured(0.123456789, 0.0), measured(5.0, 1e3)
    ('0.123456789', '5')
    >>> measured(float("nan"), 0.0)
    'nan'
    """
    if not (math.isfinite(x) and math.isfinite(bar)) or x == 0.0:
        return compared(x, most)
    if bar <= 0.0:
        return compared(x, most)
    digits = math.floor(math.log10(abs(x))) - math.floor(math.log10(bar)) + 2
    return f"{x:.{min(max(digits, 3), most)}g}"


def bar(x: float) -> str:
    """An error bar: two significant digits are more than it can tell."""
    return f"{x:.1e}" if math.isfinite(x) and x > 0.0 else f"{x:.2g}"


def count(n: int) -> str:
    """An integer with thousands separated."""
    return f"{n:,}"


def plural(n: int, noun: str) -> str:
    """A count with its noun.

    Examples
    --------
    >>> plural(1, "entry"), plural(1280, "entry"), plural(2, "block")
    ('1 entry', '1,280 entries', '2 blocks')
    """
    if n == 1:
        return f"1 {noun}"
    return f"{n:,} {noun[:-1]}ies" if noun.endswith("y") else f"{n:,} {noun}s"


def percent(p: float) -> str:
    """A probability, never rounded up to certainty.

    Examples
    --------
    >>> percent(1.0), percent(0.95), percent(0.99999999)
    ('100 %', '95 %', 'more than 99.9 %')
    """
    if 0.999 < p < 1.0:
        return "more than 99.9 %"
    return f"{100.0 * p:.3g} %"


def seconds(t: float) -> str:
    """A duration in the unit that suits it.

    Examples
    --------
    >>> seconds(0.0123), seconds(4.56), seconds(3725.0)
    ('12 ms', '4.56 s', '1 h 2 min')
    """
    if t < 0.9995:
        return f"{1000.0 * t:.2g} ms" if t < 0.0995 else f"{1000.0 * t:.0f} ms"
    if t < 99.5:
        return f"{t:.3g} s"
    minutes = round(t / 60.0)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
