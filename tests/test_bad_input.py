"""What cannot be checked is refused before any long work, in words that say what to do."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError

THETA = np.array([1.0, -2.0, 0.5])
NEST = {"W1": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), "b1": np.array([0.5, -0.5])}


class Counted:
    """The sum of squares, and how often it was evaluated."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, theta: Any, *args: Any) -> float:
        self.calls += 1
        return float(np.sum(np.asarray(theta) ** 2))


def slope(theta: Any, *args: Any) -> Any:
    return 2 * theta


def nested_cost(theta: Any) -> float:
    return float((theta["W1"] ** 2).sum() + (theta["b1"] ** 2).sum())


def nested_grad(theta: Any) -> Any:
    return {name: 2 * part for name, part in theta.items()}


def refused(
    message: str, cost: Any = None, grad: Any = slope, theta: Any = THETA, **options: Any
) -> GradcheckInputError:
    """The refusal of a check, which must match `message` and have cost next to nothing."""
    counted = Counted() if cost is None else cost
    with pytest.raises(GradcheckInputError, match=message) as caught:
        fgc.gradcheck(counted, grad, theta, seed=0, **options)
    if cost is None:
        # J once or twice at theta, and what finding out about a dtype takes: no loop.
        assert counted.calls <= 6
    return caught.value


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (np.zeros(0), r"theta is empty \(shape \(0,\)\): there is nothing to check\. Was theta"),
        ({}, r"theta holds no array: there is nothing to check"),
        (np.array([1, 2]), r"theta is int64: a parameter must be .*use \.astype\(float\)"),
        (np.array([1j]), r"theta is complex128: .*real and imaginary parts as two real arrays"),
        (np.ones(2, np.float16), r"theta is float16: .*\(float64 or float32\).*\.astype\(float\)"),
        (np.array([1.0, None]), r"theta is object: a parameter must be .*use an array of floats"),
        (None, r"theta is None: a parameter must be floating point"),
        ("theta", r"theta is str: a parameter must be floating point"),
        (
            np.array([1.0, np.nan, np.inf]),
            r"theta\[1\] is nan, and 1 more are not finite: there is no derivative\. A diverged "
            r"training run or an uninitialised array is the usual cause; check at a finite theta",
        ),
        (
            {"W1": np.ones((2, 2)), "b1": np.array([0.0, -np.inf])},
            r"b1\[1\] is -inf: there is no derivative",
        ),
        ({"W1": np.ones(2), "b1": np.ones(2, int)}, r"b1 is int64: a parameter must be"),
    ],
)
def test_theta(theta: Any, message: str) -> None:
    refused(message, theta=theta)


@pytest.mark.parametrize("theta", [np.array([1, 2]), np.array([1j]), None])
def test_a_theta_of_the_wrong_type_is_a_type_error(theta: Any) -> None:
    assert isinstance(refused("theta is", theta=theta), TypeError)


@pytest.mark.parametrize(
    ("grad", "message"),
    [
        (np.ones(2), r"the gradient of theta has shape \(2,\), but theta has \(3,\) there"),
        (lambda t: np.ones((3, 1)), r"number of entries is right, use \.reshape\(\(3,\)\)"),
        (lambda t: None, r"grad returned None: does it end with a return statement\?"),
        (lambda t: 2j * t, r"the gradient of theta is complex128: a gradient must be floating"),
        (lambda t: np.array([1, 2, 3]), r"the gradient of theta is int64: .*\.astype\(float\)"),
        (lambda t: [t, t], r"the gradient of theta has shape \(2, 3\)"),
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
        (lambda g: (g["W1"], g["b1"]), r"the gradient of theta is of type tuple.*of type dict"),
    ],
)
def test_gradient_of_a_nest(change: Any, message: str) -> None:
    refused(message, nested_cost, lambda t: change(nested_grad(t)), NEST)


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (lambda t: None, r"cost returned None at theta: does it end with a return statement\?"),
        (lambda t: t**2, r"cost returned an array of shape \(3,\).*a sum or a mean over the ex"),
        (
            lambda t: complex(t.sum()),
            r"cost returned the complex number .*take the real part or the squared modulus",
        ),
        (lambda t: (1.0, t), r"cost returned a tuple of 2 .*returns \(J, gradient\), .*grad=True"),
        (lambda t: "1.0", r"cost returned a str at theta\. It must return one real number"),
        (lambda t: np.nan, r"J is nan at theta: there is no derivative\. log\(0\), a division by "),
        (lambda t: -np.inf, r"J is -inf at theta: .*check at a point where J is finite"),
        (3.0, r"cost is a float, which cannot be called; pass the function J"),
    ],
)
def test_cost(cost: Any, message: str) -> None:
    refused(message, cost)


