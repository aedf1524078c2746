"""The Numba engine against plain NumPy loops, and every hazard of Numba that it knows."""

from __future__ import annotations

import math
import signal
from dataclasses import replace
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

from fastgradcheck.errors import CostEvaluationError, GradcheckInputError, GradcheckTypeError
from fastgradcheck.evaluation.engines import numba as engine_module
from fastgradcheck.evaluation.engines.numba import NumbaEngine
from fastgradcheck.evaluation.plans import Directions, Stencils
from fastgradcheck.problem.blocks import Block
from fastgradcheck.problem.outputs import describe_outputs
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.products import Combined
from tests.cases.compiled import (
    THETA,
    THREADS,
    Weights,
    X,
    directions,
    gathered,
    hash_words,
    looped,
    needs_threads,
    objective,
    points_of,
    rational,
    region_index,
    run_python,
    stencils,
)

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
    # However long a busy machine takes for it: this work is short.
    monkeypatch.setattr(engine_module, "_WORTH_THREADS", math.inf)
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


def test_ctrl_c_is_prompt_and_the_engine_goes_on(monkeypatch):
    engine = NumbaEngine(objective(rational, (X,)), 2)
    plan = stencils(THETA)
    wanted = gathered(engine, plan)
    long = Stencils(np.tile(plan.index, 100_000), np.tile(plan.points, (100_000, 1)))
    handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
    chunks = []

    def evaluate() -> None:
        for rows, _ in engine.evaluate(long):
            chunks.append(rows.stop - rows.start)
            if len(chunks) == 3:
                signal.setitimer(signal.ITIMER_REAL, 0.01)

    try:
        with pytest.raises(KeyboardInterrupt):
            evaluate()
        # It is raised between two chunks: their length is what anybody waits for. The whole takes
        # seconds, a chunk a fifth of one.
        assert sum(chunks) < len(long)
        assert max(chunks) < len(long) / 4
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    np.testing.assert_array_equal(gathered(engine, plan), wanted)


# Several outputs.


class Ends(NamedTuple):
    defect: Any
    end: Any


@numba.njit
def vector(theta, X):
    out = np.empty(X.shape[0])
    for r in range(X.shape[0]):
        out[r] = rational(theta, X[r : r + 1])
    return out


@numba.njit
def matrix(theta, X):
    return np.outer(vector(theta, X), theta[:2]).T


@numba.njit
def nest(theta, X):
    return Ends(matrix(theta, X), (rational(theta, X), vector(theta, X) > 0.0))


@numba.njit
def number(theta, X):
    return rational(theta, X)


@numba.njit
def of_two_arrays(theta, X):
    return theta.W @ X, theta.b


def of_several(fun, theta=THETA, args=(X,)):
    """The objective of a function of several outputs, which are read in Python."""
    found = objective(fun, args, theta)
    return replace(found, outputs=describe_outputs(found(found.theta.copy())))


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("kind", ["stencils", "directions", "scaled directions"])
@pytest.mark.parametrize("fun", [vector, matrix, nest, number])
def test_several_outputs_are_those_of_python_calls_bit_for_bit(fun, kind, n_jobs):
    subject = of_several(fun)
    scale = 1.0 + np.arange(37) / 7 if kind.startswith("scaled") else None
    plan = stencils(THETA) if kind == "stencils" else directions(THETA, scale)
    wanted = [subject.outputs.flatten(fun(point, X)) for point in points_of(plan, THETA)]
    engine = NumbaEngine(subject, n_jobs)
    found = list(engine.evaluate(plan))
    values = np.concatenate([chunk for _, chunk in found])
    assert values.shape == (len(plan), plan.width, subject.outputs.size)
    np.testing.assert_array_equal(values.reshape(len(wanted), -1), wanted)
    assert engine.findings == ()


