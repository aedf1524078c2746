"""Nothing is called wrong before its own ladder says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.evidence import BlockEvidence
from fastgradcheck.differences.plateau import KINK_HERE, Settled
from fastgradcheck.differences.sweep import Measure
from fastgradcheck.verdict.rules import suspicious, wrong_components
from fastgradcheck.verdict.support import supported
from fastgradcheck.verdict.tolerances import Tolerances

CAP = 32
"""Components confirmed wrong per block; with more suspects left it is wrong throughout."""


FIRST_ROUND = 8


SECOND_OPINION = 10.0
"""A discrepancy of fewer bars than this is measured twice, on different steps. One bar misses
once in a thousand; two do once in a million."""


SHIFT = 0.6
"""The second ladder's steps lie between the first one's."""


def confirm(
    evidence: BlockEvidence,
    measure: Measure,
    gradient: NDArray[np.float64],
    tolerance: Tolerances,
    keep: Callable[[list[Settled]], None],
) -> BlockEvidence:
    """Put the suspicious components of a block on ladders, worst first, in growing rounds.

    A block in which `CAP` components are confirmed wrong, with suspects left, is wrong
    throughout. Suspects that turn out right (the provisional bar was too small for them) cost
    a ladder each, and all of them get one.

    Parameters
    ----------
    evidence : BlockEvidence
    measure : callable
    gradient : float64 array, shape (n,)
    tolerance : Tolerances
    keep : callable
        Takes the ladders of every round as soon as it is over, so that a stop loses one round.

    Returns
    -------
    BlockEvidence
        With the ladders' values in place of the loop's.
    """
    size = FIRST_ROUND
    while True:
        suspects = _suspects(evidence, tolerance)
        if not len(suspects):
            return evidence
        wrong = int(wrong_components(evidence, tolerance).sum())
        if wrong >= CAP:
            return replace(evidence, throughout=True)
        settled = measure(suspects[: min(size, max(CAP - wrong, FIRST_ROUND))], 1.0)
        settled = second_opinion(settled, measure, gradient, evidence, tolerance)
        keep(settled)
        components = evidence.components.with_ladders(settled, gradient)
        evidence = replace(evidence, components=components)
        size *= 2


def _suspects(evidence: BlockEvidence, tolerance: Tolerances) -> NDArray[np.int64]:
    """Suspicious components without a ladder of their own, the worst first."""
    c = evidence.components
    rows = np.flatnonzero(suspicious(evidence, tolerance) & ~c.owned)
    excess = np.nan_to_num((c.discrepancy - c.error)[rows], nan=np.inf, neginf=np.inf)
    return c.index[rows[np.argsort(-excess, kind="stable")]]


def second_opinion(
    settled: Iterable[Settled],
    measure: Measure,
    gradient: NDArray[np.float64],
    evidence: BlockEvidence,
    tolerance: Tolerances,
) -> list[Settled]:
    """Measure again, between the steps, what would be called wrong by a few bars only."""
    results = [supported(s, float(gradient[s.index])) for s in settled]
    close = [
        k
        for k, s in enumerate(results)
        if _accused(s, gradient, evidence, tolerance)
        and _distance(s, gradient) < SECOND_OPINION * s.error
    ]
    if close:
        again = measure(np.array([results[k].index for k in close]), SHIFT)
        for k, other in zip(close, again, strict=True):
            results[k] = _reconciled(results[k], supported(other, float(gradient[other.index])))
    return results


def _distance(s: Settled, gradient: NDArray[np.float64]) -> float:
    claimed = float(gradient[s.index])
    if s.kind == KINK_HERE:
        return max(s.lower - claimed, claimed - s.upper, 0.0)
    return abs(s.value - claimed)


def _accused(
    s: Settled,
    gradient: NDArray[np.float64],
    evidence: BlockEvidence,
    tolerance: Tolerances,
) -> bool:
    size = max(abs(float(gradient[s.index])), abs(s.value))
    allowed = tolerance.rtol * size + 8 * tolerance.eps * evidence.largest
    return _distance(s, gradient) - s.error > allowed


def _reconciled(first: Settled, second: Settled) -> Settled:
    """The sharper of two measurements, its bar widened to hold both."""
    sharp, other = sorted((first, second), key=lambda s: s.error)
    if not np.isfinite(other.error) or other.kind == KINK_HERE != sharp.kind:
        return other
    apart = abs(sharp.value - other.value)
    return replace(sharp, error=max(sharp.error, apart + min(sharp.error, other.error)))
