"""Schemes, steps and executors of Jacobians: what each does, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.optimize

import fastgradcheck as fgc
from tests.cases.jacobians import tanh_layer

SMALL = tanh_layer(6, 9)
LARGE = tanh_layer(20, 100)


@pytest.mark.parametrize("strategy", ["components", "screen"])
@pytest.mark.parametrize("scheme", ["central4", "complex", "central", "forward"])
def test_every_scheme_agrees_and_names_a_wrong_entry(scheme, strategy):
    fun, jac, theta = SMALL
    options = {"scheme": scheme, "strategy": strategy, "seed": 1}
    right = fgc.jaccheck(fun, jac, theta, **options)
    assert right
    assert right.scheme == scheme
    wrong = jac(theta)
    wrong[3, 5] *= 1.001
    assert fgc.jaccheck(fun, wrong, theta, **options).wrong == ("F[3] / theta[5]",)


@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_complex_steps_are_exact_and_cost_one_evaluation(strategy):
    fun, jac, theta = LARGE
    options = {"strategy": strategy, "seed": 1}
    by_five = fgc.jaccheck(fun, jac, theta, **options)
    result = fgc.jaccheck(fun, jac, theta, scheme="complex", **options)
    # Rounding of a thousand operations; a difference has eight digits less.
    assert result.limit < 1e-10
    assert result.limit < by_five.limit / 100
    if strategy == "components":
        # Beside 100 columns: the guards, the noise, and two directions that are compared.
        assert 100 < result.evaluations <= 130 < 400 < by_five.evaluations


@pytest.mark.parametrize("seed", range(4))
def test_what_rounding_the_claim_takes_from_values_is_no_disagreement(seed):
    # 1 - tanh^2 has no more digits than 1 has where tanh is close to it.
    A = np.random.default_rng(seed).normal(size=(30, 80))
    theta = np.random.default_rng(seed + 100).normal(size=80) / 3

    def jac(t):
        return (1 - np.tanh(A @ t) ** 2)[:, np.newaxis] * A

    result = fgc.jaccheck(lambda t: np.tanh(A @ t), jac, theta, scheme="complex", seed=seed)
    assert result
    assert result.limit < 1e-9
    wrong = jac(theta)
    wrong[4, 7] *= 1.001
    found = fgc.jaccheck(lambda t: np.tanh(A @ t), wrong, theta, scheme="complex", seed=seed)
    assert found.wrong == ("F[4] / theta[7]",)


def test_outputs_that_are_not_analytic_are_named():
    def fun(t):
        return np.array([t[0] * t[1], abs(t[0]) * t[1], t[1] ** 3])

    said = r"cannot be trusted for this fun in F\[1\]: along a random direction complex steps show"
    with pytest.raises(fgc.GradcheckInputError, match=said):
        fgc.jaccheck(fun, np.eye(3, 2), np.array([1.0, 2.0]), scheme="complex")
    with pytest.raises(fgc.GradcheckInputError, match=said):
        fgc.numerical_jacobian(fun, np.array([1.0, 2.0]), scheme="complex")


def test_a_function_that_takes_no_complex_array_is_told_so():
    def fun(t):
        return [float(x) ** 2 for x in t]

    with pytest.raises(
        fgc.GradcheckInputError, match=r"is not possible for this fun: .*Use scheme=\"central4\""
    ):
        fgc.jaccheck(fun, np.eye(2), np.ones(2), scheme="complex")
    with pytest.raises(
        fgc.GradcheckInputError, match=r"sees no derivative\. Use scheme=\"central4\""
    ):
        fgc.jaccheck(np.abs, np.eye(2), np.ones(2), scheme="complex")


def test_a_hessian_by_complex_steps():
    theta = np.linspace(-1.0, 1.0, 6)
    rosen_der, rosen_hess = scipy.optimize.rosen_der, scipy.optimize.rosen_hess

    def grad(t):  # SciPy's own drops the imaginary part
        out = np.zeros_like(t)
        out[1:] += 200 * (t[1:] - t[:-1] ** 2)
        out[:-1] += -400 * t[:-1] * (t[1:] - t[:-1] ** 2) - 2 * (1 - t[:-1])
        return out

    np.testing.assert_allclose(grad(theta), rosen_der(theta))
    assert fgc.hesscheck(grad, rosen_hess, theta, scheme="complex").limit < 1e-11


@pytest.mark.parametrize("epsilon", [1e-4, {"W": 1e-4}])
def test_a_step_of_the_users_own_is_taken(epsilon):
    fun, jac, theta = SMALL
    moved = []

    def seen(t):
        moved.append(np.abs(t - theta).max())
        return fun(t)

    layout = {"W": (2, 3), "b": (3,)}
    assert fgc.jaccheck(seen, jac, theta, epsilon=epsilon, layout=layout, seed=1)
    taken = np.isclose(moved, 1e-4, rtol=1e-9) | np.isclose(moved, 2e-4, rtol=1e-9)
    assert taken.sum() == 4 * (9 if epsilon == 1e-4 else 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "central5"}, "scheme='central5' is not a difference scheme"),
        ({"epsilon": 0.0}, r"epsilon=0\.0 is not a step"),
        ({"epsilon": {"W": 1e-6}}, "epsilon names the block 'W', which theta does not have"),
        ({"epsilon": 1e-30}, r"epsilon=1e-30 is too small for theta\[0\]"),
    ],
)
def test_what_is_no_scheme_and_no_step_is_refused(options, message):
    fun, jac, theta = SMALL
    with pytest.raises(fgc.GradcheckInputError, match=message):
        fgc.jaccheck(fun, jac, theta, **options)
    with pytest.raises(fgc.GradcheckInputError, match=message):
        fgc.numerical_jacobian(fun, theta, **options)


def test_a_numerical_jacobian_is_exact_by_complex_steps_and_has_bars_of_its_own():
    fun, jac, theta = SMALL
    numeric = fgc.numerical_jacobian(fun, theta, scheme="complex")
    assert (np.abs(numeric.value - jac(theta)) <= numeric.error).all()
    assert (numeric.error <= 1e-12 * np.abs(jac(theta))).all()
    with pytest.raises(fgc.GradcheckInputError, match="'central' does not tell how far each"):
        fgc.numerical_jacobian(fun, theta, scheme="central")
    coarse = fgc.numerical_jacobian(fun, theta, epsilon=1e-3)
    assert (np.abs(coarse.value - jac(theta)) <= coarse.error).all()


def test_an_executor_evaluates_and_changes_no_bit():
    fun, jac, theta = LARGE
    here = fgc.jaccheck(fun, jac, theta, strategy="components", seed=1)
    with ThreadPoolExecutor(2) as executor:
        there = fgc.jaccheck(fun, jac, theta, strategy="components", seed=1, executor=executor)
    assert there.n_jobs == 2
    np.testing.assert_array_equal(here.components, there.components)
