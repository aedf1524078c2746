"""Whether complex steps see all of J.

A part of J that is not analytic (abs, norm, conj, vdot, .real) drops the imaginary part, and with
it its own derivative: complex steps are then exact to rounding, of another function. So they are
compared with real differences along random directions before they are trusted. No part of J hides
in both of them: y is a difference of slopes, and the bound of `differences.screen` holds for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fastgradcheck.differences.context import Context
from fastgradcheck.differences.directions import COMPLEX_ROUNDING, Prober
from fastgradcheck.differences.rows import EPS, Rows, along, farthest
from fastgradcheck.differences.schemes import CENTRAL4
from fastgradcheck.differences.screen import BEYOND_DOUBT
from fastgradcheck.differences.steps import COMPLEX_STEP
from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.evaluation import hashing
from fastgradcheck.evaluation.plans import Directions
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.outputs import Outputs
from fastgradcheck.problem.problem import Problem
from fastgradcheck.problem.region import Region, part, region_of

COMPARED = 2
"""Directions."""
STEPS = 2.0 ** -np.array([13, 17, 21, 9])
"""Relative to theta's entries: where smooth functions lose nothing, closer to theta where kinks are
met, and farther where noise rules."""
NAMED = 64
"""Blocks among which those that are not analytic are named."""
NAMED_ROWS = 6
"""Outputs that are named."""


def compare(context: Context, problem: Problem, wanted: float) -> float:
    """How sharply complex steps and real differences were seen to agree, relative to the gradient.

    Parameters
    ----------
    context : Context
        With the noise of J.
    problem : Problem
    wanted : float
        How sharply they should be compared, likewise.

    Raises
    ------
    GradcheckInputError
        If they do not agree, or complex values of J have no more digits than complex64.
    """
    room = context.room
    moving = context.scale if room is None else np.where(room > 0, context.scale, 0.0)
    compared = _Comparison(Prober(context, problem, moving), wanted)
    size = len(context.theta)
    worst = 0.0
    for direction in range(COMPARED):
        everything = np.array([0, size, 0, 1, 0, size])
        found = compared.along(everything, hashing.key(context.seed, 6, direction))
        if found.single:
            raise GradcheckInputError(
                'scheme="complex" cannot be trusted for this cost: its complex values have no more '
                "digits than complex64 (float32) has. Let the cost compute in complex128, or use "
                'scheme="central".'
            )
        if found.disagrees:
            raise GradcheckInputError(_refusal(found, compared.blocks()))
        worst = max(worst, found.resolution)
    return worst


def compare_rows(rows: Rows, outputs: Outputs, wanted: float) -> float:
    """The same for a function of several outputs: how sharply, relative to all slopes together.

    Parameters
    ----------
    rows : Rows
        With the noise of F.
    outputs : Outputs
    wanted : float

    Raises
    ------
    GradcheckInputError
        Naming the outputs that are not analytic.
    """
    context = rows.context
    room, size = context.room, len(context.theta)
    moving = context.scale if room is None else np.where(room > 0, context.scale, 0.0)
    by_real = replace(rows, context=replace(context, scheme=CENTRAL4))
    region, worst = np.array([0, size, 0, 1, 0, size]), 0.0
    for direction in range(COMPARED):
        keys = np.array([hashing.key(context.seed, 6, direction)])
        exact = along(rows, region, keys, np.array([COMPLEX_STEP]), moving, "comparing").slopes[0]
        real, bar = np.zeros(rows.count), np.full(rows.count, np.inf)
        for step in np.minimum(STEPS, farthest(by_real, moving)):
            found = along(by_real, region, keys, np.array([step]), moving, "comparing")
            better = found.error[0] < bar
            real[better], bar[better] = found.slopes[0, better], found.error[0, better]
            sizes = np.maximum(np.abs(exact), np.abs(real))
            if norm(bar) <= wanted * norm(sizes):
                break
        allowed = BEYOND_DOUBT * (bar + COMPLEX_ROUNDING * sizes)
        off = np.flatnonzero(~(np.abs(exact - real) <= allowed) & np.isfinite(bar))
        if len(off):
            first = int(off[0])
            shown = _Found(float(exact[first]), False, float(real[first]), float(bar[first]))
            names = [outputs.address(int(i)) for i in off[:NAMED_ROWS]]
            raise GradcheckInputError(_refusal(shown, names, outputs.function))
        worst = max(worst, norm(bar) / norm(sizes) if norm(sizes) else 0.0)
    return worst


@dataclass(frozen=True)
class _Found:
    """The slope along one direction, by complex steps and by real differences."""

    exact: float
    single: bool
    real: float = np.nan
    bar: float = np.inf
    size: float = 1.0

    @property
    def disagrees(self) -> bool:
        """NaN of complex steps does; a real difference that is no number tells nothing."""
        apart = abs(self.exact - self.real)
        allowed = BEYOND_DOUBT * (self.bar + COMPLEX_ROUNDING * self.size)
        return not (apart <= allowed or np.isinf(self.bar))

    @property
    def resolution(self) -> float:
        return self.bar / self.size if self.size else 0.0


class _Comparison:
    """Compares along directions, at the first of the steps that is sharp enough."""

    def __init__(self, prober: Prober, wanted: float) -> None:
        # Of no claim: y is then minus the slope.
        nothing = replace(prober.problem, gradient=np.zeros(len(prober.gradient)))
        self.claim = prober
        self.real = replace(prober, problem=nothing)
        self.wanted = wanted

    def along(self, region: Region, key: np.uint64) -> _Found:
        """Both slopes along one direction on a region."""
        regions, keys = region[np.newaxis], np.array([key])
        plan = Directions(regions, keys, np.array([[1j * COMPLEX_STEP]]), self.real.moving)
        value = self.real.stream.values(plan, "comparing")[0, 0]
        best = _Found(value.imag / COMPLEX_STEP, value.imag != 0 and value == np.complex64(value))
        for step in np.minimum(STEPS, self.real.farthest(region)):
            (y,), (bar,) = self.real(regions, keys, np.array([step]), "comparing")
            # A J that does not move in its last digit has a slope all the same.
            bar = float(bar) + EPS * abs(self.claim.context.value) / step
            if bar < best.bar:
                size = self._size(region, y, best.exact)
                best = replace(best, real=-y, bar=float(bar), size=size)
            if best.bar <= self.wanted * best.size:
                break
        return best

    def _size(self, region: Region, *slopes: float) -> float:
        """The size of the slopes that the sum along a direction is made of."""
        claimed, moving = self.claim.gradient, self.claim.moving
        assert moving is not None
        weighted = part(claimed, region) * part(moving, region)
        return max(norm(weighted), *map(abs, slopes))

    def blocks(self) -> list[str]:
        """The blocks along which they do not agree, if there are not too many to look at."""
        context = self.claim.context
        blocks = context.parameters.blocks
        if not 1 < len(blocks) <= NAMED:
            return []
        keys = [hashing.key(context.seed, 7, b) for b in range(len(blocks))]
        return [
            block.name
            for block, key in zip(blocks, keys, strict=True)
            if self.along(region_of(block), key).disagrees
        ]


def _refusal(found: _Found, names: list[str], function: str = "cost") -> str:
    where = f" in {', '.join(names)}" if names else ""
    return (
        f'scheme="complex" cannot be trusted for this {function}{where}: along a random direction '
        f"complex steps show a slope of {found.exact:.8g}, real differences {found.real:.8g} "
        f"+- {found.bar:.1g}. A part of it is not analytic and drops the imaginary part: abs, "
        "norm, .real, conj, vdot, a comparison of complex numbers, complex64 or float32 on the "
        "way. Write x**2 for abs(x)**2, x @ x for vdot(x, x), sqrt(x @ x) for norm(x), or use "
        'scheme="central4".'
    )
