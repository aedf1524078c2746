"""Checks along random directions."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastgradcheck as fgc
from tests.cases.faults import Subject
from tests.cases.networks import Network

Array = np.ndarray[Any, Any]
NETWORK = Network((12, 20, 14, 5))
RELU = Network((12, 20, 14, 5), activation="relu")


def checked(s: Subject, grad: Any = None, **options: Any) -> fgc.GradcheckResult:
    options = {"strategy": "screen", "seed": 0, "args": (s.data, s.targets)} | options
    return fgc.gradcheck(s.network.cost, grad or s.gradient, s.theta, **options)


def copied(gradient: dict[str, Array]) -> dict[str, Array]:
    return {name: part.copy() for name, part in gradient.items()}


def quadratic(scales: dict[str, float]) -> tuple[Any, Any]:
    """Sum of s * theta^2 / 2 + theta^4 / 4 over blocks, and its gradient."""

    def cost(theta: dict[str, Array]) -> float:
        return float(
            sum((scales[k] * (t**2 / 2 + t**4 / 4)).sum() for k, t in theta.items() if k in scales)
        )

    def grad(theta: dict[str, Array]) -> dict[str, Array]:
        return {k: scales[k] * (t + t**3) if k in scales else 0 * t for k, t in theta.items()}

    return cost, grad


class Fenced:
    """A cost that counts every evaluation outside of its bounds, or at a number it cannot take."""

    def __init__(self, low: Array, high: Array) -> None:
        self.low, self.high, self.outside = low, high, 0

    def __call__(self, theta: Array) -> float:
        self.outside += bool(((theta < self.low) | (theta > self.high)).any())
        return float((np.exp(theta) + theta**3).sum())

    def grad(self, theta: Array) -> Array:
        return np.exp(theta) + 3 * theta**2