def test_cost_of_a_float32_theta() -> None:
    refused(r"cost returned None at theta", lambda t: None, theta=THETA.astype(np.float32))


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


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (0, r"sample=0 components cannot be drawn from 8; use 1 to 8, or None for all"),
        (-3, r"sample=-3 components cannot be drawn from 8"),
        (9, r"sample=9 components cannot be drawn from 8; use 1 to 8"),
        (0.0, r"sample=0\.0 is not a fraction in \(0, 1\]; for a number .* e\.g\. sample=8\."),
        (-0.5, r"sample=-0\.5 is not a fraction in \(0, 1\]"),
        (5.0, r"sample=5\.0 is not a fraction in \(0, 1\]; .* pass an int, e\.g\. sample=5\."),
        (np.nan, r"sample=nan is not a fraction"),
        (np.inf, r"sample=inf is not a fraction"),
        (True, r"sample=True is ambiguous: use a fraction such as 0\.1, a number of components"),
        ("all", r"sample is a str; use None, a fraction, a number of components, an array of"),
        ([1, 2, 1], r"sample contains the index 1 more than once; each .* is measured once"),
        ([0, 8], r"sample contains the index 8, outside 0 to 7"),
        ([-1], r"sample contains the index -1, outside 0 to 7"),
        ([], r"sample has shape \(0,\); indices are a flat, non-empty list of integers"),
        ([[1, 2]], r"sample has shape \(1, 2\); indices are a flat"),
        (np.ones(8, bool), r"sample has dtype bool; indices are integers"),
        ([0.1, 0.2], r"sample has dtype float64; indices are integers\. For a fraction or a num"),
        ({"W2": 1}, r"sample names the block 'W2', which theta does not have; .* are W1, b1\."),
        ({"W1": 7}, r"sample\['W1'\]=7 components cannot be drawn from 6"),
        ({"b1": [2]}, r"sample\['b1'\] contains the index 2, outside 0 to 1"),
        ({"b1": False}, r"sample\['b1'\]=False is ambiguous"),
        ({}, r"sample=\{\} names no block, so that nothing would be checked; .* of W1, b1\."),
    ],
)
def test_sample(sample: Any, message: str) -> None:
    refused(message, nested_cost, nested_grad, NEST, sample=sample)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (
            {"W": (2, 2)},
            r"layout= adds up to 4 entries \(W: 4\), but theta has 3, 1 fewer: is a block missing",
        ),
        ({"a": 1, "b": 1}, r"adds up to 2 entries \(a: 1 \+ b: 1\), but theta has 3, 1 more"),
        ({"W": (3, 0)}, r"layout\['W'\] is \(3, 0\): a block needs a name and a shape of positive"),
        ({}, r"layout=\{\} names no block: use a dict of names and shapes"),
        ([3], r"layout=\[3\] names no block"),
    ],
)
def test_layout(layout: Any, message: str) -> None:
    refused(message, layout=layout)


def test_layout_of_a_nest() -> None:
    refused(r"theta is a dict, which has names of its own", theta=NEST, layout={"W1": 8})


