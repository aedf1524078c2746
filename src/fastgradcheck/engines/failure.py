"""What the user is told when the cost fails at a perturbed point, the same for every engine."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.plans import Plan, Stencils
from fastgradcheck.problem import Objective

_ADVICE = (
    "The cost must be defined in a small neighbourhood of theta; move theta away from the edge "
    "of its domain, or pass bounds=."
)


def evaluation_failure(
    objective: Objective, plan: Plan, row: int, point: int, exc: BaseException
) -> CostEvaluationError:
    """The error for an exception that the cost raised at one point of a plan.

    Parameters
    ----------
    objective : Objective
    plan : Plan
    row, point : int
        Which of the plan's points.
    exc : BaseException
        What the cost raised.

    Returns
    -------
    CostEvaluationError
        Ready to be raised; `exc` is its ``__cause__``.
    """
    address, step, where = _location(objective, plan, row, point)
    text = f": {exc}".rstrip(" :.")
    message = f"cost raised {type(exc).__name__} at {where}{text}. {_ADVICE}"
    error = CostEvaluationError(message, address, step)
    error.__cause__ = exc
    return error


def value_failure(
    objective: Objective, plan: Plan, row: int, point: int, reason: str
) -> CostEvaluationError:
    """The error for a value of the cost, at one point of a plan, that has a `complaint`."""
    address, step, where = _location(objective, plan, row, point)
    return CostEvaluationError(f"at {where}, {reason}", address, step)


def complaint(value: Any, is_complex: bool = False) -> str:
    """What is wrong with a value that the cost returned; empty if it is a scalar as wanted.

    Parameters
    ----------
    value : object
        A real scalar is wanted: a number, or a 0-d array.
    is_complex : bool
        The cost was called with a complex theta, so that a complex scalar is wanted.

    Examples
    --------
    >>> complaint(1.5)
    ''
    >>> complaint(None)
    'cost returned None: does it end with a return statement, in every branch?'
    """
    if value is None:
        return "cost returned None: does it end with a return statement, in every branch?"
    try:
        array = np.asarray(value)
    except Exception as exc:
        return f"cost returned {_typed(value)}, which does not convert to a number ({exc})."
    if array.ndim:
        return (
            f"cost returned an array of shape {array.shape}: it must return one number; "
            "reduce it by .sum() or .mean(), or take the number out of it by .item()."
        )
    if array.dtype.kind not in "fiuc":
        return f"cost returned {_typed(value)}: it must return one number."
    if is_complex and array.dtype.kind != "c":
        return (
            "cost returned a real number for a complex theta, so that the complex step sees no "
            'derivative: use scheme="central".'
        )
    if not is_complex and array.dtype.kind == "c":
        return f"cost returned the complex number {value}: it must return a real one."
    return ""


def _typed(value: Any) -> str:
    return f"a {type(value).__name__}"


def _location(objective: Objective, plan: Plan, row: int, point: int) -> tuple[str, float, str]:
    """Address, step and both in words."""
    parameters = objective.parameters
    if isinstance(plan, Stencils):
        index = int(plan.index[row])
        address = parameters.address(index)
        step = plan.points[row, point] - objective.theta[index]
        return address, _length(step), f"{address}{_signed(step)}"
    start = int(plan.regions[row, 0])
    address = parameters.blocks[parameters.block_index(start)].name
    offset = plan.offsets[row, point]
    return address, _length(offset), f"{address}{_signed(offset)} * (a random direction)"


def _length(step: Any) -> float:
    """A step along the imaginary axis counts by its imaginary part."""
    return float(step.imag if step.imag else step.real)


def _signed(step: Any) -> str:
    size = _length(step)
    return f" {'-' if size < 0 else '+'} {abs(size):.3g}{'j' if step.imag else ''}"
