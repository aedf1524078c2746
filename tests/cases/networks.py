"""Small multilayer perceptrons in NumPy, with back-propagation written by hand.

A network's parameters are a dict ``{"W1": (in, out), "b1": (out,), "W2": ...}``; J is the mean
loss of the batch plus ``l2 / 2`` times the squared weights. Every flaw that people make *inside*
back-propagation is a variant of the same code, chosen by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Parameters = dict[str, Array]

FLAWS = (
    "batch mean missing",
    "batch mean missing in the biases",
    "regularisation missing",
    "regularisation doubled",
    "wrong activation mask",
    "activation derivative missing",
    "stale activation",
    "last layer not transposed back",
    "bias summed over the wrong axis",
)


@dataclass(frozen=True)
class Network:
    """A perceptron with softmax cross-entropy or squared loss.

    Attributes
    ----------
    sizes : tuple of int
        Units per layer, from the input to the output.
    activation : str
        ``"tanh"``, ``"relu"`` or ``"logistic"``, of the hidden layers.
    loss : str
        ``"softmax"`` or ``"squared"``.
    l2 : float
        The weight of the penalty.
    """

    sizes: tuple[int, ...]
    activation: str = "tanh"
    loss: str = "softmax"
    l2: float = 0.01

    @property
    def layers(self) -> int:
        return len(self.sizes) - 1

    def initial(self, seed: int, dtype: Any = np.float64) -> Parameters:
        """Random parameters; the biases are not zero, so that none of them is special."""
        rng = np.random.default_rng(seed)
        theta: Parameters = {}
        for k, (rows, columns) in enumerate(pairwise(self.sizes), 1):
            theta[f"W{k}"] = (rng.normal(size=(rows, columns)) / np.sqrt(rows)).astype(dtype)
            theta[f"b{k}"] = (0.3 * rng.normal(size=columns)).astype(dtype)
        return theta

    def batch(self, seed: int, m: int, dtype: Any = np.float64) -> tuple[Array, Array]:
        """Inputs (m, in) and targets (m, out): one-hot rows, or real values."""
        rng = np.random.default_rng(seed)
        data = rng.normal(size=(m, self.sizes[0])).astype(dtype)
        if self.loss == "softmax":
            targets = np.eye(self.sizes[-1])[rng.integers(0, self.sizes[-1], size=m)]
        else:
            targets = rng.normal(size=(m, self.sizes[-1]))
        return data, targets.astype(dtype)

    def cost(self, theta: Parameters, data: Array, targets: Array) -> float:
        """The mean loss plus the penalty."""
        output = self._forward(theta, data)[-1]
        if self.loss == "softmax":
            top = output.max(axis=1, keepdims=True)
            log_sum = top[:, 0] + np.log(np.exp(output - top).sum(axis=1))
            loss = (log_sum - (output * targets).sum(axis=1)).mean()
        else:
            loss = ((output - targets) ** 2).sum() / (2 * len(data))
        weights = sum((theta[f"W{k}"] ** 2).sum() for k in range(1, self.layers + 1))
        return float(loss + self.l2 / 2 * weights)

    def grad(
        self, theta: Parameters, data: Array, targets: Array, flaw: str | None = None
    ) -> Parameters:
        """Back-propagation; with the flaw of that name, if one is given."""
        assert flaw is None or flaw in FLAWS
        m = len(data)
        values = self._forward(theta, data)
        output = values[-1]
        if self.loss == "softmax":
            exponential = np.exp(output - output.max(axis=1, keepdims=True))
            delta = exponential / exponential.sum(axis=1, keepdims=True) - targets
        else:
            delta = output - targets
        mean = 1 if flaw == "batch mean missing" else 1 / m
        bias_mean = 1 if flaw == "batch mean missing in the biases" else mean
        penalty = {"regularisation missing": 0.0, "regularisation doubled": 2.0}.get(
            flaw or "", 1.0
        )
        gradient: Parameters = {}
        for k in range(self.layers, 0, -1):
            inputs = values[k - 1]
            if flaw == "stale activation" and k == self.layers:
                # The value before the last update of the layer below: its bias is not in yet.
                inputs = self._activate(values[k - 2] @ theta[f"W{k - 1}"])
            weights = theta[f"W{k}"]
            gradient[f"W{k}"] = mean * inputs.T @ delta + penalty * self.l2 * weights
            gradient[f"b{k}"] = bias_mean * delta.sum(axis=0)
            if flaw == "bias summed over the wrong axis" and k == 1:
                gradient["b1"] = bias_mean * np.resize(delta.sum(axis=1), delta.shape[1])
            if k > 1:
                square = weights.shape[0] == weights.shape[1]
                back = weights if flaw == "last layer not transposed back" and square else weights.T
                delta = delta @ back * self._slope(values[k - 1], flaw)
        return {name: gradient[name].astype(theta[name].dtype) for name in theta}

    def _forward(self, theta: Parameters, data: Array) -> list[Array]:
        """The values of every layer, the input's first; the output's is before the loss."""
        values = [data]
        for k in range(1, self.layers + 1):
            z = values[-1] @ theta[f"W{k}"] + theta[f"b{k}"]
            values.append(z if k == self.layers else self._activate(z))
        return values

    def _activate(self, z: Array) -> Array:
        if self.activation == "tanh":
            return np.tanh(z)
        if self.activation == "relu":
            return np.maximum(z, 0)
        return 1 / (1 + np.exp(-z))

    def _slope(self, a: Array, flaw: str | None) -> Array:
        """The activation's derivative, from its value."""
        if flaw == "activation derivative missing":
            return np.ones_like(a)
        if self.activation == "tanh":
            return 1 - a**2 if flaw != "wrong activation mask" else 1 - a
        if self.activation == "relu":
            return (a > 0 if flaw != "wrong activation mask" else a >= 0).astype(a.dtype)
        return a * (1 - a) if flaw != "wrong activation mask" else a


