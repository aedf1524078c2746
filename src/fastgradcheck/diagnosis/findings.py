"""What the user should know beside the verdict, from what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.diagnosis.field import listed
from fastgradcheck.differences.directions import NOISE_GAIN
from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.plateau import (
    JUMP_HERE,
    KINK_HERE,
    KINK_LEFT,
    KINK_RIGHT,
    NOISE_SIGMAS,
    TWO_SCALES,
    StepSweep,
    larger_scale,
)
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.search.task import Task
from fastgradcheck.verdict.norms import Norms
from fastgradcheck.verdict.support import BlockEvidence
from fastgradcheck.verdict.tolerances import BLOCK_LIMIT, Tolerances, rounded_up
from fastgradcheck.verdict.verdict import BlockResult, Verdict

COMMENSURATE = 100.0
"""A jump between pieces makes up for what their slopes are off by until it comes: it is no higher
than this times as much. Poles, and jumps that J has anyway, are."""
BENT = 32.0
"""Truncation and noise are balanced by the step: bars of so many times the noise are kinks."""
SHORTENED = 2.0
"""Directions whose steps differ by more were measured anew, where others had met kinks."""


def undecided(
    verdict: Verdict,
    limit: float,
    blocks: tuple[BlockResult, ...],
    tolerance: Tolerances,
    cause: str = "",
) -> tuple[Finding, ...]:
    """What would decide an undecided check, where one number does, and the cause if it is known."""
    settled = all(b.verdict is not Verdict.UNDECIDED for b in blocks)
    if verdict is not Verdict.UNDECIDED or not settled or not 0 < limit < 1e-2:
        return ()
    return (
        Finding(
            "resolution",
            f"The numeric side resolves {limit:.1g}, not the threshold {tolerance.threshold:g}; "
            f"threshold={rounded_up(limit):g} would accept.{cause}",
            Rank.LIMIT,
        ),
    )


def kinks_met(evidence: Evidence) -> str:
    """What to say if directions met kinks, or had to take shorter steps for them; else nothing."""
    for joint in evidence.joint:
        s = joint.screened
        noise = NOISE_GAIN * NOISE_SIGMAS * evidence.noise.level / s.steps
        if np.any(s.error > BENT * noise) or s.steps.max() > SHORTENED * s.steps.min():
            return (
                " Directions cross kinks of J (ReLU, max, abs), and at shorter steps its rounding "
                "hides more. A part of the examples, such as args=(X[:8], y[:8]), has fewer kinks."
            )
    return ""


def lost(
    evidence: list[BlockEvidence],
    blocks: tuple[BlockResult, ...],
    tolerance: Tolerances,
    kinked: bool = False,
) -> tuple[Finding, ...]:
    """Findings about blocks of which this theta tells little: unused, dead, or lost in noise.

    Where theta stands on kinks (`kinked`), bars are as wide as these and tell no noise.
    """
    unused, dead, lost = [], [], []
    for e, block in zip(evidence, blocks, strict=True):
        c = e.components
        if not len(c):
            continue
        # At a kink J does depend on it, although zero is one of its slopes.
        zero = (c.analytic == 0) & (c.numeric == 0) & (c.kind != KINK_HERE)
        if len(c) == e.block.size and zero.all():
            unused.append(e.block.name)
        elif len(e.block.shape) >= 2 and len(c) == e.block.size > 1:
            zero = zero.reshape(e.block.rows, -1)
            if zero.all(axis=0).any() or zero.all(axis=1).any():
                dead.append(e.block.name)
        if kinked or block.verdict is Verdict.WRONG or _is_zero(block, tolerance):
            continue  # which says more
        seen = np.isfinite(c.error)
        if norm(c.error[seen]) > norm(c.numeric[seen]) > 0:
            lost.append(e.block.name)
    findings = []
    if unused:
        findings.append(
            Finding(
                "zero-block",
                f"All of {listed(unused)} is exactly zero on both sides: J does not depend on it "
                "here. It may be dead or at an optimum at this theta, or cost may read these "
                "parameters from "
                "somewhere else (a global, a closure) and not from its argument. Check at another "
                "theta.",
                Rank.LIMIT,
            )
        )
    if dead:
        findings.append(
            Finding(
                "dead",
                f"Whole rows or columns of {', '.join(dead)} are exactly zero on both sides: dead "
                "units or unused inputs. What the gradient would be when they are active was not "
                "checked; try other data or another theta.",
                Rank.LIMIT,
            )
        )
    if lost:
        findings.append(
            Finding(
                "lost",
                f"The gradient of {', '.join(lost)} is lost in the noise of J: theta is near an "
                "optimum, or J does not depend on it. Check at a random theta too.",
                Rank.LIMIT,
            )
        )
    return tuple(findings)


def zero(blocks: tuple[BlockResult, ...], tolerance: Tolerances) -> tuple[Finding, ...]:
    """A finding about blocks that agree because nothing of their size can be told from zero."""
    names = [block.name for block in blocks if _is_zero(block, tolerance)]
    if not names:
        return ()
    message = (
        f"Zero to the resolution: {listed(names)}. Neither the claimed gradient there nor what it "
        "may be off by can be told from zero beside the whole gradient, or the slopes around "
        "theta. A bias before batch normalisation, the key bias of attention, a dead unit, an "
        "optimum, or parameters that cost does not read from its argument are the usual cause; at "
        "an optimum, check at a random theta too."
    )
    return (Finding("zero", message, Rank.NOTE),)


def _is_zero(block: BlockResult, tolerance: Tolerances) -> bool:
    return block.verdict is Verdict.AGREES and not block.limit <= tolerance.block_limit


def unlocated(parameters: Parameters, evidence: Evidence, verdict: Verdict) -> tuple[Finding, ...]:
    """What the directions see in blocks, beyond what was located there."""
    names = ", ".join(
        parameters.blocks[b].name
        for b in sorted(evidence.located)
        if evidence.located[b].unexplained
    )
    if not names:
        return ()
    if verdict is Verdict.WRONG:
        message = f"More is wrong in {names} than could be located. Mend what is named and check "
        message += 'again, or measure every component with strategy="components".'
    else:
        message = (
            f"The directions of {names} disagree by more than their error bars, but no component "
            "was found that is off by more than its tolerance. Measure every component with "
            'strategy="components".'
        )
    return (Finding("unlocated", message, Rank.LIMIT),)


def two_scales(
    parameters: Parameters,
    evidence: Evidence,
    sweeps: Iterable[StepSweep],
    gradient: NDArray[np.float64],
) -> tuple[Finding, ...]:
    """A finding about components whose slope depends on how closely one looks."""
    found = [s for s in sweeps if s.kind == TWO_SCALES]
    if not found:
        return _unaccepted(parameters, evidence, gradient)
    s = found[0]
    own = evidence.sweeps.get(s.index)
    smallest = f" ({own[0].value:.6g})" if own else ""
    return (
        Finding(
            "two-scales",
            f"J has one slope in {parameters.address(s.index)} for the smallest "
            f"steps{smallest} and another for larger ones ({s.value:.6g}), which is the "
            "gradient's and is accepted. A difference that rounds is the usual cause, such as "
            "1 - a for a sigmoid a close to one: write log(1 - a) as -logaddexp(0, z).",
        ),
    )


def _unaccepted(
    parameters: Parameters, evidence: Evidence, gradient: NDArray[np.float64]
) -> tuple[Finding, ...]:
    """The same, where the gradient is not the slope of larger steps."""
    seen = {i: larger_scale(own[0]) for i, own in evidence.sweeps.items()}
    found = {i: larger for i, larger in seen.items() if larger is not None}
    if not found:
        return ()
    # What is off the farthest is what a user looks at.
    i = max(found, key=lambda i: abs(gradient[i] - evidence.sweeps[i][0].value))
    own, (slope, error) = evidence.sweeps[i][0], found[i]
    more = f" So it is in {len(found) - 1:,} more components." if len(found) > 1 else ""
    return (
        Finding(
            "two-scales",
            f"J has one slope in {parameters.address(i)} for the smallest steps "
            f"({own.value:.6g} +- {own.error:.1g}) and another for larger ones ({slope:.6g} +- "
            f"{error:.1g}); the gradient there is {gradient[i]:.6g}. What only small steps "
            "resolve is the usual cause: a fast oscillation, a table that is interpolated, an "
            f"iteration that stops. Without it, the slope is that of larger steps.{more}",
        ),
    )


def pieces(
    task: Task,
    evidence: Evidence,
    beside: Sequence[BlockEvidence],
    overall: Norms,
    blocks: Sequence[BlockResult],
) -> tuple[Finding, ...]:
    """A finding about a J that looks like what an adaptive or truncated method computes."""
    found = evidence.pieces
    if found is None:
        return ()
    slope = overall.relative * norm(task.gradient * task.context.scale)
    if not found.jump < COMMENSURATE * slope * found.distance:
        return ()
    accepts = _accepting(beside, overall, blocks, task.tolerance)
    message = (
        "J looks like the output of an adaptive or truncated method: an ODE solver that chooses "
        "its steps, an iteration that stops at a tolerance. It is smooth near theta, and jumps by "
        f"{found.jump:.1g} where theta is moved by {found.distance:.1g} of itself. The derivative "
        "of such a J differs from the exact sensitivity by the method's tolerance. If that is all "
        f"the gradient is off by ({overall.relative:.1g}), "
    )
    if accepts is None:
        message += "tighten that tolerance: it is too much for any threshold that tells something."
    else:
        message += f"threshold={accepts:g} would accept it; so would a tighter tolerance there."
    return (Finding("pieces", message, Rank.LIMIT),)


def _accepting(
    beside: Sequence[BlockEvidence],
    overall: Norms,
    blocks: Sequence[BlockResult],
    tolerance: Tolerances,
) -> float | None:
    """The threshold, and with it the rtol, at which what was measured agrees, if there is one."""
    beyond = [0.0]
    for e in beside:
        c = e.components
        size = np.fmax(np.abs(c.analytic), np.abs(c.numeric))
        rounded = replace(tolerance, rtol=0.0).allowed(c.analytic, c.numeric, e.terms, e.rounding)
        with np.errstate(divide="ignore", invalid="ignore"):
            beyond += ((c.discrepancy - c.error - rounded) / size)[size > 0].tolist()
    needed = max(overall.limit, max(beyond) * tolerance.threshold / tolerance.rtol)
    coarse = max(needed, *(b.limit for b in blocks if b.verdict is not Verdict.SKIPPED))
    return rounded_up(needed) if coarse <= BLOCK_LIMIT else None


def edge(parameters: Parameters, evidence: Evidence) -> tuple[Finding, ...]:
    """A finding about entries that could be moved to one side only."""
    found = evidence.edge
    if not len(found):
        return ()
    told = []
    for index, side, other in (found.above, "above", "below"), (found.below, "below", "above"):
        if len(index):
            names = listed([parameters.address(int(i)) for i in index[:3]])
            more = f" and {len(index) - 3:,} more" if len(index) > 3 else ""
            told.append(f"{side} {names}{more}, and was measured from {other} there")
    message = (
        f"Theta is at the edge of J's domain: J is not defined {'; nor '.join(told)}. Directions "
        "leave such entries out."
    )
    return (Finding("edge", message),)


def complex_steps(evidence: Evidence, tolerance: Tolerances) -> tuple[Finding, ...]:
    """A finding where complex steps could not be compared with real differences as sharply."""
    if evidence.compared <= tolerance.threshold:
        return ()
    message = (
        "Complex steps agree with real differences along two random directions, but these tell no "
        f"more than {evidence.compared:.1g} of the gradient, by noise or kinks. A part of J that "
        "is smaller, and not analytic (abs, norm, conj), would not have been seen."
    )
    return (Finding("complex", message, Rank.LIMIT),)


def jumps(parameters: Parameters, sweeps: Iterable[StepSweep]) -> tuple[Finding, ...]:
    """A finding about components in which theta is on a jump of J."""
    found = [s for s in sweeps if s.kind == JUMP_HERE]
    if not found:
        return ()
    s = found[0]
    message = (
        f"J jumps at theta in {parameters.address(s.index)}: {s.steps[-1]:.1e} below it, J is "
        f"{s.lower:+.3g} away, and as far above it {s.upper:+.3g}. There is no derivative. A "
        "floor(), round(), int() or comparison is the usual cause: move theta off the jump, or "
        "differentiate what is not rounded."
    )
    more = f" So it is in {len(found) - 1:,} more components." if len(found) > 1 else ""
    return (Finding("jump", message + more, Rank.LIMIT),)


def on_kinks(evidence: Evidence, theta: NDArray[np.float64]) -> tuple[Finding, ...]:
    """Where theta stands on kinks: with which subgradient directions compare the claim."""
    if not evidence.on_kinks:
        return ()
    zeros = int(np.sum(theta == 0))
    where = f" ({zeros:,} of {len(theta):,} entries of theta are exactly zero)" if zeros else ""
    message = (
        "Theta stands on kinks of J: along every direction its slopes on the two sides differ, "
        f"however short the step, as those of |x| and max(x, 0) do at zero{where}. J has no "
        "derivative there; the claim is compared with the middle of the two slopes, as sign(0) = 0 "
        "is. Move theta a little to check it strictly."
    )
    return (Finding("kink", message),)


def kinks(parameters: Parameters, sweeps: Iterable[StepSweep]) -> tuple[Finding, ...]:
    """One finding for all kinks met."""
    kinks = [s for s in sweeps if s.kind in (KINK_RIGHT, KINK_LEFT, KINK_HERE)]
    if not kinks:
        return ()
    here = [s for s in kinks if s.kind == KINK_HERE]
    first = here[0] if here else kinks[0]
    where = parameters.address(first.index)
    slopes = f"one-sided slopes {first.lower:.6g} and {first.upper:.6g}"
    if here:
        message = (
            f"J has a kink at theta in {where} ({slopes}): any value between them is a "
            "subgradient and is accepted. Move theta a little to check it strictly."
        )
    else:
        side = "above" if first.kind == KINK_RIGHT else "below"
        message = (
            f"J has a kink {first.distance:.1e} {side} {where} ({slopes}): the slope of the "
            "other side was used."
        )
    others = ((max(len(here) - 1, 0), "at theta"), (len(kinks) - max(len(here), 1), "nearby"))
    told = [f"{number:,} more {where}" for number, where in others if number]
    more = f" There are {' and '.join(told)}." if told else ""
    return (Finding("kink", message + more),)
