"""The residuals of a claimed Jacobian along directions, less what was found wrong in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences import rows as differences
from fastgradcheck.differences.directions import OFFSETS
from fastgradcheck.differences.draws import everything
from fastgradcheck.differences.joint import Joint
from fastgradcheck.differences.limits import ScreenedRows
from fastgradcheck.differences.remainders import Orders, orders, second_order
from fastgradcheck.differences.rows import Array, Rows, Slopes
from fastgradcheck.differences.screen import OF_VALUES
from fastgradcheck.differences.sets import RowDraws, failure_of, measure, too_coarse
from fastgradcheck.evaluation import hashing
from fastgradcheck.problem import bounds
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.region import Region
from fastgradcheck.search.columns import JacobianTask, look
from fastgradcheck.search.separate import Separated, Separation
from fastgradcheck.verdict.tolerances import BLOCK_LIMIT

Search = Callable[[Separation, NDArray[np.int64], Array, Array], Separated]
"""Rows, their y and bars to what is wrong in them."""


@dataclass
class Residuals:
    """What directions leave of a claim that is searched: its products less the slopes of F.

    Attributes
    ----------
    moving : float64 array, shape (n,)
        The weight of every entry.
    weights : float64 array, shape (blocks of theta,)
    sizes : float64 array, shape (m,)
        The norm of every row of the claim in these weights.
    step : float
        Of all directions, unless they are coarse there.
    fixed : int64 array
        Columns that it does not move, or that have no room.
    repaired : dict of (row, column) to (float, float)
        What was found, and is taken out of the claim: how far it is off, and the bar of that.
    lost : bool array, shape (m,)
        Rows that are wrong throughout some block, which directions tell no more of.
    """

    task: JacobianTask
    moving: Array
    weights: Array
    sizes: Array
    step: float
    fixed: NDArray[np.int64]
    repaired: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    lost: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    lines: set[tuple[int, int]] = field(default_factory=set)
    looked: list[tuple[NDArray[np.int64], Array, Array]] = field(default_factory=list)

    @classmethod
    def over(cls, task: JacobianTask) -> Residuals | None:
        """Those of a task, none of which is measured yet; None if no column has room to move."""
        rows, context, known = task.rows, task.rows.context, task.recording
        weights = differences.weights(rows, task.sizes) if known is None else known.weights
        movable = bounds.movable(context.bounds, context.theta, context.scale)
        moving = differences.spread(rows, weights, movable)
        if not moving.any():
            return None
        step = differences.choose_step(rows, moving) if known is None else known.step
        fixed = differences.leave_out(rows, moving, step)
        sizes = np.sqrt(sum((w * size) ** 2 for w, size in zip(weights, task.sizes, strict=True)))
        lost = np.zeros(rows.count, bool)
        return cls(task, moving, weights, np.asarray(sizes), step, fixed, lost=lost)

    @property
    def rows(self) -> Rows:
        return self.task.rows

    @property
    def everywhere(self) -> Region:
        return everything(len(self.moving))

    @property
    def allowed(self) -> Array:
        """What rounding of the claim may contribute to y."""
        rounding = self.task.row_rounding * self.scales
        if self.rows.context.scheme.imaginary:
            half_ulp = 0.5 * float(np.finfo(np.float64).eps) * np.abs(self.rows.values)
            rounding = rounding + OF_VALUES * half_ulp
        return rounding

    @cached_property
    def scales(self) -> Array:
        """What each row is known relative to: its norm, of 16 bits at least its output's typical.

        A small row is often what rounding leaves of larger numbers, as 1 - y^2 is where y is 1.
        """
        if not self.task.coarse:
            return self.sizes
        scales = self.sizes.copy()
        for output in self.task.entries.outputs.blocks:
            own = scales[output.slice]
            own[...] = np.maximum(own, norm(own) / np.sqrt(len(own)))
        return scales

    def residual(self, slopes: Slopes) -> Array:
        """What the claim, without what was found wrong, predicts beyond the slopes."""
        y: Array = np.stack([self.task.claim.product(taken) for taken in slopes.taken])
        y -= slopes.slopes
        if self.repaired:
            rows, columns = np.array(list(self.repaired)).T
            sizes = np.array([size for size, _ in self.repaired.values()])
            for own, taken in zip(y, slopes.taken, strict=True):
                np.subtract.at(own, rows, sizes * taken[columns])
        return y

    def doubt(self, slopes: Slopes) -> Array:
        """The bars of the residual: what was taken out is known to its own bars only."""
        error = slopes.error.copy()
        if self.repaired:
            rows, columns = np.array(list(self.repaired)).T
            bars = np.array([bar for _, bar in self.repaired.values()])
            for own, taken in zip(error, slopes.taken, strict=True):
                np.add.at(own, rows, bars * np.abs(taken[columns]))
        return error

    def first(self) -> RowDraws:
        """The first directions: those that were recorded, if there are any."""
        known = self.task.recording
        return self.measure((1, 0)) if known is None else known.draws(self.rows, self.moving)

    def measure(self, place: tuple[int, ...]) -> RowDraws:
        """Fresh directions, those of coarse rows again at other steps."""
        return measure(self.rows, self.moving, self.step, place, self.coarse)

    def coarse(self, bars: Array) -> NDArray[np.bool_]:
        """The rows whose bars stand between the check and agreement."""
        failure = failure_of(0, len(self.task.entries.outputs.blocks))
        threshold = self.task.tolerance.threshold
        known = np.where(self.lost, 0.0, bars)
        return too_coarse(known, self.sizes, failure, threshold, BLOCK_LIMIT)

    def seen(self, draws: RowDraws) -> tuple[Array, Array, Array]:
        """The y of all rows, their bars, and what the claim predicts; of shape (d, m) each."""
        y = draws.chosen([self.residual(s) for s in draws.sets])
        error = draws.chosen([self.doubt(s) for s in draws.sets])
        claimed = y + draws.chosen([s.slopes for s in draws.sets])
        known = np.isfinite(y)
        y, claimed = np.where(known, y, 0.0), np.where(known, claimed, 0.0)
        return y, np.where(known, error, np.inf), claimed

    def orders(self, slopes: Slopes) -> Orders:
        """The orders of Taylor's remainders of the claim along directions."""
        products = self.residual(slopes) + slopes.slopes
        offsets = slopes.steps[:, np.newaxis] * OFFSETS
        predicted = products[:, np.newaxis] * offsets[:, :, np.newaxis]
        step = float(np.median(slopes.steps))
        found = orders(slopes.changes, predicted, step, norm(self.rows.noise))
        if not self.task.of_gradient:
            return found
        along = np.einsum("dpm,dm->dp", slopes.changes, slopes.taken)
        curvatures = np.einsum("dm,dm->d", products, slopes.taken)
        noise = norm(self.rows.noise * self.moving)
        return replace(found, second=second_order(along, curvatures, step, noise))

    def joint(self, several: Sequence[RowDraws], attempt: int) -> tuple[Joint, ...]:
        """What the directions say of every output, at their share of the probability."""
        entries = self.task.entries
        parts = zip(*map(self.seen, several), strict=True)
        y, error, claimed = (np.vstack(part) for part in parts)
        keys = np.concatenate([draws.sets[0].keys for draws in several])
        steps = np.concatenate([draws.sets[0].steps for draws in several])
        outputs, blocks = entries.outputs.blocks, entries.parameters.blocks
        repaired = {int(entries.flat(i, j)): found for (i, j), found in self.repaired.items()}
        found = []
        for o, output in enumerate(outputs):
            mine = output.slice
            screened = ScreenedRows(
                keys,
                steps,
                y[:, mine],
                error[:, mine],
                failure_of(attempt, len(outputs), len(keys)),
                claimed=claimed[:, mine],
                sizes=self.scales[mine],
                allowed=self.allowed[mine],
                lost=self.lost[mine].copy(),
            )
            weights = np.zeros(len(outputs) * len(blocks))
            own = slice(o * len(blocks), (o + 1) * len(blocks))
            weights[own] = self.weights
            sizes = weights.copy()
            sizes[own] *= [norm(size[output.slice]) for size in self.task.sizes]
            found.append(Joint(screened, weights, sizes, repaired))
        return tuple(found)

    def separate(
        self,
        draws: RowDraws,
        failing: NDArray[np.int64],
        attempt: int,
        search: Search = Separation.run,
    ) -> Separated:
        """What is wrong in failing rows, each by the set that tells most of it."""
        errors = np.array([np.max(s.error[:, failing], axis=0) for s in draws.sets])
        best = np.argmin(errors, axis=0)
        together = Separated()
        for number in np.unique(best).tolist():
            slopes, rows = draws.sets[number], failing[best == number]
            found = search(
                self.separation(slopes, attempt),
                rows,
                self.residual(slopes)[:, rows],
                self.doubt(slopes)[:, rows] + self.allowed[rows],
            )
            together.entries |= found.entries
            together.lines |= found.lines
            together.left |= found.left
        return together

    def take_out(self, found: Separated) -> bool:
        """Take what was found out of the claim; whether that was anything."""
        for entry, (size, bar) in found.entries.items():
            known = self.repaired.get(entry, (0.0, 0.0))[0]
            self.repaired[entry] = known + size, bar
        self.lines |= found.lines
        self.lost[[row for row, _ in found.lines]] = True
        return bool(found.entries or found.lines)

    def separation(self, slopes: Slopes, attempt: int) -> Separation:
        """The search of rows that one set of directions serves."""
        entries, rows = self.task.entries, self.rows
        edges = [*(b.start for b in entries.parameters.blocks), entries.parameters.size]

        def key(number: int) -> np.uint64:
            known = number < len(slopes.keys)
            return slopes.keys[number] if known else hashing.key(int(slopes.keys[0]), 1000 + number)

        def direction(number: int) -> Array:
            everywhere, step = self.everywhere, float(slopes.steps[0])
            return differences.displacement(
                rows, everywhere, key(number), step, self.moving, OFFSETS[:2]
            )

        def probe(low: int, high: int, start: int, stop: int) -> tuple[Array, Array]:
            region = np.array([low, high - low, 0, 1, 0, high - low])
            keys = np.array([key(number) for number in range(start, stop)])
            steps = np.full(len(keys), slopes.steps[0])
            measured = differences.along_two_points(rows, region, keys, steps, self.moving)
            bars = np.broadcast_to(np.max(slopes.error, axis=0), measured.slopes.shape)
            return self.residual(measured), bars + self.allowed

        def looked(columns: NDArray[np.int64]) -> tuple[Array, Array, NDArray[np.bool_]]:
            index, values, bars = look(self.task, columns)
            self.looked.append((index, values, bars))
            shape = rows.count, len(columns)
            numeric, bars = values.reshape(shape), bars.reshape(shape)
            claim = self.task.claim.columns(columns)
            for (i, j), (size, _) in self.repaired.items():
                claim[i, columns == j] -= size
            off = claim - numeric
            largest = self.scales / np.max(self.weights)
            allowed = self.task.tolerance.allowed(claim, numeric, 0.0)
            allowed += self.task.entry_rounding * largest[:, np.newaxis]
            return off, bars, np.abs(off) - bars > allowed

        seed = rows.context.seed + attempt
        return Separation(probe, looked, direction, slopes.taken, edges, seed)
