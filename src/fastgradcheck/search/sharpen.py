"""More measurements where only error bars stand between a check and agreement."""

from __future__ import annotations

import numpy as np

from fastgradcheck.differences.directions import Prober
from fastgradcheck.differences.screen import extended
from fastgradcheck.differences.steps import Steps
from fastgradcheck.differences.sweep import Measure
from fastgradcheck.options import Options
from fastgradcheck.problem.problem import Problem
from fastgradcheck.search.measured import Measured, evidence_of
from fastgradcheck.verdict import rules
from fastgradcheck.verdict.tolerances import Tolerances
from fastgradcheck.verdict.verdict import Verdict

REFINED = 256
"""Components remeasured on ladders where only their bars stand between a block and agreement."""


def refine(
    problem: Problem, tolerance: Tolerances, chosen: Steps, measure: Measure, into: Measured
) -> None:
    """Ladders for the widest bars, where only bars stand between a block and agreement.

    Not where the user chose the step: that is honoured, and the verdict says what it can see.
    """
    evidence = evidence_of(problem, into)
    verdict, overall, blocks = rules.judge(evidence, tolerance)
    if verdict is not Verdict.UNDECIDED:
        return
    for b, (e, block) in enumerate(zip(evidence, blocks, strict=True)):
        if block.verdict is Verdict.SKIPPED:
            continue
        if block.verdict is Verdict.AGREES and overall.limit <= tolerance.threshold:
            continue
        if chosen.by_user(b):
            continue
        c = e.components
        rows = np.flatnonzero(~c.owned)
        widest = rows[np.argsort(-c.error[rows], kind="stable")][:REFINED]
        if len(widest):
            into.keep(measure(c.index[widest], 1.0), problem.gradient)


EXTENSIONS = 2


def extend(
    problem: Problem, options: Options, tolerance: Tolerances, prober: Prober, into: Measured
) -> bool:
    """More directions where nothing is wrong, but the limit is too far above what was seen.

    That is so when the gradient is right but rounded, to float32 say.
    """
    evidence = evidence_of(problem, into)
    verdict, overall, _ = rules.judge(evidence, tolerance)
    if verdict is not Verdict.UNDECIDED or overall.difference > overall.upper / 2:
        return False
    share = overall.upper / np.sqrt(len(evidence))
    coarse = [
        b
        for b, screened in into.screened.items()
        if screened.upper >= share and screened.reach < screened.upper / 2
    ]
    for b in coarse:
        into.screened[b] = extended(prober, into.screened[b], b, options.seed)
    return bool(coarse)
