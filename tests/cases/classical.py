"""Small networks with regularisation, and the classical bugs of back-propagation in them.

J is the mean softmax cross-entropy plus ``lam / 2`` times the squared weights. Each gradient is
back-propagation as people write it, with every bug at the line where people make it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.cases.networks import Array, Parameters

LAMBDA = 0.03
CLASSES = 4


def delta_of(logits: Array, y: Array, bug: str = "") -> tuple[float, Array]:
    """The mean cross-entropy and its derivative by the logits."""
    m = len(y)
    top = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(top) / np.exp(top).sum(axis=1, keepdims=True)
    loss = -float(np.log(p[np.arange(m), y]).mean())
    delta = p.copy()
    if bug != "minus one missing":
        delta[np.arange(m), (y + (bug == "label off by one")) % CLASSES] -= 1.0
    return loss, delta / m


def penalty(theta: Parameters, lam: float) -> float:
    return 0.5 * lam * sum(float((w**2).sum()) for w in theta.values() if w.ndim > 1)


def finished(gradient: Parameters, theta: Parameters, lam: float, bug: str, square: str) -> Any:
    """What every network does last: transposes, factors and signs, and the regularisation."""
    result = {}
    for name in theta:
        data = gradient[name]
        if name == square and bug == "transposed":
            data = np.swapaxes(data, -1, -2)
        if name == square and bug == "data part doubled":
            data = 2.0 * data
        sign = -1.0 if bug == "sign of the regularisation" else 1.0
        result[name] = data + sign * lam * theta[name] if theta[name].ndim > 1 else data
    return result


def summed(delta: Array, bug: str, axis: int = 0) -> Array:
    """Delta, of shape (examples, units), summed for the bias."""
    if bug == "bias summed over both axes":
        return np.full(delta.shape[1], delta.sum())
    if bug == "bias summed over the wrong axis":
        return delta.sum(axis=1)
    return delta.sum(axis=0)


@dataclass(frozen=True)
class Perceptron:
    """Two hidden layers of as many tanh units."""

    inputs: int
    units: int

    def initial(self, rng: np.random.Generator) -> Parameters:
        sizes = (self.inputs, self.units, self.units, CLASSES)
        theta = {}
        for k in (1, 2, 3):
            scale = 1.4 / np.sqrt(sizes[k - 1])
            theta[f"W{k}"] = scale * rng.standard_normal((sizes[k - 1], sizes[k]))
            theta[f"b{k}"] = 0.3 * rng.standard_normal(sizes[k])
        return theta

    def data(self, rng: np.random.Generator, m: int) -> Array:
        return rng.standard_normal((m, self.inputs))

    def forward(self, theta: Parameters, X: Array) -> tuple[list[Array], list[Array]]:
        a, z = [X], [X]
        for k in (1, 2, 3):
            z.append(a[-1] @ theta[f"W{k}"] + theta[f"b{k}"])
            a.append(np.tanh(z[-1]) if k < 3 else z[-1])
        return a, z

    def cost(self, theta: Parameters, X: Array, y: Array, lam: float) -> float:
        return delta_of(self.forward(theta, X)[0][-1], y)[0] + penalty(theta, lam)

    def grad(
        self, theta: Parameters, X: Array, y: Array, lam: float, bug: str = "", keep: Any = None
    ) -> Parameters:
        a, z = self.forward(theta, X)
        if keep is not None:
            a[2] = a[2] * (keep.random(a[2].shape) < 0.8) / 0.8
            a[3] = a[2] @ theta["W3"] + theta["b3"]
        _, delta = delta_of(a[3], y, bug)
        gradient = {}
        for k in (3, 2, 1):
            inputs = z[k - 1] if bug == "stale activations" and k == 3 else a[k - 1]
            gradient[f"W{k}"] = inputs.T @ delta
            gradient[f"b{k}"] = summed(delta, bug if k == 2 else "")
            if k > 1:
                delta = (delta @ theta[f"W{k}"].T) * (1 - np.tanh(z[k - 1]) ** 2)
        return finished(gradient, theta, lam, bug, "W2")  # type: ignore[no-any-return]


class Convolutional:
    """Four kernels of 3 x 3 on images of 6 x 6, tanh or ReLU, max-pooling, and a dense layer."""

    units = 4

    def initial(self, rng: np.random.Generator) -> Parameters:
        return {
            "K": 0.4 * rng.standard_normal((4, 3, 3)),
            "bK": 0.3 * rng.standard_normal(4),
            "W": 0.4 * rng.standard_normal((16, CLASSES)),
            "b": 0.3 * rng.standard_normal(CLASSES),
        }

    def data(self, rng: np.random.Generator, m: int) -> Array:
        return rng.standard_normal((m, 6, 6))

    def windows(self, X: Array) -> Array:
        return np.lib.stride_tricks.sliding_window_view(X, (3, 3), (1, 2))

    def forward(self, theta: Parameters, X: Array) -> tuple[Array, Array, Array, Array]:
        """Patches, what goes into the pooling in groups of four, its maxima, the logits."""
        z = np.einsum("nijkl,fkl->nfij", self.windows(X), theta["K"])
        a = np.tanh(z + theta["bK"][:, None, None])
        cells = a.reshape(len(X), 4, 2, 2, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(-1, 4, 2, 2, 4)
        pooled = cells.max(axis=-1).reshape(len(X), -1)
        return a, cells, pooled, pooled @ theta["W"] + theta["b"]

    def cost(self, theta: Parameters, X: Array, y: Array, lam: float) -> float:
        return delta_of(self.forward(theta, X)[-1], y)[0] + penalty(theta, lam)

    def grad(
        self, theta: Parameters, X: Array, y: Array, lam: float, bug: str = "", keep: Any = None
    ) -> Parameters:
        a, cells, pooled, logits = self.forward(theta, X)
        if keep is not None:
            pooled = pooled * (keep.random(pooled.shape) < 0.8) / 0.8
            logits = pooled @ theta["W"] + theta["b"]
        _, delta = delta_of(logits, y, bug)
        inputs = np.arctanh(pooled) if bug == "stale activations" else pooled
        gradient = {"W": inputs.T @ delta, "b": delta.sum(axis=0)}
        back = (delta @ theta["W"].T).reshape(-1, 4, 2, 2, 1)
        first = np.zeros(4)
        first[0] = 1.0
        chosen = np.eye(4)[cells.argmax(axis=-1)]
        if bug == "pooling to the first":
            chosen = np.broadcast_to(first, cells.shape)
        if bug == "pooling to all":
            chosen = np.full(cells.shape, 0.25)
        routed = (chosen * back).reshape(-1, 4, 2, 2, 2, 2).transpose(0, 1, 2, 4, 3, 5)
        dz = routed.reshape(a.shape) * (1 - a**2)
        gradient["K"] = np.einsum("nfij,nijkl->fkl", dz, self.windows(X))
        gradient["bK"] = summed(dz.sum(axis=(2, 3)), bug)
        return finished(gradient, theta, lam, bug, "K")  # type: ignore[no-any-return]


class Recurrent:
    """An Elman network over four steps, read out at the last one."""

    units = 5

    def initial(self, rng: np.random.Generator) -> Parameters:
        return {
            "Wx": 0.5 * rng.standard_normal((3, 5)),
            "Wh": 0.5 * rng.standard_normal((5, 5)),
            "bh": 0.3 * rng.standard_normal(5),
            "Wo": 0.5 * rng.standard_normal((5, CLASSES)),
            "bo": 0.3 * rng.standard_normal(CLASSES),
        }

    def data(self, rng: np.random.Generator, m: int) -> Array:
        return rng.standard_normal((m, 4, 3))

    def forward(self, theta: Parameters, X: Array) -> tuple[list[Array], Array]:
        h = [np.zeros((len(X), 5))]
        for t in range(X.shape[1]):
            h.append(np.tanh(X[:, t] @ theta["Wx"] + h[-1] @ theta["Wh"] + theta["bh"]))
        return h, h[-1] @ theta["Wo"] + theta["bo"]

    def cost(self, theta: Parameters, X: Array, y: Array, lam: float) -> float:
        return delta_of(self.forward(theta, X)[1], y)[0] + penalty(theta, lam)

    def grad(
        self, theta: Parameters, X: Array, y: Array, lam: float, bug: str = "", keep: Any = None
    ) -> Parameters:
        h, logits = self.forward(theta, X)
        last = h[-1]
        if keep is not None:
            last = last * (keep.random(last.shape) < 0.8) / 0.8
            logits = last @ theta["Wo"] + theta["bo"]
        _, delta = delta_of(logits, y, bug)
        gradient = {name: np.zeros_like(value) for name, value in theta.items()}
        inputs = h[-2] if bug == "stale activations" else last
        gradient["Wo"], gradient["bo"] = inputs.T @ delta, delta.sum(axis=0)
        dh = delta @ theta["Wo"].T
        begin = 1 if bug == "first step in time left out" else 0
        end = X.shape[1] - (bug == "last step in time left out")
        for t in reversed(range(begin, end)):
            dz = dh * (1 - h[t + 1] ** 2)
            x = X[:, max(t - 1, 0)] if bug == "input off by one in time" else X[:, t]
            gradient["Wx"] += x.T @ dz
            before = h[t + 1] if bug == "state off by one in time" else h[t]
            gradient["Wh"] += before.T @ dz
            gradient["bh"] += summed(dz, bug)
            dh = dz @ theta["Wh"].T
        return finished(gradient, theta, lam, bug, "Wh")  # type: ignore[no-any-return]


NETWORKS: dict[str, Any] = {
    "perceptron": Perceptron(6, 5),
    "wide perceptron": Perceptron(60, 50),
    "convolutional": Convolutional(),
    "recurrent": Recurrent(),
}

BUGS: dict[str, str] = {
    "transposed": "holds the transpose",
    "data part doubled": "apart from lambda * theta, every entry is exactly 2 times",
    "sign of the regularisation": "wrong sign",
    "bias summed over both axes": "both axes",
    "bias summed over the wrong axis": "over the wrong axis",
    "stale activations": "stale activations",
    "label off by one": "off by one",
    "minus one missing": 'the "- 1" at the label',
    "dropout": "grad is not repeatable",
    "state off by one in time": "off by one in time",
    "input off by one in time": "off by one in time",
    "first step in time left out": "leaves that step out (off by one in time)",
    "last step in time left out": "the range of a loop over time",
    "pooling to the first": "argmax",
    "pooling to all": "argmax",
}
"""Each bug, and words of the finding that names it."""

ONLY = {
    "state off by one in time": "recurrent",
    "input off by one in time": "recurrent",
    "first step in time left out": "recurrent",
    "last step in time left out": "recurrent",
    "pooling to the first": "convolutional",
    "pooling to all": "convolutional",
}


@dataclass(frozen=True, eq=False)
class Case:
    """A network at a point, and the gradient with a bug (none if it is empty)."""

    cost: Callable[..., float]
    grad: Callable[..., Parameters]
    theta: Parameters
    args: tuple[Any, ...]


def case(network: str, seed: int, bug: str = "") -> Case:
    """The network of that name at random parameters."""
    net, rng = NETWORKS[network], np.random.default_rng([seed, len(network)])
    # Summed over the wrong axis, delta has the bias's shape only for as many examples as units.
    m = net.units if bug == "bias summed over the wrong axis" else 17
    theta = net.initial(rng)
    args = (net.data(rng, m), rng.integers(0, CLASSES, m), LAMBDA)
    # For odd seeds lambda stands in the code, where the diagnosis does not see it.
    known = args[: 3 - seed % 2]
    keep = np.random.default_rng(seed) if bug == "dropout" else None

    def cost(theta: Parameters, X: Array, y: Array, lam: float = LAMBDA) -> float:
        return net.cost(theta, X, y, lam)  # type: ignore[no-any-return]

    def grad(theta: Parameters, X: Array, y: Array, lam: float = LAMBDA) -> Parameters:
        return net.grad(theta, X, y, lam, bug, keep)  # type: ignore[no-any-return]

    return Case(cost, grad, theta, known)
