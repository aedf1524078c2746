"""The Python engine, against loops that use nothing of the package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest

from fastgradcheck.evaluation.engines import python
from fastgradcheck.evaluation.engines.python import PythonEngine
from fastgradcheck.evaluation.plans import Stencils
from fastgradcheck.problem.problem import Objective
from tests.cases.interpreted import collect, draw, flat_cost, objective, run_script, stencils


def one_by_one(subject: Objective, points: list[np.ndarray]) -> np.ndarray:
    """J at flat points, each by a call of its own."""
    return np.array([subject.cost(subject.parameters.unflatten(p), *subject.args) for p in points])


def moved(subject: Objective, plan: Stencils) -> list[np.ndarray]:
    points = []
    for i, values in zip(plan.index, plan.points, strict=True):
        for value in values:
            points.append(np.array(subject.theta, plan.points.dtype))
            points[-1][i] = value
    return points


# Costs, one per way in which theta can be given.


class Layer(NamedTuple):
    W: np.ndarray
    b: np.ndarray


@dataclass
class Model:
    W: np.ndarray
    slope: float
    name: str = "net"


def nest_cost(p):
    return np.sum(np.tanh(p["layers"][0]["W"] @ p["layers"][1]["b"])) + np.sum(p["c"] ** 2)


def dict_cost(p):
    return np.sum(np.tanh(p["W"] @ p["b"]))


def layer_cost(p):
    return np.sum(np.tanh(p.W @ p.b))


def model_cost(m):
    return m.slope * np.sum(np.cos(m.W)) if m.name == "net" else None


def scalar_cost(x):
    return x**3


THETAS = {
    "flat": (flat_cost, draw(7)),
    "matrix": (flat_cost, draw(3, 2)),
    "scalar": (scalar_cost, 1.5),
    "0-d": (scalar_cost, np.array(1.5)),
    "dict": (dict_cost, {"W": draw(3, 2), "b": draw(2)}),
    "nest": (nest_cost, {"layers": [{"W": draw(3, 2)}, {"b": draw(2)}], "c": draw(2)}),
    "namedtuple": (layer_cost, Layer(draw(3, 2), draw(2))),
    "dataclass": (model_cost, Model(draw(3, 2), 0.5)),
}


class TestValues:
    @pytest.mark.parametrize("kind", THETAS)
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    def test_stencils_are_what_separate_calls_give(self, kind, dtype):
        cost, theta = THETAS[kind]
        subject = objective(cost, theta)
        subject = Objective(cost, (), subject.parameters, subject.theta.astype(dtype))
        plan = stencils(subject, 1e-3, -1e-3, 0.5)
        expected = one_by_one(subject, moved(subject, plan)).reshape(len(plan), 3)
        np.testing.assert_array_equal(collect(PythonEngine(subject), plan), expected)

    @pytest.mark.parametrize("kind", THETAS)
    def test_complex_stencils(self, kind):
        subject = objective(*THETAS[kind])
        plan = stencils(subject, 1e-30j)
        expected = one_by_one(subject, moved(subject, plan)).reshape(len(plan), 1)
        values = collect(PythonEngine(subject), plan)
        assert values.dtype == np.complex128
        np.testing.assert_array_equal(values, expected)
        assert values.imag.any()

    def test_an_empty_plan_yields_nothing(self):
        subject = objective(flat_cost, draw(3))
        assert list(PythonEngine(subject).evaluate(stencils(subject, 1.0).rows(slice(0, 0)))) == []

    def test_non_finite_values_are_values(self):
        subject = objective(lambda x: float("nan") if x[1] > 1 else float("inf"), np.zeros(2))
        values = collect(PythonEngine(subject), stencils(subject, 2.0))
        np.testing.assert_array_equal(values, [[np.inf], [np.nan]])

    def test_integers_and_0d_arrays_are_scalars(self):
        subject = objective(lambda x: 3 if x[0] else np.array(4.5), np.zeros(2))
        values = collect(PythonEngine(subject), stencils(subject, 1.0))
        np.testing.assert_array_equal(values, [[3.0], [4.5]])

    def test_a_cost_that_writes_to_theta_spoils_no_later_row(self):
        def cost(x):
            value = float(np.sum(x * np.arange(1, 6)))
            x[np.flatnonzero(x != 1)] = 50.0
            return value

        subject = objective(cost, np.ones(5))
        values = collect(PythonEngine(subject), stencils(subject, 0.5))
        np.testing.assert_array_equal(values[:, 0], 15 + 0.5 * np.arange(1, 6))

    def test_a_cost_that_rebinds_entries_of_its_nest_still_sees_every_step(self):
        def cost(p):
            for layer in (p, *p.get("layers", ())):
                layer["W"] = layer["W"].copy()
            return float(sum(np.sum(layer["W"]) for layer in (p, *p.get("layers", ()))))

        for theta in ({"W": np.zeros(2)}, {"layers": [{"W": np.zeros(2)}], "W": np.zeros(1)}):
            subject = objective(cost, theta)
            values = collect(PythonEngine(subject), stencils(subject, 0.25, 0.5))
            np.testing.assert_array_equal(values, [[0.25, 0.5]] * len(values))

    def test_numpy_warnings_of_the_cost_reach_the_user(self):
        subject = objective(lambda x: float(np.exp(x[0])), np.array([1.0]))
        with pytest.warns(RuntimeWarning, match="overflow") as caught:
            collect(PythonEngine(subject), stencils(subject, 1e4))
        assert len(caught) == 1


class TestComplexSupport:
    @pytest.mark.parametrize("kind", ["flat", "dict", "nest", "scalar"])
    def test_where_it_works(self, kind):
        assert PythonEngine(objective(*THETAS[kind])).supports_complex() is None

    def test_the_reason_is_an_exception(self):
        reason = PythonEngine(objective(lambda x: float(np.sum(x)), np.ones(3))).supports_complex()
        assert reason is not None
        assert reason.startswith("cost raised ComplexWarning for a complex theta: ")

    def test_the_reason_is_a_real_value(self):
        reason = PythonEngine(objective(lambda x: np.sum(abs(x)), np.ones(3))).supports_complex()
        assert reason is not None
        assert reason.startswith("cost returned a real number for a complex theta")


class TestPace:
    def test_chunks_follow_the_measured_time(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(python.time, "perf_counter", lambda: now[0])

        def cost(x):
            now[0] += 0.02
            return 0.0

        engine = PythonEngine(objective(cost, np.zeros(8)))
        assert np.isnan(engine.t_cost)
        sizes = [len(v) for _, v in engine.evaluate(stencils(engine.objective, 1.0, -1.0))]
        # One row to measure with, then at most 0.15 s / 0.04 s per row.
        assert sizes[0] == 1
        assert max(sizes) <= 3
        assert 0.02 <= engine.t_cost < 0.1

    def test_slow_costs_come_row_by_row_and_lazily(self):
        calls = []

        def cost(x):
            calls.append(1)
            return 0.0

        engine = PythonEngine(objective(cost, np.zeros(50)))
        engine.t_cost = 10.0
        rows, _ = next(engine.evaluate(stencils(engine.objective, 1.0)))
        assert (rows, len(calls)) == (slice(0, 1), 1)

    def test_a_small_serial_check_imports_neither_numba_nor_joblib(self):
        script = """
            import sys
            import numpy as np
            from fastgradcheck.evaluation.engines.python import PythonEngine
            from fastgradcheck.problem.parameters import describe
            from fastgradcheck.evaluation.plans import Directions, Stencils
            from fastgradcheck.problem.problem import Objective
            theta = np.zeros(5)
            engine = PythonEngine(Objective(lambda x: float(x.sum()), (), describe(theta), theta))
            region = np.array([[0, 5, 0, 1, 0, 5]])
            for plan in (Stencils(np.arange(5), theta[:, None] + 1),
                         Directions(region, np.array([1], np.uint64), np.ones((1, 2)))):
                list(engine.evaluate(plan))
            print({"numba", "joblib", "scipy"} & set(sys.modules))
        """
        assert run_script(script).stdout == "set()\n"
