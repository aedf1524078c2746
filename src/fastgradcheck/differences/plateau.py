"""The derivative, and its bar, read off one step sweep: the plateau of its differences."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.scatter import ROUNDING, defect, jumps, noise_shown, of_single

RATIO = 4.0


NOISE_SIGMAS = 3.0
"""Bars hold errors of J of three standard deviations, added in the worst signs."""


LOST = 12.0
"""Standard deviations of J's noise, which is that of a grid: 3.5 of them are one unit of it."""


RESTLESS = 30.0
"""A sweep that scatters this much more than J's noise at theta is continued to smaller steps: an
oscillation is resolved there, noise is not."""


AGREEMENT = 0.25
"""Slopes agree on another one if they scatter by no more than this part of its distance. Noise
does so three times in a row in one of 50 cases, since it grows fourfold from step to step."""


SEEN = 3
"""So many of the smallest steps must lie in J's domain, for one side of theta to be seen."""
RUNNING = 4
"""Changes of the slope in a row that go one way, and are no noise, ..."""
RUNNING_GROWTH = 3.5
"""... each of which is less than so many times the one before: noise and a kink that is nearer
than the steps make them four times as large."""
RUNNING_FALL = 1.5
"""Changes that fall by less than this do not converge: those of any power above one halve."""


KINK_GAP = 2.0
"""The slopes of the two sides differ if they do so by twice their bars."""


(
    SMOOTH,
    KINK_RIGHT,
    KINK_LEFT,
    KINK_HERE,
    UNSETTLED,
    TWO_SCALES,
    FIVE_POINT,
    DECODED,
    JUMP_HERE,
) = range(9)


