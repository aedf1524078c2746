"""Which columns of a Jacobian are measured one by one."""

from __future__ import annotations

from typing import Any

from fastgradcheck.errors import GradcheckInputError, shown
from fastgradcheck.options import STRATEGIES
from fastgradcheck.problem import sampling
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.sampling import Sample

EVERY_COLUMN = 64
"""Up to this many parameters, strategy "auto" measures every column, four evaluations each ..."""
SPOT_CHECK = 3
"""... and beyond it, directions cover all of them, and so many columns are measured besides."""


def columns(
    parameters: Parameters, sample: Any, strategy: str, seed: int, limited: bool
) -> tuple[Sample, bool]:
    """The columns to be measured one by one, and whether directions cover all of them."""
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        raise GradcheckInputError(
            f"strategy={shown(strategy)} is not a strategy; "
            f"use one of {', '.join(map(repr, STRATEGIES))}."
        )
    if strategy == "auto":
        large = parameters.size > EVERY_COLUMN
        if sample is None and (large or limited):
            return sampling.draw(min(SPOT_CHECK, parameters.size), parameters, seed), True
        return sampling.draw(sample, parameters, seed), False
    if strategy == "screen":
        nothing = sample is None
        return sampling.NOTHING if nothing else sampling.draw(sample, parameters, seed), True
    return sampling.draw(sample, parameters, seed), False
