"""Euclidean norms, and the limits of the relative difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isfinite, isnan

import numpy as np

from fastgradcheck.differences.joint import Joint
from fastgradcheck.differences.screen import BEYOND_DOUBT, SECOND_MOMENT, Screened
from fastgradcheck.problem.norm import norm
from fastgradcheck.verdict.support import BlockEvidence
from fastgradcheck.verdict.tolerances import ROUNDING_UNITS, Tolerances

FOLLOWS = 0.1
"""The part of y^2 that does not follow grad . v, below which r is taken for a share of the claim.
Of an r that has nothing to do with the claim four directions show that once in 75 times."""


@dataclass(frozen=True)
class Norms:
    """||grad||, ||gradapprox||, ||grad - gradapprox|| and the limits of the last."""

    grad: float
    gradapprox: float
    difference: float
    upper: float
    lower: float

    @property
    def relative(self) -> float:
        total = self.grad + self.gradapprox
        if isnan(total) or isnan(self.difference):
            return np.nan
        # At most one, by the triangle inequality, which rounding may miss by an ulp.
        return min(self.difference / total, 1.0) if total > 0 else 0.0

    @property
    def limit(self) -> float:
        """Upper limit of the relative difference: the most, over the least it is divided by."""
        if self.upper == 0:
            return 0.0
        least = self.grad + max(self.gradapprox - (self.upper - self.difference), 0.0)
        if isnan(least):
            return np.nan
        # By the triangle inequality R never exceeds one, which is what not knowing means.
        return min(self.upper / least, 1.0) if least > 0 else 1.0

    @property
    def proven(self) -> float:
        """Lower limit of the relative difference."""
        most = self.grad + self.gradapprox + (self.upper - self.difference)
        return self.lower / most if most > 0 and isfinite(most) else 0.0

    @classmethod
    def together(cls, parts: Sequence[Norms]) -> Norms:
        """Norms of several blocks as of one vector."""
        if not parts:
            return cls(0.0, 0.0, 0.0, 0.0, 0.0)
        return cls(*(norm(np.array([getattr(p, name) for p in parts])) for name in _NORMS))


_NORMS = ("grad", "gradapprox", "difference", "upper", "lower")


def norms(evidence: BlockEvidence, tolerance: Tolerances) -> Norms:
    """What is known of a block's norms: by directions if they covered it, else by components."""
    if len(evidence.components) < evidence.block.size:
        if evidence.screened is not None:
            own, grad = evidence.screened, evidence.size
            lower = own.lower - evidence.doubt if evidence.located.confirmed else 0.0
            difference, gradapprox = _estimates(own, grad)
            return Norms(grad, gradapprox, difference, own.upper, max(lower, 0.0))
        if evidence.joint is not None:
            return _shared([evidence], evidence.joint, tolerance)
    return _of_components(evidence, tolerance)


def overall(evidence: Sequence[BlockEvidence], tolerance: Tolerances) -> Norms:
    """The norms of all of theta.

    Blocks that share directions share their limit: it bounds the error of all of them together,
    and is not added up.
    """
    groups: dict[int, list[BlockEvidence]] = {}
    parts = []
    for e in evidence:
        if e.joint is None or len(e.components) == e.block.size:
            parts.append(norms(e, tolerance))
        else:
            groups.setdefault(id(e.joint), []).append(e)
    parts += [_shared(group, group[0].joint, tolerance) for group in groups.values()]
    return Norms.together(parts)


