"""`gradcheck`: the flow from inputs to result, and nothing else."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck import checkpoint as checkpoints
from fastgradcheck import guards, judge, noise, sampling, steps
from fastgradcheck.budget import UNLIMITED, budget_of
from fastgradcheck.checkpoint import Checkpoint
from fastgradcheck.confirm import CAP, Measure, confirm
from fastgradcheck.diagnose import diagnose
from fastgradcheck.engines import is_jitted, open_engine, refuse_unknown
from fastgradcheck.engines.base import Engine
from fastgradcheck.engines.blas import one_blas_thread
from fastgradcheck.engines.choice import faster
from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.evidence import EMPTY, Components, of_differences, of_glances
from fastgradcheck.judge import BlockEvidence, Tolerances
from fastgradcheck.ladder import KINK_HERE, KINK_LEFT, KINK_RIGHT, Settled, climb
from fastgradcheck.locate import WITNESSES, Region, columns_of, entries_of, locate, named, rows_of
from fastgradcheck.parameters import Parameters, describe
from fastgradcheck.plans import Stencils
from fastgradcheck.problem import Finding, Objective, Problem
from fastgradcheck.progress import showing
from fastgradcheck.result import (
    COMPONENT,
    BlockResult,
    GradcheckResult,
    Resolution,
    Seconds,
    Sweep,
    Verdict,
)
from fastgradcheck.sampling import Sample
from fastgradcheck.schemes import Scheme, scheme_named
from fastgradcheck.screen import (
    CONFIDENCE,
    DIRECTIONS,
    Prober,
    Screened,
    extended,
    region_of,
    screen,
)
from fastgradcheck.steps import FIRST_RUNG, Bounds, Steps
from fastgradcheck.stream import Stopped, Stream

STRATEGIES = ("auto", "components", "screen")
EVERY_COMPONENT = 2000
"""Up to this size, strategy "auto" measures every component one by one ..."""
SPOT_CHECK = 100
"""... and beyond it, it screens and spot-checks this many."""
SHARE = 0.7
"""The part of the threshold that the directions' limits should stay within."""
IN_BUDGET = 100_000
"""With a budget it screens first, and then measures components as long as there is time, up to
this many."""
GLANCE = 2.0**-13
"""Relative step of the five-point differences that a search looks at entries with: near the
optimum eps^(1/3) of central differences, which their bars are made of, but above it, where
smooth functions still lose nothing."""
EXTENSIONS = 2
IMPRECISION = 4.0
"""How far above the imprecision that some entries show the others' may lie."""
TINY = float(np.finfo(np.float64).tiny)
STILL = 100
"""Entries at their bounds, which take no part in directions, that are measured one by one."""
MANY = 100
"""Evaluations that there must be time for, to try out other engines with a dozen."""
REFINED = 256
"""Components remeasured on ladders where only their bars stand between a block and agreement."""


@dataclass(frozen=True, eq=False)
class Options:
    """What is to be done, validated."""

    scheme: Scheme
    strategy: str
    sample: Sample
    screens: bool
    absolute: NDArray[np.float64]
    bounds: Bounds | None
    seed: int


@dataclass
class Measured:
    """What has been measured so far; stages add to it, so that a stop loses nothing."""

    noise: noise.Noise = noise.Noise(0.0, 0.0, "rounding")
    steps: Steps | None = None
    components: Components = EMPTY
    ladders: list[Settled] = field(default_factory=list)
    screened: dict[int, Screened] = field(default_factory=dict)
    regions: dict[int, list[Region]] = field(default_factory=dict)
    throughout: set[int] = field(default_factory=set)
    incomplete: set[int] = field(default_factory=set)
    still: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def keep(self, settled: list[Settled], gradient: NDArray[np.float64]) -> None:
        self.ladders += settled
        self.components = self.components.with_ladders(settled, gradient)


