"""`numerical_gradient`: its structure, its bars and its refusals."""

from __future__ import annotations

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.errors import GradcheckInputError
from tests.cases.networks import network
from tests.cases.refusals import THETA, Counted


def test_numerical_gradient_has_the_structure_of_theta_and_holds() -> None:
    cost, grad, theta, args = network()
    numeric = fgc.numerical_gradient(cost, theta, args=args)
    exact = grad(theta, *args)
    for name, part in theta.items():
        assert numeric.value[name].shape == numeric.error[name].shape == part.shape
        assert (np.abs(numeric.value[name] - exact[name]) <= numeric.error[name]).all()
        assert numeric.error[name].max() < 1e-7
    assert numeric.evaluations > 18 * 73


def test_numerical_gradient_on_a_kink_is_in_between() -> None:
    numeric = fgc.numerical_gradient(
        lambda t: float(np.abs(t[0]) + t[1] ** 2), np.array([0.0, 1.0])
    )
    assert numeric.value == pytest.approx([0.0, 2.0], abs=1e-6)
    assert numeric.error[0] == pytest.approx(1.0, abs=1e-6)


def test_numerical_gradient_keeps_the_bounds() -> None:
    seen = []

    def watched(theta: np.ndarray) -> float:
        seen.append(theta.copy())
        return float(np.exp(theta).sum())

    theta = np.array([0.0, 1.0])
    numeric = fgc.numerical_gradient(watched, theta, bounds=(0.0, 1.0))
    assert (np.abs(numeric.value - np.exp(theta)) <= numeric.error).all()
    assert np.min(seen) >= 0
    assert np.max(seen) <= 1


def len_one(t: np.ndarray) -> float:
    return float(t[0])


def test_a_list_of_numbers_is_a_vector() -> None:
    numeric = fgc.numerical_gradient(lambda t, a: float(a @ t**2), [1, 2.0], args=[np.ones(2)])
    np.testing.assert_allclose(numeric.value, [2.0, 4.0], rtol=1e-9)


def test_numerical_gradient_refuses_alike() -> None:
    for message, options in [
        ("cost is a float, which cannot be called", {"cost": 3.0}),
        (
            r"cost\(t\) does not fit the call .* with 1 in args",
            {"cost": len_one, "args": np.ones(2)},
        ),
        ("numerical_gradient has no argument eps=: its arguments are cost, theta, ", {"eps": 1}),
        ("engine='jax' is not an engine", {"engine": "jax"}),
        ("theta is empty", {"theta": np.zeros(0)}),
        ("J is nan at theta", {"cost": lambda t: np.nan}),
        (r"theta\[0\] = 1 lies outside its bounds", {"bounds": (2.0, 3.0)}),
    ]:
        given = {"cost": Counted(), "theta": THETA, **options}
        with pytest.raises(GradcheckInputError, match=message):
            fgc.numerical_gradient(given.pop("cost"), given.pop("theta"), **given)
