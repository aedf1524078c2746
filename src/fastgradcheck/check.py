"""`gradcheck`: the flow from inputs to result, and nothing else."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any, Unpack

from fastgradcheck.arguments import in_our_words
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.recording import Recording
from fastgradcheck.differences.schemes import Scheme, SchemeName
from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError, shown
from fastgradcheck.evaluation import checkpoint as checkpoints
from fastgradcheck.evaluation.budget import UNLIMITED, budget_of
from fastgradcheck.evaluation.checkpoint import Checkpoint
from fastgradcheck.evaluation.choice import EngineName, faster, open_engine, refuse_unknown
from fastgradcheck.evaluation.engines.base import Engine
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.progress import showing
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.options import (
    CheckOptions,
    Convention,
    Options,
    Strategy,
    options_of,
    refuse_vanishing,
)
from fastgradcheck.points import Points
from fastgradcheck.problem import batches, guards, low, precision
from fastgradcheck.problem.bounds import Bounds
from fastgradcheck.problem.calls import arguments_of, as_tuple
from fastgradcheck.problem.complexes import as_pairs, complexes_of, refuse_layout
from fastgradcheck.problem.foreign import COARSE
from fastgradcheck.problem.gradient import callables, evaluate_gradient, measure_of
from fastgradcheck.problem.parameters import describe, vector
from fastgradcheck.problem.problem import Objective, Problem
from fastgradcheck.problem.sampling import checked_seed
from fastgradcheck.report.origin import origin_of
from fastgradcheck.result import GradcheckResult, assemble, skipped
from fastgradcheck.search.strategy import search
from fastgradcheck.search.task import Task
from fastgradcheck.search.yardstick import calibrated
from fastgradcheck.verdict.tolerances import Tolerances, tolerances

MANY = 100
"""Evaluations that there must be time for, to try out other engines with a dozen."""


@in_our_words
def gradcheck(
    cost: Callable[..., Any],
    grad: Any,
    theta: Any,
    *,
    args: Any = (),
    layout: Mapping[str, Any] | None = None,
    sample: Any = None,
    strategy: Strategy = "auto",
    scheme: SchemeName | Scheme = "central",
    epsilon: Any = "auto",
    threshold: float | None = None,
    rtol: float | None = None,
    yardstick: Any = None,
    bounds: Any = None,
    convention: Convention | None = None,
    engine: EngineName = "auto",
    vectorized: bool | int = False,
    n_jobs: int | None = None,
    executor: Executor | None = None,
    budget: float | None = None,
    checkpoint: Any = None,
    progress: Any = None,
    seed: int | None = None,
    recording: Recording | None = None,
) -> GradcheckResult:
    """Check whether `grad` is the gradient of `cost` at `theta`.

    Parameters
    ----------
    cost : callable
        ``cost(theta, *args) -> float``: a function compiled by Numba, or any other callable.
    grad : callable, array, nest of arrays, or True
        ``grad(theta, *args)``, or its value: of theta's structure and shapes. ``True`` if `cost`
        returns ``(J, grad)``.
    theta : float array or nest of them
        The point of the check. Arrays in dicts, lists, tuples, NamedTuples or dataclasses;
        float64 or float32; complex, with two components each. A list of numbers is a vector.
        Tensors of torch, arrays of jax, Series and DataFrames of pandas, DataArrays and Datasets
        of xarray come to `cost` as what they are.
    args : tuple
        Passed on to `cost` and `grad`. Anything else is taken for one argument, a list for
        several if `cost` takes as many.
    layout : mapping of str to shape, optional
        Names the blocks of a flat theta, in order: ``{"W1": (64, 32), "b1": (32,), ...}``.
    sample : optional
        None: by strategy. A float in (0, 1]: that fraction of the components; an int: that many;
        an array: those indices; a dict: one of these per block. A fraction of more than 2,000
        components, without `strategy`: directions over all of theta, and that fraction one by
        one. Otherwise these components are checked and nothing else.
    strategy : {"auto", "components", "screen"}
        "components" measures every component; "screen" covers all of theta at once by random
        directions and locates what is wrong; "auto" does the first for up to 2,000 components,
        else the second and a spot check of 16. With a budget, "auto" screens first and then
        measures components until the time is up.
    scheme : {"central", "forward", "central4", "complex"}, or Scheme
        The difference of the plain loop: two-sided, one-sided, five-point, or a complex step, for
        which `cost` must take complex arrays. Directions and step sweeps choose for themselves.
    epsilon : "auto", float, or dict of float by block
        The step, in theta's units.
    threshold : float, optional
        On the relative difference; 1e-7 by default, 1e-6 for a float32 gradient, or more where its
        rounding is seen to be larger.
    rtol : float, optional
        Per component, relative to the larger of the two derivatives; 1e-5 by default, 1e-3 for a
        float32 gradient, and as many times more as `threshold` is above its own default.
    yardstick : callable, array or nest of arrays, optional
        For a gradient of 16 bits: another one of the same precision, that is trusted. How far it is
        off is measured, block by block, and `grad` may be off by three times as much. Without it
        the tolerances follow from the eps of the dtype and the number of terms of a sum.
    bounds : optional
        J is never evaluated outside. A pair (low, high), each a number, None for an open side, or
        of theta's structure; a list of such pairs, one for every entry, as in SciPy (two pairs are
        the bounds of two entries); a dict of pairs by block; or a `scipy.optimize.Bounds`.
    convention : {"torch", "jax"}, optional
        What the gradient by a complex theta is: dJ/dx + i dJ/dy, or its conjugate. None: what it
        is nearer to; a finding tells.
    engine : {"auto", "numba", "python"}
        What evaluates J: compiled code, for which a Python cost is compiled, or plain calls.
        "auto" takes compiled code for a compiled cost, unless plain calls are measured to be
        faster.
    vectorized : bool or int
        Whether `cost` takes many points in one call: every array of theta has a first axis more,
        of K points, as ``vmap`` has it, and J of shape (K,) is returned. A whole number is the
        largest K. `grad` is called with theta as it is.
    n_jobs : int, optional
        Threads for Numba, processes for Python. None: all cores for long work compiled by Numba,
        one process for Python. -1: all cores.
    executor : concurrent.futures.Executor, optional
        Evaluates J instead: threads, processes, MPI or a batch system. `n_jobs` then says how many
        workers it has, if it does not say so itself. It is not shut down.
    budget : float, optional
        Seconds. When they are over, the result tells what was covered until then; a part of them
        is kept for confirming what looks wrong. Components come in random order, so that
        whatever was reached is a fair sample.
    checkpoint : path, optional
        A file that is written every few seconds. A check that was stopped or killed goes on from
        it when it is started again with the same arguments, and comes to the same result.
    progress : bool or callable, optional
        None: a bar on a terminal or in a notebook after one second, a line a minute in a log.
        True: from the start. False: nothing. A callable gets a `Progress` after every chunk.
    seed : int, optional
        Of the sample and the directions; drawn, and reported, if None (or that of the
        checkpoint).
    recording : Recording, optional
        Values of J along directions that are there already; see `fingerprint`, whose ``check``
        passes them on.

    Returns
    -------
    GradcheckResult
        ``bool(result)`` is True only if the gradient agrees; ``print(result)`` is the report.

    Raises
    ------
    GradcheckInputError
        If an argument is unusable, before any long work starts.
    CostEvaluationError
        If `cost` raises at a perturbed point.

    Notes
    -----
    The gradient is compared with ``gradapprox_i = (J(theta + h e_i) - J(theta - h e_i)) / 2h`` by
    ``||grad - gradapprox|| / (||grad|| + ||gradapprox||)``. Every numeric derivative carries an
    error bar; `fastgradcheck.verdict.rules` says how they decide.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgradcheck as fgc
    >>> result = fgc.gradcheck(lambda t: (t**3).sum(), lambda t: 3 * t**2, np.array([1.0, 2.0]))
    >>> result.verdict.name, result.wrong
    ('AGREES', ())
    >>> result = fgc.gradcheck(lambda t: (t**3).sum(), lambda t: 3 * t, np.array([1.0, 2.0]))
    >>> result.verdict.name, result.wrong
    ('WRONG', ('theta[1]',))
    """
    began = time.perf_counter()
    if switched_off():
        return skipped()
    origin = origin_of(cost, grad)
    limit = budget_of(budget)
    memory = None if checkpoint is None else Checkpoint(checkpoint)
    seed = seed_of(seed, memory)
    theta = vector(theta)
    complexes = complexes_of(theta)
    if complexes is not None:
        refuse_layout(layout)
        args = as_tuple(args, cost)
        cost, grad, theta, complexes = as_pairs(cost, grad, theta, args, complexes, convention)
    parameters = describe(theta, layout)
    if complexes is not None:
        parameters = complexes.named(parameters)
    flat = parameters.flatten(theta)
    flat.setflags(write=False)
    limited = limit is not UNLIMITED
    options = options_of(parameters, flat, sample, strategy, scheme, epsilon, bounds, seed, limited)
    refuse_unknown(engine)
    args = arguments_of(cost, grad, args)
    batch = batches.batch_of(vectorized, parameters.size)
    if batch:
        batches.refuse_unvectorized(cost, grad, engine, n_jobs, executor)
    cost, grad = callables(cost, grad)
    asked = Objective(cost, args, parameters, flat, batch)
    with one_blas_thread(), showing(progress) as listen, guards.leaving_at_theta(asked):
        if batch:
            batches.refuse_single(asked)
        objective, found = guards.in_double(asked)
        refuse_vanishing(objective.theta, options.epsilon, parameters)
        running, inspected = inspected_engine(objective, options.bounds, engine, n_jobs, executor)
        try:
            if batch:
                seconds, count = batches.inspect_batch(inspected.objective, options.bounds)
                seconds, count = min(seconds, inspected.seconds), inspected.evaluations + count
                inspected = replace(inspected, seconds=seconds, evaluations=count)
            claimed, eps, notes = evaluate_gradient(
                grad, theta, args, parameters, inspected.seconds
            )
            claim = precision.sharpest(grad, theta, running.objective, claimed, eps)
            work = len(options.sample.index) * len(options.scheme.offsets)
            reach = int(min(work, max(limit.left(), 0.0) / max(inspected.seconds, 1e-9)))
            chosen = engine != "auto" or batch or executor is not None
            chosen = chosen or memory is not None or inspected.serial
            if not chosen and reach >= MANY:
                # With a checkpoint it is not asked: a resumed run must take the same engine.
                running, choice = faster(running, inspected.value, inspected.seconds, reach, n_jobs)
                notes += choice
            other = (
                None
                if yardstick is None
                else measure_of(yardstick, theta, args, parameters, eps, inspected.seconds)
            )
            if recording is not None:
                inspected = replace(inspected, value=_recorded(inspected.value, recording))
            problem = Problem(
                running.objective, claim.gradient, eps, inspected.value, claim.eps, claim.rounding,
                inspected.moves,
            )  # fmt: skip
            tolerance = tolerances(problem, threshold, rtol, options.screens)
            if eps > COARSE and other is None:
                found += (low.derived(running.objective, eps, tolerance.threshold),)
            refuse_scheme(options.scheme, running)
            if complexes is not None:
                found += complexes.findings
            found += inspected.findings + notes + claim.findings + guards.uninformative(problem)
            found += guards.slow(inspected.seconds, work, max(1, running.n_jobs))
            if memory is not None:
                value = memory.begin(_identity(problem, options, running), seed, problem.value)
                problem = replace(problem, value=value)
            with Stream(running, budget=limit, listen=listen, memory=memory) as stream:
                stream.evaluations = inspected.evaluations
                if complexes is not None:
                    stream.evaluations += complexes.evaluations
                task = replace(_task(problem, options, tolerance, stream), recording=recording)
                if other is not None:
                    task, told = calibrated(task, other, threshold, rtol)
                    found += told
                evidence = search(task)
        finally:
            running.close()
    found += stream.findings + (memory.findings if memory is not None else ())
    return assemble(task, evidence, options.strategy, found, origin, began)


def inspected_engine(
    objective: Objective,
    bounds: Bounds | None,
    engine: str,
    n_jobs: int | None,
    executor: Executor | None = None,
) -> tuple[Engine, guards.Inspected]:
    """The engine for a cost, and what the guards learnt of the cost as that engine calls it."""
    running = open_engine(objective, engine, n_jobs, executor=executor)
    try:
        inspected = guards.inspect(running.objective, bounds)
    except BaseException:
        running.close()
        raise
    if inspected.serial or inspected.objective is not running.objective:
        running.close()
        running = open_engine(
            inspected.objective, engine, n_jobs, serial=inspected.serial, executor=executor
        )
    return running, inspected


def switched_off() -> bool:
    """Whether ``FASTGRADCHECK=off`` is set."""
    return os.environ.get("FASTGRADCHECK", "").lower() == "off"


@in_our_words
def check_points(
    cost: Callable[..., Any], grad: Any, thetas: Mapping[str, Any], **options: Unpack[CheckOptions]
) -> Points:
    """Check the same gradient at several points, e.g. at initialisation and after training.

    Parameters
    ----------
    cost, grad
        As in `gradcheck`; `grad` must be callable, or True.
    thetas : mapping of str to theta
        Names the points.
    **options
        Passed on to `gradcheck`. A checkpoint ``run.npz`` becomes ``run-init.npz``, one per point;
        a budget is for each of them.

    Returns
    -------
    Points
        A dict of name to `GradcheckResult`, which ``print`` shows as a table. It ends with the
        point at which Ctrl-C was pressed.

    Raises
    ------
    GradcheckInputError
        As in `gradcheck`, naming the point.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgradcheck as fgc
    >>> points = {"init": np.array([0.1]), "trained": np.array([2.0])}
    >>> results = fgc.check_points(lambda t: (t**2).sum(), lambda t: 2 * t, points)
    >>> [name for name, result in results.items() if result]
    ['init', 'trained']
    """
    if not isinstance(thetas, Mapping) or not thetas:
        raise GradcheckTypeError(
            'the points must be a non-empty dict of name to theta, e.g. {"init": theta0}.'
        )
    for name in thetas:
        if not (isinstance(name, str) and name.isprintable()):
            raise GradcheckTypeError(
                f"the name {shown(name)} of a point cannot be printed: name points by text."
            )
    if grad is not True and not callable(grad):
        raise GradcheckTypeError(
            "grad is one array, which cannot be the gradient at several points; pass the function."
        )
    results = Points()
    path = options.get("checkpoint")
    for name, theta in thetas.items():
        if path is not None:
            options["checkpoint"] = checkpoints.path_for(path, name)
        try:
            results[name] = gradcheck(cost, grad, theta, **options)
        except GradcheckInputError as error:
            raise type(error)(f"at the point {shown(name)}: {error}") from error
        if any(finding.kind == "interrupted" for finding in results[name].findings):
            break
    return results


def seed_of(seed: Any, memory: Checkpoint | None) -> int:
    """The user's seed, or that of the checkpoint, or a new one."""
    if seed is None and memory is not None:
        seed = memory.seed
    return secrets.randbits(32) if seed is None else checked_seed(seed)