@dataclass(frozen=True, eq=False)
class SweepValues:
    """Values of J on the step sweeps of k components, K steps each, decreasing.

    Attributes
    ----------
    index : int64 array, shape (k,)
    steps : float64 array, shape (k, K)
        The steps intended.
    right, left : float64 array, shape (k, K)
        The displacements taken, both positive; nan where the point would leave the bounds.
    plus, minus : float64 array, shape (k, K)
        J there.
    """

    index: NDArray[np.int64]
    steps: NDArray[np.float64]
    right: NDArray[np.float64]
    left: NDArray[np.float64]
    plus: NDArray[np.float64]
    minus: NDArray[np.float64]

    def joined(self, other: SweepValues, rows: NDArray[np.int64], after: bool) -> SweepValues:
        """These rows with the other's steps added at the small (`after`) or the large end."""

        def join(mine: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.hstack([mine[rows], new] if after else [new, mine[rows]])

        return SweepValues(
            self.index[rows],
            join(self.steps, other.steps),
            join(self.right, other.right),
            join(self.left, other.left),
            join(self.plus, other.plus),
            join(self.minus, other.minus),
        )

    def row(self, row: int) -> SweepValues:
        return SweepValues(*(getattr(self, field.name)[row : row + 1] for field in fields(self)))


@dataclass(frozen=True, eq=False)
class StepSweep:
    """What one step sweep says.

    Attributes
    ----------
    index : int
    value, error : float
        The derivative and its bar; nan and inf if nothing finite was measured.
    kind : int
        SMOOTH; KINK_RIGHT or KINK_LEFT (a kink close by on that side; the value is the other
        side's slope); KINK_HERE (theta is on the kink: any slope between `lower` and `upper` is
        a subgradient); JUMP_HERE (theta is on a jump of J: there is no derivative); UNSETTLED (the
        steps do not agree with each other).
    lower, upper : float
        The two one-sided slopes, in order; both equal `value` unless there is a kink. Of JUMP_HERE,
        how far J is from J(theta) at the smallest step below and above.
    distance : float
        Of the kink from theta, in theta's units; 0 for KINK_HERE, JUMP_HERE; nan if there is none.
    best : int
        The step (from the largest) at which the value was read.
    restless : bool
        True if J scatters from step to step far more than its noise at theta: there is structure
        between the steps, or noise of this component's own.
    steps, derivatives, right, left : float64 arrays, shape (K,)
        The sweep itself: two-sided differences, and the slopes of second order of either side.
    ordinary : int
        How many of the steps, from the largest, are not small against theta_i (2^-21 of it).
    again : bool
        True if it was taken between the steps of an earlier sweep of the same component.
    """

    index: int
    value: float
    error: float
    kind: int
    lower: float
    upper: float
    distance: float
    best: int
    restless: bool
    steps: NDArray[np.float64]
    derivatives: NDArray[np.float64]
    right: NDArray[np.float64]
    left: NDArray[np.float64]
    ordinary: int = 0
    again: bool = False


def read_off(values: SweepValues, value: float, noise: float) -> StepSweep:
    """Read the derivative off one step sweep (a `SweepValues` of one row).

    Examples
    --------
    >>> h = 0.01 / 4.0 ** np.arange(9)[np.newaxis]
    >>> cube = SweepValues(np.array([0]), h, h, h, (1 + h) ** 3, (1 - h) ** 3)
    >>> s = read_off(cube, 1.0, 1e-16)
    >>> abs(s.value - 3) <= s.error < 1e-9
    True
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        right, left = values.right[0], values.left[0]
        forward = (values.plus[0] - value) / right
        backward = (value - values.minus[0]) / left
        central = (values.plus[0] - values.minus[0]) / (right + left)
        # By the steepest slope seen, these steps move J by less than its noise.
        steepest = float(np.nanmax(np.abs(central), initial=0.0))
        lost = steepest * np.fmin(right, left) < LOST * noise
        shown = noise_shown(values.plus[0], values.minus[0], value, lost)
        restless = shown > RESTLESS * noise
        noise = max(noise, shown)
        size = np.fmax(np.abs(values.plus[0]), np.abs(values.minus[0]))
        rounding = max(ROUNDING, NOISE_SIGMAS * of_single(noise, value)) * size
        bar = np.fmax(NOISE_SIGMAS * noise, rounding)
        relative = ROUNDING * np.abs(central)
        two_sided = _plateau(central, bar / np.fmin(right, left) + relative, order=2)
        from_right = _one_sided(forward, bar / right)
        from_left = _one_sided(backward, bar / left)
        defect_right, doubt_right = defect(values.plus[0], value, NOISE_SIGMAS * noise)
        defect_left, doubt_left = defect(values.minus[0], value, NOISE_SIGMAS * noise)

    def read(value: float, error: float, kind: int, best: int, *rest: float) -> StepSweep:
        lower, upper, distance = rest or (value, value, np.nan)
        index, steps = int(values.index[0]), values.steps[0]
        slopes = {KINK_RIGHT: backward, KINK_LEFT: forward}.get(kind)
        slopes = central if slopes is None else np.append(np.nan, _three_point(slopes))
        with np.errstate(invalid="ignore"):
            far = slice(best + 2, None)  # beyond the truncation that an extrapolation removed
            stirred = np.nanmax(np.abs(slopes - value)[far] * steps[far], initial=0.0)
        unsure = restless or bool(stirred > RESTLESS * NOISE_SIGMAS * noise)
        sides = [np.append(np.nan, _three_point(side)) for side in (forward, backward)]
        return StepSweep(
            index,
            value,
            error,
            kind,
            lower,
            upper,
            distance,
            best,
            unsure,
            steps,
            central,
            sides[0],
            sides[1],
        )

    candidates = [c for c in (two_sided, from_right, from_left) if np.isfinite(c.error)]
    if not (_seen(forward) and _seen(backward)):
        if not candidates:
            return read(np.nan, np.inf, UNSETTLED, 0)
        best = min(candidates, key=lambda c: c.error)
        return read(best.value, best.error, SMOOTH, best.place)
    on_right, on_left = defect_right > doubt_right, defect_left > doubt_left
    gap = abs(from_right.value - from_left.value)
    if jumps(values.plus[0], values.minus[0], value, noise):
        heights = values.minus[0, -1] - value, values.plus[0, -1] - value
        return read(two_sided.value, np.inf, JUMP_HERE, two_sided.place, *heights, 0.0)
    if len(candidates) < 3 or (on_right and on_left):
        # Kinks on both sides, nearer than the smallest step: it says nothing about the slope.
        # Nor do slopes that run away.
        return read(two_sided.value, np.inf, UNSETTLED, two_sided.place)
    lower, upper = sorted((from_right.value, from_left.value))
    if on_right or on_left:
        clean, kind = (from_left, KINK_RIGHT) if on_right else (from_right, KINK_LEFT)
        with np.errstate(divide="ignore"):
            distance = np.divide(max(defect_right, defect_left), gap)
        distance = float(np.fmin(distance, values.steps[0, -1] * RATIO))
        return read(clean.value, clean.error, kind, clean.place, lower, upper, distance)
    if gap > KINK_GAP * (from_right.error + from_left.error):
        error = max(from_right.error, from_left.error)
        return read((lower + upper) / 2, error, KINK_HERE, from_right.place, lower, upper, 0.0)
    agrees = max(abs(two_sided.value - side.value) - side.error for side in (from_right, from_left))
    error = max(two_sided.error, agrees, _rough(forward - backward, bar / np.fmin(right, left)))
    return read(two_sided.value, error, SMOOTH, two_sided.place)


def _rough(gap: NDArray[np.float64], doubt: NDArray[np.float64]) -> float:
    """What a curvature without bounds, as that of |x|^1.5 at zero, leaves open of the slope.

    Where J is smooth the gap between the sides falls by four from step to step. Where it falls by
    less than three, before it is lost in noise, the slope may be any between the sides.
    """
    size = np.abs(gap)
    count = int(np.argmin(np.append(size > 4 * doubt, False)))
    last = size[:count][-3:]
    if len(last) < 3 or not (np.all(last[1:] > last[:-1] / 3) and np.all(last[1:] < last[:-1])):
        return 0.0
    # Where the gap then closes at once, a kink was passed.
    closes = count < len(size) and last[-1] / RATIO > 4 * doubt[count]
    return 0.0 if closes else float(last[-1] / 2)


def _seen(slopes: NDArray[np.float64]) -> bool:
    """Whether one side was measured at all, and not at its first steps alone."""
    return bool(np.isfinite(slopes[-SEEN:]).all())


@dataclass(frozen=True)
class _Plateau:
    value: float
    error: float
    place: int


def _plateau(slopes: NDArray[np.float64], doubt: NDArray[np.float64], *, order: int) -> _Plateau:
    """The best-agreeing neighbours among `slopes` (or their extrapolations), noise included.

    No smaller steps may contradict them: what agrees only at large steps has stepped over
    something, as over both kinks of a clipped value, whose differences all tend to zero.
    """
    factor = RATIO**order
    change = -np.diff(slopes)
    scatter = np.abs(change) + doubt[1:]
    pairs = [_best(slopes[1:], _enlarged(slopes[1:], scatter, doubt[1:]), 1)]
    if len(slopes) >= 4:
        with np.errstate(invalid="ignore", divide="ignore"):
            fall = change[:-1] / change[1:]
        # The errors fall as h^order: by 4^order from step to step, within a factor of two, and
        # this is seen above the noise.
        falls = (fall > factor / 2) & (fall < factor * 2) & (np.abs(change[:-1]) > 2 * doubt[1:-1])
        extrapolated = slopes[1:] - change / (factor - 1)
        noise = doubt[2:] * (factor + 1) / (factor - 1)
        scatter = np.abs(np.diff(extrapolated)) + noise
        errors = _enlarged(extrapolated[1:], scatter, noise)
        pairs.append(_best(extrapolated[1:], np.where(falls, errors, np.inf), 2))
    return min(pairs, key=lambda p: p.error)


def _drift(slopes: NDArray[np.float64], doubt: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far the slopes go on moving from every step, one way and beyond their noise.

    Where steps are large against theta, the slopes of log(theta) change by the same from step to
    step, and those of a power below two by more and more: that is no noise, which would go either
    way, and fourfold. If they still do so at the smallest step, the slope is not among them.
    """
    change = np.diff(slopes)
    size = np.abs(change)
    drift = np.zeros(len(slopes))
    first = 0
    for k in range(len(change)):
        follows = k > first and bool(
            size[k] < RUNNING_GROWTH * size[k - 1] and change[k] * change[k - 1] > 0
        )
        if not follows:
            first = k
        if not size[k] > 2 * doubt[k + 1]:
            first = k + 1
        elif k + 1 - first >= RUNNING:
            run = slice(first, k + 1)
            drift[run] = np.abs(slopes[k + 1] - slopes[run])
            if k == len(change) - 1 and size[k] > size[k - 1] / RUNNING_FALL:
                drift[: k + 2] = np.inf
    return drift


def _enlarged(
    slopes: NDArray[np.float64], errors: NDArray[np.float64], doubt: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The errors, enlarged by what smaller steps say.

    Where three of them in a row agree among each other, on another slope, they are right and the
    error must hold it. Where they do not, they show noise, beyond what was known of it: an error
    of J that moves the slope at a small step moves that at a larger one by less, as 1/h.
    """
    apart = np.abs(slopes[np.newaxis, :] - slopes[:, np.newaxis])
    later, ratio = _pairs(len(slopes))
    outside = (later > 0) & (apart > errors[:, np.newaxis] + doubt)
    enlarged: NDArray[np.float64] = errors + np.max(np.where(outside, apart * ratio, 0.0), axis=1)
    if len(slopes) > 2:
        three = slopes[:-2], slopes[1:-1], slopes[2:]
        spread = np.maximum.reduce(three) - np.minimum.reduce(three)
        outside, apart = outside[:, 2:], apart[:, 2:]
        settled = outside & (later[:, 2:] > 2) & (spread < AGREEMENT * apart)
        held = np.where(settled, apart + doubt[2:], -np.inf)
        enlarged = np.maximum(enlarged, np.max(held, axis=1))
    return np.maximum(enlarged, _drift(slopes, doubt))


@lru_cache
def _pairs(count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Of each step of so many, how many places later each other one comes, and its part of it."""
    place = np.arange(count)
    later = place - place[:, np.newaxis]
    return later, RATIO ** -later.astype(np.float64)


def _best(values: NDArray[np.float64], errors: NDArray[np.float64], first: int) -> _Plateau:
    errors = np.where(np.isfinite(errors), errors, np.inf)
    k = int(np.argmin(errors))
    value = float(values[k]) if np.isfinite(errors[k]) else np.nan
    return _Plateau(value, float(errors[k]), k + first)


def _one_sided(slopes: NDArray[np.float64], doubt: NDArray[np.float64]) -> _Plateau:
    """The plateau of one side's slopes, made second order from those at h and 4h.

    Its first-order parents leave it less to agree by than a two-sided plateau has: the scatter
    counts twice.
    """
    settled = _plateau(_three_point(slopes), doubt[1:] * (RATIO + 1) / (RATIO - 1), order=2)
    return _Plateau(settled.value, 2 * settled.error, settled.place + 1)


def _three_point(slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (RATIO * slopes[1:] - slopes[:-1]) / (RATIO - 1)


def larger_scale(measured: StepSweep) -> tuple[float, float] | None:
    """Another slope that larger steps show, and its bar, if there is one.

    That is a second plateau of the sweep: differences at two steps in a row and the slopes of both
    sides there agree. Truncation would fall by 16, and at a kink the two sides would not agree. How
    far J strays from that line at smaller steps is what it may stray by at the larger ones, too.

    Examples
    --------
    >>> h = 0.01 / 4.0 ** np.arange(13)[np.newaxis]
    >>> plus, minus = (s * h + 1e-7 * np.sin(s * h * 1e6) for s in (1, -1))
    >>> measured = read_off(SweepValues(np.array([0]), h, h, h, plus, minus), 0.0, 1e-23)
    >>> slope, error = larger_scale(measured)
    >>> round(measured.value, 6), round(slope, 3), error < 1e-3
    (1.1, 1.0, True)
    """
    slopes, best = measured.derivatives, None
    with np.errstate(invalid="ignore", over="ignore"):
        for k in range(min(len(slopes) - 1, measured.best - 1)):
            near = np.array([*slopes[k : k + 2], measured.right[k + 1], measured.left[k + 1]])
            scatter = float(np.ptp(near))
            apart = float(np.min(np.abs(near - measured.value)))
            inside = slice(k + 1, measured.best)
            strays = np.abs(slopes - near[0])[inside] * measured.steps[inside] / measured.steps[k]
            error = scatter + float(np.max(strays))
            if error < AGREEMENT * (apart - measured.error) and (best is None or error < best[1]):
                best = float(near[0]), error
    return best


def combined(first: StepSweep, second: StepSweep) -> StepSweep:
    """The sharper of two sweeps of a component, its bar widened to hold both."""
    sharp, other = sorted((first, second), key=lambda s: s.error)
    if not np.isfinite(other.error) or other.kind == KINK_HERE != sharp.kind:
        return other
    apart = abs(sharp.value - other.value)
    return replace(sharp, error=max(sharp.error, apart + min(sharp.error, other.error)))
