"""Evidence made by hand: what was measured is stated, no cost is evaluated."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgradcheck.differences.evidence import NOTHING_LOCATED
from fastgradcheck.differences.joint import Joint
from fastgradcheck.differences.plateau import SMOOTH, StepSweep
from fastgradcheck.differences.screen import Screened
from fastgradcheck.problem.blocks import Block
from fastgradcheck.verdict.support import BlockEvidence, Compared
from fastgradcheck.verdict.tolerances import Tolerances

TOLERANCE = Tolerances(1e-7, 1e-5, 2.0**-52)


def block_evidence(
    claimed: Any,
    measured: Any = (),
    error: Any = 1e-12,
    *,
    index: Any = None,
    own: Any = True,
    kind: Any = SMOOTH,
    upper: Any = None,
    number: int = 0,
    start: int = 0,
    **known: Any,
) -> BlockEvidence:
    """A block whose first components were measured, or those of these indices."""
    gradient = np.array(claimed, dtype=np.float64)
    lower = np.array(measured, dtype=np.float64)
    k = len(lower)
    local = np.arange(k) if index is None else np.array(index, np.int64)
    components = Compared(
        index=start + local,
        lower=lower,
        upper=lower if upper is None else np.array(upper, np.float64),
        error=np.broadcast_to(np.asarray(error, np.float64), k).copy(),
        has_own_bar=np.broadcast_to(np.asarray(own, bool), k).copy(),
        kind=np.broadcast_to(np.asarray(kind, np.uint8), k).copy(),
        analytic=gradient[local],
    )
    rest = {"screened": None, "joint": None, "located": NOTHING_LOCATED, "step": 1e-6} | known
    size = float(np.linalg.norm(gradient))
    block = Block(f"p{number}", start, gradient.shape)
    return BlockEvidence(number, block, gradient, size, components, **rest)


def directions(y: Any, error: Any = 1e-12, failure: float = 0.01, step: float = 1e-5) -> Screened:
    """Directions of which only y, the bars and the probability matter."""
    y = np.array(y, np.float64)
    bars = np.broadcast_to(np.asarray(error, np.float64), len(y)).copy()
    return Screened(np.arange(len(y), dtype=np.uint64), np.full(len(y), step), y, bars, failure)


def joint_of(screened: Screened, weights: Any, sizes: Any, repaired: Any = None) -> Joint:
    """Joint directions over blocks with these weights and weighted claims."""
    return Joint(screened, np.array(weights, float), np.array(sizes, float), repaired or {})


def step_sweep(slopes: Any, value: float, error: float, **known: Any) -> StepSweep:
    """A sweep with the same slopes on both sides as between them."""
    slopes = np.array(slopes, np.float64)
    given = {
        "index": 0,
        "kind": SMOOTH,
        "lower": value,
        "upper": value,
        "distance": np.nan,
        "best": len(slopes) - 1,
        "restless": False,
        "steps": 0.01 / 4.0 ** np.arange(len(slopes)),
        "derivatives": slopes,
        "right": slopes,
        "left": slopes,
        "ordinary": len(slopes),
    }
    return StepSweep(value=value, error=error, **(given | known))
