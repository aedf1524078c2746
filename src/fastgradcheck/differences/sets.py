"""Sets of directions through all rows of F at once: those of coarse rows again, at other steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.directions import NOISE_GAIN
from fastgradcheck.differences.draws import CLOSER, DIRECTIONS, RETRIES, ROUGH, WIDER, everything
from fastgradcheck.differences.joint import SHARES, WITHIN
from fastgradcheck.differences.limits import hidden_rows
from fastgradcheck.differences.plateau import NOISE_SIGMAS
from fastgradcheck.differences.rows import Array, Rows, Slopes, along, farthest
from fastgradcheck.differences.screen import CONFIDENCE
from fastgradcheck.evaluation import hashing
from fastgradcheck.problem.norm import norm

SHORTER = 8.0
"""Divisor of the shortest step that was tried, where that met a kink."""


@dataclass(frozen=True, eq=False)
class RowDraws:
    """Directions of all rows; where several sets were tried, each row has its own choice.

    Attributes
    ----------
    sets : tuple of Slopes
    choice : int64 array, shape (d, m)
        Which set counts, for every direction and row.
    """

    sets: tuple[Slopes, ...]
    choice: NDArray[np.int64]

    @classmethod
    def of(cls, first: Slopes) -> RowDraws:
        """A single set."""
        return cls((first,), np.zeros(first.slopes.shape, np.int64))

    def chosen(self, values: list[Array]) -> Array:
        """From values of shape (d, m) of every set, those that count."""
        picked: Array = np.choose(self.choice, values) if len(values) > 1 else values[0]
        return picked

    @property
    def error(self) -> Array:
        return self.chosen([s.error for s in self.sets])

    def improved(self, more: Slopes) -> RowDraws:
        """With another set, where its bars are smaller."""
        better = more.error < self.error
        return RowDraws((*self.sets, more), np.where(better, len(self.sets), self.choice))


def measure(
    rows: Rows,
    moving: Array,
    step: float,
    place: tuple[int, ...],
    coarse: Callable[[Array], NDArray[np.bool_]],
    count: int = DIRECTIONS,
) -> RowDraws:
    """Fresh directions, those of coarse rows again at other steps.

    Parameters
    ----------
    rows : Rows
    moving : float64 array, shape (n,)
        The weight of every entry.
    step : float
    place : tuple of int
        Tells these directions from all others of the same seed.
    coarse : callable
        Which rows are, given the largest bar of each, shape (m,).
    count : int
    """
    region = everything(len(moving))
    keys = np.array([hashing.key(rows.context.seed, *place, d) for d in range(count)])
    draws = RowDraws.of(along(rows, region, keys, np.full(count, step), moving))
    longest = farthest(rows, moving)
    for attempt in range(1, RETRIES + 1):
        mine = np.flatnonzero(coarse(np.max(draws.error, axis=0)))
        other = better_step(draws, mine, rows.noise[mine], longest)
        if other is None:
            break
        keys = np.array([hashing.key(int(key), attempt) for key in keys])
        draws = draws.improved(along(rows, region, keys, np.full(count, other), moving))
    return draws


def better_step(
    draws: RowDraws, rows: NDArray[np.int64], noise: Array, longest: float
) -> float | None:
    """The step that most of some rows need; None if none of them would gain by another one.

    A bar is T h^2 of truncation and N / h of noise, smallest at h^3 = N / 2T. What remains of
    the bar beside N / h tells T. Where a kink made it, the step is a shorter one as well.

    Parameters
    ----------
    draws : RowDraws
    rows : int64 array, shape (k,)
    noise : float64 array, shape (k,)
    longest : float
    """
    worst = np.argmax(draws.error[:, rows], axis=0)
    bar = draws.error[worst, rows]
    tried = np.array([slopes.steps[0] for slopes in draws.sets])
    step = tried[draws.choice[worst, rows]]
    noise = NOISE_GAIN * NOISE_SIGMAS * noise
    truncated = np.maximum(bar - noise / step, 0.0) / step**2
    best = np.cbrt(noise / (2 * truncated))
    # What is rough still after a shorter step has met a kink: again a shorter one.
    rough = bar > ROUGH * noise / step
    best = np.where(rough & (tried.min() < step), np.fmin(best, tried.min() / SHORTER), best)
    best = np.clip(best, tried[0] / CLOSER[-1], np.fmin(WIDER * step, longest))
    gains = ~(truncated * best**2 + noise / best > bar / 2)
    return float(np.exp(np.median(np.log(best[gains])))) if gains.any() else None


def too_coarse(
    bars: Array, sizes: Array, failure: float, threshold: float, part: float
) -> NDArray[np.bool_]:
    """The rows whose bars stand between a check and agreement.

    Parameters
    ----------
    bars, sizes : float64 array, shape (m,)
        The largest bar and the norm of every row, in the directions' weights.
    failure : float
        The probability with which the limits may be wrong.
    threshold : float
        Of the relative difference of all rows together.
    part : float
        So large a part of its own size may be unknown of a row.
    """
    t = (failure / len(bars)) ** (1 / DIRECTIONS) / np.sqrt(2)
    whole = norm(sizes)
    unknown = bars > part * t * np.maximum(sizes, threshold * whole)
    wanted = 2 * WITHIN * threshold * whole * hidden_rows(failure, DIRECTIONS, len(bars))
    if norm(np.minimum(bars, 1e150)) > wanted:
        unknown |= bars > wanted / np.sqrt(len(bars))
    found: NDArray[np.bool_] = unknown
    return found


def failure_of(attempt: int, outputs: int, count: int = DIRECTIONS) -> float:
    """The probability with which the limits of one output may be wrong.

    Half of it is that of all rows together, half that of the rows each. Every set of directions
    has half of the share of the one before, and more of them a share of their own.
    """
    return float((1 - CONFIDENCE) * SHARES[count] / 2 ** (attempt + 2) / outputs)
