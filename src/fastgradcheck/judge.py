"""From evidence and tolerances to verdicts. Evaluates nothing.

With d the discrepancy and e its bar, a component is wrong if, on a ladder of its own,

    d - e > rtol * max(|grad|, |gradapprox|) + 8 * eps * max|grad of its block|,

eps being that of the gradient's dtype: the last term is what rounding in the user's own sums
leaves. For a block, and for all of theta, the relative difference

    R = ||grad - gradapprox|| / (||grad|| + ||gradapprox||)

has an upper limit U, bars included, and a lower limit L that owned bars alone prove. The check
is WRONG if a component is wrong or some block's L exceeds the threshold; it AGREES if nothing is
wrong, U <= threshold overall and U <= 1e-2 in every block; else it is UNDECIDED.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.evidence import Components
from fastgradcheck.ladder import UNSETTLED
from fastgradcheck.parameters import Block
from fastgradcheck.problem import Problem
from fastgradcheck.result import BlockResult, Resolution, Verdict
from fastgradcheck.screen import BEYOND_DOUBT, Screened

BLOCK_LIMIT = 1e-2
"""No block may be known worse than this, however small its part in the whole."""
ROUNDING_UNITS = 8.0


@dataclass(frozen=True)
class Tolerances:
    """What counts as agreement.

    Attributes
    ----------
    threshold : float
        On the relative difference.
    rtol : float
        Per component.
    eps : float
        Machine epsilon of the gradient's dtype.
    block_limit : float
        On every block's upper limit.
    """

    threshold: float
    rtol: float
    eps: float
    block_limit: float = BLOCK_LIMIT

    def of_components(self, components: Components, largest: float) -> NDArray[np.float64]:
        """The discrepancy that each component of one block is allowed."""
        size = np.fmax(np.abs(components.analytic), np.abs(components.numeric))
        allowed: NDArray[np.float64] = self.rtol * size + ROUNDING_UNITS * self.eps * largest
        return allowed


DOUBLE, SINGLE_GRADIENT, SINGLE = (1e-7, 1e-5), (1e-6, 1e-3), (1e-3, 1e-2)
"""Default (threshold, rtol): all in float64; a float32 gradient of a J evaluated in float64
(its entries are rounded by 6e-8); J itself in float32, where the best central difference has a
relative error of eps^(2/3) = 2.4e-5 of J and the gradient may be a tenth of J."""


def tolerances(problem: Problem, threshold: float | None, rtol: float | None) -> Tolerances:
    """The tolerances of a check, the user's own or those that the dtypes can reach.

    Raises
    ------
    GradcheckInputError
        If one cannot be met by the dtypes, or is so large that nothing could fail.
    """
    eps = problem.gradient_eps
    single = problem.theta.dtype == np.float32
    default = SINGLE if single else SINGLE_GRADIENT if eps > 1e-10 else DOUBLE
    for name, value in (("threshold", threshold), ("rtol", rtol)):
        if value is not None:
            _refuse_useless(name, value, eps, single)
    return Tolerances(
        default[0] if threshold is None else float(threshold),
        default[1] if rtol is None else float(rtol),
        eps,
        0.1 if single else BLOCK_LIMIT,
    )


def _refuse_useless(name: str, value: Any, eps: float, single: bool) -> None:
    number = float(value) if isinstance(value, (int, float, np.number)) else np.nan
    if isinstance(value, bool) or not np.isfinite(number) or number <= 0:
        raise GradcheckInputError(
            f"{name}={value!r} is not a tolerance; use a positive number such as 1e-7."
        )
    if number >= 0.5:
        raise GradcheckInputError(
            f"{name}={value:g} lets everything pass: a gradient of twice the right size has a "
            f"relative difference of 1/3, one of zeros has 1. Use {name} <= 1e-2."
        )
    reachable = float(np.finfo(np.float32).eps) ** (2 / 3) if single else eps
    if number < reachable:
        what = "J is evaluated in float32" if single else f"the gradient's eps is {eps:.1g}"
        raise GradcheckInputError(
            f"{name}={value:g} cannot be met: {what}. Use {name} >= {reachable:.1g}"
            + (", or pass theta and the gradient in float64." if eps > 1e-10 else ".")
        )


@dataclass(frozen=True, eq=False)
class BlockEvidence:
    """All that is known of one block.

    Attributes
    ----------
    block : Block
    gradient : float64 array, shape (size,)
        The claimed gradient of the block.
    components : Components
    screened : Screened or None
    step : float
    throughout : bool
        True if locating gave up because too many entries are wrong.
    lines : int
        Entries in rows or columns that are wrong as a whole.
    advice : str
        What limits the numeric side, and what to change, should the block be undecided.
    unexplained : bool
        True if the directions disagree by more than what was located explains.
    """

    block: Block
    gradient: NDArray[np.float64]
    components: Components
    screened: Screened | None
    step: float
    throughout: bool = False
    lines: int = 0
    advice: str = ""
    unexplained: bool = False

    @cached_property
    def largest(self) -> float:
        largest = float(np.max(np.abs(self.gradient), initial=0.0))
        if np.isfinite(largest):
            return largest
        return float(np.max(np.nan_to_num(np.abs(self.gradient))))


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
            screened.lower if screened.confirmed else 0.0,
        )
    difference = norm(c.discrepancy)
    exact = (c.numeric == 0) & (c.analytic == 0)
    errors = np.where(exact, 0.0, c.error)
    sure = c.owned & np.isfinite(c.error) & (c.discrepancy > BEYOND_DOUBT * c.error)
    own = np.where(sure, c.discrepancy - c.error, 0.0)
    own = np.maximum(np.nan_to_num(own), 0.0)
    own[own <= ROUNDING_UNITS * tolerance.eps * evidence.largest] = 0.0
    return Norms(
        norm(c.analytic), norm(c.numeric), difference, difference + norm(errors), norm(own)
    )


def wrong_components(evidence: BlockEvidence, tolerance: Tolerances) -> NDArray[np.bool_]:
    """Which components are confirmed wrong."""
    c = evidence.components
    return c.owned & suspicious(evidence, tolerance) & np.isfinite(c.error)


def suspicious(evidence: BlockEvidence, tolerance: Tolerances) -> NDArray[np.bool_]:
    """Which components disagree beyond their bars, provisional or owned. NaN does."""
    c = evidence.components
    allowed = tolerance.of_components(c, evidence.largest)
    with np.errstate(invalid="ignore"):
        agrees = c.discrepancy - c.error <= allowed
    return ~(agrees & np.isfinite(c.error) & np.isfinite(c.analytic))


def component_verdicts(evidence: BlockEvidence, tolerance: Tolerances) -> NDArray[np.uint8]:
    """`Verdict.code` of every component."""
    c = evidence.components
    codes = np.full(len(c), Verdict.AGREES.code, np.uint8)
    codes[suspicious(evidence, tolerance) | (c.kind == UNSETTLED)] = Verdict.UNDECIDED.code
    codes[wrong_components(evidence, tolerance)] = Verdict.WRONG.code
    return codes


def resolution(evidence: BlockEvidence, tolerance: Tolerances) -> float:
    """The smallest isolated error of the block that would have been called wrong.

    Of a component: its tolerance plus twice its bar (the bar hides it once, and the measurement
    may be off by the bar on the same side). Of directions: see `Screened.isolated`.
    """
    c = evidence.components
    seen = np.inf
    if len(c):
        allowed = tolerance.of_components(c, evidence.largest)
        seen = float(np.max(np.where(np.isfinite(c.error), 2 * c.error + allowed, np.inf)))
    if evidence.screened is not None and len(c) < evidence.block.size:
        floor = tolerance.rtol * evidence.largest
        directions = max(evidence.screened.isolated, floor)
        return directions if np.isinf(seen) else max(seen, directions)
    return seen


def judge_block(evidence: BlockEvidence, tolerance: Tolerances) -> BlockResult:
    """The verdict on one block."""
    block, c = evidence.block, evidence.components
    directions = 0 if evidence.screened is None else len(evidence.screened)
    measured = norms(evidence, tolerance)
    wrong = wrong_components(evidence, tolerance)
    codes = component_verdicts(evidence, tolerance)
    if not len(c) and not directions:
        verdict = Verdict.SKIPPED
    elif (
        wrong.any()
        or evidence.throughout
        or evidence.lines
        or measured.proven > tolerance.threshold
    ):
        verdict = Verdict.WRONG
    elif evidence.unexplained:
        verdict = Verdict.UNDECIDED
    elif measured.limit <= tolerance.block_limit and not (codes == Verdict.UNDECIDED.code).any():
        verdict = Verdict.AGREES
    else:
        verdict = Verdict.UNDECIDED
    count = int(wrong.sum())
    if evidence.throughout and evidence.screened is not None:
        count = block.size
    count = max(count, evidence.lines)
    return BlockResult(
        name=block.name,
        shape=block.shape,
        size=block.size,
        verdict=verdict,
        checked=len(c),
        directions=directions,
        norm_grad=measured.grad,
        norm_gradapprox=measured.gradapprox,
        relative_difference=measured.relative,
        limit=measured.limit,
        lower=measured.proven,
        resolution=resolution(evidence, tolerance),
        wrong=count,
        worst=_worst(evidence, wrong),
        step=evidence.step,
        reason=_reason(evidence, measured, codes) if verdict is Verdict.UNDECIDED else "",
    )


def _worst(evidence: BlockEvidence, wrong: NDArray[np.bool_]) -> str:
    """The address of the component furthest outside its bar, wrong ones first."""
    c = evidence.components
    if not len(c):
        return ""
    excess = np.where(np.isfinite(c.error), c.discrepancy - c.error, np.inf)
    excess = np.where(np.isnan(c.discrepancy), np.inf, excess)
    excess = np.where(wrong | ~wrong.any(), excess, -np.inf)
    return evidence.block.address(int(c.index[np.argmax(excess)]) - evidence.block.start)


def _reason(evidence: BlockEvidence, measured: Norms, codes: NDArray[np.uint8]) -> str:
    undecided = int((codes == Verdict.UNDECIDED.code).sum())
    if undecided:
        return (
            f"{undecided:,} of {len(codes):,} components gave no usable difference (a non-finite "
            "J, or steps that do not agree with each other). Check at a theta away from the edge "
            "of the domain and from kinks, or pass bounds=."
        )
    if evidence.unexplained:
        return (
            "its directions disagree by more than their error bars, but no component was found "
            'that does. Measure every component with strategy="components".'
        )
    return (
        f"the error bars allow a relative difference of up to {measured.limit:.1g}. "
        f"{evidence.advice}"
    )


def judge(
    evidence: Sequence[BlockEvidence], tolerance: Tolerances
) -> tuple[Verdict, Norms, tuple[BlockResult, ...]]:
    """The verdict on all blocks together."""
    blocks = tuple(judge_block(e, tolerance) for e in evidence)
    overall = Norms.together([norms(e, tolerance) for e in evidence])
    looked = [b for b in blocks if b.verdict is not Verdict.SKIPPED]
    if any(b.verdict is Verdict.WRONG for b in looked):
        verdict = Verdict.WRONG
    elif (
        looked
        and overall.limit <= tolerance.threshold
        and all(b.verdict is Verdict.AGREES for b in looked)
    ):
        verdict = Verdict.AGREES
    else:
        verdict = Verdict.UNDECIDED
    return verdict, overall, blocks


def overall_resolution(
    blocks: Sequence[BlockResult], gradient: NDArray[np.float64], probability: float
) -> Resolution:
    """The coarsest resolution of all blocks that were looked at."""
    sizes = [b.resolution for b in blocks if b.verdict is not Verdict.SKIPPED]
    size = max(sizes, default=np.inf)
    magnitude = np.abs(gradient[(gradient != 0) & np.isfinite(gradient)])
    typical = float(np.median(magnitude, overwrite_input=True)) if len(magnitude) else np.nan
    return Resolution(size, probability, size / typical if typical else np.nan)
