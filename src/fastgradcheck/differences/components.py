"""What was measured: numeric derivatives with bars, for components and along directions."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.plateau import KINK_HERE, SMOOTH, Settled


@dataclass(frozen=True, eq=False)
class Components:
    """Components measured one by one, sorted by index.

    Attributes
    ----------
    index : int64 array, shape (k,)
    analytic : float64 array, shape (k,)
        The claimed derivatives.
    lower, upper : float64 arrays, shape (k,)
        The measured derivatives. They differ only where theta is on a kink: there, any slope
        between the two one-sided ones is a subgradient.
    error : float64 array, shape (k,)
        The bars; inf where nothing finite was measured.
    owned : bool array, shape (k,)
        True where the bar comes from the component's own ladder: only such may accuse.
    kind : uint8 array, shape (k,)
        What the ladder saw (`fastgradcheck.differences.sweep`): smooth, a kink, or no agreement.
    """

    index: NDArray[np.int64]
    analytic: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    error: NDArray[np.float64]
    owned: NDArray[np.bool_]
    kind: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def numeric(self) -> NDArray[np.float64]:
        """The measured derivative; on a kink, the subgradient nearest to the claimed one."""
        nearest: NDArray[np.float64] = np.clip(self.analytic, self.lower, self.upper)
        return nearest

    @property
    def discrepancy(self) -> NDArray[np.float64]:
        return np.abs(self.analytic - self.numeric)

    def between(self, start: int, stop: int) -> Components:
        """Those with ``start <= index < stop``."""
        low, high = np.searchsorted(self.index, [start, stop])
        return self.take(np.arange(low, high))

    def take(self, rows: NDArray[np.int64]) -> Components:
        return Components(*(getattr(self, field.name)[rows] for field in fields(self)))

    def with_gradient(self, gradient: NDArray[np.float64]) -> Components:
        """The same measurements against another gradient of shape (n,)."""
        return replace(self, analytic=gradient[self.index])

    def with_ladders(self, settled: list[Settled], gradient: NDArray[np.float64]) -> Components:
        """Let what ladders measured replace, or join, what is here."""
        return self.joined(of_ladders(settled, gradient))

    def joined(self, newer: Components) -> Components:
        """Both; where both measured a component, the newer counts."""
        both = [
            np.concatenate([getattr(newer, field.name), getattr(self, field.name)])
            for field in fields(self)
        ]
        _, first = np.unique(both[0], return_index=True)
        return Components(*(column[first] for column in both))


def of_ladders(settled: list[Settled], gradient: NDArray[np.float64]) -> Components:
    """Components that were measured on ladders."""
    index = np.array([s.index for s in settled], dtype=np.int64)
    here = np.array([s.kind == KINK_HERE for s in settled], dtype=bool)
    value = np.array([s.value for s in settled], dtype=np.float64)
    low = np.array([s.lower for s in settled], dtype=np.float64)
    high = np.array([s.upper for s in settled], dtype=np.float64)
    columns = Components(
        index,
        gradient[index],
        np.where(here, low, value),
        np.where(here, high, value),
        np.array([s.error for s in settled], dtype=np.float64),
        np.ones(len(settled), bool),
        np.array([s.kind for s in settled], dtype=np.uint8),
    )
    return columns.take(np.argsort(index, kind="stable"))


def of_differences(
    index: NDArray[np.int64],
    gradient: NDArray[np.float64],
    derivative: NDArray[np.float64],
    bars: NDArray[np.float64],
) -> Components:
    """Components that were measured by the plain loop, with provisional bars."""
    order = np.argsort(index, kind="stable")
    finite = np.isfinite(derivative)
    return Components(
        index,
        gradient[index],
        derivative,
        derivative,
        np.where(finite, bars, np.inf),
        np.zeros(len(index), bool),
        np.full(len(index), SMOOTH, np.uint8),
    ).take(order)


GLANCE_OWNS = 100.0
"""A discrepancy of this many bars is beyond any doubt that two steps leave."""


def of_glances(
    index: NDArray[np.int64],
    gradient: NDArray[np.float64],
    discrepancy: NDArray[np.float64],
    error: NDArray[np.float64],
) -> Components:
    """Components that were measured at two steps: they own their bars where these are far away.

    Parameters
    ----------
    index : int64 array, shape (k,)
    gradient : float64 array, shape (n,)
    discrepancy : float64 array, shape (k,)
        grad - gradapprox, with its sign.
    error : float64 array, shape (k,)
    """
    glanced = of_differences(index, gradient, gradient[index] - discrepancy, error)
    owned = glanced.discrepancy > GLANCE_OWNS * glanced.error
    return replace(glanced, owned=owned)


EMPTY = of_ladders([], np.zeros(0))
