"""The verdict on a gradient from recorded directions alone, without an evaluation of J."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.diagnosis.along import pattern
from fastgradcheck.diagnosis.field import listed
from fastgradcheck.differences import joint
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.directions import Prober
from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.recording import Recording
from fastgradcheck.differences.screen import BEYOND_DOUBT
from fastgradcheck.evaluation.engines.absent import AbsentEngine
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.stream import Stopped, Stream
from fastgradcheck.fingerprints.subject import Subject
from fastgradcheck.fingerprints.taken import Taken
from fastgradcheck.problem import precision
from fastgradcheck.problem.finding import Finding, Rank, by_rank
from fastgradcheck.problem.gradient import evaluate_gradient
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.problem import Objective, Problem
from fastgradcheck.problem.sampling import NOTHING
from fastgradcheck.report.origin import origin_of
from fastgradcheck.result import GradcheckResult, assemble
from fastgradcheck.search.strategy import search
from fastgradcheck.search.task import Task
from fastgradcheck.verdict.tolerances import tolerances
from fastgradcheck.verdict.verdict import Verdict


def judged(
    taken: Taken, subject: Subject, grad: Any, threshold: float | None, rtol: float | None
) -> GradcheckResult:
    """The result of a gradient beside what was recorded.

    Parameters
    ----------
    taken : Taken
        The fingerprint.
    subject : Subject
    grad, threshold, rtol
        As in `gradcheck`.
    """
    recording = taken.recording
    assert isinstance(recording, Recording)
    began = time.perf_counter()
    flat = subject.flat.astype(taken.dtype, copy=False)
    objective = Objective(absent, subject.args, subject.parameters, flat)
    with one_blas_thread():
        claimed, eps, found = evaluate_gradient(
            grad, subject.theta, subject.args, subject.parameters, 0.0
        )
        claim = precision.sharpest(grad, subject.theta, objective, claimed, eps)
    problem = Problem(objective, claim.gradient, eps, recording.value, claim.eps, claim.rounding)
    tolerance = tolerances(problem, threshold, rtol, True)
    context = Context(Stream(AbsentEngine(objective)), recording.value, seed=recording.seed)
    task = Task(context, problem, tolerance, NOTHING, screens=True, recording=recording)
    evidence = search(task)
    origin = replace(origin_of(absent, grad), cost=taken.function)
    found = (*found, *claim.findings, taken.told())
    result = assemble(task, evidence, "screen", found, origin, began)
    wrong = _broken(problem)
    if wrong is None and not result:
        wrong = _proven(problem, recording, context, evidence)
    if wrong is None:
        return undecided_of(result, evidence.fixed, subject.parameters, "cost")
    return with_wrong(result, wrong)


def undecided_of(
    result: GradcheckResult, fixed: NDArray[np.int64], parameters: Parameters, function: str
) -> GradcheckResult:
    """The result, if directions moved all of theta; else one that cannot agree."""
    if not len(fixed) or result.verdict is Verdict.WRONG:
        return result
    names = listed([parameters.address(int(i)) for i in fixed], "entries")
    reason = (
        f"The step does not move {names}, so that the recorded values say nothing of it. Pass "
        f"{function}= to have it measured."
    )
    finding = Finding("uncovered", reason, Rank.LIMIT)
    findings = by_rank((finding, *result.findings))
    return replace(
        result, verdict=Verdict.UNDECIDED, reason=result.reason or reason, findings=findings
    )


@dataclass(frozen=True)
class Wrong:
    """What is wrong: names, the numbers of the blocks, and what there is to say."""

    named: tuple[str, ...]
    blocks: tuple[int, ...]
    finding: Finding


def _broken(problem: Problem) -> Wrong | None:
    """Where the gradient is no number."""
    if problem.is_finite:
        return None
    index = np.flatnonzero(~np.isfinite(problem.gradient))
    parameters = problem.parameters
    named = tuple(parameters.address(int(i)) for i in index[:32])
    message = f"The gradient is not a number at {listed(named, 'entries')}."
    blocks = tuple(sorted({parameters.block_index(int(i)) for i in index}))
    return Wrong(named, blocks, Finding("not a number", message, Rank.BUG))


def _proven(
    problem: Problem, recording: Recording, context: Context, evidence: Evidence
) -> Wrong | None:
    """What is wrong where most directions disagree beyond doubt, which no single kink makes."""
    if not evidence.joint:
        return None
    found = evidence.joint[0]
    s = found.screened
    if not np.mean(np.abs(s.y) > BEYOND_DOUBT * s.error + s.rounding) > 0.5:
        return None
    parameters, decoded = problem.parameters, sorted(evidence.decoded.items())
    plain = Prober(context, problem)
    weighted = replace(plain, moving=joint.spread(plain, recording.weights))
    explained = pattern(weighted, found)
    if explained is not None:
        named = tuple(parameters.blocks[b].name for b in explained.blocks)
        return Wrong(named, explained.blocks, explained.finding)
    if decoded:
        blocks = tuple(sorted({parameters.block_index(i) for i, _ in decoded}))
        told = listed([_entry(problem, i, size) for i, (size, _) in decoded], "entries")
        message = (
            f"All that disagrees is explained by {told}: decoded from the "
            "directions, and not confirmed. Pass cost= to have it confirmed."
        )
        named = tuple(parameters.address(i) for i, _ in decoded)
        return Wrong(named, blocks, Finding("decoded", message, Rank.BUG))
    message = (
        "The directions disagree, and neither a single entry nor a factor of a block explains it. "
        "Pass cost= to have it located."
    )
    return Wrong((), (), Finding("unlocated", message, Rank.LIMIT))


def _entry(problem: Problem, i: int, size: float) -> str:
    claimed = float(problem.gradient[i])
    return f"{problem.parameters.address(i)} (claimed {claimed:.6g}, decoded {claimed - size:.6g})"


def with_wrong(result: GradcheckResult, wrong: Wrong) -> GradcheckResult:
    """The result with what is wrong, which it could not decide."""
    blocks = tuple(
        replace(block, verdict=Verdict.WRONG) if b in wrong.blocks else block
        for b, block in enumerate(result.blocks)
    )
    others = (f for f in result.findings if f.kind not in ("undecided", "unlocated"))
    return replace(
        result,
        verdict=Verdict.WRONG,
        blocks=blocks,
        wrong=wrong.named,
        findings=by_rank((wrong.finding, *others)),
        reason="",
    )


def absent(theta: NDArray[Any], *args: Any) -> NoReturn:
    """The function of which there are values only."""
    raise Stopped("J is not at hand")
