"""Functions of several outputs with Jacobians in closed form; they import nothing of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def tanh_layer(m: int, n: int, seed: int = 0) -> tuple[Any, Any, np.ndarray]:
    """``F = tanh(W t)``, its Jacobian, and a point."""
    rng = np.random.default_rng(seed)
    W, theta = rng.normal(size=(m, n)) / np.sqrt(n), rng.normal(size=n)

    def fun(t: np.ndarray) -> np.ndarray:
        return np.tanh(W @ t)

    def jac(t: np.ndarray) -> np.ndarray:
        return (1 - np.tanh(W @ t) ** 2)[:, None] * W

    return fun, jac, theta


def products(m: int, n: int, seed: int = 0) -> tuple[Any, Any, Any, np.ndarray]:
    """The layer, its jvp and vjp, and a point."""
    fun, jac, theta = tanh_layer(m, n, seed)
    return fun, lambda t, v: jac(t) @ v, lambda t, u: jac(t).T @ u, theta


def changed(jac: Callable[..., Any], change: Callable[[np.ndarray], None]) -> Callable[..., Any]:
    """The same Jacobian after `change` was made to the array in place."""

    def wrong(*args: Any) -> np.ndarray:
        array = np.array(jac(*args))
        change(array)
        return array

    return wrong


def two_outputs() -> tuple[Any, Any, dict[str, np.ndarray]]:
    """A nest of outputs by a nest of parameters: a defect of shape (3, 2), and an end."""
    rng = np.random.default_rng(4)
    theta = {"W": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}
    scales = np.array([1.0, 2.0])

    def fun(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"defect": np.outer(np.tanh(p["W"] @ p["b"]), scales), "end": p["b"] ** 2}

    def jac(p: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
        slope = 1 - np.tanh(p["W"] @ p["b"]) ** 2
        to_w = np.einsum("i,s,ij,k->isjk", slope, scales, np.eye(3), p["b"])
        to_b = np.einsum("i,s,ij->isj", slope, scales, p["W"])
        return {
            "defect": {"W": to_w, "b": to_b},
            "end": {"W": None, "b": np.diag(2 * p["b"])},
        }

    return fun, jac, theta


def extrapolated(fun: Callable[..., Any], theta: np.ndarray) -> np.ndarray:
    """A Jacobian, from central differences extrapolated over two steps; shape (m, n)."""
    columns = []
    for j in range(len(theta)):
        e = np.zeros(len(theta))
        e[j] = 1.0
        near, far = ((fun(theta + h * e) - fun(theta - h * e)) / (2 * h) for h in (1e-5, 2e-5))
        columns.append((4 * near - far) / 3)
    return np.stack(columns, axis=1)


HARD: dict[str, Callable[..., Any]] = {}
"""By name: ``(rng, W, V) -> (fun, jac)``, of which every output is a function of ``W t``."""


def _hard(make: Callable[..., Any]) -> Callable[..., Any]:
    HARD[make.__name__.replace("_", " ")] = make
    return make


def hard(name: str, m: int, n: int, seed: int) -> tuple[Any, Any, np.ndarray]:
    """A right Jacobian that is hard to check, its function, and a point."""
    rng = np.random.default_rng([seed, m])
    W, V = rng.normal(size=(2, m, n)) / np.sqrt(n)
    theta = rng.normal(size=n)
    return *HARD[name](rng, W, V, theta), theta


def _elementwise(
    W: np.ndarray, value: Callable[..., Any], slope: Callable[..., Any]
) -> tuple[Any, Any]:
    return lambda t: value(W @ t), lambda t: np.asarray(slope(W @ t))[:, None] * W


@_hard
def rows_over_sixteen_decades(rng: Any, W: Any, V: Any, theta: Any) -> tuple[Any, Any]:
    D = 10.0 ** rng.uniform(-8, 8, len(W))
    return _elementwise(W, lambda z: D * np.tanh(z), lambda z: D * (1 - np.tanh(z) ** 2))


@_hard
def columns_over_eight_decades(rng: Any, W: Any, V: Any, theta: Any) -> tuple[Any, Any]:
    s = 10.0 ** rng.uniform(-4, 4, W.shape[1])
    theta /= s
    return _elementwise(W * s, np.tanh, lambda z: 1 - np.tanh(z) ** 2)


@_hard
def rectified(rng: Any, W: Any, V: Any, theta: Any) -> tuple[Any, Any]:
    return _elementwise(W, lambda z: np.maximum(z, 0), lambda z: z > 0)


@_hard
def small_beside_their_values(rng: Any, W: Any, V: Any, theta: Any) -> tuple[Any, Any]:
    e = 10.0 ** rng.uniform(-6, 0, len(W))
    return _elementwise(W, lambda z: 1 + e * np.tanh(z), lambda z: e * (1 - np.tanh(z) ** 2))


@_hard
def of_many_frequencies(rng: Any, W: Any, V: Any, theta: Any) -> tuple[Any, Any]:
    f = 10.0 ** rng.uniform(-2, 2, len(W))
    return _elementwise(W, lambda z: np.sin(f * z), lambda z: f * np.cos(f * z))


@_hard
def steep(rng: Any, W: Any, V: Any, theta: Any) -> tuple[Any, Any]:
    f = 10.0 ** rng.uniform(-1, 1.5, len(W))
    return _elementwise(W, lambda z: np.exp(f * z), lambda z: f * np.exp(f * z))


@_hard
def saturated(rng: Any, W: Any, V: Any, theta: Any) -> tuple[Any, Any]:
    f = 10.0 ** rng.uniform(0, 1.5, len(W))
    return _elementwise(W, lambda z: np.tanh(f * z), lambda z: f / np.cosh(f * z) ** 2)


@_hard
def constant_in_part(rng: Any, W: Any, V: Any, theta: Any) -> tuple[Any, Any]:
    k = rng.random(len(W)) < 0.3
    return _elementwise(
        W,
        lambda z: np.where(k, 3.0, np.tanh(z)),
        lambda z: np.where(k, 0.0, 1 - np.tanh(z) ** 2),
    )


@_hard
def quotients(rng: Any, W: Any, V: Any, theta: Any) -> tuple[Any, Any]:
    def jac(t: np.ndarray) -> np.ndarray:
        a, b = W @ t, V @ t
        return W / b[:, None] - (a / b**2)[:, None] * V

    return lambda t: (W @ t) / (V @ t), jac


@_hard
def squares_close_to_their_zeros(rng: Any, W: Any, V: Any, theta: Any) -> tuple[Any, Any]:
    y = W @ theta
    return _elementwise(W, lambda z: (z - y) ** 2 + 1e-3 * z, lambda z: 2 * (z - y) + 1e-3)


def residuals(m: int, n: int, seed: int = 0) -> tuple[Any, Any, np.ndarray]:
    """Weighted residuals of a logistic model, their Jacobian, and a point."""
    rng = np.random.default_rng(seed)
    X, y, w = rng.normal(size=(m, n)), rng.normal(size=m), rng.uniform(0.5, 2.0, m)

    def model(t: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-X @ t))

    def jac(t: np.ndarray) -> np.ndarray:
        return (w * model(t) * (1 - model(t)))[:, None] * X

    return lambda t: w * (model(t) - y), jac, rng.normal(size=n) / n


def right_hand_side(m: int, n: int, seed: int = 0) -> tuple[Any, Any, np.ndarray]:
    """The right-hand side of a quadratic differential equation, its Jacobian, and a point."""
    rng = np.random.default_rng(seed)
    A, B = rng.normal(size=(2, m, n)) / np.sqrt(n)
    return (
        lambda x: A @ x + (B @ x) ** 2 / 2,
        lambda x: A + (B @ x)[:, None] * B,
        rng.normal(size=n),
    )


def in_parts(fun: Any, theta: np.ndarray) -> tuple[Any, Any, dict[str, np.ndarray]]:
    """The same function with two outputs a, b and two parameters x, y, and a matrix in blocks."""
    a, b = len(fun(theta)) // 2, len(theta) // 2

    def parted(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = fun(np.concatenate([p["x"], p["y"]]))
        return {"a": values[:a], "b": values[a:]}

    def blocks(J: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        return {
            "a": {"x": J[:a, :b], "y": J[:a, b:]},
            "b": {"x": J[a:, :b], "y": J[a:, b:]},
        }

    return parted, blocks, {"x": theta[:b], "y": theta[b:]}
