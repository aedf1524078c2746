"""The result, put together from what was measured and judged."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck import judge, sampling
from fastgradcheck.diagnose import diagnose
from fastgradcheck.findings import kinks, lost, two_scales, undecided, unlocated
from fastgradcheck.judge import BlockEvidence, Tolerances
from fastgradcheck.ladder import Settled
from fastgradcheck.locate import Region, entries_of, named
from fastgradcheck.measured import Measured, Options, evidence_of
from fastgradcheck.parameters import Parameters
from fastgradcheck.problem import Finding, Problem
from fastgradcheck.result import (
    COMPONENT,
    BlockResult,
    GradcheckResult,
    Resolution,
    Seconds,
    Sweep,
    Verdict,
)
from fastgradcheck.screen import CONFIDENCE, DIRECTIONS
from fastgradcheck.search import STILL
from fastgradcheck.stream import Stream


def assemble(
    problem: Problem,
    options: Options,
    tolerance: Tolerances,
    stream: Stream,
    measured: Measured,
    found: tuple[Finding, ...],
    began: float,
) -> GradcheckResult:
    """The result of a check, judged on all that was measured."""
    evidence = evidence_of(problem, measured)
    verdict, overall, blocks = judge.judge(evidence, tolerance)
    components = _records(evidence, tolerance)
    wrong = _wrong(evidence, measured.regions, tolerance)
    parameters = problem.parameters
    resolution = judge.overall_resolution(blocks, problem.gradient, CONFIDENCE)
    coverage, probability = _coverage(problem, options, blocks, measured, resolution)
    found += undecided(verdict, overall.limit, blocks, tolerance)
    found += lost(evidence)
    if verdict is Verdict.WRONG:
        found += diagnose(problem, components, blocks)
    found += unlocated(parameters, measured, verdict)
    found += kinks(parameters, measured.ladders) + two_scales(parameters, measured.ladders)
    found += stream.engine.findings
    return GradcheckResult(
        verdict=verdict,
        relative_difference=overall.relative,
        limit=overall.limit,
        threshold=tolerance.threshold,
        rtol=tolerance.rtol,
        resolution=replace(resolution, probability=probability),
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
    resolution: Resolution,
) -> tuple[str, float]:
    """What was covered, in words, and with what probability an isolated error was seen."""
    counts = [(b.size, b.checked, b.wrong) for b in blocks]
    if not measured.screened:
        return sampling.coverage(counts, options.sample.random)
    size = problem.parameters.size
    hidden = int(np.sum(np.abs(problem.gradient) < resolution.size))
    still = len(measured.still)
    covered = f"{size - still:,} of {size:,}" if still else f"All {size:,}"
    text = (
        f"{covered} parameters were covered by {DIRECTIONS} directions per block: an isolated "
        f"error above {resolution.size:.1g} ({resolution.relative:.1g} of the median entry) would "
        "have been seen"
    )
    if hidden:
        entries = f"{hidden:,} entries are" if hidden > 1 else "one entry is"
        text += f"; {entries} smaller than that and not individually covered"
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


def skipped() -> GradcheckResult:
    """The result when FASTGRADCHECK=off: nothing was looked at."""
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
