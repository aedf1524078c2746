"""What has been measured so far."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.components import EMPTY, Components
from fastgradcheck.differences.evidence import BlockEvidence
from fastgradcheck.differences.noise import Noise
from fastgradcheck.differences.plateau import Settled
from fastgradcheck.differences.screen import Screened
from fastgradcheck.differences.steps import Steps
from fastgradcheck.problem.problem import Problem
from fastgradcheck.problem.region import Region, columns_of, rows_of
from fastgradcheck.verdict.support import supported


@dataclass
class Measured:
    """What has been measured so far; stages add to it, so that a stop loses nothing.

    `jump` is the highest jump of J that was met, `stands` what was known of it when a component
    was heard and stood.
    """

    noise: Noise = field(default_factory=lambda: Noise(0.0, 0.0, "rounding"))
    steps: Steps | None = None
    components: Components = EMPTY
    ladders: list[Settled] = field(default_factory=list)
    screened: dict[int, Screened] = field(default_factory=dict)
    regions: dict[int, list[Region]] = field(default_factory=dict)
    throughout: set[int] = field(default_factory=set)
    incomplete: set[int] = field(default_factory=set)
    jump: float = 0.0
    stands: dict[int, float] = field(default_factory=dict)
    still: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def keep(self, settled: list[Settled], gradient: NDArray[np.float64]) -> None:
        settled = [supported(s, float(gradient[s.index])) for s in settled]
        self.ladders += settled
        self.components = self.components.with_ladders(settled, gradient)

    def excuse(self, b: int) -> None:
        """Nothing that was located in a block is wrong after all; what its directions see, is."""
        if b in self.screened:
            if b in self.throughout or self.regions.get(b):
                self.incomplete.add(b)
            self.screened[b] = replace(self.screened[b], confirmed=False)
        self.throughout.discard(b)
        self.regions.pop(b, None)


def evidence_of(problem: Problem, measured: Measured) -> list[BlockEvidence]:
    """What has been measured, block by block, for the judge."""
    step = np.full(len(problem.parameters.blocks), np.nan)
    if measured.steps is not None:
        step = _block_steps(measured.steps)
    for b, screened in measured.screened.items():
        step[b] = float(np.median(screened.steps))
    return [
        BlockEvidence(
            block,
            problem.gradient[block.slice],
            measured.components.between(block.start, block.stop),
            measured.screened.get(b),
            float(step[b]),
            b in measured.throughout,
            sum(rows_of(r) * columns_of(r) for r in measured.regions.get(b, ())),
            b in measured.incomplete,
        )
        for b, block in enumerate(problem.parameters.blocks)
    ]


def _block_steps(chosen: Steps) -> NDArray[np.float64]:
    """The step of each block's median component."""
    own = chosen.relative * chosen.typical
    return np.where(np.isnan(chosen.absolute), own, chosen.absolute)
