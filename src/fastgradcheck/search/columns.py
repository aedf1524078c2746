"""What the check of a Jacobian is about, and its columns, measured one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.columns import (
    at_a_time,
    by_scheme,
    has_own_bars,
    measure_columns,
    sweep_column,
)
from fastgradcheck.differences.components import of_differences, of_five_points
from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.plateau import StepSweep
from fastgradcheck.differences.row_recording import RowRecording
from fastgradcheck.differences.rows import Array, Rows
from fastgradcheck.differences.screen import ROUNDING_UNITS
from fastgradcheck.evaluation.stream import COMPONENTS, Stopped
from fastgradcheck.problem.entries import Entries
from fastgradcheck.problem.foreign import COARSE
from fastgradcheck.problem.jacobian import Jacobian
from fastgradcheck.problem.low import TYPICAL
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.sampling import Sample
from fastgradcheck.verdict import rows as verdicts
from fastgradcheck.verdict import rules
from fastgradcheck.verdict.support import BlockEvidence
from fastgradcheck.verdict.tolerances import Tolerances
from fastgradcheck.verdict.verdict import BlockResult, Verdict

SWEPT = 16
"""Columns that are measured by step sweeps in one round ..."""
ROUNDS = 4
"""... and rounds."""


@dataclass(frozen=True, eq=False)
class JacobianTask:
    """The check of a Jacobian that is under way.

    Attributes
    ----------
    rows : Rows
        Where and how F is differentiated.
    claim : Jacobian
    entries : Entries
    tolerance : Tolerances
    sample : Sample
        The columns to measure one by one.
    screens : bool
        Whether directions cover all columns at once.
    spot : bool
        Whether the sample is a spot check beside them, which is of no use where they disagree.
    of_gradient : bool
        Whether F is a gradient, so that the claim is a Hessian.
    recording : RowRecording or None
        Values of F along directions that are there already.
    moves : bool
        False if F is the same wherever theta is moved.
    """

    rows: Rows
    claim: Jacobian
    entries: Entries
    tolerance: Tolerances
    sample: Sample
    screens: bool
    spot: bool = False
    of_gradient: bool = False
    recording: RowRecording | None = None
    moves: bool = True

    @cached_property
    def sizes(self) -> list[Array]:
        """Of every block of theta, the norm of each row of the claim within it."""
        return [self.claim.sizes(block.slice) for block in self.entries.parameters.blocks]

    def beside(self, evidence: Evidence) -> list[BlockEvidence]:
        """What has been measured, block by block, beside the claim."""
        return verdicts.beside(evidence, self.claim, self.entries, self.sizes, self.coarse)

    @property
    def coarse(self) -> bool:
        """Whether the claim is of 16 bits: tolerance.eps is then what is expected of a row."""
        return self.claim.eps > COARSE

    @property
    def row_rounding(self) -> float:
        """What rounding of the claim may contribute to a product, relative to the row's norm."""
        return (TYPICAL if self.coarse else ROUNDING_UNITS) * self.tolerance.eps

    @property
    def entry_rounding(self) -> float:
        """The same for an entry: of what is typical of a row, or of what none of it exceeds."""
        typical = float(np.sqrt(self.claim.shape[1])) if self.coarse else 1.0
        return TYPICAL * self.tolerance.eps / typical

    def judged(self, evidence: Evidence) -> tuple[list[BlockEvidence], tuple[BlockResult, ...]]:
        """That, and the verdict on every block."""
        found = self.beside(evidence)
        _, _, blocks = rules.judge(found, self.tolerance)
        return found, verdicts.unsettled(blocks, found, self.tolerance)


