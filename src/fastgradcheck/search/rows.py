"""Directions over all of theta for all rows of a Jacobian, and what they disagree about.

The row that is wrong is named by looking, the column by decoding (`fastgradcheck.search.separate`).
What is found is taken out of the claim, and fresh directions through the rest confirm it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences import rows as differences
from fastgradcheck.differences.components import of_decoded, of_five_points
from fastgradcheck.differences.directions import NOISE_GAIN, OFFSETS
from fastgradcheck.differences.draws import CLOSER, DIRECTIONS, RETRIES, ROUGH, WIDER, everything
from fastgradcheck.differences.evidence import Evidence, Located
from fastgradcheck.differences.joint import Joint
from fastgradcheck.differences.limits import ScreenedRows, hidden_rows
from fastgradcheck.differences.plateau import NOISE_SIGMAS
from fastgradcheck.differences.rows import Array, Rows, Slopes, sweep_column
from fastgradcheck.differences.screen import BEYOND_DOUBT, CONFIDENCE, ROUNDING_UNITS
from fastgradcheck.evaluation import hashing
from fastgradcheck.evaluation.stream import Stopped
from fastgradcheck.problem import bounds
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.region import Region, region_of
from fastgradcheck.search.columns import JacobianTask, confirm, look, one_by_one
from fastgradcheck.search.confirm import TWICE_BELOW
from fastgradcheck.search.separate import Separated, Separation
from fastgradcheck.verdict.rows import claimed

SHARE = 0.7
"""The part of the threshold that the limits should stay within."""
BLOCK_WANTED = 5e-3
"""Half of what a block's limit may be at most (`fastgradcheck.verdict.rules`)."""
ROUNDS = 5
"""How often what was found is taken out and the rest measured anew."""
ONE_BY_ONE = 20
"""Columns that directions cannot move, or that hold no numbers, that are measured by themselves."""
LINES = 4
"""A column that is wrong in all of so many rows is named as one."""


def search(task: JacobianTask) -> Evidence:
    """Run every stage; what was measured until the stream stopped is returned.

    Parameters
    ----------
    task : JacobianTask
        Its rows need not know the noise of F yet.
    """
    evidence = Evidence()
    with np.errstate(all="ignore"):  # large steps may leave the function's domain
        try:
            level = differences.measure_noise(task.rows.context, task.rows.values)
            task = replace(task, rows=replace(task.rows, noise=level))
            kind = replace(evidence.noise, level=float(np.median(level)))
            evidence = replace(evidence, noise=kind)
            for stage in (broken, cover, one_by_one, confirm):
                for latest in stage(evidence, task):
                    evidence = latest
        except Stopped:
            pass
    return evidence


def broken(evidence: Evidence, task: JacobianTask) -> Iterator[Evidence]:
    """Measure what is claimed to be no number."""
    rows, columns = task.claim.broken
    for column in np.unique(columns)[:ONE_BY_ONE].tolist():
        mine = rows[columns == column]
        sweeps = sweep_column(task.rows, column, mine, task.entries.flat(mine, column))
        evidence = evidence.with_sweeps(sweeps)
        yield evidence


@dataclass(frozen=True, eq=False)
class Draws:
    """Directions of all rows; where several sets were tried, each row has its own choice.

    Attributes
    ----------
    sets : tuple of Slopes
    choice : int64 array, shape (d, m)
        Which set counts, for every direction and row.
    """

    sets: tuple[Slopes, ...]
    choice: NDArray[np.int64]

    def chosen(self, values: list[Array]) -> Array:
        """From values of shape (d, m) of every set, those that count."""
        picked: Array = np.choose(self.choice, values) if len(values) > 1 else values[0]
        return picked

    @property
    def error(self) -> Array:
        return self.chosen([s.error for s in self.sets])

    def improved(self, more: Slopes) -> Draws:
        """With another set, where its bars are smaller."""
        better = more.error < self.error
        return Draws((*self.sets, more), np.where(better, len(self.sets), self.choice))


