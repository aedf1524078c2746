"""The Python engine, alone and through joblib, against loops that use nothing of the package."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

from fastgradcheck.errors import CostEvaluationError, GradcheckInputError
from fastgradcheck.evaluation import hashing, parallel, plans
from fastgradcheck.evaluation.choice import open_engine
from fastgradcheck.evaluation.engines import python
from fastgradcheck.evaluation.engines.python import PythonEngine
from fastgradcheck.evaluation.plans import Directions, Plan, Stencils
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective
from fastgradcheck.problem.value import complaint

WORKERS = [
    pytest.param({}, id="serial"),
    pytest.param({"n_jobs": 2}, id="processes"),
    pytest.param({"n_jobs": 2, "backend": "threading"}, id="threads"),
]


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send even the smallest plan to the workers, in many chunks."""
    monkeypatch.setattr(parallel, "WORTH_SENDING_SECONDS", 0.0)
    for module in (parallel, python):
        monkeypatch.setattr(module, "CHUNK_SECONDS", 1e-9)


def objective(cost: Any, theta: Any, *args: Any) -> Objective:
    parameters = describe(theta)
    flat = parameters.flatten(theta)
    flat.flags.writeable = False
    return Objective(cost, args, parameters, flat)


def stencils(subject: Objective, *offsets: complex) -> Stencils:
    points = subject.theta[:, None] + np.array(offsets)
    if not np.iscomplexobj(points):
        points = points.astype(subject.theta.dtype)
    return Stencils(np.arange(len(points)), points)


def collect(engine: PythonEngine, plan: Plan) -> np.ndarray:
    """All values of a plan; every row must come exactly once."""
    values = np.full((len(plan), plan.width), np.nan, complex if plan.is_complex else float)
    seen = np.zeros(len(plan), int)
    for rows, chunk in engine.evaluate(plan):
        values[rows] = chunk
        seen[rows] += 1
    assert (seen == 1).all()
    return values


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


def flat_cost(x):
    return np.sum(np.sin(x) * x)


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


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape)


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

    @pytest.mark.parametrize("workers", WORKERS)
    def test_same_bits_for_every_number_of_workers_and_chunks(self, workers, send):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(50, 30))

        def cost(x, X):
            return np.mean(np.tanh(X @ x.reshape(30, 4)) ** 2)

        subject = objective(cost, rng.normal(size=120), X)
        regions = np.array([[0, 120, 0, 1, 0, 120], [0, 4, 2, 9, 1, 3]] * 10)
        directions = Directions(regions, np.arange(20, dtype=np.uint64), np.full((20, 2), 0.1))
        for plan in (stencils(subject, 1e-5, -1e-5), directions):
            whole = python.Loop(subject, False).values(plan)
            np.testing.assert_array_equal(
                collect(open_engine(subject, "python", **workers), plan), whole
            )

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


