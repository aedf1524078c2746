"""How long one evaluation takes, and how well the engines use it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable

import numpy as np
from numba import njit

from benchmarks.problems import Array, Problem
from fastgradcheck.engines import is_jitted, open_engine
from fastgradcheck.engines.blas import one_blas_thread
from fastgradcheck.parameters import describe
from fastgradcheck.plans import Stencils
from fastgradcheck.problem import Objective
from fastgradcheck.schemes import CENTRAL


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@njit
def _repeat(cost, count, theta, args):
    """Calls the cost from compiled code, as the check does: no way through Python per call."""
    total = 0.0
    for _ in range(count):
        total += cost(theta, *args)
    return total


def _repeat_in_python(cost, count, theta, args):
    for _ in range(count):
        cost(theta, *args)


def per_evaluation(problem: Problem, repeats: int = 5) -> float:
    """t_J: the median over a few runs of about 50 ms, on one BLAS thread."""
    repeat = _repeat if is_jitted(problem.cost) else _repeat_in_python

    def run(count: int) -> float:
        return seconds(lambda: repeat(problem.cost, count, problem.theta, problem.args)) / count

    with one_blas_thread():
        run(1)
        count = max(1, round(0.05 / max(run(10), 1e-7)))
        return statistics.median(run(count) for _ in range(repeats))


def component_loop(problem: Problem, threads: int) -> Callable[[], None]:
    """The loop over all components and nothing else: 2 n evaluations by the engine."""
    objective = Objective(problem.cost, problem.args, describe(problem.theta), problem.theta)
    engine = open_engine(objective, n_jobs=threads)
    index = np.arange(problem.theta.size)
    plan = Stencils(index, CENTRAL.points(problem.theta, np.full(index.size, 1e-6)))

    def run() -> None:
        for _ in engine.evaluate(plan):
            pass

    return run


def efficiency(problem: Problem, threads: int, repeats: int = 5) -> float:
    """2 n t_J / (threads wall) of the component loop: 1 if nothing but the cost took time.

    t_J and the wall time are measured in turns: other work on the machine meets both.
    """
    run = component_loop(problem, threads)
    run()
    return (
        2
        * problem.theta.size
        / threads
        * statistics.median(per_evaluation(problem, 1) / seconds(run) for _ in range(repeats))
    )


def naive_loop(problem: Problem, step: float = 1e-5) -> Array:
    """The textbook loop of central differences, in place, over all components."""
    return naive_gradient(problem, range(problem.theta.size), step)


def naive_gradient(problem: Problem, index: Iterable[int], step: float = 1e-5) -> Array:
    """The same over some components; the others are left zero."""
    cost, args = problem.cost, problem.args
    theta = problem.theta.copy()
    out = np.zeros_like(theta)
    for i in index:
        here = theta[i]
        theta[i] = here + step
        ahead = cost(theta, *args)
        theta[i] = here - step
        out[i] = (ahead - cost(theta, *args)) / (2 * step)
        theta[i] = here
    return out


def ratio(run: Callable[[], object], other: Callable[[], object], repeats: int) -> float:
    """The time of one over the time of the other: the median of runs in turns."""
    return statistics.median(seconds(run) / seconds(other) for _ in range(repeats))
