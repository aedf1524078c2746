"""The claimed gradient is evaluated once, refused in clear words, and harms nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.errors import GradcheckTypeError
from fastgradcheck.problem import gradient
from tests.cases.refusals import NEST, THETA, nested_cost, nested_grad, refused, slope, square
from tests.cases.results import kinds, message


@pytest.mark.parametrize(
    ("grad", "message"),
    [
        (np.ones(2), r"the gradient of theta has shape \(2,\), but theta has \(3,\) there"),
        (lambda t: np.ones((3, 1)), r"number of entries is right, use \.reshape\(\(3,\)\)"),
        (lambda t: None, r"grad returned None: does it end with a return statement\?"),
        (lambda t: 2j * t, r"the gradient of theta is complex128: a gradient must be floating"),
        (lambda t: np.array([1, 2, 3]), r"the gradient of theta is int64: .*\.astype\(float\)"),
        (lambda t: [t, t], r"the gradient of theta has shape \(2, 3\)"),
        (lambda t: (1.0, 2 * t), r"grad returned two things, a number and what looks like the gra"),
        (lambda t: 1.0, r"has shape \(\), but theta has \(3,\) there: it is one number, such as J"),
        (None, r"grad is None: pass the function .* numerical_gradient\(cost, theta\) is the way"),
        ("2 * theta", r"the gradient of theta is str: a gradient must be floating point"),
    ],
)
def test_gradient(grad: Any, message: str) -> None:
    refused(message, grad=grad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: {"W1": g["W1"]}, r"the gradient of theta lacks 'b1'.*of type dict with 'W1', "),
        (lambda g: {**g, "b2": g["b1"]}, r"the gradient of theta has 'b2', unknown to theta"),
        (
            lambda g: {**g, "W1": g["W1"].T},
            r"the gradient of W1 has shape \(3, 2\), but theta has \(2, 3\) there: "
            r"it is the transpose, use \.T",
        ),
        (lambda g: {**g, "b1": None}, r"the gradient of b1 is None: a gradient must be"),
        (lambda g: g["W1"], r"the gradient of theta is one array of shape \(2, 3\).*layout="),
        (lambda g: [3.0, g], r"grad returned two things, .*pass this function as cost, and grad=T"),
        (lambda g: (g["W1"], g["b1"]), r"the gradient of theta is of type tuple.*of type dict"),
    ],
)
def test_gradient_of_a_nest(change: Any, message: str) -> None:
    refused(message, nested_cost, lambda t: change(nested_grad(t)), NEST)


def test_grad_true_needs_a_pair() -> None:
    refused(
        r"grad=True means that cost returns \(J, gradient\), but it returned a float: ", grad=True
    )


def test_a_gradient_that_modifies_theta_is_refused() -> None:
    def grad(theta: np.ndarray) -> np.ndarray:
        theta *= 2
        return theta

    refused(
        r"grad modifies theta: .*look for an in-place update such as `theta -= \.\.\.`",
        square,
        grad,
    )


def test_a_gradient_that_modifies_args_is_refused() -> None:
    def grad(theta: np.ndarray, data: Any) -> np.ndarray:
        data["X"][0] = 9.0
        return 2 * theta

    refused(
        r"grad modifies args\[0\]\['X'\]: .*cost and grad no longer see the same data\. Work on a",
        square,
        grad,
        args=({"X": np.ones(2)},),
    )


def test_a_gradient_that_returns_theta_itself_is_told() -> None:
    result = fgc.gradcheck(lambda t: square(t) / 2, lambda t: t, THETA, seed=0)
    assert result
    assert "grad returned theta's own memory" in message(result, "aliasing")
    view = fgc.gradcheck(lambda t: square(t) / 2, lambda t: t[::1], THETA, seed=0)
    assert "aliasing" in kinds(view)
    assert "aliasing" not in kinds(fgc.gradcheck(square, slope, THETA, seed=0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("given", [np.float32, np.float64])
@pytest.mark.parametrize("called", [True, False])
def test_a_gradient_in_float32_of_a_theta_in_float64_is_told(
    called: bool, given: Any, dtype: Any
) -> None:
    theta = np.array([0.3, -0.2, 0.5], dtype)
    value = (3 * theta**2).astype(given)
    result = fgc.gradcheck(
        lambda t: float((t**3).sum()), (lambda t: value) if called else value, theta, seed=0
    )
    told = [f for f in result.findings if "and theta is float64" in f.message]
    assert len(told) == (given == np.float32 and dtype == np.float64)


@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_a_gradient_with_nan_is_wrong_not_refused(strategy: str) -> None:
    claim = np.array([2.0, np.nan, 1.0])
    result = fgc.gradcheck(square, claim, THETA, strategy=strategy, seed=0)
    assert result.verdict is fgc.Verdict.WRONG
    assert result.wrong == ("theta[1]",)
    assert result.findings[0].message.startswith(
        "theta[1]: the gradient is nan, the numeric one is -4. A division 0/0"
    )
    assert (strategy == "screen") == (
        "but in theta: directions tell nothing of what is not finite" in result.coverage
    )


def test_two_numbers_are_no_pair_of_j_and_gradient() -> None:
    theta = (1.0, 2.0)
    for grad in (lambda t: (2 * t[0], 2 * t[1]), lambda t: np.array([2 * t[0], 2 * t[1]])):
        assert fgc.gradcheck(lambda t: t[0] ** 2 + t[1] ** 2, grad, theta, seed=0)


# The same when it is called again?


def dropping(theta: np.ndarray) -> np.ndarray:
    return 2 * theta * DRAWS.choice([0.0, 2.0], theta.shape)


def jittering(theta: np.ndarray) -> np.ndarray:
    return 2 * theta * (1 + 1e-9 * DRAWS.normal(size=theta.shape))


DRAWS = np.random.default_rng(5)


@pytest.mark.parametrize("n", [3, 2500])
@pytest.mark.parametrize("grad", [dropping, jittering])
def test_a_gradient_that_draws_is_refused(grad: Any, n: int) -> None:
    theta = np.random.default_rng(n).normal(size=n)
    refused(
        r"grad is not repeatable: its entry theta\[\d+\] is .*, then .* at the same theta\. "
        r"Dropout or another random draw inside grad, or something that it keeps",
        square,
        grad,
        theta,
    )


def test_a_gradient_that_adds_up_is_refused_with_the_cause() -> None:
    buffer = {"W1": np.zeros((2, 3)), "b1": np.zeros(2)}

    def adding(p: Any) -> Any:
        for name, part in nested_grad(p).items():
            buffer[name] += part
        return buffer

    refused(
        r"its entry W1\[0, 0\] is .* It is twice as large at the second call: a buffer that is "
        r"added to and never set to zero is the usual cause \(zero_grad, in PyTorch\)",
        nested_cost,
        adding,
        NEST,
    )


def test_a_cost_that_returns_a_gradient_that_draws_is_refused() -> None:
    refused(
        r"grad is not repeatable: its entry theta\[0\] is",
        lambda t: (square(t), jittering(t)),
        True,
    )


@pytest.mark.parametrize(
    "grad",
    [
        lambda t: 2 * t * (1 + 2**-52 * DRAWS.integers(0, 2)),  # rounding in another order
        lambda t: (2 * t * (1 + 2**-23 * DRAWS.integers(0, 2))).astype(np.float32),
        lambda t: np.where(t > 0, 2 * t, np.nan),
        lambda t: np.where(t > 0, 2 * t, np.inf),
    ],
    ids=["rounding", "rounding of float32", "nan", "inf"],
)
def test_a_gradient_that_is_the_same_is_not(grad: Any) -> None:
    assert "once" not in kinds(fgc.gradcheck(square, grad, THETA, seed=0))


def test_a_gradient_that_takes_long_is_called_once_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gradient, "CHEAP", 0.0)
    monkeypatch.setattr(gradient, "CHEAP_BESIDE", 0.0)
    calls = []

    def counted(theta: np.ndarray) -> np.ndarray:
        calls.append(theta)
        return slope(theta)

    result = fgc.gradcheck(square, counted, THETA, seed=0)
    assert len(calls) == 1
    assert "was called only once: whether it is the same at the next call" in message(
        result, "once"
    )


def test_pair() -> None:
    assert gradient.pair((1.0, "g")) == (1.0, "g")
    for returned in (1.0, (1.0,), (1.0, 2.0, 3.0), None):
        with pytest.raises(GradcheckTypeError, match=r"grad=True means that cost returns \(J, gr"):
            gradient.pair(returned)
