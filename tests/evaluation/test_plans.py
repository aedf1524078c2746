"""Points of plans: directions against SplitMix64 in Python's own integers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fastgradcheck.evaluation import hashing, plans
from fastgradcheck.evaluation.engines.python import PythonEngine
from fastgradcheck.evaluation.plans import Directions, Plan, Stencils
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective
from tests.cases.interpreted import collect, draw, flat_cost, objective


def signed_magnitude(key: int, index: int) -> float:
    word = 2**64 - 1
    z = (key + (index + 1) * 0x9E3779B97F4A7C15) & word
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & word
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & word
    z ^= z >> 31
    return (-1.0 if z & 1 else 1.0) * (0.5 + (z >> 11) * 2.0**-53)


def pushed(theta: np.ndarray, region: Any, key: int, offset: complex, scale: Any) -> np.ndarray:
    start, columns, row0, row1, column0, column1 = region
    point = np.array(theta, complex if isinstance(offset, complex) else theta.dtype)
    for row in range(row0, row1):
        for column in range(column0, column1):
            i = start + row * columns + column
            step = offset * signed_magnitude(key, i) * (1.0 if scale is None else scale[i])
            point[i] = np.float64(theta[i]) + step
    return point


def snapshot_of(subject: Objective, plan: Plan) -> np.ndarray:
    """The flat points at which the cost was called."""
    points: list[np.ndarray] = []

    def spy(x):
        points.append(x.copy())
        return x.sum()

    engine = PythonEngine(Objective(spy, (), subject.parameters, subject.theta))
    collect(engine, plan)
    return np.array(points)


REGIONS = [(4, 5, 0, 3, 0, 5), (4, 5, 1, 3, 2, 4), (4, 5, 2, 3, 1, 2), (0, 4, 0, 1, 0, 4)]


class TestDirections:
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("scaled", [False, True])
    @pytest.mark.parametrize("compiled", [False, True])
    @pytest.mark.parametrize("offsets", [(0.1, -0.1, 1e-7), (1e-20j,)])
    @pytest.mark.parametrize("rows", [[0, 1, 2, 3], [0, 0, 1, 1]])
    def test_points(self, dtype, scaled, compiled, offsets, rows, monkeypatch):
        regions = [REGIONS[row] for row in rows]
        monkeypatch.setattr(plans, "LARGE_REGION", 0 if compiled else 100)
        theta = draw(19).astype(dtype)
        subject = objective(flat_cost, theta)
        scale = np.linspace(0.5, 2.0, 19) if scaled else None
        keys = np.array([0, 1, 2**63 + 5, 2**64 - 1], np.uint64)
        plan = Directions(np.array(regions), keys, np.array([offsets] * 4), scale)
        expected = [
            pushed(theta, region, int(key), offset, scale)
            for region, key in zip(regions, keys, strict=True)
            for offset in offsets
        ]
        np.testing.assert_array_equal(snapshot_of(subject, plan), expected)

    def test_large_regions_are_compiled_and_the_same_bit_for_bit(self, monkeypatch):
        from fastgradcheck.evaluation.engines import kernels

        n = hashing.LARGE_REGION + 1
        subject = objective(flat_cost, draw(n))
        regions, keys = np.array([[0, n, 0, 1, 0, n]]), np.array([9], np.uint64)
        plan = Directions(regions, keys, np.array([[1e-4, -2e-4]]), np.linspace(1, 2, n))
        calls, perturb = [], kernels.perturb
        monkeypatch.setattr(kernels, "perturb", lambda *a: calls.append(perturb(*a)))
        compiled = snapshot_of(subject, plan)
        assert len(calls) == 2
        monkeypatch.setattr(plans, "LARGE_REGION", n)
        np.testing.assert_array_equal(compiled, snapshot_of(subject, plan))
        assert len(calls) == 2


THETA = draw(19)
KEYS = np.array([0, 1, 2**63 + 5, 2**64 - 1], np.uint64)
PARAMETERS = describe({"b": np.zeros(4), "W": np.zeros((3, 5))})


def stencils() -> Stencils:
    index = np.array([3, 0, 18])
    steps = np.array([[0.5, -0.5], [0.25, -0.25], [1.0, -1.0]])
    return Stencils(index, THETA[index][:, np.newaxis] + steps)


def directions(offsets: tuple[complex, ...] = (0.1, -0.1, 1e-7)) -> Directions:
    return Directions(np.array(REGIONS), KEYS, np.array([offsets] * 4), np.linspace(0.5, 2.0, 19))


PLANS = {
    "stencils": stencils(),
    "directions": directions(),
    "complex directions": directions((1e-20j, 2e-20j)),
}


def visited(plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """The points that a plan writes, and what is left in the array at the end."""
    theta = THETA.copy()
    theta.flags.writeable = False
    work = theta.astype(complex if plan.is_complex else float)
    points = [work.copy() for _ in plan.visit(work, theta)]
    return np.array(points), work


@pytest.mark.parametrize("kind", PLANS)
class TestEveryPlan:
    def test_theta_is_there_again_at_the_end(self, kind):
        plan = PLANS[kind]
        points, left = visited(plan)
        assert len(points) == len(plan) * plan.width
        assert (points != THETA).any(axis=1).all()
        np.testing.assert_array_equal(left, THETA)

    def test_a_row_for_every_point(self, kind):
        plan = PLANS[kind]
        single = plan.by_point()
        assert (len(single), single.width) == (len(plan) * plan.width, 1)
        np.testing.assert_array_equal(visited(single)[0], visited(plan)[0])

    def test_some_rows(self, kind):
        plan = PLANS[kind]
        points = visited(plan)[0].reshape(len(plan), plan.width, -1)
        for rows in (slice(1, None), np.array([2, 0])):
            part = visited(plan.rows(rows))[0]
            np.testing.assert_array_equal(part, points[rows].reshape(len(part), -1))

    def test_content_tells_rows_apart(self, kind):
        plan = PLANS[kind]
        same = PLANS[kind].rows(np.arange(len(plan)))
        assert told(plan) == told(same)
        single = [told(plan.rows(slice(r, r + 1))) for r in range(len(plan))]
        assert len(set(single)) == len(plan)


def told(plan: Plan) -> tuple[bytes, ...]:
    return tuple(column.tobytes() for column in plan.content())


def test_content_tells_plans_apart() -> None:
    index, points = stencils().content()
    others = [Stencils(index + 1, points), Stencils(index, np.nextafter(points, 9.0))]
    assert len({told(plan) for plan in (stencils(), *others)}) == 3
    plan = directions()
    changed = [
        replace(plan, regions=plan.regions[::-1]),
        replace(plan, keys=plan.keys[::-1]),
        replace(plan, offsets=plan.offsets * 2),
    ]
    assert len({told(other) for other in (plan, *changed)}) == 4


def test_content_leaves_out_what_all_rows_share() -> None:
    plan, other = directions(), np.ones(19)
    changed = plan.with_common(other)
    assert told(changed) == told(plan)
    assert changed.common is other
    assert plan.common is not other
    assert stencils().with_common(other).common is None


def test_a_row_is_named_by_what_it_moves() -> None:
    rows = [stencils().address(PARAMETERS, r) for r in range(3)]
    assert rows == ["b[3]", "b[0]", "W[2, 4]"]
    assert [directions().address(PARAMETERS, r) for r in range(4)] == ["W", "W", "W", "b"]


def test_the_step_of_a_point_and_where_it_is() -> None:
    plan = stencils()
    step, where = plan.displacement(PARAMETERS, THETA, 1, 1)
    assert step == plan.points[1, 1] - THETA[0] < 0
    assert where == "b[0] - 0.25"
    assert directions().displacement(PARAMETERS, THETA, 3, 0) == (
        0.1,
        "b + 0.1 * (a random direction)",
    )
    imaginary = directions((1e-20j,))
    assert imaginary.displacement(PARAMETERS, THETA, 0, 0)[1] == "W + 1e-20j * (a random direction)"


def test_pieces_of_work() -> None:
    """A component is one piece; every point of a direction is."""
    assert (len(stencils()), stencils().width, stencils().pieces) == (3, 2, 3)
    assert (len(directions()), directions().width, directions().pieces) == (4, 3, 12)
    assert (stencils().is_complex, directions((1e-20j,)).is_complex) == (False, True)
