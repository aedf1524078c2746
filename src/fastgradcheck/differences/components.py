"""Components measured one by one: numeric derivatives with bars."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.plateau import DECODED, FIVE_POINT, KINK_HERE, SMOOTH, StepSweep


@dataclass(frozen=True, eq=False)
class Components:
    """Components measured one by one, sorted by index.

    Attributes
    ----------
    index : int64 array, shape (k,)
    lower, upper : float64 arrays, shape (k,)
        The measured derivatives. They differ only where theta is on a kink: there, any slope
        between the two one-sided ones is a subgradient.
    error : float64 array, shape (k,)
        The bars; inf where nothing finite was measured.
    has_own_bar : bool array, shape (k,)
        True where the bar comes from the component's own step sweep: only such prove anything.
    kind : uint8 array, shape (k,)
        What the differences showed (`differences.plateau`): smooth, a kink, or no agreement.
    """

    index: NDArray[np.int64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    error: NDArray[np.float64]
    has_own_bar: NDArray[np.bool_]
    kind: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: NDArray[np.int64]) -> Self:
        columns = {field.name: getattr(self, field.name)[rows] for field in fields(self)}
        return replace(self, **columns)

    def joined(self, newer: Self) -> Self:
        """Both; where both measured a component, the newer counts."""
        both = {
            field.name: np.concatenate([getattr(newer, field.name), getattr(self, field.name)])
            for field in fields(self)
        }
        _, first = np.unique(both["index"], return_index=True)
        return replace(self, **{name: column[first] for name, column in both.items()})


def of_sweeps(sweeps: Iterable[StepSweep]) -> Components:
    """Components that were measured by step sweeps."""
    settled = sorted(sweeps, key=lambda s: s.index)
    here = np.array([s.kind == KINK_HERE for s in settled], dtype=bool)
    value = np.array([s.value for s in settled], dtype=np.float64)
    low = np.array([s.lower for s in settled], dtype=np.float64)
    high = np.array([s.upper for s in settled], dtype=np.float64)
    return Components(
        np.array([s.index for s in settled], dtype=np.int64),
        np.where(here, low, value),
        np.where(here, high, value),
        np.array([s.error for s in settled], dtype=np.float64),
        np.ones(len(settled), bool),
        np.array([s.kind for s in settled], dtype=np.uint8),
    )


def of_differences(
    index: NDArray[np.int64],
    derivative: NDArray[np.float64],
    bars: NDArray[np.float64],
    kind: int = SMOOTH,
) -> Components:
    """Components that were measured by plain differences, with provisional bars."""
    return Components(
        index,
        derivative,
        derivative,
        np.where(np.isfinite(derivative), bars, np.inf),
        np.zeros(len(index), bool),
        np.full(len(index), kind, np.uint8),
    ).take(np.argsort(index, kind="stable"))


def of_five_points(
    index: NDArray[np.int64], derivative: NDArray[np.float64], error: NDArray[np.float64]
) -> Components:
    """Components that were measured at two steps: their bars prove what is far outside of them."""
    return of_differences(index, derivative, error, FIVE_POINT)


def of_decoded(
    index: NDArray[np.int64], derivative: NDArray[np.float64], error: NDArray[np.float64]
) -> Components:
    """Components that were read off directions, and confirmed by others."""
    decoded = of_differences(index, derivative, error, DECODED)
    return replace(decoded, has_own_bar=np.ones(len(index), bool))


EMPTY = of_sweeps([])