def gradcheck(
    cost: Callable[..., Any],
    grad: Any,
    theta: Any,
    *,
    args: tuple[Any, ...] = (),
    layout: Mapping[str, Any] | None = None,
    sample: Any = None,
    strategy: str = "auto",
    scheme: str | Scheme = "central",
    epsilon: Any = "auto",
    threshold: float | None = None,
    rtol: float | None = None,
    bounds: Any = None,
    engine: str = "auto",
    n_jobs: int | None = None,
    budget: float | None = None,
    checkpoint: Any = None,
    progress: Any = None,
    seed: int | None = None,
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
        float64 or float32.
    args : tuple
        Passed on to `cost` and `grad`.
    layout : mapping of str to shape, optional
        Names the blocks of a flat theta, in order: ``{"W1": (64, 32), "b1": (32,), ...}``.
    sample : optional
        None: by strategy. A float in (0, 1]: that fraction of the components; an int: that many;
        an array: those indices; a dict: one of these per block. Given without `strategy`, these
        components are checked and nothing else.
    strategy : {"auto", "components", "screen"}
        "components" measures every component; "screen" covers all of theta by random directions
        and locates what is wrong; "auto" does the first for up to 2,000 components, else the
        second and a spot check of 100. With a budget, "auto" screens first and then measures
        components until the time is up.
    scheme : {"central", "forward", "central4", "complex"}
    epsilon : "auto", float, or dict of float by block
        The step, in theta's units.
    threshold : float, optional
        On the relative difference; 1e-7 by default, 1e-6 for a float32 gradient.
    rtol : float, optional
        Per component, relative to the larger of the two derivatives; 1e-5 by default, 1e-3 for a
        float32 gradient.
    bounds : (low, high) or scipy.optimize.Bounds, optional
        J is never evaluated outside. Scalars, or of theta's structure.
    engine : {"auto", "numba", "python"}
    n_jobs : int, optional
        Threads for Numba, processes for Python. None: all cores for long work compiled by Numba,
        one process for Python. -1: all cores.
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
    error bar; `fastgradcheck.judge` says how they decide.

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
    if os.environ.get("FASTGRADCHECK", "").lower() == "off":
        return _skipped()
    limit = budget_of(budget)
    memory = None if checkpoint is None else Checkpoint(checkpoint)
    if seed is None and memory is not None:
        seed = memory.seed
    seed = secrets.randbits(32) if seed is None else _seed(seed)
    parameters = describe(theta, layout)
    flat = parameters.flatten(theta)
    flat.setflags(write=False)
    limited = limit is not UNLIMITED
    options = _options(parameters, flat, sample, strategy, scheme, epsilon, bounds, seed, limited)
    refuse_unknown(engine)
    cost, grad = _callables(cost, grad)
    with one_blas_thread(), showing(progress) as listen:
        objective, found = guards.in_double(Objective(cost, _args(args), parameters, flat))
        running = open_engine(objective, engine, n_jobs)
        try:
            inspected = guards.inspect(running.objective)
            if inspected.serial:
                running.close()
                running = open_engine(objective, engine, n_jobs, serial=True)
            claimed, eps, notes = guards.evaluate_gradient(grad, theta, args, parameters)
            work = len(options.sample.index) * len(options.scheme.offsets)
            reach = int(min(work, max(limit.left(), 0.0) / max(inspected.seconds, 1e-9)))
            if engine == "auto" and memory is None and not inspected.serial and reach >= MANY:
                # With a checkpoint it is not asked: a resumed run must take the same engine.
                running, choice = faster(running, inspected.value, inspected.seconds, reach, n_jobs)
                notes += choice
            problem = Problem(running.objective, claimed, eps, inspected.value)
            tolerance = judge.tolerances(problem, threshold, rtol)
            _refuse_scheme(options.scheme, running)
            found += inspected.findings + notes + guards.uninformative(problem)
            found += guards.slow(inspected.seconds, work, max(1, running.n_jobs))
            if memory is not None:
                value = memory.begin(_identity(problem, options, running), seed, problem.value)
                problem = replace(problem, value=value)
            measured = Measured()
            with Stream(running, budget=limit, listen=listen, memory=memory) as stream:
                stream.evaluations = inspected.evaluations
                with contextlib.suppress(Stopped):
                    _measure(problem, options, tolerance, stream, measured)
        finally:
            running.close()
    found += stream.findings + (memory.findings if memory is not None else ())
    return _result(problem, options, tolerance, stream, measured, found, began)


def check_points(
    cost: Callable[..., Any], grad: Any, thetas: Mapping[str, Any], **options: Any
) -> dict[str, GradcheckResult]:
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
    dict of str to GradcheckResult
        It ends with the point at which Ctrl-C was pressed.

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
    if grad is not True and not callable(grad):
        raise GradcheckTypeError(
            "grad is one array, which cannot be the gradient at several points; pass the function."
        )
    results = {}
    path = options.pop("checkpoint", None)
    for name, theta in thetas.items():
        own = None if path is None else checkpoints.path_for(path, name)
        try:
            results[name] = gradcheck(cost, grad, theta, checkpoint=own, **options)
        except GradcheckInputError as error:
            raise type(error)(f"at the point {name!r}: {error}") from error
        if any(finding.kind == "interrupted" for finding in results[name].findings):
            break
    return results


def _measure(
    problem: Problem, options: Options, tolerance: Tolerances, stream: Stream, into: Measured
) -> None:
    """Noise, steps, the loop over components, confirmation: in this order, into `into`."""
    gradient, parameters = problem.gradient, problem.parameters
    into.noise = noise.measure(stream, problem.value, options.seed, options.bounds)
    scale = steps.scales(problem.theta, parameters)
    if options.screens:
        _screen(problem, options, tolerance, stream, scale, into)
    chosen = steps.calibrate(
        stream,
        parameters,
        steps.choose(gradient, parameters, options.sample.index, options.seed),
        options.scheme,
        options.absolute,
        problem.value,
        into.noise.level,
        options.bounds,
        scale,
    )
    into.steps = chosen
    own = [s for s in chosen.calibrated if not chosen.by_user(parameters.block_index(s.index))]
    into.keep(own, gradient)
    _loop(problem, options, tolerance, stream, chosen, into)
    measure = _ladders(problem, options, stream, scale, into.noise.level)

    def keep(settled: list[Settled]) -> None:
        into.keep(settled, gradient)

    stream.wrong = 0
    for b, evidence in enumerate(_evidence(problem, into)):
        if evidence.throughout:
            continue
        confirmed = confirm(evidence, measure, gradient, tolerance, keep)
        stream.wrong += int(judge.wrong_components(confirmed, tolerance).sum())
        if confirmed.throughout:
            into.throughout.add(b)
    _refine(problem, tolerance, chosen, measure, into)


def _screen(
    problem: Problem,
    options: Options,
    tolerance: Tolerances,
    stream: Stream,
    scale: NDArray[np.float64],
    into: Measured,
) -> None:
    """Directions over every block of more than one entry, and the search where they disagree."""
    blocks = problem.parameters.blocks
    prober = _prober(problem, options, stream, scale, into.noise.level)
    wide = [
        b
        for b, block in enumerate(blocks)
        if block.size > 1 and (prober.scale is None or prober.scale[block.slice].any())
    ]
    into.screened = screen(prober, wide, scale, options.seed, SHARE * tolerance.threshold)
    measure = _ladders(problem, options, stream, scale, into.noise.level)
    if prober.scale is not None:
        into.still = np.flatnonzero(prober.scale == 0)
        into.keep(measure(into.still[:STILL], 1.0), problem.gradient)
    for b in range(len(blocks)):
        broken = blocks[b].start + np.flatnonzero(~np.isfinite(problem.gradient[blocks[b].slice]))
        if len(broken):
            into.keep(measure(broken[:CAP], 1.0), problem.gradient)
            into.throughout |= {b} if len(broken) > CAP else set()
    for b, screened in into.screened.items():
        if screened.fails and b not in into.throughout:
            _locate(problem, options, tolerance, prober, measure, scale, b, into)
    for _ in range(EXTENSIONS):
        if not _extend(problem, options, tolerance, prober, into):
            break


def _prober(
    problem: Problem,
    options: Options,
    stream: Stream,
    scale: NDArray[np.float64],
    level: float,
) -> Prober:
    """What measures directions: inside the bounds, or by complex steps, which leave none."""
    if options.scheme.imaginary:
        return Prober(problem, stream, level, imaginary=True)
    if options.bounds is None:
        return Prober(problem, stream, level)
    low, high = options.bounds
    room = np.minimum(stream.theta - low, high - stream.theta)
    return Prober(problem, stream, level, steps.movable(options.bounds, stream.theta, scale), room)


def _extend(
    problem: Problem, options: Options, tolerance: Tolerances, prober: Prober, into: Measured
) -> bool:
    """More directions where nothing is wrong, but the limit is too far above what was seen.

    That is so when the gradient is right but rounded, to float32 say.
    """
    evidence = _evidence(problem, into)
    verdict, overall, _ = judge.judge(evidence, tolerance)
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


def _locate(
    problem: Problem,
    options: Options,
    tolerance: Tolerances,
    prober: Prober,
    measure: Measure,
    scale: NDArray[np.float64],
    b: int,
    into: Measured,
) -> None:
    """Find what is wrong in a block whose directions disagree.

    Every entry is confirmed by its own five-point difference, and on a ladder where that is not
    beyond doubt.
    """
    block, screened = problem.parameters.blocks[b], into.screened[b]
    whole, step = region_of(block), float(np.median(screened.steps))
    largest = float(np.max(np.abs(prober.gradient[block.slice])))
    level = screened.rounding / norm if (norm := judge.norm(problem.gradient[block.slice])) else 0.0

    def probe(
        regions: NDArray[np.int64], keys: NDArray[np.uint64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        y, error = prober.sharpened(regions, keys, np.full(len(keys), step), screened.error.max())
        return y, error + prober.rounding(regions, level)

    def look(
        index: NDArray[np.int64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """The errors of entries, their bars, and which are beyond what is tolerated."""
        y, error = prober.entries(index, GLANCE * scale[index])
        seen = of_glances(index, problem.gradient, y, error)
        into.components = into.components.joined(seen)
        allowed = tolerance.of_components(seen, largest)
        return y, error, np.abs(y) - error > allowed[np.searchsorted(seen.index, index)]

    rng = np.random.default_rng([options.seed, 4, b])
    witnesses = block.start + rng.choice(block.size, min(WITNESSES, block.size), replace=False)
    y, error, wrong = look(witnesses[:1])
    if np.abs(y) > error:
        y, error, wrong = look(witnesses)
    if wrong.all() and len(wrong) == len(witnesses):
        into.throughout.add(b)
        return
    if (np.abs(y) > error).all():
        # Everything is a little off, within the tolerance: what stands out from that is wrong.
        c = into.components.between(block.start, block.stop)
        level = IMPRECISION * judge.norm(c.discrepancy) / max(judge.norm(c.analytic), TINY)
        screened = replace(screened, rounding=level * norm)
        into.screened[b] = screened
        if not screened.fails:
            return
    doubt = screened.error + screened.rounding
    found = locate(whole, screened.keys, screened.y, doubt, probe, look, options.seed)
    entries = np.array(found.entries, np.int64)
    c = into.components
    doubtful = entries[~np.isin(entries, c.index[c.owned])]
    into.keep(measure(doubtful, 1.0), problem.gradient)
    if not found.complete:
        into.incomplete.add(b)
    if any(np.array_equal(region, whole) for region in found.regions) or (
        len(found.entries) + len(found.regions) >= CAP and not found.complete
    ):
        into.throughout.add(b)
    else:
        into.regions[b] = list(found.regions)


def _loop(
    problem: Problem,
    options: Options,
    tolerance: Tolerances,
    stream: Stream,
    chosen: Steps,
    into: Measured,
) -> None:
    """The plain loop over the sample: each component at its block's step."""
    scheme, order = options.scheme, options.sample.order
    order = order[~np.isin(order, into.components.index)]
    if not len(order):
        return
    blocks = np.searchsorted(problem.parameters.blocks_start, order, side="right") - 1
    theta = stream.theta
    points = scheme.points(theta[order], chosen.of(order, blocks))
    if options.bounds is not None:
        low, high = (bound[order][:, np.newaxis] for bound in options.bounds)
        inside = ((points.real >= low) & (points.real <= high)).all(axis=1)
        edge = order[~inside]
        order, blocks, points = order[inside], blocks[inside], points[inside]
        measure = _ladders(problem, options, stream, chosen.scale, chosen.noise)
        into.keep(measure(edge, 1.0), problem.gradient)

    def compared(rows: NDArray[Any], values: NDArray[Any]) -> Components:
        displaced = points[rows] - theta[order[rows]][:, np.newaxis].astype(np.float64)
        taken = displaced.imag if scheme.imaginary else displaced
        with np.errstate(invalid="ignore", divide="ignore"):
            derivative = scheme.derivative(values, taken, problem.value)
            bars = chosen.bars(order[rows], blocks[rows], derivative)
        return of_differences(order[rows], problem.gradient, derivative, bars)

    def count_wrong(rows: NDArray[np.int64], values: NDArray[Any]) -> int:
        c = compared(rows, values)
        size = np.maximum(np.abs(c.analytic), np.abs(c.numeric))
        return int(np.sum(c.discrepancy - c.error > tolerance.rtol * size))

    values, done = stream.partial(Stencils(order, points), "components", count_wrong)
    into.components = compared(done, values[done]).joined(into.components)
    if stream.stopped:
        raise Stopped(stream.stopped)


def _ladders(
    problem: Problem,
    options: Options,
    stream: Stream,
    scale: NDArray[np.float64],
    level: float,
) -> Measure:
    """The measurement that owns its bars, for any components."""

    def measure(index: NDArray[np.int64], factor: float) -> list[Settled]:
        largest = factor * FIRST_RUNG * scale[index]
        return climb(stream, index, largest, problem.value, level, options.bounds)

    return measure


def _refine(
    problem: Problem, tolerance: Tolerances, chosen: Steps, measure: Measure, into: Measured
) -> None:
    """Ladders for the widest bars, where only bars stand between a block and agreement.

    Not where the user chose the step: that is honoured, and the verdict says what it can see.
    """
    evidence = _evidence(problem, into)
    verdict, overall, blocks = judge.judge(evidence, tolerance)
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


def _evidence(problem: Problem, measured: Measured) -> list[BlockEvidence]:
    step = np.full(len(problem.parameters.blocks), np.nan)
    if measured.steps is not None:
        step = _block_steps(problem.parameters, measured.steps)
    for b, screened in measured.screened.items():
        step[b] = float(np.median(screened.steps))
    return [
        BlockEvidence(
            block,
            problem.gradient[block.slice],
            measured.components.between(block.start, block.stop),
            measured.screened.get(b),
            float(step[b]),
            b in measured.throughout,
            sum(rows_of(r) * columns_of(r) for r in measured.regions.get(b, ())),
            _advice(problem, measured, b),
        )
        for b, block in enumerate(problem.parameters.blocks)
    ]


def _advice(problem: Problem, measured: Measured, b: int) -> str:
    """What limits the numeric side in a block, and what to change."""
    chosen, level = measured.steps, measured.noise
    if chosen is not None and chosen.by_user(b):
        return (
            f"Your epsilon={chosen.absolute[b]:g} is what limits them: smaller has less "
            'truncation, larger less noise; epsilon="auto" finds the balance.'
        )
    relative = level.level / abs(problem.value) if problem.value else level.level
    if problem.theta.dtype == np.float32 or level.kind == "float32":
        return "J is computed in float32: let the cost compute in float64."
    if level.kind == "solver":
        return (
            f"J carries noise of {relative:.1g} of its value, far above rounding: tighten the "
            "tolerance of the iteration inside it."
        )
    return (
        "The gradient of this block is small against the noise of J: check at another theta, "
        "such as a random one, where it is larger."
    )


def _block_steps(parameters: Parameters, chosen: Steps) -> NDArray[np.float64]:
    """The step of each block's median component."""
    typical = np.array([np.median(chosen.scale[block.slice]) for block in parameters.blocks])
    own = chosen.relative * typical
    return np.where(np.isnan(chosen.absolute), own, chosen.absolute)


def _result(
    problem: Problem,
    options: Options,
    tolerance: Tolerances,
    stream: Stream,
    measured: Measured,
    found: tuple[Finding, ...],
    began: float,
) -> GradcheckResult:
    evidence = _evidence(problem, measured)
    verdict, overall, blocks = judge.judge(evidence, tolerance)
    components = _records(evidence, tolerance)
    wrong = _wrong(evidence, measured.regions, tolerance)
    parameters = problem.parameters
    coverage, probability = _coverage(problem, options, blocks, measured)
    found += _undecided(verdict, overall.limit, blocks, tolerance)
    found += _lost(evidence)
    if verdict is Verdict.WRONG:
        found += diagnose(problem, components, blocks)
    found += _unlocated(parameters, measured, verdict)
    found += _kinks(parameters, measured.ladders) + stream.engine.findings
    return GradcheckResult(
        verdict=verdict,
        relative_difference=overall.relative,
        limit=overall.limit,
        threshold=tolerance.threshold,
        rtol=tolerance.rtol,
        resolution=judge.overall_resolution(blocks, problem.gradient, probability),
        blocks=blocks,
        components=components,
        wrong=wrong,
        findings=found,
        coverage=coverage,
        evaluations=stream.evaluations,
        seconds=Seconds(time.perf_counter() - began, stream.engine.compile_seconds),
        engine=stream.engine.name,
        n_jobs=stream.engine.n_jobs,
        scheme=options.scheme.name,
        strategy=options.strategy,
        seed=options.seed,
        steps={block.name: block.step for block in blocks},
        noise=measured.noise.level,
        size=parameters.size,
        interrupted=stream.stopped is not None or stream.cut,
        sweeps=_sweeps(parameters, components, measured.ladders),
        problem=problem,
        measurements=(evidence, tolerance),
    )


def _records(evidence: list[BlockEvidence], tolerance: Tolerances) -> NDArray[Any]:
    records = np.zeros(sum(len(e.components) for e in evidence), COMPONENT)
    start = 0
    for e in evidence:
        part = records[start : start + len(e.components)]
        start += len(part)
        part["index"] = e.components.index
        part["analytic"] = e.components.analytic
        part["numeric"] = e.components.numeric
        part["error"] = e.components.error
        part["verdict"] = judge.component_verdicts(e, tolerance)
    return records


def _coverage(
    problem: Problem,
    options: Options,
    blocks: tuple[BlockResult, ...],
    measured: Measured,
) -> tuple[str, float]:
    """What was covered, in words, and with what probability an isolated error was seen."""
    counts = [(b.size, b.checked, b.wrong) for b in blocks]
    if not measured.screened:
        return sampling.coverage(counts, options.sample.random)
    size = problem.parameters.size
    resolution = judge.overall_resolution(blocks, problem.gradient, CONFIDENCE)
    hidden = int(np.sum(np.abs(problem.gradient) < resolution.size))
    still = len(measured.still)
    covered = f"{size - still:,} of {size:,}" if still else f"All {size:,}"
    text = (
        f"{covered} parameters were covered by {DIRECTIONS} directions per block: an isolated "
        f"error above {resolution.size:.1g} ({resolution.relative:.1g} of the median entry) would "
        "have been seen"
    )
    if hidden:
        text += f"; {hidden:,} entries are themselves smaller and are not individually covered"
    if still:
        text += (
            f"; the other {still:,} are at their bounds, of which {min(still, STILL):,} were "
            "measured one by one"
        )
    if len(options.sample.index):
        spot = sampling.coverage(counts, options.sample.random)[0]
        text += f". {spot.rstrip('.')}"
    return f"{text}.", CONFIDENCE


def _wrong(
    evidence: list[BlockEvidence], regions: dict[int, list[Region]], tolerance: Tolerances
) -> tuple[str, ...]:
    """What is confirmed wrong, furthest outside its bar first: components, lines, blocks.

    Components of a line or block that is wrong throughout are not named one by one.
    """
    found: list[tuple[float, str]] = []
    for b, e in enumerate(evidence):
        c = e.components
        rows = np.flatnonzero(judge.wrong_components(e, tolerance))
        excess = np.nan_to_num(c.discrepancy[rows] - c.error[rows], nan=np.inf)
        index = c.index[rows]
        if e.throughout and e.screened is not None:
            found.append((-float(np.max(excess, initial=0.0)), e.block.name))
            continue
        for region in regions.get(b, ()):
            inside = np.isin(index, np.concatenate(list(entries_of(region))))
            found.append((-float(np.max(excess[inside], initial=0.0)), named(e.block, region)))
            index, excess = index[~inside], excess[~inside]
        found += [
            (-x, e.block.address(int(i) - e.block.start))
            for x, i in zip(excess, index, strict=True)
        ]
    return tuple(address for _, address in sorted(found, key=lambda pair: pair[0]))


def _undecided(
    verdict: Verdict, limit: float, blocks: tuple[BlockResult, ...], tolerance: Tolerances
) -> tuple[Finding, ...]:
    """What would settle an undecided check, where one number does."""
    settled = all(b.verdict is not Verdict.UNDECIDED for b in blocks)
    if verdict is not Verdict.UNDECIDED or not settled or not 0 < limit < 1e-2:
        return ()
    return (
        Finding(
            "resolution",
            f"The numeric side resolves {limit:.1g}, not the threshold {tolerance.threshold:g}; "
            f"threshold={_above(limit):g} would accept.",
        ),
    )


def _above(limit: float) -> float:
    """The next number of one digit."""
    unit = 10.0 ** np.floor(np.log10(limit))
    return float(f"{np.ceil(limit / unit) * unit:.0e}")


def _lost(evidence: list[BlockEvidence]) -> tuple[Finding, ...]:
    """Findings about blocks of which this theta tells little: dead, or lost in noise."""
    dead, lost = [], []
    for e in evidence:
        c = e.components
        if len(e.block.shape) >= 2 and len(c) == e.block.size > 1:
            zero = ((c.analytic == 0) & (c.numeric == 0)).reshape(e.block.rows, -1)
            if zero.all(axis=0).any() or zero.all(axis=1).any():
                dead.append(e.block.name)
        if len(c) and judge.norm(c.error) > judge.norm(c.numeric) > 0:
            lost.append(e.block.name)
    findings = []
    if dead:
        findings.append(
            Finding(
                "dead",
                f"Whole rows or columns of {', '.join(dead)} are exactly zero on both sides: dead "
                "units or unused inputs. What the gradient would be when they are active was not "
                "checked; try other data or another theta.",
            )
        )
    if lost:
        findings.append(
            Finding(
                "lost",
                f"The gradient of {', '.join(lost)} is lost in the noise of J: theta is near an "
                "optimum, or J does not depend on it. Check at a random theta too.",
            )
        )
    return tuple(findings)


def _unlocated(parameters: Parameters, measured: Measured, verdict: Verdict) -> tuple[Finding, ...]:
    """What the directions see in blocks, beyond what was located there."""
    names = ", ".join(parameters.blocks[b].name for b in sorted(measured.incomplete))
    if not names:
        return ()
    if verdict is Verdict.WRONG:
        message = f"More is wrong in {names} than could be located. Mend what is named and check "
        message += 'again, or measure every component with strategy="components".'
    else:
        message = (
            f"The directions of {names} disagree by more than their error bars, but no component "
            "was found that is off by more than its tolerance. Measure every component with "
            'strategy="components".'
        )
    return (Finding("unlocated", message),)


def _kinks(parameters: Parameters, ladders: list[Settled]) -> tuple[Finding, ...]:
    """One finding for all kinks met."""
    kinks = [s for s in ladders if s.kind in (KINK_RIGHT, KINK_LEFT, KINK_HERE)]
    if not kinks:
        return ()
    here = [s for s in kinks if s.kind == KINK_HERE]
    first = here[0] if here else kinks[0]
    where = parameters.address(first.index)
    slopes = f"one-sided slopes {first.lower:.6g} and {first.upper:.6g}"
    if here:
        message = (
            f"J has a kink at theta in {where} ({slopes}): any value between them is a "
            "subgradient and was accepted. Move theta a little to check it strictly."
        )
    else:
        side = "above" if first.kind == KINK_RIGHT else "below"
        message = (
            f"J has a kink {first.distance:.1e} {side} {where} ({slopes}): the slope of the "
            "other side was used."
        )
    more = f" {len(kinks) - 1:,} more components have one nearby." if len(kinks) > 1 else ""
    return (Finding("kink", message + more),)


def _sweeps(
    parameters: Parameters, components: NDArray[Any], ladders: list[Settled], most: int = 8
) -> tuple[Sweep, ...]:
    """The ladders of the components furthest off, for the picture of error against step."""
    last = {s.index: s for s in ladders}
    rows = np.flatnonzero(np.isin(components["index"], list(last)))
    off = np.abs(components["analytic"] - components["numeric"])[rows]
    worst = rows[np.argsort(-np.nan_to_num(off, nan=np.inf), kind="stable")][:most]
    chosen = [last[int(i)] for i in components["index"][worst]]
    return tuple(
        Sweep(parameters.address(s.index), s.steps, s.derivatives, s.value, s.error) for s in chosen
    )


def _options(
    parameters: Parameters,
    theta: NDArray[Any],
    sample: Any,
    strategy: str,
    scheme: str | Scheme,
    epsilon: Any,
    bounds: Any,
    seed: int,
    limited: bool,
) -> Options:
    if strategy not in STRATEGIES:
        raise GradcheckInputError(
            f"strategy={strategy!r} is not a strategy; "
            f"use one of {', '.join(map(repr, STRATEGIES))}."
        )
    screens = strategy == "screen"
    if strategy == "auto":
        screens = sample is None and (parameters.size > EVERY_COMPONENT or limited)
        strategy = "screen" if screens else "components"
        if screens:
            sample = min(parameters.size, IN_BUDGET) if limited else SPOT_CHECK
        drawn = sampling.draw(sample, parameters, seed)
    elif screens and sample is None:
        drawn = sampling.NOTHING
    else:
        drawn = sampling.draw(sample, parameters, seed)
    if screens:
        # A direction on a single entry is that entry's own difference, at eight times the cost.
        drawn = drawn.including([block.start for block in parameters.blocks if block.size == 1])
    absolute = steps.user_epsilon(epsilon, parameters)
    steps.refuse_vanishing(theta, absolute, parameters)
    return Options(
        scheme_named(scheme),
        strategy,
        drawn,
        screens,
        absolute,
        steps.flat_bounds(bounds, theta, parameters),
        seed,
    )


def _callables(cost: Any, grad: Any) -> tuple[Callable[..., Any], Any]:
    """The cost and the gradient; apart from each other where ``grad=True``."""
    if not callable(cost):
        raise GradcheckTypeError(
            f"cost is a {type(cost).__name__}, which cannot be called; pass the function J."
        )
    if grad is not True:
        return cost, grad
    if is_jitted(cost):
        from numba import njit

        value = njit(lambda theta, *args: cost(theta, *args)[0])
    else:
        value = _First(cost)
    return value, lambda theta, *args: cost(theta, *args)[1]


@dataclass(frozen=True)
class _First:
    """The J of a cost that returns ``(J, grad)``; picklable if the cost is."""

    cost: Callable[..., Any]

    def __call__(self, theta: Any, *args: Any) -> Any:
        return self.cost(theta, *args)[0]


def _args(args: Any) -> tuple[Any, ...]:
    if not isinstance(args, tuple):
        raise GradcheckTypeError(
            f"args is a {type(args).__name__}; pass a tuple, e.g. args=(X, y) or args=(X,)."
        )
    return args


def _seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise GradcheckInputError(f"seed={seed!r} is not a seed; use a non-negative integer.")
    return int(seed)


def _identity(problem: Problem, options: Options, engine: Engine) -> dict[str, str]:
    """What a checkpoint must have in common with this check."""
    return checkpoints.identity(
        problem,
        scheme=options.scheme.name,
        engine=engine.name,
        epsilon=options.absolute,
        bounds=options.bounds,
        sample=options.sample.index,
    )


def _refuse_scheme(scheme: Scheme, engine: Engine) -> None:
    reason = engine.supports_complex() if scheme.imaginary else None
    if reason is not None:
        raise GradcheckInputError(
            f'scheme="complex" is not possible for this cost: {reason}. Use scheme="central4", '
            "which needs no complex arithmetic."
        )


def _skipped() -> GradcheckResult:
    nan = float("nan")
    return GradcheckResult(
        verdict=Verdict.SKIPPED,
        relative_difference=nan,
        limit=nan,
        threshold=nan,
        rtol=nan,
        resolution=Resolution(float("inf"), 0.0, nan),
        blocks=(),
        components=np.zeros(0, COMPONENT),
        wrong=(),
        findings=(Finding("skipped", Verdict.SKIPPED.sentence),),
        coverage="Nothing was covered.",
        evaluations=0,
        seconds=Seconds(0.0, 0.0),
        engine="none",
        n_jobs=0,
        scheme="none",
        strategy="none",
        seed=0,
        steps={},
        noise=nan,
        size=0,
        interrupted=False,
    )
