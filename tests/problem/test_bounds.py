"""Bounds in every form, and those that are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize

from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.problem.bounds import flat_bounds
from fastgradcheck.problem.parameters import describe

RNG = np.random.default_rng(0)
THETA = {"W": RNG.normal(size=(6, 5)), "b": RNG.normal(size=8)}


@pytest.mark.parametrize(
    "bounds",
    [
        (-2.0, 5.0),
        (np.full(3, -2.0), [5.0, 5.0, 5.0]),
        scipy.optimize.Bounds(-2.0, 5.0),
        scipy.optimize.Bounds([-2.0, -2.0, -2.0], 5.0),
    ],
)
def test_bounds_in_every_form(bounds: Any) -> None:
    theta = np.array([1.0, -2.0, 5.0])
    low, high = flat_bounds(bounds, theta, describe(theta))
    assert low.tolist() == [-2.0] * 3
    assert high.tolist() == [5.0] * 3


def test_bounds_of_a_nest() -> None:
    parameters = describe(THETA)
    low = {name: part - 1 for name, part in THETA.items()}
    flat = parameters.flatten(THETA)
    found = flat_bounds((low, np.inf), flat, parameters)
    assert found is not None
    np.testing.assert_array_equal(found[0], flat - 1)
    assert (found[1] == np.inf).all()
    assert flat_bounds(None, flat, parameters) is None
    with pytest.raises(GradcheckInputError, match=r"W\[0, 0\] = .* lies outside its bounds"):
        flat_bounds((-np.inf, low), flat, parameters)
    for bad, message in [
        (({"W": low["W"]}, 0.0), r"in bounds, theta lacks 'b'"),
        ((0.0, "high"), r"in bounds, theta is of type str"),
        ((-9.0, low["W"]), r"in bounds, theta is one array of shape \(6, 5\)"),
    ]:
        with pytest.raises(GradcheckInputError, match=message):
            flat_bounds(bad, flat, parameters)
