"""The claim beside what was measured, and what speaks for it.

What was measured is stored as measured. Here it is read beside the claimed gradient: a component
whose smallest steps and larger ones show different slopes agrees if one of them is the claimed one,
and one that theta's own kink leaves open takes the subgradient nearest to the claim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from typing import overload

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.components import Components, of_sweeps
from fastgradcheck.differences.evidence import Evidence, Located
from fastgradcheck.differences.joint import Joint
from fastgradcheck.differences.plateau import (
    AGREEMENT,
    DECODED,
    FIVE_POINT,
    KINK_HERE,
    SMOOTH,
    TWO_SCALES,
    UNSETTLED,
    StepSweep,
    combined,
)
from fastgradcheck.differences.screen import Screened
from fastgradcheck.problem.blocks import Block
from fastgradcheck.problem.norm import largest
from fastgradcheck.problem.problem import Problem
from fastgradcheck.verdict.tolerances import ROUNDING_UNITS

SUBTLE = 1e-3
"""A relative difference below this is lost in the truncation of ordinary steps."""
MIDST = 2.0
"""The slopes of a scale hold another one that is no farther from them than so many times as far as
they scatter."""
NEGLIGIBLE = 1e-7
"""Relative difference of two slopes that no verdict depends on."""
FIVE_POINTS_PROVE = 100.0
"""A discrepancy of this many bars is beyond any doubt that two steps leave."""
SPREAD = 32.0
"""Entries of theta within such a factor are of one scale."""
UNEVEN = 10.0
"""How far above the root mean square of a block an entry of it may lie: rows have scales."""
REMEMBERED = 4096
"""Readings that are kept, since every stage asks for them again."""


@dataclass(frozen=True, eq=False)
class Compared(Components):
    """Components beside what is claimed for them.

    Attributes
    ----------
    analytic : float64 array, shape (k,)
        The claimed derivatives.
    """

    analytic: NDArray[np.float64]

    @property
    def numeric(self) -> NDArray[np.float64]:
        """The measured derivative; on a kink, the subgradient nearest to the claimed one."""
        claim = np.where(np.isnan(self.analytic), self.lower, self.analytic)
        nearest: NDArray[np.float64] = np.clip(claim, self.lower, self.upper)
        return nearest

    @property
    def discrepancy(self) -> NDArray[np.float64]:
        return np.abs(self.analytic - self.numeric)


@dataclass(frozen=True, eq=False)
class BlockEvidence:
    """All that is known of one block, beside what is claimed.

    Attributes
    ----------
    number : int
        Of the block, in theta's order.
    block : Block
    gradient : float64 array, shape (size,)
        The claimed gradient of the block.
    size : float
        Its Euclidean norm.
    components : Compared
    screened : Screened or None
        Directions of its own.
    joint : Joint or None
        Directions that it shares with others.
    located : Located
    step : float
    rounding : float
        How far rounding was seen to move an entry of the claim, as a root mean square.
    elsewhere : float
        The size of the block's gradient away from theta, 0 where it is not known.
    eps : float
        Machine epsilon of the dtype in which the claim was computed.
    theta : float64 array, shape (size,), or None
        The block of theta; None where its scales do not matter.
    weighted : float
        The largest |gradient_j theta_j| of the block.
    fixed : int64 array
        Entries that take no part in directions.
    typical : callable
        The median |theta_j| of the block but for zeros, which takes time to find.
    most : float, optional
        The largest claimed entry that is a number, if that is known already.
    """

    number: int
    block: Block
    gradient: NDArray[np.float64]
    size: float
    components: Compared
    screened: Screened | None
    joint: Joint | None
    located: Located
    step: float
    rounding: float = 0.0
    elsewhere: float = 0.0
    eps: float = float(np.finfo(np.float64).eps)
    theta: NDArray[np.float64] | None = None
    weighted: float = 0.0
    fixed: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    typical: Callable[[], float] = float
    most: float | None = None

    @property
    def directions(self) -> int:
        """How many directions covered the block."""
        shared = 0 if self.joint is None else len(self.joint.screened)
        return shared if self.screened is None else len(self.screened)

    @property
    def covered(self) -> int:
        """How many entries were looked at, by directions or one by one."""
        if not self.directions:
            return len(self.components)
        if not len(self.fixed):
            return self.block.size
        return self.block.size - len(np.setdiff1d(self.fixed, self.components.index))

    @property
    def isolated(self) -> float | None:
        """The smallest error of a single entry that directions would have shown."""
        if self.screened is not None:
            return self.screened.isolated
        return None if self.joint is None else self.joint.isolated(self.number)

    @property
    def disagrees(self) -> bool:
        """Whether directions that it shares disagree, and nothing located explains it."""
        return self.joint is not None and self.joint.screened.fails

    @property
    def doubt(self) -> float:
        """What rounding in the gradient's own sums may leave of the block, as a norm.

        A difference up to this accuses nobody, however much the sums cancel.
        """
        return ROUNDING_UNITS * self.eps * self.elsewhere

    @property
    def doubt_of_entries(self) -> NDArray[np.float64]:
        """The part of the doubt that each component may have."""
        share = self.doubt * min(1.0, UNEVEN / float(np.sqrt(self.block.size)))
        if not share or self.theta is None or not len(self.components):
            return np.full(len(self.components), share)
        return share * self._within(self.typical())

    @cached_property
    def terms(self) -> NDArray[np.float64]:
        """The largest claimed entry, as it matters for the rounding of each component.

        In a block of one scale that is the largest of all. Where theta_j are of many scales, so are
        the entries, as 1 / theta_j: that of theta_i = 1e9 has no part in the rounding of 1e9.
        """
        largest = np.broadcast_to(self.largest, len(self.components))
        if self.theta is None or not len(largest):
            return largest
        return largest * self._within(self.weighted / largest[0] if largest[0] else 0.0)

    def _within(self, reach: float) -> NDArray[np.float64]:
        """One for components with a |theta_i| up to `SPREAD` times this, then as 1/|theta_i|."""
        assert self.theta is not None
        size = np.abs(self.theta[self.components.index - self.block.start])
        far = np.maximum(size, SPREAD * reach) if reach else np.ones_like(size)
        return SPREAD * reach / far if reach else far

    @cached_property
    def largest(self) -> float | NDArray[np.float64]:
        """The largest claimed entry that is a number."""
        return largest(self.gradient) if self.most is None else self.most


def compared(components: Components, gradient: NDArray[np.float64]) -> Compared:
    """These components beside the claimed gradient of shape (n,), as measured."""
    return against(components, gradient[components.index])


def against(components: Components, analytic: NDArray[np.float64]) -> Compared:
    """These components beside what is claimed for each of them."""
    beside = Compared(**vars(components), analytic=analytic)
    far = beside.discrepancy > FIVE_POINTS_PROVE * beside.error
    own = beside.has_own_bar | ((beside.kind == FIVE_POINT) & far)
    return replace(beside, has_own_bar=own)


def readings(evidence: Evidence, gradient: NDArray[np.float64]) -> dict[int, StepSweep]:
    """Every component's step sweep, as it is read beside the claim."""
    read = {
        i: reading(own, float(gradient[i]), i in evidence.continuous)
        for i, own in evidence.sweeps.items()
    }
    for i, larger in evidence.larger.items():
        if abs(larger.value - gradient[i]) <= larger.error:
            read[i] = larger.as_sweep(i)
    return read


