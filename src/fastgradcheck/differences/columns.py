"""Columns of a Jacobian, one by one: differences in one parameter, which serve all rows at once.

By five points each, whose bars are their own; by one complex step, exact to rounding; or by another
scheme, whose truncation is calibrated in a few columns of each block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.directions import OFFSETS, five_point
from fastgradcheck.differences.plateau import NOISE_SIGMAS, StepSweep, SweepValues, read_off
from fastgradcheck.differences.rows import EPS, NEARER, ROUNDING, Array, Rows
from fastgradcheck.differences.schemes import CENTRAL4, Scheme
from fastgradcheck.differences.steps import COMPLEX_STEP, TRUNCATION_SPREAD, choose
from fastgradcheck.differences.sweep import LARGEST_STEP
from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation.plans import Stencils

Measure = Callable[[NDArray[np.int64], str], tuple[Array, Array]]
"""Columns and a stage to values and bars of shape (m, k)."""
SMALLEST_STEP, LARGEST_COLUMN_STEP = 2.0**-16, 2.0**-9
"""Of a column's five-point values, relative to the parameter's scale."""
CALIBRATING = 2.0 ** -np.array([6.0, 10.0, 14.0])
"""Relative steps at which the truncation of other schemes is looked for."""
SWEEP_STEPS = 13
"""From 2^-5 to 2^-29 of the parameter's scale."""
SMALL = 2.0**10
"""An entry smaller than its scale by this factor gets smaller steps, too, ..."""
MOST_SMALLER = 40
"""... and so many of them at most."""
FEW_BYTES = 1 << 25
"""Of the values that are held at a time while columns are measured."""


