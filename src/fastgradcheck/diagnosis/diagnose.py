"""From the pattern of the differences to the likely bug.

Every pattern is a small function that predicts the numeric gradient of a block from the analytic
one: "twice it", "its transpose", "it minus lambda * theta". A prediction is judged against the
error bars, and scored by the decimal digits of the differences that it explains,
sum(log10(|difference| / (4 bar))), less what its own freedom explains: an entry for each fitted
number, log10(number of choices) for a choice. A score of s digits arises by chance about once in
10**s tries, so that patterns of any kind compare, and small or noisy evidence names none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.diagnosis.deltas import labels, rounding, total, uniform
from fastgradcheck.diagnosis.field import DIGITS, Array, Candidate, Field, Pattern, Setting, listed
from fastgradcheck.diagnosis.network import Ranked, structure
from fastgradcheck.diagnosis.places import (
    flipped,
    other_block,
    permuted,
    place_of,
    shifted,
    transposed,
)
from fastgradcheck.diagnosis.values import (
    conjugate,
    constant,
    factor,
    factor_of_data,
    flat,
    regularisation,
    single,
    zero,
)
from fastgradcheck.problem.blocks import Block
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.problem.foreign import COARSE
from fastgradcheck.problem.nests import arrays_in, numbers_in
from fastgradcheck.problem.problem import Problem
from fastgradcheck.verdict.verdict import BlockResult, Verdict

# Evidence enough: a pattern that holds here is beyond doubt.
_ENTRIES = 10_000


def diagnose(
    problem: Problem,
    components: NDArray[Any],
    blocks: tuple[BlockResult, ...],
    layers: bool = True,
) -> tuple[Finding, ...]:
    """The likely bugs behind a wrong gradient, the most useful first.

    Parameters
    ----------
    problem : Problem
    components : structured array of dtype `fastgradcheck.report.outcome.COMPONENT`
        The components measured; of a failed block all entries or a random sample.
    blocks : tuple of BlockResult
        One for every block of theta, in theta's order.
    layers : bool
        Whether the blocks may be the layers of a network, in their order.

    Returns
    -------
    tuple of Finding
        Empty where no pattern is beyond chance.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgradcheck import gradcheck
    >>> result = gradcheck(lambda w: 0.5 * float(w @ w), lambda w: 2.0 * w, np.arange(1.0, 6.0))
    >>> result.findings[0].kind
    'factor'
    >>> result.findings[0].message.split(" (")[0]
    'theta: every entry is exactly 2 times the numeric one'
    """
    setting = _setting(problem, components, blocks)
    found = {
        name: candidate
        for name, field in setting.fields.items()
        if (candidate := _explain(field, setting)) is not None
    }
    ranked = list(_merge(found, len(setting.fields)))
    if layers:
        ranked += structure(setting, found)
    ranked.sort(key=lambda entry: entry[0], reverse=True)
    return (*_not_finite(problem, components), *(finding for _, finding in ranked))


def _not_finite(problem: Problem, components: NDArray[Any]) -> Iterator[Finding]:
    """Entries of the gradient that are NaN or infinite; they come before all else."""
    if problem.is_finite:
        return
    spoiled = np.flatnonzero(~np.isfinite(problem.gradient))
    measured = components[np.isin(components["index"], spoiled) & np.isfinite(components["error"])]
    shown = int(measured["index"][0]) if len(measured) else int(spoiled[0])
    message = f"{problem.parameters.address(shown)}: the gradient is {problem.gradient[shown]}"
    if len(measured):
        message += f", the numeric one is {measured['numeric'][0]:.6g}"
    if len(spoiled) > 1:
        more = len(spoiled) - 1
        message += f"; {more:,} more {'entry is' if more == 1 else 'entries are'} not finite"
    message += (
        ". A division 0/0, log(0), an overflow, or an array from np.empty that was never filled is "
        "the usual cause."
    )
    yield Finding("not-finite", message, Rank.BUG)


def _setting(
    problem: Problem, components: NDArray[Any], results: tuple[BlockResult, ...]
) -> Setting:
    gradient, theta = problem.gradient, np.asarray(problem.theta, dtype=np.float64)
    failed = {result.name for result in results if result.verdict is Verdict.WRONG}
    known = problem.parameters.blocks
    fields = {
        block.name: field
        for block in known
        if block.name in failed and (field := _field(block, problem, theta, components)) is not None
    }
    return Setting(
        fields,
        {block.name: gradient[block.slice] for block in known},
        results,
        _numbers(problem.objective.args, known),
        tuple((number, where) for where, number in numbers_in(problem.objective.args)),
        tuple((array, where) for where, array in arrays_in(problem.objective.args)),
    )


def _field(block: Block, problem: Problem, theta: Array, components: NDArray[Any]) -> Field | None:
    inside = (components["index"] >= block.start) & (components["index"] < block.stop)
    mine = components[inside]
    finite = np.isfinite(mine["analytic"]) & np.isfinite(mine["numeric"] + mine["error"])
    mine = mine[finite]
    if not len(mine):
        return None
    ours = problem.gradient[block.slice]
    size = max(
        np.max(np.abs(ours), where=np.isfinite(ours), initial=0.0), np.max(np.abs(mine["numeric"]))
    )
    # 8 eps of the block's largest entry: the rounding of a gradient computed by sums.
    bar = mine["error"] + 8.0 * problem.entry_eps * size + np.finfo(np.float64).tiny
    if problem.gradient_eps > COARSE and problem.rounding is not None:
        number = problem.parameters.blocks.index(block)
        bar = bar + 2.0 * problem.rounding[number] / np.sqrt(block.size)
    field = Field(
        block, ours, theta[block.slice], mine["index"] - block.start, mine["numeric"], bar
    )
    return _thinned(field)


def _thinned(field: Field) -> Field:
    """At most _ENTRIES wrong and as many right ones: more would only take more time."""
    if len(field.at) <= _ENTRIES:
        return field
    order = np.random.default_rng(0).permutation(len(field.at))
    wrong = field.wrong[order]
    kept = np.zeros(len(order), dtype=np.bool_)
    kept[order[wrong][:_ENTRIES]] = True
    kept[order[~wrong][:_ENTRIES]] = True
    return field.only(kept)


def _numbers(args: tuple[Any, ...], blocks: Sequence[Block]) -> tuple[tuple[float, str], ...]:
    """Sizes that people multiply or divide by, the number of examples first."""
    numbers: dict[float, str] = {}
    for axis, name in ((0, "first"), (1, "second")):
        for where, array in arrays_in(args):
            if array.ndim > axis:
                numbers.setdefault(float(array.shape[axis]), f"the {name} axis of {where}")
    layers = sum(len(block.shape) > 1 for block in blocks)
    numbers.setdefault(float(layers), "the number of layers")
    numbers.setdefault(float(blocks[-1].size), f"the size of {blocks[-1].name}")
    return tuple((n, where) for n, where in numbers.items() if n > 2.0)


_VALUES: tuple[Pattern, ...] = (
    zero, rounding, conjugate, flat, factor, factor_of_data, regularisation, constant, transposed,
    shifted, flipped, permuted, other_block, uniform, total, labels, single,
)  # fmt: skip


def _best(field: Field, setting: Setting) -> Candidate | None:
    found = [candidate for pattern in _VALUES for candidate in pattern(field, setting)]
    best = max(found, key=lambda candidate: candidate.digits, default=None)
    return best if best is not None and best.digits >= DIGITS else None


def _explain(field: Field, setting: Setting) -> Candidate | None:
    """The best pattern of the block, or of the part of it that is wrong."""
    whole = _best(field, setting)
    wrong, telling = field.wrong, field.telling
    if whole is not None or not wrong.any():
        return whole
    if wrong[telling].all():
        return _located(field, setting)
    part, place = _best(field.only(wrong), setting), place_of(field)
    counts = f"{int(wrong.sum()):,} of {int(telling.sum()):,} measured entries"
    if place is None:
        return part and replace(part, claim=f"where it is wrong ({counts}): {part.claim}")
    if part is None:
        fits, tested = int(wrong.sum()), int(telling.sum())
        return Candidate(place.kind, place.claim, place.cause, place.digits, fits, tested)
    return replace(part, kind=place.kind, claim=f"{place.claim}; there: {part.claim}")


def _located(field: Field, setting: Setting) -> Candidate | None:
    """Single entries that directions found wrong, where those through all others agree."""
    result = next(r for r in setting.results if r.name == field.block.name)
    count = int(field.wrong.sum())
    exact = result.directions and not result.at_least
    if not exact or count != result.wrong or 2 * count > result.size:
        return None
    names = listed([field.block.address(int(i)) for i in field.at[field.wrong]], "entries")
    claim = f"only {names} {'is' if count == 1 else 'are'} wrong, as directions through all show"
    cause = "Look for an index that is off by one, or a special case."
    return Candidate("entry", claim, cause, 0.0, count, count)


def _merge(found: Mapping[str, Candidate], wrong: int) -> Iterator[Ranked]:
    """One finding for all blocks of which the same is claimed.

    Labels enter where back-propagation begins: they explain whatever else is wrong.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for name, candidate in found.items():
        groups.setdefault((candidate.kind, candidate.claim), []).append(name)
    for (kind, claim), names in groups.items():
        members = [found[name] for name in names]
        widest = max(members, key=lambda candidate: candidate.half_width)
        all_of_them = replace(
            widest,
            fits=sum(candidate.fits for candidate in members),
            tested=sum(candidate.tested for candidate in members),
        )
        message = f"{listed(names)}: {claim} ({all_of_them.evidence}). {widest.cause}"
        digits = sum(candidate.digits for candidate in members)
        explained = wrong if kind == "labels" else len(names)
        yield (explained, 1, digits), Finding(kind, message, Rank.BUG)
