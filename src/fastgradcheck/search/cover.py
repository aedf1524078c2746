"""Directions over all of theta, and the search for what is wrong where they disagree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fastgradcheck.differences.directions import Prober
from fastgradcheck.differences.evidence import Evidence, Located
from fastgradcheck.differences.screen import screen
from fastgradcheck.differences.sweep import sweep
from fastgradcheck.evaluation.stream import Stopped
from fastgradcheck.problem import bounds
from fastgradcheck.search.block import BlockSearch
from fastgradcheck.search.confirm import CAP
from fastgradcheck.search.sharpen import extend
from fastgradcheck.search.task import Task

SHARE = 0.7
"""The part of the threshold that the directions' limits should stay within."""
AT_BOUNDS = 100
"""Entries at their bounds, which take no part in directions, that are measured one by one."""
EXTENSIONS = 2


def cover(evidence: Evidence, task: Task) -> Iterator[Evidence]:
    """Directions over every block of more than one entry, and the search where they disagree."""
    if not task.screens:
        return
    prober = _prober(task)
    blocks = task.problem.parameters.blocks
    wide = [
        b
        for b, block in enumerate(blocks)
        if block.size > 1 and (prober.moving is None or prober.moving[block.slice].any())
    ]
    evidence = evidence.with_screened(screen(prober, wide, SHARE * task.tolerance.threshold))
    yield evidence
    if prober.moving is not None:
        fixed = np.flatnonzero(prober.moving == 0)
        sweeps = sweep(task.context, fixed[:AT_BOUNDS])
        evidence = replace(evidence, at_bounds=fixed).with_sweeps(sweeps)
        yield evidence
    for b, block in enumerate(blocks):
        broken = block.start + np.flatnonzero(~np.isfinite(task.gradient[block.slice]))
        if len(broken):
            evidence = evidence.with_sweeps(sweep(task.context, broken[:CAP]))
            if len(broken) > CAP:
                evidence = evidence.with_located(b, Located(whole_block=True))
            yield evidence
    for b, screened in evidence.screened.items():
        if screened.fails and not evidence.location(b).whole_block:
            searching = BlockSearch(task, prober, b, evidence)
            try:
                searching.run()
            except Stopped:
                yield searching.evidence
                raise
            evidence = searching.evidence
            yield evidence
    for _ in range(EXTENSIONS):
        before, evidence = evidence, extend(evidence, task, prober)
        if evidence is before:
            break
        yield evidence


def _prober(task: Task) -> Prober:
    """What measures directions: inside the bounds, or by complex steps, which leave none."""
    context = task.context
    if context.scheme.imaginary:
        return Prober(context, task.problem, imaginary=True)
    moving = bounds.movable(context.bounds, context.theta, context.scale)
    return Prober(context, task.problem, moving)
