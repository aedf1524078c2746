"""The one protocol that every engine follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from numpy.typing import NDArray

from fastgradcheck.plans import Plan
from fastgradcheck.problem import Finding, Objective


class Engine(Protocol):
    """Evaluates J over plans; knows nothing of gradients, tolerances or reports.

    ``t_cost`` is the time of one evaluation in seconds, as last measured; nan before the first.
    """

    objective: Objective
    name: str
    n_jobs: int
    t_cost: float
    compile_seconds: float
    findings: tuple[Finding, ...]

    def value(self, theta: NDArray[Any]) -> float:
        """J at a flat theta of the objective's dtype."""

    def evaluate(self, plan: Plan) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield ``(rows, values)`` chunks, lazily, in any order, each row exactly once.

        ``values`` has shape ``(rows.stop - rows.start, plan.width)``. Non-finite values of J are
        values like any other. Raises `CostEvaluationError` where the cost raises.
        """

    def supports_complex(self) -> str | None:
        """Why the cost cannot be differentiated by complex steps; None if it can."""

    def close(self) -> None:
        """Release workers, if there are any."""
