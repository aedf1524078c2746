"""Nothing is called wrong before its own step sweep says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.sweep import sweep
from fastgradcheck.search.task import Task
from fastgradcheck.verdict.rules import disagreeing, wrong_components
from fastgradcheck.verdict.support import BlockEvidence

CAP = 32
"""Components confirmed wrong per block; with more in doubt, the whole block is wrong."""
FIRST_ROUND = 8
TWICE_BELOW = 10.0
"""A discrepancy of fewer bars than this is measured twice, on different steps. One bar misses
once in a thousand; two do once in a million."""


def confirm(evidence: Evidence, task: Task) -> Iterator[Evidence]:
    """Measure the components that disagree by step sweeps, the worst first, in growing rounds.

    A block in which `CAP` components are confirmed wrong, with others in doubt, is wrong as a
    whole. Components that turn out right (the provisional bar was too small for them) cost a
    sweep each, and all of them get one.
    """
    for block in task.measured(evidence):
        b, size = block.number, FIRST_ROUND
        while not block.located.whole_block:
            doubtful = _doubtful(block, task)
            wrong = int(wrong_components(block, task.tolerance).sum())
            if not len(doubtful):
                task.context.stream.wrong += wrong
                break
            if wrong >= CAP:
                task.context.stream.wrong += wrong
                found = replace(block.located, whole_block=True)
                evidence = evidence.with_located(b, found)
                yield evidence
                break
            index = doubtful[: min(size, max(CAP - wrong, FIRST_ROUND))]
            evidence = measured_twice(evidence, task, index)
            yield evidence
            block = task.beside(evidence)[b]
            size *= 2


def _doubtful(block: BlockEvidence, task: Task) -> NDArray[np.int64]:
    """Components that disagree and have no step sweep of their own, the worst first."""
    c = block.components
    rows = np.flatnonzero(disagreeing(block, task.tolerance) & ~c.has_own_bar)
    excess = np.nan_to_num((c.discrepancy - c.error)[rows], nan=np.inf, neginf=np.inf)
    return c.index[rows[np.argsort(-excess, kind="stable")]]


def measured_twice(evidence: Evidence, task: Task, index: NDArray[np.int64]) -> Evidence:
    """Step sweeps of components, and others between their steps for what is wrong by few bars."""
    evidence = evidence.with_sweeps(sweep(task.context, index))
    beside, owner = task.beside(evidence), task.problem.parameters.block_index
    close = [np.zeros(0, np.int64)]
    for b in {owner(i) for i in index.tolist()}:
        c = beside[b].components
        wrong = wrong_components(beside[b], task.tolerance)
        close.append(c.index[wrong & (c.discrepancy < TWICE_BELOW * c.error)])
    again = index[np.isin(index, np.concatenate(close))]
    return evidence.with_sweeps(sweep(task.context, again, again=True)) if len(again) else evidence
