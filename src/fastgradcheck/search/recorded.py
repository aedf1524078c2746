"""What recorded directions tell of the rows of a claimed Jacobian, without an evaluation of F."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.limits import ScreenedRows
from fastgradcheck.differences.rows import Array
from fastgradcheck.differences.screen import BEYOND_DOUBT
from fastgradcheck.differences.sets import RowDraws
from fastgradcheck.search.columns import JacobianTask
from fastgradcheck.search.residuals import Residuals
from fastgradcheck.search.rows import located, with_decoded
from fastgradcheck.search.separate import Separated, Separation


@dataclass
class Recorded:
    """A claim beside recorded directions.

    Attributes
    ----------
    state : Residuals
    draws : RowDraws
    """

    state: Residuals
    draws: RowDraws

    @classmethod
    def of(cls, task: JacobianTask) -> Recorded | None:
        """The recording of a task beside its claim; None if no column was moved."""
        state = Residuals.over(task)
        return None if state is None else cls(state, state.first())

    @cached_property
    def _seen(self) -> tuple[Array, Array, Array]:
        return self.state.seen(self.draws)

    @property
    def y(self) -> Array:
        """What the claim predicts beyond the slopes, shape (d, m)."""
        return self._seen[0]

    @property
    def claimed(self) -> Array:
        """What the claim predicts, shape (d, m)."""
        return self._seen[2]

    @cached_property
    def bars(self) -> Array:
        """Those of y, with what rounding of the claim may contribute; shape (d, m)."""
        return self._seen[1] + self.state.allowed

    @cached_property
    def wrong(self) -> NDArray[np.int64]:
        """The rows of which most directions are off beyond doubt, which no single kink makes."""
        beyond = np.abs(self.y) > BEYOND_DOUBT * self.bars
        return np.flatnonzero(np.mean(beyond, axis=0) > 0.5)

    def along(self, columns: slice) -> Array:
        """What some columns of the claim contribute to what it predicts; shape (d, m)."""
        claim = self.state.task.claim
        return self.draws.chosen(
            [np.stack([claim.part(columns, v) for v in s.taken]) for s in self.draws.sets]
        )

    def decoded(self, rows: NDArray[np.int64]) -> set[int]:
        """Take out what single entries explain; the rows of which nothing else is wrong then."""
        found = self.state.separate(self.draws, rows, 0, Separation.at_hand)
        self.state.take_out(found)
        return {row for row, _ in found.entries}

    def explained(self, lines: set[tuple[int, int]]) -> None:
        """Take note of rows that are wrong throughout a block of theta."""
        self.state.take_out(Separated(lines=lines))

    def evidence(self) -> Evidence:
        """All that the directions tell, of the claim without what was found wrong."""
        state, task = self.state, self.state.task
        joint = state.joint([self.draws], 0)
        kind = replace(Evidence().noise, level=float(np.median(task.rows.noise)))
        evidence = Evidence(
            noise=kind, joint=joint, fixed=state.fixed, orders=state.orders(self.draws.sets[0])
        )
        if state.repaired:
            found = [(i, j, size, bar) for (i, j), (size, bar) in state.repaired.items()]
            evidence = with_decoded(evidence, task, found)
        screened = [j.screened for j in joint if isinstance(j.screened, ScreenedRows)]
        # One bar in a thousand misses: no fresh directions tell whether that is all.
        several = np.concatenate(
            [(np.abs(s.y) > s.error + s.allowed).mean(axis=0) > 0.5 for s in screened]
        )
        sure = np.concatenate([s.surely for s in screened])
        doubtful = np.flatnonzero((several | sure) & ~state.lost)
        return located(evidence, state, set(doubtful.tolist()))
