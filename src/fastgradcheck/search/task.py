"""What a search is about: the numeric side, the claim, and what counts as agreement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.context import Context
from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.recording import Recording
from fastgradcheck.problem.problem import Problem
from fastgradcheck.problem.sampling import Sample
from fastgradcheck.verdict.support import BlockEvidence, beside
from fastgradcheck.verdict.tolerances import Tolerances


@dataclass(frozen=True, eq=False)
class Task:
    """A check that is under way.

    Attributes
    ----------
    context : Context
        Where and how J is differentiated.
    problem : Problem
        What is claimed.
    tolerance : Tolerances
    sample : Sample
        The components to measure one by one.
    screens : bool
        Whether directions cover all of theta.
    spot : bool
        Whether the sample is a spot check beside the directions: each component by a five-point
        value of its own, without steps for whole blocks.
    recording : Recording or None
        Values of J along directions that are there already.
    """

    context: Context
    problem: Problem
    tolerance: Tolerances
    sample: Sample
    screens: bool
    spot: bool = False
    recording: Recording | None = None

    @property
    def gradient(self) -> NDArray[np.float64]:
        return self.problem.gradient

    def beside(self, evidence: Evidence) -> list[BlockEvidence]:
        """What has been measured, block by block, beside the claim."""
        return beside(evidence, self.problem)


Stage = Callable[[Evidence, Task], Iterator[Evidence]]
"""Measures more and yields it, whenever a stop should not lose it."""