# Directions, against SplitMix64 in Python's own integers.


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
    def test_points(self, dtype, scaled, compiled, offsets, monkeypatch):
        monkeypatch.setattr(plans, "LARGE_REGION", 0 if compiled else 100)
        theta = draw(19).astype(dtype)
        subject = objective(flat_cost, theta)
        scale = np.linspace(0.5, 2.0, 19) if scaled else None
        keys = np.array([0, 1, 2**63 + 5, 2**64 - 1], np.uint64)
        plan = Directions(np.array(REGIONS), keys, np.array([offsets] * 4), scale)
        expected = [
            pushed(theta, region, int(key), offset, scale)
            for region, key in zip(REGIONS, keys, strict=True)
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


# Failures of the cost.


class Picky(Exception):
    """Cannot be rebuilt from its args."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class TestFailures:
    @pytest.mark.parametrize("workers", WORKERS)
    def test_an_exception_tells_address_step_and_cause(self, workers, send):
        start = np.ones((4, 6))

        def cost(p):
            if p["W1"][3, 5] < 1:
                raise ValueError("log of a negative number", 17)
            return float(np.sum(p["W1"]))

        engine = open_engine(objective(cost, {"b": np.ones(2), "W1": start}), "python", **workers)
        with pytest.raises(CostEvaluationError) as caught:
            collect(engine, stencils(engine.objective, 0.25, -0.125))
        assert str(caught.value) == (
            "cost raised ValueError at W1[3, 5] - 0.125: ('log of a negative number', 17). "
            "The cost must be defined in a small neighbourhood of theta; move theta away from the "
            "edge of its domain, or pass bounds=."
        )
        assert caught.value.address == "W1[3, 5]"
        assert caught.value.step == -0.125
        cause = caught.value.__cause__
        assert type(cause) is ValueError
        assert cause.args == ("log of a negative number", 17)

    def test_a_worker_sends_the_traceback_as_a_note(self, send):
        def cost(x):
            return 1.0 / float(x[2] == 0)

        engine = open_engine(objective(cost, np.zeros(4)), "python", n_jobs=2)
        with pytest.raises(CostEvaluationError, match=r"ZeroDivisionError at theta\[2\] \+ 0\.5"):
            collect(engine, stencils(engine.objective, 0.5))
        with pytest.raises(CostEvaluationError) as caught:
            collect(engine, stencils(engine.objective, 0.5))
        notes = "".join(caught.value.__cause__.__notes__)
        assert "In a worker process:" in notes
        assert "return 1.0 / float(x[2] == 0)" in notes

    def test_an_exception_that_cannot_travel_is_replaced(self, send):
        def cost(x):
            if x[1] > 0:
                raise Picky("one", "two")
            return 0.0

        engine = open_engine(objective(cost, np.zeros(3)), "python", n_jobs=2)
        with pytest.raises(CostEvaluationError, match=r"raised Picky at theta\[1\]") as caught:
            collect(engine, stencils(engine.objective, 0.5))
        assert str(caught.value.__cause__) == "Picky: one and two"

    def test_along_a_direction(self):
        def cost(p):
            raise FloatingPointError

        subject = objective(cost, {"a": np.ones(2), "W": np.ones((2, 3))})
        region = np.array([[2, 3, 1, 2, 0, 3]])
        plan = Directions(region, np.array([1], np.uint64), np.array([[1e-3, -1e-3]]))
        with pytest.raises(CostEvaluationError) as caught:
            collect(PythonEngine(subject), plan)
        assert str(caught.value).startswith(
            "cost raised FloatingPointError at W + 0.001 * (a random direction). The cost must"
        )
        assert (caught.value.address, caught.value.step) == ("W", 1e-3)

    def test_along_the_imaginary_axis(self):
        def cost(x):
            raise TypeError("no complex numbers here.")

        engine = PythonEngine(objective(cost, np.ones(2)))
        with pytest.raises(CostEvaluationError, match=r"theta\[0\] \+ 1e-20j: no complex numbers"):
            collect(engine, stencils(engine.objective, 1e-20j))

    @pytest.mark.parametrize("workers", WORKERS)
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, "cost returned None: does it end with a return statement, in every branch?"),
            (np.ones(3), r"cost returned an array of shape \(3,\): it must return one number"),
            (
                np.ones((1, 1)),
                r"cost returned an array of shape \(1, 1\): it must .* by \.item\(\)",
            ),
            (2 + 1j, r"cost returned the complex number \(2\+1j\): it must return a real one"),
            ("3.5", "cost returned a str: it must return one number"),
            (True, "cost returned a bool: it must return one number"),
        ],
        ids=str,
    )
    def test_values_that_are_no_scalars(self, value, text, workers, send):
        subject = objective(lambda x: value if x[2] > 0 else 1.0, np.zeros(3))
        engine = open_engine(subject, "python", **workers)
        with pytest.raises(CostEvaluationError, match=r"^at theta\[2\] \+ 0\.5, " + text) as caught:
            collect(engine, stencils(engine.objective, 0.5))
        assert caught.value.address == "theta[2]"

    def test_a_real_value_at_a_complex_point(self):
        engine = PythonEngine(objective(lambda x: float(x.real.sum()), np.zeros(3)))
        with pytest.raises(CostEvaluationError, match="a real number for a complex theta"):
            collect(engine, stencils(engine.objective, 1e-20j))

    def test_complaints_about_what_does_not_convert(self):
        class Tensor:
            def __array__(self, dtype=None, copy=None):
                raise RuntimeError("call detach() first")

        assert complaint(Tensor()) == (
            "cost returned a Tensor, which does not convert to a number (call detach() first)."
        )

    def test_the_error_pickles(self):
        error = pickle.loads(pickle.dumps(CostEvaluationError("text", "W1[3, 5]", 0.5)))
        assert (str(error), error.address, error.step) == ("text", "W1[3, 5]", 0.5)

    def test_value_at_a_point(self):
        def cost(x):
            if x[0] > 1:
                raise ValueError("too large.")
            return None if x[0] < 0 else x[0]

        engine = PythonEngine(objective(cost, np.ones(1)))
        assert engine.value(np.array([0.5])) == 0.5
        assert type(engine.value(np.array([0.5]))) is float
        with pytest.raises(CostEvaluationError, match=r"^cost raised ValueError: too large\.$"):
            engine.value(np.array([1.5]))
        with pytest.raises(CostEvaluationError, match=r"^cost returned None"):
            engine.value(np.array([-1.0]))


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
    def test_chunks_follow_the_measured_time(self):
        def cost(x):
            time.sleep(0.02)
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

    def test_the_loop_adds_microseconds(self):
        # Measured: 0.3 microseconds, the empty cost included. Ten times that for a busy machine; an
        # `unflatten` or a NumPy call in the loop would cost more in the best of five.
        def cost(x):
            return 0.0

        subject = objective(cost, np.zeros(5000))
        plan, engine = stencils(subject, 1.0, -1.0), PythonEngine(subject)
        best = np.inf
        for _ in range(5):
            began = time.perf_counter()
            collect(engine, plan)
            best = min(best, time.perf_counter() - began)
        assert best / (2 * len(plan)) < 3e-6

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


# Workers.


def run_script(script: str, *args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


class TestNumberOfWorkers:
    def test_one_process_by_default(self):
        assert PythonEngine(objective(flat_cost, draw(2))).n_jobs == 1

    def test_as_asked(self):
        assert open_engine(objective(flat_cost, draw(2)), "python", n_jobs=3).n_jobs == 3
        assert open_engine(objective(flat_cost, draw(2)), "python", n_jobs=-1).n_jobs >= 1

    def test_as_configured_around(self):
        import joblib

        with joblib.parallel_config(backend="threading", n_jobs=2):
            assert open_engine(objective(flat_cost, draw(2))).n_jobs == 2
            assert open_engine(objective(flat_cost, draw(2)), "python", n_jobs=1).n_jobs == 1

    @pytest.mark.parametrize("n_jobs", [0, True, 1.5, "2"])
    def test_refused(self, n_jobs):
        with pytest.raises(GradcheckInputError, match="is not a number of workers"):
            open_engine(objective(flat_cost, draw(2)), "python", n_jobs=n_jobs)

    def test_tiny_work_stays_here(self):
        def cost(x):
            return float(os.getpid())

        engine = open_engine(objective(cost, np.zeros(3)), "python", n_jobs=2)
        assert (collect(engine, stencils(engine.objective, 1.0)) == os.getpid()).all()


class TestWorkers:
    def test_threads_are_used_inside_a_threading_config(self, send):
        import joblib

        def cost(x):
            time.sleep(0.01)
            return float(threading.get_ident() != main) + float(os.getpid() != pid)

        main, pid = threading.get_ident(), os.getpid()
        with joblib.parallel_config(backend="threading", n_jobs=2):
            engine = open_engine(objective(cost, np.zeros(6)))
            values = collect(engine, stencils(engine.objective, 1.0))
        # The first row is measured here.
        assert values[:, 0].tolist() == [0.0] + [1.0] * 5

    def test_processes_see_one_blas_thread_and_large_args_as_maps(self, send):
        def cost(x, X, scratch):
            from threadpoolctl import threadpool_info

            blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
            scratch[:] = x.sum()
            one = all(pool["num_threads"] == 1 for pool in blas)
            return 1e6 * (os.getpid() == pid) + 10 * isinstance(X, np.memmap) + one

        pid = os.getpid()
        X, scratch = np.ones(200_000), np.zeros(200_000)
        engine = open_engine(objective(cost, np.zeros(6), X, scratch), "python", n_jobs=2)
        values = collect(engine, stencils(engine.objective, 1.0))
        assert values[:, 0].tolist() == [1e6 + 1] + [11.0] * 5

    def test_an_early_close_is_silent_and_the_next_call_works(self, send):
        def cost(x):
            time.sleep(0.02)
            return float(x.sum())

        engine = open_engine(objective(cost, np.zeros(40)), "python", n_jobs=2)
        engine.t_cost = 0.02
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            chunks = engine.evaluate(stencils(engine.objective, 1.0))
            next(chunks)
            began = time.perf_counter()
            chunks.close()
            assert time.perf_counter() - began < 5.0
        assert (collect(engine, stencils(engine.objective, 1.0)) == 1.0).all()
        engine.close()

    @pytest.mark.parametrize("where", ["closure", "args"])
    def test_what_does_not_pickle_is_named(self, where, send):
        lock = threading.Lock()

        def held(x):
            with lock:
                return float(x.sum())

        def given(x, X, y):
            return float(x.sum())

        if where == "closure":
            subject = objective(held, np.zeros(3))
            text = r"^cost cannot be sent to worker processes: its closure variable 'lock' \(Typ"
        else:
            subject = objective(given, np.zeros(3), np.ones(3), lock)
            text = r"^args\[1\] cannot be sent to worker processes: it does not pickle \(TypeError"
        with pytest.raises(GradcheckInputError, match=text) as caught:
            collect(open_engine(subject, "python", n_jobs=2), stencils(subject, 1.0))
        assert str(caught.value).endswith(
            "Create such an object inside the cost, or use n_jobs=1, or threads: "
            '`with joblib.parallel_config(backend="threading"): ...`.'
        )
        engine = open_engine(subject, "python", n_jobs=2, backend="threading")
        assert (collect(engine, stencils(subject, 1.0)) == 1.0).all()

    def test_a_module_that_workers_cannot_import_is_named(self, send, monkeypatch):
        import types

        module = types.ModuleType("only_in_this_process")
        exec("def cost(x):\n    return float(x.sum())", module.__dict__)
        monkeypatch.setitem(sys.modules, "only_in_this_process", module)
        engine = open_engine(objective(module.cost, np.zeros(5)), "python", n_jobs=2)
        with pytest.raises(GradcheckInputError) as caught:
            collect(engine, stencils(engine.objective, 1.0))
        assert "cannot load what they were sent (ModuleNotFoundError: No module" in str(
            caught.value
        )
        assert "only_in_this_process" in str(caught.value)
        assert "add its folder to PYTHONPATH" in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
class TestDeath:
    def subject(self, flag: Any, *, always: bool) -> Objective:
        pid = os.getpid()

        def cost(x):
            time.sleep(0.005)
            if x[7] > 0 and os.getpid() != pid and (always or not flag.exists()):
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return float(np.sum(x * np.arange(1, 13)))

        return objective(cost, np.zeros(12))

    def test_a_dead_worker_is_told_and_its_rows_are_done_again(self, tmp_path, send):
        subject = self.subject(tmp_path / "died", always=False)
        engine = open_engine(subject, "python", n_jobs=2)
        values = collect(engine, stencils(subject, 1.0, -1.0))
        np.testing.assert_array_equal(values, np.outer(np.arange(1, 13), [1, -1]))
        [finding] = engine.findings
        assert finding.kind == "worker-died"
        assert finding.message.startswith(
            "A worker process died (exit code SIGKILL(-9)) with theta["
        )
        assert "of 12 rows) was evaluated again, one chunk at a time" in finding.message

    def test_a_second_death_ends_the_check(self, tmp_path, send):
        subject = self.subject(tmp_path / "died", always=True)
        engine = open_engine(subject, "python", n_jobs=2)
        with pytest.raises(CostEvaluationError) as caught:
            collect(engine, stencils(subject, 1.0))
        text = str(caught.value)
        assert text.startswith("a worker process died while it evaluated J at theta[7] (exit code")
        assert "needs more memory than there is" in text
        assert caught.value.address == "theta[7]"
        assert len(engine.findings) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="interrupts a process group")
@pytest.mark.parametrize("backend", ["None", "'threading'"])
@pytest.mark.parametrize("delay", [0.2, 2.5])
def test_ctrl_c_stops_within_a_second_and_workers_keep_quiet(backend, delay):
    script = f"""
        import os, signal, sys, threading, time
        import numpy as np
        import joblib
        from fastgradcheck.evaluation.engines.python import PythonEngine
        from fastgradcheck.problem.parameters import describe
        from fastgradcheck.evaluation.plans import Stencils
        from fastgradcheck.problem.problem import Objective
        def cost(x):
            time.sleep(0.05)
            return float(x.sum())
        theta = np.zeros(1000)
        objective = Objective(cost, (), describe(theta), theta)
        engine = open_engine(objective, "python", n_jobs=2, backend={backend})
        engine.t_cost = 0.05
        def press():
            global pressed
            time.sleep({delay})
            pressed = time.perf_counter()
            os.killpg(os.getpgid(0), signal.SIGINT)
        threading.Thread(target=press, daemon=True).start()
        try:
            for rows, values in engine.evaluate(Stencils(np.arange(1000), theta[:, None] + 1)):
                pass
        except KeyboardInterrupt:
            print(time.perf_counter() - pressed)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=30,
        start_new_session=True,
        check=False,
    )
    assert done.stderr == ""
    assert float(done.stdout) < 1.0


