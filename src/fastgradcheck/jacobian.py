"""`jaccheck`: the flow from a function of several outputs and its Jacobian to a result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import astuple, replace
from typing import Any

import numpy as np

from fastgradcheck.arguments import in_our_words
from fastgradcheck.check import seed_of, switched_off
from fastgradcheck.diagnosis import rows as diagnosis
from fastgradcheck.diagnosis.findings import kinks, lost, undecided, unlocated, zero
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.rows import Rows
from fastgradcheck.differences.screen import CONFIDENCE
from fastgradcheck.errors import GradcheckInputError, shown
from fastgradcheck.evaluation.budget import UNLIMITED, budget_of
from fastgradcheck.evaluation.checkpoint import Checkpoint
from fastgradcheck.evaluation.choice import EngineName, open_engine, refuse_unknown
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.progress import showing
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.options import STRATEGIES, Strategy
from fastgradcheck.problem import sampling
from fastgradcheck.problem.bounds import flat_bounds
from fastgradcheck.problem.calls import HESSIAN, JACOBIAN, arguments_of
from fastgradcheck.problem.entries import Entries
from fastgradcheck.problem.finding import Finding, by_rank
from fastgradcheck.problem.gradient import callables
from fastgradcheck.problem.guards import leaving_at_theta
from fastgradcheck.problem.inspection import inspect_outputs
from fastgradcheck.problem.jacobian import Jacobian
from fastgradcheck.problem.nests import bytes_of, hexdigest
from fastgradcheck.problem.parameters import Parameters, describe, vector
from fastgradcheck.problem.problem import Objective
from fastgradcheck.problem.products import Claimed, Combined, claim_of
from fastgradcheck.problem.sampling import Sample
from fastgradcheck.problem.symmetry import asymmetry
from fastgradcheck.report.origin import origin_of
from fastgradcheck.report.outcome import Origin, Seconds
from fastgradcheck.result import (
    GradcheckResult,
    named_wrong,
    of_a_part,
    records,
    skipped,
    sweeps_of,
    was_stopped,
)  # fmt: skip
from fastgradcheck.search.columns import JacobianTask
from fastgradcheck.search.rows import search
from fastgradcheck.verdict import rules
from fastgradcheck.verdict.rows import unsettled
from fastgradcheck.verdict.support import reading
from fastgradcheck.verdict.tolerances import tolerances_at
from fastgradcheck.verdict.verdict import Resolution, Verdict
from fastgradcheck.version import __version__

FORMS = {"Jacobian": ("matrix", "jvp", "vjp"), "Hessian": ("matrix", "hvp")}
EVERY_COLUMN = 64
"""Up to this many parameters, strategy "auto" measures every column, four evaluations each ..."""
SPOT_CHECK = 3
"""... and beyond it, directions cover all of them, and so many columns are measured besides."""


@in_our_words
def jaccheck(
    fun: Callable[..., Any],
    jac: Any,
    theta: Any,
    *,
    form: str = "matrix",
    args: tuple[Any, ...] = (),
    layout: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    sample: Any = None,
    strategy: Strategy = "auto",
    threshold: float | None = None,
    rtol: float | None = None,
    bounds: Any = None,
    engine: EngineName = "auto",
    n_jobs: int | None = None,
    budget: float | None = None,
    checkpoint: Any = None,
    progress: Any = None,
    seed: int | None = None,
) -> GradcheckResult:
    """Check whether `jac` is the Jacobian of `fun` at `theta`.

    Parameters
    ----------
    fun : callable
        ``fun(theta, *args) -> array of shape (m,)``, an array of any shape, or a nest of arrays.
    jac : callable, array, sparse matrix, nest of them, or True
        ``jac(theta, *args)``, or its value: of shape (m, n), dense or ``scipy.sparse``; or a nest
        of blocks of shape ``output.shape + parameter.shape``, outputs outside and parameters
        inside; None in the place of a block is zero. ``True`` if `fun` returns ``(F, jac)``.
    theta : float array or nest of them
        The point of the check.
    form : {"matrix", "jvp", "vjp"}
        What `jac` returns: the matrix; with "jvp", ``jac(theta, v, *args)``, its product with v,
        of the structure of F; with "vjp", ``jac(theta, u, *args)``, u' times it, of theta's.
    args : tuple
        Passed on to `fun` and `jac`.
    layout, outputs : mapping of str to shape, optional
        Name the blocks of a flat theta, and those of a flat F, in order.
    sample : optional
        The columns to be measured one by one: as in `gradcheck`.
    strategy : {"auto", "components", "screen"}
        "components" measures column by column, by four evaluations of F each; "screen" covers all
        columns at once by random directions, names the rows that disagree and decodes what is
        wrong in them; "auto" does the first for up to 64 parameters, else the second, and measures
        three columns besides.
    threshold, rtol, bounds, engine, n_jobs, budget, checkpoint, progress, seed
        As in `gradcheck`.

    Returns
    -------
    GradcheckResult
        With addresses such as ``defect[3, 1] / W1[3, 5]``.

    Raises
    ------
    GradcheckInputError
        If an argument is unusable, before any long work starts.
    CostEvaluationError
        If `fun` raises at a perturbed point.

    Notes
    -----
    ``F(theta +- h v)`` tells the derivative of every output along v, so that four directions, 16
    evaluations of F, test all m n entries; `fastgradcheck.differences.rows` says how surely.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgradcheck as fgc
    >>> def fun(t):
    ...     return np.array([t[0] ** 2 * t[1], 5 * t[0] + np.sin(t[1])])
    >>> def jac(t):
    ...     return np.array([[2 * t[0] * t[1], t[0] ** 2], [5.0, -np.cos(t[1])]])
    >>> result = fgc.jaccheck(fun, jac, np.array([1.0, 2.0]))
    >>> result.verdict.name, result.wrong
    ('WRONG', ('F[1] / theta[1]',))
    """
    return _check(
        fun, jac, theta, form, "Jacobian", args, layout, outputs, sample, strategy, threshold, rtol,
        bounds, engine, n_jobs, budget, checkpoint, progress, seed,
    )  # fmt: skip


@in_our_words
def hesscheck(
    grad: Callable[..., Any],
    hess: Any,
    theta: Any,
    *,
    form: str = "matrix",
    args: tuple[Any, ...] = (),
    layout: Mapping[str, Any] | None = None,
    sample: Any = None,
    strategy: Strategy = "auto",
    threshold: float | None = None,
    rtol: float | None = None,
    bounds: Any = None,
    engine: EngineName = "auto",
    n_jobs: int | None = None,
    budget: float | None = None,
    checkpoint: Any = None,
    progress: Any = None,
    seed: int | None = None,
) -> GradcheckResult:
    """Check whether `hess` is the derivative of `grad` at `theta`, and symmetric.

    Parameters
    ----------
    grad : callable
        ``grad(theta, *args)``, of theta's structure: taken as it is; `gradcheck` checks it.
    hess : callable, array, sparse matrix or nest of them
        As `jac` in `jaccheck`, outputs being theta's blocks; with ``form="hvp"``,
        ``hess(theta, v, *args)``, the product of the Hessian with v (SciPy's ``hessp``).
    theta : float array or nest of them
        The point of the check.
    form : {"matrix", "hvp"}
        What `hess` returns.
    args, layout, sample, strategy, threshold, rtol, bounds
        As in `jaccheck`.
    engine, n_jobs, budget, checkpoint, progress, seed
        As in `gradcheck`.

    Returns
    -------
    GradcheckResult
        WRONG also if the claimed Hessian is not symmetric. Findings tell apart: ``"asymmetric"``
        (the claim is not symmetric), ``"not-a-gradient"`` (it is the derivative of `grad`, but
        `grad` is the gradient of nothing), ``"linear"`` (an hvp that is not linear in v).

    Raises
    ------
    GradcheckInputError, CostEvaluationError
        As in `jaccheck`.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.optimize
    >>> import fastgradcheck as fgc
    >>> theta = np.linspace(-1.0, 1.0, 5)
    >>> rosen_der, rosen_hess = scipy.optimize.rosen_der, scipy.optimize.rosen_hess
    >>> fgc.hesscheck(rosen_der, rosen_hess, theta).verdict.name
    'AGREES'
    >>> hessp = scipy.optimize.rosen_hess_prod
    >>> fgc.hesscheck(rosen_der, lambda t, v: 2 * hessp(t, v), theta, form="hvp").verdict.name
    'WRONG'
    """
    return _check(
        grad, hess, theta, form, "Hessian", args, layout, None, sample, strategy, threshold, rtol,
        bounds, engine, n_jobs, budget, checkpoint, progress, seed,
    )  # fmt: skip


def _check(
    fun: Any, jac: Any, theta: Any, form: str, subject: str, args: Any, layout: Any, outputs: Any,
    sample: Any, strategy: str, threshold: float | None, rtol: float | None, bounds: Any,
    engine: str, n_jobs: int | None, budget: float | None, checkpoint: Any, progress: Any,
    seed: int | None,
) -> GradcheckResult:  # fmt: skip
    """The flow of both checks, which differ in their words and in symmetry."""
    began = time.perf_counter()
    if switched_off():
        return skipped()
    names = JACOBIAN if subject == "Jacobian" else HESSIAN
    if not isinstance(form, str) or form not in FORMS[subject]:
        raise GradcheckInputError(
            f"form={shown(form)} is not a form; use one of {', '.join(map(repr, FORMS[subject]))}."
        )
    origin = origin_of(fun, jac)
    limit = budget_of(budget)
    memory = None if checkpoint is None else Checkpoint(checkpoint)
    seed = seed_of(seed, memory)
    theta = vector(theta)
    parameters = describe(theta, layout)
    flat = parameters.flatten(theta)
    flat.setflags(write=False)
    drawn, screens = _columns(parameters, sample, strategy, seed, limit is not UNLIMITED)
    limits = flat_bounds(bounds, flat, parameters)
    refuse_unknown(engine)
    args = arguments_of(fun, jac, args, names, vectors=int(form != "matrix"))
    fun, jac = callables(fun, jac, names)
    objective = Objective(fun, args, parameters, flat)
    with one_blas_thread(), showing(progress) as listen, leaving_at_theta(objective):
        square = subject == "Hessian"
        inspected = inspect_outputs(objective, outputs, limits, names.function, square)
        claimed = claim_of(form, jac, theta, inspected, seed, names.derivative)
        claim, objective = claimed.jacobian, claimed.objective
        tolerance = tolerances_at(claim.eps, objective.theta.dtype, threshold, rtol)
        running = open_engine(objective, engine, n_jobs)
        try:
            values = claimed.values
            if memory is not None:
                value = float(np.sum(values))
                memory.begin(_identity(objective, claim, drawn, limits, running.name), seed, value)
            with Stream(running, budget=limit, listen=listen, memory=memory) as stream:
                stream.evaluations = inspected.evaluations
                context = Context(stream, float("nan"), bounds=limits, seed=seed)
                rows = Rows(context, values, np.zeros(len(values)))
                entries = Entries(claimed.outputs, parameters)
                spot = screens and sample is None
                task = JacobianTask(rows, claim, entries, tolerance, drawn, screens, spot)
                evidence = search(task)
        finally:
            running.close()
    found = inspected.findings + claimed.findings
    if subject == "Hessian":
        found += asymmetry(claim, entries)
    found += stream.findings + (memory.findings if memory is not None else ())
    return _assemble(task, evidence, claimed, found, began, origin, subject)


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


def _columns(
    parameters: Parameters, sample: Any, strategy: str, seed: int, limited: bool
) -> tuple[Sample, bool]:
    """The columns to be measured one by one, and whether directions cover all of them."""
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        raise GradcheckInputError(
            f"strategy={shown(strategy)} is not a strategy; "
            f"use one of {', '.join(map(repr, STRATEGIES))}."
        )
    if strategy == "auto":
        large = parameters.size > EVERY_COLUMN
        if sample is None and (large or limited):
            return sampling.draw(min(SPOT_CHECK, parameters.size), parameters, seed), True
        return sampling.draw(sample, parameters, seed), False
    if strategy == "screen":
        nothing = sample is None
        return sampling.NOTHING if nothing else sampling.draw(sample, parameters, seed), True
    return sampling.draw(sample, parameters, seed), False


def _identity(
    objective: Objective, claim: Jacobian, drawn: Sample, limits: Any, engine: str
) -> dict[str, str]:
    """What a checkpoint must have in common with this check."""
    blocks = [(block.name, block.shape) for block in objective.parameters.blocks]
    everything = np.ones(claim.shape[1])
    return {
        "version": __version__,
        "theta": hexdigest(bytes_of(objective.theta, blocks)),
        "jac": hexdigest(bytes_of(claim.product(everything), claim.shape)),
        "args": hexdigest(bytes_of(objective.args)),
        "engine": engine,
        "bounds": hexdigest(bytes_of(limits)),
        "sample": hexdigest(bytes_of(drawn.index)),
    }


def _assemble(
    task: JacobianTask,
    evidence: Evidence,
    claimed: Claimed,
    found: tuple[Finding, ...],
    began: float,
    origin: Origin,
    subject: str,
) -> GradcheckResult:
    """The result of a check, judged on all that was measured."""
    tolerance, names = task.tolerance, task.entries.names
    stream = task.rows.context.stream
    engine = stream.engine
    beside = task.beside(evidence)
    _, overall, blocks = rules.judge(beside, tolerance)
    blocks = unsettled(blocks, beside, tolerance)
    verdict = rules.verdict_on(overall, blocks, tolerance)
    blocks = diagnosis.reasons(task, beside, blocks)
    components = records(beside, tolerance)
    resolution = _resolution(task, blocks)
    coverage, probability = diagnosis.covered(task, evidence, blocks, resolution)
    found += undecided(verdict, overall.limit, blocks, tolerance)
    found += lost(beside, blocks, tolerance) + zero(blocks, tolerance)
    if verdict is Verdict.WRONG:
        found += diagnosis.diagnosed(task, components, blocks)
    found += unlocated(names, evidence, verdict)
    stopped = was_stopped(stream, verdict, blocks)
    verdict, part = of_a_part(verdict, blocks, stopped)
    verdict, reason, found = proven(verdict, found)
    wrong = named_wrong(beside, tolerance)
    if isinstance(claimed.outputs, Combined):
        wrong = diagnosis.of_rows(task, components, claimed.outputs, wrong)
        coverage += diagnosis.combinations(claimed.outputs)
    read = {
        e: reading(own, float(components["analytic"][np.searchsorted(components["index"], e)]))
        for e, own in evidence.sweeps.items()
    }
    found += kinks(names, read.values())
    return GradcheckResult(
        verdict=verdict,
        relative_difference=overall.relative,
        limit=overall.limit,
        threshold=tolerance.threshold,
        rtol=tolerance.rtol,
        resolution=Resolution(resolution.size, probability, resolution.relative),
        blocks=blocks,
        components=components,
        wrong=wrong,
        findings=by_rank(found + engine.findings),
        coverage=coverage,
        evaluations=stream.evaluations,
        seconds=Seconds(time.perf_counter() - began, engine.compile_seconds),
        engine=engine.name,
        n_jobs=engine.n_jobs,
        scheme="central",
        strategy="screen" if task.screens else "components",
        seed=task.rows.context.seed,
        steps={block.name: block.step for block in blocks},
        noise=evidence.noise.level,
        size=names.size,
        interrupted=stopped,
        sweeps=sweeps_of(names, components, read),
        remembered=stream.remembered,
        orders=None if evidence.orders is None else astuple(evidence.orders),
        origin=origin,
        subject=subject,
        reason=reason or part,
    )


def _resolution(task: JacobianTask, blocks: tuple[Any, ...]) -> Resolution:
    """The coarsest resolution of all blocks, beside a row's typical entry."""
    sizes = [b.resolution for b in blocks if b.verdict is not Verdict.SKIPPED]
    size = max(sizes, default=np.inf)
    _m, n = task.claim.shape
    whole = np.sqrt(sum(np.square(s) for s in task.sizes) / n)
    whole = whole[whole > 0]
    typical = float(np.median(whole)) if len(whole) else np.nan
    return Resolution(size, CONFIDENCE, size / typical if typical else np.nan)
