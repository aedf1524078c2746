"""Values of F along directions over all of theta, from which any Jacobian can be judged.

As `differences.recording` for J: nothing that is measured depends on what is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences import rows as differences
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.draws import everything
from fastgradcheck.differences.joint import SHARES
from fastgradcheck.differences.recording import GROUPS, LOOK_STEP, LOOKS, WANTED
from fastgradcheck.differences.rows import Array, Rows, Slopes, slopes_of, taken_by
from fastgradcheck.differences.screen import SECOND_MOMENT
from fastgradcheck.differences.sets import RowDraws, failure_of, measure, too_coarse
from fastgradcheck.evaluation import hashing
from fastgradcheck.evaluation.checkpoint import SAME_VALUE
from fastgradcheck.evaluation.plans import Directions

COUNTS = tuple(SHARES)
"""So many directions may be recorded."""
KNOWN = 1e-2
"""The part of its own size that may be unknown of a row: what is asked of one by default."""


@dataclass(frozen=True, eq=False)
class Retried:
    """The slopes of some rows along the same directions at other steps, where these told more.

    Attributes
    ----------
    keys : uint64 array, shape (d,)
    steps : float64 array, shape (d,)
    rows : int64 array, shape (k,)
    slopes, error : float64 array, shape (d, k)
    """

    keys: NDArray[np.uint64]
    steps: Array
    rows: NDArray[np.int64]
    slopes: Array
    error: Array


@dataclass(frozen=True, eq=False)
class RowRecording:
    """What was measured.

    Attributes
    ----------
    values, noise : float64 array, shape (m,)
        F(theta), and the noise of every output.
    sizes : float64 array, shape (m,)
        How far every output moves (`problem.rowsizes`), where combinations of them are claimed.
    step : float
        The step that was chosen.
    weights : float64 array, shape (blocks,)
        See `differences.rows.weights`.
    keys : uint64 array, shape (d,)
    steps : float64 array, shape (d,)
    changes : float64 array, shape (d, 4, m)
        F at ``OFFSETS * steps`` along each direction, minus F(theta).
    retried : tuple of Retried
    seed : int
    evaluations : int
        What it took.
    """

    values: Array
    noise: Array
    sizes: Array
    step: float
    weights: Array
    keys: NDArray[np.uint64]
    steps: Array
    changes: Array
    retried: tuple[Retried, ...]
    seed: int
    evaluations: int

    @property
    def directions(self) -> int:
        """How many there are."""
        return len(self.keys)

    def is_of(self, values: Array) -> bool:
        """Whether F(theta) is what it was, but for last digits of another processor."""
        if values.shape != self.values.shape:
            return False
        size = np.maximum(np.abs(self.values), 1e-3 * np.abs(self.values).max())
        return bool((np.abs(values - self.values) <= SAME_VALUE * size).all())

    def draws(self, rows: Rows, moving: Array) -> RowDraws:
        """The directions as they were measured.

        Parameters
        ----------
        rows : Rows
        moving : float64 array, shape (n,)
            The weight of every entry.
        """
        with np.errstate(all="ignore"):
            region = everything(len(moving))
            first = slopes_of(rows, region, self.keys, self.steps, moving, self.changes)
        draws = RowDraws.of(first)
        for more in self.retried:
            shape = len(more.keys), rows.count
            # Of rows that are not known no bar is the smaller one.
            slopes, error = np.zeros(shape), np.full(shape, np.inf)
            slopes[:, more.rows], error[:, more.rows] = more.slopes, more.error
            taken = taken_by(rows, region, more.keys, more.steps, moving)
            changes = np.zeros((shape[0], 0, shape[1]))
            again = Slopes(more.keys, more.steps, slopes, error, taken, changes)
            draws = draws.improved(again)
        return draws

    def combined(self, cotangents: Array) -> RowRecording:
        """The same of combinations of the outputs, ``cotangents @ F``, shape (k, m)."""
        return replace(
            self,
            values=cotangents @ self.values,
            noise=np.sqrt(cotangents**2 @ self.noise**2),
            sizes=np.ones(len(cotangents)),
            changes=self.changes @ cotangents.T,
            retried=(),
        )


def record_rows(
    context: Context, values: Array, sizes: Array, outputs: int, count: int
) -> RowRecording:
    """Measure F along so many directions.

    Parameters
    ----------
    context : Context
    values : float64 array, shape (m,)
        F(theta).
    sizes : float64 array, shape (m,)
        How far every output moves.
    outputs : int
        How many blocks of outputs there are.
    count : int
        Of directions.
    """
    with np.errstate(all="ignore"):  # large steps may leave the function's domain
        rows = Rows(context, values, differences.measure_noise(context, values))
        norms = _norms(rows)
        weights = differences.weights(rows, list(norms))
        moving = differences.spread(rows, weights, None)
        step = differences.choose_step(rows, moving)
        differences.leave_out(rows, moving, step)
        weighted = np.sqrt(np.sum((weights[:, np.newaxis] * norms) ** 2, axis=0))
        failure = failure_of(0, outputs, count)

        def coarse(bars: Array) -> NDArray[np.bool_]:
            return too_coarse(bars, weighted, failure, WANTED, KNOWN)

        draws = measure(rows, moving, step, (1, 0), coarse, count)
    first, *others = draws.sets
    retried = []
    for number, s in enumerate(others, 1):
        mine = np.flatnonzero((draws.choice == number).any(axis=0))
        if len(mine):
            retried.append(Retried(s.keys, s.steps, mine, s.slopes[:, mine], s.error[:, mine]))
    return RowRecording(
        values=values,
        noise=rows.noise,
        sizes=sizes,
        step=step,
        weights=weights,
        keys=first.keys,
        steps=first.steps,
        changes=first.changes,
        retried=tuple(retried),
        seed=context.seed,
        evaluations=context.stream.evaluations,
    )


def _norms(rows: Rows) -> Array:
    """How large every row is within every block, but for a small factor; shape (blocks, m)."""
    context, blocks = rows.context, rows.context.parameters.blocks
    typical = np.array([np.median(context.scale[block.slice]) for block in blocks])
    moving = np.repeat(typical, [block.size for block in blocks])
    offsets = np.full((LOOKS, 1), LOOK_STEP) * np.array([1.0, -1.0])
    norms = np.zeros((len(blocks), rows.count))
    for number, group in enumerate(
        np.array_split(np.arange(len(blocks)), min(GROUPS, len(blocks)))
    ):
        start, stop = blocks[group[0]].start, blocks[group[-1]].stop
        region = np.array([start, stop - start, 0, 1, 0, stop - start])
        keys = [hashing.key(context.seed, 5, LOOKS * number + k) for k in range(LOOKS)]
        plan = Directions(
            np.repeat(region[np.newaxis], LOOKS, axis=0), np.array(keys), offsets, moving
        )
        at = context.stream.values(plan, "calibrating")
        slopes = np.abs(np.nan_to_num(at[:, 0] - at[:, 1])).max(axis=0) / (2 * LOOK_STEP)
        norms[group] = slopes / np.sqrt(SECOND_MOMENT * len(group)) / typical[group, np.newaxis]
    return norms
