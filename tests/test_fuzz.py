"""Odd arguments, whatever they are: a result, or an error of the package's own, and nothing else.

``FUZZ=2000 python -m pytest tests/test_fuzz.py`` tries more of them than the suite does.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import inspect
import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import fastgradcheck as fgc
from fastgradcheck.errors import clean

EXAMPLES = int(os.environ.get("FUZZ", "40"))
"""For each function; seeds are fixed, so that it is the same ones each time."""

THETA = {"W": np.linspace(1.0, 2.0, 6).reshape(2, 3), "b": np.array([0.5, -0.5])}


class Unfit(Exception):
    """What the functions below raise of a theta that they cannot take: it comes out as it is."""


def mapped(function: Callable[[Any], Any], nest: Any) -> Any:
    """The same nest of other leaves."""
    if isinstance(nest, dict):
        return {key: mapped(function, part) for key, part in nest.items()}
    if isinstance(nest, list | tuple):
        return type(nest)(mapped(function, part) for part in nest)
    return function(nest)


def fitting(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(theta: Any, *args: Any) -> Any:
        try:
            return function(theta)
        except Exception as error:
            raise Unfit from error

    return call


@fitting
def fun(theta: Any) -> Any:
    parts: list[Any] = []
    mapped(lambda leaf: parts.append(np.ravel(leaf) ** 3), theta)
    return np.concatenate(parts)


@fitting
def cost(theta: Any) -> float:
    return float(np.sum(fun(theta)))


@fitting
def grad(theta: Any) -> Any:
    return mapped(lambda leaf: 3 * leaf**2, theta)


@fitting
def jac(theta: Any) -> Any:
    diagonal = np.diag(3 * np.concatenate([theta["W"].ravel(), theta["b"]]) ** 2)
    return {"W": diagonal[:, :6].reshape(8, 2, 3), "b": diagonal[:, 6:]}


@fitting
def hess(theta: Any) -> Any:
    W = np.zeros((2, 3, 2, 3))
    W.reshape(6, 6)[np.diag_indices(6)] = 6 * theta["W"].ravel()
    across = {"W": np.zeros((2, 2, 3)), "b": np.diag(6 * theta["b"])}
    return {"W": {"W": W, "b": np.zeros((2, 3, 2))}, "b": across}


def product(theta: Any, v: Any, *args: Any) -> Any:
    """Of a diagonal Jacobian: the same from both sides."""
    try:
        return {name: 3 * theta[name] ** 2 * v[name] for name in theta}
    except Exception as error:
        raise Unfit from error


class Spiteful:
    """Raises whatever it is asked."""

    def _raise(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("do not ask")

    __repr__ = __str__ = __bool__ = __len__ = __iter__ = __getitem__ = _raise
    __float__ = __int__ = __index__ = __lt__ = __gt__ = __array__ = _raise


class Number(int):
    """An int that is none."""

    def __repr__(self) -> str:
        raise RecursionError


def deep(levels: int) -> Any:
    nest: Any = np.ones(2)
    for _ in range(levels):
        nest = [nest]
    return nest


def cyclic(kind: type) -> Any:
    if kind is dict:
        holder: Any = {"a": np.ones(2)}
        holder["self"] = holder
    else:
        holder = [np.ones(2)]
        holder.append(holder)
    return holder


def spiteful_objects() -> Any:
    array = np.empty(2, object)
    array[0] = Spiteful()
    return array


# Built anew for each use: some are used up, or written to.
ODD: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "0": lambda: 0,
    "-1": lambda: -1,
    "2": lambda: 2,
    "2**70": lambda: 2**70,
    "0.5": lambda: 0.5,
    "-0.0": lambda: -0.0,
    "1e-320": lambda: 1e-320,
    "1e308": lambda: 1e308,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: -float("inf"),
    "1j": lambda: 1j,
    "float32": lambda: np.float32(0.25),
    "float16": lambda: np.float16(0.25),
    "int8": lambda: np.int8(1),
    "text": lambda: "smoke",
    "empty text": lambda: "",
    "auto": lambda: "auto",
    "escape": lambda: "\x1b[31mred",
    "surrogate": lambda: "\ud800",
    "zero byte": lambda: "a\0b",
    "bytes": lambda: b"bytes",
    "object": object,
    "type": lambda: str,
    "function": lambda: lambda *a, **k: None,
    "method": lambda: [].append,
    "generator": lambda: (x for x in (1.0, 2.0)),
    "exception": lambda: ValueError("a value"),
    "module": lambda: os,
    "range": lambda: range(3),
    "slice": lambda: slice(0, 2),
    "ellipsis": lambda: ...,
    "set": lambda: {1.0, 2.0},
    "frozenset": lambda: frozenset({"W"}),
    "Fraction": lambda: fractions.Fraction(1, 3),
    "Decimal": lambda: decimal.Decimal("0.1"),
    "date": lambda: datetime.date(2020, 2, 29),
    "Number": lambda: Number(3),
    "Spiteful": Spiteful,
    "list": list,
    "dict": dict,
    "tuple": tuple,
    "list of None": lambda: [None],
    "ragged": lambda: [[1.0], [2.0, 3.0]],
    "list of Spiteful": lambda: [Spiteful(), Spiteful()],
    "dict of None": lambda: {"W": None, "b": None},
    "dict of text": lambda: {"W": "all", "b": "\x1b"},
    "dict of Spiteful": lambda: {"W": Spiteful()},
    "dict by Spiteful": lambda: {Spiteful(): 1.0},
    "dict by number": lambda: {0: 1.0, 1.5: np.ones(2)},
    "dict by escape": lambda: {"\x1b[2J": np.ones(2), "\ud800": np.ones(2)},
    "dict of nan": lambda: {"W": float("nan"), "b": np.full(2, np.nan)},
    "half a dict": lambda: {"W": np.ones((2, 3))},
    "theta": lambda: {name: part.copy() for name, part in THETA.items()},
    "float32 theta": lambda: {name: part.astype(np.float32) for name, part in THETA.items()},
    "pair": lambda: (-1.0, 1.0),
    "pair of nests": lambda: ({"W": -9.0, "b": -9.0}, {"W": 9.0, "b": 9.0}),
    "upside down": lambda: (9.0, -9.0),
    "cyclic list": lambda: cyclic(list),
    "cyclic dict": lambda: cyclic(dict),
    "deep": lambda: deep(90),
    "too deep": lambda: deep(5000),
    "array": lambda: np.ones(8),
    "matrix": lambda: np.ones((2, 3)),
    "empty array": lambda: np.empty(0),
    "0-d": lambda: np.array(1.5),
    "objects": lambda: np.array([None, "a", 1.0], object),
    "spiteful objects": spiteful_objects,
    "texts": lambda: np.array(["a", "b"]),
    "dates": lambda: np.array(["2020-02-29"], "datetime64[D]"),
    "records": lambda: np.zeros(2, [("a", float), ("b", int)]),
    "bools": lambda: np.array([True, False] * 4),
    "complexes": lambda: np.ones(8) * 1j,
    "int indices": lambda: np.array([0, 3, 7]),
    "wrong indices": lambda: np.array([-1, 99]),
    "uint64": lambda: np.array([2**64 - 1], np.uint64),
    "nans": lambda: np.full(8, np.nan),
    "read-only": lambda: np.broadcast_to(1.0, 8),
    "masked": lambda: np.ma.masked_less(np.arange(8.0), 3),
}

PRINTS = {
    "Fingerprint": fgc.fingerprint(cost, THETA, seed=1),
    "of a Jacobian": fgc.jacobian_fingerprint(fun, THETA, seed=1),
    "of a Hessian": fgc.hessian_fingerprint(grad, THETA, seed=1),
}

FUNCTIONS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "gradcheck": (fgc.gradcheck, {"cost": cost, "grad": grad, "theta": THETA}),
    "assert_gradcheck": (fgc.assert_gradcheck, {"cost": cost, "grad": grad, "theta": THETA}),
    "check_points": (fgc.check_points, {"cost": cost, "grad": grad, "thetas": {"init": THETA}}),
    "numerical_gradient": (fgc.numerical_gradient, {"cost": cost, "theta": THETA}),
    "jaccheck": (fgc.jaccheck, {"fun": fun, "jac": jac, "theta": THETA}),
    "numerical_jacobian": (fgc.numerical_jacobian, {"fun": fun, "theta": THETA}),
    "compare": (fgc.compare, {"cost": cost, "grads": {"mine": grad}, "theta": THETA}),
    "fingerprint": (fgc.fingerprint, {"cost": cost, "theta": THETA}),
    "hesscheck": (fgc.hesscheck, {"grad": grad, "hess": hess, "theta": THETA}),
    "paircheck": (
        fgc.paircheck,
        {"jvp": product, "vjp": product, "theta": THETA, "like": THETA},
    ),
    "assert_jaccheck": (fgc.assert_jaccheck, {"fun": fun, "jac": jac, "theta": THETA}),
    "assert_hesscheck": (fgc.assert_hesscheck, {"grad": grad, "hess": hess, "theta": THETA}),
    "assert_paircheck": (
        fgc.assert_paircheck,
        {"jvp": product, "vjp": product, "theta": THETA, "like": THETA},
    ),
    "jacobian_fingerprint": (fgc.jacobian_fingerprint, {"fun": fun, "theta": THETA}),
    "hessian_fingerprint": (fgc.hessian_fingerprint, {"grad": grad, "theta": THETA}),
    "compare_jacobians": (
        fgc.compare_jacobians,
        {"fun": fun, "jacs": {"mine": jac}, "theta": THETA},
    ),
    "compare_hessians": (
        fgc.compare_hessians,
        {"grad": grad, "hesses": {"mine": hess}, "theta": THETA},
    ),
    "Fingerprint.check": (PRINTS["Fingerprint"].check, {"grad": grad}),
    "JacobianFingerprint.check": (PRINTS["of a Jacobian"].check, {"jac": jac}),
    "JacobianFingerprint.check of a Hessian": (PRINTS["of a Hessian"].check, {"jac": hess}),
    "save": (PRINTS["of a Jacobian"].save, {"path": "print.fgc"}),
    "load_fingerprint": (fgc.load_fingerprint, {"path": "print.fgc"}),
}

PASSED_ON = {
    "assert_jaccheck": fgc.jaccheck,
    "assert_hesscheck": fgc.hesscheck,
    "assert_paircheck": fgc.paircheck,
    "compare": fgc.fingerprint,
    "compare_jacobians": fgc.jacobian_fingerprint,
    "compare_hessians": fgc.hessian_fingerprint,
}
"""Where other options go; by default to `gradcheck`."""

OURS = fgc.GradcheckInputError, fgc.CostEvaluationError, fgc.GradcheckError


def names_of(name: str) -> list[str]:
    """Every argument, and those of the function to which others are passed on."""
    known = inspect.signature(FUNCTIONS[name][0]).parameters
    passed_on = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    names = [n for n, p in known.items() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    more = inspect.signature(PASSED_ON.get(name, fgc.gradcheck)).parameters if passed_on else ()
    return list(dict.fromkeys([*names, *more]))


def odd_values() -> st.SearchStrategy[tuple[str, Any]]:
    """Those above, and arrays and nests of any other kind."""
    listed = st.sampled_from(sorted(ODD)).map(lambda name: (name, ODD[name]()))
    anything = st.one_of(
        arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_dims=0, max_side=4)),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=6,
        ),
    )
    return listed | anything.map(lambda value: ("drawn", value))


SUBJECTS = ("cost", "grad", "fun", "jac", "hess", "jvp", "vjp")


def constant(value: Any) -> Callable[..., Any]:
    """A function that returns an odd value."""
    return lambda *_: value


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is taken for a checkpoint's must not be written into the project."""
    monkeypatch.chdir(tmp_path)
    PRINTS["of a Jacobian"].save("print.fgc")


