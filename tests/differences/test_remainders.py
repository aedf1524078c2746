"""The orders of Taylor's remainders: 2 for a right gradient, 1 for a wrong one."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize

import fastgradcheck as fgc
from fastgradcheck.differences.remainders import INTEGRALS, orders, second_order
from tests.cases.jacobians import tanh_layer

H = 1e-3 * np.array([[1.0, -1.0, 2.0, -2.0]])


def test_a_wrong_slope_leaves_a_remainder_of_first_order():
    right, wrong = (orders(np.exp(H) - 1, s * H, 1e-3, 1e-16) for s in (1.0, 1.1))
    assert right.first == pytest.approx(2, abs=0.01)
    assert wrong.first == pytest.approx(1, abs=0.01)
    assert right.zeroth == pytest.approx(1, abs=0.01)


def test_integrals_are_exact_for_polynomials_of_fourth_degree():
    at = np.array([1.0, -1.0, 2.0, -2.0])
    for degree in range(1, 5):
        true = at ** (degree + 1) / (degree + 1)
        assert INTEGRALS @ at**degree / 720 == pytest.approx(true, rel=1e-14)


def test_a_wrong_curvature_leaves_a_remainder_of_second_order():
    # J = exp: its slope changes by exp(h) - 1, and its curvature is 1.
    for curvature, order in ((1.0, 3), (1.1, 2), (0.0, 2)):
        found = second_order(np.exp(H) - 1, np.array([curvature]), 1e-3, 1e-16)
        assert found == pytest.approx(order, abs=0.02)
    # Of a quadratic J nothing is left.
    assert np.isnan(second_order(H, np.array([1.0]), 1e-3, 1e-16))


@pytest.mark.parametrize("form", ["matrix", "hvp"])
@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_a_hessian_has_three_orders(form, factor):
    theta = np.random.default_rng(0).normal(size=100)
    claims = {
        "matrix": lambda t: factor * scipy.optimize.rosen_hess(t),
        "hvp": lambda t, v: factor * scipy.optimize.rosen_hess_prod(t, v),
    }
    result = fgc.hesscheck(scipy.optimize.rosen_der, claims[form], theta, form=form, seed=1)
    zeroth, first, second, step = result.orders
    right = factor == 1
    assert zeroth == pytest.approx(1, abs=0.05)
    assert first == pytest.approx(2 if right else 1, abs=0.1)
    assert second == pytest.approx(3 if right else 2, abs=0.1)
    assert step > 0
    assert "R2 of the cost whose gradient it is" in " ".join(result.report(verbose=True).split())
    assert fgc.GradcheckResult.from_json(result.to_json()).orders == result.orders


def test_what_is_lost_in_noise_has_no_order():
    assert np.isnan(orders(H, H, 1e-3, 1e-16).first)
    assert np.isnan(orders(np.exp(H) - 1, H, 1e-3, 1e-6).first)


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_gradients_and_jacobians_have_their_orders(factor):
    fun, jac, theta = tanh_layer(30, 200)

    def cost(t):
        return float(np.sum(fun(t) ** 2))

    def grad(t):
        return factor * 2 * jac(t).T @ fun(t)

    for result in (
        fgc.gradcheck(cost, grad, theta, strategy="screen", seed=1),
        fgc.jaccheck(fun, factor * jac(theta), theta, strategy="screen", seed=1),
    ):
        zeroth, first, _ = result.orders
        assert zeroth == pytest.approx(1, abs=0.05)
        assert first == pytest.approx(2 if factor == 1 else 1, abs=0.1)
        assert "R0 of" in result.report(verbose=True)
        again = fgc.GradcheckResult.from_json(result.to_json())
        assert again.orders == result.orders
