"""The Numba engine against plain NumPy loops, and every hazard of Numba that it knows."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from numba.experimental import jitclass
from numba.typed import List
from threadpoolctl import threadpool_info

import fastgradcheck
from fastgradcheck.errors import CostEvaluationError, GradcheckInputError, GradcheckTypeError
from fastgradcheck.evaluation.engines import kernels
from fastgradcheck.evaluation.engines import numba as engine_module
from fastgradcheck.evaluation.engines.adapt import adapt
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.engines.numba import NumbaEngine
from fastgradcheck.evaluation.plans import Directions, Plan, Stencils
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective

SOURCES = Path(fastgradcheck.__path__[0]).parent
THREADS = int(numba.config.NUMBA_NUM_THREADS)
needs_threads = pytest.mark.skipif(THREADS < 2, reason="Numba has one thread here")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")


@numba.njit
def rational(theta, X):
    """Only + - * /, which IEEE 754 fixes to the last bit in NumPy as in compiled code."""
    total = 0.0
    for r in range(X.shape[0]):
        s = 0.0
        for i in range(theta.size):
            s += theta[i] * X[r, i % X.shape[1]]
        total += s / (1.0 + s * s)
    return total


THETA = np.linspace(-1.0, 1.0, 37)
X = np.cos(np.arange(12.0)).reshape(4, 3)


def objective(
    cost: Callable[..., Any], args: tuple[Any, ...] = (), theta: Any = THETA
) -> Objective:
    parameters = describe(theta)
    flat = parameters.flatten(theta)
    flat.flags.writeable = False
    return Objective(cost, args, parameters, flat)


def stencils(theta: Any, step: complex = 1e-4) -> Stencils:
    return Stencils(np.arange(theta.size), np.stack([theta + step, theta - step], axis=1))


def directions(theta: Any, scale: Any = None) -> Directions:
    # The whole as one row, and the part of a 4 x 9 matrix.
    regions = np.array([[0, theta.size, 0, 1, 0, theta.size], [1, 9, 1, 3, 2, 7]])
    offsets = np.array([[1e-3, -1e-3, 2e-3], [0.5, -0.25, 1e-9]])
    return Directions(regions, np.array([3, 2**63 + 5], np.uint64), offsets, scale)


def gathered(engine: NumbaEngine, plan: Plan) -> Any:
    """All values in order; every row is answered exactly once."""
    values = np.full((len(plan), plan.width), np.nan, complex if plan.is_complex else float)
    seen = np.zeros(len(plan), int)
    for rows, chunk in engine.evaluate(plan):
        values[rows] = chunk
        seen[rows] += 1
    assert (seen == 1).all()
    return values


def hash_words(key: int, index: Any) -> Any:
    """SplitMix64 in Python's integers, and the signed magnitude that it gives."""
    result = []
    for i in np.ravel(index).tolist():
        z = (int(key) + (i + 1) * 0x9E3779B97F4A7C15) % 2**64
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        z ^= z >> 31
        result.append((0.5 + (z >> 11) * 2.0**-53) * (1.0 - 2.0 * (z & 1)))
    return np.array(result)


def region_index(region: Any) -> Any:
    start, columns, row0, row1, column0, column1 = region.tolist()
    grid = np.arange(row0, row1)[:, None] * columns + np.arange(column0, column1)
    return (start + grid).ravel()


def points_of(plan: Plan, theta: Any) -> Iterator[Any]:
    """Every point of a plan, as NumPy makes it."""
    for r in range(len(plan)):
        for j in range(plan.width):
            point = theta.copy()
            if isinstance(plan, Stencils):
                point[plan.index[r]] = plan.points[r, j]
            else:
                index = region_index(plan.regions[r])
                move = plan.offsets[r, j] * hash_words(plan.keys[r], index)
                if plan.scale is not None:
                    move = move * plan.scale[index]
                point[index] = point[index] + move
            yield point


def looped(cost: Callable[..., Any], plan: Plan, theta: Any) -> Any:
    """The naive loop over Python calls of the cost."""
    values = [cost(point) for point in points_of(plan, theta)]
    return np.array(values).reshape(len(plan), plan.width)


