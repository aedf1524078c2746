"""Networks on scikit-learn's handwritten digits, with their gradients: what the tour checks."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError

Array = NDArray[Any]


PIXELS, HIDDEN, DIGITS = 64, 32, 10


RIDGE = 1e-3


LARGE = (784, 1000, 256, 10)


class Network(NamedTuple):
    """The parameters of a 64-32-10 network, and the shape of its gradient."""

    W1: Array
    b1: Array
    W2: Array
    b2: Array


@njit
def _forward(theta, X):  # type: ignore[no-untyped-def]
    """Hidden activations and scores, shapes (m, 32) and (m, 10)."""
    A = np.tanh(X @ theta.W1 + theta.b1)
    return A, A @ theta.W2 + theta.b2


@njit
def _log_softmax(Z):  # type: ignore[no-untyped-def]
    """Logarithms of the class probabilities; without its largest score no exponential overflows."""
    out = np.empty_like(Z)
    for e in range(Z.shape[0]):
        top = Z[e].max()
        mass = 0.0
        for k in range(Z.shape[1]):
            mass += np.exp(Z[e, k] - top)
        for k in range(Z.shape[1]):
            out[e, k] = Z[e, k] - top - np.log(mass)
    return out


@njit
def _sum_over_images(D):  # type: ignore[no-untyped-def]
    """D.sum(axis=0), in a form that Numba compiles several seconds sooner."""
    total = np.zeros(D.shape[1])
    for row in D:
        total += row
    return total


@njit
def cost(theta, X, y, ridge):  # type: ignore[no-untyped-def]
    """Mean cross entropy of the labels, plus ridge/2 times the squared weights."""
    log_p = _log_softmax(_forward(theta, X)[1])
    loss = 0.0
    for e in range(len(y)):
        loss -= log_p[e, y[e]]
    return loss / len(y) + 0.5 * ridge * (np.sum(theta.W1**2) + np.sum(theta.W2**2))


@njit
def grad(theta, X, y, ridge):  # type: ignore[no-untyped-def]
    """Back-propagation, written by hand."""
    m = len(y)
    A, Z = _forward(theta, X)
    D2 = np.exp(_log_softmax(Z))
    for e in range(m):
        D2[e, y[e]] -= 1.0
    D1 = (D2 @ theta.W2.T) * (1.0 - A**2)
    dW1 = X.T @ D1 / m + ridge * theta.W1
    db1 = _sum_over_images(D1) / m
    dW2 = A.T @ D2 / m + ridge * theta.W2
    db2 = _sum_over_images(D2) / m
    return Network(dW1, db1, dW2, db2)


@njit
def grad_with_a_bug(theta, X, y, ridge):  # type: ignore[no-untyped-def]
    """The same, but db1 is summed over the images and not averaged: it lacks the 1/m."""
    dW1, db1, dW2, db2 = grad(theta, X, y, ridge)
    return Network(dW1, db1 * len(y), dW2, db2)


def large_cost(theta: dict[str, Array], X: Array, Y: Array) -> float:
    """Mean cross entropy of a tanh network of any depth, in NumPy; labels one-hot."""
    Z = _layers(theta, X)[-1]
    Z = Z - Z.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(Z).sum(axis=1)) - (Z * Y).sum(axis=1)))


def large_grad(theta: dict[str, Array], X: Array, Y: Array) -> dict[str, Array]:
    """Its back-propagation, written by hand."""
    values = _layers(theta, X)
    D = np.exp(values[-1] - values[-1].max(axis=1, keepdims=True))
    D = (D / D.sum(axis=1, keepdims=True) - Y) / len(X)
    gradient = {}
    for k in range(len(values) - 1, 0, -1):
        gradient[f"W{k}"] = values[k - 1].T @ D
        gradient[f"b{k}"] = D.sum(axis=0)
        D = (D @ theta[f"W{k}"].T) * (1.0 - values[k - 1] ** 2)
    return gradient


def _layers(theta: dict[str, Array], X: Array) -> list[Array]:
    """The input, the hidden activations, and the scores."""
    values, depth = [X], len(theta) // 2
    for k in range(1, depth + 1):
        Z = values[-1] @ theta[f"W{k}"] + theta[f"b{k}"]
        values.append(np.tanh(Z) if k < depth else Z)
    return values


def large_initial(seed: int = 0) -> dict[str, Array]:
    """Random parameters of the 784-1000-256-10 network, 1,043,826 in all."""
    rng = np.random.default_rng(seed)
    theta = {}
    for k, (rows, columns) in enumerate(pairwise(LARGE), 1):
        theta[f"W{k}"] = rng.normal(0.0, 1 / np.sqrt(rows), (rows, columns))
        theta[f"b{k}"] = rng.normal(0.0, 0.1, columns)
    return theta


def enlarged(X: Array) -> Array:
    """Images of 8 x 8 pixels as 28 x 28, by repeating pixels: shape (m, 784)."""
    nearest = np.arange(28) * 8 // 28
    return X.reshape(-1, 8, 8)[:, nearest][:, :, nearest].reshape(len(X), -1)


def initial(seed: int = 0) -> Network:
    """Random weights (Glorot and Bengio, AISTATS 2010) and small random biases."""
    rng = np.random.default_rng(seed)
    return Network(
        W1=rng.normal(0.0, np.sqrt(2 / (PIXELS + HIDDEN)), (PIXELS, HIDDEN)),
        b1=rng.normal(0.0, 0.1, HIDDEN),
        W2=rng.normal(0.0, np.sqrt(2 / (HIDDEN + DIGITS)), (HIDDEN, DIGITS)),
        b2=rng.normal(0.0, 0.1, DIGITS),
    )


def trained(
    theta: Network, X: Array, y: Array, slopes: Callable[..., Network] = grad, steps: int = 100
) -> Network:
    """Some steps of plain gradient descent on all images, at a rate of 1/2."""
    for _ in range(steps):
        slope = slopes(theta, X, y, RIDGE)
        theta = Network(*(value - 0.5 * d for value, d in zip(theta, slope, strict=True)))
    return theta


def digits() -> tuple[Array, Array]:
    """All 1,797 images, pixels in [0, 1] of shape (1797, 64), and their labels.

    Raises
    ------
    GradcheckInputError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise GradcheckInputError(
            "the demo reads the handwritten digits that come with scikit-learn, which is not "
            "installed here. Install it with: pip install 'fastgradcheck[demo]'"
        ) from error
    X, y = load_digits(return_X_y=True)
    return X / 16.0, y


