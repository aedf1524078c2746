"""The measured entries of a failed block, and how a prediction of them is judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem.blocks import Block
from fastgradcheck.verdict.verdict import BlockResult

# About 100 patterns are tried on a block: six digits leave one false name in 10,000 blocks.
DIGITS = 6.0


# Bars hold the truth in 99.9 % of the entries, and a second fault must not hide the first.
SHARE = 0.95


# An exact equality of two doubles is worth their whole mantissa.
EXACT = 15.0


Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Field:
    """The measured entries of one failed block.

    Attributes
    ----------
    block : Block
    gradient, theta : float64 array, shape (block.size,)
        All of the block.
    at : int64 array, shape (k,)
        Which of its entries were measured.
    numeric, bar : float64 array, shape (k,)
        Their derivatives, and error bars that include the rounding of the gradient.
    """

    block: Block
    gradient: Array
    theta: Array
    at: NDArray[np.int64]
    numeric: Array
    bar: Array

    @property
    def analytic(self) -> Array:
        return self.gradient[self.at]

    @property
    def difference(self) -> Array:
        return self.analytic - self.numeric

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Entries whose difference is beyond doubt."""
        return np.abs(self.difference) > 4.0 * self.bar

    @property
    def telling(self) -> NDArray[np.bool_]:
        """Entries that are not zero on both sides: zero is right under almost any fault."""
        return np.maximum(np.abs(self.analytic), np.abs(self.numeric)) > 4.0 * self.bar

    @property
    def matrix_place(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column of the entries, the block seen as a matrix."""
        return self.at // self.block.columns, self.at % self.block.columns

    def only(self, mask: NDArray[np.bool_]) -> Field:
        """The field of some of its entries."""
        return replace(self, at=self.at[mask], numeric=self.numeric[mask], bar=self.bar[mask])


@dataclass(frozen=True, eq=False)
class Setting:
    """What is known beside the block at hand.

    Attributes
    ----------
    fields : mapping of str to Field
        The failed blocks.
    gradients : mapping of str to float64 array
        The analytic gradient of every block.
    results : tuple of BlockResult
    numbers : tuple of (float, str)
        Sizes that may stand in a cost as a factor, and what they are.
    scalars : tuple of (float, str)
        Numbers among the cost's arguments, and where.
    arrays : tuple of (array, str)
        Arrays among them, and where.
    """

    fields: Mapping[str, Field]
    gradients: Mapping[str, Array]
    results: tuple[BlockResult, ...]
    numbers: tuple[tuple[float, str], ...]
    scalars: tuple[tuple[float, str], ...]
    arrays: tuple[tuple[NDArray[Any], str], ...]


@dataclass(frozen=True)
class Candidate:
    """A pattern that the bars support, for one block.

    Attributes
    ----------
    kind : str
        The finding's slug.
    claim : str
        What is so, to be read after the block's name; blocks of one claim share a finding.
    cause : str
        What usually does that and where to look: whole sentences.
    digits : float
        The score.
    fits, tested : int
        How many entries agree with the claim, of how many that could have contradicted it.
    fitted : str
        Name of the fitted number, empty if there is none ...
    value, half_width : float
        ... and the number and its uncertainty.
    """

    kind: str
    claim: str
    cause: str
    digits: float
    fits: int
    tested: int
    fitted: str = ""
    value: float = math.nan
    half_width: float = math.nan

    @property
    def evidence(self) -> str:
        number = f"{self.fitted} {self._number} +- {self.half_width:.0e} " if self.fitted else ""
        entries = "entry" if self.tested == 1 else "entries"
        return f"{number}in {self.fits:,} of {self.tested:,} {entries}"

    @property
    def _number(self) -> str:
        """The fitted number to the last digit that its uncertainty leaves."""
        digits = math.floor(math.log10(abs(self.value))) - math.floor(math.log10(self.half_width))
        return f"{self.value:.{max(digits, 1)}g}"


Pattern = Callable[[Field, Setting], Iterator[Candidate]]


def against_bars(
    field: Field, predicted: Array, freedom: int = 0, choices: float = 1.0
) -> Candidate:
    """Hold a prediction of the numeric gradient (NaN: none) against the bars."""
    made = np.isfinite(predicted)
    miss = np.abs(field.numeric - predicted, where=made, out=np.full(len(predicted), np.inf))
    change = np.where(made, np.abs(field.analytic - predicted), 0.0)
    tried = made & (np.maximum(np.abs(field.difference), change) > 4.0 * field.bar)
    fits = tried & (miss <= 2.0 * field.bar)
    tested, fitting = int(tried.sum()), int(fits.sum())
    gains = np.sort(np.log10(np.abs(field.difference[fits]) / (4.0 * field.bar[fits]) + 1.0))
    digits = float(gains[: max(len(gains) - freedom, 0)].sum()) - math.log10(choices)
    # A pattern that predicts nothing for half of what is wrong explains nothing.
    if fitting < SHARE * tested or 2 * int((field.wrong & made).sum()) < int(field.wrong.sum()):
        digits = -math.inf
    return Candidate("", "", "", digits, fitting, tested)


def fitted_slope(x: Array, y: Array, bar: Array) -> tuple[float, float] | None:
    """The s of y = s x, and its half-width: robust against entries that do not follow.

    Each entry bounds s to an interval. The value is the middle of where most intervals overlap,
    the half-width that of the narrowest.
    """
    # Relative to the most precise: a quotient by a tiny x must not overflow.
    precision = np.abs(x) / bar
    used = precision > 1e-9 * precision.max(initial=0.0)
    if not used.any():
        return None
    ratio, half = y[used] / x[used], 1.0 / precision[used]
    ends = np.concatenate([ratio - half, ratio + half])
    order = np.argsort(ends, kind="stable")
    opens = np.where(order < len(ratio), 1, -1)
    most = int(np.argmax(np.cumsum(opens)))
    return float(ends[order[most : most + 2]].mean()), float(half.min())


def best_of(candidates: Iterable[Candidate]) -> Candidate:
    """The one of the highest score."""
    return max(candidates, key=lambda candidate: candidate.digits)


def listed(names: Sequence[str], what: str = "blocks") -> str:
    """The first names of several, and how many more there are."""
    shown = ", ".join(names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more {what}"