def run_python(code: str, timeout: float = 120, **environment: str) -> str:
    """Standard output of a fresh interpreter, which has to end well."""
    preamble = "import numba\nimport numpy as np\nfrom test_engine_numba import *\n"
    path = os.pathsep.join([str(SOURCES), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", preamble + textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


# Values.


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n_jobs", [1, 2, None])
@pytest.mark.parametrize("kind", ["stencils", "directions", "scaled directions"])
def test_values_equal_those_of_a_plain_loop_bit_for_bit(kind, n_jobs, dtype):
    theta = THETA.astype(dtype)
    scale = 1.0 + np.arange(theta.size) / 7 if kind.startswith("scaled") else None
    plan = stencils(theta, dtype(1e-4)) if kind == "stencils" else directions(theta, scale)
    wanted = looped(lambda t: rational.py_func(t, X.astype(dtype)), plan, theta)
    if dtype == np.float32:
        # Python's loop keeps float32 for theta * X but compiled code may add in float64.
        wanted = looped(lambda t: rational(t, X.astype(dtype)), plan, theta)
    engine = NumbaEngine(objective(rational, (X.astype(dtype),), theta), n_jobs)
    np.testing.assert_array_equal(gathered(engine, plan), wanted)
    assert engine.findings == ()


def test_values_do_not_depend_on_threads_or_chunks(monkeypatch):
    theta = np.sin(np.arange(3000.0))
    plan = stencils(theta)
    wanted = gathered(NumbaEngine(objective(rational, (X,), theta), 1), plan)
    for n_jobs in range(1, THREADS + 1):
        for seconds in (1e-9, 1e-3, 10.0):
            monkeypatch.setattr(engine_module, "_CHUNK_SECONDS", seconds)
            engine = NumbaEngine(objective(rational, (X,), theta), n_jobs)
            np.testing.assert_array_equal(gathered(engine, plan), wanted)


def test_chunks_come_lazily_and_are_many_when_the_work_is_long(monkeypatch):
    monkeypatch.setattr(engine_module, "_CHUNK_SECONDS", 1e-4)
    chunks = NumbaEngine(objective(rational, (X,)), 1).evaluate(stencils(np.tile(THETA, 1)))
    first, values = next(chunks)
    assert first.start == 0
    assert values.shape == (first.stop, 2)
    chunks.close()
    plan = stencils(THETA)
    plan = Stencils(np.tile(plan.index, 100), np.tile(plan.points, (100, 1)))
    assert len(list(NumbaEngine(objective(rational, (X,)), 1).evaluate(plan))) > 3


def test_an_empty_plan_gives_no_chunk():
    plan = stencils(THETA).rows(slice(0, 0))
    assert list(NumbaEngine(objective(rational, (X,)), 2).evaluate(plan)) == []


def test_value_is_the_cost_at_theta_and_t_cost_is_known_then():
    engine = NumbaEngine(objective(rational, (X,)))
    assert math.isnan(engine.t_cost)
    assert engine.value(2 * THETA) == rational.py_func(2 * THETA, X)
    assert 0 < engine.t_cost < 1e-3
    assert engine.compile_seconds > 0
    engine.close()


def test_non_finite_values_are_values():
    cost = numba.njit(lambda theta, X: np.sqrt(theta[0]) / X[0, 0], error_model="numpy")
    engine = NumbaEngine(objective(cost, (np.zeros((1, 1)),), np.array([1.0, 2.0])), 1)
    plan = Stencils(np.array([0, 0]), np.array([[4.0, -4.0], [0.0, np.nan]]))
    np.testing.assert_array_equal(gathered(engine, plan), [[np.inf, np.nan], [np.nan, np.nan]])


def test_complex_steps_give_the_derivative_to_machine_precision():
    cost = numba.njit(lambda theta: (theta * theta * theta).sum())
    engine = NumbaEngine(objective(cost), 2)
    assert engine.supports_complex() is None
    values = gathered(engine, Stencils(np.arange(37), (THETA + 1e-30j)[:, None]))
    # The imaginary part of (x + ih)^3 is 3 x^2 h - h^3; three products round it by 2e-16 each.
    np.testing.assert_allclose(values.imag[:, 0] / 1e-30, 3 * THETA**2, rtol=1e-15, atol=1e-59)
    plan = directions(THETA)
    plan = Directions(plan.regions, plan.keys, plan.offsets * 1e-30j)
    slopes = [
        (3 * THETA**2)[index] @ hash_words(key, index)
        for key, index in zip(plan.keys, map(region_index, plan.regions), strict=True)
    ]
    values = gathered(engine, plan)
    np.testing.assert_allclose(values.imag, plan.offsets.imag * np.c_[slopes], rtol=1e-13)


def test_complex_steps_are_refused_with_the_reason():
    product = numba.njit(lambda theta, X: (X @ theta).sum())
    engine = NumbaEngine(objective(product, (np.ones((2, 37)),)))
    assert "arguments must all have the same dtype" in engine.supports_complex()
    dropping = numba.njit(lambda theta: theta.real.sum())
    engine = NumbaEngine(objective(dropping))
    assert "the imaginary part, which carries the derivative" in engine.supports_complex()
    plan = Stencils(np.array([0]), np.array([[1j]]))
    with pytest.raises(GradcheckTypeError, match="cost returns float64 for complex theta"):
        list(engine.evaluate(plan))


# What theta, args and the cost may be.


class Weights(NamedTuple):
    W: Any
    b: Any


class Nested(NamedTuple):
    first: Weights
    rest: tuple[Any, ...]


@dataclass
class Record:
    W: Any


def filled(*shape: int) -> Any:
    return np.sin(np.arange(math.prod(shape)) + 1.0).reshape(shape)


@numba.njit
def of_tuple(theta):
    return theta[0][1, 2] * theta[1][0] + theta[2][()] * theta[0].sum()


@numba.njit
def of_nested(theta):
    return theta.first.W[1, 2] * theta.rest[0][1] + theta.first.b[0] * theta.rest[1][0][0, 0, 1]


@numba.njit
def of_matrix(theta):
    return theta[0, 0] * theta[1, 2] + theta[0, 1]


@numba.njit
def of_scalars(theta):
    return theta[0] * theta[1] * theta[1]


@pytest.mark.parametrize(
    ("cost", "theta"),
    [
        (of_tuple, (filled(2, 3), filled(4), np.array(0.7))),
        (of_nested, Nested(Weights(filled(2, 3), filled(1)), (filled(2), (filled(1, 1, 2),)))),
        (of_matrix, filled(2, 3)),
        (of_matrix, np.asfortranarray(filled(2, 3))),
        (of_scalars, (0.3, 0.4)),
    ],
)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_nests_of_arrays_are_theta(cost, theta, n_jobs):
    problem = objective(cost, (), theta)
    plan = stencils(problem.theta)
    wanted = looped(
        lambda flat: cost.py_func(problem.parameters.unflatten(flat)), plan, problem.theta
    )
    np.testing.assert_array_equal(gathered(NumbaEngine(problem, n_jobs), plan), wanted)


@pytest.mark.parametrize(
    ("theta", "kind"),
    [({"W": filled(2)}, "dict"), ([filled(2)], "list"), (Record(filled(2)), "dataclass")],
)
def test_nests_that_numba_cannot_type_are_refused(theta, kind):
    with pytest.raises(GradcheckTypeError, match=f"theta holds a {kind}.*NamedTuple.*layout="):
        NumbaEngine(objective(numba.njit(lambda theta: 1.0), (), theta))


@jitclass([("factor", numba.float64)])
class Scaler:
    def __init__(self, factor):
        self.factor = factor


def frozen(array: Any) -> Any:
    array.flags.writeable = False
    return array


doubled = numba.njit(lambda x: 2 * x)


def of_scalars_and_text(t, a, b, c, d, e, f, g, h):
    return (t[0] * a + b) * len(c) + (1 if d else 0) + (2 if e is None else 0) + f + g + h.imag


def of_arrays(t, fortran, strided, readonly, ints, bools, records):
    return (
        t[0] * fortran[1, 0] * strided[1] * readonly[1]
        + (ints[1] if bools[1] else 0)
        + records[1].x
    )


def of_nests(t, nest, weights, empty, function):
    return t[0] * nest[0][1] * nest[1][0][0] * weights.W[0] * function(weights.b[1]) + len(empty)


RECORDS = np.array([(1.0,), (5.0,)], [("x", "f8")])


@pytest.mark.parametrize(
    ("cost", "args", "wanted"),
    [
        (of_scalars_and_text, (3, 2.0, "text", True, None, np.float32(2), np.int8(3), 2j), 30.0),
        (
            of_arrays,
            (
                np.asfortranarray([[1.0, 2.0], [3.0, 4.0]]),
                np.arange(6.0)[::3],
                frozen(np.array([5.0, 7.0])),
                np.arange(3, dtype=np.int16),
                np.array([False, True]),
                RECORDS,
            ),
            3.0 * 3.0 * 7.0 + 1.0 + 5.0,
        ),
        (
            of_nests,
            (
                (np.array([1.0, 2.0]), (np.array([3.0]), 1)),
                Weights(np.ones(1), (1, 4.0)),
                (),
                doubled,
            ),
            48.0,
        ),
        (lambda t, a, b: t[0] * a[1] + b.factor, (List([1.0, 6.0]), Scaler(9.0)), 15.0),
    ],
)
def test_args_of_many_kinds(cost, args, wanted):
    for n_jobs in (1, 2):
        engine = NumbaEngine(objective(numba.njit(cost), args, np.array([1.0, 2.0])), n_jobs)
        plan = Stencils(np.array([1, 1]), np.array([[1.0], [3.0]]))
        np.testing.assert_array_equal(gathered(engine, plan), [[wanted], [wanted]])


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((1.0, {"a": 1}), r"args\[1\] is a dict, which Numba cannot type: pass arrays, scalars"),
        (((1.0, object()), 1.0), r"args\[0\]\[1\] is a object, which Numba cannot type"),
        ((1.0, Weights(1.0, np.ones(2, np.float16))), r"args\[1\]\.b is an array of float16"),
        ((1.0, np.array([1, "a"], object)), r"args\[1\] is an array of object, which"),
        ((1.0, [1.0, 2.0]), r"args\[1\] is a list, which Numba copies at every call"),
    ],
)
def test_args_that_numba_cannot_type_are_named(args, text):
    with pytest.raises(GradcheckTypeError, match=text):
        NumbaEngine(objective(numba.njit(lambda theta, a, b: theta[0]), args))


