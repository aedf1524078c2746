"""Compiled costs and plans, and the values that plain NumPy loops give."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest
from threadpoolctl import threadpool_info

import fastgradcheck
from fastgradcheck.evaluation.engines.numba import NumbaEngine
from fastgradcheck.evaluation.plans import Directions, Plan, Stencils
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective

SOURCES = Path(fastgradcheck.__path__[0]).parent
THREADS = int(numba.config.NUMBA_NUM_THREADS)
needs_threads = pytest.mark.skipif(THREADS < 2, reason="Numba has one thread here")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")


@numba.njit
def rational(theta, X):
    """Only + - * /, which IEEE 754 fixes to the last bit in NumPy as in compiled code."""
    total = 0.0
    for r in range(X.shape[0]):
        s = 0.0
        for i in range(theta.size):
            s += theta[i] * X[r, i % X.shape[1]]
        total += s / (1.0 + s * s)
    return total


THETA = np.linspace(-1.0, 1.0, 37)
X = np.cos(np.arange(12.0)).reshape(4, 3)


def objective(
    cost: Callable[..., Any], args: tuple[Any, ...] = (), theta: Any = THETA
) -> Objective:
    parameters = describe(theta)
    flat = parameters.flatten(theta)
    flat.flags.writeable = False
    return Objective(cost, args, parameters, flat)


def stencils(theta: Any, step: complex = 1e-4) -> Stencils:
    return Stencils(np.arange(theta.size), np.stack([theta + step, theta - step], axis=1))


def directions(theta: Any, scale: Any = None) -> Directions:
    # The whole as one row, and the part of a 4 x 9 matrix.
    regions = np.array([[0, theta.size, 0, 1, 0, theta.size], [1, 9, 1, 3, 2, 7]])
    offsets = np.array([[1e-3, -1e-3, 2e-3], [0.5, -0.25, 1e-9]])
    return Directions(regions, np.array([3, 2**63 + 5], np.uint64), offsets, scale)


def gathered(engine: NumbaEngine, plan: Plan) -> Any:
    """All values in order; every row is answered exactly once."""
    values = np.full((len(plan), plan.width), np.nan, complex if plan.is_complex else float)
    seen = np.zeros(len(plan), int)
    for rows, chunk in engine.evaluate(plan):
        values[rows] = chunk
        seen[rows] += 1
    assert (seen == 1).all()
    return values


def hash_words(key: int, index: Any) -> Any:
    """SplitMix64 in Python's integers, and the signed magnitude that it gives."""
    result = []
    for i in np.ravel(index).tolist():
        z = (int(key) + (i + 1) * 0x9E3779B97F4A7C15) % 2**64
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        z ^= z >> 31
        result.append((0.5 + (z >> 11) * 2.0**-53) * (1.0 - 2.0 * (z & 1)))
    return np.array(result)


def region_index(region: Any) -> Any:
    start, columns, row0, row1, column0, column1 = region.tolist()
    grid = np.arange(row0, row1)[:, None] * columns + np.arange(column0, column1)
    return (start + grid).ravel()


def points_of(plan: Plan, theta: Any) -> Iterator[Any]:
    """Every point of a plan, as NumPy makes it."""
    for r in range(len(plan)):
        for j in range(plan.width):
            point = theta.copy()
            if isinstance(plan, Stencils):
                point[plan.index[r]] = plan.points[r, j]
            else:
                index = region_index(plan.regions[r])
                move = plan.offsets[r, j] * hash_words(plan.keys[r], index)
                if plan.scale is not None:
                    move = move * plan.scale[index]
                point[index] = point[index] + move
            yield point


def looped(cost: Callable[..., Any], plan: Plan, theta: Any) -> Any:
    """The naive loop over Python calls of the cost."""
    values = [cost(point) for point in points_of(plan, theta)]
    return np.array(values).reshape(len(plan), plan.width)


def run_python(code: str, timeout: float = 120, **environment: str) -> str:
    """Standard output of a fresh interpreter, which has to end well."""
    preamble = (
        "import numpy as np\n"
        "from fastgradcheck.evaluation.engines import kernels\n"
        "from tests.cases.compiled import *\n"
    )
    path = os.pathsep.join([str(SOURCES), str(Path(__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", preamble + textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


class Weights(NamedTuple):
    W: Any
    b: Any


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
