"""The stream, against an engine whose values, speed and faults are chosen here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation import stream as streams
from fastgradcheck.evaluation.budget import Budget
from fastgradcheck.evaluation.hashing import direction, key
from fastgradcheck.evaluation.plans import Directions, Plan, Stencils
from fastgradcheck.evaluation.stream import Progress, Record, Stopped, Stream
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective
from tests.cases.clocks import Clock

THETA = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
CLOCK = Clock()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    CLOCK.now = 100.0
    monkeypatch.setattr(time, "monotonic", CLOCK)


class Engine:
    """J is the sum of squares; chunks of two rows, the last first; `pause` seconds for each."""

    name, n_jobs, compile_seconds, findings = "fake", 1, 0.0, ()

    def __init__(self, t_cost: float = 1e-6, pause: float = 0.0, fails_at: int = -1) -> None:
        self.objective = Objective(lambda t: (t**2).sum(), (), describe(THETA), THETA)
        self.t_cost, self.pause, self.fails_at = t_cost, pause, fails_at
        self.plans: list[Plan] = []
        self.closed = 0
        self.failure: BaseException = CostEvaluationError("cost raised", "theta[0]", 0.1)

    def supports_complex(self) -> None:
        return None

    def value(self, theta: np.ndarray) -> float:
        return float((theta**2).sum())

    def evaluate(self, plan: Plan) -> Iterator[tuple[slice, np.ndarray]]:
        self.plans.append(plan)
        try:
            for number, start in enumerate(reversed(range(0, len(plan), 2))):
                if number == self.fails_at:
                    raise self.failure
                CLOCK.now += self.pause
                rows = slice(start, min(start + 2, len(plan)))
                yield rows, np.array([self._row(plan, r) for r in range(rows.start, rows.stop)])
        finally:
            self.closed += 1

    def _row(self, plan: Plan, r: int) -> list[Any]:
        if isinstance(plan, Stencils):
            rest = (THETA**2).sum() - THETA[plan.index[r]] ** 2
            return [rest + point**2 for point in plan.points[r]]
        v = direction(plan.keys[r], np.arange(5))
        return [((THETA + offset * v) ** 2).sum() for offset in plan.offsets[r]]

    def close(self) -> None:
        pass


class Dictionary:
    """A memory that is not a file."""

    def __init__(self) -> None:
        self.records: dict[bytes, Record] = {}
        self.kept = self.closed = 0

    def recall(self, plan: Stencils, shape: tuple[int, ...] = ()) -> Record:
        return self.records.setdefault(plan.points.tobytes(), Record.blank(plan))

    def keep(self) -> None:
        self.kept += 1

    def close(self) -> None:
        self.closed += 1


def plan() -> Stencils:
    return Stencils(np.arange(5), THETA[:, None] + np.array([0.5, -0.5, 1.0]))


def expected() -> np.ndarray:
    points = plan().points
    return np.array([[341.0 - THETA[i] ** 2 + x**2 for x in points[i]] for i in range(5)])


def directions() -> Directions:
    region = np.array([[0, 5, 0, 1, 0, 5]] * 3)
    keys = np.array([key(1, k) for k in range(3)])
    return Directions(region, keys, np.array([[1.0, -1.0]] * 3))


@pytest.mark.parametrize("t_cost", [1e-6, 10.0, np.nan], ids=["fast", "slow", "unknown"])
def test_values_are_those_of_the_engine_row_by_row_and_point_by_point(t_cost: float) -> None:
    engine = Engine(t_cost)
    watched = Stream(engine)
    np.testing.assert_array_equal(watched.values(plan(), "noise"), expected())
    assert watched.evaluations == 15
    assert len(engine.plans[0]) == (5 if t_cost == 1e-6 else 15)


def test_directions_are_the_same_point_by_point() -> None:
    whole = Stream(Engine(1e-6)).values(directions(), "screen")
    pieces = Stream(Engine(10.0)).values(directions(), "screen")
    np.testing.assert_array_equal(whole, pieces)
    assert whole.shape == (3, 2)


def test_values_cannot_be_written_to() -> None:
    values = Stream(Engine()).values(plan(), "noise")
    with pytest.raises(ValueError, match="read-only"):
        values[0, 0] = 1.0


def test_an_empty_plan_needs_no_engine() -> None:
    engine = Engine()
    values = Stream(engine).values(plan().rows(slice(0, 0)), "noise")
    assert values.shape == (0, 3)
    assert engine.plans == []


def test_every_chunk_is_told_and_the_beginning_of_the_stage() -> None:
    events: list[Progress] = []
    Stream(Engine(), listen=events.append).values(plan(), "noise")
    assert [(e.done, e.total, e.evaluations) for e in events] == [
        (0, 5, 0),
        (1, 5, 3),
        (3, 5, 9),
        (5, 5, 15),
    ]
    assert {e.stage for e in events} == {"noise"}


@pytest.mark.parametrize("t_cost", [1e-6, 10.0], ids=["fast", "slow"])
def test_what_disagrees_is_counted_once_per_row(t_cost: float) -> None:
    seen: list[int] = []
    values = expected()

    def count(rows: np.ndarray, chunk: np.ndarray) -> int:
        np.testing.assert_array_equal(chunk, values[rows])
        seen.extend(rows.tolist())
        return int((rows % 2 == 0).sum())

    watched = Stream(Engine(t_cost))
    watched.partial(plan(), "components", count)
    assert sorted(seen) == [0, 1, 2, 3, 4]
    assert watched.wrong == 3


def test_what_is_remembered_is_not_evaluated_again() -> None:
    memory = Dictionary()
    record = memory.recall(plan())
    record.values[[1, 3]], record.done[[1, 3]] = expected()[[1, 3]], True
    record.values[4, 0], record.done[4, 0] = expected()[4, 0], True
    for t_cost, evaluated in ((10.0, 8), (1e-6, 0)):
        engine = Engine(t_cost)
        with Stream(engine, memory=memory) as watched:
            np.testing.assert_array_equal(watched.values(plan(), "noise"), expected())
        assert sum(len(p) * p.width for p in engine.plans) == evaluated
        assert watched.evaluations == 15
    assert memory.kept == 4
    assert memory.closed == 2


def test_half_a_row_is_evaluated_again_as_a_row() -> None:
    memory = Dictionary()
    memory.recall(plan()).done[2, 0] = True
    engine = Engine()
    Stream(engine, memory=memory).values(plan(), "noise")
    assert len(engine.plans[0]) == 5


def test_a_failure_of_the_cost_passes_and_the_engine_is_closed() -> None:
    engine = Engine(fails_at=1)
    with pytest.raises(CostEvaluationError), Stream(engine) as watched:
        watched.values(plan(), "noise")
    assert engine.closed == 1


def test_without_time_nothing_is_begun() -> None:
    engine = Engine()
    late = Budget(1.0, time.monotonic() - 2.0)
    watched = Stream(engine, budget=late)
    with pytest.raises(Stopped, match="budget"):
        watched.values(plan(), "noise")
    assert watched.evaluations == 0
    assert "budget of 1 s ended the check" in watched.findings[0].message


def test_time_that_runs_out_leaves_the_rows_that_were_there() -> None:
    engine = Engine(pause=0.2)
    watched = Stream(engine, budget=Budget(0.5))
    values, done = watched.partial(plan(), "noise")
    assert done.tolist() in ([False, False, True, True, True], [False, False, False, False, True])
    np.testing.assert_array_equal(values[done], expected()[done])
    assert np.isnan(values[~done]).all()
    assert (watched.stopped, engine.closed) == ("budget", 1)


def test_a_row_that_would_overrun_by_more_than_one_evaluation_is_not_begun() -> None:
    watched = Stream(Engine(t_cost=2.0), budget=Budget(1.5))
    assert watched.partial(plan(), "noise")[1].all()
    # A row takes 0.09 s: it fits into 0.08 s and one evaluation more, but not into 0.04 s.
    watched = Stream(Engine(t_cost=0.03), budget=Budget(0.08))
    assert watched.partial(plan(), "noise")[1].all()
    watched = Stream(Engine(t_cost=0.03), budget=Budget(0.04))
    assert not watched.partial(plan(), "noise")[1].any()


def test_the_component_loop_leaves_time_for_the_stages_after_it() -> None:
    # The reserve is a quarter: half of the rest is enough for confirming, none for the loop.
    engine = Engine(t_cost=0.01)
    watched = Stream(engine, budget=Budget(1.0, time.monotonic() - 0.85))
    assert not watched.partial(plan(), streams.COMPONENTS)[1].any()
    assert watched.cut
    assert watched.stopped is None
    assert watched.values(plan(), "confirming").shape == (5, 3)
    assert [f.kind for f in watched.findings] == ["budget"]


def test_an_interruption_leaves_the_rows_that_were_there() -> None:
    engine = Engine(fails_at=2)
    engine.failure = KeyboardInterrupt()
    with Stream(engine) as watched:
        values, done = watched.partial(plan(), "noise")
        assert done.tolist() == [False, False, True, True, True]
        np.testing.assert_array_equal(values[done], expected()[done])
        with pytest.raises(Stopped, match="interrupted"):
            watched.values(plan(), "confirming")
    assert watched.evaluations == 9
    assert [f.kind for f in watched.findings] == ["interrupted"]


def test_an_interruption_raises_where_nobody_would_report_it() -> None:
    engine = Engine(fails_at=1)
    engine.failure = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        Stream(engine).values(plan(), "noise")
    assert engine.closed == 1
