"""What the user should know of the check of a Jacobian: coverage, reasons, and the likely bug."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.diagnosis.coverage import coverage
from fastgradcheck.diagnosis.diagnose import diagnose
from fastgradcheck.diagnosis.field import listed
from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.limits import ScreenedRows
from fastgradcheck.differences.screen import CONFIDENCE
from fastgradcheck.problem.blocks import OF
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.problem.jacobian import Dense, Sparse
from fastgradcheck.problem.problem import Objective, Problem
from fastgradcheck.problem.products import Combined
from fastgradcheck.problem.region import named
from fastgradcheck.search.columns import JacobianTask
from fastgradcheck.search.halving import sizes_within
from fastgradcheck.verdict.rules import component_verdicts
from fastgradcheck.verdict.support import BlockEvidence
from fastgradcheck.verdict.verdict import BlockResult, Resolution, Verdict

DIAGNOSED = 1_000_000
"""Entries of the largest claim that is compared with patterns: it is copied for that."""
NOISY = 1e4 * float(np.finfo(np.float64).eps)
"""Noise of this part of F is more than rounding, as that of a cost is (`differences.noise`)."""
FACTORS = 3
"""Entries of a row that must show the same factor for it to have one."""


def covered(
    task: JacobianTask,
    evidence: Evidence,
    blocks: tuple[BlockResult, ...],
    resolution: Resolution,
    products: str = "",
) -> tuple[str, float]:
    """What was covered, in words, and with what probability an isolated error was seen."""
    m, n = task.claim.shape
    if not evidence.joint:
        text, probability = coverage([(b.size, b.checked, b.wrong) for b in blocks], True)
        text = text.replace("components", "entries").replace("component", "entry")
        return text + products, probability
    directions = max(len(joint.screened) for joint in evidence.joint)
    screened = [j.screened for j in evidence.joint if isinstance(j.screened, ScreenedRows)]
    rows = m - sum(int(s.lost.sum()) for s in screened)
    every = f"All {m:,}" if rows == m else f"{rows:,} of {m:,}"
    if not rows:
        text = f"All {m:,} rows are wrong throughout, so that directions tell no more of them"
        return f"{text}.{products}", CONFIDENCE
    text = (
        f"{every} rows of the {m:,} x {n:,} entries were covered by {directions} directions over "
        f"all columns at once: an isolated error above {resolution.size:.1g} would have been seen"
    )
    if rows < m:
        text += "; of the others no more than what is named was looked at"
    if len(evidence.fixed):
        index = task.entries.flat(0, evidence.fixed)
        measured = int(np.isin(index, evidence.components.index).sum())
        text += (
            f"; {len(evidence.fixed):,} columns are at their bounds, or so large that the step "
            f"does not move them, and {measured or 'none'} of them were "
            "measured one by one"
        )
    looked = len(task.sample.index)
    if looked and np.isin(task.entries.flat(0, task.sample.index), evidence.components.index).all():
        text += f". {looked:,} column{'s' if looked > 1 else ''} were measured as well"
    return f"{text}.{products}", CONFIDENCE


def reasons(
    task: JacobianTask, found: Sequence[BlockEvidence], blocks: Sequence[BlockResult]
) -> tuple[BlockResult, ...]:
    """The blocks' results, the undecided ones with why they are and what to change."""
    return tuple(
        replace(block, reason=_reason(task, e, block))
        if block.verdict is Verdict.UNDECIDED
        else block
        for e, block in zip(found, blocks, strict=True)
    )


def _reason(task: JacobianTask, evidence: BlockEvidence, block: BlockResult) -> str:
    codes = component_verdicts(evidence, task.tolerance)
    undecided = int((codes == Verdict.UNDECIDED.code).sum())
    if undecided:
        return (
            f"{undecided:,} of {len(codes):,} entries gave no usable difference (a non-finite F, "
            "or steps that do not agree with each other). Check at a theta away from the edge of "
            "the domain and from kinks, or pass bounds=."
        )
    if evidence.located.unexplained or evidence.disagrees:
        return (
            "some of its rows disagree by more than their error bars, but no entry was found that "
            'does. Measure every column with strategy="components".'
        )
    if not task.moves:
        return (
            "F is the same wherever theta is moved, so that there is nothing to compare. Check "
            'another function, or another theta; of a linear cost, with strategy="components".'
            if task.of_gradient
            else "F is the same wherever theta is moved, so that there is nothing to compare: "
            "check another function, or another theta."
        )
    row = _coarsest(task, evidence) if block.limit <= task.tolerance.block_limit else ""
    if row:
        return row
    return (
        f"the error bars allow a relative difference of up to {block.limit:.1g}. Its rows are "
        "small against the noise of F, or F has kinks close by: check at another theta, such as a "
        "random one."
    )


