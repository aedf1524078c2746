"""The verdict on a Jacobian from recorded directions alone, without an evaluation of F."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.diagnosis import along_rows
from fastgradcheck.diagnosis.field import listed
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.row_recording import RowRecording
from fastgradcheck.differences.rows import Rows
from fastgradcheck.evaluation.engines.absent import AbsentEngine
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.fingerprints.judge import Wrong, absent, undecided_of, with_wrong
from fastgradcheck.fingerprints.subject import Subject
from fastgradcheck.fingerprints.taken import Taken
from fastgradcheck.jacobians.assemble import assemble
from fastgradcheck.jacobians.check import recorded_for, tolerances_of
from fastgradcheck.problem.calls import arguments_of
from fastgradcheck.problem.entries import Entries
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.problem.inspection import InspectedOutputs
from fastgradcheck.problem.outputs import Outputs
from fastgradcheck.problem.problem import Objective
from fastgradcheck.problem.products import Combined, claim_of
from fastgradcheck.problem.sampling import NOTHING
from fastgradcheck.problem.symmetry import asymmetry
from fastgradcheck.report.origin import origin_of
from fastgradcheck.result import GradcheckResult
from fastgradcheck.search.columns import JacobianTask
from fastgradcheck.search.recorded import Recorded


def judged_rows(
    taken: Taken,
    outputs: Outputs,
    subject: Subject,
    jac: Any,
    form: str,
    threshold: float | None,
    rtol: float | None,
) -> GradcheckResult:
    """The result of a Jacobian beside what was recorded.

    Parameters
    ----------
    taken : Taken
        The fingerprint.
    outputs : Outputs
    subject : Subject
    jac, form, threshold, rtol
        As in `jaccheck`.
    """
    began = time.perf_counter()
    recording = taken.recording
    assert isinstance(recording, RowRecording)
    name, theta = taken.names.derivative, subject.theta
    args = arguments_of(absent, jac, subject.args, taken.names, int(form != "matrix"))
    flat = subject.flat.astype(taken.dtype, copy=False)
    objective = Objective(absent, args, subject.parameters, flat, outputs=outputs)
    known = InspectedOutputs(objective, outputs, recording.values, float("nan"), True, (), 0)
    with one_blas_thread():
        claimed = claim_of(form, jac, theta, known, None, recording.seed, name, recording.sizes)
        recording, claim = recorded_for(claimed, recording), claimed.jacobian
        context = Context(
            Stream(AbsentEngine(claimed.objective)), float("nan"), seed=recording.seed
        )
        rows = Rows(context, recording.values, recording.noise)
        entries = Entries(claimed.outputs, subject.parameters)
        tolerance, notes = tolerances_of(claim, objective, threshold, rtol, True, taken.kind)
        task = JacobianTask(
            rows,
            claim,
            entries,
            tolerance,
            NOTHING,
            screens=True,
            of_gradient=taken.kind == "Hessian",
            recording=recording,
        )
        wrong = _broken(task)
        recorded = None if wrong is not None else Recorded.of(task)
        evidence, left, found = (
            (Evidence(), np.zeros(0, np.int64), ()) if recorded is None else _read(recorded)
        )
        found = (*claimed.findings, *notes, *found, taken.told())
        if taken.kind == "Hessian":
            found += asymmetry(claim, entries)
        origin = replace(origin_of(absent, jac), cost=taken.function)
        result = assemble(task, evidence, claimed, found, began, origin, taken.kind)
    wrong = _unlocated(task, left, result.wrong) if len(left) else wrong
    if wrong is None:
        return undecided_of(result, evidence.fixed, subject.parameters, "fun")
    return with_wrong(result, wrong)


def _broken(task: JacobianTask) -> Wrong | None:
    """Where the Jacobian is no number."""
    rows, columns = task.claim.broken
    if not len(rows):
        return None
    names = task.entries.names
    flat = np.sort(task.entries.flat(rows, columns))
    named = tuple(names.address(int(i)) for i in flat[:32])
    message = f"The claim is not a number at {listed(named, 'entries')}."
    blocks = tuple(sorted({names.block_index(int(i)) for i in flat}))
    return Wrong(named, blocks, Finding("not a number", message, Rank.BUG))


def _read(recorded: Recorded) -> tuple[Evidence, NDArray[np.int64], tuple[Finding, ...]]:
    """What the directions tell, the rows that are wrong for no simple reason, and findings."""
    rows, whole = recorded.wrong, along_rows.of_blocks(recorded)
    alone: set[int] = set() if whole is not None else recorded.decoded(rows)
    rows = rows[~np.isin(rows, list(alone))]
    pattern = whole or along_rows.of_rows(recorded, rows)
    findings = []
    if pattern is not None:
        recorded.explained(pattern.lines)
        findings.append(pattern.finding)
    if alone:
        message = (
            "Single wrong entries were decoded from the directions, and not confirmed by an "
            "evaluation. Pass fun= to have them confirmed."
        )
        findings.append(Finding("decoded", message, Rank.LIMIT))
    left = rows[~recorded.state.lost[rows]]
    return recorded.evidence(), left, tuple(findings)


def _unlocated(task: JacobianTask, rows: NDArray[np.int64], named: tuple[str, ...]) -> Wrong:
    """Rows that are wrong in more than an entry, and by no factor."""
    outputs, columns = task.entries.outputs, len(task.entries.parameters.blocks)
    addresses = tuple(outputs.address(int(row)) for row in rows)
    message = (
        f"The directions disagree with the rows of {listed(addresses, 'outputs')}, and neither a "
        "single entry nor a factor explains it. Pass fun= to have it located."
    )
    if isinstance(outputs, Combined):
        addresses = ()
    mine = [
        number
        for number, output, _ in task.entries.pairs()
        if columns == 1 and ((rows >= output.start) & (rows < output.stop)).any()
    ]
    finding = Finding("unlocated", message, Rank.LIMIT)
    return Wrong((*named, *addresses), tuple(mine), finding)
