"""What speaks for the claim beside the sharpest measurement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fastgradcheck.differences.plateau import (
    AGREEMENT,
    KINK_HERE,
    SMOOTH,
    TWO_SCALES,
    UNSETTLED,
    Settled,
)

SUBTLE = 1e-3
"""A relative difference below this hides in the truncation of ordinary steps."""


NEGLIGIBLE = 1e-7
"""Relative difference of two slopes that no verdict depends on."""


def supported(settled: Settled, claimed: float) -> Settled:
    """The ladder, read at another scale if that supports the claimed derivative.

    Where the smallest steps meet stairs of rounding (log(1 - a) for a sigmoid near one), they
    settle on the slope of one stair, or on noise. If three larger steps in a row, and the slopes
    of both sides there, lie at least four times closer to the claim than what was settled on, and
    within a quarter of it, then the claim is the slope at that scale: no fault looks like this.
    At a kink the two sides do not agree; and a claim of zero has no scale, since differences of
    any bounded oscillation tend to it.

    And what no step of ordinary size shows, on either side, contradicts nobody: it is unsettled.

    Parameters
    ----------
    settled : Settled
    claimed : float
    """
    if not np.isfinite(claimed):
        return settled
    apart = max(abs(claimed - settled.value), settled.error)
    if settled.lower - settled.error <= claimed <= settled.upper + settled.error and (
        settled.error <= NEGLIGIBLE * abs(claimed)
    ):
        return settled
    best: tuple[float, float] | None = None
    for k in range(len(settled.derivatives) - 2):
        near = settled.derivatives[k : k + 3]
        sides = [settled.right[k + 2], settled.left[k + 2]]
        distance = float(np.max(np.abs(np.append(near, sides) - claimed)))
        close = distance < AGREEMENT * min(apart, abs(claimed))
        if close and (best is None or distance < best[1]):
            best = float(near[-1]), distance
    if best is None:
        subtle = apart <= max(settled.error, SUBTLE * max(abs(claimed), abs(settled.value)))
        if subtle or _ordinary(settled, AGREEMENT * apart):
            return settled
        return replace(settled, kind=UNSETTLED, error=apart)
    value, distance = best
    kind = TWO_SCALES if abs(claimed - settled.value) > settled.error else SMOOTH
    return replace(settled, value=value, error=distance, kind=kind, lower=value, upper=value)


def _ordinary(settled: Settled, within: float) -> bool:
    """Whether three steps in a row, of ordinary size, show the slope too, on one side at least."""
    if settled.kind in (KINK_HERE, UNSETTLED) or settled.ordinary < 3:
        return True
    for slopes in (settled.derivatives, settled.right, settled.left):
        with np.errstate(invalid="ignore"):
            close = np.abs(slopes[: settled.ordinary] - settled.value) < within
        if np.any(close[2:] & close[1:-1] & close[:-2]):
            return True
    return False
