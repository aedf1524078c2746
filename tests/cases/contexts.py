"""A context for measurements, as a check makes one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastgradcheck.differences import noise
from fastgradcheck.differences.context import Context
from fastgradcheck.evaluation.engines.python import PythonEngine
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.options import user_epsilon
from fastgradcheck.problem.bounds import flat_bounds
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective


def context_of(
    cost: Callable[[Any], float],
    theta: Any,
    *,
    bounds: Any = None,
    epsilon: Any = "auto",
    **options: Any,
) -> Context:
    """Where and how a cost is differentiated at theta; its noise is not known yet."""
    parameters = describe(theta)
    flat = parameters.flatten(theta)
    flat.flags.writeable = False
    objective = Objective(cost, (), parameters, flat)
    return Context(
        Stream(PythonEngine(objective)),
        float(objective(flat.copy())),
        bounds=flat_bounds(bounds, flat, parameters),
        epsilon=user_epsilon(epsilon, parameters),
        **options,
    )


def with_noise(context: Context) -> Context:
    """The same with the noise of J measured."""
    return replace(context, noise=noise.measure(context).level)