@numba.njit
def with_default(theta, a, power=2.0):
    return theta[0] * a**power


@numba.njit
def with_star(theta, *rest):
    return theta[0] * rest[0] + rest[1]


@numba.njit("float64(float64[:], int64)")
def explicit(theta, a):
    return theta[0] * a


@numba.njit
def whole(theta, a):
    return int(theta[0]) * a


@numba.njit
def single(theta, a):
    return np.float32(theta[0] * a)


@pytest.mark.parametrize(
    ("cost", "args", "wanted"),
    [
        (with_default, (3,), 45.0),
        (with_default, (3, 1.0), 15.0),
        (with_star, (3, 4.0), 19.0),
        (explicit, (3,), 15.0),
        (whole, (3,), 15.0),
        (single, (3,), 15.0),
        (numba.njit(lambda theta, a: theta[0] > a), (3,), 1.0),
        (lambda theta, a: theta[0] * a, (3,), 15.0),
    ],
)
def test_costs_of_many_kinds(cost, args, wanted):
    for n_jobs in (1, 2):
        engine = NumbaEngine(objective(cost, args, np.array([1.0, 2.0])), n_jobs)
        plan = Stencils(np.array([0, 0]), np.array([[5.0], [5.0]]))
        assert gathered(engine, plan).tolist() == [[wanted], [wanted]]


