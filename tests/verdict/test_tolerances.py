"""What is allowed, what is taken where nothing is given, and what is refused."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective, Problem
from fastgradcheck.verdict.tolerances import Tolerances, tolerances

DOUBLE, SINGLE = 2.0**-52, 2.0**-23
NAN, INF = np.nan, np.inf


def problem_of(dtype=np.float64, eps=DOUBLE) -> Problem:
    theta = np.ones(2, dtype)
    objective = Objective(lambda t: 0.0, (), describe(theta), theta)
    return Problem(objective, np.ones(2), eps, 0.0)


class TestAllowed:
    def test_against_fractions(self):
        """rtol max(|grad|, |gradapprox|) + 8 eps max|grad of its block|."""
        own = Tolerances(1e-7, 2.0**-10, 2.0**-20)
        for claim, measured, largest in product((-3, 0, 1), (-2, 0, 5), (0, 7)):
            exact = Fraction(max(abs(claim), abs(measured)), 2**10) + Fraction(8 * largest, 2**20)
            found = own.allowed(np.array([float(claim)]), np.array([float(measured)]), largest)
            assert found.tolist() == [float(exact)]

    def test_entry_by_entry(self):
        own = Tolerances(1e-7, 0.5, 0.0)
        found = own.allowed(np.array([1.0, -8.0, 0.0]), np.array([2.0, 4.0, 0.0]), 8.0)
        assert found.tolist() == [1.0, 4.0, 0.0]

    def test_one_that_is_no_number_does_not_count(self):
        own = Tolerances(1e-7, 0.5, 0.0)
        found = own.allowed(np.array([NAN, 4.0, NAN]), np.array([2.0, NAN, NAN]), 1.0)
        np.testing.assert_array_equal(found, [1.0, 2.0, NAN])


class TestDefaults:
    @pytest.mark.parametrize(
        ("dtype", "eps", "expected"),
        [
            (np.float64, DOUBLE, Tolerances(1e-7, 1e-5, DOUBLE, 1e-2)),
            (np.float64, SINGLE, Tolerances(1e-6, 1e-3, SINGLE, 1e-2)),
            (np.float32, SINGLE, Tolerances(1e-3, 1e-2, SINGLE, 0.1)),
            (np.float32, DOUBLE, Tolerances(1e-3, 1e-2, DOUBLE, 0.1)),
        ],
    )
    def test_by_dtype(self, dtype, eps, expected):
        assert tolerances(problem_of(dtype, eps), None, None) == expected

    def test_each_may_be_given_alone(self):
        assert tolerances(problem_of(), 1e-9, None) == Tolerances(1e-9, 1e-5, DOUBLE)
        assert tolerances(problem_of(), None, 1e-3) == Tolerances(1e-7, 1e-3, DOUBLE)

    @pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16])
    def test_numbers_of_numpy(self, kind):
        found = tolerances(problem_of(), kind(0.125), None).threshold
        assert (found, type(found)) == (0.125, float)


class TestRefused:
    @pytest.mark.parametrize(
        "value", [0, -0.0, NAN, INF, -INF, False, True, "1e-7", [1e-7], 1j, {}]
    )
    @pytest.mark.parametrize("name", ["threshold", "rtol"])
    def test_what_is_no_tolerance(self, name, value):
        with pytest.raises(GradcheckInputError) as caught:
            tolerances(problem_of(), **({"threshold": None, "rtol": None} | {name: value}))
        expected = f"{name}={value!r} is not a tolerance; use a positive number such as 1e-7."
        assert str(caught.value) == expected

    @pytest.mark.parametrize("name", ["threshold", "rtol"])
    def test_what_lets_everything_pass(self, name):
        none = {"threshold": None, "rtol": None}
        tolerances(problem_of(), **(none | {name: np.nextafter(0.5, 0.0)}))
        with pytest.raises(GradcheckInputError) as caught:
            tolerances(problem_of(), **(none | {name: 0.5}))
        assert str(caught.value) == (
            f"{name}=0.5 lets everything pass: a gradient of twice the right size has a relative "
            f"difference of 1/3, one of zeros has 1. Use {name} <= 1e-2."
        )

    @pytest.mark.parametrize(
        ("dtype", "eps", "reachable", "what"),
        [
            (np.float64, DOUBLE, DOUBLE, "the gradient's eps is 2e-16. Use rtol >= 3e-16."),
            (
                np.float64,
                SINGLE,
                SINGLE,
                "the gradient's eps is 1e-07. Use rtol >= 2e-07, or pass theta and the gradient "
                "in float64.",
            ),
            (
                np.float32,
                SINGLE,
                SINGLE ** (2 / 3),
                "J is evaluated in float32. Use rtol >= 3e-05, or pass theta and the gradient in "
                "float64.",
            ),
        ],
    )
    def test_what_the_dtypes_cannot_reach(self, dtype, eps, reachable, what):
        problem = problem_of(dtype, eps)
        assert tolerances(problem, None, reachable).rtol == reachable
        below = float(np.nextafter(reachable, 0.0))
        with pytest.raises(GradcheckInputError) as caught:
            tolerances(problem, None, below)
        assert str(caught.value) == f"rtol={below:g} cannot be met: {what}"


@pytest.mark.parametrize("value", [np.complex128(1e-6 + 1j), 1e-6 + 0j])
def test_a_complex_number_is_no_tolerance(value: complex) -> None:
    with pytest.raises(GradcheckInputError, match="is not a tolerance; use a positive number"):
        tolerances(problem_of(), value, None)


@pytest.mark.parametrize(
    ("threshold", "rtol"),
    [(None, 1e-5), (1e-9, 1e-5), (1e-7, 1e-5), (1e-6, 1e-4), (1e-4, 1e-2), (1e-2, 0.1)],
)
def test_a_component_is_allowed_as_much_more_as_the_threshold_allows(threshold, rtol) -> None:
    assert tolerances(problem_of(), threshold, None).rtol == pytest.approx(rtol)
    assert tolerances(problem_of(), threshold, 3e-5).rtol == 3e-5
