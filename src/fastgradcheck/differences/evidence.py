"""What is known of a block."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.components import Components
from fastgradcheck.differences.screen import Screened
from fastgradcheck.problem.blocks import Block

STILL = 100
"""Entries at their bounds, which take no part in directions, that are measured one by one."""


@dataclass(frozen=True, eq=False)
class BlockEvidence:
    """All that is known of one block.

    Attributes
    ----------
    block : Block
    gradient : float64 array, shape (size,)
        The claimed gradient of the block.
    components : Components
    screened : Screened or None
    step : float
    throughout : bool
        True if locating gave up because too many entries are wrong.
    lines : int
        Entries in rows or columns that are wrong as a whole.
    unexplained : bool
        True if the directions disagree by more than what was located explains.
    """

    block: Block
    gradient: NDArray[np.float64]
    components: Components
    screened: Screened | None
    step: float
    throughout: bool = False
    lines: int = 0
    unexplained: bool = False

    @cached_property
    def largest(self) -> float:
        largest = float(np.max(np.abs(self.gradient), initial=0.0))
        if np.isfinite(largest):
            return largest
        return float(np.max(np.nan_to_num(np.abs(self.gradient))))