class Blockwise(Sequence[BlockEvidence]):
    """What is known of every block, put together when it is asked for.

    Of thousands of blocks a search looks at a few, time and again.
    """

    def __init__(self, of_block: Callable[[int], BlockEvidence], count: int) -> None:
        self._of_block = of_block
        self._known: list[BlockEvidence | None] = [None] * count

    def __len__(self) -> int:
        return len(self._known)

    @overload
    def __getitem__(self, block: int) -> BlockEvidence: ...

    @overload
    def __getitem__(self, block: slice) -> list[BlockEvidence]: ...

    def __getitem__(self, block: int | slice) -> BlockEvidence | list[BlockEvidence]:
        if isinstance(block, slice):
            return [self[b] for b in range(*block.indices(len(self)))]
        known = self._known[block]
        if known is None:
            known = self._known[block] = self._of_block(range(len(self))[block])
        return known


def beside(evidence: Evidence, problem: Problem) -> Sequence[BlockEvidence]:
    """What has been measured, block by block, beside the claimed gradient."""
    gradient, blocks = problem.gradient, problem.parameters.blocks
    c = evidence.components
    latest = set(c.index[c.has_own_bar & (c.kind != DECODED)].tolist())
    read = [
        s
        for i, s in readings(evidence, gradient).items()
        if i in latest or (s.kind == TWO_SCALES and i in evidence.larger)
    ]
    components = compared(evidence.components.joined(of_sweeps(read)), gradient)
    starts = [*problem.parameters.blocks_start, len(gradient)]
    edges = np.searchsorted(components.index, starts)
    ends = np.searchsorted(evidence.fixed, starts)
    owned = (edges[1:] > edges[:-1]).tolist()
    step = _steps(evidence, len(blocks)).tolist()
    nothing = components.take(np.zeros(0, np.int64))

    def of_block(b: int) -> BlockEvidence:
        block = blocks[b]
        return BlockEvidence(
            b,
            block,
            gradient[block.slice],
            problem.sizes[b],
            components.take(np.arange(edges[b], edges[b + 1])) if owned[b] else nothing,
            evidence.screened.get(b),
            evidence.joint_of(b),
            evidence.location(b),
            step[b],
            _rounding(problem, b),
            0.0 if evidence.elsewhere is None else float(evidence.elsewhere[b]),
            problem.computed_eps,
            problem.theta[block.slice],
            problem.weighted[b],
            evidence.fixed[ends[b] : ends[b + 1]],
            partial(problem.typical, b),
            problem.largest[b],
        )

    return Blockwise(of_block, len(blocks))


