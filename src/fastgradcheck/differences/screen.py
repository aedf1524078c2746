"""Random directions: every entry of a region covered by a handful of evaluations.

`fastgradcheck.differences.joint` sends them through all blocks at once; here are the limits of one
set of them, and sets for each block by itself, as complex steps take them.

The error of a block's gradient, r = grad - grad J, is probed along random directions v of signed
magnitudes (`evaluation.hashing`): y = grad . v - D_v J = r . v. Two facts make that a proof. An
isolated error never hides, since |y| >= |r_i| / 2. And no error vector hides often: whatever r is,
P(|y| <= t ||r||) <= sqrt(2) t, because the entries of v have densities of at most 1/2
(Livshyts, Paouris, Pivovarov, *On sharp bounds for marginal densities of product measures*,
Israel J. Math. 216 (2016)). So m directions with bars e give

    ||r|| <= (max |y| + e) / t    with probability 1 - (sqrt(2) t)^m.

Every direction is measured at +-h and +-2h and owns its bar, the difference of its two central
differences: the truncation along one direction says nothing about that along another. Where J
takes complex numbers, D_v J = Im J(theta + i h v) / h is exact to rounding after one evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.directions import NOISE_GAIN, Prober
from fastgradcheck.differences.plateau import NOISE_SIGMAS
from fastgradcheck.differences.steps import COMPLEX_STEP
from fastgradcheck.evaluation import hashing
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.region import CHUNK, region_of

CONFIDENCE = 0.99
"""Of all upper limits together. Sets of directions for each block by itself share its complement
evenly; joint directions have all of it."""


FIRST_LIMIT = 0.9
"""The part of its share that a block's first limit may fail with. Whether directions are added
depends on what the first ones showed, so that each later limit has a part of its own ..."""


LATER_LIMIT = 1 / 18
"""... of this size relative to the first: 0.9 (1 + 1/18 + 1/18) = 1 for two extensions."""


DIRECTIONS = 4


FIRST_STEP = 2.0**-9
"""The largest step of the search, relative to a block's typical entry. Five of them reach 2^-17:
tanh networks end at 2^-9 (biases) to 2^-15 (a million weights), ReLU networks lower."""


STEPS = 5


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


ROUNDING_UNITS = 16.0
"""In units of the eps of the gradient's dtype: y may be off by this much of ||grad|| when every
entry is rounded. The entries' own last rounding is 0.3, sums within back-propagation a few more,
and y exceeds four standard deviations once in 10,000."""


BLOCK_WANTED = 5e-3
"""Half of what a block's limit may be at most (`fastgradcheck.verdict.rules`)."""


SEEN_UNITS = 4.0
"""The same, in units of how far an ulp of theta was seen to move the gradient: four standard
deviations."""


HIDDEN_BELOW = float(1.5 * np.sqrt(2 * np.log(2 / 1e-9)))
"""|y| exceeds this many ||r|| with probability 1e-9 only (Hoeffding, entries below 3/2)."""


