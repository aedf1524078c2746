"""Differences of a function of several outputs: what one evaluation says of all rows at once.

F(theta +- h v) tells the derivative of every output F_i along v: row i of the Jacobian, times v.
So the directions of `differences.joint` serve all rows together, and a column costs as much as a
component of a gradient. Every row has a noise and bars of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences import noise
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.directions import (
    COMPLEX_ROUNDING,
    OFFSETS,
    five_point,
    longest,
)
from fastgradcheck.differences.draws import CLOSER, FIRST, everything, expected
from fastgradcheck.differences.joint import WIDEST
from fastgradcheck.differences.steps import COMPLEX_STEP
from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation import hashing
from fastgradcheck.evaluation.plans import Directions
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.region import Region

Array = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)
SPACINGS = noise.SPACINGS[1:7:2]
"""Spacings at which the noise is measured, in ulps of theta: rows that do not move at one are
measured at the next. Each costs eight evaluations, so that there are few."""
STILL = 0.05
"""So large a part of the rows must not have moved for another spacing to be tried."""
ROUNDING = 4 * EPS
"""Of a slope, relative to it."""
TRIED = 5
"""Steps of directions that are tried at first; each is a quarter of the one before."""
NEARER = 5
"""How often steps are tried, each time a quarter as long, where F raises. Directions leave out what
is nearer to the edge of its domain than that (`differences.domain`)."""
EXTENSION, EXTENSIONS = 3, 3
"""So many smaller ones are added, and so often, while the smallest is the best."""
TYPICAL = 0.5
"""A bar is at least this part of the median of its row's. It is the difference of two central
differences, which along a direction in 1,000 is small by chance, where their error is not."""
STEEP = 16.0
"""In units of eps: what noise a slope may be thought to make of the rounding of theta."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Where and how F is differentiated.

    Attributes
    ----------
    context : Context
        Its value and noise are those of no output.
    values : float64 array, shape (m,)
        F(theta).
    noise : float64 array, shape (m,)
        Standard deviation of the noise of every output.
    """

    context: Context
    values: Array
    noise: Array

    @property
    def count(self) -> int:
        """Number of outputs m."""
        return len(self.values)


def measure_noise(context: Context, values: Array) -> Array:
    """The noise of every output, from eight points along one direction; see `differences.noise`."""
    theta, room = context.theta, context.room
    eps = float(np.finfo(theta.dtype).eps)
    scale = np.abs(theta).astype(np.float64)
    scale = np.maximum(scale, 1e-3 * (norm(scale) / np.sqrt(len(scale)) or 1.0))
    level = np.full(len(values), np.nan)
    spread = np.zeros(len(values))
    region = everything(len(theta))[np.newaxis]
    places = np.arange(noise.POINTS) - (noise.POINTS - 1) / 2
    for attempt, spacing in enumerate(eps * s for s in SPACINGS):
        farthest = 1.5 * spacing * (noise.POINTS - 1) / 2
        moving = scale if room is None else np.where(farthest * scale < room, scale, 0.0)
        keys = np.array([hashing.key(context.seed, -1, attempt)])
        plan = Directions(region, keys, spacing * places[np.newaxis], moving)
        at = context.stream.values(plan, "noise")[0]
        finite = np.isfinite(at).all(axis=0)
        at = np.where(finite, at, 0.0)
        spread = np.fmax(spread, np.ptp(at, axis=0) / np.sqrt(12))
        different = 1 + np.sum(np.diff(np.sort(at, axis=0), axis=0) > 0, axis=0)
        moved = finite & (different > noise.POINTS // 2) & np.isnan(level)
        level[moved] = _noise_levels(at[:, moved], values[moved])
        if np.isnan(level).mean() <= STILL:
            break
    # What never moved by more than a few steps lies on a grid, or is constant.
    level = np.where(np.isnan(level), spread, level)
    rounding = np.maximum(0.5 * EPS * np.abs(values), _grid(values) / np.sqrt(12))
    return np.asarray(np.maximum(level, rounding))


def _grid(values: Array) -> Array:
    """The spacing of float32 at values that were computed in it; zero of others.

    F then moves at no spacing above, as if it were constant. A number of float64 lies on the grid
    of float32 once in 2^29 times, unless it is a simple one, of 12 bits: most others must.
    """
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    mantissa = np.frexp(values)[0] * 2.0**12
    telling = mantissa != np.round(mantissa)
    on = single == values
    if 2 * np.sum(on & telling) <= np.sum(telling):
        return np.zeros(len(values))
    return np.where(on, np.spacing(np.abs(single)), 0.0).astype(np.float64)


def _noise_levels(at: Array, values: Array) -> Array:
    """`noise.ecnoise` of many outputs at once; `at` has shape (8, k)."""
    differences, levels, signs = at, [], []
    for k in noise.ORDERS:
        differences = np.diff(differences, axis=0)
        largest = np.abs(differences).max(axis=0)
        unit = np.where(largest > 0, largest, 1.0)
        gamma = factorial(k) ** 2 / factorial(2 * k)
        levels.append(np.sqrt(gamma * np.mean((differences / unit) ** 2, axis=0)) * largest)
        signs.append((differences.min(axis=0) < 0) & (differences.max(axis=0) > 0))
    table = np.array(levels)
    found = table[-1].copy()
    for k in range(len(table) - 3, -1, -1):
        three = table[k : k + 3]
        settled = signs[k] & (three.min(axis=0) > 0) & (three.max(axis=0) <= 4 * three.min(axis=0))
        found = np.where(settled, three[0], found)
    with np.errstate(over="ignore"):
        single = (at == at.astype(np.float32)).all(axis=0)
    coarse = np.maximum(found, noise.SINGLE * np.abs(values) / np.sqrt(12))
    return np.asarray(np.where(single, coarse, found))


@dataclass(frozen=True, eq=False)
class Slopes:
    """The derivatives of all outputs along some directions.

    Attributes
    ----------
    keys : uint64 array, shape (d,)
    steps : float64 array, shape (d,)
    slopes, error : float64 arrays, shape (d, m)
        The derivatives, and their bars.
    taken : float64 array, shape (d, n)
        The directions as they were really taken, whose products with the Jacobian they are.
    changes : float64 array, shape (d, p, m)
        F at the points, less F(theta).
    """

    keys: NDArray[np.uint64]
    steps: Array
    slopes: Array
    error: Array
    taken: Array
    changes: Array


def along(
    rows: Rows,
    region: Region,
    keys: NDArray[np.uint64],
    steps: Array,
    moving: Array,
    stage: str = "directions",
) -> Slopes:
    """Differentiate all outputs along directions on a region: five points, or a complex step."""
    if rows.context.scheme.imaginary:
        return _exactly(rows, region, keys, steps, moving, stage)
    offsets = steps[:, np.newaxis] * OFFSETS
    plan = Directions(np.repeat(region[np.newaxis], len(keys), axis=0), keys, offsets, moving)
    changes = rows.context.stream.values(plan, stage) - rows.values
    return slopes_of(rows, region, keys, steps, moving, changes)


def slopes_of(
    rows: Rows,
    region: Region,
    keys: NDArray[np.uint64],
    steps: Array,
    moving: Array,
    changes: Array,
) -> Slopes:
    """The derivatives that the changes of F at the five points of directions tell."""
    noise = _noise_around(rows, changes, steps)
    slopes, error = five_point(changes, steps[:, np.newaxis], noise)
    size = np.maximum(np.abs(rows.values), np.abs(changes + rows.values).max(axis=1))
    error = error + ROUNDING * np.abs(slopes) + EPS * size / steps[:, np.newaxis]
    error = np.maximum(error, TYPICAL * np.median(error, axis=0))
    taken = taken_by(rows, region, keys, steps, moving)
    return Slopes(keys, steps, slopes, error, taken, changes)


def taken_by(
    rows: Rows,
    region: Region,
    keys: NDArray[np.uint64],
    steps: Array,
    moving: Array,
    offsets: Array = OFFSETS,
) -> Array:
    """The directions as they are really taken, shape (d, n)."""
    return np.stack(
        [
            displacement(rows, region, key, step, moving, offsets)
            for key, step in zip(keys, steps, strict=True)
        ]
    )


def _noise_around(rows: Rows, changes: Array, steps: Array) -> Array:
    """The noise of every output at the points of directions, shape (d, m).

    What F makes of theta is rounded, and F's slope makes noise of that. Where the slope is larger
    than at theta, as that of a square is away from its zero, so is the noise.
    """
    unit = steps[:, np.newaxis]
    outward = np.maximum(*(np.abs(changes[:, k + 2] - changes[:, k]) for k in (0, 1))) / unit
    here = np.sqrt(np.mean(((changes[:, 0] - changes[:, 1]) / (2 * unit)) ** 2, axis=0))
    # Seven differences tell a row's noise to a factor of two; all rows together tell it better.
    relative = rows.noise / np.where(here > 0, here, np.inf)
    relative = np.fmin(np.maximum(relative, np.median(relative)), STEEP * EPS)
    return np.asarray(rows.noise + relative * np.fmax(outward - here, 0.0))


def along_two_points(
    rows: Rows, region: Region, keys: NDArray[np.uint64], steps: Array, moving: Array
) -> Slopes:
    """The same from two points, without bars: enough for a search whose outcome is confirmed."""
    if rows.context.scheme.imaginary:
        return _exactly(rows, region, keys, steps, moving, "locating")
    offsets = steps[:, np.newaxis] * OFFSETS[:2]
    plan = Directions(np.repeat(region[np.newaxis], len(keys), axis=0), keys, offsets, moving)
    changes = rows.context.stream.values(plan, "locating") - rows.values
    slopes = (changes[:, 0] - changes[:, 1]) / (2 * steps[:, np.newaxis])
    taken = taken_by(rows, region, keys, steps, moving, OFFSETS[:2])
    return Slopes(keys, steps, slopes, np.zeros(slopes.shape), taken, changes)


def _exactly(
    rows: Rows,
    region: Region,
    keys: NDArray[np.uint64],
    steps: Array,
    moving: Array,
    stage: str,
) -> Slopes:
    """The same by a complex step each, which truncates nothing; there are no changes of F."""
    regions = np.repeat(region[np.newaxis], len(keys), axis=0)
    plan = Directions(regions, keys, 1j * steps[:, np.newaxis], moving)
    slopes = rows.context.stream.values(plan, stage)[:, 0].imag / steps[:, np.newaxis]
    # A row may cancel along one direction: what it is made of shows in the others.
    error = COMPLEX_ROUNDING * np.max(np.abs(slopes), axis=0)
    taken = np.zeros((len(keys), len(moving)))
    index = np.arange(region[0] + region[4], region[0] + region[5])
    for own, key in zip(taken, keys, strict=True):
        own[index] = hashing.direction(key, index) * moving[index]
    bars = np.where(np.isfinite(slopes), error, np.inf)
    return Slopes(keys, steps, slopes, bars, taken, np.zeros((len(keys), 0, rows.count)))


def displacement(
    rows: Rows, region: Region, key: np.uint64, step: float, moving: Array, offsets: Array
) -> Array:
    """The direction of which the slope is measured, from the points that are really taken."""
    theta = rows.context.theta
    index = np.arange(region[0] + region[4], region[0] + region[5])
    v = hashing.direction(key, index) * moving[index]
    here = theta[index]
    moved = [
        (here + offset * step * v).astype(theta.dtype).astype(np.float64) - here
        for offset in offsets
    ]
    near = (moved[0] - moved[1]) / (2 * step)
    taken = np.zeros(len(theta))
    if len(offsets) == 2:
        taken[index] = near
    else:
        taken[index] = (4 * near - (moved[2] - moved[3]) / (4 * step)) / 3
    return taken


def weights(rows: Rows, sizes: Sequence[Array]) -> Array:
    """The weight of every block of theta, so that each moves the outputs about equally.

    Parameters
    ----------
    rows : Rows
    sizes : sequence of float64 array, shape (m,)
        Of every block of theta, the norm of each row of the claim within it.

    Returns
    -------
    float64 array, shape (blocks,)
        In units of the block's typical entry, none larger than it.
    """
    context = rows.context
    typical = np.array([np.median(context.scale[b.slice]) for b in context.parameters.blocks])
    moves = np.array(sizes) * typical[:, np.newaxis]
    moves[~np.isfinite(moves)] = 0.0  # a claim that is no number says nothing of what moves
    whole = np.sqrt((moves**2).sum(axis=0))
    share = moves / np.where(whole > 0, whole, 1.0)
    share = np.sqrt(np.mean(share[:, whole > 0] ** 2, axis=1)) if whole.any() else share[:, 0]
    # A block that matters little need not be known as sharply: what moves far decides the step.
    least = np.maximum(share, 2.0**-6 * np.max(share, initial=0.0))
    wanted = 1.0 / np.where(least > 0, least, 1.0)
    scaled: Array = typical * wanted / wanted.max()
    return scaled


def spread(rows: Rows, of_blocks: Array, movable: Array | None) -> Array:
    """The weight of every entry: its block's, or zero where it must not move."""
    blocks = rows.context.parameters.blocks
    moving = np.repeat(of_blocks, [block.size for block in blocks])
    return moving if movable is None else moving * movable


