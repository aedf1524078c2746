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
