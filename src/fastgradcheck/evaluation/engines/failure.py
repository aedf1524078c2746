"""What the user is told when the cost fails at a perturbed point, the same for every engine."""

from __future__ import annotations

from fastgradcheck.errors import CostEvaluationError, said
from fastgradcheck.evaluation.plans import Plan
from fastgradcheck.problem.problem import Objective

_ADVICE = (
    "It must be defined in a small neighbourhood of theta; move theta away from the edge "
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
    message = f"{objective.name} raised {type(exc).__name__} at {where}{_text(exc)}. {_ADVICE}"
    error = CostEvaluationError(message, address, step)
    error.__cause__ = exc
    return error


def failure_at_theta(objective: Objective, exc: BaseException) -> CostEvaluationError:
    """The same for a point of its own, which belongs to no plan."""
    return CostEvaluationError(f"{objective.name} raised {type(exc).__name__}{_text(exc)}.")


def value_failure(
    objective: Objective, plan: Plan, row: int, point: int, reason: str
) -> CostEvaluationError:
    """The error for a value of the cost, at one point of a plan, that has a `complaint`."""
    address, step, where = _location(objective, plan, row, point)
    return CostEvaluationError(f"at {where}, {reason}", address, step)


def _text(exc: BaseException) -> str:
    return f": {said(exc)}".rstrip(" :.")


def _location(objective: Objective, plan: Plan, row: int, point: int) -> tuple[str, float, str]:
    """Address, step and both in words."""
    parameters = objective.parameters
    step, where = plan.displacement(parameters, objective.theta, row, point)
    return plan.address(parameters, row), step, where