def test_a_missing_main_guard_is_explained(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        textwrap.dedent("""
        import multiprocessing
        import numpy as np
        from fastgradcheck.evaluation.engines.python import PythonEngine
        from fastgradcheck.problem.parameters import describe
        from fastgradcheck.evaluation.plans import Stencils
        from fastgradcheck.problem.problem import Objective
        def cost(x):
            return float(x.sum())
        if multiprocessing.current_process().name == "MainProcess":
            process = multiprocessing.get_context("spawn").Process(target=print)
            process.start()
            process.join()
        else:
            theta = np.zeros(3)
            engine = open_engine(Objective(cost, (), describe(theta), theta), "python", n_jobs=2)
            engine.t_cost = 1.0
            list(engine.evaluate(Stencils(np.arange(3), theta[:, None] + 1)))
        """)
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "GradcheckInputError: worker processes cannot be started while" in done.stderr
    assert 'put its main part under `if __name__ == "__main__":`' in done.stderr


class Counted:
    """Counts how often it is pickled."""

    times = 0

    def __init__(self, data: np.ndarray) -> None:
        self.data = data

    def __reduce__(self):
        Counted.times += 1
        return Counted, (self.data,)


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0
        ) as cluster,
        distributed.Client(cluster),
    ):
        yield cluster


