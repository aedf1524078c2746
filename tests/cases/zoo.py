"""Networks of random kinds and sizes, with hand-written back-propagation.

Layers are put together at random: dense or convolutional, tanh, ReLU, GELU or SiLU, with or without
batch normalisation, max-pooling, softmax cross-entropy, with or without weight decay, at their
random start or some steps of gradient descent later. Mistakes are planted in the gradient or in the
backward pass. Every operation takes complex numbers too, so that one complex step is an oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

Array = NDArray[Any]
Parameters = dict[str, Array]

ACTIVATIONS = ("tanh", "relu", "gelu", "silu")
TRAINED = (0, 0, 10, 100)
"""Steps of gradient descent before the check."""


class Layer:
    """A layer: y and what the way back needs; dx and the gradients of its parameters."""

    def initial(self, rng: np.random.Generator) -> Parameters:
        return {}

    def forward(self, p: Parameters, x: Array) -> tuple[Array, Any]:
        raise NotImplementedError

    def backward(self, p: Parameters, kept: Any, dy: Array, flaw: str) -> tuple[Array, Parameters]:
        raise NotImplementedError


@dataclass(frozen=True)
class Dense(Layer):
    inputs: int
    outputs: int

    def initial(self, rng: np.random.Generator) -> Parameters:
        weights = rng.normal(size=(self.inputs, self.outputs)) * np.sqrt(2 / self.inputs)
        return {"W": weights, "b": 0.1 * rng.normal(size=self.outputs)}

    def forward(self, p: Parameters, x: Array) -> tuple[Array, Any]:
        return x @ p["W"] + p["b"], x

    def backward(self, p: Parameters, kept: Any, dy: Array, flaw: str) -> tuple[Array, Parameters]:
        return dy @ p["W"].T, {"W": kept.T @ dy, "b": dy.sum(axis=0)}


@dataclass(frozen=True)
class Convolution(Layer):
    """Three by three, without padding; channels last."""

    channels: int
    filters: int

    def initial(self, rng: np.random.Generator) -> Parameters:
        shape = 3, 3, self.channels, self.filters
        weights = rng.normal(size=shape) * np.sqrt(2 / (9 * self.channels))
        return {"W": weights, "b": 0.1 * rng.normal(size=self.filters)}

    def forward(self, p: Parameters, x: Array) -> tuple[Array, Any]:
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
        return np.einsum("mhwcij,ijcf->mhwf", windows, p["W"], optimize=True) + p["b"], x

    def backward(self, p: Parameters, kept: Any, dy: Array, flaw: str) -> tuple[Array, Parameters]:
        windows = np.lib.stride_tricks.sliding_window_view(kept, (3, 3), axis=(1, 2))
        dW = np.einsum("mhwcij,mhwf->ijcf", windows, dy, optimize=True)
        dx = np.zeros_like(kept)
        height, width = dy.shape[1:3]
        for i in range(3):
            for j in range(3):
                dx[:, i : i + height, j : j + width] += dy @ p["W"][i, j].T
        return dx, {"W": dW, "b": dy.sum(axis=(0, 1, 2))}


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Over all axes but the last, the channels."""

    channels: int

    def initial(self, rng: np.random.Generator) -> Parameters:
        return {
            "gamma": 1 + 0.1 * rng.normal(size=self.channels),
            "beta": 0.1 * rng.normal(size=self.channels),
        }

    def forward(self, p: Parameters, x: Array) -> tuple[Array, Any]:
        axes = tuple(range(x.ndim - 1))
        centred = x - x.mean(axis=axes)
        scale = 1 / np.sqrt((centred**2).mean(axis=axes) + 1e-5)
        return p["gamma"] * centred * scale + p["beta"], (centred * scale, scale)

    def backward(self, p: Parameters, kept: Any, dy: Array, flaw: str) -> tuple[Array, Parameters]:
        normal, scale = kept
        axes = tuple(range(dy.ndim - 1))
        slopes = {"gamma": (dy * normal).sum(axis=axes), "beta": dy.sum(axis=axes)}
        dn = dy * p["gamma"]
        if flaw == "batch statistics held fixed":
            return dn * scale, slopes
        centred = dn - dn.mean(axis=axes) - normal * (dn * normal).mean(axis=axes)
        return centred * scale, slopes


