"""One set of random directions over all blocks at once.

A step along a direction moves every block b by h s_b v, with a weight s_b that is fixed before v
is drawn. Then y = grad . S v - D_{Sv} J = (S r) . v, and the bound of `differences.screen` holds
for the vector S r: with probability 1 - (sqrt(2) t)^m

    ||S r|| <= (max |y| + e) / t,    and so    ||r_b|| <= (max |y| + e) / (t s_b)

for all blocks together, since no part of a vector is longer than the vector: one event, which is
not shared among the blocks. Nothing elsewhere hides a block either. Given all entries of v outside
of it, the rest of y is a shift, and a density of at most 1/2 bounds the probability of any
interval, wherever it lies (Livshyts, Paouris, Pivovarov, Israel J. Math. 216 (2016)).

With s_b = 1 / ||grad_b|| one number bounds the relative error of every block. Where the claim is
small or zero, the weight is capped, so that no step is large against theta and no block that
matters little decides how long the steps of all may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.context import Context
from fastgradcheck.differences.directions import LARGEST, NOISE_GAIN, Prober
from fastgradcheck.differences.draws import DIRECTIONS, Draws, everything
from fastgradcheck.differences.plateau import NOISE_SIGMAS
from fastgradcheck.differences.screen import (
    CONFIDENCE,
    OF_VALUES,
    ROUNDING_UNITS,
    SEEN_UNITS,
    Screened,
)
from fastgradcheck.differences.steps import COMPLEX_STEP
from fastgradcheck.problem.norm import norm

SHARES = {DIRECTIONS: 0.6, 2 * DIRECTIONS: 0.2, 4 * DIRECTIONS: 0.2}
"""Whether directions are added depends on what the first ones showed: each of the three limits has
a part of the probability to be wrong."""
WITHIN = 0.7
"""The part of the threshold that the limits of directions should stay within."""
SHARP = 1e-8
"""The bar that noise leaves at the middle one of the steps tried, where grad_b . S v_b is one."""
WIDEST = 2.0**-9
"""No step is longer at the middle one of the steps tried, relative to a block's typical entry."""
AMONG = 2.0**-5
"""Nor relative to this part of what is typical of all blocks: of thousands of scalars some are
tiny, and the one that moves least would decide how sharp the limit of all is."""
WIDEST_IMAGINARY = 2.0**-30
"""Likewise of a step along the imaginary axis: what it leaves out is of the order of its square."""
SMALLEST = 2.0**-6
"""Blocks whose claim is smaller than this part of the largest one weigh no more than one of this
size: they need not be known as sharply, and what moves far decides how long a step may be."""


Repaired = Mapping[int, tuple[float, float]]
"""Entries to how far the claim is off there, and the bar of that."""


@dataclass(frozen=True, eq=False)
class Joint:
    """What joint directions say of all the blocks that they move.

    Attributes
    ----------
    screened : Screened
        Of the vector S r.
    weights : float64 array, shape (blocks,)
        s_b; zero for blocks that do not take part.
    sizes : float64 array, shape (blocks,)
        s_b ||grad_b||.
    repaired : mapping of int to (float, float)
        Entries that were found wrong: what was taken out of the claim there before the directions
        were measured, and the bar of that.
    granted : float
        The part of the directions' rounding that stands for these bars.
    """

    screened: Screened
    weights: NDArray[np.float64]
    sizes: NDArray[np.float64]
    repaired: Repaired = field(default_factory=dict)
    granted: float = 0.0

    def covers(self, block: int) -> bool:
        """Whether a block takes part."""
        return bool(self.weights[block] > 0)

    def only(self, kept: NDArray[np.bool_]) -> Joint:
        """The same for some of the blocks: a limit for all of them holds for a part."""
        return replace(self, weights=np.where(kept, self.weights, 0.0))

    def upper(self, block: int) -> float:
        """Upper limit of ||r_b||."""
        return self.screened.upper / float(self.weights[block])

    def isolated(self, block: int) -> float:
        """The smallest error of a single entry of a block that would have been seen."""
        return self.screened.isolated / float(self.weights[block])

    @cached_property
    def steps(self) -> NDArray[np.float64]:
        """The median step in every block, per unit of v."""
        return self.weights * float(np.median(self.screened.steps))


