"""More measurements where only error bars stand between a check and agreement."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastgradcheck.differences.directions import Prober
from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.screen import extended
from fastgradcheck.differences.sweep import sweep
from fastgradcheck.search.task import Task
from fastgradcheck.verdict import rules
from fastgradcheck.verdict.verdict import Verdict

MOST = 256
"""Components of a block that are measured by step sweeps where only their bars are too wide."""


def sharpen(evidence: Evidence, task: Task) -> Iterator[Evidence]:
    """Step sweeps for the widest bars, where only bars stand between a block and agreement.

    Not where the user chose the step: that is honoured, and the verdict says what it can see.
    """
    blocks = task.beside(evidence)
    verdict, overall, results = rules.judge(blocks, task.tolerance)
    if verdict is not Verdict.UNDECIDED:
        return
    for b, (block, result) in enumerate(zip(blocks, results, strict=True)):
        if result.verdict is Verdict.SKIPPED:
            continue
        if result.verdict is Verdict.AGREES and overall.limit <= task.tolerance.threshold:
            continue
        if evidence.steps is not None and evidence.steps.by_user(b):
            continue
        c = block.components
        rows = np.flatnonzero(~c.has_own_bar)
        widest = rows[np.argsort(-c.error[rows], kind="stable")][:MOST]
        if len(widest):
            evidence = evidence.with_sweeps(sweep(task.context, c.index[widest]))
            yield evidence


def extend(evidence: Evidence, task: Task, prober: Prober) -> Evidence:
    """More directions where nothing is wrong, but the limit is too far above what was seen.

    That is so when the gradient is right but rounded, to float32 say. The evidence is returned as
    it is where they are of no use.
    """
    blocks = task.beside(evidence)
    verdict, overall, _ = rules.judge(blocks, task.tolerance)
    if verdict is not Verdict.UNDECIDED or overall.difference > overall.upper / 2:
        return evidence
    share = overall.upper / np.sqrt(len(blocks))
    coarse = [
        b
        for b, screened in evidence.screened.items()
        if screened.upper >= share and screened.reach < screened.upper / 2
    ]
    more = {b: extended(prober, evidence.screened[b], b) for b in coarse}
    return evidence.with_screened(more) if more else evidence
