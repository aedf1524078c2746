"""What a check returns: verdict, evidence, coverage and cost, as frozen values."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.diagnosis.advice import reasons
from fastgradcheck.diagnosis.coverage import covered
from fastgradcheck.diagnosis.diagnose import diagnose
from fastgradcheck.diagnosis.findings import (
    complex_steps,
    edge,
    jumps,
    kinks,
    kinks_met,
    lost,
    on_kinks,
    pieces,
    two_scales,
    undecided,
    unlocated,
    zero,
)
from fastgradcheck.diagnosis.selftest import SelfTest, self_test
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.plateau import StepSweep
from fastgradcheck.differences.screen import CONFIDENCE
from fastgradcheck.differences.section import around, differences_by_step
from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.problem.entries import Entries
from fastgradcheck.problem.finding import Finding, by_rank
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.problem import Objective, Problem
from fastgradcheck.problem.region import entries_of, named
from fastgradcheck.report.content import summary, worst_rows
from fastgradcheck.report.outcome import (
    COMPONENT,
    Origin,
    Outcome,
    Seconds,
    Section,
    Sweep,
    furthest_first,
)
from fastgradcheck.search.task import Task
from fastgradcheck.verdict import rules
from fastgradcheck.verdict.norms import Norms
from fastgradcheck.verdict.support import BlockEvidence, readings
from fastgradcheck.verdict.tolerances import Tolerances
from fastgradcheck.verdict.verdict import BlockResult, Resolution, Verdict

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, eq=False)
class GradcheckResult(Outcome):
    """The result of `gradcheck`: an `Outcome` that tells itself. True only if it AGREES.

    It may agree on the part that a `sample` asked for: `covered`, and the first line of the report,
    tell. A check that was stopped never agrees.

    Attributes
    ----------
    problem : Problem or None
        The gradient that was checked; None if the result was read back from JSON.
    rows : tuple of (Objective, Entries), or None
        Likewise of a Jacobian: the function, and the addresses of the entries.
    measurements : tuple of (list of BlockEvidence, Tolerances), or None
        What `self_test` judges again; None if the result was read back from JSON.
    """

    problem: Problem | None = field(default=None, repr=False)
    rows: tuple[Objective, Entries] | None = field(default=None, repr=False)
    measurements: tuple[list[BlockEvidence], Tolerances] | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        return self.verdict is Verdict.AGREES

    def __repr__(self) -> str:
        return f"<GradcheckResult {summary(self)}>"

    def __str__(self) -> str:
        from fastgradcheck.report.text import render

        return render(self)

    def report(self, *, verbose: bool = False) -> str:
        """The report as plain text; `verbose` lists every block, component and finding."""
        from fastgradcheck.report.text import render

        return render(self, verbose=verbose)

    def to_dict(self, *, components: bool | None = None) -> dict[str, Any]:
        """The result as plain Python values.

        Parameters
        ----------
        components : bool, optional
            Whether to include the component arrays; by default only up to 10,000 of them.
        """
        from fastgradcheck.report.json import to_dict

        return to_dict(self, components=components)

    def to_json(self, *, components: bool | None = None, indent: int | None = None) -> str:
        """The result as JSON; `from_json` reads it back. See `to_dict`."""
        from fastgradcheck.report.json import to_json

        return to_json(self, components=components, indent=indent)

    @classmethod
    def from_json(cls, text: str) -> GradcheckResult:
        """Read a result back that `to_json` wrote."""
        from fastgradcheck.report.json import from_json

        return cls(**vars(from_json(text)))

    def to_html(self, path: str | Path | None = None) -> str:
        """The report as one self-contained HTML page, also written to `path` if given."""
        from fastgradcheck.report.html import to_html

        return to_html(self, path)

    def _repr_html_(self) -> str:
        from fastgradcheck.report.html import fragment

        return fragment(self)

    def plot(self, kind: str | None = None) -> Any:
        """Pictures of the evidence, as a matplotlib figure (extra ``plot``).

        Parameters
        ----------
        kind : {"scatter", "heatmap", "steps", "secant"}, optional
            One picture alone; by default all four.

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it once, as the value of a cell; elsewhere in a cell, by ``display``.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        GradcheckInputError
            If there is no such picture, or nothing to draw in it.
        """
        from fastgradcheck.report import plots

        kinds = plots.chosen(kind)
        if self.strategy == "pairs":
            raise GradcheckInputError(
                "a jvp and a vjp are compared by their products, without differences: there is "
                "nothing to draw. jaccheck has pictures of each of them."
            )
        sweep = self._sweep() if "steps" in kinds and not self.sweeps else None
        section = self._section() if "secant" in kinds else None
        return plots.plot(self, kind, sweep=sweep, section=section)

    def _sweep(self) -> Sweep | None:
        """A step sweep of the worst component; None without one, or without the cost."""
        worst = worst_rows(self, 1)
        place = self._place(worst[0].index) if worst else None
        if place is None:
            return None
        measured = differences_by_step(*place)
        return Sweep(worst[0].address, *measured, worst[0].numeric, worst[0].bar)

    def _section(self) -> Section | None:
        """J along the worst component; None without one, or without the cost."""
        worst = worst_rows(self, 1)
        place = self._place(worst[0].index) if worst else None
        return (
            None if place is None else Section(worst[0].address, worst[0].analytic, *around(*place))
        )

    def _place(self, index: int) -> tuple[Objective, int, int | None] | None:
        """The function, the parameter and the output of a component, if they are known."""
        if self.problem is not None:
            return self.problem.objective, index, None
        if self.rows is None:
            return None
        objective, entries = self.rows
        row, column = entries.places(np.array([index]))
        return objective, int(column[0]), int(row[0])

    def self_test(self) -> SelfTest:
        """Would this check have caught a fault? Plants faults in copies of the gradient.

        Returns
        -------
        SelfTest
            The detection rate per kind of fault and block, at the settings of this check.

        Raises
        ------
        GradcheckInputError
            If the result was read back from JSON, or nothing was checked.
        """
        if self.subject != "gradient":
            raise GradcheckInputError(
                f"self_test plants faults in a gradient, and this result is of a {self.subject}: "
                "change an entry of it, and check again."
            )
        if self.measurements is None:
            raise GradcheckInputError(
                "this result no longer holds its measurements (it was read from JSON, or nothing "
                "was checked); run the check again and call self_test on its result."
            )
        evidence, tolerance = self.measurements
        return self_test(evidence, tolerance, self.seed)


def assemble(
    task: Task,
    evidence: Evidence,
    strategy: str,
    found: tuple[Finding, ...],
    origin: Origin,
    began: float,
) -> GradcheckResult:
    """The result of a check, judged on all that was measured.

    Parameters
    ----------
    task : Task
    evidence : Evidence
    strategy : str
    found : tuple of Finding
        What was found before anything was measured.
    origin : Origin
    began : float
        When the check began, by ``time.perf_counter``.
    """
    problem, tolerance, stream = task.problem, task.tolerance, task.context.stream
    parameters = problem.parameters
    verdict, overall, blocks = task.judged(evidence)
    beside = list(task.beside(evidence))
    blocks = reasons(task, evidence, beside, blocks)
    components = records(beside, tolerance)
    resolution = rules.overall_resolution(blocks, problem.gradient, CONFIDENCE)
    coverage, probability = covered(task, evidence, blocks, resolution)
    read = readings(evidence, problem.gradient)
    found += undecided(verdict, overall.limit, blocks, tolerance, kinks_met(evidence))
    stopped = was_stopped(stream, verdict, blocks)
    verdict, reason = of_a_part(verdict, blocks, stopped)
    if verdict is Verdict.AGREES and not problem.moves:
        verdict, reason = Verdict.UNDECIDED, "J does not depend on theta: nothing was checked."
    if problem.moves:
        found += lost(beside, blocks, tolerance, evidence.on_kinks)
    found += zero(blocks, tolerance)
    if verdict is Verdict.WRONG:
        found += diagnose(problem, components, blocks)
    found += unlocated(parameters, evidence, verdict)
    found += complex_steps(evidence, tolerance) + edge(parameters, evidence)
    found += jumps(parameters, read.values()) + on_kinks(evidence, problem.theta)
    found += kinks(parameters, read.values())
    found += two_scales(parameters, evidence, read.values(), problem.gradient)
    found += pieces(task, evidence, beside, overall, blocks)
    return filled(
        task.context, evidence, tolerance, parameters, overall, blocks, components, read.values(),
        found, began,
        verdict=verdict,
        resolution=replace(resolution, probability=probability),
        wrong=named_wrong(beside, tolerance),
        coverage=coverage,
        strategy=strategy,
        interrupted=stopped,
        reason=reason,
        origin=origin,
        problem=problem,
        measurements=(beside, tolerance),
    )  # fmt: skip


def filled(
    context: Context, evidence: Evidence, tolerance: Tolerances, names: Parameters,
    overall: Norms, blocks: tuple[BlockResult, ...], components: NDArray[Any],
    read: Iterable[StepSweep], found: tuple[Finding, ...], began: float, **told: Any,
) -> GradcheckResult:  # fmt: skip
    """The result, with all that follows from what was measured and how, whatever was checked.

    Parameters
    ----------
    names : Parameters
        The addresses of what was compared.
    told : optional
        The other fields of `GradcheckResult`.
    """
    stream = context.stream
    engine = stream.engine
    return GradcheckResult(
        relative_difference=overall.relative,
        limit=overall.limit,
        threshold=tolerance.threshold,
        rtol=tolerance.rtol,
        blocks=blocks,
        components=components,
        findings=by_rank(found + engine.findings),
        evaluations=stream.evaluations,
        seconds=Seconds(time.perf_counter() - began, engine.compile_seconds),
        engine=engine.name,
        n_jobs=engine.n_jobs,
        scheme=context.scheme.name,
        seed=context.seed,
        steps={block.name: block.step for block in blocks},
        noise=evidence.noise.level,
        size=names.size,
        sweeps=sweeps_of(names, components, read),
        remembered=stream.remembered,
        orders=None if evidence.orders is None else evidence.orders.told,
        **told,
    )


def was_stopped(stream: Stream, verdict: Verdict, blocks: tuple[BlockResult, ...]) -> bool:
    """Whether Ctrl-C or the budget ended the check before it was through.

    Components that follow directions are as many as the budget allows: once all is covered, and
    agrees, nothing is missing.
    """
    through = verdict is Verdict.AGREES and all(b.covered == b.size for b in blocks)
    if stream.stopped == "interrupted":
        return True
    return (stream.stopped is not None or stream.cut) and not through


def of_a_part(
    verdict: Verdict, blocks: tuple[BlockResult, ...], stopped: bool
) -> tuple[Verdict, str]:
    """The verdict of a check that may have been stopped, and why, where it was.

    What a part of a check agrees on decides nothing; what it proves wrong is wrong.
    """
    if not stopped or verdict is Verdict.WRONG:
        return verdict, ""
    covered, size = sum(b.covered for b in blocks), sum(b.size for b in blocks)
    if verdict is not Verdict.AGREES:
        return verdict, "The check was stopped before it could decide."
    what = f"the {covered:,} of {size:,} components that were looked at agree"
    return Verdict.UNDECIDED, f"The check was stopped before it was through; {what}."


def records(evidence: list[BlockEvidence], tolerance: Tolerances) -> NDArray[Any]:
    """What was measured of components, by index."""
    records = np.zeros(sum(len(e.components) for e in evidence), COMPONENT)
    start = 0
    for e in evidence:
        if not len(e.components):
            continue
        part = records[start : start + len(e.components)]
        start += len(part)
        part["index"] = e.components.index
        part["analytic"] = e.components.analytic
        part["numeric"] = e.components.numeric
        part["error"] = e.components.error
        part["verdict"] = rules.component_verdicts(e, tolerance)
    return records


def named_wrong(evidence: list[BlockEvidence], tolerance: Tolerances) -> tuple[str, ...]:
    """What is confirmed wrong, furthest outside its bar first: components, lines, blocks.

    Components of a line or block that is wrong as a whole are not named one by one.
    """
    found: list[tuple[float, str]] = []
    for e in evidence:
        c = e.components
        if not len(c) and not e.located.whole_block and not e.located.regions:
            continue
        rows = np.flatnonzero(rules.wrong_components(e, tolerance))
        excess = np.nan_to_num(c.discrepancy[rows] - c.error[rows], nan=np.inf)
        index = c.index[rows]
        if e.located.whole_block and e.screened is not None:
            found.append((-float(np.max(excess, initial=0.0)), e.block.name))
            continue
        for region in e.located.regions:
            inside = np.isin(index, np.concatenate(list(entries_of(region))))
            found.append((-float(np.max(excess[inside], initial=0.0)), named(e.block, region)))
            index, excess = index[~inside], excess[~inside]
        found += [
            (-x, e.block.address(int(i) - e.block.start))
            for x, i in zip(excess, index, strict=True)
        ]
    return tuple(address for _, address in sorted(found, key=lambda pair: pair[0]))


def sweeps_of(
    parameters: Parameters,
    components: NDArray[Any],
    read: Iterable[StepSweep],
    most: int = 8,
) -> tuple[Sweep, ...]:
    """The step sweeps of the components furthest off, for the picture of error against step."""
    own = {sweep.index: sweep for sweep in read}
    rows = np.flatnonzero(np.isin(components["index"], list(own)))
    worst = rows[furthest_first(components[rows])][:most]
    chosen = [own[int(i)] for i in components["index"][worst]]
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
