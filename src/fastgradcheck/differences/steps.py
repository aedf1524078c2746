"""The step of every component, and what its differences can be trusted to.

A few components per block are measured on ladders of their own; where their error leaves the
noise, its growth with h gives the truncation, and the step is where truncation and noise balance.
The bar that follows is provisional for all other components: two evaluations say nothing about
their own truncation. It is enough to agree, never to accuse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.plateau import NOISE_SIGMAS, SMOOTH, Settled
from fastgradcheck.differences.schemes import CENTRAL, Scheme
from fastgradcheck.differences.sweep import FIRST_RUNG, climb
from fastgradcheck.evaluation.plans import Stencils
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.problem.bounds import Bounds
from fastgradcheck.problem.parameters import Parameters

TRUNCATION_SPREAD = 10.0
"""Other components of a block may truncate this much more than the calibrated ones."""


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
        Each block's median scale.
    relative : float64 array, shape (blocks,)
        The step of each block, relative to `scale`; nan where `absolute` applies.
    absolute : float64 array, shape (blocks,)
        The user's epsilon of each block; nan where it was left to us.
    truncation : float64 array, shape (blocks,)
        Bound of the truncation error for a relative step of one; it grows as
        ``relative ** order``.
    noise : float
        Standard deviation of J's noise.
    scheme : Scheme
    calibrated : tuple of Settled
        The ladders, which own their bars.
    """

    scale: NDArray[np.float64]
    typical: NDArray[np.float64]
    relative: NDArray[np.float64]
    absolute: NDArray[np.float64]
    truncation: NDArray[np.float64]
    noise: float
    scheme: Scheme
    calibrated: tuple[Settled, ...]

    def by_user(self, block: int) -> bool:
        """Whether the user chose the step of a block."""
        return not np.isnan(self.absolute[block])

    def of(self, index: NDArray[np.int64], block: NDArray[np.int64]) -> NDArray[np.float64]:
        """The step of each component, in theta's units."""
        auto = self.relative[block] * self.scale[index]
        step: NDArray[np.float64] = np.where(
            np.isnan(self.absolute[block]), auto, self.absolute[block]
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


def scales(theta: NDArray[Any], parameters: Parameters) -> NDArray[np.float64]:
    """The scale of each component: |theta_i|, but at least the median size of its block.

    A block of zeros (biases at initialisation) takes the scale of all of theta, or one.
    """
    size: NDArray[np.float64] = np.abs(theta).astype(np.float64, copy=False)
    parts = [size[block.slice] for block in parameters.blocks]
    typical = [_median_size(part) for part in parts]
    if not all(typical):
        overall = _median_size(size) or 1.0
        typical = [own or overall for own in typical]
    for part, own in zip(parts, typical, strict=True):
        np.maximum(part, own, out=part)
    return size


def _median_size(size: NDArray[np.float64]) -> float:
    """The median of what is not zero; 0 if nothing is."""
    positive = size[size > 0]
    return float(np.median(positive, overwrite_input=True)) if len(positive) else 0.0


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


def calibrate(
    stream: Stream,
    parameters: Parameters,
    index: NDArray[np.int64],
    scheme: Scheme,
    absolute: NDArray[np.float64],
    value: float,
    noise: float,
    bounds: Bounds | None,
    scale: NDArray[np.float64],
) -> Steps:
    """Measure the components `index` on ladders and choose the step of every block.

    Blocks without a component in `index` get the most careful step of the others.
    """
    theta = stream.theta
    blocks = len(parameters.blocks)
    typical = np.array([np.median(scale[block.slice]) for block in parameters.blocks])
    if scheme.imaginary:
        relative = np.full(blocks, COMPLEX_STEP)
        return Steps(scale, typical, relative, absolute, np.zeros(blocks), noise, scheme, ())
    settled = climb(
        stream, index, FIRST_RUNG * scale[index], value, noise, bounds, "calibrating"
    )  # fmt: skip
    quotients = _quotients(stream, settled, scheme, value)
    coefficients = np.full(blocks, np.nan)
    # At a kink no step is small enough: it says nothing about the step of the others, and counts
    # only where there is nothing else.
    smooth = [s.kind == SMOOTH for s in settled]
    for s, slopes, counts in zip(settled, quotients, smooth, strict=True):
        if counts or not any(smooth):
            b = parameters.block_index(s.index)
            own = _truncation(s, slopes, scheme.order, noise, float(scale[s.index]))
            coefficients[b] = np.fmax(coefficients[b], own)
    measured = ~np.isnan(coefficients)
    coefficients[~measured] = np.max(coefficients[measured], initial=0.0)
    truncation = TRUNCATION_SPREAD * coefficients
    relative = np.array(
        [_balance(truncation[b], noise, scheme, float(typical[b])) for b in range(blocks)]
    )
    eps = float(np.finfo(theta.dtype).eps)
    relative = np.clip(relative, 64 * eps, FIRST_RUNG)
    return Steps(scale, typical, relative, absolute, truncation, noise, scheme, tuple(settled))


def _balance(truncation: float, noise: float, scheme: Scheme, scale: float) -> float:
    """The relative step at which ``truncation * h^p`` grows as fast as the noise falls."""
    if truncation <= 0:
        return FIRST_RUNG
    loss = NOISE_SIGMAS * scheme.noise_gain * noise / scale
    return float((loss / (scheme.order * truncation)) ** (1 / (scheme.order + 1)))


def _quotients(
    stream: Stream, settled: list[Settled], scheme: Scheme, value: float
) -> list[NDArray[np.float64]]:
    """The scheme's own difference quotients at the ladders' steps."""
    if scheme == CENTRAL:
        return [s.derivatives for s in settled]
    index = np.concatenate([np.full(len(s.steps), s.index) for s in settled])
    steps = np.concatenate([s.steps for s in settled])
    here = stream.theta[index]
    points = scheme.points(here, steps)
    values = stream.values(Stencils(index, points), "calibrating")
    taken = points.astype(np.float64) - here.astype(np.float64)[:, np.newaxis]
    with np.errstate(invalid="ignore", divide="ignore"):
        quotients = scheme.derivative(values, taken, value)
    return np.split(quotients, np.cumsum([len(s.steps) for s in settled])[:-1])


def _truncation(
    settled: Settled, quotients: NDArray[np.float64], order: int, noise: float, scale: float
) -> float:
    """The largest ``error / h^p`` where the error leaves the noise, for h relative to scale.

    Only the four rungs above the first one (from the largest) that is lost in noise count, or
    above the plateau: farther up the series has not begun, and farther down noise itself may look
    like an error.
    """
    error = np.abs(quotients - settled.value)
    visible = error > settled.error + NOISE_SIGMAS * noise / settled.steps
    visible &= np.isfinite(error)
    visible[settled.best :] = False
    near = np.arange(len(visible))[: int(np.argmin(np.append(visible, False)))][-4:]
    if not len(near):
        return 0.0
    return float(np.max(error[near] / (settled.steps[near] / scale) ** order))
