"""What the pictures show, whatever draws them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.report.content import WORST_FIRST, starts
from fastgradcheck.report.outcome import Outcome, Sweep
from fastgradcheck.verdict.verdict import BlockResult, Verdict

Array = NDArray[np.float64]


# Okabe and Ito's colours: told apart with any colour vision.
COLORS = {
    Verdict.AGREES: "#0072B2",
    Verdict.WRONG: "#D55E00",
    Verdict.UNDECIDED: "#E69F00",
    Verdict.SKIPPED: "#8A8A8A",
}


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


def points(result: Outcome, limit: int) -> Points:
    """The finite components; of too many, wrong ones first and a random part of the others."""
    components = result.components
    finite = np.isfinite(components["analytic"]) & np.isfinite(components["numeric"])
    chosen = np.flatnonzero(finite)
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


def heat_maps(result: Outcome, limit: int, side: int) -> tuple[Heat, ...]:
    """The heat maps of the blocks with measured components, worst first.

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
    maps = (_heat(result, block, start, side) for start, block in drawn[:limit])
    return tuple(heat for heat in maps if np.isfinite(heat.cells).any())


def _heat(result: Outcome, block: BlockResult, start: int, side: int) -> Heat:
    rows = block.shape[0] if len(block.shape) > 1 else 1
    columns = block.size // rows
    first, last = np.searchsorted(result.components["index"], (start, start + block.size))
    mine = result.components[first:last]
    row, column = np.divmod(mine["index"] - start, columns)
    height, width = min(rows, side), min(columns, side)
    cells = np.full((height, width), -np.inf)
    np.maximum.at(cells, (row * height // rows, column * width // columns), _log_error(mine))
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