@pytest.mark.usefixtures("cluster", "send")
class TestDask:
    def test_theta_and_args_are_sent_once(self):
        import joblib

        def cost(x, counted):
            time.sleep(0.002)
            return float(x.sum() + counted.data.sum()) if os.getpid() != pid else 0.0

        pid = os.getpid()
        subject = objective(cost, np.zeros(200), Counted(np.ones(1000)))
        Counted.times = 0
        with joblib.parallel_config(backend="dask"):
            engine = PythonEngine(subject)
            assert engine.n_jobs == 2
            values = collect(engine, stencils(subject, 1.0))
        assert values[:, 0].tolist() == [0.0] + [1001.0] * 199
        # The dry run, and a scatter that looks at its size, pickles and may hash it; not 199 tasks.
        assert Counted.times < 10

    def test_a_killed_worker_is_survived(self, tmp_path):
        import joblib

        flag = tmp_path / "died"

        def cost(x):
            time.sleep(0.01)
            if x[20] > 0 and not flag.exists():
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return float(np.sum(x * np.arange(1, 41)))

        subject = objective(cost, np.zeros(40))
        with joblib.parallel_config(backend="dask"):
            values = collect(PythonEngine(subject), stencils(subject, 1.0))
        np.testing.assert_array_equal(values[:, 0], np.arange(1, 41))
        assert flag.exists()

    def test_an_exception_keeps_address_and_cause(self):
        import joblib

        def cost(x):
            if x[5] > 0:
                raise ValueError("outside")
            return 0.0

        subject = objective(cost, np.zeros(8))
        with (
            joblib.parallel_config(backend="dask"),
            pytest.raises(CostEvaluationError, match=r"ValueError at theta\[5\] \+ 1") as caught,
        ):
            collect(PythonEngine(subject), stencils(subject, 1.0))
        assert caught.value.__cause__.args == ("outside",)