def unknown_name(theta):
    return helper_that_is_nowhere(theta)  # noqa: F821


def object_mode(theta):
    return theta[0]


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (
            unknown_name,
            r"Numba cannot compile the cost for \(array\(float64, 1d, C\)\): NameError: name "
            r"'helper_that_is_nowhere' is not defined",
        ),
        (
            lambda theta: theta.nothing(),
            r"Unknown attribute 'nothing' of type array.* \(File .*, line ",
        ),
        (lambda theta: hash_words(1, theta), "Untyped global name 'hash_words'"),
        (lambda theta: theta + "a", r"No implementation of function .*add>\) for add\(array"),
        (lambda theta, a: theta[0], "Numba cannot compile the cost"),
        (lambda theta: theta, r"cost returns array\(float64, 1d, C\), but .* real scalar.*its sum"),
        (lambda theta: None, "cost returns none, .*is there a return"),
        (lambda theta: (theta[0], 1), "cost returns .*Tuple"),
        (
            lambda theta: theta[0] if theta[0] > 0 else None,
            "cost returns OptionalType.*on every path",
        ),
        (lambda theta: theta[0] * 1j, "cost returns complex128, .* real part"),
        (math.prod, "cost is builtin_function_or_method, and Numba compiles plain functions only"),
        (numba.jit(forceobj=True)(object_mode), r"object mode \(forceobj=True\)"),
    ],
)
def test_costs_that_cannot_be_compiled_are_refused_with_the_reason(cost, text):
    with pytest.raises(GradcheckTypeError, match=text) as caught:
        NumbaEngine(objective(cost))
    assert len(str(caught.value)) < 500


