"""A function of three outputs with its Jacobian in 50 digits, and rows around any function."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np

from fastgradcheck.differences import rows as differences
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.rows import Rows
from fastgradcheck.differences.schemes import CENTRAL4, Scheme
from fastgradcheck.evaluation.engines.python import PythonEngine
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.problem.outputs import describe_outputs
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective


def rows_of(
    fun: Any, theta: np.ndarray, scheme: Scheme = CENTRAL4, epsilon: Any = None, bounds: Any = None
) -> Rows:
    values = np.asarray(fun(theta), float)
    objective = Objective(fun, (), describe(theta), theta, outputs=describe_outputs(values))
    stream, nan = Stream(PythonEngine(objective)), float("nan")
    context = Context(stream, nan, bounds=bounds, scheme=scheme, epsilon=epsilon, seed=1)
    return Rows(context, values, differences.measure_noise(context, values))


def elementary(t: Any) -> np.ndarray:
    return np.array([np.sin(t[0]) * np.exp(t[1]), t[2] ** 3 / t[0], np.log(t[1] + t[2])])


POINT = np.array([0.7, 1.3, 2.1])


def exact() -> np.ndarray:
    """The Jacobian in 50 digits."""
    with mpmath.workdps(50):
        x, y, z = map(mpmath.mpf, POINT.tolist())
        table = [
            [mpmath.cos(x) * mpmath.exp(y), mpmath.sin(x) * mpmath.exp(y), 0],
            [-(z**3) / x**2, 0, 3 * z**2 / x],
            [0, 1 / (y + z), 1 / (y + z)],
        ]
        return np.array([[float(entry) for entry in row] for row in table])