def _rounding(problem: Problem, block: int) -> float:
    if problem.rounding is None:
        return 0.0
    return float(problem.rounding[block] / np.sqrt(problem.parameters.blocks[block].size))


def _steps(evidence: Evidence, blocks: int) -> NDArray[np.float64]:
    """The step of every block, of its directions if it has any."""
    step = np.full(blocks, np.nan) if evidence.steps is None else evidence.steps.of_blocks
    for joint in evidence.joint:
        step = np.where(joint.weights > 0, joint.steps, step)
    for b, screened in evidence.screened.items():
        step[b] = float(np.median(screened.steps))
    return step


def reading(own: Sequence[StepSweep], claimed: float, continuous: bool = False) -> StepSweep:
    """One component's step sweeps, read at the scale that supports the claim, if one does.

    Parameters
    ----------
    own : sequence of StepSweep
        One sweep, or two of which the second lies between the steps of the first.
    claimed : float
    continuous : bool
        Whether J was looked at closely, and does not jump within the larger steps.
    """
    read = supported(own[0], claimed, continuous)
    if len(own) == 1:
        return read
    again = supported(own[1], claimed, continuous)
    return supported(combined(read, again), claimed, continuous)


@lru_cache(maxsize=REMEMBERED)
def supported(measured: StepSweep, claimed: float, continuous: bool = False) -> StepSweep:
    """The sweep, read at another scale if that supports the claimed derivative.

    Where the smallest steps meet stairs of rounding (log(1 - a) for a sigmoid near one), they
    show the slope of one stair, or noise. If three larger steps in a row, and the slopes of both
    sides there, lie at least four times closer to the claim than the measured value, within a
    quarter of it, and about as close as to each other, then the claim is the slope at that scale:
    no fault looks like this.
    At a kink the two sides do not agree; and a claim of zero has no scale, since differences of
    any bounded oscillation tend to it.

    And a value that no step of ordinary size shows, on either side, may be that of one stair. It
    contradicts no claim before J is known to be continuous: its kind becomes UNSETTLED.

    Parameters
    ----------
    measured : StepSweep
    claimed : float
    continuous : bool
        Whether J was looked at closely, and does not jump within the larger steps.
    """
    if not np.isfinite(claimed):
        return measured
    apart = max(abs(claimed - measured.value), measured.error)
    if measured.lower - measured.error <= claimed <= measured.upper + measured.error and (
        measured.error <= NEGLIGIBLE * abs(claimed)
    ):
        return measured
    best: tuple[float, float] | None = None
    for k in range(len(measured.derivatives) - 2):
        near = measured.derivatives[k : k + 3]
        sides = [measured.right[k + 2], measured.left[k + 2]]
        slopes = np.append(near, sides)
        distance = float(np.max(np.abs(slopes - claimed)))
        scatter = float(np.ptp(slopes))
        close = distance < AGREEMENT * min(apart, abs(claimed)) and (
            distance <= MIDST * scatter + NEGLIGIBLE * abs(claimed)
        )
        # A claim in their midst makes them no sharper than they scatter.
        error = max(distance, scatter)
        if close and (best is None or error < best[1]):
            best = float(near[-1]), error
    if best is None:
        subtle = apart <= max(measured.error, SUBTLE * max(abs(claimed), abs(measured.value)))
        if subtle or continuous or _ordinary(measured, AGREEMENT * apart):
            return measured
        return replace(measured, kind=UNSETTLED, error=apart)
    value, error = best
    kind = TWO_SCALES if abs(claimed - measured.value) > measured.error else SMOOTH
    return replace(measured, value=value, error=error, kind=kind, lower=value, upper=value)


def _ordinary(measured: StepSweep, within: float) -> bool:
    """Whether three steps in a row, of ordinary size, show the slope too, on one side at least."""
    if measured.kind in (KINK_HERE, UNSETTLED) or measured.ordinary < 3:
        return True
    for slopes in (measured.derivatives, measured.right, measured.left):
        with np.errstate(invalid="ignore"):
            close = np.abs(slopes[: measured.ordinary] - measured.value) < within
        if np.any(close[2:] & close[1:-1] & close[:-2]):
            return True
    return False