def test_several_outputs_of_a_nest_of_arrays():
    theta = Weights(np.arange(12.0).reshape(3, 4), np.ones(2))
    subject = of_several(of_two_arrays, theta, (X,))
    plan = stencils(subject.theta)
    wanted = [subject.outputs.flatten(subject(point)) for point in points_of(plan, subject.theta)]
    (_, values), *more = NumbaEngine(subject, 1).evaluate(plan)
    assert not more
    np.testing.assert_array_equal(values.reshape(len(wanted), -1), wanted)


def test_combinations_of_outputs_do_not_depend_on_chunks_or_threads(monkeypatch):
    subject = of_several(vector)
    cotangents = np.sin(np.arange(12.0)).reshape(3, 4)
    block = Block("cotangent", 0, (3,))
    inner = subject.outputs
    combined = Combined((block,), inner.paths, inner.like, "fun", inner, cotangents)
    subject, plan = replace(subject, outputs=combined), stencils(THETA)
    wanted = [cotangents @ vector(point, X) for point in points_of(plan, THETA)]
    for n_jobs in (1, 2):
        for seconds in (1e-9, 10.0):
            monkeypatch.setattr(engine_module, "_CHUNK_SECONDS", seconds)
            chunks = [chunk for _, chunk in NumbaEngine(subject, n_jobs).evaluate(plan)]
            np.testing.assert_array_equal(np.concatenate(chunks).reshape(len(wanted), 3), wanted)


def test_chunks_of_many_outputs_stay_small(monkeypatch):
    monkeypatch.setattr(engine_module, "_CHUNK_BYTES", 8 * 4 * 2 * 5)
    chunks = [chunk for _, chunk in NumbaEngine(of_several(vector), 1).evaluate(stencils(THETA))]
    assert max(map(len, chunks)) == 5


@numba.njit
def fewer(theta):
    return theta[theta < 1.5]


@numba.njit
def turned(theta):
    return theta.reshape((1, 37)) if theta[0] < 0.5 else theta.reshape((37, 1))


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize(
    ("fun", "component", "said"),
    [
        (fewer, 30, r"at theta\[30\] \+ 2, F has shape \(36,\), but had \(37,\) at theta"),
        (turned, 0, r"at theta\[0\] \+ 2, F has shape \(37, 1\), but had \(1, 37\) at theta"),
    ],
)
def test_outputs_that_change_their_shape_are_told_as_from_python(fun, component, said, n_jobs):
    plan = Stencils(np.arange(37), np.tile(THETA[:, None], (1, 2)))
    plan.points[component, 1] += 2.0
    with pytest.raises(CostEvaluationError, match=said) as caught:
        list(NumbaEngine(of_several(fun, args=()), n_jobs).evaluate(plan))
    assert caught.value.address == f"theta[{component}]"


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_exception_of_several_outputs_has_its_address(n_jobs):
    @numba.njit
    def fun(theta):
        if theta[7] > 1.0:
            raise ValueError("above its limit")
        return theta * theta

    plan = stencils(THETA, 2.0)
    with pytest.raises(CostEvaluationError, match=r"fun raised ValueError at theta\[7\] \+ 2"):
        list(NumbaEngine(of_several(fun, args=()), n_jobs).evaluate(plan))


def test_complex_steps_of_several_outputs():
    def cubes(theta):
        return theta * theta * theta, theta[:2].sum()

    subject = of_several(numba.njit(cubes), args=())
    engine = NumbaEngine(subject, 2)
    assert engine.supports_complex() is None
    (_, values), *_ = engine.evaluate(Stencils(np.arange(37), (THETA + 1e-30j)[:, None]))
    slopes = values[:, 0, :37].imag / 1e-30
    np.testing.assert_allclose(slopes, np.diag(3 * THETA**2), rtol=1e-15, atol=1e-59)
    np.testing.assert_array_equal(values[:, 0, 37].imag, 1e-30 * (np.arange(37) < 2))
    dropping = NumbaEngine(of_several(numba.njit(lambda t: (t * t).real), args=()))
    assert "F is real for a complex theta" in dropping.supports_complex()
