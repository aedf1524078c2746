"""Directions over all of theta for all rows of a Jacobian, and what they disagree about.

The row that is wrong is named by looking, the column by decoding (`fastgradcheck.search.separate`).
What is found is taken out of the claim, and fresh directions through the rest confirm it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences import analytic, domain
from fastgradcheck.differences import rows as differences
from fastgradcheck.differences.columns import sweep_column
from fastgradcheck.differences.components import of_decoded, of_five_points
from fastgradcheck.differences.draws import DIRECTIONS
from fastgradcheck.differences.evidence import Evidence, Located
from fastgradcheck.differences.joint import SHARES, Joint
from fastgradcheck.differences.limits import ScreenedRows, hidden_rows
from fastgradcheck.differences.rows import Rows
from fastgradcheck.differences.screen import BEYOND_DOUBT
from fastgradcheck.differences.sets import RowDraws, failure_of
from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation.stream import Stopped
from fastgradcheck.problem.region import region_of
from fastgradcheck.search.columns import JacobianTask, confirm, one_by_one
from fastgradcheck.search.confirm import TWICE_BELOW
from fastgradcheck.search.residuals import Residuals
from fastgradcheck.verdict import rules
from fastgradcheck.verdict.rows import claimed
from fastgradcheck.verdict.verdict import Verdict

ROUNDS = 5
"""How often what was found is taken out and the rest measured anew."""
ONE_BY_ONE = 20
"""Columns that directions cannot move, or that hold no numbers, that are measured by themselves."""
LINES = 4
"""A column that is wrong in all of so many rows is named as one."""


def search(task: JacobianTask) -> Evidence:
    """Run every stage; what was measured until the stream stopped is returned.

    Parameters
    ----------
    task : JacobianTask
        Its rows need not know the noise of F yet.
    """
    evidence = Evidence()
    with np.errstate(all="ignore"):  # large steps may leave the function's domain
        try:
            known = task.recording
            context, values, edge = task.rows.context, task.rows.values, evidence.edge
            if known is None:
                level, context, edge = domain.tried(
                    context, lambda within: differences.measure_noise(within, values)
                )
            else:
                level = known.noise
            task = replace(task, rows=Rows(context, values, level))
            kind = replace(evidence.noise, level=float(np.median(level)))
            evidence = replace(evidence, noise=kind, edge=edge)
            if task.rows.context.scheme.imaginary:
                sharp = task.tolerance.threshold
                compared = analytic.compare_rows(task.rows, task.entries.outputs, sharp)
                evidence = replace(evidence, compared=compared)
            for stage in (broken, cover, one_by_one, confirm):
                failure = None
                try:
                    for latest in stage(evidence, task):
                        evidence = latest
                except CostEvaluationError as error:
                    failure = error  # outside of this block, lest it is told as the context
                if failure is not None:
                    # Theta is nearer to the edge of the domain than the steps are long.
                    context, edge = domain.inside(task.rows.context, failure)
                    task = replace(task, rows=replace(task.rows, context=context))
                    evidence = replace(evidence, edge=evidence.edge.joined(edge))
                    for latest in stage(evidence, task):
                        evidence = latest
        except Stopped:
            pass
    return evidence


def broken(evidence: Evidence, task: JacobianTask) -> Iterator[Evidence]:
    """Measure what is claimed to be no number."""
    rows, columns = task.claim.broken
    for column in np.unique(columns)[:ONE_BY_ONE].tolist():
        mine = rows[columns == column]
        sweeps = sweep_column(task.rows, column, mine, task.entries.flat(mine, column))
        evidence = evidence.with_sweeps(sweeps)
        yield evidence


def cover(evidence: Evidence, task: JacobianTask) -> Iterator[Evidence]:
    """Directions over all of theta for all rows, and the search where they disagree."""
    if not task.screens:
        return
    state = Residuals.over(task)
    if state is None:
        return
    evidence = replace(evidence, fixed=state.fixed)
    for column in state.fixed[:ONE_BY_ONE].tolist():
        every = np.arange(task.rows.count)
        sweeps = sweep_column(task.rows, column, every, task.entries.flat(every, column))
        evidence = evidence.with_sweeps(sweeps)
        yield evidence
    suspects = failing = np.zeros(0, np.int64)
    for attempt in range(ROUNDS):
        draws = state.measure((1, attempt)) if attempt else state.first()
        evidence = replace(evidence, joint=state.joint([draws], attempt))
        if not attempt and not task.rows.context.scheme.imaginary:
            evidence = replace(evidence, orders=state.orders(draws.sets[0]))
        failing, sure = _failing(evidence.joint)
        if not len(failing) or attempt == ROUNDS - 1:
            break
        # One bar in a thousand misses: what is hardly outside must be so in fresh directions too.
        due = failing[sure | np.isin(failing, suspects)]
        suspects = failing
        if not len(due):
            continue
        try:
            found = state.separate(draws, due, attempt)
        finally:
            evidence = _with_looks(evidence, state)
        yield replace(evidence, joint=())
        if not state.take_out(found):
            break
    evidence = _told(evidence, state, draws, set(failing.tolist()))
    yield evidence
    if not len(failing) and not state.lost.any():
        yield from _sharpened(evidence, state, draws, attempt)


def _sharpened(
    evidence: Evidence, state: Residuals, draws: RowDraws, attempt: int
) -> Iterator[Evidence]:
    """More directions, where these bring the limit of the whole to the threshold."""
    several, count, threshold = [draws], len(draws.choice), state.task.tolerance.threshold
    m = state.rows.count
    outputs = len(state.task.entries.outputs.blocks)

    def hidden(count: int) -> float:
        return hidden_rows(failure_of(attempt, outputs, count), count, m)

    best = hidden(max(SHARES))
    while count < max(SHARES):
        verdict, together, _ = rules.judge(state.task.beside(evidence), state.task.tolerance)
        gain = hidden(count) / best
        reachable = threshold < together.limit <= threshold / gain
        if verdict is not Verdict.UNDECIDED or not reachable:
            return
        more = count // DIRECTIONS
        several += [state.measure((2, attempt, more, k)) for k in range(more)]
        count *= 2
        evidence = replace(evidence, joint=state.joint(several, attempt))
        yield evidence


def _failing(
    joints: tuple[Joint, ...],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The rows that the directions disagree with, and which of them do so beyond doubt."""
    screened = [j.screened for j in joints if isinstance(j.screened, ScreenedRows)]
    if not screened:
        return np.zeros(0, np.int64), np.zeros(0, bool)
    failing = np.concatenate([s.failing for s in screened])
    sure = np.concatenate([s.surely for s in screened])
    return np.flatnonzero(failing), sure[failing]


