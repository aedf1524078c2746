"""The one consumer of an engine's chunks: counts, stops, resumes and reports progress.

Every stage asks for the values of a plan here, so that an interruption, a budget, a checkpoint
and the progress display act on all of them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import Terminated
from fastgradcheck.evaluation.budget import UNLIMITED, Budget
from fastgradcheck.evaluation.engines.base import Engine
from fastgradcheck.evaluation.interrupt import Interrupts
from fastgradcheck.evaluation.plans import Plan
from fastgradcheck.problem.finding import Finding, Rank

SLOW_ROW = 0.1
"""Seconds: a row of a plan that takes longer is evaluated point by point, so that a stop never
waits for more than one evaluation, and workers share the points."""


COMPONENTS = "components"
"""The stage that leaves a part of the budget to those after it."""


Chunk = tuple[slice, NDArray[Any]]


class Stopped(Exception):
    """The stream was stopped before a stage had all of its values."""


@dataclass(frozen=True)
class Progress:
    """One event of a running check.

    Attributes
    ----------
    stage : str
        What is being evaluated, e.g. ``"components"``.
    done, total : int
        Rows of the stage's plan; for the component loop these are components.
    evaluations : int
        Evaluations of J so far, in the whole check, those from a checkpoint included.
    seconds : float
        Since the check began.
    wrong : int
        Components that disagree so far: by provisional error bars while the stage is
        ``"components"``, confirmed afterwards.
    """

    stage: str
    done: int
    total: int
    evaluations: int
    seconds: float
    wrong: int = 0


@dataclass(frozen=True, eq=False)
class Record:
    """The values of one plan, as far as they are known.

    Attributes
    ----------
    values : float64 or complex128 array, shape (k, p), or (k, p, m) of m outputs
        nan where `done` is false.
    done : bool array, shape (k, p)
    """

    values: NDArray[Any]
    done: NDArray[np.bool_]

    @classmethod
    def blank(cls, plan: Plan, shape: tuple[int, ...] = ()) -> Record:
        """Nothing known yet; `shape` is that of one value."""
        points = len(plan), plan.width
        dtype = np.complex128 if plan.is_complex else np.float64
        return cls(np.full((*points, *shape), np.nan, dtype), np.zeros(points, bool))

    @property
    def rows(self) -> NDArray[np.bool_]:
        """Which rows are known at every point."""
        return np.asarray(self.done.all(axis=1))


class Memory(Protocol):
    """What a checkpoint offers: the records of plans, also those of an earlier run."""

    def recall(self, plan: Plan, shape: tuple[int, ...]) -> Record:
        """The record of a plan, to be filled in place; `shape` is that of one value."""

    def keep(self) -> None:
        """Told after every chunk that records have grown."""

    def close(self) -> None:
        """Told at the end."""


class Stream:
    """Evaluates plans through an engine until it is told to stop.

    As a context manager it turns Ctrl-C into a stop, so that whoever entered it is left with what
    was measured; otherwise Ctrl-C raises as ever. If the process was asked to end (SIGTERM), it
    raises `Terminated` when it is left: memory is closed by then.

    Parameters
    ----------
    engine : Engine
    budget : Budget, optional
    listen : callable, optional
        Called with a `Progress` when a stage begins and after every chunk.
    memory : Memory, optional
        A checkpoint: remembered points are not evaluated again.

    Attributes
    ----------
    evaluations : int
        Evaluations of J so far, remembered ones included.
    remembered : int
        How many of them the checkpoint remembered.
    wrong : int
        Components that disagree so far: for the progress display and the budget's reserve.
    stopped : str or None
        ``"budget"`` or ``"interrupted"`` once nothing is evaluated any more.
    cut : bool
        True once the loop over components was ended by the budget.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        budget: Budget = UNLIMITED,
        listen: Callable[[Progress], None] | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.engine = engine
        self.budget = budget
        self.listen = listen
        self.memory = memory
        self.evaluations = 0
        self.remembered = 0
        self.wrong = 0
        self.stopped: str | None = None
        self.cut = False
        self._began = time.monotonic()
        self._interrupts: Interrupts | None = None
        self._exits = ExitStack()

    def __enter__(self) -> Stream:
        self._interrupts = self._exits.enter_context(Interrupts())
        if self.memory is not None:
            # While it is closed, Ctrl-C is only noted.
            self._exits.callback(self.memory.close)
        return self

    def __exit__(self, *exc: object) -> None:
        self._exits.close()
        interrupts = self._interrupts
        if interrupts is not None and interrupts.pressed:
            self.stopped = "interrupted"
            if interrupts.ended is not None:
                raise Terminated(interrupts.ended)

    @property
    def theta(self) -> NDArray[Any]:
        return self.engine.objective.theta

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What a stop means for the user; empty if there was none."""
        if self.stopped == "interrupted":
            message = (
                "The check was interrupted (Ctrl-C or SIGTERM); what had been measured until then "
                "is reported."
            )
            return (Finding("interrupted", message, Rank.LIMIT),)
        if self.stopped or self.cut:
            message = (
                f"The budget of {self.budget.seconds:g} s ended the check; what had been measured "
                "until then is reported."
            )
            return (Finding("budget", message, Rank.LIMIT),)
        return ()

    def values(self, plan: Plan, stage: str) -> NDArray[Any]:
        """J at every point of the plan, shape ``(len(plan), plan.width)``, read-only.

        Of a function of m outputs, shape ``(len(plan), plan.width, m)``.

        Raises
        ------
        Stopped
            If time was up or Ctrl-C was pressed before all of them were there.
        """
        values, done = self.partial(plan, stage)
        if not done.all():
            raise Stopped(self.stopped)
        return values

    def partial(
        self,
        plan: Plan,
        stage: str,
        count_wrong: Callable[[NDArray[np.int64], NDArray[Any]], int] | None = None,
        before: int = 0,
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Like `values`, but hands back what there is, and which rows are there.

        Parameters
        ----------
        plan : Plan
        stage : str
            For the progress display and the budget.
        count_wrong : callable, optional
            ``count_wrong(rows, values)``: how many of these rows disagree.
        before : int
            Rows that an earlier stage has measured: they count as done.
        """
        of_value, memory = self.engine.objective.value_shape, self.memory
        record = Record.blank(plan, of_value) if memory is None else memory.recall(plan, of_value)
        slow = not self.engine.t_cost * plan.width < SLOW_ROW
        pieces = plan.by_point() if slow else plan
        shape = len(pieces), pieces.width
        values, done = record.values.reshape(*shape, *of_value), record.done.reshape(shape)
        missing = np.flatnonzero(~done.all(axis=1))
        known = int(record.done.sum())
        self.evaluations += known
        self.remembered += known

        def look(rows: NDArray[np.int64]) -> None:
            if count_wrong is not None:
                rows = rows[record.done[rows].all(axis=1)]
                self.wrong += count_wrong(rows, record.values[rows])
            self._tell(stage, before + known // plan.width, before + len(plan))

        look(np.flatnonzero(record.rows))
        todo = pieces if len(missing) == len(pieces) else pieces.rows(missing)
        for rows, chunk in self._chunks(todo, stage):
            where = missing[rows]
            values[where] = chunk
            done[where] = True
            evaluated = chunk.shape[0] * chunk.shape[1]
            known += evaluated
            self.evaluations += evaluated
            if self.memory is not None:
                self.memory.keep()
            look(np.unique(where // plan.width) if slow else where)
        read_only = record.values.view()
        read_only.flags.writeable = False
        return read_only, record.rows

    def _chunks(self, plan: Plan, stage: str) -> Iterator[Chunk]:
        """The engine's chunks until there is a reason to stop."""
        if not len(plan):
            return
        chunks = self.engine.evaluate(plan)
        latest = 0.0
        try:
            while not self._over(stage, max(latest, self._expected(plan))):
                began = time.monotonic()
                chunk = self._next(chunks)
                latest = time.monotonic() - began
                if chunk is None:
                    return
                yield chunk
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _next(self, chunks: Iterator[Chunk]) -> Chunk | None:
        """The next chunk, or None: there is none, or Ctrl-C was pressed."""
        interrupts = self._interrupts
        if interrupts is None:
            return next(chunks, None)
        try:
            # In this order: whatever moment Ctrl-C is pressed at, one of the two sees it.
            interrupts.armed = True
            return None if interrupts.pressed else next(chunks, None)
        except KeyboardInterrupt:
            interrupts.pressed = True
            return None
        finally:
            interrupts.armed = False
            if interrupts.pressed:
                self.stopped = "interrupted"

    def _expected(self, plan: Plan) -> float:
        """Seconds until a row that is begun now is there, as far as is known."""
        return float(np.nan_to_num(plan.width * self.engine.t_cost))

    def _over(self, stage: str, expected: float) -> bool:
        """Whether there is no time left to begin anything that takes this long."""
        if self.stopped:
            return True
        evaluation = float(np.nan_to_num(self.engine.t_cost))
        left = self.budget.left() + evaluation
        if stage == COMPONENTS:
            self.cut = self.cut or expected > left - self.budget.reserve(evaluation, self.wrong)
            return self.cut
        if expected > left:
            self.stopped = "budget"
            return True
        return False

    def _tell(self, stage: str, done: int, total: int) -> None:
        if self.listen is not None:
            seconds = time.monotonic() - self._began
            self.listen(Progress(stage, done, total, self.evaluations, seconds, self.wrong))
