"""The step of every component, and the bar that its differences have.

A few components per block are measured by step sweeps; where their error leaves the
noise, its growth with h gives the truncation, and the step is where truncation and noise balance.
The bar that follows is provisional for all other components: two evaluations say nothing about
their own truncation. It is enough to agree, and proves nothing wrong.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.context import Context
from fastgradcheck.differences.plateau import NOISE_SIGMAS, RATIO, SMOOTH, StepSweep
from fastgradcheck.differences.schemes import CENTRAL, Scheme
from fastgradcheck.differences.sweep import LARGEST_STEP, sweep
from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation.plans import Stencils
from fastgradcheck.problem.parameters import Parameters

TRUNCATION_SPREAD = 10.0
"""Other components of a block may truncate this much more than the calibrated ones."""


PASSED = 4.0
"""An error that falls by so many times more than truncation does, from one step to the next, is
that of a kink between the two."""


AMONG_KINKS = 1e-8
"""What noise may leave of a typical slope of a block in which a sweep passed a kink. The shorter
the step is, the fewer components cross one; a longer one tells nothing that matters."""


COMPLEX_STEP = 1e-20
"""Relative; its square is lost beside one, so that truncation is exactly zero in float64."""


@dataclass(frozen=True, eq=False)
class Steps:
    """Steps and provisional bars.

    Attributes
    ----------
    scale : float64 array, shape (n,)
        The scale of each component: |theta_i|, but at least its block's typical size.
    typical : float64 array, shape (blocks,)
        `Context.typical`.
    relative : float64 array, shape (blocks,)
        The step of each block, relative to `scale`; nan where `epsilon` applies.
    epsilon : float64 array, shape (blocks,)
        The user's epsilon of each block; nan where it was left to us.
    truncation : float64 array, shape (blocks,)
        Bound of the truncation error for a relative step of one; it grows as
        ``relative ** order``.
    noise : float
        Standard deviation of J's noise.
    scheme : Scheme
    """

    scale: NDArray[np.float64]
    typical: NDArray[np.float64]
    relative: NDArray[np.float64]
    epsilon: NDArray[np.float64]
    truncation: NDArray[np.float64]
    noise: float
    scheme: Scheme

    @property
    def of_blocks(self) -> NDArray[np.float64]:
        """The step of each block's median component."""
        return np.where(np.isnan(self.epsilon), self.relative * self.typical, self.epsilon)

    def by_user(self, block: int) -> bool:
        """Whether the user chose the step of a block."""
        return not np.isnan(self.epsilon[block])

    def of(self, index: NDArray[np.int64], block: NDArray[np.int64]) -> NDArray[np.float64]:
        """The step of each component, in theta's units."""
        auto = self.relative[block] * self.scale[index]
        step: NDArray[np.float64] = np.where(
            np.isnan(self.epsilon[block]), auto, self.epsilon[block]
        )
        return step

    def bars(
        self,
        index: NDArray[np.int64],
        block: NDArray[np.int64],
        derivative: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """The provisional bar of each component's derivative."""
        scheme = self.scheme
        rounding = 4 * np.finfo(np.float64).eps * np.abs(derivative)
        if scheme.imaginary:
            # Exact to the rounding of J's own operations, of which there may be thousands.
            return 256 * rounding
        step = self.of(index, block)
        truncation = self.truncation[block] * (step / self.scale[index]) ** scheme.order
        bars: NDArray[np.float64] = (
            truncation + NOISE_SIGMAS * scheme.noise_gain * self.noise / step + rounding
        )
        return bars


def choose(
    gradient: NDArray[np.float64], parameters: Parameters, wanted: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """The components that calibrate: of each block the largest |gradient| and a few at random.

    Parameters
    ----------
    gradient : float64 array, shape (n,)
    parameters : Parameters
    wanted : int64 array
        Sorted components that will be measured; only they are chosen from.
    seed : int

    Returns
    -------
    int64 array, sorted
    """
    rng = np.random.default_rng([seed, 1])
    chosen = []
    for block in parameters.blocks:
        low, high = np.searchsorted(wanted, [block.start, block.stop])
        part = wanted[low:high]
        if not len(part):
            continue
        largest = part[np.argmax(np.nan_to_num(np.abs(gradient[part])))]
        count = min(len(part) - 1, 1 + len(part) // 500, 5)
        others = rng.choice(part[part != largest], count, replace=False)
        chosen.append(np.append(others, largest))
    return np.sort(np.concatenate([np.zeros(0, np.int64), *chosen]))


def calibrate(context: Context, index: NDArray[np.int64]) -> tuple[Steps, tuple[StepSweep, ...]]:
    """Measure the components `index` over step sweeps and choose the step of every block.

    Blocks without a component in `index` get the most careful step of the others.
    """
    parameters, scale, scheme = context.parameters, context.scale, context.scheme
    count = len(parameters.blocks)
    epsilon = np.full(count, np.nan) if context.epsilon is None else context.epsilon
    typical = context.typical

    def steps(relative: NDArray[np.float64], truncation: NDArray[np.float64]) -> Steps:
        return Steps(scale, typical, relative, epsilon, truncation, context.noise, scheme)

    if scheme.imaginary:
        return steps(np.full(count, COMPLEX_STEP), np.zeros(count)), ()
    sweeps = sweep(context, index, stage="calibrating")
    coefficients, passed = np.full(count, np.nan), np.zeros(count, bool)
    values: list[list[float]] = [[] for _ in range(count)]
    # At a kink no step is small enough: it says nothing about the step of the others, and counts
    # only where there is nothing else.
    smooth = [s.kind == SMOOTH for s in sweeps]
    for s, slopes, counts in zip(sweeps, _quotients(context, sweeps), smooth, strict=True):
        if counts or not any(smooth):
            b = parameters.block_index(s.index)
            own, kink = _truncation(s, slopes, scheme.order, context.noise, float(scale[s.index]))
            coefficients[b] = np.fmax(coefficients[b], own)
            passed[b] |= kink
            values[b].append(abs(s.value))
    measured = ~np.isnan(coefficients)
    coefficients[~measured] = np.max(coefficients[measured], initial=0.0)
    truncation = TRUNCATION_SPREAD * coefficients
    relative = np.array(
        [_balance(truncation[b], context.noise, scheme, float(typical[b])) for b in range(count)]
    )
    for b in np.flatnonzero(passed).tolist():
        loss = NOISE_SIGMAS * scheme.noise_gain * context.noise / float(typical[b])
        slope = float(np.median(values[b]))
        relative[b] = min(relative[b], loss / (AMONG_KINKS * slope) if slope else np.inf)
    eps = float(np.finfo(context.theta.dtype).eps)
    return steps(np.clip(relative, 64 * eps, LARGEST_STEP), truncation), tuple(sweeps)


def _balance(truncation: float, noise: float, scheme: Scheme, scale: float) -> float:
    """The relative step at which ``truncation * h^p`` grows as fast as the noise falls."""
    if truncation <= 0:
        return LARGEST_STEP
    loss = NOISE_SIGMAS * scheme.noise_gain * noise / scale
    return float((loss / (scheme.order * truncation)) ** (1 / (scheme.order + 1)))


def _quotients(context: Context, sweeps: list[StepSweep]) -> list[NDArray[np.float64]]:
    """The scheme's own difference quotients at the sweeps' steps; nan where J has no value."""
    scheme = context.scheme
    if scheme == CENTRAL:
        return [s.derivatives for s in sweeps]
    index = np.concatenate([np.full(len(s.steps), s.index) for s in sweeps])
    steps = np.concatenate([s.steps for s in sweeps])
    here = context.theta[index]
    points = scheme.points(here, steps)
    if context.bounds is not None:
        low, high = (bound[index][:, np.newaxis] for bound in context.bounds)
        points = np.where((points < low) | (points > high), here[:, np.newaxis], points)
    values = _defined(context, Stencils(index, points))
    taken = points.astype(np.float64) - here.astype(np.float64)[:, np.newaxis]
    with np.errstate(invalid="ignore", divide="ignore"):
        quotients = scheme.derivative(values, taken, context.value)
    quotients[(taken == 0).any(axis=1)] = np.nan
    return np.split(quotients, np.cumsum([len(s.steps) for s in sweeps])[:-1])


def _defined(context: Context, plan: Stencils) -> NDArray[np.float64]:
    """J at the points of a plan, nan where the cost raises: large steps may leave its domain."""
    try:
        return context.stream.values(plan, "calibrating")
    except CostEvaluationError:
        values = np.full((len(plan), plan.width), np.nan)
    for row in range(len(plan)):
        with contextlib.suppress(CostEvaluationError):
            values[row] = context.stream.values(plan.rows(slice(row, row + 1)), "calibrating")[0]
    return values


def _truncation(
    settled: StepSweep, quotients: NDArray[np.float64], order: int, noise: float, scale: float
) -> tuple[float, bool]:
    """The largest ``error / h^p`` where the error leaves the noise, and whether a kink is beyond.

    Steps h are relative to scale. Only the four steps above the first one (from the largest) that
    is lost in noise count, or above the plateau: farther up the series has not begun, and farther
    down noise itself may look like an error. Nor do steps count that cross a kink, where the error
    is not that of a series: this component's kinks say little about the others'.
    """
    error = np.abs(quotients - settled.value)
    doubt = settled.error + NOISE_SIGMAS * noise / settled.steps
    visible = (error > doubt) & np.isfinite(error)
    visible[settled.best :] = False
    count = int(np.argmin(np.append(visible, False)))
    least = np.fmax(error, doubt)[: count + 1]
    falls = least[:-1] > PASSED * RATIO**order * least[1:]
    first = int(np.max(np.flatnonzero(falls) + 1, initial=0))
    near = np.arange(count)[max(first, count - 4) :]
    coefficients = error[near] / (settled.steps[near] / scale) ** order
    return float(np.max(coefficients, initial=0.0)), first > 0
