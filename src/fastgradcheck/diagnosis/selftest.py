"""Would this check have caught it? Faults planted in copies of the gradient, judged again.

The numeric side does not depend on the gradient, so that no evaluation of J is needed: what was
measured is judged against the faulty copy, at the settings of the check. A planted fault counts
as seen if the copy's discrepancy leaves the bars and the tolerance by itself, which is what puts a
component through a step sweep, or a block through a search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.table import Table
from fastgradcheck.verdict.rules import disagreeing
from fastgradcheck.verdict.support import BlockEvidence
from fastgradcheck.verdict.tolerances import Tolerances

TRIALS = 16
"""Places tried per block for faults that sit in single entries."""


Fault = Callable[[NDArray[np.float64], np.random.Generator], NDArray[np.float64]]


@dataclass(frozen=True)
class Rate:
    """How often one kind of fault in one block was seen.

    Attributes
    ----------
    kind, block : str
    seen, planted : int
    """

    kind: str
    block: str
    seen: int
    planted: int


@dataclass(frozen=True)
class SelfTest:
    """Detection rates, per kind of fault and block; ``print`` shows them as a table."""

    rates: tuple[Rate, ...]

    def of(self, kind: str) -> float:
        """The share of the faults of this kind that were seen, over all blocks."""
        mine = [rate for rate in self.rates if rate.kind == kind]
        planted = sum(rate.planted for rate in mine)
        return sum(rate.seen for rate in mine) / planted if planted else float("nan")

    def __repr__(self) -> str:
        seen, planted = sum(r.seen for r in self.rates), sum(r.planted for r in self.rates)
        return f"<SelfTest: {seen:,} of {planted:,} planted faults were seen>"

    def __str__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table().html()

    def _table(self) -> Table:
        blocks = list(dict.fromkeys(rate.block for rate in self.rates))
        kinds = list(dict.fromkeys(rate.kind for rate in self.rates))
        cells = {(r.kind, r.block): f"{r.seen}/{r.planted}" for r in self.rates}
        rows = ((b, *(cells.get((kind, b), "-") for kind in kinds)) for b in blocks)
        return Table(("block", *kinds), tuple(rows))


def _zero_entry(g: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    faulty = g.copy()
    faulty[_some(g, rng)] = 0.0
    return faulty


def _percent(g: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    faulty = g.copy()
    faulty[_some(g, rng)] *= 1.01
    return faulty


def _swapped(g: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    faulty = g.copy()
    if len(g) > 1:
        pair = rng.choice(len(g), 2, replace=False)
        faulty[pair] = faulty[pair[::-1]]
    return faulty


def _some(g: NDArray[np.float64], rng: np.random.Generator) -> int:
    """A random entry that is not zero, so that changing it by a factor changes it."""
    return int(rng.choice(np.flatnonzero(g))) if g.any() else 0


FAULTS: dict[str, tuple[Fault, bool]] = {
    "zeroed": (lambda g, _: np.zeros_like(g), False),
    "doubled": (lambda g, _: 2 * g, False),
    "sign": (lambda g, _: -g, False),
    "entry zero": (_zero_entry, True),
    "swapped": (_swapped, True),
    "entry 1 %": (_percent, True),
}
"""Name to fault, and whether it sits in single entries and is planted in several places."""


def self_test(evidence: Sequence[BlockEvidence], tolerance: Tolerances, seed: int) -> SelfTest:
    """Plant faults in copies of the gradient and judge them by what the check measured.

    Parameters
    ----------
    evidence : sequence of BlockEvidence
        What was measured.
    tolerance : Tolerances
        As in the check.
    seed : int
        Of the check: it draws the places of the faults.

    Returns
    -------
    SelfTest

    Examples
    --------
    >>> import numpy as np
    >>> import fastgradcheck as fgc
    >>> theta = np.linspace(1.0, 2.0, 20)
    >>> result = fgc.gradcheck(lambda t: (t**3).sum(), lambda t: 3 * t**2, theta)
    >>> result.self_test().of("entry 1 %")
    1.0
    """
    rng = np.random.default_rng([seed, 5])
    rates = [
        _rate(kind, fault, TRIALS if places else 1, block, tolerance, rng)
        for kind, (fault, places) in FAULTS.items()
        for block in evidence
        if len(block.components) or block.directions
    ]
    return SelfTest(tuple(rates))


def _rate(
    kind: str,
    fault: Fault,
    trials: int,
    evidence: BlockEvidence,
    tolerance: Tolerances,
    rng: np.random.Generator,
) -> Rate:
    seen = planted = 0
    for _ in range(trials):
        faulty = fault(evidence.gradient, rng)
        if np.array_equal(faulty, evidence.gradient):
            continue
        planted += 1
        seen += _sees(evidence, faulty, tolerance)
    return Rate(kind, evidence.block.name, seen, planted)


def _sees(evidence: BlockEvidence, faulty: NDArray[np.float64], tolerance: Tolerances) -> bool:
    """Whether the faulty gradient of a block disagrees with what was measured of it."""
    change = faulty - evidence.gradient
    c = evidence.components
    moved = replace(
        evidence,
        gradient=faulty,
        components=replace(c, analytic=faulty[c.index - evidence.block.start]),
    )
    new = disagreeing(moved, tolerance) & (change[c.index - evidence.block.start] != 0)
    if new.any():
        return True
    if evidence.screened is not None:
        return evidence.screened.moved(evidence.block.start, change).fails
    if evidence.joint is None:
        return False
    weight = float(evidence.joint.weights[evidence.number])
    return evidence.joint.screened.moved(evidence.block.start, weight * change).fails
