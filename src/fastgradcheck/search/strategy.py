"""The stages of a check, in order."""

from __future__ import annotations

from fastgradcheck.differences import noise, steps
from fastgradcheck.differences.plateau import Settled
from fastgradcheck.differences.stencils import loop
from fastgradcheck.differences.sweep import ladders
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.options import Options
from fastgradcheck.problem.problem import Problem
from fastgradcheck.search.confirm import confirm
from fastgradcheck.search.cover import search
from fastgradcheck.search.jumps import appeal
from fastgradcheck.search.measured import Measured, evidence_of
from fastgradcheck.search.sharpen import refine
from fastgradcheck.verdict import rules
from fastgradcheck.verdict.tolerances import Tolerances


def measure(
    problem: Problem, options: Options, tolerance: Tolerances, stream: Stream, into: Measured
) -> None:
    """Noise, steps, the loop over components, confirmation: in this order, into `into`."""
    gradient, parameters = problem.gradient, problem.parameters
    into.noise = noise.measure(stream, problem.value, options.seed, options.bounds)
    scale = steps.scales(problem.theta, parameters)
    if options.screens:
        search(problem, options, tolerance, stream, scale, into)
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
    loop(problem, options, tolerance, stream, chosen, into)
    measure = ladders(stream, scale, problem.value, into.noise.level, options.bounds)

    def keep(settled: list[Settled]) -> None:
        into.keep(settled, gradient)

    stream.wrong = 0
    for b, evidence in enumerate(evidence_of(problem, into)):
        if evidence.throughout:
            continue
        confirmed = confirm(evidence, measure, gradient, tolerance, keep)
        stream.wrong += int(rules.wrong_components(confirmed, tolerance).sum())
        if confirmed.throughout:
            into.throughout.add(b)
    appeal(problem, tolerance, stream, scale, options.bounds, into)
    refine(problem, tolerance, chosen, measure, into)
    appeal(problem, tolerance, stream, scale, options.bounds, into)
