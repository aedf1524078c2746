"""`jaccheck`: the flow from a function of several outputs and its Jacobian to a result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import numpy as np

from fastgradcheck.arguments import in_our_words
from fastgradcheck.check import refuse_scheme, seed_of, switched_off
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.row_recording import RowRecording
from fastgradcheck.differences.rows import Array, Rows
from fastgradcheck.differences.schemes import Scheme, SchemeName
from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError, shown
from fastgradcheck.evaluation.budget import UNLIMITED, budget_of
from fastgradcheck.evaluation.checkpoint import Checkpoint
from fastgradcheck.evaluation.choice import EngineName, open_engine
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.progress import showing
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.jacobians.assemble import assemble
from fastgradcheck.jacobians.options import Asked, Options, options_of
from fastgradcheck.options import Strategy
from fastgradcheck.problem import batches, low
from fastgradcheck.problem.calls import HESSIAN, JACOBIAN, Names, arguments_of
from fastgradcheck.problem.entries import Entries
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.foreign import COARSE
from fastgradcheck.problem.gradient import callables
from fastgradcheck.problem.guards import leaving_at_theta
from fastgradcheck.problem.inspection import inspect_outputs
from fastgradcheck.problem.jacobian import Jacobian
from fastgradcheck.problem.nests import bytes_of, hexdigest
from fastgradcheck.problem.parameters import describe, vector
from fastgradcheck.problem.problem import Objective
from fastgradcheck.problem.products import Claimed, Combined, claim_of
from fastgradcheck.problem.symmetry import asymmetry
from fastgradcheck.report.origin import origin_of
from fastgradcheck.result import GradcheckResult, skipped
from fastgradcheck.search.columns import JacobianTask
from fastgradcheck.search.rows import search
from fastgradcheck.search.yardstick import calibrated_rows
from fastgradcheck.verdict.tolerances import Tolerances, of_rows, tolerances_at
from fastgradcheck.version import __version__

FORMS = {"Jacobian": ("matrix", "jvp", "vjp"), "Hessian": ("matrix", "hvp")}


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
    scheme: SchemeName | Scheme = "central4",
    epsilon: Any = "auto",
    threshold: float | None = None,
    rtol: float | None = None,
    yardstick: Any = None,
    bounds: Any = None,
    engine: EngineName = "auto",
    vectorized: bool | int = False,
    n_jobs: int | None = None,
    executor: Executor | None = None,
    budget: float | None = None,
    checkpoint: Any = None,
    progress: Any = None,
    seed: int | None = None,
    recording: RowRecording | None = None,
) -> GradcheckResult:
    """Check whether `jac` is the Jacobian of `fun` at `theta`.

    Parameters
    ----------
    fun : callable
        ``fun(theta, *args) -> array of shape (m,)``, an array of any shape, or a nest of arrays.
    jac : callable, array, sparse matrix, linear operator, nest of arrays, or True
        ``jac(theta, *args)``, or its value: of shape (m, n), dense, ``scipy.sparse`` or a
        ``LinearOperator``, of which products with vectors are taken; or a nest
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
    scheme : {"central4", "complex", "central", "forward"}, or Scheme
        The difference by which columns are measured: by five points, whose bars are their own; by a
        complex step, for which `fun` must take complex arrays, and directions take one too; or by
        others, as in `gradcheck`, with bars that are enough to agree and prove nothing.
    epsilon : "auto", float, or dict of float by block
        The step of columns that are measured one by one, in theta's units.
    yardstick : optional
        Another Jacobian, in the form of `jac`, that is trusted and has the same dtype of 16 bits:
        `jac` may be off by three times as much.
    vectorized : bool or int
        Whether `fun` takes many points in one call: every array of theta has a first axis more, of
        K points, and so has every array that it returns. A whole number is the largest K. `jac` is
        called with theta as it is.
    threshold, rtol, bounds, engine, n_jobs, executor, budget, checkpoint, progress, seed
        As in `gradcheck`.
    recording : RowRecording, optional
        Values of F along directions that are there already; see `jacobian_fingerprint`, whose
        ``check`` passes it.

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
    asked = Asked(
        form, args, layout, sample, strategy, scheme, epsilon, threshold, rtol, yardstick, bounds,
        engine, vectorized, n_jobs, executor, budget, checkpoint, progress, seed,
    )  # fmt: skip
    return _check(fun, jac, theta, "Jacobian", asked, outputs, recording)


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
    scheme: SchemeName | Scheme = "central4",
    epsilon: Any = "auto",
    threshold: float | None = None,
    rtol: float | None = None,
    yardstick: Any = None,
    bounds: Any = None,
    engine: EngineName = "auto",
    vectorized: bool | int = False,
    n_jobs: int | None = None,
    executor: Executor | None = None,
    budget: float | None = None,
    checkpoint: Any = None,
    progress: Any = None,
    seed: int | None = None,
    recording: RowRecording | None = None,
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
    args, layout, sample, strategy, scheme, epsilon, yardstick, vectorized
        As in `jaccheck`.
    threshold, rtol, bounds, engine, n_jobs, executor, budget, checkpoint, progress, seed
        As in `gradcheck`.
    recording : RowRecording, optional
        As in `jaccheck`; see `hessian_fingerprint`.

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
    asked = Asked(
        form, args, layout, sample, strategy, scheme, epsilon, threshold, rtol, yardstick, bounds,
        engine, vectorized, n_jobs, executor, budget, checkpoint, progress, seed,
    )  # fmt: skip
    return _check(grad, hess, theta, "Hessian", asked, None, recording)


