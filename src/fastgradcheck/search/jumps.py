"""What would be called wrong is measured at larger steps where J jumps within them.

A cost that rounds is a staircase. Where a sigmoid a is within 1e-13 of one, log(1 - a) moves in
stairs 1e-3 wide: differences over less see only what else is in J, sharply, and miss this
example's share; those over more tend to the slope that the gradient is right about. So where
larger steps lie near the claim, the sharpest bend of J is looked at ever more closely. If it is a
jump, the component is judged at the larger steps, with a bar that holds the jump; where J is
continuous, the smaller steps count, also where no larger one shows what they do: J then has
structure of its own there, such as 1e-6 sin(1e6 x).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.context import Context
from fastgradcheck.differences.evidence import Evidence, LargerSteps
from fastgradcheck.differences.plateau import RATIO, UNSETTLED
from fastgradcheck.differences.sweep import LARGEST_STEP
from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation.plans import Stencils
from fastgradcheck.search.task import Task
from fastgradcheck.verdict import rules
from fastgradcheck.verdict.support import Compared
from fastgradcheck.verdict.verdict import Verdict

LARGER = 3
"""Larger steps that a claim may lie near: the first ones of a sweep."""
NEARER = 0.5
"""... by no more than this part of its distance from the slope of smaller ones."""
HEIGHT = 10.0
"""Standard deviations of J's noise that a jump is higher than: a second difference of noise alone
has sqrt(6) of them."""
LOOKS = 10
"""In so many closer looks, 4 times each, a bend at a kink falls by a million, one of a smooth J by
its square; what stays as high all the while is a jump. A fast oscillation shows bends of any
height, until it is resolved."""
STAYS = 0.4
"""The lowest of these bends over the highest: between two stairs and one it halves."""


def recheck(evidence: Evidence, task: Task) -> Iterator[Evidence]:
    """Recheck the components of each block that is wrong by them, the worst first.

    It would be, or may be, where what the smallest steps show could be the slope of one stair.
    While no jump of J is known, one component that stays wrong settles it for those after it.
    Where none stays wrong, nothing that was located in the block is wrong.
    """
    known = -1.0
    while evidence.jump > known:
        known = evidence.jump
        for block in task.measured(evidence):
            b, c = block.number, block.components
            if rules.judge_block(block, task.tolerance).verdict is not Verdict.WRONG:
                for latest in _rechecked(evidence, task, c.take(_hidden(evidence, c))):
                    evidence = latest
                    yield evidence
                continue
            excess = np.nan_to_num(
                np.where(c.has_own_bar, c.discrepancy - c.error, 0.0), nan=np.inf
            )
            order = np.argsort(-excess, kind="stable")
            wrong = rules.wrong_components(block, task.tolerance)[order]
            doubtful = order[wrong]
            for latest in _rechecked(evidence, task, c.take(doubtful)):
                evidence = latest
                yield evidence
            if len(doubtful) and not _still(evidence, c.index[doubtful]):
                found = evidence.location(b).withdrawn(b in evidence.screened)
                evidence = evidence.with_located(b, found)
                yield evidence
            # Those within their tolerance may prove too large a difference of the block together.
            within = order[~wrong & (excess[order] > 0)]
            for latest in _rechecked(evidence, task, c.take(within)):
                evidence = latest
                yield evidence


def _hidden(evidence: Evidence, c: Compared) -> NDArray[np.int64]:
    """Rows that only small steps contradict, in which J was not looked at yet, the worst first."""
    rows = [
        row
        for row in np.flatnonzero(c.kind == UNSETTLED).tolist()
        if any(s.kind != UNSETTLED for s in evidence.sweeps.get(int(c.index[row]), ()))
    ]
    return np.array(sorted(rows, key=lambda row: -c.discrepancy[row]), np.int64)


def _still(evidence: Evidence, index: NDArray[np.int64]) -> bool:
    """Whether some of these components stay as wrong as they were."""
    return any(int(i) not in evidence.larger for i in index)


def _rechecked(evidence: Evidence, task: Task, doubtful: Compared) -> Iterator[Evidence]:
    """Measure these in order, and stop at one that stays wrong while no jump is known."""
    for row, i in enumerate(doubtful.index.tolist()):
        if evidence.rechecked.get(i) != evidence.jump:
            closer = _Closer(task.context, evidence)
            hidden = bool(doubtful.kind[row] == UNSETTLED)
            slopes = doubtful.analytic[row], doubtful.numeric[row]
            larger = closer.at_larger_steps(i, *slopes, hidden=hidden)
            evidence = replace(evidence, jump=closer.jump)
            if closer.continuous:
                evidence = replace(evidence, continuous=evidence.continuous | {i})
            if larger is not None:
                evidence = replace(evidence, larger={**evidence.larger, i: larger})
                yield evidence
                continue
        evidence = replace(evidence, rechecked={**evidence.rechecked, i: evidence.jump})
        yield evidence
        if not evidence.jump:
            return


@dataclass
class _Closer:
    """A closer look at one component, with the highest jump of J that is known of.

    It was seen to be `continuous` there if no jump was found.
    """

    context: Context
    evidence: Evidence

    def __post_init__(self) -> None:
        self.jump = self.evidence.jump
        self.continuous = False

    def at_larger_steps(
        self, i: int, claimed: float, slope: float, *, hidden: bool
    ) -> LargerSteps | None:
        """What larger steps say, or None if J does not jump there or they leave the claim out.

        J is looked at more closely where they lie near the claim, and where they know nothing of
        the slope that contradicts it, which is `hidden` from them.
        """
        try:
            return self._measured(i, claimed, slope, hidden)
        except CostEvaluationError:
            # Outside of J's domain there is nothing to see; if it fails at theta too, that is told.
            self._along(i, self.context.theta[i].reshape(1, 1))
            return None

    def _measured(self, i: int, claimed: float, slope: float, hidden: bool) -> LargerSteps | None:
        here = float(self.context.theta[i])
        steps = LARGEST_STEP * self.context.scale[i] / RATIO ** np.arange(LARGER)
        if self.context.bounds is not None:
            low, high = self.context.bounds
            steps = steps[steps <= min(high[i] - here, here - low[i])]
        if len(steps) < 2:
            return None
        points, values = self._along(i, np.array([here + steps, here - steps]).T)
        slopes = np.subtract(*values.T) / np.subtract(*points.T)
        apart = np.abs(slopes - claimed)
        near = steps[apart < NEARER * abs(claimed - slope)]
        k, error = _sharpest(steps, slopes, self.jump)
        if not (len(near) or hidden or (self.jump and apart[k] <= error)):
            return None
        own = self._jump_within(i, np.min(near, initial=steps[0]))
        if not own > 0:
            self.continuous = own == 0
            return None
        self.jump = max(self.jump, own)
        k, error = _sharpest(steps, slopes, self.jump)
        return LargerSteps(steps, slopes, self.jump, k, error) if apart[k] <= error else None

    def _jump_within(self, i: int, reach: float) -> float:
        """How high J jumps somewhere within `reach` of theta_i; 0 if it does not, nan if unseen."""
        here = float(self.context.theta[i])
        low, high = here - reach, here + reach
        eps = float(np.finfo(np.float64).eps)
        heights: list[float] = []
        while True:
            points, values = self._along(i, np.linspace(low, high, 9)[np.newaxis])
            bends = np.abs(np.diff(values[0], 2))
            k = int(np.argmax(bends))
            heights.append(float(bends[k]))
            noise = max(self.context.noise, eps * float(np.max(np.abs(values))))
            # A point is rounded too, which moves J by its slope.
            moved = float(np.max(np.abs(np.diff(values[0]))))
            noise += moved * eps * max(abs(low), abs(high)) / (high - low)
            if not heights[-1] > HEIGHT * noise:
                return 0.0 if np.isfinite(heights[-1]) else np.nan
            recent = heights[-1 - LOOKS :]
            if len(recent) > LOOKS and min(recent) > STAYS * max(recent):
                return heights[-1]
            low, high = points[0, k], points[0, k + 2]

    def _along(
        self, i: int, points: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows of theta_i, as its dtype has them, and J there."""
        taken = points.astype(self.context.theta.dtype).astype(np.float64)
        plan = Stencils(np.full(len(points), i), taken)
        return taken, np.asarray(self.context.stream.values(plan, "confirming"))


def _sharpest(
    steps: NDArray[np.float64], slopes: NDArray[np.float64], jump: float
) -> tuple[int, float]:
    """Which of the differences has the smallest bar, and that bar.

    Jumps move J at either point by no more than one of them; the truncation of a step is less
    than its change from the next larger one, that of the largest hardly more than its change to
    the next.
    """
    noise, change = jump / steps, np.abs(np.diff(slopes))
    first = RATIO**2 / (RATIO**2 - 1) * (change[0] + noise[0] + noise[1])
    bars = noise + np.append(first, change)
    k = int(np.nanargmin(bars)) if np.isfinite(bars).any() else 0
    return k, float(bars[k])
