"""What a cost may return, and what is said where it returns something else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgradcheck.problem.value import complaint, real_value
from tests.cases.refusals import (
    NEST,
    THETA,
    nested_cost,
    nested_grad,
    refused,
    slope,
    square,
)


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (lambda t: None, r"cost returned None at theta: does it end with a return statement\?"),
        (lambda t: t**2, r"cost returned what has theta's own structure and shape, .* exchanged\?"),
        (
            lambda t: t[:2],
            r"cost returned an array of shape \(2,\) at theta: .* over th.* jaccheck\(fun, jac",
        ),
        (lambda t: t[:1], r"shape \(1,\) at theta: it must return the number itself; .*\.item\(\)"),
        (
            lambda t: complex(t.sum()),
            r"cost returned the complex number .*take the real part or the squared modulus",
        ),
        (lambda t: (1.0, t), r"cost returned a tuple of 2 .*returns \(J, gradient\), .*grad=True"),
        (
            lambda t: bool(t[0] > 0),
            r"cost returned True at theta, a bool\. .* a comparison has no d",
        ),
        (lambda t: "1.0", r"cost returned a str at theta\. It must return one real number"),
        (lambda t: np.nan, r"J is nan at theta: there is no derivative\. log\(0\), a division by "),
        (lambda t: -np.inf, r"J is -inf at theta: .*check at a point where J is finite"),
        (3.0, r"cost is a float, which cannot be called; pass the function J"),
    ],
)
def test_cost(cost: Any, message: str) -> None:
    refused(message, cost)


def test_a_value_that_is_not_finite_for_a_reason_in_args_tells_it() -> None:
    X = np.ones((4, 3))
    X[2, 1], X[3, 0] = np.nan, np.inf
    message = (
        r"J is nan at theta: there is no derivative\. args\[1\]\['X'\]\[2, 1\] is nan, and 1 more "
        r"entries are not finite: leave such examples out, or put values in their place\."
    )
    refused(message, lambda t, y, d: float((d["X"] @ t).sum()), args=(np.arange(3), {"X": X}))
    refused(r"args\[0\] is inf: leave", lambda t, s: float(s * t[0]), args=(np.inf,))
    # What is not finite is no reason where J is.
    assert real_value(1.0, args=(X,)) == 1.0


def test_cost_and_grad_exchanged() -> None:
    refused(
        r"cost returned what has theta's own structure .* are cost and grad exchanged\? The order "
        r"is gradcheck\(cost, grad, theta\), and cost returns one number",
        nested_grad,
        nested_cost,
        NEST,
    )
    refused("are cost and grad exchanged", slope, square, THETA.astype(np.float32))


def test_cost_of_a_float32_theta() -> None:
    refused(r"cost returned None at theta", lambda t: None, theta=THETA.astype(np.float32))


def test_complaints_about_what_does_not_convert():
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("call detach() first")

    assert complaint(Tensor()) == (
        "cost returned a Tensor, which does not convert to a number (call detach() first)."
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1.5, 1.5), (np.float32(0.5), 0.5), (np.array(2.0), 2.0), (3, 3.0)],
)
def test_real_value(value: Any, expected: float) -> None:
    assert real_value(value) == expected
