"""Derivatives of any float64 function, with an error estimate, for use as evidence in tests.

Romberg extrapolation of central differences over thirteen shrinking steps, 4 apart, from a
tenth of |theta_i| down to 1e-8 of it. The entry of the table that agrees best with its three
neighbours (above, left, above-left; so from at least three different steps) is the value, and
four times its disagreement, plus the rounding of J over the step, is the error. A kink or a
noise floor spoils the coarse or the fine entries and leaves the rest of the table to choose from.

Source: Ridders, *Accurate computation of F'(x) and F'(x)F''(x)*, Adv. Eng. Software 4 (1982),
with the agreement widened from two neighbours to three, so that the coarse entries near a kink
do not look converged by accident.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STEPS = 13
_RATIO = 4.0
_FIRST = 0.1
_SAFETY = 4.0
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Derivative:
    """A gradient and its error, component by component: float64 arrays of theta's shape."""

    value: NDArray[np.float64]
    error: NDArray[np.float64]


def derivative(cost: Callable[[Any], float], theta: NDArray[Any]) -> Derivative:
    """The gradient of `cost` at `theta`, shape (n,), in float64."""
    theta = np.asarray(theta, dtype=np.float64)
    base = 0.1 * float(np.sqrt(np.mean(theta**2))) or 1.0
    pairs = [_component(cost, theta, i, max(abs(theta[i]), base)) for i in range(theta.size)]
    value, error = np.array(pairs).T
    return Derivative(value, error)


def _component(
    cost: Callable[[Any], float], theta: NDArray[np.float64], i: int, size: float
) -> tuple[float, float]:
    """One partial derivative and its error; `size` sets the coarsest step."""
    up, down = theta.copy(), theta.copy()
    differences, roundings = np.empty(_STEPS), np.empty(_STEPS)
    for k in range(_STEPS):
        h = _FIRST * size / _RATIO**k
        up[i], down[i] = theta[i] + h, theta[i] - h
        with np.errstate(all="ignore"):
            j_up, j_down = float(cost(up.copy())), float(cost(down.copy()))
        taken = up[i] - down[i]
        differences[k] = (j_up - j_down) / taken
        # J is rounded, and so is its argument: a relative eps of theta_i moves J by theta_i J'.
        moved = abs(theta[i] * differences[k])
        roundings[k] = _EPS * (abs(j_up) + abs(j_down) + moved) / taken
    return _best_entry(differences, roundings)


def _best_entry(
    differences: NDArray[np.float64], roundings: NDArray[np.float64]
) -> tuple[float, float]:
    """The entry of the Romberg table that agrees best with its neighbours."""
    best, best_error = float("nan"), float("inf")
    above = differences[:1]
    for k in range(1, differences.size):
        row = [differences[k]]
        for j in range(k):
            row.append(row[j] + (row[j] - above[j]) / (_RATIO ** (2 * j + 2) - 1))
            neighbours = [row[j], above[j]] + ([above[j + 1]] if j + 1 < above.size else [])
            spread = max(abs(row[j + 1] - other) for other in neighbours)
            error = _SAFETY * spread + 2 * roundings[k]
            # One pair of steps alone is no evidence: the corner entry has no third neighbour.
            if len(neighbours) == 3 and error < best_error:
                best, best_error = row[j + 1], error
        above = np.array(row)
    return best, best_error


@dataclass(frozen=True)
class Classification:
    """What the reference says of a claimed gradient.

    Attributes
    ----------
    relative_difference : float
        ``|grad - reference| / (|grad| + |reference|)``, in the Euclidean norm.
    uncertainty : float
        The same of the reference's error.
    worst : int
        The component with the largest difference.
    ratio : float
        grad / reference there.
    """

    relative_difference: float
    uncertainty: float
    worst: int
    ratio: float

    def right(self, threshold: float) -> bool | None:
        """Is the gradient right to within `threshold`? None if the reference cannot tell."""
        if self.relative_difference + self.uncertainty <= threshold:
            return True
        if self.relative_difference - self.uncertainty > threshold:
            return False
        return None


def classify(
    cost: Callable[[Any], float], grad: NDArray[Any], theta: NDArray[Any]
) -> Classification:
    """Hold a claimed gradient, shape (n,), against the reference."""
    reference = derivative(cost, theta)
    grad = np.asarray(grad, dtype=np.float64)
    difference = np.abs(grad - reference.value)
    size = float(np.linalg.norm(grad) + np.linalg.norm(reference.value))
    worst = int(np.argmax(difference))
    with np.errstate(all="ignore"):
        return Classification(
            float(np.linalg.norm(difference)) / size,
            float(np.linalg.norm(reference.error)) / size,
            worst,
            float(grad[worst] / reference.value[worst]),
        )
