"""Residual networks of any depth, with back-propagation written by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Theta = dict[str, Array]


class Residual:
    """x + f(x W + b), layer after layer, and a squared loss, at random parameters.

    The weights are so small that the sum over all layers stays of order one.

    Parameters
    ----------
    layers : int
    relu : bool
        Or else tanh.
    seed : int
    width, batch : int
    """

    def __init__(self, layers: int, relu: bool, seed: int, width: int = 6, batch: int = 5) -> None:
        self.layers, self.relu = layers, relu
        rng = np.random.default_rng(seed)
        self.theta: Theta = {}
        for k in range(layers):
            self.theta[f"W{k}"] = rng.normal(size=(width, width)) / np.sqrt(width * layers)
            self.theta[f"b{k}"] = 0.1 * rng.normal(size=width)
        self.X, self.Y = rng.normal(size=(2, batch, width))

    def cost(self, theta: Theta) -> float:
        """The mean over the examples."""
        return float(((self.forward(theta)[-1] - self.Y) ** 2).sum() / (2 * len(self.X)))

    def forward(self, theta: Theta) -> list[Array]:
        """What enters every layer, and what leaves the last."""
        values = [self.X]
        for k in range(self.layers):
            z = values[-1] @ theta[f"W{k}"] + theta[f"b{k}"]
            values.append(values[-1] + (np.maximum(z, 0.0) if self.relu else np.tanh(z)))
        return values

    def grad(self, theta: Theta) -> Theta:
        """Back-propagation."""
        values, gradient = self.forward(theta), {}
        delta = (values[-1] - self.Y) / len(self.X)
        for k in reversed(range(self.layers)):
            a = values[k + 1] - values[k]
            inner = delta * ((a > 0) if self.relu else 1 - a * a)
            gradient[f"W{k}"], gradient[f"b{k}"] = values[k].T @ inner, inner.sum(axis=0)
            delta = delta + inner @ theta[f"W{k}"].T
        return {name: gradient[name] for name in theta}
