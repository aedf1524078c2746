"""What would be called wrong is heard once more: J may jump between small steps and large ones.

A cost that rounds is a staircase. Where a sigmoid a is within 1e-13 of one, log(1 - a) moves in
stairs 1e-3 wide: differences over less see only what else is in J, sharply, and miss this
example's share; those over more tend to the slope that the gradient is right about. So where
larger steps lie near the claim, the sharpest bend of J is looked at ever more closely. If it is a
jump, the claim is taken at the larger scale, with a bar that holds the jump; where J is
continuous, the accusation stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastgradcheck import judge
from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.judge import Tolerances
from fastgradcheck.ladder import RATIO, TWO_SCALES, Settled
from fastgradcheck.measured import Measured, evidence_of
from fastgradcheck.plans import Stencils
from fastgradcheck.problem import Problem
from fastgradcheck.result import Verdict
from fastgradcheck.steps import FIRST_RUNG, Bounds
from fastgradcheck.stream import Stream

RUNGS = 3
"""Larger steps that a claim may lie near: the first ones of a ladder."""
NEARER = 0.5
"""... by no more than this part of its distance from the slope of smaller ones."""
HEIGHT = 10.0
"""Standard deviations of J's noise that a jump is higher than: a second difference of noise alone
has sqrt(6) of them."""
LOOKS = 3
"""In so many closer looks, 4 times each, a bend of a smooth J falls by 4,096 and one at a kink by
64; what has not become half as high is a jump."""


def appeal(
    problem: Problem,
    tolerance: Tolerances,
    stream: Stream,
    scale: NDArray[np.float64],
    bounds: Bounds | None,
    into: Measured,
) -> None:
    """Hear the components of each block that is wrong by them, the worst first.

    One that stands speaks for those after it, unless a higher jump comes to light elsewhere. Where
    none stands, nothing that was located in the block is wrong.
    """
    hearing = _Hearing(stream, scale, bounds, problem.value, into)
    known = -1.0
    while into.jump > known:
        known = into.jump
        for b, evidence in enumerate(evidence_of(problem, into)):
            if judge.judge_block(evidence, tolerance).verdict is not Verdict.WRONG:
                continue
            c = evidence.components
            excess = np.where(c.owned, c.discrepancy - c.error, -np.inf)
            accused = np.flatnonzero(~(excess <= 0))
            for row in accused[np.argsort(-excess[accused], kind="stable")]:
                i = int(c.index[row])
                if into.stands.get(i) == into.jump:
                    break
                excused = hearing.hear(i, c.analytic[row], c.numeric[row])
                if excused is None:
                    into.stands[i] = into.jump
                    break
                into.keep([excused], problem.gradient)
            else:
                if len(accused):
                    into.excuse(b)


@dataclass
class _Hearing:
    """A second look at components, for which the highest jump found so far is known of J."""

    stream: Stream
    scale: NDArray[np.float64]
    bounds: Bounds | None
    value: float
    into: Measured

    def hear(self, i: int, claimed: float, slope: float) -> Settled | None:
        """The component as larger steps see it, or None if these do not support the claim."""
        here = float(self.stream.theta[i])
        steps = FIRST_RUNG * self.scale[i] / RATIO ** np.arange(RUNGS)
        if self.bounds is not None:
            low, high = self.bounds
            steps = steps[steps <= min(high[i] - here, here - low[i])]
        try:
            points, values = self.along(i, np.array([here + steps, here - steps]).T)
        except CostEvaluationError:
            # Outside of J's domain nothing can be heard; if it fails at theta too, that is told.
            self.along(i, np.array([[here]]))
            return None
        slopes = np.subtract(*values.T) / np.subtract(*points.T)
        # Truncation may be all that keeps the largest of them from the claim.
        extrapolated = slopes[1:] + np.diff(slopes) / (RATIO**2 - 1)
        read, at = np.append(slopes, extrapolated), np.append(steps, steps[1:])
        apart = np.abs(read - claimed)
        near = np.flatnonzero(apart < NEARER * abs(claimed - slope))
        reach = np.min(at[near], initial=np.inf)
        explained = (apart <= self.into.jump / at)[1 : len(steps)]
        if len(explained) and explained.all():
            near, reach = np.arange(len(at)), steps[0]
        own = self.jump_within(i, reach) if len(near) else 0.0
        if not own:
            return None
        self.into.jump = max(self.into.jump, own)
        error = apart + self.into.jump / at
        k = near[np.nanargmin(error[near])]
        value, unknown = float(read[k]), np.full(len(steps), np.nan)
        return Settled(
            index=i,
            value=value,
            error=float(error[k]),
            kind=TWO_SCALES,
            lower=value,
            upper=value,
            distance=np.nan,
            best=int(np.flatnonzero(steps == at[k])[0]),
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
        least = HEIGHT * max(self.into.noise.level, np.finfo(np.float64).eps * abs(self.value))
        heights: list[float] = []
        while True:
            points, values = self.along(i, np.linspace(low, high, 9)[np.newaxis])
            bends = np.abs(np.diff(values[0], 2))
            k = int(np.argmax(bends))
            heights.append(float(bends[k]))
            if not heights[-1] > least:
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
