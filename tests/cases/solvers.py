"""Costs that an adaptive or truncated method computes, and their exact gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

START = np.array([1.0, 0.8])
TIMES = np.linspace(0.5, 5.0, 10)
RATES = np.array([1.1, 0.4, 0.9, 0.3])
DATA = 1.0 + np.linspace(0.0, 1.0, 20).reshape(2, 10)


class LotkaVolterra:
    """The squared distance of a solution from data, by `solve_ivp` with these options."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    @staticmethod
    def slope(t: float, z: Any, p: Any) -> Any:
        x, y = z
        return np.array([p[0] * x - p[1] * x * y, p[3] * x * y - p[2] * y])

    def cost(self, p: Any) -> float:
        span = 0.0, TIMES[-1]
        solved = solve_ivp(self.slope, span, START, t_eval=TIMES, args=(p,), **self.options)
        return float(((solved.y - DATA) ** 2).sum())

    def grad(self, p: Any) -> Any:
        """By the sensitivity equations, far more exactly than the cost."""

        def whole(t: float, s: Any) -> Any:
            (x, y), sensitivity = s[:2], s[2:].reshape(2, 4)
            by_state = np.array([[p[0] - p[1] * y, -p[1] * x], [p[3] * y, p[3] * x - p[2]]])
            by_rates = np.array([[x, -x * y, 0.0, 0.0], [0.0, 0.0, -y, x * y]])
            moved = by_state @ sensitivity + by_rates
            return np.concatenate([self.slope(t, s[:2], p), moved.ravel()])

        start, span = np.append(START, np.zeros(8)), (0.0, TIMES[-1])
        exact = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-12}
        s = solve_ivp(whole, span, start, t_eval=TIMES, **exact).y
        return np.einsum("ct,cjt->j", 2 * (s[:2] - DATA), s[2:].reshape(2, 4, -1))


class FixedPoint:
    """A function of z = tanh(W z + U theta), iterated until it changes by less than `tolerance`."""

    def __init__(self, tolerance: float) -> None:
        rng = np.random.default_rng(0)
        self.tolerance, self.theta = tolerance, np.array([0.3, -0.5, 0.8, 0.1, -0.2])
        weights = rng.normal(size=(8, 8))
        self.W = 0.6 * weights / np.linalg.norm(weights, 2)
        self.U, self.c = rng.normal(size=(8, 5)), rng.normal(size=8)

    def solved(self, theta: Any, tolerance: float) -> Any:
        z, change = np.zeros(8), np.inf
        while change > tolerance:
            new = np.tanh(self.W @ z + self.U @ theta)
            z, change = new, np.abs(new - z).max()
        return z

    def cost(self, theta: Any) -> float:
        z = self.solved(theta, self.tolerance)
        return float(self.c @ z + 0.5 * z @ z)

    def grad(self, theta: Any) -> Any:
        """By the implicit function theorem, at the fixed point itself."""
        z = self.solved(theta, 1e-15)
        slope = 1 - z**2
        return self.U.T @ (slope * np.linalg.solve(np.eye(8) - self.W.T * slope, self.c + z))
