"""Random directions: every entry of a block covered by a handful of evaluations.

The error of a block's gradient, r = grad - grad J, is probed along random directions v of signed
magnitudes (`fastgradcheck.hashing`): y = grad . v - D_v J = r . v. Two facts make that a proof.
An isolated error never hides, since |y| >= |r_i| / 2. And no error vector hides often: whatever
r is, P(|y| <= t ||r||) <= sqrt(2) t, because the entries of v have densities of at most 1/2
(Livshyts, Paouris, Pivovarov, *On sharp bounds for marginal densities of product measures*,
Israel J. Math. 216 (2016)). So m directions with bars e give

    ||r|| <= (max |y| + e) / t    with probability 1 - (sqrt(2) t)^m.

Every direction is measured at +-h and +-2h and owns its bar, the difference of its two central
differences: the truncation along one direction says nothing about that along another. Where J
takes complex numbers, D_v J = Im J(theta + i h v) / h is exact to rounding after one evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck import hashing
from fastgradcheck.engines.loop import LARGE_REGION
from fastgradcheck.ladder import NOISE_SIGMAS
from fastgradcheck.parameters import Block
from fastgradcheck.plans import Directions, Stencils
from fastgradcheck.problem import Problem
from fastgradcheck.steps import COMPLEX_STEP
from fastgradcheck.stream import Stream

CONFIDENCE = 0.99
"""Of all upper limits together; its complement is shared evenly among the blocks."""
FIRST_LIMIT = 0.9
"""The part of its share that a block's first limit may fail with. Whether directions are added
depends on what the first ones showed, so that each later limit has a part of its own ..."""
LATER_LIMIT = 1 / 18
"""... of this size relative to the first: 0.9 (1 + 1/18 + 1/18) = 1 for two extensions."""
DIRECTIONS = 4
OFFSETS = np.array([1.0, -1.0, 2.0, -2.0])
NOISE_GAIN = 4 / 3 + 1 / 6
"""Of the extrapolated value, (4 D(h) - D(2h)) / 3, times h, for errors of one at each point."""
UNEVEN_GAIN = 2 + 8 + 6
"""Of J(2h) + J(-2h) - 4 (J(h) + J(-h)) + 6 J(0), likewise."""
FIRST_RUNG = 2.0**-9
"""The largest step of the search, relative to a block's typical entry. Five rungs reach 2^-17:
tanh networks settle at 2^-9 (biases) to 2^-15 (a million weights), ReLU networks lower."""
RUNGS = 5
EXTENSION = 3
EXTENSIONS = 3
RETRIES = 3
"""How often the directions of too coarse blocks are measured anew."""
CLOSER = (1.0, 32.0, 2048.0)
"""Divisors of the step where kinks are met, one for every retry: a unit of a ReLU network that is
within 1e-6 of its kink is crossed by half of all directions at any longer step."""
ROUGH = 3.0
"""A bar of this many times its noise part is due to kinks or truncation."""
WIDER = 8.0
SHORTER = (4.0, 16.0)
"""Divisors of the step for directions that must be kept though they cross a kink."""
ROUNDING_UNITS = 16.0
"""In units of the eps of the gradient's dtype: y may be off by this much of ||grad|| when every
entry is rounded. The entries' own last rounding is 0.3, sums within back-propagation a few more,
and y exceeds four standard deviations once in 10,000."""
NEGLIGIBLE = 1e-12
"""Relative rounding that no difference quotient can see."""
BLOCK_WANTED = 5e-3
"""Half of what a block's limit may be at most (`fastgradcheck.judge`)."""
HIDDEN_BELOW = float(1.5 * np.sqrt(2 * np.log(2 / 1e-9)))
"""|y| exceeds this many ||r|| with probability 1e-9 only (Hoeffding, entries below 3/2)."""
BEYOND_DOUBT = 3.0
"""Only what is so many bars large proves anything about a norm: one bar in a thousand misses, and
the threshold is so low that a single miss would exceed it."""
SECOND_MOMENT = 13 / 12
"""E v_i^2 for U[1/2, 3/2)."""
LARGEST = 1.5
"""No |v_i| is larger."""
COMPLEX_ROUNDING = 1024 * float(np.finfo(np.float64).eps)
"""Of an imaginary part, relative to the slopes that it is made of: as for single components
(`fastgradcheck.steps`), J being thousands of operations."""


