"""Fixed costs with correct hand-written gradients.

Append only: a figure measured on a problem stays comparable from commit to commit. Every cost
takes a flat float64 theta, whose layers are the private ``_unpack_*`` functions; data are drawn
with fixed seeds. Costs are means over m examples, so that the gradients carry their 1/m.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


class Problem(NamedTuple):
    """What a gradient check is given.

    Attributes
    ----------
    cost, grad : Numba dispatchers
        ``cost(theta, *args)`` is a float, ``grad(theta, *args)`` of theta's shape.
    theta : float64 array, shape (n,)
    args : tuple of arrays
    """

    cost: Callable[..., float]
    grad: Callable[..., Array]
    theta: Array
    args: tuple[Any, ...]


def _glorot(rng: np.random.Generator, *layers: tuple[int, int]) -> Array:
    """Weights and biases of fully connected layers (fan in, fan out), flat."""
    return np.concatenate(
        [
            rng.normal(0.0, scale, size)
            for fan_in, fan_out in layers
            for scale, size in ((np.sqrt(2 / (fan_in + fan_out)), fan_in * fan_out), (0.1, fan_out))
        ]
    )


def _classes(rng: np.random.Generator, examples: int, features: int, classes: int) -> Any:
    """Standard normal examples with random labels."""
    return rng.normal(size=(examples, features)), rng.integers(0, classes, examples)


@njit
def _cross_entropy(Z, y):
    """Mean cross entropy of the softmax of the scores, shifted so that no exponential overflows."""
    total = 0.0
    for e in range(Z.shape[0]):
        top = Z[e].max()
        mass = 0.0
        for k in range(Z.shape[1]):
            mass += np.exp(Z[e, k] - top)
        total += np.log(mass) + top - Z[e, y[e]]
    return total / Z.shape[0]


@njit
def _cross_entropy_slope(Z, y):
    """d(cross entropy)/dZ, the 1/m included."""
    D = np.empty_like(Z)
    for e in range(Z.shape[0]):
        top = Z[e].max()
        mass = 0.0
        for k in range(Z.shape[1]):
            D[e, k] = np.exp(Z[e, k] - top)
            mass += D[e, k]
        for k in range(Z.shape[1]):
            D[e, k] /= mass
        D[e, y[e]] -= 1.0
    return D / Z.shape[0]


# A 64-32-10 network in loops: one example at a time, nothing allocated per example.

_INPUTS, _HIDDEN, _CLASSES = 64, 32, 10


@njit
def _unpack_loop_mlp(theta):
    a = _INPUTS * _HIDDEN
    b = a + _HIDDEN
    c = b + _HIDDEN * _CLASSES
    W1 = theta[:a].reshape(_INPUTS, _HIDDEN)
    W2 = theta[b:c].reshape(_HIDDEN, _CLASSES)
    return W1, theta[a:b], W2, theta[c:]


@njit
def _loop_mlp_scores(x, W1, b1, W2, b2, hidden, scores):
    """Fills the hidden activations and the scores of one example."""
    hidden[:] = b1
    for i in range(len(x)):
        for j in range(len(hidden)):
            hidden[j] += x[i] * W1[i, j]
    for j in range(len(hidden)):
        hidden[j] = np.tanh(hidden[j])
    scores[:] = b2
    for j in range(len(hidden)):
        for k in range(len(scores)):
            scores[k] += hidden[j] * W2[j, k]


@njit
def _loop_mlp_cost(theta, X, y):
    W1, b1, W2, b2 = _unpack_loop_mlp(theta)
    hidden = np.empty(_HIDDEN)
    scores = np.empty(_CLASSES)
    total = 0.0
    for e in range(len(X)):
        _loop_mlp_scores(X[e], W1, b1, W2, b2, hidden, scores)
        top = scores.max()
        mass = 0.0
        for k in range(_CLASSES):
            mass += np.exp(scores[k] - top)
        total += np.log(mass) + top - scores[y[e]]
    return total / len(X)


@njit
def _loop_mlp_grad(theta, X, y):
    W1, b1, W2, b2 = _unpack_loop_mlp(theta)
    out = np.zeros_like(theta)
    dW1, db1, dW2, db2 = _unpack_loop_mlp(out)
    hidden = np.empty(_HIDDEN)
    scores = np.empty(_CLASSES)
    for e in range(len(X)):
        _loop_mlp_scores(X[e], W1, b1, W2, b2, hidden, scores)
        error = np.exp(scores - scores.max())
        error /= error.sum()
        error[y[e]] -= 1.0
        for j in range(_HIDDEN):
            back = 0.0
            for k in range(_CLASSES):
                dW2[j, k] += hidden[j] * error[k]
                back += W2[j, k] * error[k]
            back *= 1.0 - hidden[j] ** 2
            db1[j] += back
            for i in range(_INPUTS):
                dW1[i, j] += X[e, i] * back
        db2 += error
    return out / len(X)


def loop_mlp() -> Problem:
    """64-32-10 tanh network written in loops, 64 examples, n = 2,410."""
    rng = np.random.default_rng(1)
    theta = _glorot(rng, (_INPUTS, _HIDDEN), (_HIDDEN, _CLASSES))
    args = _classes(rng, 64, _INPUTS, _CLASSES)
    return Problem(_loop_mlp_cost, _loop_mlp_grad, theta, args)


# A 64-128-10 network in matrix products.

_WIDE = 128


@njit
def _unpack_matmul_mlp(theta):
    a = _INPUTS * _WIDE
    b = a + _WIDE
    c = b + _WIDE * _CLASSES
    W1 = theta[:a].reshape(_INPUTS, _WIDE)
    W2 = theta[b:c].reshape(_WIDE, _CLASSES)
    return W1, theta[a:b], W2, theta[c:]


@njit
def _matmul_mlp_cost(theta, X, y):
    W1, b1, W2, b2 = _unpack_matmul_mlp(theta)
    return _cross_entropy(np.tanh(X @ W1 + b1) @ W2 + b2, y)


@njit
def _matmul_mlp_grad(theta, X, y):
    W1, b1, W2, b2 = _unpack_matmul_mlp(theta)
    out = np.empty_like(theta)
    dW1, db1, dW2, db2 = _unpack_matmul_mlp(out)
    A = np.tanh(X @ W1 + b1)
    D2 = _cross_entropy_slope(A @ W2 + b2, y)
    D1 = (D2 @ W2.T) * (1.0 - A**2)
    dW1[:] = X.T @ D1
    db1[:] = D1.sum(axis=0)
    dW2[:] = A.T @ D2
    db2[:] = D2.sum(axis=0)
    return out


def matmul_mlp() -> Problem:
    """64-128-10 tanh network written with ``@``, 64 examples, n = 9,610."""
    rng = np.random.default_rng(2)
    theta = _glorot(rng, (_INPUTS, _WIDE), (_WIDE, _CLASSES))
    args = _classes(rng, 64, _INPUTS, _CLASSES)
    return Problem(_matmul_mlp_cost, _matmul_mlp_grad, theta, args)


# A recurrent network, s_t = tanh(U s_(t-1) + V x_t + b), output w . s_t, mean squared error.

_STATE, _SIGNALS = 16, 8


@njit
def _unpack_recurrent(theta):
    a = _STATE * _STATE
    b = a + _STATE * _SIGNALS
    c = b + _STATE
    U = theta[:a].reshape(_STATE, _STATE)
    V = theta[a:b].reshape(_STATE, _SIGNALS)
    return U, V, theta[b:c], theta[c:]


@njit
def _recurrent_states(theta, x):
    """States of one sequence, shape (steps + 1, _STATE), the first of them zero."""
    U, V, b, _ = _unpack_recurrent(theta)
    s = np.zeros((len(x) + 1, _STATE))
    for t in range(len(x)):
        for i in range(_STATE):
            z = b[i]
            for j in range(_STATE):
                z += U[i, j] * s[t, j]
            for j in range(_SIGNALS):
                z += V[i, j] * x[t, j]
            s[t + 1, i] = np.tanh(z)
    return s


@njit
def _recurrent_cost(theta, X, Y):
    w = _unpack_recurrent(theta)[3]
    total = 0.0
    for e in range(len(X)):
        s = _recurrent_states(theta, X[e])
        for t in range(X.shape[1]):
            total += (np.sum(w * s[t + 1]) - Y[e, t]) ** 2
    return total / (2 * Y.size)


@njit
def _recurrent_grad(theta, X, Y):
    U, _, _, w = _unpack_recurrent(theta)
    out = np.zeros_like(theta)
    dU, dV, db, dw = _unpack_recurrent(out)
    for e in range(len(X)):
        s = _recurrent_states(theta, X[e])
        later = np.zeros(_STATE)  # dJ/ds_t through the steps after t
        for t in range(X.shape[1] - 1, -1, -1):
            error = np.sum(w * s[t + 1]) - Y[e, t]
            dw += error * s[t + 1]
            back = (error * w + later) * (1.0 - s[t + 1] ** 2)
            db += back
            later[:] = 0.0
            for i in range(_STATE):
                for j in range(_STATE):
                    dU[i, j] += back[i] * s[t, j]
                    later[j] += back[i] * U[i, j]
                for j in range(_SIGNALS):
                    dV[i, j] += back[i] * X[e, t, j]
    return out / Y.size


def recurrent() -> Problem:
    """Tanh recurrent network of 16 states, 4 sequences of 50 steps, n = 416."""
    rng = np.random.default_rng(3)
    theta = rng.normal(0.0, 0.25, _STATE * _STATE + _STATE * _SIGNALS + 2 * _STATE)
    args = rng.normal(size=(4, 50, _SIGNALS)), rng.normal(size=(4, 50))
    return Problem(_recurrent_cost, _recurrent_grad, theta, args)


# A convolution: four 3 x 3 filters over 8 x 8 images, tanh, one dense layer on the 6 x 6 maps.

_FILTERS, _WINDOW, _MAP = 4, 3, 6
_MAPS = _FILTERS * _MAP * _MAP


@njit
def _unpack_convolution(theta):
    a = _FILTERS * _WINDOW * _WINDOW
    b = a + _FILTERS
    c = b + _MAPS * _CLASSES
    K = theta[:a].reshape(_FILTERS, _WINDOW, _WINDOW)
    W = theta[b:c].reshape(_MAPS, _CLASSES)
    return K, theta[a:b], W, theta[c:]


@njit
def _convolution_maps(theta, X):
    """Activations of all images, shape (m, filters * map * map)."""
    K, b, _, _ = _unpack_convolution(theta)
    A = np.empty((len(X), _FILTERS, _MAP, _MAP))
    for e in range(len(X)):
        for f in range(_FILTERS):
            for r in range(_MAP):
                for c in range(_MAP):
                    z = b[f]
                    for i in range(_WINDOW):
                        for j in range(_WINDOW):
                            z += K[f, i, j] * X[e, r + i, c + j]
                    A[e, f, r, c] = np.tanh(z)
    return A.reshape(len(X), _MAPS)


@njit
def _convolution_cost(theta, X, y):
    _, _, W, c = _unpack_convolution(theta)
    return _cross_entropy(_convolution_maps(theta, X) @ W + c, y)


@njit
def _convolution_grad(theta, X, y):
    _, _, W, c = _unpack_convolution(theta)
    out = np.zeros_like(theta)
    dK, db, dW, dc = _unpack_convolution(out)
    A = _convolution_maps(theta, X)
    D = _cross_entropy_slope(A @ W + c, y)
    dW[:] = A.T @ D
    dc[:] = D.sum(axis=0)
    back = ((D @ W.T) * (1.0 - A**2)).reshape(len(X), _FILTERS, _MAP, _MAP)
    for e in range(len(X)):
        for f in range(_FILTERS):
            for r in range(_MAP):
                for s in range(_MAP):
                    db[f] += back[e, f, r, s]
                    for i in range(_WINDOW):
                        for j in range(_WINDOW):
                            dK[f, i, j] += back[e, f, r, s] * X[e, r + i, s + j]
    return out


def convolution() -> Problem:
    """Four 3 x 3 filters, tanh and a dense layer, 16 images of 8 x 8, n = 1,490."""
    rng = np.random.default_rng(4)
    theta = np.concatenate(
        [rng.normal(0.0, 0.3, _FILTERS * (_WINDOW * _WINDOW + 1)), _glorot(rng, (_MAPS, _CLASSES))]
    )
    X, y = _classes(rng, 16, 64, _CLASSES)
    return Problem(_convolution_cost, _convolution_grad, theta, (X.reshape(-1, 8, 8), y))


# Rosenbrock's valley (The Computer Journal, 1960) in its chained form.


@njit
def _rosenbrock_cost(theta):
    total = 0.0
    for i in range(len(theta) - 1):
        total += 100.0 * (theta[i + 1] - theta[i] ** 2) ** 2 + (1.0 - theta[i]) ** 2
    return total


@njit
def _rosenbrock_grad(theta):
    out = np.zeros_like(theta)
    for i in range(len(theta) - 1):
        climb = 200.0 * (theta[i + 1] - theta[i] ** 2)
        out[i] -= 2.0 * theta[i] * climb + 2.0 * (1.0 - theta[i])
        out[i + 1] += climb
    return out


def rosenbrock() -> Problem:
    """Chained Rosenbrock function of n = 10,000 variables."""
    theta = np.random.default_rng(5).uniform(-1.0, 1.0, 10_000)
    return Problem(_rosenbrock_cost, _rosenbrock_grad, theta, ())


# Multinomial logistic regression, with a ridge on the weights and none on the biases.


@njit
def _logistic_cost(theta, X, y, ridge):
    W = theta[: _INPUTS * _CLASSES].reshape(_INPUTS, _CLASSES)
    b = theta[_INPUTS * _CLASSES :]
    return _cross_entropy(X @ W + b, y) + 0.5 * ridge * np.sum(W**2)


@njit
def _logistic_grad(theta, X, y, ridge):
    W = theta[: _INPUTS * _CLASSES].reshape(_INPUTS, _CLASSES)
    b = theta[_INPUTS * _CLASSES :]
    D = _cross_entropy_slope(X @ W + b, y)
    out = np.empty_like(theta)
    out[: _INPUTS * _CLASSES] = (X.T @ D + ridge * W).ravel()
    out[_INPUTS * _CLASSES :] = D.sum(axis=0)
    return out


def logistic_digits() -> Problem:
    """Logistic regression on 256 of scikit-learn's handwritten digits, n = 650."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    theta = _glorot(np.random.default_rng(6), (_INPUTS, _CLASSES))
    return Problem(_logistic_cost, _logistic_grad, theta, (X[:256] / 16.0, y[:256], 1e-2))


