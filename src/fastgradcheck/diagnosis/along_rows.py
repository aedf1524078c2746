"""What directions alone tell of a Jacobian that disagrees with them; see `diagnosis.along`.

A multiple of a claimed block, or of a claimed row, shows as that multiple of its projections. Rows
in another order show as each other's projections.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.diagnosis.along import FEWEST, SLACK, TOLD, factor, share
from fastgradcheck.diagnosis.rows import row_factors
from fastgradcheck.differences.rows import Array
from fastgradcheck.differences.screen import BEYOND_DOUBT
from fastgradcheck.problem.blocks import OF
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.problem.products import Combined
from fastgradcheck.search.recorded import Recorded

FEW = 64
"""Blocks of theta that are looked at one by one ..."""
MATCHED = 512
"""... and rows of which each may be another one."""


@dataclass(frozen=True)
class RowPattern:
    """What would explain how some rows disagree.

    Attributes
    ----------
    lines : set of (int, int)
        The rows, and the blocks of theta throughout which they are then wrong.
    finding : Finding
    """

    lines: set[tuple[int, int]]
    finding: Finding


def of_blocks(recorded: Recorded) -> RowPattern | None:
    """The multiple of the claim, or of one of its blocks, that explains all that disagrees."""
    if not _telling(recorded, recorded.wrong):
        return None
    rows = np.arange(recorded.y.shape[1])
    for where, lines, along in _multiplied(recorded):
        rho = _share(recorded, rows, along)
        if rho is not None:
            return RowPattern(lines, factor(where, rho))
    return None


def _multiplied(recorded: Recorded) -> Iterator[tuple[str, set[tuple[int, int]], Array]]:
    """What may be off by a factor: its name, its rows and blocks, and what is claimed of it."""
    entries = recorded.state.task.entries
    blocks, outputs = entries.parameters.blocks, entries.outputs
    if len(entries.names.blocks) > 1:
        every = {(row, b) for row in range(outputs.size) for b in range(len(blocks))}
        yield "Every block", every, recorded.claimed
    for b, along in _blocks(recorded):
        for output in outputs.blocks:
            alone = np.zeros_like(along)
            alone[:, output.slice] = along[:, output.slice]
            # Of combinations, a name that is nobody's is no help.
            known = outputs.inner.blocks if isinstance(outputs, Combined) else (output,)
            name = f"{', '.join(own.name for own in known)}{OF}{blocks[b].name}"
            yield name, {(row, b) for row in range(output.start, output.stop)}, alone


def of_rows(recorded: Recorded, rows: NDArray[np.int64]) -> RowPattern | None:
    """Rows that stand in another order, or are off by factors of their own."""
    combined = isinstance(recorded.state.task.entries.outputs, Combined)
    if combined or not _telling(recorded, rows):
        return None
    return _reordered(recorded, rows) or _off_by_factors(recorded, rows)


def _reordered(recorded: Recorded, rows: NDArray[np.int64]) -> RowPattern | None:
    order = _order(recorded, rows)
    if not order:
        return None
    entries = recorded.state.task.entries
    here, there = (entries.outputs.address(int(row)) for row in (rows[0], order[0]))
    message = (
        f"The claimed rows stand in another order: that of {there} belongs in the place of {here}, "
        f"and so on for {len(rows):,} rows. Look at how the outputs are numbered."
    )
    every = range(len(entries.parameters.blocks))
    lines = {(int(row), b) for row in rows for b in every}
    return RowPattern(lines, Finding("permuted", message, Rank.BUG))


def _off_by_factors(recorded: Recorded, rows: NDArray[np.int64]) -> RowPattern | None:
    if len(recorded.y) < FEWEST:
        return None
    entries = recorded.state.task.entries
    blocks = entries.parameters.blocks
    candidates = [(range(len(blocks)), "", recorded.claimed)]
    candidates += [(range(b, b + 1), f"{OF}{blocks[b].name}", p) for b, p in _blocks(recorded)]
    found: dict[str, float] = {}
    lines: set[tuple[int, int]] = set()
    for row in rows.tolist():
        for mine, name, along in candidates:
            rho = _share(recorded, np.array([row]), along)
            if rho is not None and abs(1 - rho) > SLACK:
                found[f"{entries.outputs.address(row)}{name}"] = 1 / (1 - rho)
                lines |= {(row, b) for b in mine}
                break
    return RowPattern(lines, row_factors(found, "along all directions")) if found else None


def _telling(recorded: Recorded, rows: NDArray[np.int64]) -> bool:
    """Whether there is enough to look for a pattern in."""
    y, bars = recorded.y[:, rows], recorded.bars[:, rows]
    return y.size >= FEWEST and float(np.mean(np.abs(y) > TOLD * bars)) > 0.5


def _blocks(recorded: Recorded) -> Iterator[tuple[int, Array]]:
    """What every block of theta contributes to the claimed projections."""
    blocks = recorded.state.task.entries.parameters.blocks
    if len(blocks) == 1:
        yield 0, recorded.claimed
    elif len(blocks) <= FEW:
        for b, block in enumerate(blocks):
            yield b, recorded.along(block.slice)


def _share(recorded: Recorded, rows: NDArray[np.int64], along: Array) -> float | None:
    # Of thousands of numbers some miss their bars.
    bars = BEYOND_DOUBT * recorded.bars[:, rows]
    return share(recorded.y[:, rows].ravel(), bars.ravel(), along[:, rows].ravel())


def _order(recorded: Recorded, rows: NDArray[np.int64]) -> list[int]:
    """Which other one each row is, if that explains all of them; else nothing."""
    if not 1 < len(rows) <= MATCHED:
        return []
    claimed, bars = recorded.claimed[:, rows], BEYOND_DOUBT * recorded.bars[:, rows]
    slopes = claimed - recorded.y[:, rows]
    found = []
    for k in range(len(rows)):
        room = bars[:, [k]] + bars
        fits = np.flatnonzero((np.abs(claimed - slopes[:, [k]]) <= room).all(axis=0))
        if len(fits) != 1:
            return []
        found.append(int(rows[fits[0]]))
    return found if sorted(found) == sorted(rows.tolist()) else []