def _check(
    fun: Any,
    jac: Any,
    theta: Any,
    subject: str,
    asked: Asked,
    outputs: Any,
    recording: RowRecording | None,
) -> GradcheckResult:
    """The flow of both checks, which differ in their words and in symmetry."""
    began = time.perf_counter()
    if switched_off():
        return skipped()
    names, form = JACOBIAN if subject == "Jacobian" else HESSIAN, asked.form
    refuse_unknown_form(form, subject)
    origin = origin_of(fun, jac)
    limit = budget_of(asked.budget)
    memory = None if asked.checkpoint is None else Checkpoint(asked.checkpoint)
    seed = seed_of(asked.seed, memory)
    theta = vector(theta)
    parameters = describe(theta, asked.layout)
    flat = parameters.flatten(theta)
    flat.setflags(write=False)
    options = options_of(asked, parameters, flat, seed, limit is not UNLIMITED)
    limits = options.bounds
    args = arguments_of(fun, jac, asked.args, names, vectors=int(form != "matrix"))
    batch = batches.batch_of(asked.vectorized, parameters.size)
    if batch:
        batches.refuse_unvectorized(
            fun, jac, asked.engine, asked.n_jobs, asked.executor, names=names
        )
    fun, jac = callables(fun, jac, names)
    objective = Objective(fun, args, parameters, flat, batch)
    with one_blas_thread(), showing(asked.progress) as listen, leaving_at_theta(objective):
        square = subject == "Hessian"
        inspected = inspect_outputs(objective, outputs, limits, names.function, square)
        if batch:
            _, count = batches.inspect_batch(inspected.objective, limits)
            inspected = replace(inspected, evaluations=inspected.evaluations + count)
        sizes = None
        if recording is not None:
            inspected = replace(inspected, values=_recorded(inspected.values, recording, names))
            sizes = recording.sizes
        claimed = claim_of(form, jac, theta, inspected, limits, seed, names.derivative, sizes)
        if recording is not None:
            recording = recorded_for(claimed, recording)
        claim, objective = claimed.jacobian, claimed.objective
        tolerance, notes = tolerances_of(
            claim, objective, asked.threshold, asked.rtol, options.screens, subject
        )
        trusted = None
        if asked.yardstick is not None:
            trusted = claim_of(
                form, asked.yardstick, theta, inspected, limits, seed, "yardstick", sizes
            ).jacobian
            low.refuse_sharp(claim.eps, subject)
        running = open_engine(
            objective, asked.engine, asked.n_jobs, serial=inspected.serial, executor=asked.executor
        )
        try:
            refuse_scheme(options.scheme, running)
            values = claimed.values
            if memory is not None:
                value = float(np.sum(values))
                memory.begin(_identity(objective, claim, options, running.name), seed, value)
            with Stream(running, budget=limit, listen=listen, memory=memory) as stream:
                stream.evaluations = inspected.evaluations + claimed.evaluations
                context = Context(
                    stream, float("nan"), bounds=limits, scheme=options.scheme,
                    epsilon=options.epsilon, seed=seed,
                )  # fmt: skip
                rows = Rows(context, values, np.zeros(len(values)))
                entries = Entries(claimed.outputs, parameters)
                task = JacobianTask(
                    rows, claim, entries, tolerance, options.sample, options.screens, options.spot,
                    of_gradient=square, recording=recording, moves=inspected.moves,
                )  # fmt: skip
                if trusted is not None:
                    task, notes = calibrated_rows(
                        task, trusted, asked.threshold, asked.rtol, subject
                    )
                evidence = search(task)
        finally:
            running.close()
    found = inspected.findings + claimed.findings + notes
    if subject == "Hessian":
        found += asymmetry(claim, entries)
    found += stream.findings + (memory.findings if memory is not None else ())
    return assemble(task, evidence, claimed, found, began, origin, subject)