def attempt(name: str, odd: dict[str, Any]) -> None:
    """Call a function with odd arguments; raises unless that is answered."""
    function, usual = FUNCTIONS[name]
    options = {**usual, "progress": False, "seed": 1, **odd}
    options = {key: value for key, value in options.items() if key in names_of(name)}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            result = function(**options)
        except OURS as error:
            assert str(error) == clean(str(error))  # noqa: PT017
        except OSError:
            assert name in ("save", "load_fingerprint")
        except Unfit:
            assert odd.keys() & {"theta", "thetas", "args", "like", *SUBJECTS}
        else:
            assert str(result) == clean(str(result))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nothing_is_odd_without_odd_arguments(name: str) -> None:
    function, usual = FUNCTIONS[name]
    told = str(function(**usual))
    assert "WRONG" not in told
    assert "UNDECIDED" not in told


def test_every_public_function_is_here() -> None:
    tried = {function.__name__ for function, _ in FUNCTIONS.values()}
    public = {name for name in fgc.__all__ if name[0].islower()}
    assert public - {"__version__"} <= tried


@pytest.mark.parametrize("name", FUNCTIONS)
def test_odd_arguments_give_a_result_or_an_error_of_ours(name: str) -> None:
    names = names_of(name)

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def try_once(data: st.DataObject) -> None:
        chosen = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
        odd, told = {}, []
        for argument in chosen:
            kind, value = data.draw(odd_values())
            # Half of the odd functions are functions indeed, of an odd value.
            returned = argument in SUBJECTS and data.draw(st.booleans())
            odd[argument] = constant(value) if returned else value
            told.append(f"{argument}={kind}{' returned' if returned else ''}")
        try:
            attempt(name, odd)
        except Exception as error:
            raise AssertionError(f"{name}({', '.join(told)})") from error

    try_once()
