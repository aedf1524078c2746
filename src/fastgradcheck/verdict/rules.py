"""From evidence and tolerances to verdicts. Evaluates nothing.

With d the discrepancy and e its bar, a component is wrong if, by a step sweep of its own,

    d - e > rtol * max(|grad|, |gradapprox|) + 8 * eps * max|grad of its block|,

eps being that of the gradient's dtype: the last term is what rounding in the user's own sums
leaves; more where an ulp of theta was seen to move the gradient by more. For a block, and for all
of theta, the relative difference

    R = ||grad - gradapprox|| / (||grad|| + ||gradapprox||)

has an upper limit U, bars included, and a lower limit L that components with bars of their own
prove. The check is WRONG if a component is wrong or some block's L exceeds the threshold; it
AGREES if nothing is wrong, U <= threshold overall and U <= 1e-2 in every block; else it is
UNDECIDED.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.plateau import UNSETTLED
from fastgradcheck.problem.median import median_size
from fastgradcheck.problem.precision import LOW
from fastgradcheck.verdict.norms import Norms, norms, overall
from fastgradcheck.verdict.support import BlockEvidence
from fastgradcheck.verdict.tolerances import Tolerances
from fastgradcheck.verdict.verdict import BlockResult, Resolution, Verdict


def wrong_components(evidence: BlockEvidence, tolerance: Tolerances) -> NDArray[np.bool_]:
    """Which components are confirmed wrong."""
    c = evidence.components
    if not len(c):  # as in most of thousands of blocks
        return np.zeros(0, bool)
    with np.errstate(invalid="ignore"):
        doubtful = c.discrepancy - c.error <= evidence.doubt_of_entries
    return c.has_own_bar & disagreeing(evidence, tolerance) & np.isfinite(c.error) & ~doubtful


def disagreeing(evidence: BlockEvidence, tolerance: Tolerances) -> NDArray[np.bool_]:
    """Which components disagree beyond their bars, provisional or their own. NaN does."""
    c = evidence.components
    if not len(c):
        return np.zeros(0, bool)
    allowed = tolerance.allowed(c.analytic, c.numeric, evidence.terms, evidence.rounding)
    if evidence.eps < LOW:
        # In float64 that is so little that it counts as agreement.
        allowed = np.maximum(allowed, evidence.doubt_of_entries)
    with np.errstate(invalid="ignore"):
        agrees = c.discrepancy - c.error <= allowed
    return ~(agrees & np.isfinite(c.error) & np.isfinite(c.analytic))


def component_verdicts(evidence: BlockEvidence, tolerance: Tolerances) -> NDArray[np.uint8]:
    """`Verdict.code` of every component."""
    c = evidence.components
    if not len(c):
        return np.zeros(0, np.uint8)
    codes = np.full(len(c), Verdict.AGREES.code, np.uint8)
    with np.errstate(invalid="ignore"):
        open_ = ~(c.discrepancy + c.error <= evidence.doubt_of_entries)
    unsettled = (c.kind == UNSETTLED) & open_
    codes[disagreeing(evidence, tolerance) | unsettled] = Verdict.UNDECIDED.code
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
        allowed = tolerance.allowed(c.analytic, c.numeric, evidence.terms, evidence.rounding)
        seen = float(np.max(np.where(np.isfinite(c.error), 2 * c.error + allowed, np.inf)))
    isolated = evidence.isolated
    if isolated is not None and len(c) < evidence.block.size:
        directions = max(isolated, tolerance.rtol * float(np.max(evidence.largest, initial=0.0)))
        return directions if np.isinf(seen) else max(seen, directions)
    return seen


def judge_block(
    evidence: BlockEvidence, tolerance: Tolerances, negligible: float = 0.0
) -> BlockResult:
    """The verdict on one block.

    Parameters
    ----------
    evidence : BlockEvidence
    tolerance : Tolerances
    negligible : float
        A norm that the threshold cannot tell from zero beside the whole gradient, or beside the
        slopes around theta, which may be an optimum. Where neither the claim nor what it may be
        off by is larger, the block is zero to the resolution: its own relative difference is 0/0
        and decides nothing.
    """
    block, c = evidence.block, evidence.components
    directions = evidence.directions
    measured = norms(evidence, tolerance)
    codes = component_verdicts(evidence, tolerance)
    wrong = codes == Verdict.WRONG.code
    confirmed = int(np.count_nonzero(wrong))
    doubtful = int(np.count_nonzero(codes == Verdict.UNDECIDED.code))
    if not len(c) and not directions:
        verdict = Verdict.SKIPPED
    elif (
        confirmed
        or evidence.located.whole_block
        or evidence.located.lines
        or measured.proven > tolerance.threshold
    ):
        verdict = Verdict.WRONG
    elif doubtful:
        verdict = Verdict.UNDECIDED
    elif _vanishes(measured, negligible) and not (
        evidence.located.unexplained and evidence.covered < block.size
    ):
        verdict = Verdict.AGREES
    elif evidence.located.unexplained or evidence.disagrees:
        verdict = Verdict.UNDECIDED
    elif measured.limit <= tolerance.block_limit:
        verdict = Verdict.AGREES
    else:
        verdict = Verdict.UNDECIDED
    located = evidence.located
    found_all = bool(directions) and not (
        located.whole_block or located.regions or located.unexplained or evidence.disagrees
    )
    seen = found_all or len(c) == block.size
    at_least = verdict is Verdict.WRONG and (doubtful > 0 or not seen)
    return BlockResult(
        name=block.name,
        shape=block.shape,
        size=block.size,
        verdict=verdict,
        checked=len(c),
        directions=directions,
        covered=evidence.covered,
        norm_grad=measured.grad,
        norm_gradapprox=measured.gradapprox,
        relative_difference=measured.relative,
        limit=measured.limit,
        lower=measured.proven,
        resolution=resolution(evidence, tolerance),
        wrong=max(confirmed, int(at_least)),
        worst=_worst(evidence, wrong),
        step=evidence.step,
        split=block.split,
        pairs=block.pairs,
        at_least=at_least,
    )


def _vanishes(measured: Norms, negligible: float) -> bool:
    """Whether neither the claim nor what it may be off by is larger."""
    return measured.grad <= negligible and measured.upper <= negligible


def _worst(evidence: BlockEvidence, wrong: NDArray[np.bool_]) -> str:
    """The address of the component furthest outside its bar, wrong ones first."""
    c = evidence.components
    if not len(c):
        return ""
    excess = np.where(np.isfinite(c.error), c.discrepancy - c.error, np.inf)
    excess = np.where(np.isnan(c.discrepancy), np.inf, excess)
    excess = np.where(wrong | ~wrong.any(), excess, -np.inf)
    return evidence.block.address(int(c.index[np.argmax(excess)]) - evidence.block.start)


Judged: TypeAlias = tuple[Verdict, Norms, tuple[BlockResult, ...]]
"""The verdict on all blocks together, their norms as of one vector, and what is known of each."""


def judge(evidence: Sequence[BlockEvidence], tolerance: Tolerances) -> Judged:
    """The verdict on all blocks together."""
    together = overall(evidence, tolerance)
    around = max((e.elsewhere for e in evidence), default=0.0)
    blocks = tuple(
        judge_block(e, tolerance, tolerance.threshold * max(together.grad, e.elsewhere))
        for e in evidence
    )
    return verdict_on(together, blocks, tolerance, around), together, blocks


def verdict_on(
    together: Norms, blocks: Sequence[BlockResult], tolerance: Tolerances, around: float = 0.0
) -> Verdict:
    """The verdict on all blocks, from those on each and the limit of the whole.

    Where theta may be an optimum, the gradient `around` it tells what is zero to the resolution.
    """
    looked = [b for b in blocks if b.verdict is not Verdict.SKIPPED]
    if any(b.verdict is Verdict.WRONG for b in looked):
        return Verdict.WRONG
    settled = together.limit <= tolerance.threshold
    settled = settled or _vanishes(together, tolerance.threshold * around)
    if settled and looked and all(b.verdict is Verdict.AGREES for b in looked):
        return Verdict.AGREES
    return Verdict.UNDECIDED


def overall_resolution(
    blocks: Sequence[BlockResult], gradient: NDArray[np.float64], probability: float
) -> Resolution:
    """The coarsest resolution of all blocks that were looked at."""
    sizes = [b.resolution for b in blocks if b.verdict is not Verdict.SKIPPED]
    size = max(sizes, default=np.inf)
    typical = median_size(gradient)
    return Resolution(size, probability, size / typical if typical else np.nan)