def _estimates(screened: Screened, size: float) -> tuple[float, float]:
    """||r|| and ||gradapprox|| = ||grad - r||, beside a claim of the norm `size`.

    With a = grad . v, the means of y^2, y a and a^2 are c ||r||^2, c r . grad and c ||grad||^2,
    since E v v' = c I: averages over m directions are unbiased. The last is known, and takes the
    place of its average.

    Where y follows a (a factor, a sign, another scale), r is split into share * grad, by the
    regression share = (y . a) / (a . a), and a rest across. The variance of the share is
    ||rest||^2 / ((m - 2) ||grad||^2) for a normal a, which a sum of many entries is, and the
    residuals have m - 1 degrees of freedom: hence the factor of the rest.
    """
    m, unit = len(screened), max(float(np.max(np.abs(screened.y))), size)
    if not 0 < unit < np.inf:
        return unit, unit
    y, size = screened.y.ravel() / unit, size / unit
    a = screened.claimed.ravel() / unit if len(screened.claimed) else np.zeros(len(y))
    yy, ya, aa = float(y @ y), float(y @ a), float(a @ a)
    share = ya / aa if aa > 0 else 0.0
    across = float(np.sum((y - share * a) ** 2))
    if across < FOLLOWS * yy and m > 2:
        rest = across / ((m - 1) * SECOND_MOMENT) * (1 - 1 / (m - 2))
        squares = (share * size) ** 2 + rest, ((1 - share) * size) ** 2 + rest
    else:
        r = yy / (m * SECOND_MOMENT)
        approx = size**2 - 2 * ya / (m * SECOND_MOMENT) + r
        squares = r, max(approx, (size - np.sqrt(r)) ** 2)
    difference, gradapprox = (unit * float(np.sqrt(square)) for square in squares)
    return min(difference, screened.upper), gradapprox


def _shared(group: Sequence[BlockEvidence], joint: Joint | None, tolerance: Tolerances) -> Norms:
    """Norms of blocks by directions that they share, and what was found wrong in them besides."""
    assert joint is not None
    weights = joint.weights[[e.number for e in group]]
    sizes = np.array([e.size for e in group])
    grad = norm(sizes)
    held = (e for e in group if len(e.components))
    apart = [_apart(e, joint) for e in held if joint.repaired or len(e.fixed)]
    found = Norms.together([_of_components(e, tolerance) for e in apart])
    rest = joint.screened.upper / float(weights.min())
    off, approx = _shares(joint)
    left = norm(joint.sizes[[e.number for e in group]] / weights)  # of the claim without `found`
    difference = norm(np.array([off * left, found.difference]))
    upper = max(rest + found.upper, difference)
    return Norms(grad, approx * left, difference, upper, found.lower)


@lru_cache(maxsize=8)
def _shares(joint: Joint) -> tuple[float, float]:
    """||r|| and ||gradapprox|| as parts of ||grad||.

    Of the weighted norms, which is all that y tells: the same parts in every block.
    """
    weighted = norm(joint.sizes)
    if not weighted:
        return 0.0, 0.0
    off, approx = _estimates(joint.screened, weighted)
    return off / weighted, approx / weighted


def _apart(evidence: BlockEvidence, joint: Joint) -> BlockEvidence:
    """The components of which directions do not tell: taken out of the claim, or not moved."""
    c = evidence.components
    rows = np.flatnonzero(np.isin(c.index, [*joint.repaired, *evidence.fixed]))
    return replace(evidence, components=c.take(rows))


def _of_components(evidence: BlockEvidence, tolerance: Tolerances) -> Norms:
    c = evidence.components
    difference = norm(c.discrepancy)
    exact = (c.numeric == 0) & (c.analytic == 0)
    errors = np.where(exact, 0.0, c.error)
    sure = c.has_own_bar & np.isfinite(c.error) & (c.discrepancy > BEYOND_DOUBT * c.error)
    own = np.where(sure, c.discrepancy - c.error, 0.0)
    own = np.maximum(np.nan_to_num(own), 0.0)
    rounding = np.maximum(tolerance.eps * evidence.terms, evidence.rounding)
    own[own <= ROUNDING_UNITS * rounding] = 0.0
    proven = max(norm(own) - evidence.doubt, 0.0)
    upper = difference + norm(errors)
    return Norms(norm(c.analytic), norm(c.numeric), difference, upper, proven)