@dataclass
class _Cover:
    """Directions that are under way.

    Attributes
    ----------
    moving : float64 array, shape (n,)
        The weight of every entry.
    weights : float64 array, shape (blocks of theta,)
    sizes : float64 array, shape (m,)
        The norm of every row of the claim in these weights.
    repaired : dict of (row, column) to (float, float)
        What was found, and is taken out of the claim: how far it is off, and the bar of that.
    lost : bool array, shape (m,)
        Rows that are wrong throughout some block, which directions tell no more of.
    """

    task: JacobianTask
    moving: Array
    weights: Array
    sizes: Array
    repaired: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    lost: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    lines: set[tuple[int, int]] = field(default_factory=set)
    looked: list[tuple[NDArray[np.int64], Array, Array]] = field(default_factory=list)

    @property
    def rows(self) -> Rows:
        return self.task.rows

    @property
    def everywhere(self) -> Region:
        return everything(len(self.moving))

    @property
    def allowed(self) -> Array:
        """What rounding of the claim may contribute to y."""
        return ROUNDING_UNITS * self.task.claim.eps * self.sizes

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

    def measure(self, step: float, place: tuple[int, ...]) -> Draws:
        """Fresh directions, those of coarse rows again at other steps."""
        seed, rows = self.rows.context.seed, self.rows
        keys = np.array([hashing.key(seed, *place, d) for d in range(DIRECTIONS)])
        steps = np.full(DIRECTIONS, step)
        slopes = differences.along(rows, self.everywhere, keys, steps, self.moving)
        draws = Draws((slopes,), np.zeros(slopes.slopes.shape, np.int64))
        longest = differences.farthest(rows, self.moving)
        for attempt in range(1, RETRIES + 1):
            coarse = self.coarse(draws)
            if not coarse.any():
                break
            noisy = ROUGH * NOISE_GAIN * NOISE_SIGMAS * rows.noise / step
            rough = (draws.error > noisy).any(axis=0) & coarse
            # Where noise rules, longer steps; where kinks or truncation do, shorter ones.
            closer = 2 * rough.sum() >= coarse.sum()
            other = (
                step / CLOSER[min(attempt, RETRIES - 1)] if closer else min(WIDER * step, longest)
            )
            keys = np.array([hashing.key(int(key), attempt) for key in keys])
            steps = np.full(DIRECTIONS, other)
            draws = draws.improved(
                differences.along(rows, self.everywhere, keys, steps, self.moving)
            )
        return draws

    def coarse(self, draws: Draws) -> NDArray[np.bool_]:
        """The rows whose bars stand between the check and agreement."""
        bars = np.max(draws.error, axis=0)
        bars[self.lost] = 0.0
        failure = _failure(0, len(self.task.entries.outputs.blocks))
        t = (failure / self.rows.count) ** (1 / DIRECTIONS) / np.sqrt(2)
        threshold, whole = self.task.tolerance.threshold, norm(self.sizes)
        unknown = bars > 2 * BLOCK_WANTED * t * np.maximum(self.sizes, threshold * whole)
        together = hidden_rows(failure, DIRECTIONS, self.rows.count)
        wanted = 2 * SHARE * threshold * whole * together
        if norm(np.minimum(bars, 1e150)) > wanted:
            unknown |= bars > wanted / np.sqrt(self.rows.count)
        coarse: NDArray[np.bool_] = unknown
        return coarse

    def joint(self, draws: Draws, attempt: int) -> tuple[Joint, ...]:
        """What the directions say of every output, at their share of the probability."""
        entries, steps = self.task.entries, draws.sets[0].steps
        y = draws.chosen([self.residual(s) for s in draws.sets])
        error = draws.chosen([self.doubt(s) for s in draws.sets])
        y, error = np.where(np.isfinite(y), y, 0.0), np.where(np.isfinite(y), error, np.inf)
        slopes = draws.chosen([s.slopes for s in draws.sets])
        claimed = y + np.where(np.isfinite(slopes), slopes, 0.0)
        outputs, blocks = entries.outputs.blocks, entries.parameters.blocks
        repaired = {int(entries.flat(i, j)): found for (i, j), found in self.repaired.items()}
        found = []
        for o, output in enumerate(outputs):
            mine = output.slice
            screened = ScreenedRows(
                draws.sets[0].keys,
                steps,
                y[:, mine],
                error[:, mine],
                _failure(attempt, len(outputs)),
                claimed=claimed[:, mine],
                sizes=self.sizes[mine],
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

    def separate(self, draws: Draws, failing: NDArray[np.int64], attempt: int) -> Separated:
        """What is wrong in failing rows, each by the set that tells most of it."""
        errors = np.array([np.max(s.error[:, failing], axis=0) for s in draws.sets])
        best = np.argmin(errors, axis=0)
        together = Separated()
        for number in np.unique(best).tolist():
            slopes, rows = draws.sets[number], failing[best == number]
            found = self.separation(slopes, attempt).run(
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
            largest = self.sizes / np.max(self.weights)
            allowed = self.task.tolerance.allowed(claim, numeric, 0.0)
            allowed += 8 * self.task.claim.eps * largest[:, np.newaxis]
            return off, bars, np.abs(off) - bars > allowed

        seed = rows.context.seed + attempt
        return Separation(probe, looked, direction, slopes.taken, edges, seed)


def _failure(attempt: int, outputs: int) -> float:
    """The probability with which the limits of one output may be wrong.

    Half of it is that of all rows together, half that of the rows each. Every set of directions
    has half of the share of the one before.
    """
    return float((1 - CONFIDENCE) / 2 ** (attempt + 2) / outputs)


def cover(evidence: Evidence, task: JacobianTask) -> Iterator[Evidence]:
    """Directions over all of theta for all rows, and the search where they disagree."""
    if not task.screens:
        return
    context = task.rows.context
    weights = differences.weights(task.rows, task.sizes)
    movable = bounds.movable(context.bounds, context.theta, context.scale)
    moving = differences.spread(task.rows, weights, movable)
    if not moving.any():
        return
    step = differences.choose_step(task.rows, moving)
    fixed = _leave_out(task, moving, step)
    evidence = replace(evidence, fixed=fixed)
    for column in fixed[:ONE_BY_ONE].tolist():
        every = np.arange(task.rows.count)
        sweeps = sweep_column(task.rows, column, every, task.entries.flat(every, column))
        evidence = evidence.with_sweeps(sweeps)
        yield evidence
    sizes = np.sqrt(sum((w * size) ** 2 for w, size in zip(weights, task.sizes, strict=True)))
    state = _Cover(task, moving, weights, np.asarray(sizes), lost=np.zeros(task.rows.count, bool))
    suspects = failing = np.zeros(0, np.int64)
    for attempt in range(ROUNDS):
        draws = state.measure(step, (1, attempt))
        evidence = replace(evidence, joint=state.joint(draws, attempt))
        failing, sure = _failing(evidence.joint)
        if not len(failing) or attempt == ROUNDS - 1:
            break
        # One bar in a thousand misses: what is hardly outside must be so in fresh directions too.
        due = failing[sure | np.isin(failing, suspects)]
        suspects = failing
        if not len(due):
            continue
        try:
            found = state.separate(draws, due, attempt)
        finally:
            evidence = _with_looks(evidence, state)
        yield replace(evidence, joint=())
        if not state.take_out(found):
            break
    yield _told(evidence, state, draws, set(failing.tolist()))


def _failing(
    joints: tuple[Joint, ...],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The rows that the directions disagree with, and which of them do so beyond doubt."""
    screened = [j.screened for j in joints if isinstance(j.screened, ScreenedRows)]
    if not screened:
        return np.zeros(0, np.int64), np.zeros(0, bool)
    failing = np.concatenate([s.failing for s in screened])
    sure = np.concatenate([s.surely for s in screened])
    return np.flatnonzero(failing), sure[failing]


def _with_looks(evidence: Evidence, state: _Cover) -> Evidence:
    """With the columns that the search looked at."""
    for index, values, bars in state.looked:
        evidence = evidence.with_components(of_five_points(index, values, bars))
    state.looked.clear()
    return evidence


def _told(evidence: Evidence, state: _Cover, draws: Draws, doubtful: set[int]) -> Evidence:
    """With the entries and lines that were found, and what is left unexplained."""
    task, entries = state.task, state.task.entries
    sure: list[tuple[int, int, float, float]] = []
    rest: list[tuple[int, int, float, float]] = []
    for (i, j), (size, bar) in state.repaired.items():
        shown = not state.lost[i] and i not in doubtful and abs(size) > TWICE_BELOW * bar
        taken = np.array([abs(s.taken[:, j]) for s in draws.sets])
        seen = taken[draws.choice[:, i], np.arange(len(draws.choice))] * abs(size)
        shown = shown and bool(np.all(seen > BEYOND_DOUBT * draws.error[:, i]))
        (sure if shown else rest).append((i, j, size, bar))
    if sure:
        rows, columns, sizes, bars = map(np.array, zip(*sure, strict=True))
        flat = entries.flat(rows, columns)
        order = np.argsort(flat)
        numeric = claimed(task.claim, entries, flat) - sizes
        found = of_decoded(flat[order], numeric[order], bars[order])
        evidence = evidence.with_components(found)
    for column in dict.fromkeys(j for _, j, _, _ in rest[: 64 * ONE_BY_ONE]):
        mine = np.array(sorted(i for i, j, _, _ in rest if j == column))
        sweeps = sweep_column(task.rows, column, mine, entries.flat(mine, column))
        evidence = evidence.with_sweeps(sweeps)
    return _located(evidence, state, doubtful)


def _located(evidence: Evidence, state: _Cover, doubtful: set[int]) -> Evidence:
    """With rows, columns and blocks that are wrong as a whole, named as such."""
    entries = state.task.entries
    by_block: dict[int, list[int]] = {}
    for row, b in state.lines:
        by_block.setdefault(b, []).append(row)
    wrong = np.array(list(state.repaired), np.int64).reshape(-1, 2)
    count = len(entries.parameters.blocks)
    for number, output, parameter in entries.pairs():
        block = entries.names.blocks[number]
        own = [r for r in by_block.get(number % count, []) if output.start <= r < output.stop]
        region = region_of(block)
        regions = []
        if len(own) == output.size:
            regions = [region]
        else:
            for row in sorted(own):
                line = region.copy()
                line[2:4] = row - output.start, row - output.start + 1
                regions.append(line)
            inside = wrong[(wrong[:, 0] >= output.start) & (wrong[:, 0] < output.stop)]
            columns, times = np.unique(inside[:, 1], return_counts=True)
            for column in columns[(times == output.size) & (times >= LINES)].tolist():
                if parameter.start <= column < parameter.stop:
                    line = region.copy()
                    line[4:6] = column - parameter.start, column - parameter.start + 1
                    regions.append(line)
        unexplained = any(output.start <= row < output.stop for row in doubtful)
        if regions or unexplained:
            located = Located(regions=tuple(regions), unexplained=unexplained)
            evidence = evidence.with_located(number, located)
    return evidence


def _leave_out(task: JacobianTask, moving: Array, step: float) -> NDArray[np.int64]:
    """Take the weight of what the step does not move, and tell what that is."""
    theta = task.rows.context.theta
    smallest = (0.5 * step / CLOSER[-1] * moving).astype(theta.dtype)
    still = (theta + smallest == theta) | (moving == 0)
    moving[still] = 0.0
    return np.flatnonzero(still)
