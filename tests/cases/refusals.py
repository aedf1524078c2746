"""A small problem, and a check of it that must be refused before any long work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.errors import GradcheckInputError

THETA = np.array([1.0, -2.0, 0.5])
NEST = {"W1": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), "b1": np.array([0.5, -0.5])}


class Counted:
    """The sum of squares, and how often it was evaluated."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, theta: Any, *args: Any) -> float:
        self.calls += 1
        return float(np.sum(np.asarray(theta) ** 2))


def square(theta: Any, *args: Any) -> float:
    return float((theta**2).sum())


def slope(theta: Any, *args: Any) -> Any:
    return 2 * theta


def nested_cost(theta: Any) -> float:
    return float((theta["W1"] ** 2).sum() + (theta["b1"] ** 2).sum())


def nested_grad(theta: Any) -> Any:
    return {name: 2 * part for name, part in theta.items()}


def refused(
    message: str, cost: Any = None, grad: Any = slope, theta: Any = THETA, **options: Any
) -> GradcheckInputError:
    """The refusal of a check, which must match `message` and have cost next to nothing."""
    counted = Counted() if cost is None else cost
    with pytest.raises(GradcheckInputError, match=message) as caught:
        fgc.gradcheck(counted, grad, theta, seed=0, **options)
    if cost is None:
        # J a few times at theta and close to it, and what finding out about a dtype takes: no loop.
        assert counted.calls <= 8
    return caught.value
