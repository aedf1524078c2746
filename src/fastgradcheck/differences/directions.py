"""The derivative along directions, and of single entries, from five points."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.context import Context
from fastgradcheck.differences.plateau import NOISE_SIGMAS
from fastgradcheck.evaluation.plans import Directions, Stencils
from fastgradcheck.evaluation.projection import project
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.problem import Problem
from fastgradcheck.problem.region import Region, part

OFFSETS = np.array([1.0, -1.0, 2.0, -2.0])


ON_KINKS = np.append(OFFSETS, [0.5, -0.5])
"""Where theta stands on kinks of J: from four points these look as curved as kinks beside it."""


NOISE_GAIN = 4 / 3 + 1 / 6
"""Of the extrapolated value, (4 D(h) - D(2h)) / 3, times h, for errors of one at each point."""


UNEVEN_GAIN = 2 + 8 + 6
"""Of J(2h) + J(-2h) - 4 (J(h) + J(-h)) + 6 J(0), likewise ..."""


KINKED_GAIN = 1 + 6 + 8 + 3
"""... and of half of E(2h) - 6 E(h) + 8 E(h/2), where E(h) is J(h) + J(-h) - 2 J(0)."""


SHORTER = (4.0, 16.0)
"""Divisors of the step for directions that must be kept though they cross a kink."""


NEGLIGIBLE = 1e-12
"""Relative rounding that no difference quotient can see."""


LARGEST = 1.5
"""No |v_i| is larger."""


COMPLEX_ROUNDING = 1024 * float(np.finfo(np.float64).eps)
"""Of an imaginary part, relative to the slopes that it is made of: as for single components
(`fastgradcheck.differences.steps`), J being thousands of operations."""


@dataclass(frozen=True, eq=False)
class Prober:
    """Measures y along directions on any regions.

    Attributes
    ----------
    context : Context
    problem : Problem
        What is claimed.
    moving : float64 array, shape (n,), or None
        Multiplies v: zero for entries that must not move (at their bounds, say), one or a weight
        for the others.
    imaginary : bool
        Whether directions are measured by complex steps.
    """

    context: Context
    problem: Problem
    moving: NDArray[np.float64] | None = None
    imaginary: bool = False

    @property
    def stream(self) -> Stream:
        return self.context.stream

    @property
    def noise(self) -> float:
        return self.context.noise

    @property
    def room(self) -> NDArray[np.float64] | None:
        return self.context.room

    @property
    def gradient(self) -> NDArray[np.float64]:
        """The claimed gradient, zero where it is no number."""
        return self.problem.finite

    @cached_property
    def sizes(self) -> NDArray[np.float64]:
        """The norm of the claimed gradient of every block, shape (blocks,)."""
        if self.problem.is_finite:
            return np.array(self.problem.sizes)
        blocks = self.context.parameters.blocks
        return np.array([norm(self.gradient[block.slice]) for block in blocks])

    def farthest(self, region: NDArray[np.int64]) -> float:
        """The longest step of a region's directions that keeps within the bounds."""
        if self.room is None or self.moving is None:
            return np.inf
        return longest(part(self.moving, region), part(self.room, region))

    def signal(
        self,
        regions: NDArray[np.int64],
        keys: NDArray[np.uint64],
        offsets: NDArray[np.float64],
        stage: str,
    ) -> NDArray[np.float64]:
        """What the gradient predicts for J minus what J does, at every point; shape (k, p)."""
        values = self.stream.values(Directions(regions, keys, offsets, self.moving), stage)
        changes: NDArray[np.float64] = values - self.problem.value
        return self.predicted(regions, keys, offsets) - changes

    def predicted(
        self,
        regions: NDArray[np.int64],
        keys: NDArray[np.uint64],
        offsets: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """What the gradient predicts for J minus J(theta), at every point; shape (k, p)."""
        plan = Directions(regions, keys, offsets, self.moving)
        return project(self.gradient, self.problem.theta, plan, self.stream.engine.n_jobs)

    def exact(
        self,
        regions: NDArray[np.int64],
        keys: NDArray[np.uint64],
        steps: NDArray[np.float64],
        stage: str,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Y and its bar by complex steps, one evaluation for each direction."""
        plan = Directions(regions, keys, 1j * steps[:, np.newaxis], self.moving)
        slope = self.stream.values(plan, stage)[:, 0].imag / steps
        claimed = self._along(plan)
        sizes = [self._size(region) for region in regions]
        bar = COMPLEX_ROUNDING * np.maximum(np.abs(slope), sizes)
        return claimed - slope, np.where(np.isfinite(slope), bar, np.inf)

    def claimed(self, region: NDArray[np.int64], keys: NDArray[np.uint64]) -> NDArray[np.float64]:
        """Grad . v along directions on one region."""
        regions = np.repeat(region[np.newaxis], len(keys), axis=0)
        return self._along(Directions(regions, keys, np.ones((len(keys), 1)), self.moving))

    def _along(self, plan: Directions) -> NDArray[np.float64]:
        """Grad . v for the v of every row."""
        unit = replace(plan, offsets=np.ones((len(plan), 1)))
        # From zero, so that the displacement is v itself.
        origin = np.zeros(self.problem.theta.shape)
        return project(self.gradient, origin, unit, self.stream.engine.n_jobs)[:, 0]

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
        return np.array([level * self._size(region) for region in regions])

    def _size(self, region: Region) -> float:
        """The norm of the claimed gradient in a region, as weighted as the directions are."""
        claimed = part(self.gradient, region)
        return norm(claimed if self.moving is None else claimed * part(self.moving, region))

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

    def two_point(
        self,
        regions: NDArray[np.int64],
        keys: NDArray[np.uint64],
        steps: NDArray[np.float64],
        expected: float | NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Y by two points each, and the bar that directions with these steps had otherwise.

        Enough for a search whose outcome is confirmed by other directions. Truncation may cancel
        between parts of theta, so that a part has more of it than the whole: at half the step it is
        a quarter, a twelfth of what the bar holds, and noise stays within the bar, three standard
        deviations of its own. A complex step is all that there is to be had.
        """
        if self.imaginary:
            return self.exact(regions, keys, steps, "locating")
        offsets = steps[:, np.newaxis] / 2 * OFFSETS[:2]
        signal = self.signal(regions, keys, offsets, "locating")
        y = (signal[:, 0] - signal[:, 1]) / steps
        return y, np.where(np.isfinite(y), expected, np.inf)

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


def longest(moving: NDArray[np.float64], room: NDArray[np.float64]) -> float:
    """The longest step of directions with these weights that keeps within the room."""
    free = moving > 0
    # A hundredth is kept for rounding.
    reach = 0.99 * float(np.min(room[free] / moving[free], initial=np.inf))
    return reach / (LARGEST * float(OFFSETS.max()))


def five_point(
    signal: NDArray[np.float64], steps: NDArray[np.float64], noise: float | NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The slope of a signal that is zero at zero, from its values at ``OFFSETS * steps``.

    Parameters
    ----------
    signal : float64 array, shape (k, 4), (k, 4, m), or (k, 6) at `ON_KINKS`
    steps : float64 array, shape (k,) or (k, 1)
    noise : float or float64 array, shape (m,)
        Standard deviation of one value.

    Returns
    -------
    slope, bar : float64 arrays, shape (k,) or (k, m)
        The five-point slope; the bar is the difference of the two central ones, plus what kinks
        and noise add. A kink anywhere between moves the slope by at most the first two. From six
        points, a kink nearer than about h/4 is taken for one at zero, where the slope is the
        middle of both sides'.
    """
    near = (signal[:, 0] - signal[:, 1]) / (2 * steps)
    far = (signal[:, 2] - signal[:, 3]) / (4 * steps)
    even, twice = signal[:, 0] + signal[:, 1], signal[:, 2] + signal[:, 3]
    if signal.shape[1] == len(OFFSETS):
        # J(2h) - 2J + J(-2h) is four times J(h) - 2J + J(-h), but for kinks (and h^4).
        uneven, gain = np.abs(twice - 4 * even), UNEVEN_GAIN
    else:
        # Both a h and b h^2 vanish: a kink at zero, and curvature.
        half = signal[:, 4] + signal[:, 5]
        uneven, gain = np.abs(twice / 2 - 3 * even + 4 * half), KINKED_GAIN
    kinks = np.maximum(uneven - gain * NOISE_SIGMAS * noise, 0.0)
    bar = np.abs(near - far) + (kinks + NOISE_GAIN * NOISE_SIGMAS * noise) / steps
    bar = np.where((signal == 0).all(axis=1), 0.0, bar)
    return (4 * near - far) / 3, np.where(np.isfinite(bar), bar, np.inf)
