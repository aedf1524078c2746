"""Derivatives of astropy's models: which of them are right is decided by differences of the model.

The reference is NumPy alone: central differences at two steps, extrapolated.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.jacobians import extrapolated

pytest.importorskip("astropy")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from astropy.modeling import models

RNG = np.random.default_rng(0)
DEGREES = {"1D": (3,), "2D": (2, 2)}
FUNCTIONS = [
    "ArcTangent1D", "Cosine1D", "Drude1D", "Exponential1D", "Gaussian1D", "Gaussian2D", "Linear1D",
    "Logarithmic1D", "Lorentz1D", "Lorentz2D", "Moffat1D", "Moffat2D", "Planar2D", "Plummer1D",
    "Sine1D", "Tangent1D", "BrokenPowerLaw1D", "ExponentialCutoffPowerLaw1D", "LogParabola1D",
    "PowerLaw1D", "SmoothlyBrokenPowerLaw1D",
]  # fmt: skip
POLYNOMIALS = [
    "Chebyshev1D", "Hermite1D", "Legendre1D", "Chebyshev2D", "Hermite2D", "Legendre2D",
]  # fmt: skip
POINTS = RNG.uniform(0.3, 3, (2, 40))


def posed(name):
    """A model as a function of its parameters, its Jacobian, and parameters unlike the defaults."""
    model = getattr(models, name)(*(DEGREES[name[-2:]] if name in POLYNOMIALS else ()))
    x = POINTS[: model.n_inputs]
    rng = np.random.default_rng(len(name))
    theta = np.array(model.parameters) * rng.uniform(1, 1.3, len(model.parameters))
    theta += rng.uniform(0, 0.2, len(theta))

    def fun(t):
        if name not in POLYNOMIALS:
            return np.asarray(model.evaluate(*x, *t))
        mine = model.copy()
        mine.parameters = t
        return mine(*x)

    def jac(t):
        columns = model.fit_deriv(*x, *t)
        if not model.col_fit_deriv:
            return np.asarray(columns)
        return np.stack([np.broadcast_to(column, x[0].shape) for column in columns], axis=1)

    return fun, jac, theta


@pytest.mark.parametrize("strategy", ["components", "screen"])
@pytest.mark.parametrize("name", FUNCTIONS + POLYNOMIALS)
def test_derivatives_of_models(name, strategy):
    fun, jac, theta = posed(name)
    true, claimed = extrapolated(fun, theta), jac(theta)
    off = np.abs(true - claimed) > 1e-5 * np.abs(true).max(axis=0)
    result = fgc.jaccheck(fun, jac, theta, strategy=strategy, seed=1)
    assert result.verdict is (Verdict.WRONG if off.any() else Verdict.AGREES)
    if strategy == "screen" or not off.any():
        return
    columns = {int(address.rpartition("[")[2][:-1]) for address in result.wrong}
    assert columns == set(np.flatnonzero(off.any(axis=0)).tolist())