def refuse_unknown_form(form: Any, subject: str) -> None:
    """Raise `GradcheckInputError` unless a Jacobian, or Hessian, may have this form."""
    if not isinstance(form, str) or form not in FORMS[subject]:
        raise GradcheckInputError(
            f"form={shown(form)} is not a form; use one of {', '.join(map(repr, FORMS[subject]))}."
        )


def tolerances_of(
    claim: Jacobian,
    objective: Objective,
    threshold: float | None,
    rtol: float | None,
    screens: bool,
    subject: str,
) -> tuple[Tolerances, tuple[Finding, ...]]:
    """The tolerances of a claim; of 16 bits, with what they were derived from."""
    if claim.eps <= COARSE:
        return tolerances_at(claim.eps, objective.theta.dtype, threshold, rtol), ()
    level = low.relative(claim.eps, low.terms(objective))
    shape = claim.shape[0], len(objective.parameters.blocks)
    tolerance = of_rows(level, shape, threshold, rtol, screens)
    return tolerance, (low.derived(objective, claim.eps, tolerance.threshold, subject),)


def recorded_for(claimed: Claimed, recording: RowRecording) -> RowRecording:
    """The recording of the rows that are claimed, which may be combinations of the outputs."""
    outputs = claimed.outputs
    return recording.combined(outputs.cotangents) if isinstance(outputs, Combined) else recording


def _recorded(values: Array, recording: RowRecording, names: Names) -> Array:
    """F(theta) as it was recorded, if it is the same but for its last digits."""
    if not isinstance(recording, RowRecording):
        raise GradcheckTypeError(
            f"recording is a {type(recording).__name__}: use jacobian_fingerprint(...).check("
            f"{names.derivative}, fun={names.function}), which passes its own."
        )
    if not recording.is_of(values):
        raise GradcheckInputError(
            f"{names.function}(theta) is not what it was when its values were recorded: "
            f"{names.function} or args have changed since. Record them again."
        )
    return recording.values


def _identity(
    objective: Objective, claim: Jacobian, options: Options, engine: str
) -> dict[str, str]:
    """What a checkpoint must have in common with this check."""
    blocks = [(block.name, block.shape) for block in objective.parameters.blocks]
    # Of a vector that keeps exchanged columns apart.
    everything = np.random.default_rng(0).uniform(0.5, 1.5, claim.shape[1])
    return {
        "version": __version__,
        "theta": hexdigest(bytes_of(objective.theta, blocks)),
        "jac": hexdigest(bytes_of(claim.product(everything), claim.shape)),
        "args": hexdigest(bytes_of(objective.args)),
        "scheme": options.scheme.name,
        "engine": engine,
        "epsilon": hexdigest(bytes_of(options.epsilon)),
        "bounds": hexdigest(bytes_of(options.bounds)),
        "sample": hexdigest(bytes_of(options.sample.index)),
    }
