"""Scalar functions whose derivatives are known to 50 digits.

Every function is written once, over a small namespace of elementary functions, so that NumPy and
mpmath evaluate the same formula: the gradient of the mpmath version *is* the exact gradient of
what the NumPy version rounds. It is taken by central differences at 120 digits with a step of
1e-40, whose truncation error (relative order 1e-80) lies far below the 50 digits that are kept.
All constants are exact in float32, so that both dtypes stand for the same function.

`Case.at` moves a function to other scales, ``a * f(theta / s)``, and gives the exact gradient at
the very floats that the cost receives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
import scipy.special
from numpy.typing import NDArray

Array = NDArray[Any]
Formula = Callable[[Array, SimpleNamespace], Any]

_DIGITS = 120
_STEP = "1e-40"

NUMPY = SimpleNamespace(
    exp=np.exp,
    log=np.log,
    log1p=np.log1p,
    sqrt=np.sqrt,
    sin=np.sin,
    cos=np.cos,
    tanh=np.tanh,
    arctan=np.arctan,
    erf=scipy.special.erf,
    gammaln=scipy.special.gammaln,
    positive=lambda x: np.maximum(x, 0),
    maximum=np.max,
    constant=lambda values, like: np.asarray(values).astype(like.dtype),
)

_EXACT = {
    name: np.frompyfunc(getattr(mpmath, name), 1, 1)
    for name in ("exp", "log", "log1p", "sqrt", "sin", "cos", "tanh", "erf")
}
MPMATH = SimpleNamespace(
    **_EXACT,
    arctan=np.frompyfunc(mpmath.atan, 1, 1),
    gammaln=np.frompyfunc(mpmath.loggamma, 1, 1),
    positive=np.frompyfunc(lambda x: x if x > 0 else mpmath.mpf(0), 1, 1),
    maximum=max,
    constant=lambda values, like: to_mpmath(values),
)


def to_mpmath(values: Any) -> Array:
    """The same numbers, without rounding, as an object array of mpf."""
    return np.vectorize(lambda v: mpmath.mpf(float(v)), otypes=[object])(np.asarray(values))


@dataclass(frozen=True)
class Posed:
    """A function at one point, dtype and scale, with its exact gradient.

    Attributes
    ----------
    cost : callable
        ``cost(theta) -> float``; computes in the dtype of theta, complex128 included.
    theta : float64 or float32 array, shape (n,)
    exact : float64 array, shape (n,)
        The gradient at theta, rounded once from 50 digits.
    """

    cost: Callable[[Array], Any]
    theta: Array
    exact: NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """A function of the collection.

    Attributes
    ----------
    name : str
    formula : callable
        ``formula(x, m)``, with the elementary functions taken from ``m``.
    theta : tuple of float
        The point, before scaling.
    """

    name: str
    formula: Formula
    theta: tuple[float, ...]

    def at(self, dtype: Any = np.float64, a: float = 1.0, s: float = 1.0) -> Posed:
        """Pose ``a * f(theta / s)`` at ``s * theta``, everything rounded to `dtype` first."""
        dtype = np.dtype(dtype).type
        a, s = dtype(a), dtype(s)
        theta = (np.asarray(self.theta) * float(s)).astype(dtype)

        def cost(x: Array) -> Any:
            # Outside of its domain a formula is nan, or inf, without a warning.
            with np.errstate(all="ignore"):
                value = x.dtype.type(a) * self.formula(x / x.dtype.type(s), NUMPY)
            return complex(value) if np.iscomplexobj(x) else float(value)

        return Posed(cost, theta, self._exact(theta, float(a), float(s)))

    def _exact(self, theta: Array, a: float, s: float) -> NDArray[np.float64]:
        with mpmath.workdps(_DIGITS):
            x = to_mpmath(theta) / mpmath.mpf(s)
            h = mpmath.mpf(_STEP)
            gradient = []
            for i in range(x.size):
                up, down = x.copy(), x.copy()
                up[i] += h
                down[i] -= h
                difference = self.formula(up, MPMATH) - self.formula(down, MPMATH)
                gradient.append(float(mpmath.mpf(a) / mpmath.mpf(s) * difference / (2 * h)))
        return np.array(gradient)


_rng = np.random.default_rng(20)
# Eighths are exact in float32 and their products in float64.
_DATA = np.round(_rng.normal(size=(12, 4)) * 8) / 8
_LABELS = (_DATA @ np.array([1.0, -0.5, 0.25, 0.75]) > 0).astype(float)
_CLASSES = np.eye(3)[_rng.integers(0, 3, size=12)]
_COUNTS = np.array([0.5, 1.25, 2.0, 3.5, 0.75, 1.5])
_RESIDUALS = np.array([-3.0, -0.5, 0.25, 0.5, 1.5, 8.0])


def _polynomial(x: Array, m: SimpleNamespace) -> Any:
    return (x**5 - 3 * x**3 + 2 * x).sum()


def _sum_of_cubes(x: Array, m: SimpleNamespace) -> Any:
    return (x**3).sum()


def _rational(x: Array, m: SimpleNamespace) -> Any:
    return ((1 + x) / (1 + x * x)).sum()


def _logistic_loss(x: Array, m: SimpleNamespace) -> Any:
    z = m.constant(_DATA, x) @ x
    labels = m.constant(_LABELS, x)
    return (m.log1p(m.exp(-z)) + (1 - labels) * z).sum() / 12


def _softmax_cross_entropy(x: Array, m: SimpleNamespace) -> Any:
    z = m.constant(_DATA, x) @ x.reshape(4, 3)
    chosen = (z * m.constant(_CLASSES, x)).sum()
    return (m.log(m.exp(z).sum(axis=1)).sum() - chosen) / 12


def _log_sum_exp(x: Array, m: SimpleNamespace) -> Any:
    top = m.maximum(x)
    return top + m.log(m.exp(x - top).sum())


def _badly_scaled_quadratic(x: Array, m: SimpleNamespace) -> Any:
    scales = m.constant([2.0**-20, 2.0**-10, 1.0, 2.0**10, 2.0**20], x)
    return (scales * x * x).sum() / 2


def _coupled_quadratic(x: Array, m: SimpleNamespace) -> Any:
    r = m.constant(_DATA, x) @ x
    return (r * r).sum() / 24


def _rosenbrock(x: Array, m: SimpleNamespace) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def _product(x: Array, m: SimpleNamespace) -> Any:
    return x[0] * x[1] * x[2] * x[3]


def _gamma_likelihood(x: Array, m: SimpleNamespace) -> Any:
    shape, rate, y = m.exp(x[0]), m.exp(x[1]), m.constant(_COUNTS, x)
    return (m.gammaln(shape) - shape * x[1] - (shape - 1) * m.log(y) + rate * y).sum()


def _student_t_likelihood(x: Array, m: SimpleNamespace) -> Any:
    z = (m.constant(_RESIDUALS, x) - x[0]) * m.exp(-x[1])
    return (x[1] + 2 * m.log1p(z * z / 3)).sum()


def _small_network(x: Array, m: SimpleNamespace) -> Any:
    data = m.constant(_DATA, x)
    hidden = m.tanh(data @ x[:12].reshape(4, 3) + x[12:15])
    r = hidden @ x[15:18] + x[18] - m.constant(_LABELS, x)
    return (r * r).sum() / 24


def _relu_network(x: Array, m: SimpleNamespace) -> Any:
    hidden = m.positive(m.constant(_DATA, x) @ x[:8].reshape(4, 2) + x[8:10])
    r = hidden @ x[10:12] - m.constant(_LABELS, x)
    return (r * r).sum() / 24


def _gaussian_process(x: Array, m: SimpleNamespace) -> Any:
    # Two observations: determinant and inverse in closed form.
    off = m.exp(x[0]) * m.exp(-m.exp(x[1]) / 2)
    diagonal = m.exp(x[0]) + m.exp(x[2])
    determinant = diagonal * diagonal - off * off
    quadratic = (diagonal * (1 + 4) - 2 * off * 2) / determinant
    return (quadratic + m.log(determinant)) / 2


CASES = (
    Case("polynomial", _polynomial, (-1.3, 0.2, 0.9, 2.1)),
    Case("sum of cubes", _sum_of_cubes, (1.0, -0.5, 3.0, 1e-3)),
    Case("exp", lambda x, m: m.exp(x).sum(), (-4.0, 0.1, 2.5)),
    Case("steep exp", lambda x, m: m.exp(20 * x).sum(), (0.5, 0.9, 1.0)),
    Case("log", lambda x, m: m.log(x).sum(), (0.01, 0.7, 5.0)),
    Case("x log x", lambda x, m: (x * m.log(x)).sum(), (0.05, 0.3, 0.65)),
    Case("sin 50x", lambda x, m: m.sin(50 * x).sum(), (0.31, 1.7, -0.62)),
    Case("sin 1000x", lambda x, m: m.sin(1000 * x).sum(), (0.2, 1.1)),
    Case("rational", _rational, (-0.7, 0.1, 2.0)),
    Case("pole nearby", lambda x, m: (1 / (x - 1)).sum(), (1.001, 0.98, 1.5)),
    Case("sqrt near zero", lambda x, m: m.sqrt(x).sum(), (1e-4, 1e-2, 0.5)),
    Case("logistic loss", _logistic_loss, (0.4, -0.2, 0.7, 0.1)),
    Case("softmax cross-entropy", _softmax_cross_entropy, tuple(np.linspace(-0.8, 0.9, 12))),
    Case("log-sum-exp", _log_sum_exp, (-2.0, 0.3, 1.1, 3.0)),
    Case("badly scaled quadratic", _badly_scaled_quadratic, (1.3, -0.7, 0.9, 1.1, -0.6)),
    Case("badly scaled point", lambda x, m: (x * x).sum(), (1e-5, 1e-2, 1.0, 1e2)),
    Case("coupled quadratic", _coupled_quadratic, (0.9, -1.1, 0.3, 2.0)),
    Case("rosenbrock", _rosenbrock, (-1.2, 1.0, 0.5, 1.7)),
    Case("product", _product, (0.3, -2.0, 1.7, 0.9)),
    Case("erf", lambda x, m: m.erf(x).sum(), (-1.5, 0.2, 0.9)),
    Case("gamma likelihood", _gamma_likelihood, (0.4, -0.3)),
    Case("student-t likelihood", _student_t_likelihood, (0.2, -0.4)),
    Case("tanh network", _small_network, tuple(np.round(_rng.normal(size=19) * 64) / 64)),
    Case("relu network", _relu_network, tuple(np.round(_rng.normal(size=12) * 64) / 64 + 0.01)),
    Case("near-cancelling", lambda x, m: (1 - m.cos(x)).sum(), (1e-3, 0.02, 0.4)),
    Case("large offset", lambda x, m: 2.0**20 + m.sin(x).sum(), (0.3, 1.2)),
    Case("flat at an optimum", lambda x, m: ((x - 1) ** 4).sum(), (1.01, 0.9, 1.2)),
    Case("near an optimum", lambda x, m: ((x - 1) ** 2).sum() + 1, (1.0009765625, 0.99, 1.1)),
    Case("|x|^1.5", lambda x, m: (m.sqrt(abs(x)) * abs(x)).sum(), (-0.4, 0.03, 1.2)),
    Case("relu", lambda x, m: m.positive(x).sum(), (-0.3, 0.02, 1.4)),
    Case("saturated tanh", lambda x, m: m.tanh(x).sum(), (-4.0, 3.0, 0.1)),
    Case("arctan", lambda x, m: m.arctan(3 * x).sum(), (-0.8, 0.05, 2.0)),
    Case("gaussian bump", lambda x, m: m.exp(-(x * x).sum()), (0.5, -1.1, 0.8)),
    Case("gaussian process", _gaussian_process, (0.2, -0.5, -2.0)),
)
