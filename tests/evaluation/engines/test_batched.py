"""Many points in one call, against calls of one point each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation.choice import open_engine
from fastgradcheck.evaluation.engines.batched import BatchedEngine
from fastgradcheck.evaluation.hashing import key
from fastgradcheck.evaluation.plans import Directions, Plan, Stencils
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective


class Layer(NamedTuple):
    W: Any
    b: Any


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape)


THETAS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "flat": (lambda t: np.sin(t).sum(axis=-1), draw(6)),
    "scalar": (lambda t: np.sin(t), 0.5),
    "0-d": (lambda t: np.sin(t), np.array(0.5)),
    "matrix": (lambda t: np.sin(t).sum(axis=(-1, -2)), draw(2, 3)),
    "nest": (
        lambda t: np.tanh(t["net"].W @ t["net"].b[..., np.newaxis]).sum(axis=(-1, -2)) + t["c"],
        {"net": Layer(draw(3, 2), draw(2)), "c": 0.25},
    ),
}


def objective(cost: Any, theta: Any, batch: int = 4, dtype: Any = np.float64) -> Objective:
    parameters = describe(theta)
    flat = parameters.flatten(theta).astype(dtype)
    flat.flags.writeable = False
    return Objective(cost, (), parameters, flat, batch)


def plans(size: int, dtype: Any = np.float64) -> list[Plan]:
    index = np.arange(size)
    points = draw(size, 3).astype(dtype)
    region = np.array([[0, size, 0, 1, 0, size]])
    keys = np.array([key(0, d) for d in range(5)])
    offsets = 1e-3 * np.outer(np.ones(5), [1.0, -1.0, 2.0, -2.0])
    return [Stencils(index, points), Directions(np.repeat(region, 5, axis=0), keys, offsets)]


def points_of(subject: Objective, plan: Plan) -> list[np.ndarray]:
    work, found = np.array(subject.theta), []
    for _ in plan.visit(work, subject.theta):
        found.append(work.copy())
    return found


def collected(subject: Objective, plan: Plan) -> np.ndarray:
    values = np.full((len(plan), plan.width), np.nan, complex if plan.is_complex else float)
    for rows, chunk in BatchedEngine(subject).evaluate(plan):
        assert np.isnan(values[rows]).all(), "a row came twice"
        values[rows] = chunk
    return values


@pytest.mark.parametrize("batch", [1, 3, 64])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", THETAS)
def test_values_are_those_of_single_calls(name: str, dtype: Any, batch: int) -> None:
    cost, theta = THETAS[name]
    subject = objective(cost, theta, batch, dtype)
    for plan in plans(subject.parameters.size, dtype):
        expected = [
            cost(subject.parameters.unflatten(point[np.newaxis]))[0]
            for point in points_of(subject, plan)
        ]
        found = collected(subject, plan).ravel()
        # Sums over other shapes may be added in another order: a few units in the last place.
        np.testing.assert_allclose(found, expected, rtol=16 * float(np.finfo(dtype).eps))


def test_batches_are_no_larger_than_asked_for() -> None:
    seen = []

    def cost(t: np.ndarray) -> np.ndarray:
        seen.append(len(t))
        return t.sum(axis=1)

    subject = objective(cost, draw(50), batch=7)
    collected(subject, plans(50)[0])
    assert max(seen) <= 7
    assert sum(seen) == 150


def test_it_is_the_engine_of_such_a_cost() -> None:
    assert open_engine(objective(np.sum, draw(2))).name == "batched"
    assert open_engine(objective(np.sum, draw(2), batch=0)).name == "python"


def test_an_exception_has_its_address() -> None:
    def cost(t: np.ndarray) -> np.ndarray:
        if (t[:, 3] > 5).any():
            raise ValueError("too far")
        return t.sum(axis=1)

    subject = objective(cost, draw(6))
    plan = Stencils(np.array([1, 2, 3, 4]), np.array([[9.0, 8.0]] * 4))
    with pytest.raises(CostEvaluationError, match=r"ValueError at theta\[3\] \+ .*: too far") as e:
        collected(subject, plan)
    assert e.value.address == "theta[3]"
    assert e.value.step == 9.0 - subject.theta[3]


def test_a_batch_that_alone_fails_is_told_by_its_first_point() -> None:
    def cost(t: np.ndarray) -> np.ndarray:
        if len(t) > 1:
            raise ValueError("one at a time, please")
        return t.sum(axis=1)

    with pytest.raises(CostEvaluationError, match="one at a time, please"):
        collected(objective(cost, draw(40)), plans(40)[0])


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: out of it")])
def test_batches_are_halved_where_memory_is_short(error: Exception) -> None:
    seen = []

    def cost(t: np.ndarray) -> np.ndarray:
        if len(t) > 5:
            raise error
        seen.append(len(t))
        return t.sum(axis=1)

    subject = objective(cost, draw(60), batch=16)
    found = collected(subject, plans(60)[0])
    expected = [point.sum() for point in points_of(subject, plans(60)[0])]
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-13)
    assert max(seen) <= 4 < len(seen)


def test_a_single_point_that_needs_too_much_memory_fails() -> None:
    def cost(t: np.ndarray) -> np.ndarray:
        raise MemoryError

    with pytest.raises(CostEvaluationError, match="MemoryError"):
        collected(objective(cost, draw(3)), plans(3)[0])


def test_a_value_that_is_no_number_is_a_value() -> None:
    with np.errstate(invalid="ignore"):
        subject = objective(lambda t: np.sqrt(t).sum(axis=1), np.ones(3))
        found = collected(subject, Stencils(np.array([1]), np.array([[-1.0, 4.0]])))
    np.testing.assert_array_equal(found, [[np.nan, 4.0]])


def test_ctrl_c_is_not_caught() -> None:
    def cost(t: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collected(objective(cost, draw(3)), plans(3)[0])


class Odd(BaseException):
    def __str__(self) -> str:
        raise RuntimeError("do not ask")


def test_exceptions_of_any_class_are_failures_of_the_cost() -> None:
    def cost(t: np.ndarray) -> np.ndarray:
        raise Odd

    subject = objective(cost, draw(3))
    with pytest.raises(CostEvaluationError, match=r"raised Odd at .*: its message cannot be shown"):
        collected(subject, plans(3)[0])
    with pytest.raises(CostEvaluationError, match="cost raised Odd: its message cannot be shown"):
        BatchedEngine(subject).value(subject.theta)
    assert "cost raised Odd for a complex theta" in str(BatchedEngine(subject).supports_complex())


def test_complex_steps() -> None:
    assert BatchedEngine(objective(*THETAS["flat"])).supports_complex() is None
    real = objective(lambda t: abs(t).sum(axis=1), draw(3))
    assert "a real number" in str(BatchedEngine(real).supports_complex())
    broken = objective(lambda t: np.floor(t).sum(axis=1), draw(3))
    assert "cost raised TypeError" in str(BatchedEngine(broken).supports_complex())
    subject = objective(*THETAS["flat"])
    plan = Stencils(np.arange(6), subject.theta[:, np.newaxis] + 1e-30j)
    np.testing.assert_allclose(collected(subject, plan)[:, 0].imag / 1e-30, np.cos(subject.theta))
