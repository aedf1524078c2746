"""What a report says, whatever the medium: the sentences, rows and orders that all share."""

from __future__ import annotations

import bisect
import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem.blocks import OF, entry_name
from fastgradcheck.problem.factor import as_factor
from fastgradcheck.problem.finding import Rank
from fastgradcheck.report.numbers import compared, count, percent, plural, seconds, short
from fastgradcheck.report.outcome import Outcome, distances, furthest_first
from fastgradcheck.verdict.verdict import SUBJECTS, BlockResult, Verdict

WORST_FIRST = (Verdict.WRONG, Verdict.UNDECIDED, Verdict.AGREES, Verdict.SKIPPED)


_VERDICTS = tuple(Verdict)


_PLACE = re.compile(r"(?:\[(\d+(?:, \d+)*)\])?(\.real|\.imag)?")


@dataclass(frozen=True)
class Row:
    """One measured component, ready to be shown.

    Attributes
    ----------
    address : str
    index : int
        Flat, in theta.
    analytic, numeric, bar : float
    verdict : Verdict
    """

    address: str
    index: int
    analytic: float
    numeric: float
    bar: float
    verdict: Verdict

    @property
    def ratio(self) -> float | None:
        """The factor analytic / numeric; None if the numeric side cannot be told from zero."""
        if not abs(self.numeric) > self.bar:
            return None
        return self.analytic / self.numeric

    def told_ratio(self, digits: int = 6) -> str:
        """The ratio; where the bar tells it from one, to as many digits as do so too."""
        ratio = self.ratio
        if ratio is None:
            return "-"
        sure = abs(abs(self.analytic) - abs(self.numeric)) > 4.0 * self.bar
        return as_factor(ratio, digits) if sure else compared(ratio, digits)

    @property
    def relative_error(self) -> float:
        """|analytic - numeric| / max(|analytic|, |numeric|); 0 where both are exactly zero."""
        if self.analytic == self.numeric:
            return 0.0
        difference = self.analytic - self.numeric
        scale = max(abs(self.analytic), abs(self.numeric))  # of a NaN and zero it may be zero
        known = math.isfinite(scale) and not math.isnan(difference)
        return abs(difference) / scale if known else math.nan


def measured(block: BlockResult) -> bool:
    """Whether anything at all is known about the block."""
    return bool(block.checked or block.directions)


def blocks_worst_first(result: Outcome) -> tuple[BlockResult, ...]:
    """The blocks: wrong before undecided before agreeing, then by relative difference."""

    def badness(block: BlockResult) -> tuple[int, bool, float]:
        difference = block.relative_difference
        # NaN is worse than any number; a block never measured comes last of its kind.
        known = -math.inf if math.isnan(difference) else -difference
        return WORST_FIRST.index(block.verdict), not measured(block), known

    return tuple(sorted(result.blocks, key=badness))


def starts(blocks: Sequence[BlockResult]) -> tuple[int, ...]:
    """The flat index of each block's first entry, and one past the last entry of all."""
    return tuple(itertools.accumulate((block.size for block in blocks), initial=0))


def address(blocks: Sequence[BlockResult], index: int) -> str:
    """The address of a flat index, such as ``W1[3, 5]``."""
    at = starts(blocks)
    if index >= at[-1]:
        return f"theta[{index}]"
    place = bisect.bisect_right(at, index) - 1
    block = blocks[place]
    return entry_name(block.name, block.shape, index - at[place], block.split, block.pairs)


def index(blocks: Sequence[BlockResult], address: str) -> int | None:
    """The flat index of a component's address; None for a region, a block or an unknown name."""
    for start, block in zip(starts(blocks), blocks, strict=False):
        # Of a block of a Jacobian, the output's place and the parameter's.
        names = block.name.split(OF, 0 if block.split is None else 1)
        parts = address.split(OF, len(names) - 1)
        if len(parts) == len(names) and all(map(str.startswith, parts, names)):
            rests = [part[len(name) :] for part, name in zip(parts, names, strict=True)]
            places = [_PLACE.fullmatch(rest) for rest in rests]
            if not all(places):
                continue
            axes = tuple(
                int(i) for place in places if place for i in (place[1] or "").split(",") if i
            )
            if block.pairs and places[-1] and places[-1][2]:
                axes += (int(places[-1][2] == ".imag"),)
            if len(axes) == len(block.shape):
                return start + int(np.ravel_multi_index(axes, block.shape)) if axes else start
    return None