@pytest.mark.parametrize(
    ("epsilon", "message"),
    [
        (0, r"epsilon=0 is not a step: use \"auto\", or a positive number in theta's units such"),
        (-1e-6, r"epsilon=-1e-06 is not a step"),
        (np.nan, r"epsilon=nan is not a step"),
        (np.inf, r"epsilon=inf is not a step"),
        (True, r"epsilon=True is not a step"),
        ("small", r"epsilon='small' is not a step"),
        ([1e-6], r"epsilon=\[1e-06\] is not a step"),
        ({"W1": -1.0}, r"epsilon\['W1'\]=-1\.0 is not a step"),
        ({"W7": 1e-6}, r"epsilon names the block 'W7', which theta does not have; .* W1, b1\."),
        (
            1e-17,
            r"epsilon=1e-17 is too small for W1\[0, 0\] = 1: theta \+ epsilon is theta in float64\."
            r" Use epsilon >= 6e-06, or epsilon=\"auto\"",
        ),
    ],
)
def test_epsilon(epsilon: Any, message: str) -> None:
    refused(message, nested_cost, nested_grad, NEST, epsilon=epsilon)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("scheme", "centre", r"scheme='centre' is not a difference scheme; use one of 'central', "),
        ("scheme", 2, r"scheme=2 is not a difference scheme"),
        ("engine", "jax", r"engine='jax' is not an engine; use one of 'auto', 'numba', 'python'"),
        ("engine", None, r"engine=None is not an engine"),
        ("strategy", "spot", r"strategy='spot' is not a strategy; use one of 'auto', 'comp"),
        ("args", [1], r"args is a list; pass a tuple, e\.g\. args=\(X, y\) or args=\(X,\)"),
        ("args", np.ones(3), r"args is a ndarray; pass a tuple"),
        ("seed", -1, r"seed=-1 is not a seed; use a non-negative integer"),
        ("seed", 1.5, r"seed=1\.5 is not a seed"),
        ("n_jobs", 0, r"n_jobs=0 is not a number of workers: use 1, 2, \.\.\., or -1 for all"),
        ("threshold", 0.0, r"threshold=0\.0 is not a tolerance; use a positive number such as"),
        ("threshold", "tight", r"threshold='tight' is not a tolerance"),
        ("threshold", 0.9, r"threshold=0\.9 lets everything pass: a gradient of twice the right"),
        ("threshold", 1e-17, r"threshold=1e-17 cannot be met: the gradient's eps is 2e-16\. Use "),
        ("rtol", -1.0, r"rtol=-1\.0 is not a tolerance"),
        ("rtol", 2.0, r"rtol=2 lets everything pass"),
        ("rtol", True, r"rtol=True is not a tolerance"),
        ("bounds", 3.0, r"bounds must be a pair \(low, high\), each a number or of theta's struct"),
        ("bounds", (1.0, 5.0), r"theta\[1\] = -2 lies outside its bounds \[1, 5\]; check at a po"),
    ],
)
def test_options(option: str, value: Any, message: str) -> None:
    given = {"seed": 0, option: value}
    with pytest.raises(GradcheckInputError, match=message):
        fgc.gradcheck(Counted(), slope, THETA, **given)


def test_a_threshold_that_float32_cannot_reach() -> None:
    def single(theta: np.ndarray) -> np.float32:
        if theta.dtype != np.float32:
            raise TypeError("float32 only")
        return np.float32((theta**2).sum())

    refused(
        r"threshold=1e-07 cannot be met: J is evaluated in float32\. Use threshold >= 2e-05, or "
        r"pass theta and the gradient in float64",
        single,
        theta=THETA.astype(np.float32),
        threshold=1e-7,
    )
    refused(
        r"threshold=1e-09 cannot be met: the gradient's eps is 1e-07\. Use threshold >= 1e-07",
        grad=lambda t: (2 * t).astype(np.float32),
        threshold=1e-9,
    )


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

    error = refused(r"Numba cannot compile the cost for", cost, grad=np.ones(3), engine="numba")
    assert isinstance(error, TypeError)
    # The first line of Numba's reason, not its page.
    assert len(str(error)) < 600
    assert "\n" not in str(error)
    assert 'engine="python"' in str(error)


def test_grad_true_needs_a_pair() -> None:
    refused(
        r"grad=True means that cost returns \(J, gradient\), but it returned a float: ", grad=True
    )


def test_the_complex_step_needs_a_complex_cost() -> None:
    refused(
        r'scheme="complex" is not possible for this cost: .*\. Use scheme="central4"',
        scheme="complex",
    )


def test_check_points() -> None:
    points = {"init": THETA, "trained": np.array([1.0, np.nan, 0.0])}
    with pytest.raises(GradcheckInputError, match=r"at the point 'trained': theta\[1\] is nan"):
        fgc.check_points(Counted(), slope, points)
    with pytest.raises(GradcheckTypeError, match=r"must be a non-empty dict of name to theta"):
        fgc.check_points(Counted(), slope, {})
    with pytest.raises(GradcheckTypeError, match=r"cannot be the gradient at several points"):
        fgc.check_points(Counted(), np.ones(3), {"init": THETA})


def test_numerical_gradient_refuses_alike() -> None:
    for message, options in [
        ("cost is a float, which cannot be called", {"cost": 3.0}),
        ("args is a ndarray; pass a tuple", {"args": np.ones(2)}),
        ("engine='jax' is not an engine", {"engine": "jax"}),
        ("theta is empty", {"theta": np.zeros(0)}),
        ("J is nan at theta", {"cost": lambda t: np.nan}),
        (r"theta\[0\] = 1 lies outside its bounds", {"bounds": (2.0, 3.0)}),
    ]:
        given = {"cost": Counted(), "theta": THETA, **options}
        with pytest.raises(GradcheckInputError, match=message):
            fgc.numerical_gradient(given.pop("cost"), given.pop("theta"), **given)