def test_jit_switched_off_is_told():
    code = """
    try:
        NumbaEngine(objective(lambda theta: theta[0]))
    except GradcheckTypeError as error:
        print(error)
    """
    assert "NUMBA_DISABLE_JIT is set" in run_python(code, NUMBA_DISABLE_JIT="1")


# Exceptions in the cost.


@numba.njit
def bounded(theta, limit):
    for i in range(theta.size):
        if theta[i] > limit:
            raise ValueError("theta is above its limit", i)
    return theta.sum()


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("component", [0, 7, 8, 15, 36])
def test_an_exception_surfaces_with_its_address_on_every_thread(component, n_jobs):
    theta = Weights(np.zeros((4, 9)), 0.0)
    flat = describe(theta).flatten(theta)
    plan = stencils(flat, 1e-6)
    limits = np.ones(37)
    limits[component] = 1e-7

    @numba.njit
    def cost(theta, limits):
        for i in range(36):
            if theta.W[i // 9, i % 9] > limits[i]:
                raise ValueError("above its limit", i)
        if theta.b > limits[36]:
            raise ValueError("above its limit", 36)
        return 1.0

    engine = NumbaEngine(objective(cost, (limits,), theta), n_jobs)
    address = f"W[{component // 9}, {component % 9}]" if component < 36 else "b"
    for _ in range(2):
        with pytest.raises(CostEvaluationError) as caught:
            gathered(engine, plan)
        assert caught.value.address == address
        assert caught.value.step == 1e-6
        assert isinstance(caught.value.__cause__, ValueError)
        assert caught.value.__cause__.args == ("above its limit", component)
        assert f"cost raised ValueError at {address} + 1e-06" in str(caught.value)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_exception_along_a_direction_names_the_block_and_leaves_no_trace(n_jobs):
    engine = NumbaEngine(objective(bounded, (2.0,)), n_jobs)
    plan, elsewhere = directions(THETA), stencils(THETA)
    good = gathered(engine, elsewhere)
    spoiled = Directions(plan.regions, plan.keys, plan.offsets * [[1], [1e3]])
    with pytest.raises(CostEvaluationError, match=r"ValueError at theta [+-] \d+ \* \(a random"):
        gathered(engine, spoiled)
    np.testing.assert_array_equal(gathered(engine, elsewhere), good)


@numba.njit
def bounded_from_the_end(theta, limits):
    for i in range(theta.size - 1, -1, -1):
        if theta[i] > limits[i]:
            raise ValueError("above its limit", i)
    return theta.sum()


@needs_threads
def test_what_one_thread_left_behind_does_not_reach_another_components_evaluation():
    limits = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0])  # 3 and 4: one on each thread
    engine = NumbaEngine(objective(bounded_from_the_end, (limits,), np.zeros(8)), 2)
    with pytest.raises(CostEvaluationError) as caught:
        gathered(engine, stencils(np.zeros(8), 0.5))
    assert caught.value.address == "theta[3]"
    assert caught.value.__cause__.args == ("above its limit", 3)


def test_an_exception_at_theta_is_told():
    engine = NumbaEngine(objective(bounded, (0.5,)))
    with pytest.raises(
        CostEvaluationError, match=r"cost raised ValueError: .*above its limit"
    ) as caught:
        engine.value(THETA)
    assert isinstance(caught.value.__cause__, ValueError)


# Threads.


