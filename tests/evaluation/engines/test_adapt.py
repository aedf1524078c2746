"""What theta, args and the cost may be, and how the rest is refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from numba.experimental import jitclass
from numba.typed import List

from fastgradcheck.errors import GradcheckTypeError
from fastgradcheck.evaluation.engines.adapt import adapt
from fastgradcheck.evaluation.engines.numba import NumbaEngine
from fastgradcheck.evaluation.plans import Stencils
from tests.cases.compiled import (
    Weights,
    gathered,
    hash_words,
    looped,
    objective,
    run_python,
    stencils,
)
from tests.cases.refusals import refused


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
            r"Numba cannot compile cost for \(array\(float64, 1d, C\)\): NameError: name "
            r"'helper_that_is_nowhere' is not defined",
        ),
        (
            lambda theta: theta.nothing(),
            r"Unknown attribute 'nothing' of type array.* \(File .*, line ",
        ),
        (lambda theta: hash_words(1, theta), "Untyped global name 'hash_words'"),
        (lambda theta: theta + "a", r"No implementation of function .*add>\) for add\(array"),
        (lambda theta, a: theta[0], "Numba cannot compile cost"),
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
    from fastgradcheck.errors import GradcheckTypeError
    try:
        NumbaEngine(objective(lambda theta: theta[0]))
    except GradcheckTypeError as error:
        print(error)
    """
    assert "NUMBA_DISABLE_JIT is set" in run_python(code, NUMBA_DISABLE_JIT="1")


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


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (0, "cost returns none"),
        (1, r"cost returns array\(float64, 1d, C\).*an array: its sum or mean"),
        (2, r"cost returns complex128, but a gradient check needs a real scalar"),
    ],
)
def test_a_compiled_cost(returned: int, message: str) -> None:
    costs = [
        numba.njit(lambda t: None),
        numba.njit(lambda t: 2.0 * t),
        numba.njit(lambda t: t.sum() + 1j),
    ]
    refused(message, costs[returned])


def test_a_compiled_cost_that_is_not_finite() -> None:
    refused(r"J is nan at theta: there is no derivative", numba.njit(lambda t: t[0] * np.nan))


def test_args_that_numba_cannot_type() -> None:
    @numba.njit
    def cost(theta, data):
        return theta.sum()

    refused(
        r"args\[0\] is .*dict.*Numba",
        cost,
        grad=np.ones(3),
        args=({"X": np.ones(3)},),
    )


def test_a_python_cost_that_does_not_compile() -> None:
    def cost(theta):
        return float(sorted(theta, key=repr)[0].no_such_thing)

    error = refused(r"Numba cannot compile cost for", cost, grad=np.ones(3), engine="numba")
    assert isinstance(error, TypeError)
    # The first line of Numba's reason, not its page.
    assert len(str(error)) < 600
    assert "\n" not in str(error)
    assert 'engine="python"' in str(error)
