"""Numerical Jacobians: bars that hold the true one, and shapes of outputs and parameters."""

from __future__ import annotations

import numpy as np

import fastgradcheck as fgc
from tests.cases.jacobians import tanh_layer, two_outputs


def test_a_numerical_jacobian_holds_the_true_one_in_its_bars():
    fun, jac, theta = tanh_layer(40, 300)
    numeric = fgc.numerical_jacobian(fun, theta)
    assert numeric.value.shape == (40, 300)
    assert (np.abs(numeric.value - jac(theta)) <= numeric.error).mean() >= 0.999
    assert np.median(numeric.error) < 1e-9
    assert "evaluations of F" in repr(numeric)


def test_a_numerical_jacobian_keeps_the_shapes_of_outputs_and_parameters():
    fun, jac, theta = two_outputs()
    numeric = fgc.numerical_jacobian(fun, theta)
    true = jac(theta)
    true["end"]["W"] = np.zeros((4, 3, 4))
    for output in ("defect", "end"):
        for name in ("W", "b"):
            value, error = numeric.value[output][name], numeric.error[output][name]
            assert value.shape == true[output][name].shape
            assert (np.abs(value - true[output][name]) <= error).all()


def test_at_a_kink_the_bar_of_a_numerical_jacobian_holds_both_slopes():
    numeric = fgc.numerical_jacobian(np.abs, np.array([0.0, 2.0]))
    assert numeric.error[0, 0] >= 1 - 1e-6
    assert abs(numeric.value[1, 1] - 1) <= numeric.error[1, 1] < 1e-8
