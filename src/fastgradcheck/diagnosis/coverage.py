"""What was covered, in words, and what a sample proves about the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor, lgamma, log10

import numpy as np

from fastgradcheck.diagnosis.field import listed
from fastgradcheck.differences.draws import DIRECTIONS
from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.screen import CONFIDENCE as SCREENED
from fastgradcheck.search.task import Task
from fastgradcheck.verdict.verdict import BlockResult, Resolution


def covered(
    task: Task, evidence: Evidence, blocks: tuple[BlockResult, ...], resolution: Resolution
) -> tuple[str, float]:
    """What was covered, in words, and with what probability an isolated error was seen."""
    counts = [(b.size, b.checked, b.wrong) for b in blocks]
    if not evidence.screened and not evidence.joint:
        return coverage(counts, task.sample.random)
    size, fixed = task.problem.parameters.size, len(evidence.fixed)
    seen = f"{size - fixed:,} of {size:,}" if fixed else f"All {size:,}"
    text = (
        f"{seen} parameters were covered by {_directions(evidence)}: an isolated error above "
        f"{resolution.size:.1g} ({resolution.relative:.1g} of the median entry) would have been "
        "seen"
    )
    spoiled = [
        block.name
        for block in task.problem.parameters.blocks
        if not task.problem.is_finite and not np.isfinite(task.gradient[block.slice]).all()
    ]
    if spoiled:
        text += f", but in {listed(spoiled)}: directions tell nothing of what is not finite"
    hidden = int(np.sum(np.abs(task.gradient) < resolution.size))
    if hidden:
        entries = f"{hidden:,} entries are" if hidden > 1 else "one entry is"
        text += f"; {entries} smaller than that and not individually covered"
    if fixed:
        measured = int(np.isin(evidence.fixed, evidence.components.index).sum())
        text += _fixed(fixed, evidence.zeros, measured)
    if len(task.sample.index):
        checked = sum(b.checked for b in blocks)
        agree = "" if any(b.wrong for b in blocks) else ", none wrong"
        text += f". {checked:,} components were checked one by one as well{agree}"
    return f"{text}.", SCREENED


def _fixed(count: int, zeros: int, measured: int) -> str:
    """What became of entries that take no part in directions, some of them zeros on kinks."""
    one = count == 1
    why = [f"exactly zero, where J has {'a kink' if one else 'kinks'}"] if zeros else []
    if count > zeros:
        why += [
            "at its bound, or so large that the step does not move it"
            if one
            else "at their bounds, or so large that the step does not move them"
        ]
    if one:
        was = "was" if measured else "was not"
        return f"; the other one is {why[0]}, and {was} measured by itself"
    return (
        f"; the other {count:,} are {', or '.join(why)}, "
        f"and {measured or 'none'} of these were measured one by one"
    )


def _directions(evidence: Evidence) -> str:
    """How many directions there were, and of what."""
    own = len(evidence.screened)
    if not evidence.joint:
        return f"{DIRECTIONS} directions per block"
    count = max(len(joint.screened) for joint in evidence.joint)
    text = f"{count} directions over all blocks at once"
    if own:
        text += f", {own} block{'s' if own > 1 else ''} by directions of their own"
    return text


CONFIDENCE = 0.95


def limit(checked: int, size: int, confidence: float = CONFIDENCE) -> int:
    """Upper limit of how many of `size` components are wrong, if none of `checked` was.

    Hypergeometric: the largest number K of wrong components for which a sample without
    replacement misses all of them with probability at least ``1 - confidence``.

    Examples
    --------
    >>> limit(1024, 1_000_000) / 1_000_000 < 0.0030
    True
    >>> limit(5, 5)
    0
    """
    low, high = 0, size - checked
    # Ties count as possible, and rounding must not break them: lgamma is good to two ulps.
    least = np.log1p(-confidence) - 8 * np.finfo(float).eps * lgamma(size + 2)
    while low < high:
        wrong = (low + high + 1) // 2
        if _log_miss(checked, size, wrong) >= least:
            low = wrong
        else:
            high = wrong - 1
    return low


def _log_miss(checked: int, size: int, wrong: int) -> float:
    """Log of the chance to miss all wrong ones: C(size - wrong, checked) / C(size, checked)."""
    return (
        lgamma(size - wrong + 1)
        - lgamma(size - wrong - checked + 1)
        - lgamma(size + 1)
        + lgamma(size - checked + 1)
    )


def coverage(blocks: Sequence[tuple[int, int, int]], random: bool) -> tuple[str, float]:
    """What the components measured one by one prove, in words, and the fraction measured.

    Parameters
    ----------
    blocks : sequence of (size, checked, wrong)
    random : bool
        False if the user chose the components.
    """
    size = sum(s for s, _, _ in blocks)
    checked = sum(c for _, c, _ in blocks)
    wrong = sum(w for _, _, w in blocks)
    if checked == 0:
        return "No component was checked one by one.", 0.0
    fraction = checked / size
    if checked == size:
        every = f"All {size:,} components were" if size > 1 else "The one component was"
        return f"{every} checked one by one.", 1.0
    text = f"{checked:,} of {size:,} components were checked one by one ({_percent(fraction)})"
    if not random:
        return f"{text}, as chosen; nothing follows for the others.", fraction
    skipped = sum(1 for _, c, _ in blocks if c == 0)
    if skipped:
        text += f"; {skipped} of {len(blocks)} blocks were not looked at"
    if wrong or skipped:
        return text + ".", fraction
    # With unequal rates the least densely sampled block limits all.
    effective = int(min(c / s for s, c, _ in blocks) * size)
    fewer = (limit(max(effective, 1), size) + 1) / size
    return f"{text}, none wrong: fewer than {_percent(fewer, ceil)} are wrong at 95 %.", fraction


def _percent(fraction: float, towards: Callable[[float], int] = floor) -> str:
    """A positive fraction in per cent, of two digits or more, never rounded up unless asked to.

    Examples
    --------
    >>> _percent(0.002921), _percent(0.002921, ceil), _percent(999_999 / 1_000_000)
    ('0.29 %', '0.3 %', '99.9 %')
    """
    percent = 100 * fraction
    shift = 10.0 ** max(1, 1 - floor(log10(percent)))
    # What floating point leaves of 29.000000000000004 is no reason to call it 29.1.
    return f"{towards(round(percent * shift, 6)) / shift:.12g} %"