def at_a_time(rows: Rows) -> int:
    """So many columns are measured at a time."""
    return max(1, FEW_BYTES // (8 * len(OFFSETS) * rows.count))


def measure_columns(
    rows: Rows, index: NDArray[np.int64], stage: str = "locating", by_user: bool = False
) -> tuple[Array, Array]:
    """Columns of the Jacobian and their bars, shape (m, k): five points, or a complex step each.

    A column without room between the bounds has infinite bars.

    Parameters
    ----------
    rows : Rows
    index : int64 array, shape (k,)
    stage : str
    by_user : bool
        Whether the steps are the user's, where there are any.
    """
    if rows.context.scheme.imaginary:
        return _exact(rows, index, stage)
    auto = np.full(len(rows.context.parameters.blocks), _relative_step(rows))
    parts = [
        _five_points(rows, part, _steps(rows, part, auto, by_user), stage)
        for part in np.split(index, range(at_a_time(rows), len(index), at_a_time(rows)))
    ]
    values, bars = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    return values, bars


def _relative_step(rows: Rows) -> float:
    """Twice the cube root of the relative noise.

    The bar of five points is three times the truncation of the nearer two: it balances there.
    """
    size = np.abs(rows.values)
    told = size > 0
    noise = float(np.median(rows.noise[told] / size[told])) if told.any() else EPS
    return float(np.clip(2 * np.cbrt(noise), SMALLEST_STEP, LARGEST_COLUMN_STEP))


def _steps(rows: Rows, index: NDArray[np.int64], relative: Array, by_user: bool = True) -> Array:
    """The step of every column: the user's, or a multiple of its scale, within the bounds."""
    context = rows.context
    blocks = np.searchsorted(context.parameters.blocks_start, index, side="right") - 1
    steps: Array = relative[blocks] * context.scale[index]
    if by_user and context.epsilon is not None:
        own = context.epsilon[blocks]
        steps = np.where(np.isnan(own), steps, own)
    if context.room is not None:
        steps = np.minimum(steps, 0.99 * context.room[index] / OFFSETS.max())
    return steps


def _five_points(
    rows: Rows, index: NDArray[np.int64], steps: Array, stage: str
) -> tuple[Array, Array]:
    theta = rows.context.theta
    here = theta[index][:, np.newaxis]
    points = (here + steps[:, np.newaxis] * OFFSETS).astype(theta.dtype)
    signal = rows.context.stream.values(Stencils(index, points), stage) - rows.values
    taken = points.astype(np.float64) - here.astype(np.float64)
    # What was taken differs from the step by an ulp of theta: each slope by its own.
    with np.errstate(divide="ignore", invalid="ignore"):
        even = signal * (steps[:, np.newaxis] * OFFSETS / taken)[:, :, np.newaxis]
        unit = np.where(steps > 0, steps, 1.0)[:, np.newaxis]
        slopes, error = five_point(even, unit, rows.noise)
        error += EPS * np.maximum(np.abs(rows.values), np.abs(signal).max(axis=1)) / unit
    return _known(slopes, error, steps > 0)


def _known(slopes: Array, error: Array, moved: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Derivatives of shape (k, m) and their bars, as columns; infinite bars where none is known."""
    known = moved[:, np.newaxis] & np.isfinite(slopes)
    bars = np.where(known, error + ROUNDING * np.abs(slopes), np.inf)
    return np.where(known, slopes, 0.0).T, bars.T


def _exact(rows: Rows, index: NDArray[np.int64], stage: str) -> tuple[Array, Array]:
    """By one complex step each: exact to the rounding of F's own operations."""
    steps = COMPLEX_STEP * rows.context.scale[index][:, np.newaxis]
    plan = Stencils(index, rows.context.theta[index][:, np.newaxis] + 1j * steps)
    slopes = rows.context.stream.values(plan, stage)[:, 0].imag / steps
    return _known(slopes, 256 * ROUNDING * np.abs(slopes), np.ones(len(index), bool))


def has_own_bars(scheme: Scheme) -> bool:
    """Whether a scheme's values tell their own bars: those of five points, and complex steps."""
    return scheme.imaginary or scheme == CENTRAL4


@dataclass(frozen=True, eq=False)
class PlainColumns:
    """Columns by the context's scheme, with provisional bars: enough to agree, and no more.

    Attributes
    ----------
    rows : Rows
    relative : float64 array, shape (blocks,)
        The step, relative to the parameter's scale.
    truncation : float64 array, shape (blocks, m)
        Bound of the truncation error for a relative step of one.
    """

    rows: Rows
    relative: Array
    truncation: Array

    @classmethod
    def calibrated(cls, rows: Rows, wanted: NDArray[np.int64]) -> PlainColumns:
        """With the truncation of a few columns of each block, times `TRUNCATION_SPREAD`."""
        context, scheme = rows.context, rows.context.scheme
        parameters, order = context.parameters, scheme.order
        pilots = choose(np.ones(parameters.size), parameters, np.sort(wanted), context.seed)
        true, bars = measure_columns(rows, pilots, "calibrating")
        blocks = np.searchsorted(parameters.blocks_start, pilots, side="right") - 1
        truncation = np.zeros((len(parameters.blocks), rows.count))
        for relative in CALIBRATING:
            steps = _steps(rows, pilots, np.full(len(truncation), relative), by_user=False)
            slopes = _quotients(rows, pilots, steps, "calibrating")
            error = np.abs(slopes - true.T)
            noise = NOISE_SIGMAS * scheme.noise_gain * rows.noise / steps[:, np.newaxis]
            seen = np.isfinite(error) & (error > bars.T + noise)
            shares = error / (steps / context.scale[pilots])[:, np.newaxis] ** order
            np.maximum.at(truncation, blocks, np.where(seen, shares, 0.0))
        truncation *= TRUNCATION_SPREAD
        # Where noise and truncation balance, in most rows.
        loss = NOISE_SIGMAS * scheme.noise_gain * rows.noise / context.typical[:, np.newaxis]
        with np.errstate(divide="ignore"):
            balance = (loss / (order * truncation)) ** (1 / (order + 1))
        relative = np.median(np.minimum(balance, LARGEST_STEP), axis=1)
        eps = float(np.finfo(context.theta.dtype).eps)
        return cls(rows, np.maximum(relative, 64 * eps), truncation)

    def measure(self, index: NDArray[np.int64], stage: str) -> tuple[Array, Array]:
        """Columns and their bars, shape (m, k)."""
        context, scheme = self.rows.context, self.rows.context.scheme
        steps = _steps(self.rows, index, self.relative)
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes = _quotients(self.rows, index, steps, stage)
            shares = (steps / context.scale[index])[:, np.newaxis] ** scheme.order
            blocks = np.searchsorted(context.parameters.blocks_start, index, side="right") - 1
            lost = NOISE_SIGMAS * scheme.noise_gain * self.rows.noise
            lost = lost + EPS * np.abs(self.rows.values)
            error = self.truncation[blocks] * shares + lost / steps[:, np.newaxis]
        return _known(slopes, error, steps > 0)


def by_scheme(rows: Rows, wanted: NDArray[np.int64]) -> Measure:
    """What measures columns by the scheme and at the steps that the user chose."""
    if has_own_bars(rows.context.scheme) or not len(wanted):
        return lambda index, stage: measure_columns(rows, index, stage, by_user=True)
    return PlainColumns.calibrated(rows, wanted).measure


def _quotients(rows: Rows, index: NDArray[np.int64], steps: Array, stage: str) -> Array:
    """The difference quotients of the context's scheme, shape (k, m)."""
    context, scheme = rows.context, rows.context.scheme
    points = scheme.points(context.theta[index], steps)
    values = context.stream.values(Stencils(index, points), stage).transpose(0, 2, 1)
    taken = points.astype(np.float64) - context.theta[index].astype(np.float64)[:, np.newaxis]
    with np.errstate(divide="ignore", invalid="ignore"):
        return scheme.derivative(values, taken[:, np.newaxis], rows.values[:, np.newaxis])


def sweep_column(
    rows: Rows, column: int, wanted: NDArray[np.int64], flat: NDArray[np.int64]
) -> list[StepSweep]:
    """Step sweeps of some rows in one column: the same points serve all of them.

    Parameters
    ----------
    rows : Rows
    column : int
    wanted : int64 array
        The rows.
    flat : int64 array
        What their entries are called in the sweeps.
    """
    context = rows.context
    theta, bounds = context.theta, context.bounds
    here = float(theta[column])
    largest = LARGEST_STEP * float(context.scale[column])
    if bounds is not None:
        room = max(float(bounds[1][column]) - here, here - float(bounds[0][column]))
        largest = room if 0 < room < largest else largest
    for more in reversed(range(NEARER)):
        count = SWEEP_STEPS + _smaller(here, largest)
        steps: Array = largest / 4.0 ** np.arange(count, dtype=np.float64)
        points = np.append(here + steps, here - steps)
        if bounds is not None:
            outside = (points < bounds[0][column]) | (points > bounds[1][column])
            points = np.where(outside, here, points)
        points = points.astype(theta.dtype)
        plan = Stencils(np.array([column]), points[np.newaxis])
        try:
            values = np.array(context.stream.values(plan, "confirming")[0][:, wanted])
            break
        except CostEvaluationError:  # the steps are longer than the way to the edge of F's domain
            if not more:
                raise
            largest /= 4
    moved = points.astype(np.float64) - here
    values[moved == 0] = np.nan
    moved[moved == 0] = np.nan
    right, left = moved[np.newaxis, :count], -moved[np.newaxis, count:]
    ordinary = int(np.sum(steps >= 2.0**-21 * abs(here))) if here else count
    found = []
    for k, row in enumerate(wanted):
        plus, minus = values[np.newaxis, :count, k], values[np.newaxis, count:, k]
        own = SweepValues(flat[k : k + 1], steps[np.newaxis], right, left, plus, minus)
        read = read_off(own, float(rows.values[row]), float(rows.noise[row]))
        found.append(replace(read, ordinary=ordinary))
    return found


def _smaller(here: float, largest: float) -> int:
    """How many more steps a small entry needs: a logarithm bends at steps of its own size."""
    beyond = largest / (LARGEST_STEP * abs(here)) if here else 1.0
    return int(np.clip(np.ceil(np.log(beyond / SMALL) / np.log(4.0)), 0, MOST_SMALLER))