class SklearnNetwork:
    """scikit-learn's own back-propagation as ``cost(theta) -> (J, grad)``, untouched.

    The way in is the private function that its L-BFGS solver minimises; what that function takes
    differs between releases, so it is given what its signature asks for.

    Parameters
    ----------
    X : float64 array, shape (m, 64)
    y : int array, shape (m,)

    Attributes
    ----------
    theta : float64 array, shape (2410,)
        Its parameters after a few iterations of training, weights first, then biases.
    layout : dict of str to shape
        The layers of that vector.
    """

    def __init__(self, X: Array, y: Array) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        model = MLPClassifier((HIDDEN,), solver="lbfgs", alpha=0.1, max_iter=10, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # ten iterations are on purpose
            model.fit(X, y)
        self.theta: Array = np.concatenate(
            [layer.ravel() for layer in (*model.coefs_, *model.intercepts_)]
        )
        self.layout = {
            "W1": (PIXELS, HIDDEN),
            "W2": (HIDDEN, DIGITS),
            "b1": (HIDDEN,),
            "b2": (DIGITS,),
        }
        given = {
            "X": X,
            "y": np.eye(DIGITS)[y],
            "sample_weight": None,
            "activations": [X, None, None],
            "deltas": [None, None],
            "coef_grads": [None, None],
            "intercept_grads": [None, None],
        }
        asked = inspect.signature(model._loss_grad_lbfgs).parameters
        self._model = model
        self._arguments = {name: value for name, value in given.items() if name in asked}

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """J and its gradient."""
        J, gradient = self._model._loss_grad_lbfgs(theta, **self._arguments)
        return float(J), gradient
