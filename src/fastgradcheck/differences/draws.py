"""How random directions are measured: at which steps, and which of them are drawn anew.

A direction is kept or drawn anew by how smooth J is along it, never by y, so that the limits of
`differences.screen` hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.directions import NOISE_GAIN, OFFSETS, ON_KINKS, Prober, five_point
from fastgradcheck.differences.plateau import NOISE_SIGMAS
from fastgradcheck.evaluation import hashing
from fastgradcheck.problem.region import Region

DIRECTIONS = 4
FIRST = 64.0
"""The first of the steps tried, relative to the middle one; each is a quarter of the one before."""
STEPS = 4
"""So many are tried at first, and smaller ones as long as they may be better ..."""
MOST_STEPS = 14
"""... up to so many."""
CALIBRATED = 2
"""Directions that choose the step: at a single one, a kink may lie anywhere."""
RETRIES = 3
"""How often directions with too large bars are measured anew."""
CLOSER = (1.0, 32.0, 2048.0)
"""Divisors of the step where kinks are met, one for every retry: a unit of a ReLU network that is
within 1e-6 of its kink is crossed by half of all directions at any longer step."""
ROUGH = 3.0
"""A bar of this many times its noise part is due to kinks or truncation."""
WIDER = 8.0
EVEN_GAIN = (4 * 16 + 4) / 3
"""Of (4 e(h/4) - e(h)) / 3, e(h) being (J(h) + J(-h) - 2 J(0)) / h, times h, for errors of one at
each point."""


@dataclass(frozen=True, eq=False)
class Draws:
    """Directions as measured: key, step, y and bar of each, arrays of shape (m,).

    `signal`, of shape (m, 4), is what y and its bar were read off: at every point, what the
    gradient predicts for J minus what J does. Complex steps have none, (m, 0); where theta stands
    on kinks it has the points `ON_KINKS`, (m, 6).
    """

    keys: NDArray[np.uint64]
    steps: NDArray[np.float64]
    y: NDArray[np.float64]
    error: NDArray[np.float64]
    signal: NDArray[np.float64]

    @property
    def on_kinks(self) -> bool:
        """Whether y is the claim minus the middle of the slopes on both sides of theta."""
        return bool(self.signal.shape[1] == len(ON_KINKS))

    def with_subgradients(self) -> Draws:
        """The same on kinks, with bars that hold all slopes between those of both sides."""
        even = np.abs(self.signal[:, 0::2] + self.signal[:, 1::2])
        jump = np.max(even / (self.steps[:, np.newaxis] * ON_KINKS[0::2]), axis=1)
        error, signal = self.error + jump / 2, self.signal[:, : len(OFFSETS)]
        return replace(self, error=error, signal=signal)

    def joined(self, more: Draws) -> Draws:
        """Both."""
        return Draws(
            *(np.concatenate([getattr(self, f.name), getattr(more, f.name)]) for f in fields(self))
        )

    def improved(self, rows: NDArray[np.int64], new: Draws) -> Draws:
        """New measurements in the place of these rows, where their bars are smaller."""
        better = new.error < self.error[rows]
        merged = {}
        for f in fields(self):
            merged[f.name] = getattr(self, f.name).copy()
            merged[f.name][rows[better]] = getattr(new, f.name)[better]
        return Draws(**merged)


@dataclass(frozen=True, eq=False)
class Calibration:
    """The step that was chosen, and what the directions that chose it have shown at it.

    Attributes
    ----------
    step : float
    keys : uint64 array, shape (k,)
    signal : float64 array, shape (k, 2)
        As in `Draws`, at one step to either side; k is zero where nothing can be used again.
    on_kinks : bool
        Whether theta stands on kinks of J: directions then have the points `ON_KINKS`.
    """

    step: float
    keys: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    signal: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    on_kinks: bool = False

    @property
    def points(self) -> NDArray[np.float64]:
        """Where directions are measured, in steps."""
        return ON_KINKS if self.on_kinks else OFFSETS

    def alone(self) -> Calibration:
        """The step, for other directions than those that chose it."""
        return Calibration(self.step, on_kinks=self.on_kinks)


def everything(size: int) -> Region:
    """All of theta as a region of one row."""
    return np.array([0, size, 0, 1, 0, size], dtype=np.int64)


def repeated(size: int, count: int) -> NDArray[np.int64]:
    """The regions of so many directions over all of theta."""
    return np.repeat(everything(size)[np.newaxis], count, axis=0)


def measure(
    prober: Prober,
    chosen: Calibration,
    place: tuple[int, ...],
    enough: float,
    count: int = DIRECTIONS,
) -> Draws:
    """So many directions over all that moves, those anew that are too coarse.

    Parameters
    ----------
    prober : Prober
        With the weights of the entries.
    chosen : Calibration
        The step; the directions that it has are the first of the count, and are completed.
    place : tuple of int
        What tells these directions from all others of the check.
    enough : float
        Bars up to this need not be sharper.
    count : int
    """
    seed, known = prober.context.seed, len(chosen.keys)
    fresh = np.array([hashing.key(seed, *place, d) for d in range(known, count)])
    draws = _measured(prober, fresh, np.full(len(fresh), chosen.step), chosen.points)
    if known:
        draws = _completed(prober, chosen).joined(draws)
    for attempt in range(1, RETRIES + 1):
        # Complex steps neither truncate nor meet kinks.
        if prober.imaginary or not draws.error.max() > enough:
            break
        draws = retried(prober, draws, attempt, enough)
    return draws


def _completed(prober: Prober, chosen: Calibration) -> Draws:
    """The directions that chose the step, with the points that they lack.

    The step was chosen by how smooth J is along them, never by y, and they were not chosen at all.
    """
    steps = np.full(len(chosen.keys), chosen.step)
    regions = repeated(prober.context.parameters.size, len(steps))
    offsets = steps[:, np.newaxis] * chosen.points[2:]
    signal = prober.signal(regions, chosen.keys, offsets, "directions")
    return read_off(prober, chosen.keys, steps, np.hstack([chosen.signal, signal]))


def retried(prober: Prober, draws: Draws, attempt: int, enough: float) -> Draws:
    """Measure the coarse directions again, and keep what has the smaller bar.

    Where noise rules, the steps were too short: longer ones. Where roughness rules, the direction
    crossed a kink: another direction, and shorter steps, at once if all directions are rough,
    which kinks rarely do and truncation does. Bars up to `enough` are left alone.
    """
    rough = draws.error > ROUGH * NOISE_GAIN * NOISE_SIGMAS * prober.noise / draws.steps
    fine = ~rough & (draws.error < draws.error.max() / 2)
    rows = np.flatnonzero(~fine & (draws.error > enough))
    closer = CLOSER[min(attempt - 1 + int(rough.all()), RETRIES - 1)]
    steps, keys, rough = draws.steps[rows], draws.keys[rows], rough[rows]
    fresh = np.array([hashing.key(int(key), attempt) for key in keys], np.uint64)
    # The second time a longer step is tried, the first one met a kink.
    keys = np.where(rough | (attempt > 1), fresh, keys)
    farthest = prober.farthest(everything(prober.context.parameters.size))
    steps = np.where(rough, steps / closer, np.fmin(WIDER * steps, farthest))
    points = ON_KINKS if draws.on_kinks else OFFSETS
    return draws.improved(rows, _measured(prober, keys, steps, points))


def choose_step(prober: Prober, middle: float, place: tuple[int, ...]) -> Calibration:
    """The step of directions over all that moves, from two of them.

    Where the bars to expect are smallest at both together is the step. Smaller ones are tried
    until noise alone makes their bars larger. Complex steps truncate nothing: for these it is the
    middle one. Theta stands on kinks of J if both directions show one that no step leaves behind.
    """
    if prober.imaginary:
        return Calibration(middle)
    seed = prober.context.seed
    keys = np.array([hashing.key(seed, *place, -1, d) for d in range(CALIBRATED)])
    first = min(FIRST * middle, prober.farthest(everything(prober.context.parameters.size)))
    steps: NDArray[np.float64] = first / 4.0 ** np.arange(MOST_STEPS, dtype=np.float64)
    with np.errstate(divide="ignore"):
        noise = np.log(NOISE_GAIN * NOISE_SIGMAS * prober.noise / steps)
    signal = _either_side(prober, keys, steps[:STEPS])
    while True:
        count = signal.shape[1]
        y = (signal[:, :, 0] - signal[:, :, 1]) / (2 * steps[:count])
        with np.errstate(divide="ignore"):
            bars = np.log(expected(y, steps[np.newaxis, :count], prober.noise)).mean(axis=0)
        best = int(np.argmin(bars)) + 1
        if count == MOST_STEPS or not noise[count] < bars[best - 1]:
            on_kinks = _on_kinks(signal[:, best - 1 :], steps[best - 1 : count], prober.noise)
            return Calibration(float(steps[best]), keys, signal[:, best], on_kinks)
        signal = np.hstack([signal, _either_side(prober, keys, steps[count : count + 1])])


def _on_kinks(signal: NDArray[np.float64], steps: NDArray[np.float64], noise: float) -> bool:
    """Whether E(h) / h, which falls with h where J is smooth, tends to something else.

    E(h) is J(h) + J(-h) - 2 J(0).

    Parameters
    ----------
    signal : float64 array, shape (k, s, 2)
        At so many steps to either side of theta: the one before the chosen step, that, and all
        after it.
    steps : float64 array, shape (s,)
        Each is a quarter of the one before.
    noise : float
    """
    with np.errstate(invalid="ignore"):
        even = signal.sum(axis=2) / steps
        # From the values at h and h/4, without what falls with h.
        limits = (4 * even[:, 1:] - even[:, :-1]) / 3
        sure = np.abs(limits) > ROUGH * EVEN_GAIN * NOISE_SIGMAS * noise / steps[:-1]
        stays = np.abs(np.diff(limits[:, :2])) < np.abs(limits[:, :1])
    return bool(sure[:, 0].all() and stays.all())


def _measured(
    prober: Prober,
    keys: NDArray[np.uint64],
    steps: NDArray[np.float64],
    points: NDArray[np.float64],
) -> Draws:
    regions = repeated(prober.context.parameters.size, len(keys))
    if prober.imaginary:
        y, error = prober.exact(regions, keys, steps, "directions")
        return Draws(keys, steps, y, error, np.zeros((len(keys), 0)))
    signal = prober.signal(regions, keys, steps[:, np.newaxis] * points, "directions")
    return read_off(prober, keys, steps, signal)


def read_off(
    prober: Prober,
    keys: NDArray[np.uint64],
    steps: NDArray[np.float64],
    signal: NDArray[np.float64],
) -> Draws:
    """Directions from what was measured along them."""
    return Draws(keys, steps, *five_point(signal, steps, prober.noise), signal)


def _either_side(
    prober: Prober, keys: NDArray[np.uint64], steps: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The signal along each direction at every step to either side; shape (keys, steps, 2)."""
    regions = repeated(prober.context.parameters.size, len(keys))
    offsets = np.tile(np.stack([steps, -steps], axis=1).ravel(), (len(keys), 1))
    signal = prober.signal(regions, keys, offsets, "calibrating")
    return signal.reshape(len(keys), len(steps), 2)


def expected(
    y: NDArray[np.float64], steps: NDArray[np.float64], noise: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """The bars to expect of directions at h and 2h, for every step h but the first.

    The truncation T h^2 of a smooth J shows as 15 T h^2 against the step above and as 15/16 T h^2
    against the one below, and enters the bar as 3 T h^2; kinks show at random in both.
    """
    change = np.abs(np.diff(y, axis=1))
    below = np.hstack([change[:, 1:], np.zeros((len(y), 1))])
    bars = np.fmax(change / 5, 3 * below) + NOISE_GAIN * NOISE_SIGMAS * noise / steps[:, 1:]
    return np.where(np.isfinite(bars), bars, np.inf)
