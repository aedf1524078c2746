"""More measurements where only error bars stand between a check and agreement."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.sweep import sweep
from fastgradcheck.search.task import Task
from fastgradcheck.verdict.verdict import Verdict

MOST = 256
"""Components of a block that are measured by step sweeps where only their bars are too wide."""


def sharpen(evidence: Evidence, task: Task) -> Iterator[Evidence]:
    """Step sweeps for the widest bars, where only bars stand between a block and agreement.

    Not where the user chose the step: that is honoured, and the verdict says what it can see.
    """
    verdict, overall, results = task.judged(evidence)
    if verdict is not Verdict.UNDECIDED:
        return
    for block in task.measured(evidence):
        b, result = block.number, results[block.number]
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
