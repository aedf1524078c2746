"""All that has been measured of J so far, as one frozen value that stages hand on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.components import EMPTY, Components, of_sweeps
from fastgradcheck.differences.domain import Edge
from fastgradcheck.differences.joint import Joint, Repaired
from fastgradcheck.differences.noise import Noise
from fastgradcheck.differences.pieces import Pieces
from fastgradcheck.differences.plateau import TWO_SCALES, StepSweep, combined
from fastgradcheck.differences.remainders import Orders
from fastgradcheck.differences.screen import Screened
from fastgradcheck.differences.steps import Steps
from fastgradcheck.problem.region import Region, columns_of, rows_of


@dataclass(frozen=True, eq=False)
class LargerSteps:
    """Differences of a component over its first steps, within which J was seen to jump.

    Attributes
    ----------
    steps, slopes : float64 arrays, shape (k,)
    jump : float
        The highest jump of J that was known of.
    best : int
        The difference with the smallest bar ...
    error : float
        ... and that bar, which holds the jump.
    """

    steps: NDArray[np.float64]
    slopes: NDArray[np.float64]
    jump: float
    best: int
    error: float

    @property
    def value(self) -> float:
        return float(self.slopes[self.best])

    def as_sweep(self, index: int) -> StepSweep:
        """These steps as the sweep of a component."""
        unknown = np.full(len(self.steps), np.nan)
        return StepSweep(
            index=index,
            value=self.value,
            error=self.error,
            kind=TWO_SCALES,
            lower=self.value,
            upper=self.value,
            distance=np.nan,
            best=self.best,
            restless=True,
            steps=self.steps,
            derivatives=self.slopes,
            right=unknown,
            left=unknown,
        )


@dataclass(frozen=True, eq=False)
class Located:
    """What the search for wrong entries found in a block whose directions disagree.

    Attributes
    ----------
    regions : tuple of Region
        Rows, columns and the like in which every entry that was looked at is off.
    whole_block : bool
        True if so many entries are off that they were not counted.
    unexplained : bool
        True if the directions disagree by more than what was located explains.
    confirmed : bool
        True if entries of the block were seen to be off by their own differences: what the
        directions show is then no error of theirs.
    """

    regions: tuple[Region, ...] = ()
    whole_block: bool = False
    unexplained: bool = False
    confirmed: bool = False

    @property
    def lines(self) -> int:
        """Entries in the regions."""
        return sum(rows_of(region) * columns_of(region) for region in self.regions)

    def withdrawn(self, screened: bool) -> Located:
        """What is left when its entries agree after all: directions that nothing explains."""
        found = self.whole_block or bool(self.regions)
        return Located(unexplained=self.unexplained or (screened and found))


NOTHING_LOCATED = Located()


@dataclass(frozen=True, eq=False)
class Evidence:
    """What has been measured; a stage returns it with more.

    Attributes
    ----------
    noise : Noise
    elsewhere : float64 array, shape (blocks,), or None
        The size of every block's gradient away from theta; None where no verdict depends on it.
    steps : Steps or None
        Of the plain loop, once they are chosen.
    components : Components
        Every component that was measured by itself.
    sweeps : mapping of int to tuple of StepSweep
        The latest step sweep of a component, and the one between its steps, if there is one.
    larger : mapping of int to LargerSteps
    jump : float
        The highest jump of J that was met.
    rechecked : mapping of int to float
        Components whose larger steps were looked at, and the jump that was known then.
    continuous : frozenset of int
        Components in which J was looked at closely, and does not jump within the larger steps.
    pieces : Pieces or None
        A jump between smooth pieces of J, where it was looked for and found.
    screened : mapping of int to Screened
        Block number to directions.
    located : mapping of int to Located
        Block number to what was located there.
    joint : tuple of Joint
        Directions over several blocks at once; no block takes part in two.
    decoded : mapping of int to (float, float)
        Entries that explain what joint directions disagree about, and that nothing has confirmed
        yet: how far the claim is off, and the bar of that.
    fixed : int64 array
        Entries that take no part in directions: they have no room to move, are so large that the
        step does not move them, or are exactly zero where J has kinks.
    on_kinks : bool
        Whether joint directions compare the claim with the middle of the slopes on both sides:
        theta stands on kinks of J.
    zeros : int
        How many of the `fixed` entries are zero where J has kinks.
    compared : float
        How sharply complex steps were seen to agree with real differences, relative to the
        gradient; 0 where none were taken.
    edge : Edge
        Entries at the edge of J's domain.
    orders : Orders or None
        With which Taylor's remainders of the claim fall, along directions.
    """

    noise: Noise = field(default_factory=lambda: Noise(0.0, 0.0, "rounding"))
    elsewhere: NDArray[np.float64] | None = None
    compared: float = 0.0
    edge: Edge = field(default_factory=Edge)
    steps: Steps | None = None
    components: Components = EMPTY
    sweeps: Mapping[int, tuple[StepSweep, ...]] = field(default_factory=dict)
    larger: Mapping[int, LargerSteps] = field(default_factory=dict)
    jump: float = 0.0
    rechecked: Mapping[int, float] = field(default_factory=dict)
    continuous: frozenset[int] = frozenset()
    pieces: Pieces | None = None
    screened: Mapping[int, Screened] = field(default_factory=dict)
    located: Mapping[int, Located] = field(default_factory=dict)
    joint: tuple[Joint, ...] = ()
    decoded: Repaired = field(default_factory=dict)
    fixed: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    on_kinks: bool = False
    zeros: int = 0
    orders: Orders | None = None

    def with_sweeps(self, sweeps: Iterable[StepSweep]) -> Evidence:
        """With more step sweeps, which count instead of whatever measured their components."""
        known = dict(self.sweeps)
        touched = {}
        for s in sweeps:
            known[s.index] = (known[s.index][0], s) if s.again else (s,)
            touched[s.index] = known[s.index]
        values = [own[0] if len(own) == 1 else combined(*own) for own in touched.values()]
        return replace(self, sweeps=known, components=self.components.joined(of_sweeps(values)))

    def with_components(self, newer: Components) -> Evidence:
        """With these components, which count instead of older differences of the same ones."""
        return replace(self, components=self.components.joined(newer))

    def with_screened(self, screened: Mapping[int, Screened]) -> Evidence:
        """With these directions in the place of their blocks' older ones."""
        return replace(self, screened={**self.screened, **screened})

    def with_located(self, block: int, found: Located) -> Evidence:
        """With what was located in a block."""
        return replace(self, located={**self.located, block: found})

    def joint_of(self, block: int) -> Joint | None:
        """The joint directions that cover a block, if it has none of its own."""
        if block in self.screened:
            return None
        return next((joint for joint in self.joint if joint.covers(block)), None)

    def location(self, block: int) -> Located:
        """What was located in a block."""
        return self.located.get(block, NOTHING_LOCATED)