def worst_rows(result: Outcome, limit: int) -> tuple[Row, ...]:
    """The worst measured components, at most `limit`: those named wrong first, in their order."""
    return tuple(
        Row(
            address(result.blocks, int(record["index"])),
            int(record["index"]),
            float(record["analytic"]),
            float(record["numeric"]),
            float(record["error"]),
            _VERDICTS[int(record["verdict"])],
        )
        for record in result.components[_worst(result, limit)]
    )


def _worst(result: Outcome, limit: int) -> list[int]:
    """Positions in `components`: the named, then by verdict and absolute difference."""
    components = result.components
    order = _named(result, limit)
    for verdict in WORST_FIRST:
        if len(order) < 2 * limit:
            mine = np.flatnonzero(components["verdict"] == verdict.code)
            order += _furthest(mine, components[mine], limit)
    return list(dict.fromkeys(order))[:limit]


def _named(result: Outcome, limit: int) -> list[int]:
    """Positions in `components` of the first entries that the result calls wrong."""
    indices = result.components["index"]
    wanted = [index(result.blocks, name) for name in result.wrong[:limit]]
    return [
        int(position)
        for i in wanted
        if i is not None
        for position in np.flatnonzero(indices == i)[:1]
    ]


def _furthest(positions: NDArray[np.intp], components: NDArray[Any], limit: int) -> list[int]:
    """The positions of at most `limit` components, those furthest off first."""
    if len(positions) > limit:
        # A million components are not sorted for the five that are shown.
        few = np.argpartition(-distances(components), limit)[:limit]
        positions, components = positions[few], components[few]
    return [int(i) for i in positions[furthest_first(components)]]


def headline(result: Outcome) -> str:
    """The verdict's sentence and its `details`."""
    return f"{sentence(result)} {details(result)}".strip()


def title(result: Outcome) -> str:
    """The verdict and its `scope`: what may stand alone."""
    return f"{result.verdict.value} {scope(result)}".strip()


def scope(result: Outcome) -> str:
    """What the verdict is about, where that is a part of theta, and how many blocks it leaves out.

    Empty if everything was looked at.
    """
    parts = []
    if result.verdict is Verdict.AGREES and result.partial:
        parts.append(f"on {percent(result.covered / result.size)} of the components")
    left_out = sum(not measured(block) for block in result.blocks)
    if left_out:
        parts.append(f"({count(left_out)} of {plural(len(result.blocks), 'block')} SKIPPED)")
    return " ".join(parts)


def sentence(result: Outcome) -> str:
    """What the verdict means."""
    if result.reason:
        return result.reason
    if result.verdict is Verdict.AGREES and result.partial:
        return (
            f"In the {count(result.covered)} of {plural(result.size, 'component')} that were "
            f"looked at, the {result.subject} is {SUBJECTS[result.subject].truth}, to the "
            "resolution stated."
        )
    return result.verdict.about(result.subject)


def details(result: Outcome) -> str:
    """The numbers behind the verdict, and what they were held against."""
    if result.verdict is Verdict.SKIPPED:
        return ""
    return f"{_difference(result)} {_why(result)}".strip()


def _difference(result: Outcome) -> str:
    if not result.blocks or not any(map(measured, result.blocks)):
        return "Nothing was measured."
    if result.relative_difference == result.limit == 0.0:
        return "Relative difference exactly 0."
    return (
        f"Relative difference {short(result.relative_difference)}, at most {short(result.limit)} "
        f"with the error bars; threshold {short(result.threshold)}."
    )


def _why(result: Outcome) -> str:
    if result.verdict is Verdict.AGREES:
        return _seen(result)
    if result.verdict is Verdict.WRONG and result.wrong and result.limit <= result.threshold:
        return (
            "The difference as a whole is below the threshold, but single components are off by "
            f"more than rtol = {short(result.rtol)}."
        )
    return ""


