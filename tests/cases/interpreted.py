"""Python costs and plans for engines, and scripts in processes of their own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest

from fastgradcheck.evaluation.engines.python import PythonEngine
from fastgradcheck.evaluation.plans import Plan, Stencils
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective

WORKERS = [
    pytest.param({}, id="serial"),
    pytest.param({"n_jobs": 2}, id="processes"),
    pytest.param({"n_jobs": 2, "backend": "threading"}, id="threads"),
]


def objective(cost: Any, theta: Any, *args: Any) -> Objective:
    parameters = describe(theta)
    flat = parameters.flatten(theta)
    flat.flags.writeable = False
    return Objective(cost, args, parameters, flat)


def stencils(subject: Objective, *offsets: complex) -> Stencils:
    points = subject.theta[:, None] + np.array(offsets)
    if not np.iscomplexobj(points):
        points = points.astype(subject.theta.dtype)
    return Stencils(np.arange(len(points)), points)


def collect(engine: PythonEngine, plan: Plan) -> np.ndarray:
    """All values of a plan; every row must come exactly once."""
    values = np.full((len(plan), plan.width), np.nan, complex if plan.is_complex else float)
    seen = np.zeros(len(plan), int)
    for rows, chunk in engine.evaluate(plan):
        values[rows] = chunk
        seen[rows] += 1
    assert (seen == 1).all()
    return values


def flat_cost(x):
    return np.sum(np.sin(x) * x)


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape)


def run_script(script: str, *args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *args],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
