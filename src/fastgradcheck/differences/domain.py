"""The edge of J's domain: entries of theta that may be moved to one side only.

At the edge a cost raises, or J is no number, as soon as an entry is moved outwards: t = 0 under a
logarithm of 1 - t, a probability of one, an angle at its limit. A random direction moves every
entry, so that all of them fail, and none tells why. The entries are found by halving; from then
on they are treated like entries at their bounds, and measured from inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences import noise
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.noise import Noise
from fastgradcheck.errors import CostEvaluationError, said

Measured = TypeVar("Measured")
DISTANCES = (2.0**-20, 2.0**-13, 2.0**-9)
"""Relative to theta's entries: at the edge, or nearer to it than the steps of differences go."""
MOST = 32
"""Entries that are found one by one; if there are more, all the others count as at the edge."""


def nowhere() -> NDArray[np.int64]:
    """No entries."""
    return np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Edge:
    """Entries of theta at the edge of the domain.

    Attributes
    ----------
    above, below : int64 arrays, sorted
        Entries that J does not allow to grow, and to fall ...
    distance : float
        ... by so much, relative to their scale.
    """

    above: NDArray[np.int64] = field(default_factory=nowhere)
    below: NDArray[np.int64] = field(default_factory=nowhere)
    distance: float = DISTANCES[0]

    def __len__(self) -> int:
        return len(np.union1d(self.above, self.below))

    def joined(self, more: Edge) -> Edge:
        """Both."""
        above, below = np.union1d(self.above, more.above), np.union1d(self.below, more.below)
        return Edge(above, below, max(self.distance, more.distance))


def settle(context: Context, finest: float = 0.0) -> tuple[Context, Noise, Edge]:
    """The noise of J, and a context that keeps to J's domain.

    Parameters
    ----------
    context : Context
    finest : float
        See `noise.measure`.

    Raises
    ------
    CostEvaluationError
        If the cost raises close to theta, wherever it is moved; the parameter is named if one is
        the cause.
    """
    measured, context, edge = tried(context, lambda within: noise.measure(within, finest))
    if len(edge) or measured.kind != "constant":
        return context, measured, edge
    edge = find(context)[0]
    if not len(edge):
        return context, measured, edge
    within = kept(context, edge)
    return within, noise.measure(within, finest), edge


def tried(
    context: Context, measure: Callable[[Context], Measured]
) -> tuple[Measured, Context, Edge]:
    """What is measured, a second time inside J's domain if the cost raises close to theta.

    Raises
    ------
    CostEvaluationError
        See `inside`.
    """
    try:
        return measure(context), context, Edge()
    except CostEvaluationError as error:
        failure = error  # outside of this block, lest it is told as the context of another
    within, edge = inside(context, failure)
    return measure(within), within, edge


def inside(context: Context, error: CostEvaluationError) -> tuple[Context, Edge]:
    """A context that keeps to J's domain, after the cost raised close to theta.

    Raises
    ------
    CostEvaluationError
        The same, if no entry is the cause; another one that names an entry which may not be moved
        to either side.
    """
    edge, failure = find(context)
    if not len(edge):
        raise error
    both = np.intersect1d(edge.above, edge.below)
    if len(both) and failure is not None:
        raise _nowhere_to_go(context, edge, both, failure) from failure.__cause__
    return kept(context, edge), edge


def kept(context: Context, edge: Edge) -> Context:
    """The context with bounds at the edge."""
    size = len(context.theta)
    low, high = np.full(size, -np.inf), np.full(size, np.inf)
    if context.bounds is not None:
        low, high = context.bounds[0].copy(), context.bounds[1].copy()
    low[edge.below] = context.theta[edge.below]
    high[edge.above] = context.theta[edge.above]
    return replace(context, bounds=(low, high))


def find(context: Context) -> tuple[Edge, CostEvaluationError | None]:
    """The entries at the edge, if there are any, and what the cost raised last."""
    domain = _Domain(context)
    if not domain.defined(nowhere(), 0.0):
        return Edge(), None  # not even at theta any more: no entry is the cause
    for distance in DISTANCES:
        edge = Edge(domain.blocked(distance), domain.blocked(-distance), distance)
        if len(edge):
            return edge, domain.failure
    return Edge(), None


class _Domain:
    """Asks whether J is defined where some entries are moved to one side.

    Attributes
    ----------
    failure : CostEvaluationError or None
        What the cost raised last.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.failure: CostEvaluationError | None = None

    def defined(self, index: NDArray[np.int64], distance: float) -> bool:
        """Whether J is a number where these entries are moved."""
        theta, bounds = self.context.theta, self.context.bounds
        moved = theta.copy()
        moved[index] += (distance * self.context.scale[index]).astype(theta.dtype)
        if bounds is not None:
            np.clip(moved, *bounds, out=moved)
        self.context.stream.evaluations += 1
        try:
            return bool(np.isfinite(self.context.stream.engine.value(moved)).all())
        except CostEvaluationError as error:
            self.failure = error
            return False

    def blocked(self, distance: float) -> NDArray[np.int64]:
        """The entries that cannot be moved so far, each by itself."""
        theta = self.context.theta
        free, found = np.arange(len(theta)), nowhere()
        for _ in range(MOST):
            if self.defined(free, distance):
                return found
            one = self.one_of(free, distance)
            if one is None:
                return found
            # What stands at the same value most often stands at the same edge.
            twins = free[(theta[free] == theta[one]) & (free != one)]
            if not len(twins) or self.defined(twins, distance):
                twins = nowhere()
            found = np.union1d(found, np.append(twins, one))
            free = np.setdiff1d(free, found)
            if not len(free):
                return found
        return np.arange(len(theta))

    def one_of(self, index: NDArray[np.int64], distance: float) -> int | None:
        """One that alone cannot be moved, of entries that cannot be moved together."""
        while len(index) > 1:
            half = index[: len(index) // 2]
            index = index[len(half) :] if self.defined(half, distance) else half
        return None if self.defined(index, distance) else int(index[0])


def _nowhere_to_go(
    context: Context, edge: Edge, both: NDArray[np.int64], failure: CostEvaluationError
) -> CostEvaluationError:
    """The error for entries that may be moved to neither side."""
    index, cause = int(both[0]), failure.__cause__
    where, step = context.parameters.address(index), edge.distance * float(context.scale[index])
    raised = "fails" if cause is None else f"raised {type(cause).__name__}"
    text = "" if cause is None else f": {said(cause)}".rstrip(" :.")
    objective = context.stream.engine.objective
    value = "J" if objective.outputs is None else "F"
    others = f" So it does for {len(both) - 1:,} more entries." if len(both) > 1 else ""
    message = (
        f"{objective.name} {raised} on both sides of {where} = {context.theta[index]:g}, "
        f"{step:.1g} away{text}.{others} There is no derivative where {value} has no "
        f"neighbourhood: leave {where} out of theta and pass it in args, or let {objective.name} "
        "accept other values."
    )
    return CostEvaluationError(message, where, step)
