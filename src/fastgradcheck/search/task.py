"""What a search is about: the numeric side, the claim, and what counts as agreement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.context import Context
from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.recording import Recording
from fastgradcheck.problem.problem import Problem
from fastgradcheck.problem.sampling import Sample
from fastgradcheck.verdict import rules
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
    latest : list
        The evidence that was judged last, and what came of it.
    """

    context: Context
    problem: Problem
    tolerance: Tolerances
    sample: Sample
    screens: bool
    spot: bool = False
    recording: Recording | None = None
    latest: list[Any] = field(default_factory=list, repr=False)

    @property
    def gradient(self) -> NDArray[np.float64]:
        return self.problem.gradient

    def beside(self, evidence: Evidence) -> Sequence[BlockEvidence]:
        """What has been measured, block by block, beside the claim."""
        return beside(evidence, self.problem)

    def measured(self, evidence: Evidence) -> Iterator[BlockEvidence]:
        """The same for the blocks of which components were measured by themselves."""
        known = self.beside(evidence)
        held = self.problem.parameters.blocks_of(evidence.components.index)
        return (known[b] for b in held.tolist())

    def judged(self, evidence: Evidence) -> rules.Judged:
        """The verdict on what has been measured: of all, and of every block.

        Several stages ask for it in a row, and of thousands of blocks it takes long.
        """
        asked = evidence, self.problem, self.tolerance
        if not self.latest or any(a is not b for a, b in zip(self.latest[0], asked, strict=True)):
            self.latest[:] = [asked, rules.judge(self.beside(evidence), self.tolerance)]
        judged: rules.Judged = self.latest[1]
        return judged


Stage = Callable[[Evidence, Task], Iterator[Evidence]]
"""Measures more and yields it, whenever a stop should not lose it."""
