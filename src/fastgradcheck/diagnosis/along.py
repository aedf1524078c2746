"""What directions alone tell of a gradient that disagrees with them.

Along m directions v, the error r of a gradient shows as y_d = r . S v_d. If r is a multiple of
something that is known, such as a block of the claim, y is that multiple of its projections, and m
numbers are explained by one. That nothing else explains them is told; no evaluation confirms it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.directions import Prober
from fastgradcheck.differences.joint import Joint
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.problem.region import region_of

FEWEST = 8
"""One number explains so many y by chance once in 1e12, at bars of a thirtieth of y."""
TOLD = 30.0
"""y is this many bars large before a pattern is looked for in it."""
SLACK = 1e-6
"""Of y: what rounding of the claim in the projections may leave."""


@dataclass(frozen=True)
class Pattern:
    """What would explain all that the directions show.

    Attributes
    ----------
    blocks : tuple of int
        Where the gradient is then wrong.
    finding : Finding
    """

    blocks: tuple[int, ...]
    finding: Finding


def pattern(prober: Prober, joint: Joint) -> Pattern | None:
    """The one pattern that explains what the directions show, or None.

    Parameters
    ----------
    prober : Prober
        With the claim, and the weights of the entries.
    joint : Joint
        What the directions say of this claim.
    """
    s = joint.screened
    sure = np.abs(s.y) > TOLD * (s.error + s.rounding)
    if len(s) < FEWEST or np.mean(sure) < 0.5:
        return None
    found = list(_explanations(prober, joint))
    # A network of a single block that is wrong by a factor is wrong by it as a whole, too.
    return found[0] if found else None


def _explanations(prober: Prober, joint: Joint) -> Iterator[Pattern]:
    blocks = prober.context.parameters.blocks
    covered = [b for b in range(len(blocks)) if joint.covers(b)]
    y, bar = joint.screened.y, joint.screened.error + joint.screened.rounding
    claimed = _projections(prober, joint.screened.keys, covered)
    rho = share(y, bar, claimed.sum(axis=1))
    if rho is not None and len(covered) > 1:
        yield Pattern(tuple(covered), factor("The gradient of every block", rho))
    for k, b in enumerate(covered):
        rho = share(y, bar, claimed[:, k])
        if rho is not None:
            yield Pattern((b,), factor(f"The gradient of {blocks[b].name}", rho))
    theta = np.asarray(prober.context.theta, np.float64)
    moved = replace(prober, problem=replace(prober.problem, gradient=theta))
    sizes = _projections(moved, joint.screened.keys, covered)
    matrices = [k for k, b in enumerate(covered) if len(blocks[b].shape) > 1]
    wholes = [("theta", range(len(covered))), ("the matrices of theta", matrices)]
    for name, mine in wholes:
        rho = share(y, bar, sizes[:, list(mine)].sum(axis=1))
        if rho is not None:
            yield Pattern(tuple(covered[k] for k in mine), _regularised(name, rho))
    for k, b in enumerate(covered):
        rho = share(y, bar, sizes[:, k])
        if rho is not None:
            yield Pattern((b,), _regularised(blocks[b].name, rho))


def _projections(
    prober: Prober, keys: NDArray[np.uint64], covered: list[int]
) -> NDArray[np.float64]:
    """What every block of a claim contributes along each direction; shape (m, blocks)."""
    blocks = prober.context.parameters.blocks
    return np.stack([prober.claimed(region_of(blocks[b]), keys) for b in covered], axis=1)


def share(
    y: NDArray[np.float64], bar: NDArray[np.float64], along: NDArray[np.float64]
) -> float | None:
    """The multiple of `along` that y is, within the bars; None if it is none."""
    size = float(along @ along)
    if not size > 0:
        return None
    rho = float(along @ y) / size
    fits = np.abs(y - rho * along) <= bar + SLACK * np.abs(y)
    return rho if fits.all() else None


def factor(what: str, rho: float) -> Finding:
    """The finding that something is a multiple of what it should be."""
    # r = grad - numeric = rho grad, and so numeric = (1 - rho) grad.
    if abs(1 - rho) < SLACK:
        off = "is not zero, but the slopes along all directions say that it should be"
    else:
        off = f"is {1 / (1 - rho):.6g} times what the slopes along all directions say"
    message = (
        f"{what} {off}: that explains everything that disagrees. A constant "
        "factor or a sign is lost or added on the way to it."
    )
    return Finding("factor", message, Rank.BUG)


def _regularised(where: str, rho: float) -> Finding:
    # r = grad - numeric = rho theta.
    missing = f"lacks {-rho:.6g} * {where}" if rho < 0 else f"has {rho:.6g} * {where} too much"
    message = (
        f"The gradient {missing}: that explains everything that disagrees. Look at the "
        "regularisation."
    )
    return Finding("regularisation", message, Rank.BUG)