def leave_out(rows: Rows, moving: Array, step: float) -> NDArray[np.int64]:
    """Take the weight of what the step does not move, and tell what that is."""
    theta = rows.context.theta
    smallest = (0.5 * step / CLOSER[-1] * moving).astype(theta.dtype)
    still = moving == 0
    if not rows.context.scheme.imaginary:  # a step beside theta's axis moves whatever it is
        still |= theta + smallest == theta
    moving[still] = 0.0
    return np.flatnonzero(still)


def choose_step(rows: Rows, moving: Array) -> float:
    """The step of all directions, from one: where the bars to expect are smallest in most rows."""
    context = rows.context
    if context.scheme.imaginary:
        return COMPLEX_STEP
    region, keys = everything(len(moving)), np.array([hashing.key(context.seed, 0, -1)])
    first = min(FIRST * WIDEST, farthest(rows, moving))

    def measured(tried: Array) -> Array:
        offsets = np.stack([tried, -tried], axis=1).reshape(1, -1)
        plan = Directions(region[np.newaxis], keys, offsets, moving)
        values = context.stream.values(plan, "calibrating")[0]
        slopes: Array = (values[0::2] - values[1::2]) / (2 * tried[:, np.newaxis])
        return slopes

    steps: Array = first / 4.0 ** np.arange(TRIED, dtype=np.float64)
    for more in reversed(range(NEARER)):
        try:
            slopes = measured(steps)
            break
        except CostEvaluationError:  # the steps are longer than the way to the edge of F's domain
            if not more:
                raise
            steps = steps / 4
    best = _best(rows, slopes, steps)
    for _ in range(EXTENSIONS):
        if best < len(steps) - 1:
            break
        smaller: Array = steps[-1] / 4.0 ** np.arange(1, EXTENSION + 1, dtype=np.float64)
        slopes, steps = np.vstack([slopes, measured(smaller)]), np.append(steps, smaller)
        best = _best(rows, slopes, steps)
    return float(steps[best])


def _best(rows: Rows, slopes: Array, steps: Array) -> int:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        level = rows.noise[:, np.newaxis]
        bars = expected(slopes.T, steps[np.newaxis], level)
        size = np.nan_to_num(np.abs(slopes[1:]).T, posinf=0.0) + np.finfo(float).tiny
        relative = np.log(np.maximum(bars, ROUNDING * size.max(axis=1, keepdims=True)))
    known = np.isfinite(relative).all(axis=1)
    if not known.any():
        return len(steps) - 1
    return int(np.argmin(relative[known].mean(axis=0))) + 1


def farthest(rows: Rows, moving: Array) -> float:
    """The longest step of directions that keeps within the bounds."""
    room = rows.context.room
    return np.inf if room is None else longest(moving, room)
