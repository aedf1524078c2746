"""What the pictures show, whatever draws them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem.blocks import OF, entry_name
from fastgradcheck.report.content import WORST_FIRST, starts
from fastgradcheck.report.numbers import short
from fastgradcheck.report.outcome import Outcome, Sweep
from fastgradcheck.verdict.verdict import BlockResult, Verdict

Array = NDArray[np.float64]


# Green, red, yellow and grey as on a terminal, in shades that are told apart with any colour
# vision (Tol, *Colour schemes*, SRON/EPS/TN/09-002). Nothing else in a report has these colours.
COLORS = {
    Verdict.AGREES: "#009988",
    Verdict.WRONG: "#CC3311",
    Verdict.UNDECIDED: "#DDAA33",
    Verdict.SKIPPED: "#8A8A8A",
}


# What is measured, and what is claimed.
NUMERIC, CLAIM = "#0077BB", "#AA4499"


SPAN = 30.0
"""Values that differ by more than this factor are drawn on symmetric-log axes."""


LARGEST = 2.0**1000
"""What is larger, or no number, is not drawn: axes that hold it would overflow."""
SMALLEST = 1e-8
"""Beside the largest value, what is smaller than this is drawn on the linear part of the axes."""


DECADES = 10
"""Heat maps span this many decades of relative error, up to 1."""


_SAMPLE = 0  # the seed of what is left out where there is too much to draw


@dataclass(frozen=True, eq=False)
class Points:
    """Measured components: analytic against numeric."""

    analytic: Array
    numeric: Array
    verdict: NDArray[np.uint8]
    factor: float | None
    """analytic / numeric of the wrong entries among them, if it is the same for all."""

    @property
    def reach(self) -> float:
        """How far both axes go, to either side of zero."""
        values = (self.numeric, self.analytic)
        return 1.08 * (max(float(np.abs(v).max(initial=0.0)) for v in values) or 1.0)

    @property
    def linear(self) -> float:
        """Up to where symmetric-log axes are linear; `reach` if they are linear throughout."""
        size = np.maximum(np.abs(self.numeric), np.abs(self.analytic))
        size = size[size > SMALLEST * self.reach]
        low = float(np.quantile(size, 0.05)) if len(size) else self.reach
        return self.reach if self.reach <= SPAN * low else 10.0 ** np.floor(np.log10(low))


@np.errstate(all="ignore")
def symlog(x: Array, linear: float) -> Array:
    """Symmetric-log coordinates: decades beyond `linear`, one decade for what is between.

    Examples
    --------
    >>> symlog(np.array([-100.0, 0.0, 0.5, 1.0, 10.0]), 1.0).tolist()
    [-3.0, 0.0, 0.5, 1.0, 2.0]
    """
    size = np.abs(x) / linear
    return np.sign(x) * np.where(size <= 1.0, size, 1.0 + np.log10(np.maximum(size, 1.0)))


@np.errstate(all="ignore")
def points(result: Outcome, limit: int) -> Points:
    """The finite components; of too many, wrong ones first and a random part of the others."""
    components = result.components
    drawable = [np.abs(components[name]) < LARGEST for name in ("analytic", "numeric")]
    chosen = np.flatnonzero(drawable[0] & drawable[1])
    if len(chosen) > limit:
        chosen = np.random.default_rng(_SAMPLE).permutation(chosen)
        wrong = components["verdict"][chosen] == Verdict.WRONG.code
        chosen = np.sort(np.concatenate([chosen[wrong][: limit // 2], chosen[~wrong]])[:limit])
    drawn = components[chosen]
    return Points(drawn["analytic"], drawn["numeric"], drawn["verdict"], _constant_factor(drawn))


def _constant_factor(components: NDArray[np.void]) -> float | None:
    wrong = components[components["verdict"] == Verdict.WRONG.code]
    wrong = wrong[np.abs(wrong["numeric"]) > 10.0 * wrong["error"]]
    if len(wrong) < 2:
        return None
    ratio = wrong["analytic"] / wrong["numeric"]
    factor = float(np.median(ratio))
    # |a - c n| is within c times the bar, and the median's own bar once more.
    bars = 2.0 * np.abs(factor) * wrong["error"] + 1e-6 * np.abs(wrong["analytic"])
    fits = np.abs(wrong["analytic"] - factor * wrong["numeric"]) <= bars
    return factor if fits.mean() >= 0.95 else None


def symlog_ticks(linear: float, reach: float) -> list[float]:
    """Zero, and a few powers of ten of both signs, from `linear` to `reach`.

    Examples
    --------
    >>> symlog_ticks(0.01, 20.0)
    [-1.0, -0.01, 0.0, 0.01, 1.0]
    """
    low, high = math.ceil(math.log10(linear) - 1e-9), math.floor(math.log10(reach))
    powers = [10.0**k for k in range(low, high + 1, max(1, math.ceil((high - low) / 2)))]
    return [*(-value for value in reversed(powers)), 0.0, *powers]


def straight(slope: float, reach: float, linear: float) -> list[Array]:
    """The x of the ends of the lines that y = slope x is on symmetric-log axes, within `reach`.

    Where one of both is on the linear part of its axis, the graph is no straight line; there,
    around zero, nothing is drawn.
    """
    end = min(reach, reach / abs(slope)) if slope else reach
    begin = linear * max(1.0, 1.0 / abs(slope)) if slope and linear < reach else 0.0
    if begin >= end:
        return []
    return [np.array([begin, end]), np.array([-begin, -end])]


@dataclass(frozen=True, eq=False)
class Heat:
    """log10 of the relative error, in the shape of the block as a matrix.

    Attributes
    ----------
    block : BlockResult
    rows, columns : int
        Of the block as a matrix: its first axis, and all others.
    cells : float64 array
        At most as many as asked for: the largest value in each; NaN where nothing was measured.
    """

    block: BlockResult
    rows: int
    columns: int
    cells: Array

    def told(self, row: int, column: int) -> str:
        """A cell in words: its entry, or the worst of its entries, and the relative error."""
        height, width = self.cells.shape
        # Entry (i, j) is in the cell (i * height // rows, j * width // columns).
        top, bottom = (-(-edge * self.rows // height) for edge in (row, row + 1))
        left, right = (-(-edge * self.columns // width) for edge in (column, column + 1))
        name, error = self.block.name, short(10.0 ** float(self.cells[row, column]))
        if self.cells[row, column] <= -DECADES:
            error = f"at most {error}"
        if (bottom - top) * (right - left) == 1:
            at = top * self.columns + left
            named = entry_name(name, self.block.shape, at, self.block.split, self.block.pairs)
            return f"{named}: {error}"
        rows = f"rows {top} to {bottom - 1}, " if self.rows > 1 else ""
        return f"{name}, {rows}columns {left} to {right - 1}: the worst is {error}"


def heat_maps(result: Outcome, limit: int, side: int) -> tuple[Heat, ...]:
    """The heat maps of the blocks with measured components, worst first.

    Of a Jacobian of several blocks, one of the whole comes before them.

    Parameters
    ----------
    result : Outcome
    limit : int
        At most so many maps.
    side : int
        At most so many cells along either side.
    """
    placed = zip(starts(result.blocks), result.blocks, strict=False)
    drawn = [(start, block) for start, block in placed if block.checked and block.size > 1]
    # Matrices before vectors: a strip shows little.
    drawn.sort(key=lambda at: (WORST_FIRST.index(at[1].verdict), len(at[1].shape) < 2))
    maps = [_heat(result, block, start, side) for start, block in drawn[:limit]]
    if len(result.blocks) > 1 and result.blocks[0].split is not None:
        maps.insert(0, _whole(result, side))
    return tuple(heat for heat in maps if np.isfinite(heat.cells).any())[:limit]


def _heat(result: Outcome, block: BlockResult, start: int, side: int) -> Heat:
    first, last = np.searchsorted(result.components["index"], (start, start + block.size))
    mine = result.components[first:last]
    row, column = np.divmod(mine["index"] - start, block.size // block.rows)
    return _mapped(block, mine, row, column, side)


def _whole(result: Outcome, side: int) -> Heat:
    """All of a Jacobian: outputs from top to bottom, parameters from left to right."""
    index = result.components["index"]
    rows, columns = np.zeros((2, len(index)), np.int64)
    top = start = 0
    for _, of_output in itertools.groupby(result.blocks, lambda b: b.name.partition(OF)[0]):
        left, height = 0, 0
        for block in of_output:
            first, last = np.searchsorted(index, (start, start + block.size))
            height, width = block.rows, block.size // block.rows
            row, column = np.divmod(index[first:last] - start, width)
            rows[first:last], columns[first:last] = top + row, left + column
            start, left = start + block.size, left + width
        top += height
    whole = replace(
        result.blocks[0], name=result.subject, shape=(top, left), size=start, split=None
    )
    return _mapped(whole, result.components, rows, columns, side)


def _mapped(
    block: BlockResult,
    components: NDArray[np.void],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    side: int,
) -> Heat:
    """The map of components at these places."""
    rows = block.rows
    columns = block.size // rows
    height, width = min(rows, side), min(columns, side)
    cells = np.full((height, width), -np.inf)
    np.maximum.at(cells, (row * height // rows, column * width // columns), _log_error(components))
    cells[np.isneginf(cells)] = np.nan
    return Heat(block, rows, columns, cells)


def _log_error(components: NDArray[np.void]) -> Array:
    """log10 of the relative error, from -DECADES (or less, or both zero) to 0 (or more, or NaN)."""
    analytic, numeric = components["analytic"], components["numeric"]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        error = np.abs(analytic - numeric) / np.maximum(np.abs(analytic), np.abs(numeric))
        error = np.where(analytic == numeric, 0.0, error)
        log = np.log10(np.where(np.isnan(error), 1.0, error))
    clipped: Array = np.clip(log, -float(DECADES), 0.0)
    return clipped


@dataclass(frozen=True, eq=False)
class Curve:
    """The V-curve of one component: error against step.

    Attributes
    ----------
    sweep : Sweep
    errors : float64 array
        |derivative - value| at every step; exact agreement is lifted to the rounding of `value`.
    chosen : int
        The step that came closest to the value.
    analytic : float or None
        Distance of the analytic gradient from the value.
    """

    sweep: Sweep
    errors: Array
    chosen: int
    analytic: float | None


def curve(result: Outcome, sweep: Sweep, index: int | None) -> Curve:
    """The V-curve of a sweep; `index` is the component's flat index, if it is known."""
    distance = np.abs(sweep.derivatives - sweep.value)
    errors = np.maximum(distance, np.finfo(np.float64).eps * abs(sweep.value))
    chosen = int(np.argmin(np.where(np.isfinite(distance), distance, np.inf)))
    records = result.components[result.components["index"] == (-1 if index is None else index)]
    analytic = abs(float(records["analytic"][0]) - sweep.value) if len(records) else None
    return Curve(sweep, errors, chosen, analytic)