def _task(problem: Problem, options: Options, tolerance: Tolerances, stream: Stream) -> Task:
    """What the search is about."""
    context = Context(
        stream,
        problem.value,
        bounds=options.bounds,
        scheme=options.scheme,
        epsilon=options.epsilon,
        seed=options.seed,
    )
    return Task(context, problem, tolerance, options.sample, options.screens, options.spot)


def _recorded(value: float, recording: Recording) -> float:
    """J(theta) as it was recorded, if it is the same but for its last digits."""
    if not isinstance(recording, Recording):
        raise GradcheckTypeError(
            f"recording is a {type(recording).__name__}: use fingerprint(...).check(grad, "
            "cost=cost), which passes its own."
        )
    if not recording.is_of(value):
        raise GradcheckInputError(
            f"J(theta) is {value!r} here and was {recording.value!r} when its values were "
            "recorded: cost or args have changed since. Record them again."
        )
    return recording.value


def _identity(problem: Problem, options: Options, engine: Engine) -> dict[str, str]:
    """What a checkpoint must have in common with this check."""
    return checkpoints.identity(
        problem,
        scheme=options.scheme.name,
        engine=engine.name,
        epsilon=options.epsilon,
        bounds=options.bounds,
        sample=options.sample.index,
    )


def refuse_scheme(scheme: Scheme, engine: Engine) -> None:
    """Refuse complex steps where the function cannot take them, with the reason.

    Raises
    ------
    GradcheckInputError
    """
    reason = engine.supports_complex() if scheme.imaginary else None
    if reason is not None:
        reason = reason.rstrip(".").removesuffix(': use scheme="central"')
        raise GradcheckInputError(
            f'scheme="complex" is not possible for this {engine.objective.name}: {reason}. Use '
            'scheme="central4", which needs no complex arithmetic.'
        )