def _seen(result: Outcome) -> str:
    resolution = result.resolution
    if not math.isfinite(resolution.size):
        return ""
    relative = (
        f" ({short(resolution.relative)} of the median entry)"
        if math.isfinite(resolution.relative)
        else ""
    )
    entry = SUBJECTS[result.subject].entry
    return (
        f"A single {entry} wrong by more than {short(resolution.size)}{relative} would have been "
        f"seen with probability {percent(resolution.probability)}."
    )


def checked_line(result: Outcome) -> str:
    """What was checked, when, by what and where; empty if it is not known."""
    origin = result.origin
    if not origin.cost:
        return ""
    return (
        f"{origin.grad} against {origin.cost}; {origin.when}, fastgradcheck {origin.version}, "
        f"{origin.machine}"
    )


def wrong_count(block: BlockResult) -> str:
    """How many components of a block are wrong; ``>= 3`` if there may be more."""
    return f"{'>= ' if block.at_least else ''}{count(block.wrong)}"


def wrong_line(result: Outcome, limit: int, shown: Sequence[Row] = ()) -> str:
    """Which components are wrong, the first `limit` by name; empty if `shown` says it all."""
    if {row.address for row in shown}.issuperset(result.wrong):
        return ""
    more = len(result.wrong) - limit
    listed = ", ".join(result.wrong[:limit])
    return f"{listed}, and {count(more)} more" if more > 0 else listed


def named_wrong(result: Outcome) -> str:
    """The blocks that are wrong, in theta's order, or the entry where one alone is wrong."""
    wrong = [block for block in result.blocks if block.verdict is Verdict.WRONG]
    names = [
        block.worst if block.wrong == 1 and block.worst and not block.at_least else block.name
        for block in wrong
    ]
    more = f" and {count(len(names) - 3)} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def summary(result: Outcome) -> str:
    """The result in one line: the verdict, which blocks are wrong or undecided, and the cause.

    Without a cause that has a name, by how much the gradient is off.
    """
    if result.verdict is Verdict.SKIPPED:
        return f"{result.verdict.value}: {result.verdict.about(result.subject)}"
    undecided = [b.name for b in result.blocks if b.verdict is Verdict.UNDECIDED]
    where = named_wrong(result) if result.verdict is Verdict.WRONG else ", ".join(undecided[:3])
    causes = (f.message for f in result.findings if f.rank is not Rank.NOTE)
    difference = (
        f"relative difference {short(result.relative_difference)}, at most {short(result.limit)}"
    )
    agrees = result.verdict is Verdict.AGREES
    cause = difference if agrees else result.reason or next(causes, difference)
    # Where one block alone is wrong, it is named already.
    wrong = [block.name for block in result.blocks if block.verdict is Verdict.WRONG]
    cause = cause.removeprefix(f"{wrong[0]}: ") if len(wrong) == 1 else cause
    told = cause.partition(". ")[0].rstrip(".")
    return f"{title(result)}{f' in {where}' if where else ''}: {told}"


def taylor_line(result: Outcome) -> str:
    """The orders with which Taylor's remainders fall; empty where they are not known."""
    if result.orders is None:
        return ""
    letter = SUBJECTS[result.subject].function
    *orders, step = result.orders
    told = [f"{order:.2f}" if math.isfinite(order) else "lost in noise" for order in orders]
    text = (
        f"along random directions, from h = {short(step)} to 2h: the remainder R0 of "
        f"{letter} has the order {told[0]} (1 expected); R1, without the claimed slope, {told[1]} "
        "(2 if it is right, 1 if not)"
    )
    if len(told) == 2:
        return text
    return (
        f"{text}; R2 of the cost whose gradient it is, without the claimed curvature, {told[2]} "
        "(3 if it is right, 2 if not)"
    )