def coarse(
    task: JacobianTask, evidence: Evidence, found: Sequence[BlockEvidence]
) -> tuple[Finding, ...]:
    """Why the numeric side is coarse: one row, if most of what is not known is of it, or noise."""
    largest = float(np.max(np.abs(task.rows.values)))
    if evidence.noise.level > NOISY * largest:
        message = (
            f"F carries noise of {evidence.noise.level / largest:.1g} of its values, far above "
            "rounding: tighten the tolerance of the iteration inside it."
        )
        return (Finding("noise", message, Rank.LIMIT),)
    squares = np.zeros(task.claim.shape[0])
    parameters = len(task.entries.parameters.blocks)
    for e in found:
        output = task.entries.outputs.blocks[e.number // parameters]
        if e.joint is None:
            row = (e.components.index - e.block.start) // e.block.columns
            squares[output.slice] += np.bincount(row, e.components.error**2, output.size)
        elif isinstance(e.joint.screened, ScreenedRows) and not e.number % parameters:
            squares[output.slice] = np.max(e.joint.screened.error, axis=0) ** 2
    k = int(np.argmax(squares))
    if not squares[k] > squares.sum() / 2 or len(squares) == 1:
        return ()
    message = (
        f"Most of what the numeric side does not know is of the row "
        f"{task.entries.outputs.address(k)}. A division by a small number, a difference of large "
        "ones, or a kink close by, in that output, is the usual cause: check at a theta away from "
        "it."
    )
    return (Finding("coarse-row", message, Rank.LIMIT),)


def combinations(outputs: Combined) -> str:
    """What combinations of the outputs leave uncertain, in words."""
    count = len(outputs.cotangents)
    return (
        f" The rows are {count} random combinations u'F of the {outputs.inner.size:,} outputs, "
        "each output in units of how far it moves: a wrong entry, row or column R of the Jacobian "
        "in these units gives a u'R v below t ||R|| with a probability of at most "
        "2 t (1 + ln(1 / 2t))."
    )


def of_rows(
    task: JacobianTask,
    components: NDArray[np.void],
    outputs: Combined,
    wrong: tuple[str, ...],
) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Which rows of the Jacobian the wrong entries of combinations of rows belong to.

    In a column with a single wrong entry, row i, the combinations are off by u_ki R_ij: they are
    multiples of one column of the cotangents. A finding tells of these, if there is nothing else.
    """
    parameters, inner = task.entries.parameters, outputs.inner
    named: list[str] = []
    off: list[str] = []
    bad = components[components["verdict"] == Verdict.WRONG.code]
    _, columns = task.entries.places(bad["index"])
    every = ", ".join(block.name for block in inner.blocks[:3])
    for column in np.unique(columns).tolist():
        flat = task.entries.flat(np.arange(len(outputs.cotangents)), column)
        known = components[np.isin(components["index"], flat)]
        rows, _ = task.entries.places(known["index"])
        u = outputs.cotangents[rows]
        y = known["analytic"] - known["numeric"]
        low, high = sizes_within(y, known["error"] + 1e-12 * np.abs(y), u)
        fits = np.flatnonzero(low <= high)
        if len(fits) == 1 and len(known) > 2:
            (i,) = fits.tolist()
            named.append(f"{inner.address(i)}{OF}{parameters.address(column)}")
            off.append(f"{named[-1]} is off by {(low[i] + high[i]) / 2:.4g}")
        else:
            named.append(f"{every}{OF}{parameters.address(column)}")
    # Lines of combinations are wrong in many columns: what is wrong is the block.
    blocks = [f"{every}{OF}{address.partition(OF)[2]}" for address in wrong if "]" not in address]
    lines = [address for address in wrong if address.endswith(tuple(parameters.names))]
    if blocks or lines:
        names = dict.fromkeys(address.partition(OF)[2] for address in (*wrong, *lines))
        return tuple(f"{every}{OF}{name}" for name in names if name in parameters.names), ()
    if not off or len(off) < len(named):
        return tuple(dict.fromkeys(named)) or wrong, ()
    more = f", and {len(off) - 4:,} more" if len(off) > 4 else ""
    message = (
        f"Single entries of the Jacobian explain what is wrong with its products: "
        f"{', '.join(off[:4])}{more}. Look at what the products add up for these."
    )
    return tuple(named), (Finding("entry", message, Rank.BUG),)


def _coarsest(task: JacobianTask, evidence: BlockEvidence) -> str:
    """Which row is known worst, beside its own size."""
    joint = evidence.joint
    if joint is None or not isinstance(joint.screened, ScreenedRows):
        return ""
    sizes, limits = joint.screened.sizes, joint.screened.of_rows()
    share = np.divide(limits, sizes, out=np.zeros(len(sizes)), where=sizes > 0)
    k = int(np.argmax(share))
    output = task.entries.outputs.blocks[evidence.number // len(task.entries.parameters.blocks)]
    return (
        f"the row {output.address(k)} is known to {share[k]:.1g} of its size only: its derivatives "
        "are small against the noise of that output. Check at another theta, or measure every "
        'column with strategy="components".'
    )


def diagnosed(
    task: JacobianTask,
    components: NDArray[np.void],
    blocks: tuple[BlockResult, ...],
    found: Sequence[BlockEvidence],
) -> tuple[Finding, ...]:
    """The likely bugs behind a wrong Jacobian."""
    patterns = _patterns(task, components, blocks)
    return (*_not_finite(task), *_of_lines(patterns, found, components))


def _of_lines(
    patterns: tuple[Finding, ...], found: Sequence[BlockEvidence], components: NDArray[np.void]
) -> Iterator[Finding]:
    """Patterns by the names of the lines that they hold in: where nothing else was measured."""
    lines = {}
    for e in found:
        inside = (components["index"] >= e.block.start) & (components["index"] < e.block.stop)
        wrong = components["verdict"][inside] == Verdict.WRONG.code
        names = [named(e.block, region) for region in e.located.regions]
        if names and e.block.name not in names and wrong.all():
            lines[e.block.name] = listed(names, "lines")
    for finding in patterns:
        subject, colon, told = finding.message.partition(": ")
        blocks = [lines.pop(block, block) for block in subject.split(", ")]
        yield replace(finding, message=f"{', '.join(blocks)}{colon}{told}")
    if lines:
        every = listed(list(lines.values()), "lines")
        message = f"{every}: wrong throughout, and nothing else there. Look at what computes it."
        yield Finding("line", message, Rank.BUG)


def _not_finite(task: JacobianTask) -> tuple[Finding, ...]:
    """Entries of the claim that are NaN or infinite; they come before all else."""
    rows, columns = task.claim.broken
    if not len(rows):
        return ()
    entries = task.entries
    first = (
        f"{entries.outputs.address(int(rows[0]))}{OF}{entries.parameters.address(int(columns[0]))}"
    )
    more = len(rows) - 1
    others = f"; {more:,} more {'entry is' if more == 1 else 'entries are'} not" if more else ""
    message = (
        f"{first}: what is claimed is not finite{others}. A division 0/0, log(0), an overflow, or "
        "an array from np.empty that was never filled is the usual cause."
    )
    return (Finding("not-finite", message, Rank.BUG),)


def _patterns(
    task: JacobianTask, components: NDArray[np.void], blocks: tuple[BlockResult, ...]
) -> tuple[Finding, ...]:
    m, n = task.claim.shape
    if not isinstance(task.claim, Dense | Sparse) or m * n > DIAGNOSED:
        return _factored(task, factors(task, components))
    matrix = task.claim.columns(np.arange(n))
    flat = np.empty(m * n)
    for number, output, parameter in task.entries.pairs():
        part = matrix[output.slice, parameter.slice]
        flat[task.entries.names.blocks[number].slice] = part.ravel()
    args = task.rows.context.stream.engine.objective.args
    objective = Objective(_no_cost, args, task.entries.names, np.zeros(m * n))
    problem = Problem(objective, flat, task.claim.eps, 0.0)
    found = diagnose(problem, components, blocks, layers=False)
    by_rows = factors(task, components)
    wrong, _ = task.entries.places(components["index"][components["verdict"] == Verdict.WRONG.code])
    explained = bool(np.isin(wrong, list(by_rows)).all())
    # What rows have in common says more than each of their blocks, and than single entries.
    if by_rows and ((explained and len(found) > 1) or all(f.kind == "entry" for f in found)):
        return _factored(task, by_rows)
    return found


def _no_cost(*args: object) -> float:
    raise AssertionError("the diagnosis evaluates nothing")


def factors(task: JacobianTask, components: NDArray[np.void]) -> dict[int, float]:
    """Rows whose entries are all off by a factor of the row's own: a missing chain factor."""
    c = components[np.isfinite(components["analytic"])]
    telling = np.minimum(np.abs(c["numeric"]), np.abs(c["analytic"])) > 1e3 * c["error"]
    c = c[telling]
    rows, _ = task.entries.places(c["index"])
    ratio, doubt = c["analytic"] / c["numeric"], c["error"] / np.abs(c["numeric"])
    found: dict[int, float] = {}
    for row in np.unique(rows).tolist():
        mine = rows == row
        middle = float(np.median(ratio[mine]))
        same = np.abs(ratio[mine] - middle) <= 8 * (doubt[mine] + 1e-9) * abs(middle)
        if mine.sum() >= FACTORS and same.all() and abs(middle - 1) > 1e-6:
            found[row] = middle
    return found


def _factored(task: JacobianTask, found: Mapping[int, float]) -> tuple[Finding, ...]:
    if not found:
        return ()
    names = {task.entries.outputs.address(row): factor for row, factor in found.items()}
    return (row_factors(names, "in every entry that was measured"),)


def row_factors(found: Mapping[str, float], where: str) -> Finding:
    """The finding that rows are off by factors of their own, and where that shows."""
    shown = [f"{row} by {factor:.6g}" for row, factor in list(found.items())[:4]]
    more = f" and {len(found) - 4:,} more" if len(found) > 4 else ""
    cause = (
        "The derivative of what is around the output, by the chain rule, or a weight of the "
        "residual is the usual cause."
    )
    if {round(f, 9) for f in found.values()} == {-1.0}:
        cause = "The sign of a residual (data - model against model - data) is the usual cause."
    message = (
        f"Whole rows are off by a factor of their own: {', '.join(shown)}{more}, {where}. {cause}"
    )
    return Finding("row-factor", message, Rank.BUG)
