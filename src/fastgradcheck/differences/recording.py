"""Values of J along directions over all of theta, from which any gradient can be judged.

What is measured does not depend on what is claimed, but for the weights of the blocks. Without a
claim, these come from the slopes of J along directions in every block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences import joint, noise
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.directions import OFFSETS, ON_KINKS, Prober
from fastgradcheck.differences.draws import Draws, choose_step, measure, read_off, repeated
from fastgradcheck.differences.noise import Noise
from fastgradcheck.differences.screen import SECOND_MOMENT
from fastgradcheck.evaluation import hashing
from fastgradcheck.evaluation.checkpoint import SAME_VALUE
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.problem import Problem

COUNTS = tuple(joint.SHARES)
"""So many directions may be recorded."""
GROUPS = 32
"""Blocks, or groups of neighbours, whose slopes are looked at by themselves ..."""
LOOKS = 2
"""... along so many directions each: along one, a large gradient may look small."""
LOOK_STEP = 2.0**-13
"""The step of a look, relative to what is typical of a block: an order of magnitude is asked."""
WANTED = 1e-7
"""The relative difference that the limits should reach: the default threshold."""


@dataclass(frozen=True, eq=False)
class Recording:
    """What was measured.

    Attributes
    ----------
    value : float
        J(theta).
    noise : Noise
    step : float
        The step that was chosen; those of directions that crossed kinks are shorter.
    weights : float64 array, shape (blocks,)
        See `differences.joint`.
    keys : uint64 array, shape (m,)
    steps : float64 array, shape (m,)
    changes : float64 array, shape (m, 4) or (m, 6)
        J at ``OFFSETS * steps`` along each direction, minus J(theta); at ``ON_KINKS * steps`` where
        theta stands on kinks of J.
    seed : int
    evaluations : int
        What it took.
    """

    value: float
    noise: Noise
    step: float
    weights: NDArray[np.float64]
    keys: NDArray[np.uint64]
    steps: NDArray[np.float64]
    changes: NDArray[np.float64]
    seed: int
    evaluations: int

    @property
    def on_kinks(self) -> bool:
        """Whether theta stands on kinks of J."""
        return bool(self.changes.shape[1] == len(ON_KINKS))

    @property
    def directions(self) -> int:
        """How many there are."""
        return len(self.keys)

    def is_of(self, value: float) -> bool:
        """Whether J(theta) is what it was, but for last digits of another processor."""
        return abs(value - self.value) <= SAME_VALUE * abs(self.value)

    def beside(self, prober: Prober) -> Draws:
        """The directions beside a claim.

        Parameters
        ----------
        prober : Prober
            With the claim, and the weights of the entries.
        """
        regions = repeated(prober.context.parameters.size, len(self.keys))
        offsets = self.steps[:, np.newaxis] * (ON_KINKS if self.on_kinks else OFFSETS)
        predicted = prober.predicted(regions, self.keys, offsets)
        return read_off(prober, self.keys, self.steps, predicted - self.changes)


def record(context: Context, objective_eps: float, count: int) -> Recording:
    """Measure J along so many directions.

    Parameters
    ----------
    context : Context
        It need not know the noise of J yet.
    objective_eps : float
        Machine epsilon of the dtype in which J is evaluated.
    count : int
    """
    level = noise.measure(context, noise.FINEST)
    context = replace(context, noise=level.level)
    nothing = np.zeros(context.parameters.size)
    problem = Problem(context.stream.engine.objective, nothing, objective_eps, context.value)
    plain = Prober(context, problem)
    sizes = _sizes(plain)
    weights, middle = joint.weights(context, sizes, np.ones(len(sizes), bool))
    prober = replace(plain, moving=joint.spread(plain, weights))
    chosen = choose_step(prober, middle, (0,))
    wanted = 2 * joint.WITHIN * WANTED * norm(sizes)
    wanted = wanted * float(weights.min()) * joint.hidden(count, 0)
    draws = measure(prober, chosen, (1, 0), wanted, count)
    return Recording(
        value=context.value,
        noise=level,
        step=chosen.step,
        weights=weights,
        keys=draws.keys,
        steps=draws.steps,
        changes=-draws.signal,
        seed=context.seed,
        evaluations=context.stream.evaluations,
    )


def _sizes(prober: Prober) -> NDArray[np.float64]:
    """How large the gradient of every block is, but for a small factor."""
    context, blocks = prober.context, prober.context.parameters.blocks
    groups = np.array_split(np.arange(len(blocks)), min(GROUPS, len(blocks)))
    typical = np.repeat(context.typical, [block.size for block in blocks])
    ends = [(blocks[g[0]].start, blocks[g[-1]].stop) for g in groups]
    regions = np.array([[a, b - a, 0, 1, 0, b - a] for a, b in ends]).repeat(LOOKS, axis=0)
    keys = np.array([hashing.key(context.seed, 5, k) for k in range(len(regions))])
    steps = np.full(len(regions), LOOK_STEP)
    y, _ = replace(prober, moving=typical).two_point(regions, keys, steps, 0.0)
    slopes = np.max(np.abs(np.nan_to_num(y)).reshape(-1, LOOKS), axis=1) / np.sqrt(SECOND_MOMENT)
    counts = [len(group) for group in groups]
    return np.repeat(slopes / np.sqrt(counts), counts) / context.typical
