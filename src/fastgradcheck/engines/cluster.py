"""The engine for compiled costs on a cluster: each worker runs the serial compiled loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from fastgradcheck.engines.numba import NumbaEngine
from fastgradcheck.engines.python import PythonEngine
from fastgradcheck.plans import Plan
from fastgradcheck.problem import Objective


class ClusterEngine(PythonEngine):
    """Sends chunks to the workers of the active joblib backend; small plans stay here.

    Values are those of `NumbaEngine`, bit for bit.

    Parameters
    ----------
    objective : Objective
        As for `NumbaEngine`.
    n_jobs : int, optional
        Workers; None for all.
    """

    name = "numba"
    compiled = True

    def __init__(self, objective: Objective, n_jobs: int | None = None) -> None:
        self._local = NumbaEngine(objective, 1, serial=True)
        super().__init__(replace(objective, cost=self._local.dispatcher), n_jobs)
        self.compile_seconds = self._local.compile_seconds

    def supports_complex(self) -> str | None:
        return self._local.supports_complex()

    def value(self, theta: NDArray[Any]) -> float:
        value = self._local.value(theta)
        self.t_cost = self._local.t_cost
        return value

    def close(self) -> None:
        super().close()
        self._local.close()

    def _here(self, plan: Plan, start: int) -> Iterator[tuple[slice, NDArray[Any]]]:
        for rows, values in self._local.evaluate(plan.rows(slice(start, None))):
            self.t_cost = self._local.t_cost
            yield slice(rows.start + start, rows.stop + start), values
