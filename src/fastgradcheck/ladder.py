"""One component's derivative over shrinking steps, and the plateau that it settles on.

This is the measurement that owns its error bar: it is what `numerical_gradient` falls back on and
what must agree before a component is called wrong. Steps shrink by a factor of four. At each,
two-sided differences D(h), and one-sided slopes on the right and on the left, are formed from the
same values of J.

Where J is smooth the value is the best-agreeing pair of neighbouring D(h), or of their
extrapolations where the errors were seen to fall as h^2 (and only there: near a kink an
extrapolation is confidently wrong). Where the slopes on the two sides differ there is a kink:
extrapolating each side back to theta shows on which side of theta it lies, since only on the
other side does the line pass through J(theta).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.plans import Stencils
from fastgradcheck.stream import Stopped, Stream

RATIO = 4.0
RUNGS = 9
"""Steps of the first ladder; it spans a factor of 4^8 = 65,536."""
EXTENSION = 4
"""Steps added at an end of the ladder when the plateau was found there ..."""
EXTENSIONS = 3
"""... and how often: at most 2 * (9 + 2 * 3 * 4) = 66 evaluations per component."""
NOISE_SIGMAS = 3.0
"""Bars hold errors of J of three standard deviations, added in the worst signs."""
ROUNDING = 2 * float(np.finfo(np.float64).eps)
"""Relative rounding of the few operations from two values of J to a slope."""
RESTLESS = 30.0
"""A ladder that scatters this much more than J's noise at theta is continued to smaller steps: an
oscillation comes to rest there, noise does not."""
SINGLE = float(np.finfo(np.float32).eps)
AGREEMENT = 0.25
"""Slopes agree on another one if they scatter by no more than this part of its distance. Noise
does so three times in a row in one of 50 cases, since it grows fourfold from step to step."""
SUBTLE = 1e-3
"""A relative difference below this hides in the truncation of ordinary steps."""
NEGLIGIBLE = 1e-7
"""Relative difference of two slopes that no verdict depends on."""
KINK_GAP = 2.0
"""The slopes of the two sides differ if they do so by twice their bars."""

SMOOTH, KINK_RIGHT, KINK_LEFT, KINK_HERE, UNSETTLED, TWO_SCALES = range(6)


@dataclass(frozen=True, eq=False)
class Rungs:
    """Values of J on the ladders of k components, K steps each, decreasing.

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

    def joined(self, other: Rungs, rows: NDArray[np.int64], after: bool) -> Rungs:
        """These rows with the other's steps added at the small (`after`) or the large end."""

        def join(mine: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.hstack([mine[rows], new] if after else [new, mine[rows]])

        return Rungs(
            self.index[rows],
            join(self.steps, other.steps),
            join(self.right, other.right),
            join(self.left, other.left),
            join(self.plus, other.plus),
            join(self.minus, other.minus),
        )

    def row(self, row: int) -> Rungs:
        return Rungs(*(getattr(self, field.name)[row : row + 1] for field in fields(self)))


@dataclass(frozen=True)
class Settled:
    """What one ladder says.

    Attributes
    ----------
    index : int
    value, error : float
        The derivative and its bar; nan and inf if nothing finite was measured.
    kind : int
        SMOOTH; KINK_RIGHT or KINK_LEFT (a kink close by on that side; the value is the other
        side's slope); KINK_HERE (theta is on the kink: any slope between `lower` and `upper` is
        a subgradient); UNSETTLED (the steps do not agree with each other).
    lower, upper : float
        The two one-sided slopes, in order; both equal `value` unless there is a kink.
    distance : float
        Of the kink from theta, in theta's units; 0 for KINK_HERE, nan if there is none.
    best : int
        The rung (from the largest) at which the value was read.
    restless : bool
        True if J scatters from step to step far more than its noise at theta: there is structure
        between the steps, or noise of this component's own.
    steps, derivatives, right, left : float64 arrays, shape (K,)
        The ladder itself: two-sided differences, and the slopes of second order of either side.
    ordinary : int
        How many of the steps, from the largest, are not small against theta_i (2^-21 of it).
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


def climb(
    stream: Stream,
    index: NDArray[np.int64],
    largest: NDArray[np.float64],
    value: float,
    noise: float,
    bounds: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    stage: str = "confirming",
) -> list[Settled]:
    """Measure the components `index`, each on a ladder of its own.

    Parameters
    ----------
    stream : Stream
    index : int64 array, shape (k,)
    largest : float64 array, shape (k,)
        The first step of each ladder.
    value : float
        J(theta).
    noise : float
        Standard deviation of J's noise.
    bounds : pair of float64 arrays, shape (n,), optional
    stage : str
        For the progress display.

    Returns
    -------
    list of Settled
        In the order of `index`.
    """
    if bounds is not None:
        here = stream.theta[index]
        room = np.maximum(bounds[1][index] - here, here - bounds[0][index])
        largest = np.where((room > 0) & (room < largest), room, largest)
    rungs = _evaluate(stream, index, largest, RUNGS, bounds, stage)
    settled = [settle(rungs.row(r), value, noise) for r in range(len(index))]
    ladders = [rungs.row(r) for r in range(len(index))]
    topped: set[int] = set()
    for _ in range(EXTENSIONS):
        for after in (True, False):
            rows = [
                r
                for r, s in enumerate(settled)
                if _wants_more(s, stream.theta, after) and (after or r not in topped)
            ]
            if not rows:
                continue
            more = np.array(rows)
            start = np.array(
                [
                    settled[r].steps[-1] / RATIO
                    if after
                    else settled[r].steps[0] * RATIO**EXTENSION
                    for r in rows
                ]
            )
            try:
                new = _evaluate(stream, index[more], start, EXTENSION, bounds, stage)
            except Stopped:
                # No time for more steps: what the first ones say, with their bars, stands.
                return _graded(settled, stream.theta)
            for position, r in enumerate(rows):
                grown = ladders[r].joined(new.row(position), np.array([0]), after)
                read = settle(grown, value, noise)
                if not after and _disputed(settled[r], read.value):
                    topped.add(r)
                    continue
                ladders[r], settled[r] = grown, read
    return _graded(settled, stream.theta)


def _disputed(settled: Settled, value: float) -> bool:
    """Whether a value from larger steps overrules smaller ones, which it may only sharpen.

    It does if it leaves their bar, or, since the noise may be overestimated, if three of them in
    a row agree on another slope.
    """
    if not abs(value - settled.value) <= settled.error:
        return True
    for k in range(len(settled.derivatives) - 2):
        three = settled.derivatives[k : k + 3]
        if three.any() and np.ptp(three) < AGREEMENT * abs(float(three[1]) - value):
            return True
    return False


def _graded(settled: list[Settled], theta: NDArray[Any]) -> list[Settled]:
    """With the number of steps that are not small against theta; of a zero, the first ladder's."""
    graded = []
    for s in settled:
        size = abs(float(theta[s.index]))
        count = int(np.sum(s.steps >= 2.0**-21 * size)) if size else RUNGS
        graded.append(replace(s, ordinary=count))
    return graded


def _wants_more(settled: Settled, theta: NDArray[Any], after: bool) -> bool:
    """Whether the plateau may continue beyond this end of the ladder."""
    count = len(settled.steps)
    if after:
        size = max(abs(float(theta[settled.index])), float(np.finfo(theta.dtype).tiny))
        room = settled.steps[-1] > 64 * np.finfo(theta.dtype).eps * size
        unfinished = settled.best >= count - 2 or settled.kind == UNSETTLED or settled.restless
        return bool(room and unfinished)
    sharp = settled.error <= 1e-9 * abs(settled.value)
    moves = bool(settled.derivatives.any())
    calm = settled.kind == SMOOTH and not settled.restless
    return settled.best <= 1 and calm and not sharp and moves


def _evaluate(
    stream: Stream,
    index: NDArray[np.int64],
    largest: NDArray[np.float64],
    count: int,
    bounds: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
    stage: str,
) -> Rungs:
    theta = stream.theta
    here = theta[index].astype(np.float64)[:, np.newaxis]
    steps = largest[:, np.newaxis] / RATIO ** np.arange(count)
    points = np.hstack([here + steps, here - steps])
    if bounds is not None:
        low, high = bounds[0][index][:, np.newaxis], bounds[1][index][:, np.newaxis]
        points = np.where((points < low) | (points > high), here, points)
    points = points.astype(theta.dtype)
    values = _defined(stream, Stencils(index, points), stage)
    moved = points.astype(np.float64) - here
    values[moved == 0] = np.nan
    moved[moved == 0] = np.nan
    right, left = moved[:, :count], -moved[:, count:]
    return Rungs(index, steps, right, left, values[:, :count], values[:, count:])


def _defined(stream: Stream, plan: Stencils, stage: str) -> NDArray[np.float64]:
    """J at the points of a plan, nan where the cost raises: large steps may leave its domain.

    Raises
    ------
    CostEvaluationError
        If it raises at the smallest steps of some component too, on both sides.
    """
    try:
        return np.array(stream.values(plan, stage))
    except CostEvaluationError:
        values = np.full((len(plan), plan.width), np.nan)
    for row in range(len(plan)):
        failure: CostEvaluationError | None = None
        for point in range(plan.width):
            one = Stencils(plan.index[row : row + 1], plan.points[row : row + 1, [point]])
            try:
                values[row, point] = stream.values(one, stage)[0, 0]
            except CostEvaluationError as error:
                failure = error
        smallest = [plan.width // 2 - 1, plan.width - 1]
        if failure is not None and np.isnan(values[row, smallest]).all():
            raise failure
    return values


def settle(rungs: Rungs, value: float, noise: float) -> Settled:
    """Read the derivative off one ladder (a `Rungs` of one row).

    Examples
    --------
    >>> h = 0.01 / 4.0 ** np.arange(9)[np.newaxis]
    >>> cube = Rungs(np.array([0]), h, h, h, (1 + h) ** 3, (1 - h) ** 3)
    >>> s = settle(cube, 1.0, 1e-16)
    >>> abs(s.value - 3) <= s.error < 1e-9
    True
    """
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        right, left = rungs.right[0], rungs.left[0]
        forward = (rungs.plus[0] - value) / right
        backward = (value - rungs.minus[0]) / left
        central = (rungs.plus[0] - rungs.minus[0]) / (right + left)
        shown = _noise_of_ladder(rungs.plus[0], rungs.minus[0], value)
        restless = shown > RESTLESS * noise
        noise = max(noise, shown)
        size = np.fmax(np.abs(rungs.plus[0]), np.abs(rungs.minus[0]))
        rounding = max(ROUNDING, NOISE_SIGMAS * _single(noise, value)) * size
        bar = np.fmax(NOISE_SIGMAS * noise, rounding)
        relative = ROUNDING * np.abs(central)
        two_sided = _plateau(central, bar / np.fmin(right, left) + relative, order=2)
        from_right = _one_sided(forward, bar / right)
        from_left = _one_sided(backward, bar / left)
        defect_right, doubt_right = _defect(rungs.plus[0], value, NOISE_SIGMAS * noise)
        defect_left, doubt_left = _defect(rungs.minus[0], value, NOISE_SIGMAS * noise)

    def made(value: float, error: float, kind: int, best: int, *rest: float) -> Settled:
        lower, upper, distance = rest or (value, value, np.nan)
        index, steps = int(rungs.index[0]), rungs.steps[0]
        slopes = {KINK_RIGHT: backward, KINK_LEFT: forward}.get(kind)
        slopes = central if slopes is None else np.append(np.nan, _three_point(slopes))
        with np.errstate(invalid="ignore"):
            far = slice(best + 2, None)  # beyond the truncation that an extrapolation removed
            stirred = np.nanmax(np.abs(slopes - value)[far] * steps[far], initial=0.0)
        unsure = restless or bool(stirred > RESTLESS * NOISE_SIGMAS * noise)
        sides = [np.append(np.nan, _three_point(side)) for side in (forward, backward)]
        return Settled(
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
    if not candidates:
        return made(np.nan, np.inf, UNSETTLED, 0)
    one_side_only = not (np.isfinite(from_right.error) and np.isfinite(from_left.error))
    if one_side_only or not np.isfinite(two_sided.error):
        best = min(candidates, key=lambda c: c.error)
        return made(best.value, best.error, SMOOTH, best.rung)
    on_right, on_left = defect_right > doubt_right, defect_left > doubt_left
    gap = abs(from_right.value - from_left.value)
    if on_right and on_left:
        # Kinks on both sides, nearer than the smallest step: it says nothing about the slope.
        return made(two_sided.value, np.inf, UNSETTLED, two_sided.rung)
    lower, upper = sorted((from_right.value, from_left.value))
    if on_right or on_left:
        clean, kind = (from_left, KINK_RIGHT) if on_right else (from_right, KINK_LEFT)
        with np.errstate(divide="ignore"):
            distance = np.divide(max(defect_right, defect_left), gap)
        distance = float(np.fmin(distance, rungs.steps[0, -1] * RATIO))
        return made(clean.value, clean.error, kind, clean.rung, lower, upper, distance)
    if gap > KINK_GAP * (from_right.error + from_left.error):
        error = max(from_right.error, from_left.error)
        return made((lower + upper) / 2, error, KINK_HERE, from_right.rung, lower, upper, 0.0)
    agrees = max(abs(two_sided.value - side.value) - side.error for side in (from_right, from_left))
    return made(two_sided.value, max(two_sided.error, agrees), SMOOTH, two_sided.rung)


@dataclass(frozen=True)
class _Plateau:
    value: float
    error: float
    rung: int


def _plateau(slopes: NDArray[np.float64], doubt: NDArray[np.float64], *, order: int) -> _Plateau:
    """The best-agreeing neighbours among `slopes` (or their extrapolations), noise included.

    No smaller steps may contradict them: what agrees only at large steps has stepped over
    something, as over both kinks of a clipped value, whose differences all tend to zero.
    """
    factor = RATIO**order
    change = -np.diff(slopes)
    scatter = np.abs(change) + doubt[1:]
    pairs = [_best(slopes[1:], _contradicted(slopes[1:], scatter, doubt[1:]), 1)]
    if len(slopes) >= 4:
        with np.errstate(invalid="ignore", divide="ignore"):
            fall = change[:-1] / change[1:]
        # The errors fall as h^order: by 4^order from step to step, within a factor of two, and
        # this is seen above the noise.
        falls = (fall > factor / 2) & (fall < factor * 2) & (np.abs(change[:-1]) > 2 * doubt[1:-1])
        extrapolated = slopes[1:] - change / (factor - 1)
        noise = doubt[2:] * (factor + 1) / (factor - 1)
        scatter = np.abs(np.diff(extrapolated)) + noise
        errors = _contradicted(extrapolated[1:], scatter, noise)
        pairs.append(_best(extrapolated[1:], np.where(falls, errors, np.inf), 2))
    return min(pairs, key=lambda p: p.error)


def _contradicted(
    slopes: NDArray[np.float64], errors: NDArray[np.float64], doubt: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The errors, enlarged by what smaller steps say.

    Where three of them in a row agree among each other, on another slope, they are right and the
    error must hold it. Where they do not, they show noise, beyond what was known of it: an error
    of J that moves the slope at a small step moves that at a larger one by less, as 1/h.
    """
    count = len(slopes)
    apart = np.abs(slopes[np.newaxis, :] - slopes[:, np.newaxis])
    smaller = np.triu(np.ones(apart.shape, bool), 1)
    outside = smaller & (apart > errors[:, np.newaxis] + doubt)
    rungs = np.arange(count)
    as_noise = apart * RATIO ** (rungs[:, np.newaxis] - rungs[np.newaxis, :]).astype(float)
    enlarged: NDArray[np.float64] = errors + np.max(np.where(outside, as_noise, 0.0), axis=1)
    for m in range(2, count):
        three = slopes[m - 2 : m + 1]
        # Three zeros are a J that has not moved, on the coarse grid of a float32 say.
        agree = (np.ptp(three) < AGREEMENT * apart[:, m]) & bool(three.any())
        settled = agree & outside[:, m] & (rungs < m - 2)
        enlarged = np.where(settled, np.maximum(enlarged, apart[:, m] + doubt[m]), enlarged)
    return enlarged


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
    return _Plateau(settled.value, 2 * settled.error, settled.rung + 1)


def _three_point(slopes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (RATIO * slopes[1:] - slopes[:-1]) / (RATIO - 1)


def _noise_of_ladder(plus: NDArray[np.float64], minus: NDArray[np.float64], here: float) -> float:
    """The noise of J that the small steps themselves show, as a standard deviation.

    Each side is extrapolated back to theta from three steps, and from the next three: where noise
    rules, the two differ by sqrt(64^2 + 84^2 + 21^2 + 1)/45 = 2.4 sigma, whatever h; where
    truncation rules, they differ by 64 times less from step to step. A kink, or a pair of them,
    at a smaller distance than the steps shifts all extrapolations alike and is not taken for
    noise, and one among the steps spoils some of them. So the second smallest sets the level, and
    the largest within eight times that counts, since they are few; if they fall faster, nothing is
    seen of the noise. Nor where J, on a coarse grid, has not moved from its value `here` at theta.
    The quieter side counts.
    """
    sides = []
    for values in (plus, minus):
        scatter = np.abs(np.diff(_extrapolated(values)))
        moved = np.array([np.any(values[k : k + 4] != here) for k in range(len(scatter))])
        scatter = np.sort(scatter[np.isfinite(scatter) & moved])
        if len(scatter) < 3:
            continue
        if scatter[1] > 8 * scatter[0] and scatter[2] > 8 * scatter[1]:
            return 0.0
        sides.append(float(np.max(scatter[scatter <= 8 * scatter[1]])))
    return min(sides, default=0.0) / 2.4


def _single(noise: float, value: float) -> float:
    """J's relative noise if that is the rounding of float32, which grows with J; else 0."""
    relative = noise / abs(value) if value else 0.0
    return relative if SINGLE / 8 <= relative <= SINGLE * 8 else 0.0


def _extrapolated(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """J at theta, from the parabolas through its values at h, 4h, 16h on one side."""
    extrapolated: NDArray[np.float64] = (64 * values[2:] - 20 * values[1:-1] + values[:-2]) / 45
    return extrapolated


def _defect(values: NDArray[np.float64], here: float, bar: float) -> tuple[float, float]:
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
