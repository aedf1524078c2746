"""What args may be, and functions that cannot be called with it."""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.problem.calls import as_tuple, misfit
from tests.cases.refusals import THETA, refused, slope, square

X = np.ones(3)


def one(theta: Any, a: Any) -> float:
    return 0.0


def two(theta: Any, a: Any, b: Any) -> float:
    return 0.0


def several(theta: Any, *args: Any) -> float:
    return 0.0


@pytest.mark.parametrize(
    ("args", "cost", "taken"),
    [
        ((1, 2), two, (1, 2)),
        ((), one, ()),
        (None, several, ()),
        (X, one, (X,)),
        (3.0, one, (3.0,)),
        ({"X": X}, one, ({"X": X},)),
        ([1, 2], two, (1, 2)),
        ([1, 2], several, (1, 2)),
        ([1], one, (1,)),
        ([1, 2], one, ([1, 2],)),
    ],
)
def test_args_as_people_write_them(args: Any, cost: Any, taken: tuple[Any, ...]) -> None:
    assert as_tuple(args, cost) == taken


@pytest.mark.parametrize("args", [(X,), [X], X])
def test_one_argument_in_every_form(args: Any) -> None:
    grad = lambda t, x: 2 * t * x  # noqa: E731
    assert fgc.gradcheck(lambda t, x: float((t**2 * x).sum()), grad, THETA, args=args, seed=0)


class Model:
    def cost(self, theta: Any) -> float:
        return 0.0

    def __call__(self, theta: Any) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"cost": one},
            r"^cost\(theta, a\) does not fit the call cost\(theta\): missing a required "
            r"argument: 'a'\. args= must hold, in order, what follows theta\.$",
        ),
        ({"cost": one, "args": (1, 2)}, r"with 2 in args: too many positional arguments"),
        (
            {"grad": lambda t: t, "args": (X,)},
            r"^grad\(t\) does not fit the call grad\(theta, \*args\) with 1 in args: too many",
        ),
        ({"cost": numba.njit(one)}, r"^cost\(theta.* missing a required argument: 'a'"),
        (
            {"cost": Model.cost},
            r"It is a method of a class: pass that of an object, as in model\.c",
        ),
        ({"cost": Model}, r"^cost is the class Model: pass an object of it, or its method\."),
        ({"cost": 3.0}, r"^cost is a float, which cannot be called; pass the function J\."),
        ({"grad": None}, r"^grad is None: pass the function that computes the gradient, or"),
    ],
)
def test_what_cannot_be_called(options: dict[str, Any], message: str) -> None:
    refused(message, **{"cost": square, "grad": slope, **options})


def test_what_cannot_be_seen_beforehand_fits() -> None:
    @functools.wraps(two)
    def bound(theta: Any) -> float:
        return two(theta, 1, 2)

    class Opaque:
        __signature__ = "none"

        def __call__(self, theta: Any) -> float:
            return 0.0

    for function in (bound, functools.partial(two, a=1, b=2), Model(), Model().cost, max, Opaque()):
        assert misfit(function, (), "cost") == ""
