"""A claimed Jacobian beside what was measured of it, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.components import of_sweeps
from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.limits import ScreenedRows
from fastgradcheck.problem.entries import Entries
from fastgradcheck.problem.jacobian import Jacobian
from fastgradcheck.problem.norm import norm
from fastgradcheck.verdict.support import BlockEvidence, against, reading
from fastgradcheck.verdict.tolerances import Tolerances
from fastgradcheck.verdict.verdict import BlockResult, Verdict


@dataclass(frozen=True, eq=False)
class JacobianEvidence(BlockEvidence):
    """All that is known of one block of a Jacobian, beside what is claimed.

    Its `gradient` is the norm of every row of the claim within the block.

    Attributes
    ----------
    coarse : bool
        Whether the claim is of 16 bits, so that entries are rounded by a part of what is typical
        of their row, or of the block if that is more, and not of what none of them exceeds.
    """

    coarse: bool = False

    @cached_property
    def largest(self) -> NDArray[np.float64]:
        """For every component, what the entries of its row do not exceed, or what is typical."""
        row = (self.components.index - self.block.start) // self.block.columns
        if not self.coarse:
            return self.gradient[row]
        typical = np.maximum(self.gradient[row], self.size / np.sqrt(self.block.rows))
        sizes: NDArray[np.float64] = typical / np.sqrt(self.block.columns)
        return sizes


def claimed(jacobian: Jacobian, entries: Entries, flat: NDArray[np.int64]) -> NDArray[np.float64]:
    """What is claimed for some entries; nan where it is no number."""
    rows, columns = entries.places(flat)
    values = np.zeros(len(flat))
    # Column by column: what is claimed may be products with vectors only.
    at, which = np.unique(columns, return_inverse=True)
    several = max(1, (1 << 22) // max(jacobian.shape[0], 1))
    for first in range(0, len(at), several):
        mine = np.flatnonzero((which >= first) & (which < first + several))
        part = jacobian.columns(at[first : first + several])
        values[mine] = part[rows[mine], which[mine] - first]
    if len(jacobian.broken[0]):
        values[np.isin(flat, entries.flat(*jacobian.broken))] = np.nan
    return values


def beside(
    evidence: Evidence,
    jacobian: Jacobian,
    entries: Entries,
    sizes: Sequence[NDArray[np.float64]],
    coarse: bool = False,
) -> list[BlockEvidence]:
    """What has been measured, block by block, beside the claimed Jacobian.

    Parameters
    ----------
    evidence : Evidence
    jacobian : Jacobian
    entries : Entries
    sizes : sequence of float64 array, shape (m,)
        Of every block of theta, the norm of each row of the claim within it.
    coarse : bool
        Whether the claim is of 16 bits.
    """
    names = entries.names
    c = evidence.components
    analytic = claimed(jacobian, entries, c.index)
    read = []
    if evidence.sweeps:
        index = np.array(sorted(evidence.sweeps))
        own = dict(zip(index.tolist(), claimed(jacobian, entries, index).tolist(), strict=True))
        read = [reading(evidence.sweeps[i], own[i]) for i in own]
    components = against(c.joined(of_sweeps(read)), analytic)
    edges = np.searchsorted(components.index, [*names.blocks_start, names.size])
    found: list[BlockEvidence] = []
    for number, output, _ in entries.pairs():
        joint = evidence.joint_of(number)
        of_rows = sizes[number % len(sizes)][output.slice]
        found.append(
            JacobianEvidence(
                number,
                names.blocks[number],
                of_rows,
                norm(of_rows),
                components.take(np.arange(edges[number], edges[number + 1])),
                None,
                joint,
                evidence.location(number),
                float("nan") if joint is None else float(joint.steps[number]),
                coarse=coarse,
            )
        )
    return found


def coarse(evidence: Sequence[BlockEvidence], tolerance: Tolerances) -> NDArray[np.bool_]:
    """The blocks some row of which is not known to the tolerance of a block.

    A row is judged like a block of a gradient: it must be known to a part of its own size, unless
    neither it nor what it may be off by is larger than what the threshold can tell.
    """
    found = np.zeros(len(evidence), bool)
    whole = norm(np.array([e.size for e in evidence]))
    for k, e in enumerate(evidence):
        if e.joint is None or not isinstance(e.joint.screened, ScreenedRows):
            continue
        screened, weight = e.joint.screened, float(e.joint.weights[e.number])
        limits = screened.of_rows()
        known = limits <= tolerance.block_limit * screened.sizes
        negligible = tolerance.threshold * whole * weight
        tiny = (limits <= negligible) & (screened.sizes <= negligible)
        found[k] = not bool((known | tiny | screened.lost).all())
    return found


def unsettled(
    blocks: Sequence[BlockResult], evidence: Sequence[BlockEvidence], tolerance: Tolerances
) -> tuple[BlockResult, ...]:
    """The blocks' results, undecided where a row is not known well enough."""
    return tuple(
        replace(block, verdict=Verdict.UNDECIDED)
        if block.verdict is Verdict.AGREES and loose
        else block
        for block, loose in zip(blocks, coarse(evidence, tolerance), strict=True)
    )
