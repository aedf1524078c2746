"""The one protocol that every engine follows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from numpy.typing import NDArray

from fastgradcheck.evaluation.plans import Plan
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.problem import Objective

CHUNK_SECONDS = 0.15
"""How long a chunk of a plan takes: long enough that sending it to a worker (a millisecond) does
not count, short enough that progress is live and Ctrl-C prompt."""


class Engine(Protocol):
    """Evaluates J over plans; knows nothing of gradients, tolerances or reports.

    ``t_cost`` is the time of one evaluation in seconds, as last measured; nan before the first.
    """

    objective: Objective
    name: str

    @property
    def n_jobs(self) -> int:
        """Threads or workers that were used."""

    @property
    def t_cost(self) -> float:
        """See above."""

    @property
    def compile_seconds(self) -> float:
        """Compiling the user's cost, so far."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the user should know."""

    def value(self, theta: NDArray[Any]) -> float | NDArray[Any]:
        """J at a flat theta of the objective's dtype, or several outputs as a vector."""

    def evaluate(self, plan: Plan) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield ``(rows, values)`` chunks, lazily, in any order, each row exactly once.

        ``values`` has shape ``(rows.stop - rows.start, plan.width)``. Non-finite values of J are
        values like any other. Raises `CostEvaluationError` where the cost raises.
        """

    def supports_complex(self) -> str | None:
        """Why the cost cannot be differentiated by complex steps; None if it can."""

    def close(self) -> None:
        """Release workers, if there are any."""