def cost_line(result: Outcome) -> str:
    """What the check took, and what repeats it."""
    time = seconds(result.seconds.total)
    if result.seconds.compiling > 0.0:
        time += f" ({seconds(result.seconds.compiling)} of it compiling)"
    resumed = ""
    if result.remembered:
        resumed = f" (resumed: {count(result.remembered)} of them are the checkpoint's)"
    function = SUBJECTS[result.subject].function
    return (
        f"{plural(result.evaluations, 'evaluation')} of {function}{resumed} in {time}; "
        f"engine {result.engine}, n_jobs={result.n_jobs}, scheme {result.scheme}, "
        f"strategy {result.strategy}, seed={result.seed}"
    )


def next_steps(result: Outcome, limit: int) -> tuple[str, ...]:
    """What to do now; for an undecided check a line per undecided block, at most `limit`."""
    return _NEXT[result.verdict](result, limit)


def _after_wrong(result: Outcome, limit: int) -> tuple[str, ...]:
    wrong = [block for block in result.blocks if block.verdict is Verdict.WRONG]
    where = result.wrong[0] if result.wrong else ""
    if any(finding.rank is Rank.BUG for finding in result.findings):
        # Where to look is said there, and may be another place than the last wrong block.
        first = (
            "Mend what the first finding names, and check again: what else is wrong may follow "
            "from it."
        )
    elif len(wrong) > 1 and result.subject == "gradient":
        first = (
            f"Look at {wrong[-1].name} first: it is the last wrong block, and back-propagation "
            "may carry its error to the blocks before it. Mend it and check again."
        )
    elif wrong:
        name = blocks_worst_first(result)[0].name
        first = f"Look at the lines that compute the {result.subject} of {name}"
        first += f", beginning with {where}." if where not in ("", name) else "."
    elif result.reason:
        first = "The first finding says what is wrong, and where to look."
    elif not where and not len(result.components):
        first = "What is wrong was not located: the first finding says how to find it."
    else:
        where = where or "the worst component"
        first = f"Look at the lines that compute the {result.subject} at {where}."
    return (first, *_go_on(result))


def _after_undecided(result: Outcome, limit: int) -> tuple[str, ...]:
    undecided = [b for b in blocks_worst_first(result) if b.verdict is Verdict.UNDECIDED]
    lines = [f"{block.name}: {block.reason}" for block in undecided if block.reason]
    if len(lines) > limit:
        more = plural(len(lines) - limit, "more undecided block")
        lines = [*lines[:limit], f"{more}: see the verbose report."]
    if not lines and not result.interrupted:
        lines = ["Check at another point, or in float64, or with a larger threshold."]
    return (*lines, *_go_on(result))


def _after_agrees(result: Outcome, limit: int) -> tuple[str, ...]:
    another = (
        "Check again after some training: some bugs do not show at the initial parameters."
        if result.subject == "gradient"
        else "Check at another theta as well: some bugs do not show at every point."
    )
    steps = [another, *_go_on(result)]
    checked = sum(block.checked for block in result.blocks)
    if result.strategy == "pairs":
        return ("Both belong to one Jacobian, which may be wrong: check one of them by jaccheck.",)
    if result.engine == "none":
        check = {"Jacobian": "jaccheck", "Hessian": "hesscheck"}.get(result.subject, "gradcheck")
        steps.append(f'To measure every component by itself: {check} with strategy="components".')
    elif checked < result.size and not result.interrupted:
        covered = all(block.directions for block in result.blocks)
        what = "To measure every component by itself" if covered else "To check everything"
        steps.append(f'{what}: strategy="components" and no sample.')
    return tuple(steps)


def _after_skipped(result: Outcome, limit: int) -> tuple[str, ...]:
    return ("Unset the environment variable FASTGRADCHECK to check again.",)


def _go_on(result: Outcome) -> tuple[str, ...]:
    if not result.interrupted:
        return ()
    timed = any(finding.kind == "budget" for finding in result.findings)
    larger = "a larger budget covers more, and " if timed else ""
    return (
        f"The check was stopped before it was through: {larger}checkpoint=path continues from "
        "where it stopped.",
    )


_NEXT = {
    Verdict.WRONG: _after_wrong,
    Verdict.UNDECIDED: _after_undecided,
    Verdict.AGREES: _after_agrees,
    Verdict.SKIPPED: _after_skipped,
}