def one_by_one(evidence: Evidence, task: JacobianTask) -> Iterator[Evidence]:
    """The columns of the sample, each by the scheme and at the steps that the user chose."""
    if task.spot and (len(evidence.components) or evidence.located):
        return
    rows, order, several = task.rows, task.sample.order, at_a_time(task.rows)
    measure, parts = by_scheme(rows, order), []
    try:
        for first in range(0, len(order), several):
            part = order[first : first + several]
            parts.append((part, *measure(part, COMPONENTS)))
    finally:
        # A stop loses nothing of what was measured.
        made = of_five_points if has_own_bars(rows.context.scheme) else of_differences
        for part, values, bars in parts:
            evidence = evidence.with_components(made(*flat(task, part, values, bars)))
        if parts:
            yield evidence


def look(task: JacobianTask, columns: NDArray[np.int64]) -> tuple[NDArray[np.int64], Array, Array]:
    """All entries of some columns, of which something is in doubt: as `flat` gives them."""
    return flat(task, columns, *measure_columns(task.rows, columns))


def flat(
    task: JacobianTask, columns: NDArray[np.int64], values: Array, bars: Array
) -> tuple[NDArray[np.int64], Array, Array]:
    """The entries of columns: their flat indices, values and bars."""
    rows = np.arange(task.rows.count)[:, np.newaxis]
    return task.entries.flat(rows, columns).ravel(), values.ravel(), bars.ravel()


def confirm(evidence: Evidence, task: JacobianTask) -> Iterator[Evidence]:
    """Step sweeps of columns in which something is in doubt, the worst first.

    Entries that disagree, and, where bars keep a block from being decided, those with the largest
    bars; one sweep of a column serves all of its rows.
    """
    swept: set[int] = set()
    for _ in range(ROUNDS):
        index, excess = _doubtful(evidence, task)
        rows, columns = task.entries.places(index)
        new = ~np.isin(columns, list(swept))
        if not new.any():
            return
        index, rows, columns, excess = index[new], rows[new], columns[new], excess[new]
        at, which = np.unique(columns, return_inverse=True)
        worst = np.argsort(-np.bincount(which, excess), kind="stable")[:SWEPT]
        sweeps: list[StepSweep] = []
        try:
            for k in worst.tolist():
                mine = which == k
                sweeps += sweep_column(task.rows, int(at[k]), rows[mine], index[mine])
                swept.add(int(at[k]))
        except Stopped:
            yield evidence.with_sweeps(sweeps)
            raise
        evidence = evidence.with_sweeps(sweeps)
        yield evidence


def _doubtful(
    evidence: Evidence, task: JacobianTask
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Entries that a step sweep may settle, and how much they are in doubt."""
    found, blocks = task.judged(evidence)
    whole, threshold = norm(np.array([e.size for e in found])), task.tolerance.threshold
    verdict, _, _ = rules.judge(found, task.tolerance)
    index, excess = [], []
    for e, block in zip(found, blocks, strict=True):
        c = e.components
        if not len(c) or e.located.regions:
            continue
        own = np.isin(c.index, list(evidence.sweeps))
        rows = rules.disagreeing(e, task.tolerance) & ~own & ~c.has_own_bar
        # Directions have limits of their own: there, single bars matter to their block alone.
        open_ = block.verdict if e.joint is not None else verdict
        if not rows.any() and Verdict.UNDECIDED in (block.verdict, open_):
            # Nothing disagrees: what keeps the limit from the threshold is bars.
            allowed = threshold * np.maximum(whole / np.sqrt(len(c)), np.abs(c.numeric))
            rows = (c.error > allowed) & ~own
        size = np.maximum(np.abs(c.analytic), np.abs(c.numeric)) + np.finfo(float).tiny
        index.append(c.index[rows])
        with np.errstate(invalid="ignore", over="ignore"):
            relative = np.maximum(c.discrepancy, c.error)[rows] / size[rows]
        excess.append(np.minimum(np.nan_to_num(relative, nan=1e3, posinf=1e3), 1e3))
    if not index:
        return np.zeros(0, np.int64), np.zeros(0)
    return np.concatenate(index), np.concatenate(excess)
