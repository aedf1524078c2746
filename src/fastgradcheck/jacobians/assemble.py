"""What the check of a Jacobian tells, put together from all that was measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fastgradcheck.diagnosis import rows as diagnosis
from fastgradcheck.diagnosis import words
from fastgradcheck.diagnosis.findings import complex_steps, edge, kinks, lost, undecided, unlocated
from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.screen import CONFIDENCE
from fastgradcheck.problem.calls import HESSIAN, JACOBIAN
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.problem.products import Claimed, Combined
from fastgradcheck.report.outcome import Origin
from fastgradcheck.result import (
    GradcheckResult,
    filled,
    named_wrong,
    of_a_part,
    records,
    was_stopped,
)
from fastgradcheck.search.columns import JacobianTask
from fastgradcheck.verdict import rules
from fastgradcheck.verdict.rows import unsettled
from fastgradcheck.verdict.support import reading
from fastgradcheck.verdict.verdict import Resolution, Verdict


def assemble(
    task: JacobianTask,
    evidence: Evidence,
    claimed: Claimed,
    found: tuple[Finding, ...],
    began: float,
    origin: Origin,
    subject: str,
) -> GradcheckResult:
    """The result of the check of a Jacobian, judged on all that was measured."""
    tolerance, names = task.tolerance, task.entries.names
    beside = task.beside(evidence)
    _, overall, blocks = rules.judge(beside, tolerance)
    blocks = unsettled(blocks, beside, tolerance)
    verdict = rules.verdict_on(overall, blocks, tolerance)
    blocks = diagnosis.reasons(task, beside, blocks)
    components = records(beside, tolerance)
    resolution = _resolution(task, blocks)
    coverage, probability = diagnosis.covered(task, evidence, blocks, resolution)
    resolved = undecided(verdict, overall.limit, blocks, tolerance)
    found += resolved + (diagnosis.coarse(task, evidence, beside) if resolved else ())
    # That parts of it are zero on both sides is nothing special of a Jacobian.
    told = tuple(f for f in lost(beside, blocks, tolerance) if f.kind == "lost")
    if verdict is Verdict.WRONG:
        told += diagnosis.diagnosed(task, components, blocks, beside)
    told += unlocated(names, evidence, verdict) + complex_steps(evidence, tolerance)
    stopped = was_stopped(task.rows.context.stream, verdict, blocks)
    verdict, part = of_a_part(verdict, blocks, stopped)
    verdict, reason, found = proven(verdict, found)
    if not (task.moves or task.of_gradient or verdict is Verdict.WRONG):
        verdict, reason = Verdict.UNDECIDED, "F does not depend on theta: nothing was checked."
    wrong = named_wrong(beside, tolerance)
    if isinstance(claimed.outputs, Combined):
        wrong, single = diagnosis.of_rows(task, components, claimed.outputs, wrong)
        if single:  # and no pattern of the combinations
            told = tuple(f for f in told if f.rank is not Rank.BUG or f.kind == "not-finite")
            told += single
        coverage += diagnosis.combinations(claimed.outputs)
    read = {
        e: reading(own, float(components["analytic"][np.searchsorted(components["index"], e)]))
        for e, own in evidence.sweeps.items()
    }
    told += kinks(names, read.values()) + edge(task.entries.parameters, evidence)
    found += words.of_rows(told, HESSIAN if subject == "Hessian" else JACOBIAN)
    return filled(
        task.rows.context, evidence, tolerance, names, overall, blocks, components, read.values(),
        found, began,
        verdict=verdict,
        resolution=Resolution(resolution.size, probability, resolution.relative),
        wrong=wrong,
        coverage=coverage,
        strategy="screen" if task.screens else "components",
        interrupted=stopped,
        reason=reason or part,
        origin=origin,
        subject=subject,
        rows=(task.rows.context.stream.engine.objective, task.entries),
    )  # fmt: skip


def _resolution(task: JacobianTask, blocks: tuple[Any, ...]) -> Resolution:
    """The coarsest resolution of all blocks, beside a row's typical entry."""
    sizes = [b.resolution for b in blocks if b.verdict is not Verdict.SKIPPED]
    size = max(sizes, default=np.inf)
    _m, n = task.claim.shape
    whole = np.sqrt(sum(np.square(s) for s in task.sizes) / n)
    whole = whole[whole > 0]
    typical = float(np.median(whole)) if len(whole) else np.nan
    return Resolution(size, CONFIDENCE, size / typical if typical else np.nan)


def proven(
    verdict: Verdict, found: tuple[Finding, ...]
) -> tuple[Verdict, str, tuple[Finding, ...]]:
    """The verdict, given what was found of the claim by itself, and why, where that decides it."""
    kinds = {finding.kind for finding in found}
    if "linear" in kinds:
        return Verdict.WRONG, "The products are not linear in their vector.", found
    if "asymmetric" not in kinds or verdict is Verdict.WRONG:
        return verdict, "", found
    if verdict is not Verdict.AGREES:
        return Verdict.WRONG, "The Hessian is not symmetric.", found
    told = tuple(
        replace(
            finding,
            kind="not-a-gradient",
            message=finding.message.partition(". ")[0]
            + ". It is the derivative of grad all the same, so that grad is the gradient of no "
            "cost: check grad by gradcheck.",
        )
        if finding.kind == "asymmetric"
        else finding
        for finding in found
    )
    reason = "The Hessian is the derivative of grad, but grad is the gradient of nothing."
    return Verdict.WRONG, reason, told
