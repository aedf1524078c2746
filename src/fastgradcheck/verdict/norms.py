"""Euclidean norms, and the limits of the relative difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.screen import BEYOND_DOUBT
from fastgradcheck.verdict.support import BlockEvidence
from fastgradcheck.verdict.tolerances import ROUNDING_UNITS, Tolerances


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
        if np.isnan(total) or np.isnan(self.difference):
            return np.nan
        # At most one, by the triangle inequality, which rounding may miss by an ulp.
        return min(self.difference / total, 1.0) if total > 0 else 0.0

    @property
    def limit(self) -> float:
        """Upper limit of the relative difference: the most, over the least it is divided by."""
        if self.upper == 0:
            return 0.0
        least = self.grad + max(self.gradapprox - (self.upper - self.difference), 0.0)
        if np.isnan(least):
            return np.nan
        # By the triangle inequality R never exceeds one, which is what not knowing means.
        return min(self.upper / least, 1.0) if least > 0 else 1.0

    @property
    def proven(self) -> float:
        """Lower limit of the relative difference."""
        most = self.grad + self.gradapprox + (self.upper - self.difference)
        return self.lower / most if most > 0 and np.isfinite(most) else 0.0

    @classmethod
    def together(cls, parts: Sequence[Norms]) -> Norms:
        """Norms of several blocks as of one vector."""
        return cls(*(norm(np.array([getattr(p, name) for p in parts])) for name in _NORMS))


SAFE = 1e-280
"""A sum of squares above this has lost nothing to underflow."""


_NORMS = ("grad", "gradapprox", "difference", "upper", "lower")


def norm(vector: NDArray[np.float64]) -> float:
    """Euclidean norm without overflow; inf and nan stay what they are."""
    with np.errstate(over="ignore", under="ignore"):
        squares = float(np.sum(vector * vector))
    if SAFE < squares < np.inf:
        return float(np.sqrt(squares))
    largest = float(np.max(np.abs(vector), initial=0.0))
    if largest == 0 or not np.isfinite(largest):
        return largest
    return largest * float(np.sqrt(np.sum((vector / largest) ** 2)))


def norms(evidence: BlockEvidence, tolerance: Tolerances) -> Norms:
    """What is known of a block's norms: by directions if they covered it, else by components."""
    c = evidence.components
    screened = evidence.screened
    if screened is not None and len(c) < evidence.block.size:
        grad = norm(evidence.gradient)
        return Norms(
            grad,
            max(grad, screened.estimate),
            screened.estimate,
            screened.upper,
            screened.lower if evidence.located.confirmed else 0.0,
        )
    difference = norm(c.discrepancy)
    exact = (c.numeric == 0) & (c.analytic == 0)
    errors = np.where(exact, 0.0, c.error)
    sure = c.has_own_bar & np.isfinite(c.error) & (c.discrepancy > BEYOND_DOUBT * c.error)
    own = np.where(sure, c.discrepancy - c.error, 0.0)
    own = np.maximum(np.nan_to_num(own), 0.0)
    own[own <= ROUNDING_UNITS * tolerance.eps * evidence.largest] = 0.0
    return Norms(
        norm(c.analytic), norm(c.numeric), difference, difference + norm(errors), norm(own)
    )
