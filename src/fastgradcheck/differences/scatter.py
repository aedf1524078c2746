"""What the values on one step sweep show of J itself: its noise, jumps, and kinks beside theta."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ROUNDING = 2 * float(np.finfo(np.float64).eps)
"""Relative rounding of the few operations from values of J to their differences."""


SINGLE = float(np.finfo(np.float32).eps)


JUMP = 12.0
"""Standard deviations of J's noise that a second difference cannot have: sqrt(6) of them is one of
its own."""


STEADY = 5
"""Numbers in a row that noise orders in one of 120 cases, with one sign in one of 2,000."""


def noise_shown(
    plus: NDArray[np.float64],
    minus: NDArray[np.float64],
    here: float = 0.0,
    lost: NDArray[np.bool_] | None = None,
) -> float:
    """The noise of J that the small steps themselves show, as a standard deviation.

    Each side is extrapolated back to theta from three steps, and from the next three: where noise
    rules, the two differ by sqrt(64^2 + 84^2 + 21^2 + 1)/45 = 2.4 sigma, whatever h; where
    truncation rules, they differ by 64 times less from step to step. A kink, or a pair of them,
    at a smaller distance than the steps shifts all extrapolations alike and is not taken for
    noise, and one among the steps spoils some of them. So the second smallest sets the level, and
    the largest within eight times that counts, since they are few; if they fall faster, nothing is
    seen of the noise. Where J has not moved from its value `here`, it shows none, but for the
    steps that are `lost` on its grid: too small to move it. The quieter side counts.
    """
    sides = []
    for values in (plus, minus):
        apart = np.diff(_extrapolated(values))
        if lost is not None:
            still = [lost[k] and np.all(values[k : k + 4] == here) for k in range(len(apart))]
            apart = apart[~np.array(still, bool)]
        apart = apart[np.isfinite(apart)]
        scatter = np.sort(np.abs(apart))
        if len(scatter) < 3:
            continue
        if scatter[1] > 8 * scatter[0] and scatter[2] > 8 * scatter[1]:
            return 0.0
        if _steady(apart):
            return 0.0
        sides.append(float(np.max(scatter[scatter <= 8 * scatter[1]])))
    return min(sides, default=0.0) / 2.4


def _steady(apart: NDArray[np.float64]) -> bool:
    """Whether the smallest steps differ ever less, and one way: sqrt(theta), and no noise."""
    last = apart[-STEADY:]
    falls = np.all(np.abs(last[1:]) < np.abs(last[:-1]) / 1.05)
    return bool(len(last) == STEADY and falls and abs(np.sign(last).sum()) == STEADY)


def _extrapolated(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """J at theta, from the parabolas through its values at h, 4h, 16h on one side."""
    extrapolated: NDArray[np.float64] = (64 * values[2:] - 20 * values[1:-1] + values[:-2]) / 45
    return extrapolated


def of_single(noise: float, value: float) -> float:
    """J's relative noise if that is the rounding of float32, which grows with J; else 0."""
    relative = noise / abs(value) if value else 0.0
    return relative if SINGLE / 8 <= relative <= SINGLE * 8 else 0.0


def jumps(plus: NDArray[np.float64], minus: NDArray[np.float64], here: float, noise: float) -> bool:
    """Whether J stands apart from its values at the smallest steps, on one side or both.

    The mean of both sides tends to J(theta) as h^2 where J is smooth, as h at a kink. Where three
    steps, which span a factor of 16, have it nearly unchanged, J jumps between theta and the
    smallest of them, or has structure that they step over.
    """
    apart = np.abs(plus - 2 * here + minus)[-3:]
    if len(apart) < 3 or not np.isfinite(apart).all():
        return False
    rounding = ROUNDING * float(np.max(np.abs([plus[-1], minus[-1], here])))
    least = max(JUMP * noise, rounding)
    return bool(apart.min() > least and apart.max() < 2 * apart.min())


def defect(values: NDArray[np.float64], here: float, bar: float) -> tuple[float, float]:
    """How far one side, extrapolated back to theta, misses J(theta); and the doubt of that.

    A parabola through the values at h, 4h, 16h has the value ``(64 J(h) - 20 J(4h) + J(16h))/45``
    at zero. Its truncation falls as h^3, so that the smallest three steps are the sharpest: there
    only noise is left, (64 + 20 + 1)/45 + 1 times one error of J.
    """
    defects = _extrapolated(values)[-4:] - here
    near = defects[-1]
    # The defect of a kink does not depend on h; truncation and noise do. Two scales must agree,
    # and two more may not disagree by more than what truncation, falling by 64, makes of it.
    falling = np.abs(defects - near) / 64.0 ** np.arange(len(defects) - 2, -2, -1)
    doubt = bar * (85 / 45 + 1) + float(np.max(falling[:-1]))
    return (abs(float(near)), doubt) if np.isfinite(doubt) else (0.0, np.inf)
