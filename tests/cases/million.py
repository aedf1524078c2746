"""The 784-1000-256-10 network: 1,043,826 parameters in a flat theta, in NumPy or compiled.

tanh or ReLU, cross entropy, a batch of 32. Its costs are plain functions that `njit` takes as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

import fastgradcheck as fgc

Array = NDArray[np.float64]

SIZES = (784, 1000, 256, 10)
BATCH = 32


LAYOUT = {
    name: shape
    for k, (rows, columns) in enumerate(pairwise(SIZES), 1)
    for name, shape in ((f"W{k}", (rows, columns)), (f"b{k}", (columns,)))
}
ENDS = np.cumsum([int(np.prod(shape)) for shape in LAYOUT.values()])
END1, END2, END3, END4, END5, END6 = (int(end) for end in ENDS)
INPUTS, FIRST, SECOND, CLASSES = SIZES


@register_jitable
def scores(theta, X, relu):
    """The network's output, of the flat theta."""
    H1 = X @ theta[:END1].reshape(INPUTS, FIRST) + theta[END1:END2]
    H1 = np.maximum(H1, 0.0) if relu else np.tanh(H1)
    H2 = H1 @ theta[END2:END3].reshape(FIRST, SECOND) + theta[END3:END4]
    H2 = np.maximum(H2, 0.0) if relu else np.tanh(H2)
    return H2 @ theta[END4:END5].reshape(SECOND, CLASSES) + theta[END5:END6]


@register_jitable
def cross_entropy(Z, Y):
    """Mean over the batch; one shift for all, which no exponential of these sizes needs."""
    top = np.max(Z)
    return np.sum(np.log(np.sum(np.exp(Z - top), 1)) + top - np.sum(Z * Y, 1)) / len(Y)


def tanh_cost(theta, X, Y):
    """Mean cross entropy of the tanh network."""
    return cross_entropy(scores(theta, X, False), Y)


def relu_cost(theta, X, Y):
    """Mean cross entropy of the ReLU network."""
    return cross_entropy(scores(theta, X, True), Y)


def layers(flat: Array) -> dict[str, Array]:
    """Views of the layers of a flat vector, by name."""
    parts = zip(np.split(flat, ENDS[:-1]), LAYOUT.items(), strict=True)
    return {name: part.reshape(shape) for part, (name, shape) in parts}


def gradient(theta: Array, X: Array, Y: Array, relu: bool) -> Array:
    """Back-propagation, flat."""
    w = layers(theta)

    def activate(Z: Array) -> Array:
        return np.maximum(Z, 0.0) if relu else np.tanh(Z)

    def slope(H: Array) -> Array:
        return (H > 0).astype(np.float64) if relu else 1 - H**2

    H1 = activate(X @ w["W1"] + w["b1"])
    H2 = activate(H1 @ w["W2"] + w["b2"])
    Z = H2 @ w["W3"] + w["b3"]
    P = np.exp(Z - Z.max(axis=1, keepdims=True))
    D3 = (P / P.sum(axis=1, keepdims=True) - Y) / len(X)
    D2 = D3 @ w["W3"].T * slope(H2)
    D1 = D2 @ w["W2"].T * slope(H1)
    parts = (X.T @ D1, D1.sum(0), H1.T @ D2, D2.sum(0), H2.T @ D3, D3.sum(0))
    return np.concatenate([part.ravel() for part in parts])


@dataclass(frozen=True, eq=False)
class Network:
    """A network at random parameters, with data and its correct gradient."""

    name: str
    cost: Callable[..., float]
    theta: Array
    args: tuple[Array, Array]
    grad: Array
    share: float = 1.0

    @classmethod
    def drawn(cls, name: str, cost: Callable[..., float], relu: bool, seed: int) -> Network:
        """He or LeCun weights, biases of a tenth, standard normal data."""
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((BATCH, SIZES[0]))
        Y = np.eye(SIZES[-1])[rng.integers(0, SIZES[-1], BATCH)]
        theta = rng.standard_normal(ENDS[-1])
        for part in layers(theta).values():
            part *= np.sqrt((1 + relu) / len(part)) if part.ndim == 2 else 0.1
        return cls(name, cost, theta, (X, Y), gradient(theta, X, Y, relu))

    def check(self, grad: Array, seed: int) -> fgc.GradcheckResult:
        """Cover all of it by directions."""
        return fgc.gradcheck(
            self.cost,
            grad,
            self.theta,
            args=self.args,
            layout=LAYOUT,
            strategy="screen",
            seed=seed,
        )
