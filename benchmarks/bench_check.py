"""Whole checks: time, evaluations, memory, and how close the loop is to the cost's own time."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import fastgradcheck
from benchmarks import numpy_problems, timing
from benchmarks.problems import PROBLEMS, Problem

SMALL = ("loop_mlp", "recurrent", "convolution", "logistic_digits")
ALL = tuple(PROBLEMS)


def check(problem: Problem, **options: Any) -> fastgradcheck.GradcheckResult:
    """A check that must agree: a faster wrong answer is no progress."""
    cost, grad, theta, args = problem
    result = fastgradcheck.gradcheck(
        cost, grad, theta, args=args, seed=0, progress=False, **options
    )
    if not result:
        raise AssertionError(str(result))
    return result


class _Check:
    """One way to check, over problems; compiled in `setup`."""

    param_names = ("problem",)
    timeout = 300
    options: ClassVar[dict[str, Any]] = {}

    def setup(self, name: str) -> None:
        self.problem = PROBLEMS[name]()
        self.check()

    def check(self) -> fastgradcheck.GradcheckResult:
        return check(self.problem, **self.options)


class Components(_Check):
    """Every component, by central differences, on all cores."""

    params = SMALL
    options: ClassVar = {"strategy": "components", "n_jobs": -1}

    def time_check(self, name: str) -> None:
        self.check()

    def track_evaluations(self, name: str) -> int:
        return self.check().evaluations


class Sample(_Check):
    """A tenth of the components."""

    params = ALL
    options: ClassVar = {"sample": 0.1}

    def time_check(self, name: str) -> None:
        self.check()


class Screen(_Check):
    """All of theta by directions."""

    params = ALL
    options: ClassVar = {"strategy": "screen"}

    def time_check(self, name: str) -> None:
        self.check()

    def track_evaluations(self, name: str) -> int:
        return self.check().evaluations


class Whole(_Check):
    """What a user gets without any option."""

    params = ALL

    def time_check(self, name: str) -> None:
        self.check()

    def track_evaluations(self, name: str) -> int:
        return self.check().evaluations


class Plain:
    """A short NumPy cost: what is not the cost shows here."""

    def setup(self) -> None:
        self.problem = numpy_problems.logistic()
        check(self.problem)

    def time_check(self) -> None:
        check(self.problem)

    def track_over_naive(self) -> float:
        """The whole check over the naive loop, in turns."""
        return timing.ratio(
            lambda: check(self.problem), lambda: timing.naive_loop(self.problem), repeats=7
        )

    track_over_naive.unit = "times the naive loop"


class Efficiency:
    """2 n t_J / (threads wall) of the component loop: 1 if nothing but the cost took time."""

    params = (SMALL, tuple(2**k for k in range(5) if 2**k <= (os.cpu_count() or 1)))
    param_names = ("problem", "threads")
    timeout = 300

    def track_efficiency(self, name: str, threads: int) -> float:
        return timing.efficiency(PROBLEMS[name](), threads).ideal

    def track_of_bare_loop(self, name: str, threads: int) -> float:
        return timing.efficiency(PROBLEMS[name](), threads).bare

    track_efficiency.unit = track_of_bare_loop.unit = "fraction of the ideal"

    def setup(self, name: str, threads: int) -> None:
        self.run = timing.component_loop(PROBLEMS[name](), threads)
        self.run()

    def time_loop(self, name: str, threads: int) -> None:
        self.run()


class Memory:
    """Peak of a process that checks, and of one that does everything but check."""

    def setup(self) -> None:
        self.problem = numpy_problems.mlp(1334, 16)
        self.problem.cost(self.problem.theta, *self.problem.args)
        self.problem.grad(self.problem.theta, *self.problem.args)

    def peakmem_empty(self) -> None:
        """The reference: the same imports, problem, cost and gradient."""
        check(numpy_problems.logistic(20, 10))

    def peakmem_screen(self) -> None:
        check(self.problem)

    def peakmem_components(self) -> None:
        check(self.problem, sample=0.02)