def region_of(block: Block) -> NDArray[np.int64]:
    """The whole block as a region of a direction."""
    return np.array([block.start, block.columns, 0, block.rows, 0, block.columns], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Screened:
    """What the directions say of one block.

    Attributes
    ----------
    keys : uint64 array, shape (m,)
    steps : float64 array, shape (m,)
    y, error : float64 arrays, shape (m,)
        grad . v - D_v J, and bars.
    failure : float
        The probability with which `upper` may be wrong.
    rounding : float
        What rounding of the gradient itself may contribute to y: no cause for a search.
    confirmed : bool
        Whether entries of the block were seen to differ on ladders: directions alone accuse
        nobody.
    """

    keys: NDArray[np.uint64]
    steps: NDArray[np.float64]
    y: NDArray[np.float64]
    error: NDArray[np.float64]
    failure: float
    rounding: float = 0.0
    confirmed: bool = False

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def hidden(self) -> float:
        """The t for which all |y| <= t ||r|| with probability `failure` at most."""
        return float(self.failure ** (1 / len(self)) / np.sqrt(2))

    @property
    def upper(self) -> float:
        """Upper limit of ||r||."""
        return float(np.max(np.abs(self.y) + self.error) / self.hidden)

    @property
    def reach(self) -> float:
        """What `upper` would be for a correct gradient: the part that the bars contribute."""
        return float(np.max(self.error)) / self.hidden

    @property
    def lower(self) -> float:
        """Lower limit of ||r||, with probability 1 - 1e-9."""
        sure = np.abs(self.y) > BEYOND_DOUBT * (self.error + self.rounding)
        return float(np.max(np.where(sure, np.abs(self.y) - self.error, 0.0)) / HIDDEN_BELOW)

    @property
    def estimate(self) -> float:
        """||r||, from the mean square of y."""
        return float(np.sqrt(np.mean(self.y**2) / SECOND_MOMENT))

    @property
    def isolated(self) -> float:
        """The smallest error of a single entry that would have been seen.

        It contributes at least half of itself to every y, which the bar, and what rounding is
        granted, may hide once and the measurement once more.
        """
        return 4 * (float(np.min(self.error)) + self.rounding)

    @property
    def fails(self) -> bool:
        """Whether some direction disagrees beyond its bar and rounding; NaN does."""
        return not bool(np.all(np.abs(self.y) <= self.error + self.rounding))


@dataclass(frozen=True, eq=False)
class Prober:
    """Measures y along directions on any regions.

    Attributes
    ----------
    problem : Problem
    stream : Stream
    noise : float
        Standard deviation of J's noise.
    scale : float64 array, shape (n,), or None
        Zero for entries that must not move (at their bounds), one for the others.
    room : float64 array, shape (n,), or None
        How far each entry may move to either side.
    imaginary : bool
        Whether directions are measured by complex steps.
    """

    problem: Problem
    stream: Stream
    noise: float
    scale: NDArray[np.float64] | None = None
    room: NDArray[np.float64] | None = None
    imaginary: bool = False

    @cached_property
    def gradient(self) -> NDArray[np.float64]:
        """The claimed gradient, zero where it is no number."""
        claimed = self.problem.gradient
        if np.isfinite(claimed).all():
            return claimed
        return np.nan_to_num(claimed, nan=0.0, posinf=0.0, neginf=0.0)

    def farthest(self, region: NDArray[np.int64]) -> float:
        """The longest step of a region's directions that keeps within the bounds."""
        if self.room is None or self.scale is None:
            return np.inf
        room = within(self.room, region)[within(self.scale, region) > 0]
        # A hundredth is kept for rounding.
        return 0.99 * float(np.min(room, initial=np.inf)) / (LARGEST * float(OFFSETS.max()))

    def signal(
        self,
        regions: NDArray[np.int64],
        keys: NDArray[np.uint64],
        offsets: NDArray[np.float64],
        stage: str,
    ) -> NDArray[np.float64]:
        """What the gradient predicts for J minus what J does, at every point; shape (k, p)."""
        plan = Directions(regions, keys, offsets, self.scale)
        values = self.stream.values(plan, stage)
        predicted = project(self.gradient, self.problem.theta, plan, self.stream.engine.n_jobs)
        signal: NDArray[np.float64] = predicted - (values - self.problem.value)
        return signal

    def exact(
        self,
        regions: NDArray[np.int64],
        keys: NDArray[np.uint64],
        steps: NDArray[np.float64],
        stage: str,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Y and its bar by complex steps, one evaluation for each direction."""
        plan = Directions(regions, keys, 1j * steps[:, np.newaxis], self.scale)
        slope = self.stream.values(plan, stage)[:, 0].imag / steps
        unit = replace(plan, offsets=np.ones((len(keys), 1)))
        # From zero, so that the displacement is v itself.
        origin = np.zeros(self.problem.theta.shape)
        claimed = project(self.gradient, origin, unit, self.stream.engine.n_jobs)[:, 0]
        sizes = [np.linalg.norm(within(self.gradient, region)) for region in regions]
        bar = COMPLEX_ROUNDING * np.maximum(np.abs(slope), sizes)
        return claimed - slope, np.where(np.isfinite(slope), bar, np.inf)

    def __call__(
        self,
        regions: NDArray[np.int64],
        keys: NDArray[np.uint64],
        steps: NDArray[np.float64],
        stage: str = "directions",
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Y and its bar for k directions, each measured at the offsets ``OFFSETS * step``."""
        if self.imaginary:
            return self.exact(regions, keys, steps, stage)
        offsets = steps[:, np.newaxis] * OFFSETS
        return five_point(self.signal(regions, keys, offsets, stage), steps, self.noise)

    def rounding(self, regions: NDArray[np.int64], level: float) -> NDArray[np.float64]:
        """What relative errors of this size in every entry of the gradient add to y at most."""
        if level < NEGLIGIBLE:
            return np.zeros(len(regions))
        return np.array([level * np.linalg.norm(within(self.gradient, r)) for r in regions])

    def sharpened(
        self,
        regions: NDArray[np.int64],
        keys: NDArray[np.uint64],
        steps: NDArray[np.float64],
        expected: float,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Y and bars, measured again with shorter steps where a bar is larger than expected."""
        y, error = self(regions, keys, steps, "locating")
        for shorter in SHORTER:
            rows = np.flatnonzero(error > 2 * expected)
            if not len(rows):
                break
            again, bar = self(regions[rows], keys[rows], steps[rows] / shorter, "locating")
            better = bar < error[rows]
            y[rows[better]], error[rows[better]] = again[better], bar[better]
        return y, error

    def entries(
        self, index: NDArray[np.int64], steps: NDArray[np.float64], stage: str = "locating"
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same for single entries: grad - gradapprox, and its bar.

        Steps are shortened where an entry has no room for them; one without any room has an
        infinite bar.
        """
        theta = self.stream.theta
        if self.room is not None:
            steps = np.minimum(steps, 0.99 * self.room[index] / OFFSETS.max())
        here = theta[index][:, np.newaxis]
        points = (here + steps[:, np.newaxis] * OFFSETS).astype(theta.dtype)
        values = self.stream.values(Stencils(index, points), stage)
        taken = points.astype(np.float64) - here.astype(np.float64)
        signal = self.gradient[index][:, np.newaxis] * taken - (values - self.problem.value)
        y, error = five_point(signal, np.where(steps > 0, steps, 1.0), self.noise)
        return y, np.where(steps > 0, error, np.inf)


def five_point(
    signal: NDArray[np.float64], steps: NDArray[np.float64], noise: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The slope of a signal that is zero at zero, from its values at ``OFFSETS * steps``.

    Parameters
    ----------
    signal : float64 array, shape (k, 4)
    steps : float64 array, shape (k,)
    noise : float
        Standard deviation of one value.

    Returns
    -------
    slope, bar : float64 arrays, shape (k,)
        The five-point slope; the bar is the difference of the two central ones, plus what kinks
        and noise add. A kink anywhere between moves the slope by at most the first two.
    """
    near = (signal[:, 0] - signal[:, 1]) / (2 * steps)
    far = (signal[:, 2] - signal[:, 3]) / (4 * steps)
    # J(2h) - 2J + J(-2h) is four times J(h) - 2J + J(-h), but for kinks (and h^4).
    uneven = np.abs(signal[:, 2] + signal[:, 3] - 4 * (signal[:, 0] + signal[:, 1]))
    kinks = np.maximum(uneven - UNEVEN_GAIN * NOISE_SIGMAS * noise, 0.0)
    bar = np.abs(near - far) + (kinks + NOISE_GAIN * NOISE_SIGMAS * noise) / steps
    bar = np.where((signal == 0).all(axis=1), 0.0, bar)
    return (4 * near - far) / 3, np.where(np.isfinite(bar), bar, np.inf)


def project(
    covector: NDArray[np.float64], theta: NDArray[Any], plan: Directions, threads: int
) -> NDArray[np.float64]:
    """Covector . (theta' - theta) for every point theta' of a plan, displacements as taken."""
    sizes = (plan.regions[:, 3] - plan.regions[:, 2]) * (plan.regions[:, 5] - plan.regions[:, 4])
    if sizes.max() > LARGE_REGION:
        from fastgradcheck.engines import kernels

        arguments = (plan.regions, plan.keys, plan.offsets, plan.scale, threads)
        return kernels.project(covector, theta, *arguments)
    sums = np.empty(plan.offsets.shape)
    for row, region in enumerate(plan.regions):
        index = entries(region)
        v = hashing.direction(plan.keys[row], index)
        if plan.scale is not None:
            v = v * plan.scale[index]
        here = theta[index]
        for place, offset in enumerate(plan.offsets[row]):
            moved = (here + offset * v).astype(here.dtype).astype(np.float64)
            sums[row, place] = covector[index] @ (moved - here)
    return sums


def within(array: NDArray[np.float64], region: NDArray[np.int64]) -> NDArray[np.float64]:
    """The entries of a region, as a view of shape (rows, columns)."""
    start, columns, row0, row1, column0, column1 = (int(x) for x in region)
    rows = array[start + row0 * columns : start + row1 * columns].reshape(-1, columns)
    return rows[:, column0:column1]


def entries(region: NDArray[np.int64]) -> NDArray[np.int64]:
    """The flat indices of a region, row by row."""
    start, columns, row0, row1, column0, column1 = (int(x) for x in region)
    rows = start + columns * np.arange(row0, row1)[:, np.newaxis]
    index: NDArray[np.int64] = (rows + np.arange(column0, column1)).reshape(-1)
    return index


def screen(
    prober: Prober,
    blocks: Sequence[int],
    scale: NDArray[np.float64],
    seed: int,
    wanted: float,
) -> dict[int, Screened]:
    """Cover blocks by random directions.

    Parameters
    ----------
    prober : Prober
    blocks : sequence of int
        Which blocks, by number.
    scale : float64 array, shape (n,)
        The scale of every component; a block's median is where the search for its step begins.
    seed : int
    wanted : float
        The relative difference that the limits should reach: coarser blocks try longer steps.

    Returns
    -------
    dict of block number to Screened
    """
    if not blocks:
        return {}
    every = prober.problem.parameters.blocks
    regions = np.array([region_of(every[b]) for b in blocks])
    typical = np.array([np.median(scale[every[b].slice]) for b in blocks])
    if prober.imaginary:
        steps = COMPLEX_STEP * typical
    else:
        first = np.fmin(FIRST_RUNG * typical, [prober.farthest(region) for region in regions])
        steps = calibrate(prober, regions, first, blocks, seed)
    which = np.repeat(np.arange(len(blocks)), DIRECTIONS)
    keys = np.array([hashing.key(seed, b, d) for b in blocks for d in range(DIRECTIONS)])
    y, error = prober(regions[which], keys, steps[which])
    draws = Draws(which, keys, steps[which], y, error)
    norms = np.array([np.linalg.norm(prober.gradient[every[b].slice]) for b in blocks])
    failure = FIRST_LIMIT * (1 - CONFIDENCE) / len(blocks)
    for attempt in range(1, RETRIES + 1):
        screened = draws.screened(blocks, failure)
        uppers = np.array([screened[b].reach for b in blocks])
        coarse = _too_coarse(uppers, norms, wanted)
        if not coarse.any():
            break
        draws = _retried(prober, draws, regions, coarse, attempt)
    level = ROUNDING_UNITS * prober.problem.gradient_eps
    allowed = prober.rounding(regions, level)
    return {
        b: replace(screened, rounding=float(allowed[k]))
        for k, (b, screened) in enumerate(draws.screened(blocks, failure).items())
    }


def extended(prober: Prober, screened: Screened, block: int, seed: int) -> Screened:
    """As many directions again, twice at most: the limit comes closer to what it limits."""
    first = len(screened) == DIRECTIONS
    region = region_of(prober.problem.parameters.blocks[block])
    count = len(screened)
    keys = np.array([hashing.key(seed, block, 1000 + count + d) for d in range(count)])
    steps = np.full(count, float(np.median(screened.steps)))
    y, error = prober(np.repeat(region[np.newaxis], count, axis=0), keys, steps)
    return replace(
        screened,
        keys=np.append(screened.keys, keys),
        steps=np.append(screened.steps, steps),
        y=np.append(screened.y, y),
        error=np.append(screened.error, error),
        failure=screened.failure * (LATER_LIMIT if first else 1.0),
    )


def _too_coarse(
    uppers: NDArray[np.float64], norms: NDArray[np.float64], wanted: float
) -> NDArray[np.bool_]:
    """The blocks whose bars stand between the check and agreement."""
    loose = uppers > 2 * BLOCK_WANTED * norms
    allowed = 2 * wanted * float(np.linalg.norm(norms))
    if np.linalg.norm(uppers) > allowed:
        loose |= uppers > allowed / np.sqrt(len(uppers))
    return loose & (uppers > 0)


def _retried(
    prober: Prober,
    draws: Draws,
    regions: NDArray[np.int64],
    coarse: NDArray[np.bool_],
    attempt: int,
) -> Draws:
    """Measure the coarse directions of coarse blocks again, and keep what has the smaller bar.

    Where noise rules, the steps were too short: longer ones. Where roughness rules, the direction
    crossed a kink: another direction, and shorter steps, at once if all directions of a block are
    rough, which kinks rarely do and truncation does. It is chosen by how smooth J is along it,
    never by y, so that the limits hold.
    """
    worst = np.zeros(len(regions))
    np.maximum.at(worst, draws.which, draws.error)
    rough = draws.error > ROUGH * NOISE_GAIN * NOISE_SIGMAS * prober.noise / draws.steps
    fine = ~rough & (draws.error < worst[draws.which] / 2)
    rows = np.flatnonzero(coarse[draws.which] & ~fine)
    smooth = np.bincount(draws.which, ~rough, len(regions))
    level = np.minimum(attempt - 1 + (smooth == 0), RETRIES - 1)[draws.which[rows]]
    steps, keys, rough = draws.steps[rows], draws.keys[rows], rough[rows]
    fresh = np.array([hashing.key(int(key), attempt) for key in keys], np.uint64)
    # The second time a longer step is tried, the first one met a kink.
    keys = np.where(rough | (attempt > 1), fresh, keys)
    farthest = np.array([prober.farthest(region) for region in regions])[draws.which[rows]]
    longer = np.fmin(WIDER * steps, farthest)
    steps = np.where(rough, steps / np.array(CLOSER)[level], longer)
    y, error = prober(regions[draws.which[rows]], keys, steps)
    return draws.improved(rows, keys, steps, y, error)


@dataclass(frozen=True, eq=False)
class Draws:
    """Directions of several blocks, flat: which block, key, step, y and bar of each."""

    which: NDArray[np.int64]
    keys: NDArray[np.uint64]
    steps: NDArray[np.float64]
    y: NDArray[np.float64]
    error: NDArray[np.float64]

    def improved(
        self,
        rows: NDArray[np.int64],
        keys: NDArray[np.uint64],
        steps: NDArray[np.float64],
        y: NDArray[np.float64],
        error: NDArray[np.float64],
    ) -> Draws:
        """New measurements in the place of these rows, where their bars are smaller."""
        better = error < self.error[rows]
        merged = replace(
            self,
            keys=self.keys.copy(),
            steps=self.steps.copy(),
            y=self.y.copy(),
            error=self.error.copy(),
        )
        where = rows[better]
        merged.keys[where], merged.steps[where] = keys[better], steps[better]
        merged.y[where], merged.error[where] = y[better], error[better]
        return merged

    def screened(self, blocks: Sequence[int], failure: float) -> dict[int, Screened]:
        return {
            b: Screened(
                self.keys[mine],
                self.steps[mine],
                self.y[mine],
                self.error[mine],
                failure,
            )
            for b, mine in ((b, self.which == k) for k, b in enumerate(blocks))
        }


def calibrate(
    prober: Prober,
    regions: NDArray[np.int64],
    first: NDArray[np.float64],
    blocks: Sequence[int],
    seed: int,
) -> NDArray[np.float64]:
    """The step of each region's directions, from one direction each.

    Central differences fall by factors of four; where two neighbours differ least, noise
    included, is the step.
    """
    keys = np.array([hashing.key(seed, b, -1) for b in blocks])
    steps = first[:, np.newaxis] / 4.0 ** np.arange(RUNGS)
    y = _central(prober, regions, keys, steps)
    best = _best(y, steps, prober.noise)
    for _ in range(EXTENSIONS):
        more = np.flatnonzero(best >= steps.shape[1] - 1)
        if not len(more):
            break
        smaller = steps[:, -1:] / 4.0 ** np.arange(1, EXTENSION + 1)
        grown = np.full(smaller.shape, np.nan)
        grown[more] = _central(prober, regions[more], keys[more], smaller[more])
        steps, y = np.hstack([steps, smaller]), np.hstack([y, grown])
        best = _best(y, steps, prober.noise)
    chosen: NDArray[np.float64] = steps[np.arange(len(best)), best]
    return chosen


def _central(
    prober: Prober,
    regions: NDArray[np.int64],
    keys: NDArray[np.uint64],
    steps: NDArray[np.float64],
) -> NDArray[np.float64]:
    offsets = np.stack([steps, -steps], axis=2).reshape(len(steps), -1)
    signal = prober.signal(regions, keys, offsets, "calibrating")
    central: NDArray[np.float64] = (signal[:, 0::2] - signal[:, 1::2]) / (2 * steps)
    return central


def _best(y: NDArray[np.float64], steps: NDArray[np.float64], noise: float) -> NDArray[np.int64]:
    """The rung with the smallest bar to expect at h and 2h.

    The truncation T h^2 of a smooth J shows as 15 T h^2 against the rung above and as 15/16 T h^2
    against the one below, and enters the bar as 3 T h^2; kinks show at random in both.
    """
    change = np.abs(np.diff(y, axis=1))
    below = np.hstack([change[:, 1:], np.zeros((len(y), 1))])
    bars = np.fmax(change / 5, 3 * below) + NOISE_GAIN * NOISE_SIGMAS * noise / steps[:, 1:]
    bars = np.where(np.isfinite(bars), bars, np.inf)
    best: NDArray[np.int64] = np.argmin(bars, axis=1) + 1
    return best