NETWORKS = {
    "tanh": Network((6, 8, 8, 4)),
    "relu": Network((6, 8, 8, 4), activation="relu"),
    "logistic": Network((5, 7, 7, 3), activation="logistic"),
    "tanh squared": Network((6, 9, 9), activation="tanh", loss="squared"),
    "relu no penalty": Network((7, 10, 10, 2), activation="relu", loss="squared", l2=0.0),
}
"""The networks of the tests, by name. Square layers exist, so that a missing transposition fits."""


@dataclass(frozen=True)
class Overconfident:
    """A sigmoid that is far too sure of some examples, and loses 1 - a in the naive log(1 - a).

    J then moves in stairs eps / (1 - a) wide. The weights of the last layer are `size` times
    standard normal ones; hidden units are tanh for even seeds and ReLU for odd ones.
    """

    seed: int
    size: float

    def drawn(self) -> tuple[Parameters, Array, Array]:
        """Random parameters, 100 examples, and their labels."""
        rng = np.random.default_rng(self.seed)
        X = rng.standard_normal((100, 8))
        theta = {
            "W1": rng.standard_normal((8, 6)),
            "b1": np.zeros(6),
            "W2": self.size * rng.standard_normal((6, 1)),
            "b2": np.zeros(1),
        }
        return theta, X, (X[:, 0] > 0).astype(float)

    def activations(self, theta: Parameters, X: Array) -> tuple[Array, Array]:
        """Hidden units and output."""
        Z = X @ theta["W1"] + theta["b1"]
        A = np.maximum(Z, 0) if self.seed % 2 else np.tanh(Z)
        return A, 1 / (1 + np.exp(-(A @ theta["W2"] + theta["b2"]).ravel()))

    def cost(self, theta: Parameters, X: Array, y: Array) -> float:
        """Mean cross-entropy, and a penalty on the first layer."""
        _, a = self.activations(theta, X)
        losses = y * np.log(a) + (1 - y) * np.log(1 - a)
        return float(0.005 * np.sum(theta["W1"] ** 2) - np.mean(losses))

    def grad(self, theta: Parameters, X: Array, y: Array) -> Parameters:
        """Back-propagation, which never forms 1 - a."""
        A, a = self.activations(theta, X)
        d = (a - y)[:, None] / len(y)
        dZ = (d @ theta["W2"].T) * ((A > 0) if self.seed % 2 else 1 - A * A)
        dW1 = X.T @ dZ + 0.01 * theta["W1"]
        return {"W1": dW1, "b1": dZ.sum(0), "W2": A.T @ d, "b2": d.sum(0)}


def network(seed: int = 0, relu: bool = False) -> tuple[Any, Any, Any, tuple[Any, ...]]:
    """A network with softmax output: cost, gradient by back-propagation, theta, args."""
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(24, 6)), np.eye(3)[rng.integers(0, 3, 24)]
    theta = {
        "W1": rng.normal(size=(6, 7)) / 2,
        "b1": rng.normal(size=7) / 4,
        "W2": rng.normal(size=(7, 3)) / 2,
        "b2": np.zeros(3),
    }

    def forward(p: Any, X: Any) -> tuple[Any, Any, Any]:
        Z = X @ p["W1"] + p["b1"]
        A = np.maximum(Z, 0) if relu else np.tanh(Z)
        S = A @ p["W2"] + p["b2"]
        P = np.exp(S - S.max(axis=1, keepdims=True))
        return Z, A, P / P.sum(axis=1, keepdims=True)

    def cost(p: Any, X: Any, Y: Any) -> float:
        return float(-np.log((forward(p, X)[2] * Y).sum(axis=1)).mean())

    def grad(p: Any, X: Any, Y: Any) -> Any:
        Z, A, P = forward(p, X)
        D = (P - Y) / len(X)
        H = (D @ p["W2"].T) * ((Z > 0) if relu else 1 - A**2)
        return {"W1": X.T @ H, "b1": H.sum(0), "W2": A.T @ D, "b2": D.sum(0)}

    return cost, grad, theta, (X, Y)