def test_more_jobs_than_threads_are_clamped_with_a_finding():
    engine = NumbaEngine(objective(rational, (X,)), THREADS + 3)
    assert engine.n_jobs == THREADS
    assert [finding.kind for finding in engine.findings] == ["threads"]
    assert f"n_jobs={THREADS + 3} is more than the {THREADS} threads" in engine.findings[0].message
    assert NumbaEngine(objective(rational, (X,)), -1).n_jobs == THREADS


@pytest.mark.parametrize("n_jobs", [0, True])
def test_no_number_of_threads_is_refused(n_jobs):
    with pytest.raises(GradcheckInputError, match=f"n_jobs={n_jobs} is not a number of threads"):
        NumbaEngine(objective(rational, (X,)), n_jobs)


@needs_threads
def test_threads_are_used_when_the_work_is_long_and_the_setting_is_restored(monkeypatch):
    engine = NumbaEngine(objective(rational, (X,)))
    gathered(engine, stencils(THETA))
    assert engine.n_jobs == 1
    monkeypatch.setattr(engine_module, "_WORTH_THREADS", 0.0)
    monkeypatch.setattr(engine_module, "_LAUNCH_SECONDS", 0.0)
    numba.set_num_threads(1)
    try:
        gathered(engine, stencils(THETA))
        assert engine.n_jobs == 1
        numba.set_num_threads(2)
        gathered(engine, stencils(THETA))
        assert engine.n_jobs == 2
        gathered(NumbaEngine(objective(rational, (X,)), 1), stencils(THETA))
        assert numba.get_num_threads() == 2
    finally:
        numba.set_num_threads(THREADS)


@numba.njit
def with_scratch(theta, buffer):
    """Races unless evaluations come one after another."""
    for repeat in range(50):
        for i in range(theta.size):
            buffer[i] = theta[i] * (repeat + 1)
    return buffer[: theta.size].sum()


def test_a_cost_with_scratch_arrays_runs_serially_on_request():
    engine = NumbaEngine(objective(with_scratch, (np.zeros(37),)), 2, serial=True)
    assert engine.n_jobs == 1
    plan = stencils(THETA)
    wanted = looped(lambda t: with_scratch(t, np.zeros(37)), plan, THETA)
    np.testing.assert_array_equal(gathered(engine, plan), wanted)


PARALLEL_COSTS = """
import numba

@numba.njit(parallel=True, cache=True)
def callee(theta):
    s = 0.0
    for i in numba.prange(theta.size):
        s += theta[i] * theta[i]
    return s

@numba.njit(cache=True)
def caller(theta):
    return callee(theta)
"""


def test_parallel_costs_and_callees_run_serially_and_abort_nothing(tmp_path):
    (tmp_path / "parallel_costs.py").write_text(PARALLEL_COSTS)
    code = f"""
    import sys
    sys.path.insert(0, {str(tmp_path)!r})
    import parallel_costs
    for cost in (parallel_costs.callee, parallel_costs.caller):
        engine = NumbaEngine(objective(cost), 2)
        loaded = bool(cost.stats.cache_hits)
        values = gathered(engine, stencils(THETA))
        np.testing.assert_allclose(values, looped(lambda t: t @ t, stencils(THETA), THETA))
        print(loaded, engine.n_jobs, *[finding.kind for finding in engine.findings])
    print(numba.threading_layer(), engine.findings[0].message)
    """
    told = "compiled with parallel=True: its evaluations run one after another"
    for loaded in (False, True):  # the second process takes the cost from Numba's cache
        out = run_python(
            code,
            NUMBA_THREADING_LAYER="workqueue",
            NUMBA_NUM_THREADS="2",
            NUMBA_CACHE_DIR=str(tmp_path),
        )
        assert out.splitlines()[:2] == [f"{loaded} 1 parallel-cost"] * 2
        assert "workqueue" in out
        assert told in out


def test_two_checks_at_once_abort_nothing_under_workqueue():
    code = """
    import threading
    problem = objective(rational, (X,), np.tile(THETA, 30))
    plan = stencils(problem.theta)
    results = []
    def check():
        results.append(gathered(NumbaEngine(problem, 2), plan))
    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(len(results), all((r == results[0]).all() for r in results), numba.threading_layer())
    """
    out = run_python(code, NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="2")
    assert out.split() == ["4", "True", "workqueue"]


