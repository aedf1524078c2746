"""The engine of a J that is not at hand: whatever asks it for a value ends there."""

from __future__ import annotations

import math
import os
from typing import Any, NoReturn

from numpy.typing import NDArray

from fastgradcheck.evaluation.plans import Plan
from fastgradcheck.evaluation.stream import Stopped
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.problem import Objective


class AbsentEngine:
    """Never calls the cost.

    Parameters
    ----------
    objective : Objective
    """

    name = "none"
    n_jobs = os.cpu_count() or 1  # for our own loops: nobody else runs meanwhile
    t_cost = math.nan
    compile_seconds = 0.0
    findings: tuple[Finding, ...] = ()

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def value(self, theta: NDArray[Any]) -> NoReturn:
        """Raise `Stopped`."""
        raise Stopped("J is not at hand")

    def evaluate(self, plan: Plan) -> NoReturn:
        """Raise `Stopped`."""
        raise Stopped("J is not at hand")

    def supports_complex(self) -> str:
        """Why complex steps are not possible."""
        return "J is not at hand"

    def close(self) -> None:
        """Nothing is held."""
