"""Costs of `benchmarks.problems` as one writes them in NumPy, and the same in plain Python.

Append only, like their twins in `problems`. The gradients are right: tests compare every twin's
value with the compiled one, and the network's gradient with differences.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from benchmarks import problems
from benchmarks.problems import Array, Problem

_INPUTS, _CLASSES = 64, 10


def _cross_entropy(Z: Array, y: Array) -> float:
    shifted = Z - Z.max(axis=1, keepdims=True)
    chosen = shifted[np.arange(len(y)), y]
    return float((np.log(np.exp(shifted).sum(axis=1)) - chosen).mean())


def _cross_entropy_slope(Z: Array, y: Array) -> Array:
    D = np.exp(Z - Z.max(axis=1, keepdims=True))
    D /= D.sum(axis=1, keepdims=True)
    D[np.arange(len(y)), y] -= 1.0
    return D / len(y)


def _unpack_mlp(theta: Array) -> tuple[Array, Array, Array, Array]:
    hidden = (theta.size - _CLASSES) // (_INPUTS + 1 + _CLASSES)
    a = _INPUTS * hidden
    b = a + hidden
    c = b + hidden * _CLASSES
    return (
        theta[:a].reshape(_INPUTS, hidden),
        theta[a:b],
        theta[b:c].reshape(hidden, _CLASSES),
        theta[c:],
    )


def _mlp_cost(theta: Array, X: Array, y: Array) -> float:
    W1, b1, W2, b2 = _unpack_mlp(theta)
    return _cross_entropy(np.tanh(X @ W1 + b1) @ W2 + b2, y)


def _mlp_grad(theta: Array, X: Array, y: Array) -> Array:
    W1, b1, W2, b2 = _unpack_mlp(theta)
    out = np.empty_like(theta)
    dW1, db1, dW2, db2 = _unpack_mlp(out)
    A = np.tanh(X @ W1 + b1)
    D2 = _cross_entropy_slope(A @ W2 + b2, y)
    D1 = (D2 @ W2.T) * (1.0 - A**2)
    dW1[:], db1[:] = X.T @ D1, D1.sum(axis=0)
    dW2[:], db2[:] = A.T @ D2, D2.sum(axis=0)
    return out


def mlp(hidden: int = 128, examples: int = 64) -> Problem:
    """64-hidden-10 tanh network, n = 75 hidden + 10; by default the twin of `matmul_mlp`."""
    rng = np.random.default_rng(2)
    theta = problems._glorot(rng, (_INPUTS, hidden), (hidden, _CLASSES))
    return Problem(_mlp_cost, _mlp_grad, theta, problems._classes(rng, examples, _INPUTS, _CLASSES))


def _recurrent_cost(theta: Array, X: Array, Y: Array) -> float:
    U, V, b, w = problems._unpack_recurrent.py_func(theta)
    state = np.zeros((len(X), len(b)))
    total = 0.0
    for t in range(X.shape[1]):
        state = np.tanh(state @ U.T + X[:, t] @ V.T + b)
        total += ((state @ w - Y[:, t]) ** 2).sum()
    return float(total / (2 * Y.size))


def recurrent() -> Problem:
    """The recurrent network with one line of NumPy per time step, for all sequences at once."""
    return problems.recurrent()._replace(cost=_recurrent_cost)


def _recurrent_cost_by_sequence(theta: Array, X: Array, Y: Array) -> float:
    U, V, b, w = problems._unpack_recurrent.py_func(theta)
    total = 0.0
    for x, y in zip(X, Y, strict=True):
        state = np.zeros(len(b))
        for t in range(len(x)):
            state = np.tanh(U @ state + V @ x[t] + b)
            total += (w @ state - y[t]) ** 2
    return float(total / (2 * Y.size))


def recurrent_by_sequence() -> Problem:
    """The same, one sequence after the other, as the compiled cost goes about it."""
    return problems.recurrent()._replace(cost=_recurrent_cost_by_sequence)


def _convolution_cost(theta: Array, X: Array, y: Array) -> float:
    K, b, W, c = problems._unpack_convolution.py_func(theta)
    rows, columns = X.shape[1] - K.shape[1] + 1, X.shape[2] - K.shape[2] + 1
    maps = np.empty((len(X), len(K), rows, columns))
    for i in range(rows):
        for j in range(columns):
            window = X[:, i : i + K.shape[1], j : j + K.shape[2]]
            maps[:, :, i, j] = np.tensordot(window, K, axes=((1, 2), (1, 2))) + b
    return _cross_entropy(np.tanh(maps).reshape(len(X), -1) @ W + c, y)


def convolution() -> Problem:
    """The convolution with one line of NumPy per pixel, for all images and filters at once."""
    return problems.convolution()._replace(cost=_convolution_cost)


def _logistic_cost(theta: Array, X: Array, y: Array) -> float:
    return float(np.logaddexp(0.0, -y * (X @ theta)).mean())


def _logistic_grad(theta: Array, X: Array, y: Array) -> Array:
    return X.T @ (-y / (1.0 + np.exp(y * (X @ theta))) / len(y))


def logistic(features: int = 600, examples: int = 400) -> Problem:
    """Logistic regression of two classes: a cost of about 50 microseconds for 600 weights."""
    rng = np.random.default_rng(8)
    X = rng.normal(size=(examples, features)) / np.sqrt(features)
    y = np.sign(rng.normal(size=examples))
    return Problem(_logistic_cost, _logistic_grad, rng.normal(size=features), (X, y))


def interpreted(function: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled function as plain Python, and so every compiled function that it calls."""
    plain = function.py_func  # type: ignore[attr-defined]
    scope = dict(plain.__globals__)
    for name in plain.__code__.co_names:
        if hasattr(scope.get(name), "py_func"):
            scope[name] = interpreted(scope[name])
    return FunctionType(plain.__code__, scope, plain.__name__)