# The recurrent network again, its sums over columns: the inner loops run over independent states,
# which compilers vectorise without changing the order of any sum, 1.5 times as fast.


@njit
def _recurrent_cost_by_columns(theta, X, Y):
    U, V, b, w = _unpack_recurrent(theta)
    columns_of_U, columns_of_V = U.T.copy(), V.T.copy()
    z = np.empty(_STATE)
    s = np.empty(_STATE)
    total = 0.0
    for e in range(len(X)):
        s[:] = 0.0
        for t in range(X.shape[1]):
            z[:] = b
            for j in range(_STATE):
                for i in range(_STATE):
                    z[i] += columns_of_U[j, i] * s[j]
            for j in range(_SIGNALS):
                for i in range(_STATE):
                    z[i] += columns_of_V[j, i] * X[e, t, j]
            output = 0.0
            for i in range(_STATE):
                s[i] = np.tanh(z[i])
                output += w[i] * s[i]
            total += (output - Y[e, t]) ** 2
    return total / (2 * Y.size)


def recurrent_by_columns() -> Problem:
    """The same network, data and theta as `recurrent`."""
    return recurrent()._replace(cost=_recurrent_cost_by_columns)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    problem.__name__: problem
    for problem in (
        loop_mlp,
        matmul_mlp,
        recurrent,
        convolution,
        rosenbrock,
        logistic_digits,
        recurrent_by_columns,
    )
}
