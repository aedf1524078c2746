"""The component loop: how long a check takes, and how close that is to the cost's own time."""

from __future__ import annotations

import statistics
import time

from joblib import cpu_count
from numba import njit
from threadpoolctl import threadpool_limits

import fastgradcheck
from benchmarks.problems import PROBLEMS, Problem


@njit
def _repeat(cost, count, theta, args):
    """Calls the cost from compiled code, as the check does: no way through Python per call."""
    total = 0.0
    for _ in range(count):
        total += cost(theta, *args)
    return total


def _seconds_per_cost(problem: Problem) -> float:
    """t_J: the median over five runs of about 50 ms, on one BLAS thread."""

    def run(count: int) -> float:
        start = time.perf_counter()
        _repeat(problem.cost, count, problem.theta, problem.args)
        return time.perf_counter() - start

    with threadpool_limits(1):
        run(1)
        count = max(1, round(0.05 / max(run(10) / 10, 1e-7)))
        return statistics.median(run(count) / count for _ in range(5))


class Components:
    """Every component of the small problems, by central differences, on all cores."""

    params = ("loop_mlp", "recurrent", "convolution", "logistic_digits")
    param_names = ("problem",)
    timeout = 300

    def setup(self, name: str) -> None:
        self.problem = PROBLEMS[name]()
        self.check()

    def check(self) -> fastgradcheck.GradcheckResult:
        return fastgradcheck.gradcheck(
            self.problem.cost,
            self.problem.grad,
            self.problem.theta,
            args=self.problem.args,
            strategy="components",
            n_jobs=-1,
            seed=0,
        )

    def time_check(self, name: str) -> None:
        self.check()

    def track_efficiency(self, name: str) -> float:
        """2 n t_J / (cores wall): 1 if nothing but the cost took time."""
        seconds = _seconds_per_cost(self.problem)
        walls = []
        for _ in range(3):
            start = time.perf_counter()
            self.check()
            walls.append(time.perf_counter() - start)
        work = 2 * len(self.problem.theta) * seconds
        return work / (cpu_count() * statistics.median(walls))

    track_efficiency.unit = "fraction of the ideal"