def weights(
    context: Context, sizes: NDArray[np.float64], taking_part: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float]:
    """The weight of every block, and the middle one of the steps to be tried.

    The middle step is the one at which noise leaves a bar of `SHARP`. There, no block moves by
    more than `WIDEST` of its typical entry, or of `AMONG` what is typical of all.

    Parameters
    ----------
    context : Context
    sizes : float64 array, shape (blocks,)
        How large the gradient of every block is.
    taking_part : bool array, shape (blocks,)
    """
    level = max(context.noise, _rounding(context), float(np.finfo(np.float64).tiny))
    middle, widest = NOISE_GAIN * NOISE_SIGMAS * level / SHARP, WIDEST
    if context.scheme.imaginary:
        middle, widest = COMPLEX_STEP, WIDEST_IMAGINARY
    with np.errstate(divide="ignore", over="ignore"):
        wanted = 1.0 / np.maximum(sizes, SMALLEST * np.max(sizes, initial=0.0))
        typical = np.maximum(context.typical, AMONG * np.median(context.typical))
        wanted = np.minimum(wanted, widest * typical / middle)
    wanted[~taking_part] = 0.0
    return wanted, middle


def _rounding(context: Context) -> float:
    """Half an ulp of J."""
    return 0.5 * float(np.finfo(np.float64).eps) * abs(context.value)


def spread(prober: Prober, of_blocks: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weight of every entry: its block's, or zero where it must not move."""
    blocks = prober.context.parameters.blocks
    entries = np.repeat(of_blocks, [block.size for block in blocks])
    if prober.moving is not None:
        entries *= prober.moving
    return entries


def _failure(count: int, attempt: int) -> float:
    """The probability with which the limit of so many directions may be wrong."""
    return float((1 - CONFIDENCE) * SHARES[count] / 2 ** (attempt + 1))


def hidden(count: int, attempt: int) -> float:
    """The t for which all of so many |y| <= t ||S r|| with that probability at most."""
    return float(_failure(count, attempt) ** (1 / count) / np.sqrt(2))


def limits(
    prober: Prober,
    draws: Draws,
    of_blocks: NDArray[np.float64],
    repaired: Repaired,
    attempt: int,
) -> Joint:
    """What directions say, at their share of the probability to be wrong.

    Parameters
    ----------
    prober : Prober
        With the weights of the entries.
    draws : Draws
    of_blocks : float64 array, shape (blocks,)
        The weights of the blocks.
    repaired : mapping of int to (float, float)
        See `Joint`.
    attempt : int
        How many sets of directions came before: each has half of the share of the one before.
    """
    failure = _failure(len(draws.keys), attempt)
    sizes = of_blocks * prober.sizes
    rounding = ROUNDING_UNITS * prober.problem.entry_eps * norm(sizes)
    if prober.problem.rounding is not None:
        rounding = max(rounding, SEEN_UNITS * norm(of_blocks * prober.problem.rounding))
    if prober.imaginary:
        moved = float(np.max(of_blocks / prober.context.typical))
        rounding += OF_VALUES * _rounding(prober.context) * moved
    owners = prober.context.parameters.block_index
    # Bars hold, each for itself; that all err to the same side along a direction they do not.
    unknown = [LARGEST * bar * of_blocks[owners(i)] for i, (_, bar) in repaired.items()]
    granted = norm(np.array(unknown))
    claimed = prober.claimed(everything(prober.context.parameters.size), draws.keys)
    screened = Screened(
        draws.keys, draws.steps, draws.y, draws.error, failure, rounding + granted, claimed
    )
    return Joint(screened, of_blocks, sizes, repaired, granted)