@needs_fork
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_a_forked_child_works_after_a_parallel_kernel(layer):
    code = """
    import os
    engine = NumbaEngine(objective(rational, (X,)), 2)
    plan = stencils(THETA)
    values = gathered(engine, plan)
    assert kernels.parallel_allowed()
    child = os.fork()
    if child == 0:
        assert not kernels.parallel_allowed()
        same = (gathered(engine, plan) == values).all()
        same &= (gathered(NumbaEngine(objective(rational, (X,)), 2), plan) == values).all()
        os._exit(0 if same else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), numba.threading_layer())
    """
    try:
        out = run_python(code, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    except AssertionError as error:
        if "No threading layer could be loaded" in str(error):
            pytest.skip(f"no {layer} layer here")
        raise
    assert out.split() == ["0", layer]


@needs_fork
def test_a_child_forked_before_any_thread_may_start_its_own():
    code = """
    import os
    child = os.fork()
    if child == 0:
        ok = kernels.parallel_allowed()
        gathered(NumbaEngine(objective(rational, (X,)), 2), stencils(THETA))
        os._exit(0 if ok else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert run_python(code, NUMBA_NUM_THREADS="2").split() == ["0"]


def test_ctrl_c_is_prompt_and_the_engine_goes_on(monkeypatch):
    engine = NumbaEngine(objective(rational, (X,)), 2)
    plan = stencils(THETA)
    wanted = gathered(engine, plan)
    long = Stencils(np.tile(plan.index, 100_000), np.tile(plan.points, (100_000, 1)))
    handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
    started = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            gathered(engine, long)
        assert time.perf_counter() - started < 2.0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    np.testing.assert_array_equal(gathered(engine, plan), wanted)


# BLAS.


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_blas_is_held_to_one_thread_within_and_released_after():
    before = blas_threads()
    with one_blas_thread():
        assert set(blas_threads()) == {1}
        with one_blas_thread():
            pass
        assert set(blas_threads()) == {1}
    assert blas_threads() == before


def test_blas_is_released_after_an_exception_and_by_the_last_of_several_threads():
    before = blas_threads()
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        1 / 0  # noqa: B018
    assert blas_threads() == before
    leave = threading.Event()
    entered = threading.Event()

    def hold() -> None:
        with one_blas_thread():
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=hold)
    other.start()
    entered.wait(10)
    with one_blas_thread():
        pass
    assert set(blas_threads()) == {1}
    leave.set()
    other.join()
    assert blas_threads() == before


def test_a_cost_with_products_sees_one_blas_thread():
    """SciPy's BLAS, which compiled products use, is loaded before it is held."""
    code = """
    @numba.njit
    def product(theta, A):
        with numba.objmode(threads="int64"):
            threads = max(blas_threads())
        return (A @ theta).sum() * 0 + threads
    engine = NumbaEngine(objective(product, (np.ones((5, 37)),)), 1)
    print(engine.value(THETA), *set(gathered(engine, stencils(THETA)).ravel().tolist()))
    """
    assert run_python(code).split() == ["1.0", "1.0"]


# The cache of kernels.

CACHED = """
    engine = NumbaEngine(objective(rational, (X,)), {n_jobs})
    values = gathered(engine, stencils(THETA))
    values = gathered(engine, directions(THETA))
    wanted = looped(lambda t: rational.py_func(t, X), directions(THETA), THETA)
    np.testing.assert_array_equal(values, wanted)
    stats = [kernel.stats for kernel in kernels._kernels.values()]
    hits = sum(sum(s.cache_hits.values()) for s in stats)
    misses = sum(sum(s.cache_misses.values()) for s in stats)
    print(hits, misses, *[finding.kind for finding in engine.findings])
    """


def cached(folder: Path, n_jobs: int = 1) -> list[str]:
    code = CACHED.format(n_jobs=n_jobs)
    return run_python(code, NUMBA_CACHE_DIR=str(folder), NUMBA_NUM_THREADS="2").split()


def test_a_second_process_loads_every_kernel(tmp_path):
    # Serial stencils for the value at theta, parallel stencils and directions.
    assert cached(tmp_path, 2) == ["0", "3"]
    assert cached(tmp_path, 2) == ["3", "0"]
    # Serial directions are another kernel, though Numba tells them from parallel ones by nothing.
    assert cached(tmp_path, 1) == ["1", "1"]


def test_processes_that_start_at_once_on_an_empty_cache_agree(tmp_path):
    outputs: list[list[str]] = []
    threads = [threading.Thread(target=lambda: outputs.append(cached(tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outputs) == 4
    # One file per kernel: whoever came last has written the same as the first.
    assert len(list(tmp_path.rglob("*.nbc"))) == 2
    assert cached(tmp_path) == ["2", "0"]


def test_a_damaged_cache_is_passed_over_with_a_finding(tmp_path):
    cached(tmp_path)
    for file in tmp_path.rglob("*.nbc"):
        file.write_bytes(b"not a pickle")
    assert cached(tmp_path)[-1] == "kernel-cache"


def test_no_place_for_a_cache_is_a_finding_and_no_failure():
    # What Numba raises where neither the installation nor the home can be written; root can
    # write everywhere, so the place is taken away rather than locked.
    code = """
    from numba.core.caching import CacheImpl
    CacheImpl._locator_classes = []
    engine = NumbaEngine(objective(rational, (X,)), 1)
    values = gathered(engine, stencils(THETA))
    wanted = looped(lambda t: rational.py_func(t, X), stencils(THETA), THETA)
    np.testing.assert_array_equal(values, wanted)
    print(engine.findings[0].kind, engine.findings[0].message)
    """
    out = run_python(code)
    assert out.startswith("kernel-cache Numba cannot keep compiled kernels on disk (RuntimeError: ")
    assert "cannot cache function" in out
    assert "Set NUMBA_CACHE_DIR to a directory that can be written." in out


# Projections and single points.


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scaled", [False, True])
def test_projections_take_the_displacement_that_is_really_taken(dtype, scaled):
    rng = np.random.default_rng(1)
    n = 2000
    theta = rng.normal(size=n).astype(dtype)
    covector = rng.normal(size=n) * 10.0 ** rng.integers(-8, 8, n)
    scale = 10.0 ** rng.normal(size=n) if scaled else None
    regions = np.array([[0, n, 0, 1, 0, n], [3, 40, 2, 30, 5, 17], [10, 5, 0, 0, 0, 5]])
    offsets = np.array([[1e-5, -1e-5], [3e-4, 0.0], [1.0, 2.0]])
    plan = Directions(regions, np.array([1, 2, 3], np.uint64), offsets, scale)
    results = [
        kernels.project(covector, theta, regions, plan.keys, offsets, scale, threads)
        for threads in range(1, THREADS + 1)
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    base = theta.astype(float)
    terms = [covector * (point.astype(float) - base) for point in points_of(plan, theta)]
    wanted = np.reshape([math.fsum(row) for row in terms], offsets.shape)
    # Twice the working precision: what remains is the rounding of the result.
    np.testing.assert_allclose(results[0], wanted, rtol=4e-16, atol=0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
@pytest.mark.parametrize("scaled", [False, True])
def test_perturb_writes_the_same_point_as_numpy(dtype, scaled):
    theta = THETA.astype(np.float32 if dtype == np.float32 else np.float64)
    theta.flags.writeable = False
    plan = directions(theta, np.linspace(1, 3, 37) if scaled else None)
    offsets = plan.offsets * (1j if dtype == np.complex128 else 1)
    plan = Directions(plan.regions, plan.keys, offsets, plan.scale)
    wanted = list(points_of(plan, theta.astype(dtype)))
    for r in range(2):
        for j in range(3):
            point = theta.astype(dtype)
            kernels.perturb(point, theta, plan.regions[r], plan.keys[r], offsets[r, j], plan.scale)
            np.testing.assert_array_equal(point, wanted[3 * r + j])


def test_a_generated_function_is_compiled_once_for_all_checks_of_a_cost() -> None:
    class Pair(NamedTuple):
        a: np.ndarray
        b: np.ndarray

    @numba.njit
    def cost(p):
        return p.a.sum() * p.b.sum()

    first, again, other = (
        adapt(objective(cost, theta=Pair(np.ones(n), np.ones(2))), cost, np.dtype(np.float64))
        for n in (3, 3, 4)
    )
    assert again.function is first.function
    assert other.function is not first.function  # another layout is another function
