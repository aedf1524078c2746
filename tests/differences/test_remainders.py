"""The orders of Taylor's remainders: 2 for a right gradient, 1 for a wrong one."""

from __future__ import annotations

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.differences.remainders import orders
from tests.cases.jacobians import tanh_layer

H = 1e-3 * np.array([[1.0, -1.0, 2.0, -2.0]])


def test_a_wrong_slope_leaves_a_remainder_of_first_order():
    right, wrong = (orders(np.exp(H) - 1, s * H, 1e-3, 1e-16) for s in (1.0, 1.1))
    assert right.first == pytest.approx(2, abs=0.01)
    assert wrong.first == pytest.approx(1, abs=0.01)
    assert right.zeroth == pytest.approx(1, abs=0.01)


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
