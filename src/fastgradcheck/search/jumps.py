"""What would be called wrong is heard once more: J may jump between small steps and large ones.

A cost that rounds is a staircase. Where a sigmoid a is within 1e-13 of one, log(1 - a) moves in
stairs 1e-3 wide: differences over less see only what else is in J, sharply, and miss this
example's share; those over more tend to the slope that the gradient is right about. So where
larger steps lie near the claim, the sharpest bend of J is looked at ever more closely. If it is a
jump, the component is judged at the larger steps, with a bar that holds the jump; where J is
continuous, the accusation stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.components import Components
from fastgradcheck.differences.plateau import RATIO, TWO_SCALES, Settled
from fastgradcheck.differences.sweep import FIRST_RUNG
from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation.plans import Stencils
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.problem.bounds import Bounds
from fastgradcheck.problem.problem import Problem
from fastgradcheck.search.measured import Measured, evidence_of
from fastgradcheck.verdict import rules
from fastgradcheck.verdict.tolerances import Tolerances
from fastgradcheck.verdict.verdict import Verdict

RUNGS = 3
"""Larger steps that a claim may lie near: the first ones of a ladder."""


NEARER = 0.5
"""... by no more than this part of its distance from the slope of smaller ones."""


HEIGHT = 10.0
"""Standard deviations of J's noise that a jump is higher than: a second difference of noise alone
has sqrt(6) of them."""


LOOKS = 10
"""In so many closer looks, 4 times each, a bend at a kink falls by a million, one of a smooth J by
its square; what has not become half as high is a jump."""


def appeal(
    problem: Problem,
    tolerance: Tolerances,
    stream: Stream,
    scale: NDArray[np.float64],
    bounds: Bounds | None,
    into: Measured,
) -> None:
    """Hear the components of each block that is wrong by them, the worst first.

    While no jump of J is known, one that stands speaks for those after it. Where none stands,
    nothing that was located in the block is wrong.
    """
    hearing = _Hearing(stream, scale, bounds, problem.value, into)
    known = -1.0
    while into.jump > known:
        known = into.jump
        for b, evidence in enumerate(evidence_of(problem, into)):
            if rules.judge_block(evidence, tolerance).verdict is not Verdict.WRONG:
                continue
            c = evidence.components
            excess = np.nan_to_num(np.where(c.owned, c.discrepancy - c.error, 0.0), nan=np.inf)
            order = np.argsort(-excess, kind="stable")
            wrong = rules.wrong_components(evidence, tolerance)[order]
            accused = order[wrong]
            if len(accused) and hearing.excuses(c.take(accused), problem.gradient):
                into.excuse(b)
            # Those within their tolerance may prove too large a difference of the block together.
            hearing.excuses(c.take(order[~wrong & (excess[order] > 0)]), problem.gradient)


@dataclass
class _Hearing:
    """A second look at components, for which the highest jump found so far is known of J."""

    stream: Stream
    scale: NDArray[np.float64]
    bounds: Bounds | None
    value: float
    into: Measured

    def excuses(self, accused: Components, gradient: NDArray[np.float64]) -> bool:
        """Hear these in order, keep what speaks for them, and tell whether that excuses all."""
        into, all_of_them = self.into, True
        for row, i in enumerate(accused.index.tolist()):
            if into.stands.get(i) != into.jump:
                excused = self.hear(i, accused.analytic[row], accused.numeric[row])
                if excused is not None:
                    into.keep([excused], gradient)
                    continue
            into.stands[i] = into.jump
            all_of_them = False
            if not into.jump:
                break
        return all_of_them

    def hear(self, i: int, claimed: float, slope: float) -> Settled | None:
        """The component as larger steps see it, or None if these do not support the claim."""
        try:
            return self.at_larger_steps(i, claimed, slope)
        except CostEvaluationError:
            # Outside of J's domain nothing can be heard; if it fails at theta too, that is told.
            self.along(i, self.stream.theta[i].reshape(1, 1))
            return None

    def at_larger_steps(self, i: int, claimed: float, slope: float) -> Settled | None:
        """See `hear`."""
        here = float(self.stream.theta[i])
        steps = FIRST_RUNG * self.scale[i] / RATIO ** np.arange(RUNGS)
        if self.bounds is not None:
            low, high = self.bounds
            steps = steps[steps <= min(high[i] - here, here - low[i])]
        if len(steps) < 2:
            return None
        points, values = self.along(i, np.array([here + steps, here - steps]).T)
        slopes = np.subtract(*values.T) / np.subtract(*points.T)
        apart = np.abs(slopes - claimed)
        near = steps[apart < NEARER * abs(claimed - slope)]
        k, error = _sharpest(steps, slopes, self.into.jump)
        if not len(near) and not (self.into.jump and apart[k] <= error):
            return None
        own = self.jump_within(i, np.min(near, initial=steps[0]))
        if not own:
            return None
        self.into.jump = max(self.into.jump, own)
        k, error = _sharpest(steps, slopes, self.into.jump)
        if not apart[k] <= error:
            return None
        value, unknown = float(slopes[k]), np.full(len(steps), np.nan)
        return Settled(
            index=i,
            value=value,
            error=error,
            kind=TWO_SCALES,
            lower=value,
            upper=value,
            distance=np.nan,
            best=k,
            restless=True,
            steps=steps,
            derivatives=slopes,
            right=unknown,
            left=unknown,
        )

    def jump_within(self, i: int, reach: float) -> float:
        """How high J jumps somewhere within `reach` of theta_i; 0 if it does not."""
        here = float(self.stream.theta[i])
        low, high = here - reach, here + reach
        eps = float(np.finfo(np.float64).eps)
        heights: list[float] = []
        while True:
            points, values = self.along(i, np.linspace(low, high, 9)[np.newaxis])
            bends = np.abs(np.diff(values[0], 2))
            k = int(np.argmax(bends))
            heights.append(float(bends[k]))
            noise = max(self.into.noise.level, eps * float(np.max(np.abs(values))))
            # A point is rounded too, which moves J by its slope.
            moved = float(np.max(np.abs(np.diff(values[0]))))
            noise += moved * eps * max(abs(low), abs(high)) / (high - low)
            if not heights[-1] > HEIGHT * noise:
                return 0.0
            if len(heights) > LOOKS and heights[-1] > heights[-1 - LOOKS] / 2:
                return heights[-1]
            low, high = points[0, k], points[0, k + 2]

    def along(
        self, i: int, points: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rows of theta_i, as its dtype has them, and J there."""
        taken = points.astype(self.stream.theta.dtype).astype(np.float64)
        plan = Stencils(np.full(len(points), i), taken)
        return taken, np.asarray(self.stream.values(plan, "confirming"))


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