def _with_looks(evidence: Evidence, state: Residuals) -> Evidence:
    """With the columns that the search looked at."""
    for index, values, bars in state.looked:
        evidence = evidence.with_components(of_five_points(index, values, bars))
    state.looked.clear()
    return evidence


def _told(evidence: Evidence, state: Residuals, draws: RowDraws, doubtful: set[int]) -> Evidence:
    """With the entries and lines that were found, and what is left unexplained."""
    task, entries = state.task, state.task.entries
    sure: list[tuple[int, int, float, float]] = []
    rest: list[tuple[int, int, float, float]] = []
    for (i, j), (size, bar) in state.repaired.items():
        shown = not state.lost[i] and i not in doubtful and abs(size) > TWICE_BELOW * bar
        taken = np.array([abs(s.taken[:, j]) for s in draws.sets])
        seen = taken[draws.choice[:, i], np.arange(len(draws.choice))] * abs(size)
        shown = shown and bool(np.all(seen > BEYOND_DOUBT * draws.error[:, i]))
        (sure if shown else rest).append((i, j, size, bar))
    if sure:
        evidence = with_decoded(evidence, task, sure)
    for column in dict.fromkeys(j for _, j, _, _ in rest[: 64 * ONE_BY_ONE]):
        mine = np.array(sorted(i for i, j, _, _ in rest if j == column))
        sweeps = sweep_column(task.rows, column, mine, entries.flat(mine, column))
        evidence = evidence.with_sweeps(sweeps)
    return located(evidence, state, doubtful)


def with_decoded(
    evidence: Evidence, task: JacobianTask, found: Sequence[tuple[int, int, float, float]]
) -> Evidence:
    """With entries that were read off directions: row, column, how far it is off, bar of that."""
    rows, columns, sizes, bars = map(np.array, zip(*found, strict=True))
    flat = task.entries.flat(rows, columns)
    order = np.argsort(flat)
    numeric = claimed(task.claim, task.entries, flat) - sizes
    return evidence.with_components(of_decoded(flat[order], numeric[order], bars[order]))


def located(evidence: Evidence, state: Residuals, doubtful: set[int]) -> Evidence:
    """With rows, columns and blocks that are wrong as a whole, named as such."""
    entries = state.task.entries
    by_block: dict[int, list[int]] = {}
    for row, b in state.lines:
        by_block.setdefault(b, []).append(row)
    wrong = np.array(list(state.repaired), np.int64).reshape(-1, 2)
    count = len(entries.parameters.blocks)
    for number, output, parameter in entries.pairs():
        block = entries.names.blocks[number]
        own = [r for r in by_block.get(number % count, []) if output.start <= r < output.stop]
        region = region_of(block)
        regions = []
        if len(own) == output.size:
            regions = [region]
        else:
            for row in sorted(own):
                line = region.copy()
                line[2:4] = row - output.start, row - output.start + 1
                regions.append(line)
            inside = wrong[(wrong[:, 0] >= output.start) & (wrong[:, 0] < output.stop)]
            columns, times = np.unique(inside[:, 1], return_counts=True)
            for column in columns[(times == output.size) & (times >= LINES)].tolist():
                if parameter.start <= column < parameter.stop:
                    line = region.copy()
                    line[4:6] = column - parameter.start, column - parameter.start + 1
                    regions.append(line)
        unexplained = any(output.start <= row < output.stop for row in doubtful)
        if regions or unexplained:
            located = Located(regions=tuple(regions), unexplained=unexplained)
            evidence = evidence.with_located(number, located)
    return evidence
