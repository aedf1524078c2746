"""The check of a Jacobian before anything of it was measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fastgradcheck.differences.context import Context
from fastgradcheck.differences.rows import Rows, measure_noise
from fastgradcheck.evaluation.engines.python import PythonEngine
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.problem import sampling
from fastgradcheck.problem.bounds import flat_bounds
from fastgradcheck.problem.entries import Entries
from fastgradcheck.problem.jacobian import evaluate_jacobian
from fastgradcheck.problem.outputs import describe_outputs
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective
from fastgradcheck.search.columns import JacobianTask
from fastgradcheck.verdict.tolerances import tolerances_at


def row_task(
    fun: Any, claim: Any, theta: Any, *, sample: Any = (), screens: bool = True, bounds: Any = None
) -> JacobianTask:
    """The check of the matrix `claim`, its rows with their noise; `sample` names columns."""
    parameters = describe(theta)
    flat = parameters.flatten(theta)
    outputs = describe_outputs(fun(theta))
    objective = Objective(fun, (), parameters, flat, outputs=outputs)
    limits = flat_bounds(bounds, flat, parameters)
    context = Context(Stream(PythonEngine(objective)), float("nan"), bounds=limits, seed=1)
    values = outputs.flatten(fun(theta))
    rows = Rows(context, values, np.zeros(len(values)))
    rows = replace(rows, noise=measure_noise(context, values))
    matrix, _ = evaluate_jacobian(np.asarray(claim, float), outputs, parameters)
    columns = np.array(sample, np.int64)
    drawn = sampling.draw(columns, parameters, 0) if len(columns) else sampling.NOTHING
    tolerance = tolerances_at(matrix.eps, np.dtype(np.float64), None, None)
    return JacobianTask(rows, matrix, Entries(outputs, parameters), tolerance, drawn, screens)