BEYOND_DOUBT = 3.0
"""Only what is so many bars large proves anything about a norm: one bar in a thousand misses, and
the threshold is so low that a single miss would exceed it."""
SECOND_MOMENT = 13 / 12
"""E v_i^2 for U[1/2, 3/2)."""


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
    claimed : float64 array, shape (m,), or empty
        grad . v along the same directions; empty where nobody asked for it.
    """

    keys: NDArray[np.uint64]
    steps: NDArray[np.float64]
    y: NDArray[np.float64]
    error: NDArray[np.float64]
    failure: float
    rounding: float = 0.0
    claimed: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

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
    def isolated(self) -> float:
        """The smallest error of a single entry that would have been seen.

        It contributes at least half of itself to every y, which the bar, and what rounding is
        granted, may hide once and the measurement once more.
        """
        return 4 * (float(np.min(self.error)) + self.rounding)

    def moved(self, start: int, change: NDArray[np.float64]) -> Screened:
        """The same, had the claim been larger by so much in the entries from `start` on."""
        shift = np.zeros(len(self))
        for first in range(0, len(change), CHUNK):
            part = change[first : first + CHUNK]
            if part.any():
                index = np.arange(start + first, start + first + len(part))
                shift += [hashing.direction(key, index) @ part for key in self.keys]
        return replace(self, y=self.y + shift)

    @property
    def fails(self) -> bool:
        """Whether some direction disagrees beyond its bar and rounding; NaN does."""
        return not bool(np.all(np.abs(self.y) <= self.error + self.rounding))


def screen(
    prober: Prober,
    blocks: Sequence[int],
    wanted: float,
) -> dict[int, Screened]:
    """Cover blocks by random directions.

    Parameters
    ----------
    prober : Prober
    blocks : sequence of int
        Which blocks, by number.
    wanted : float
        The relative difference that the limits should reach: coarser blocks try longer steps.

    Returns
    -------
    dict of block number to Screened
    """
    if not blocks:
        return {}
    every, seed = (
        prober.context.parameters.blocks,
        prober.context.seed,
    )
    regions = np.array([region_of(every[b]) for b in blocks])
    typical = prober.context.typical[list(blocks)]
    if prober.imaginary:
        steps = COMPLEX_STEP * typical
    else:
        first = np.fmin(FIRST_STEP * typical, [prober.farthest(region) for region in regions])
        steps = calibrate(prober, regions, first, blocks, seed)
    which = np.repeat(np.arange(len(blocks)), DIRECTIONS)
    keys = np.array([hashing.key(seed, b, d) for b in blocks for d in range(DIRECTIONS)])
    y, error = prober(regions[which], keys, steps[which])
    draws = Draws(which, keys, steps[which], y, error)
    norms = np.array([norm(prober.gradient[every[b].slice]) for b in blocks])
    failure = FIRST_LIMIT * (1 - CONFIDENCE) / len(blocks)
    for attempt in range(1, RETRIES + 1):
        screened = draws.screened(blocks, failure)
        uppers = np.array([screened[b].reach for b in blocks])
        coarse = _too_coarse(uppers, norms, wanted)
        if not coarse.any():
            break
        draws = retried(prober, draws, regions, coarse, attempt)
    level = ROUNDING_UNITS * prober.problem.gradient_eps
    allowed = prober.rounding(regions, level)
    if prober.problem.rounding is not None:
        allowed = np.maximum(allowed, SEEN_UNITS * prober.problem.rounding[blocks])
    return {
        b: replace(
            screened,
            rounding=float(allowed[k]),
            claimed=prober.claimed(regions[k], screened.keys),
        )
        for k, (b, screened) in enumerate(draws.screened(blocks, failure).items())
    }


def extended(prober: Prober, screened: Screened, block: int) -> Screened:
    """As many directions again, twice at most: the limit comes closer to what it limits."""
    first, seed = len(screened) == DIRECTIONS, prober.context.seed
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
        claimed=np.append(screened.claimed, prober.claimed(region, keys)),
        failure=screened.failure * (LATER_LIMIT if first else 1.0),
    )


def _too_coarse(
    uppers: NDArray[np.float64], norms: NDArray[np.float64], wanted: float
) -> NDArray[np.bool_]:
    """The blocks whose bars stand between the check and agreement."""
    loose = uppers > 2 * BLOCK_WANTED * norms
    allowed = 2 * wanted * float(norm(norms))
    if norm(uppers) > allowed:
        loose |= uppers > allowed / np.sqrt(len(uppers))
    return loose & (uppers > 0)


def retried(
    prober: Prober,
    draws: Draws,
    regions: NDArray[np.int64],
    coarse: NDArray[np.bool_],
    attempt: int,
    enough: float = 0.0,
) -> Draws:
    """Measure the coarse directions of coarse blocks again, and keep what has the smaller bar.

    Where noise rules, the steps were too short: longer ones. Where roughness rules, the direction
    crossed a kink: another direction, and shorter steps, at once if all directions of a block are
    rough, which kinks rarely do and truncation does. It is chosen by how smooth J is along it,
    never by y, so that the limits hold. Bars up to `enough` are left alone.
    """
    worst = np.zeros(len(regions))
    np.maximum.at(worst, draws.which, draws.error)
    rough = draws.error > ROUGH * NOISE_GAIN * NOISE_SIGMAS * prober.noise / draws.steps
    fine = ~rough & (draws.error < worst[draws.which] / 2)
    rows = np.flatnonzero(coarse[draws.which] & ~fine & (draws.error > enough))
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

    def joined(self, more: Draws) -> Draws:
        """Both."""
        return Draws(
            *(np.append(getattr(self, f.name), getattr(more, f.name)) for f in fields(self))
        )

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
    steps = first[:, np.newaxis] / 4.0 ** np.arange(STEPS)
    y = central(prober, regions, keys, steps)
    best = _best(y, steps, prober.noise)
    for _ in range(EXTENSIONS):
        more = np.flatnonzero(best >= steps.shape[1] - 1)
        if not len(more):
            break
        smaller = steps[:, -1:] / 4.0 ** np.arange(1, EXTENSION + 1)
        grown = np.full(smaller.shape, np.nan)
        grown[more] = central(prober, regions[more], keys[more], smaller[more])
        steps, y = np.hstack([steps, smaller]), np.hstack([y, grown])
        best = _best(y, steps, prober.noise)
    chosen: NDArray[np.float64] = steps[np.arange(len(best)), best]
    return chosen


def central(
    prober: Prober,
    regions: NDArray[np.int64],
    keys: NDArray[np.uint64],
    steps: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Y along each direction by central differences over each of its steps."""
    offsets = np.stack([steps, -steps], axis=2).reshape(len(steps), -1)
    signal = prober.signal(regions, keys, offsets, "calibrating")
    slopes: NDArray[np.float64] = (signal[:, 0::2] - signal[:, 1::2]) / (2 * steps)
    return slopes


def expected(
    y: NDArray[np.float64], steps: NDArray[np.float64], noise: float
) -> NDArray[np.float64]:
    """The bars to expect of directions at h and 2h, for every step h but the first.

    The truncation T h^2 of a smooth J shows as 15 T h^2 against the step above and as 15/16 T h^2
    against the one below, and enters the bar as 3 T h^2; kinks show at random in both.
    """
    change = np.abs(np.diff(y, axis=1))
    below = np.hstack([change[:, 1:], np.zeros((len(y), 1))])
    bars = np.fmax(change / 5, 3 * below) + NOISE_GAIN * NOISE_SIGMAS * noise / steps[:, 1:]
    return np.where(np.isfinite(bars), bars, np.inf)


def _best(y: NDArray[np.float64], steps: NDArray[np.float64], noise: float) -> NDArray[np.int64]:
    """The step with the smallest bar to expect, of each direction."""
    best: NDArray[np.int64] = np.argmin(expected(y, steps, noise), axis=1) + 1
    return best
