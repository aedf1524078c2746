"""What limits the numeric side, and what to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.plateau import JUMP_HERE
from fastgradcheck.problem.precision import LOW
from fastgradcheck.problem.problem import Problem
from fastgradcheck.search.task import Task
from fastgradcheck.verdict.rules import component_verdicts
from fastgradcheck.verdict.support import BlockEvidence
from fastgradcheck.verdict.verdict import BlockResult, Verdict


def reasons(
    task: Task,
    measured: Evidence,
    evidence: Sequence[BlockEvidence],
    blocks: Sequence[BlockResult],
) -> tuple[BlockResult, ...]:
    """The blocks' results, the undecided ones with why they are and what to change."""
    return tuple(
        replace(block, reason=_reason(task, measured, b, evidence[b], block))
        if block.verdict is Verdict.UNDECIDED
        else block
        for b, block in enumerate(blocks)
    )


def _reason(
    task: Task,
    measured: Evidence,
    b: int,
    evidence: BlockEvidence,
    block: BlockResult,
) -> str:
    if evidence.eps > LOW and _within_doubt(evidence):
        dtype = _dtype(task.problem.computed_eps)
        doubt = float(np.max(evidence.doubt_of_entries))
        return (
            f"your gradient was computed in {dtype} and given as values, or by a function that "
            "takes nothing else. What rounding leaves there of sums that cancel may be up to "
            f"{doubt:.1g} in an entry, and what it differs by is no larger. Pass grad as a "
            "function that computes in float64 when given float64."
        )
    codes = component_verdicts(evidence, task.tolerance)
    undecided = codes == Verdict.UNDECIDED.code
    jumps = evidence.components.kind == JUMP_HERE
    if jumps.any() and not (undecided & ~jumps).any():
        return "J jumps at theta, where it has no derivative: move theta off the jump."
    if undecided.any():
        return _without_room(task, evidence.components.index[undecided]) or (
            f"{int(undecided.sum()):,} of {len(codes):,} components gave no usable difference (a "
            "non-finite J, or steps that do not agree with each other). Check at a theta away from "
            "the edge of the domain and from kinks, or pass bounds=."
        )
    if evidence.located.unexplained:
        return (
            "its directions disagree by more than their error bars, but no component was found "
            'that does. Measure every component with strategy="components".'
        )
    return (
        f"the error bars allow a relative difference of up to {block.limit:.1g}. "
        f"{_limits(task.problem, measured, b)}"
    )


def _without_room(task: Task, index: NDArray[np.int64]) -> str:
    """Says which entry its bounds hold in place, if one is; empty otherwise."""
    if task.context.bounds is None:
        return ""
    low, high = task.context.bounds
    held = index[low[index] == high[index]]
    if not len(held):
        return ""
    where = int(held[0])
    more = f", nor have {len(held) - 1:,} more" if len(held) > 1 else ""
    return (
        f"{task.problem.parameters.address(where)} has no room between its bounds "
        f"[{low[where]:g}, {high[where]:g}]{more}: open a side, or leave it out of theta or of "
        "sample=."
    )


def _within_doubt(evidence: BlockEvidence) -> bool:
    """Whether what differs could be the rounding of the gradient."""
    c = evidence.components
    beyond = c.discrepancy - c.error
    return bool(np.any(beyond > 0) and np.all(beyond <= evidence.doubt_of_entries))


def _dtype(eps: float) -> str:
    """The name of the dtype with this machine epsilon."""
    known = (np.float16, np.float32)
    names = [np.dtype(dtype).name for dtype in known if float(np.finfo(dtype).eps) == eps]
    return names[0] if names else "less than float64"


def _limits(problem: Problem, measured: Evidence, b: int) -> str:
    """What limits the numeric side in a block, and what to change."""
    chosen, level = measured.steps, measured.noise
    if chosen is not None and chosen.by_user(b):
        return (
            f"Your epsilon={chosen.epsilon[b]:g} is what limits them: smaller has less "
            'truncation, larger less noise; epsilon="auto" finds the balance.'
        )
    relative = level.level / abs(problem.value) if problem.value else level.level
    if problem.theta.dtype == np.float32 or level.kind == "float32":
        return "J is computed in float32: let the cost compute in float64."
    if level.kind == "solver":
        return (
            f"J carries noise of {relative:.1g} of its value, far above rounding: tighten the "
            "tolerance of the iteration inside it."
        )
    if level.kind == "constant":
        return (
            "J does not move when theta changes a little: it is constant, or rounded (by round(), "
            "float16, integers). Differentiate the unrounded value."
        )
    return (
        "The gradient of this block is small against the noise of J: check at another theta, "
        "such as a random one, where it is larger."
    )