@dataclass(frozen=True)
class Activation(Layer):
    name: str

    def forward(self, p: Parameters, x: Array) -> tuple[Array, Any]:
        match self.name:
            case "tanh":
                return np.tanh(x), x
            case "relu":
                return np.where(x.real > 0, x, 0), x
            case "gelu":
                return x * (1 + erf(x / np.sqrt(2))) / 2, x
        return x / (1 + np.exp(-x)), x

    def backward(self, p: Parameters, kept: Any, dy: Array, flaw: str) -> tuple[Array, Parameters]:
        if flaw == "chain factor dropped":
            return dy, {}
        match self.name:
            case "tanh":
                return dy * (1 - np.tanh(kept) ** 2), {}
            case "relu":
                return dy * (kept > 0), {}
            case "gelu":
                density = np.exp(-(kept**2) / 2) / np.sqrt(2 * np.pi)
                return dy * ((1 + erf(kept / np.sqrt(2))) / 2 + kept * density), {}
        logistic = 1 / (1 + np.exp(-kept))
        return dy * logistic * (1 + kept * (1 - logistic)), {}


class MaxPool(Layer):
    """The largest of two by two; a last odd row or column is left out."""

    @staticmethod
    def _windows(x: Array) -> Array:
        m, height, width, channels = x.shape
        x = x[:, : height // 2 * 2, : width // 2 * 2]
        x = x.reshape(m, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 5, 2, 4)
        return x.reshape(m, height // 2, width // 2, channels, 4)

    def forward(self, p: Parameters, x: Array) -> tuple[Array, Any]:
        windows = self._windows(x)
        largest = np.argmax(windows.real, axis=-1)[..., np.newaxis]
        return np.take_along_axis(windows, largest, axis=-1)[..., 0], (x.shape, largest)

    def backward(self, p: Parameters, kept: Any, dy: Array, flaw: str) -> tuple[Array, Parameters]:
        shape, largest = kept
        m, height, width, channels = dy.shape
        windows = np.zeros((*dy.shape, 4))
        where = np.zeros_like(largest) if flaw == "pooling to the first" else largest
        np.put_along_axis(windows, where, dy[..., np.newaxis], axis=-1)
        windows = windows.reshape(m, height, width, channels, 2, 2).transpose(0, 1, 4, 2, 5, 3)
        dx = np.zeros(shape)
        dx[:, : 2 * height, : 2 * width] = windows.reshape(m, 2 * height, 2 * width, channels)
        return dx, {}


class Flatten(Layer):
    def forward(self, p: Parameters, x: Array) -> tuple[Array, Any]:
        return x.reshape(len(x), -1), x.shape

    def backward(self, p: Parameters, kept: Any, dy: Array, flaw: str) -> tuple[Array, Parameters]:
        return dy.reshape(kept), {}


@dataclass(frozen=True)
class Network:
    """Layers under a softmax cross-entropy, with weight decay.

    Attributes
    ----------
    kind : str
        The layers in words.
    layers : tuple of Layer
    decay : float
    """

    kind: str
    layers: tuple[Layer, ...]
    decay: float

    def initial(self, rng: np.random.Generator) -> Parameters:
        return {
            f"{name}{k}": value
            for k, layer in enumerate(self.layers, 1)
            for name, value in layer.initial(rng).items()
        }

    def _own(self, theta: Parameters, k: int) -> Parameters:
        return {name.rstrip("0123456789"): v for name, v in theta.items() if _layer(name) == k}

    def cost(self, theta: Parameters, X: Array, y: Array) -> Any:
        for k, layer in enumerate(self.layers, 1):
            X, _ = layer.forward(self._own(theta, k), X)
        shift = X.real.max(axis=1, keepdims=True)
        logsum = shift[:, 0] + np.log(np.exp(X - shift).sum(axis=1))
        weights = [v for name, v in theta.items() if name.startswith("W")]
        penalty = self.decay / 2 * sum((w**2).sum() for w in weights)
        return (logsum - X[np.arange(len(y)), y]).mean() + penalty

    def grad(
        self, theta: Parameters, X: Array, y: Array, flaw: str = "", at: int = 0
    ) -> Parameters:
        """Back-propagation, with a mistake in layer `at`, if one is named."""
        kept = []
        for k, layer in enumerate(self.layers, 1):
            X, own = layer.forward(self._own(theta, k), X)
            kept.append(own)
        delta = np.exp(X - X.max(axis=1, keepdims=True))
        delta /= delta.sum(axis=1, keepdims=True)
        delta[np.arange(len(y)), y] -= 1
        if flaw != "mean over the examples forgotten":
            delta /= len(y)
        slopes = {}
        for k in range(len(self.layers), 0, -1):
            mine = flaw if k == at else ""
            delta, own = self.layers[k - 1].backward(self._own(theta, k), kept[k - 1], delta, mine)
            slopes |= {f"{name}{k}": value for name, value in own.items()}
        decay = 0.0 if flaw == "weight decay forgotten" else self.decay
        return {
            name: slopes[name] + (decay * v if name.startswith("W") else 0.0)
            for name, v in theta.items()
        }


def _layer(name: str) -> int:
    return int(name.lstrip("abcdefghijklmnopqrstuvwxyzW"))


@dataclass(frozen=True)
class Posed:
    """A network, its data, theta, the right gradient, a wrong one, and what is wrong with it."""

    network: Network
    theta: Parameters
    data: tuple[Array, Array]
    right: Parameters
    wrong: Parameters
    fault: str

    @property
    def size(self) -> int:
        return sum(value.size for value in self.theta.values())


def posed(seed: int, small: bool = False) -> Posed:
    """A network that depends on nothing but `seed`; a `small` one has about 100 parameters."""
    rng = np.random.default_rng([seed, 13])
    name = ACTIVATIONS[seed % 4]
    make = _convolutional if seed // 4 % 2 else _perceptron
    network, shape, classes = make(rng, name, norm=bool(seed // 8 % 2), small=small)
    m = int(rng.integers(4, 9)) if small else int(rng.integers(8, 65))
    X, y = rng.normal(size=(m, *shape)), rng.integers(0, classes, m)
    theta = network.initial(rng)
    for _ in range(int(rng.choice(TRAINED))):
        slopes = network.grad(theta, X, y)
        theta = {block: value - 0.1 * slopes[block] for block, value in theta.items()}
    right = network.grad(theta, X, y)
    fault, wrong = _planted(network, theta, (X, y), right, rng)
    return Posed(network, theta, (X, y), right, wrong, fault)


def _perceptron(
    rng: np.random.Generator, name: str, norm: bool, small: bool
) -> tuple[Network, tuple[int, ...], int]:
    most = 7 if small else int(rng.choice([16, 32, 80]))
    sizes = [int(rng.integers(3, most)) for _ in range(int(rng.integers(2, 5)))]
    classes = int(rng.integers(2, 11))
    layers: list[Layer] = []
    for inputs, outputs in pairwise(sizes):
        layers += [Dense(inputs, outputs), *[BatchNorm(outputs)] * norm, Activation(name)]
    layers.append(Dense(sizes[-1], classes))
    return _network("perceptron", name, norm, layers, rng), (sizes[0],), classes


def _convolutional(
    rng: np.random.Generator, name: str, norm: bool, small: bool
) -> tuple[Network, tuple[int, ...], int]:
    side, channels = int(rng.integers(6, 8 if small else 13)), int(rng.integers(1, 3))
    filters = int(rng.integers(2, 3 if small else 7))
    layers: list[Layer] = [Convolution(channels, filters), *[BatchNorm(filters)] * norm]
    layers += [Activation(name), MaxPool()]
    inner = (side - 2) // 2
    if inner > 3 and rng.random() < 0.5:
        more = int(rng.integers(2, 7))
        layers += [Convolution(filters, more), Activation(name)]
        inner, filters = inner - 2, more
    classes = int(rng.integers(2, 11))
    layers += [Flatten(), Dense(inner**2 * filters, classes)]
    return _network("convolutional", name, norm, layers, rng), (side, side, channels), classes


def _network(
    kind: str, name: str, norm: bool, layers: list[Layer], rng: np.random.Generator
) -> Network:
    words = f"{kind}, {name}{', batch norm' if norm else ''}"
    return Network(words, tuple(layers), float(rng.choice([0.0, 1e-3, 1e-2])))


SEEN = 1e-3
"""A fault is one where some block is off by more than this part of its norm, and that block has
more than this part of the norm of all."""


def _planted(
    network: Network,
    theta: Parameters,
    data: tuple[Array, Array],
    right: Parameters,
    rng: np.random.Generator,
) -> tuple[str, Parameters]:
    """The name of a fault, drawn at random, and the gradient with it."""
    whole = np.sqrt(sum((value**2).sum() for value in right.values()))
    for _ in count():
        fault, wrong = _drawn(network, theta, data, right, rng)
        for name, value in right.items():
            size, off = np.linalg.norm(value), np.linalg.norm(wrong[name] - value)
            if size > SEEN * whole and off > SEEN * size:
                return fault, wrong
    raise AssertionError


def _drawn(
    network: Network,
    theta: Parameters,
    data: tuple[Array, Array],
    right: Parameters,
    rng: np.random.Generator,
) -> tuple[str, Parameters]:
    flaws = list(_flaws(network))
    k = int(rng.integers(len(BY_BLOCK) + len(flaws)))
    if k < len(BY_BLOCK):
        fault = list(BY_BLOCK)[k]
        name = str(rng.choice(list(right)))
        return fault, right | {name: BY_BLOCK[fault](right[name].copy(), rng)}
    flaw, at = flaws[k - len(BY_BLOCK)]
    return flaw, network.grad(theta, *data, flaw=flaw, at=at)


def _flaws(network: Network) -> Iterator[tuple[str, int]]:
    """Mistakes that its backward pass can have, and the layers that they can be in."""
    yield "mean over the examples forgotten", 0
    if network.decay:
        yield "weight decay forgotten", 0
    for k, layer in enumerate(network.layers, 1):
        if isinstance(layer, Activation):
            yield "chain factor dropped", k
        if isinstance(layer, BatchNorm):
            yield "batch statistics held fixed", k
        if isinstance(layer, MaxPool):
            yield "pooling to the first", k


def _forgotten(value: Array, rng: np.random.Generator) -> Array:
    """One entry of zero in the place of a typical one, or of a larger one."""
    size = np.abs(value).ravel()
    value.flat[rng.choice(np.flatnonzero(size >= np.median(size)))] = 0.0
    return value


def _off(value: Array, rng: np.random.Generator) -> Array:
    """One entry off by a hundredth of what is typical."""
    value.flat[rng.integers(value.size)] += 1e-2 * np.sqrt(np.mean(value**2))
    return value


BY_BLOCK: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "block doubled": lambda value, rng: 2 * value,
    "block negated": lambda value, rng: -value,
    "block zeroed": lambda value, rng: 0 * value,
    "block off by a hundredth": lambda value, rng: 1.01 * value,
    "one entry forgotten": _forgotten,
    "one entry off": _off,
    "last row forgotten": lambda value, rng: np.concatenate([value[:-1], 0 * value[-1:]]),
    "rows shifted by one": lambda value, rng: np.roll(value, 1, axis=0),
}
