"""How long one evaluation takes, and how well the engines use it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from fastgradcheck.engines import is_jitted, open_engine
from fastgradcheck.engines.blas import one_blas_thread
from fastgradcheck.parameters import describe
from fastgradcheck.plans import Stencils
from fastgradcheck.problem import Objective
from fastgradcheck.schemes import CENTRAL
from numba import njit

from benchmarks.problems import Problem


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


@contextmanager
def component_loop(problem: Problem, threads: int) -> Iterator[Callable[[], None]]:
    """The loop over all components and nothing else: 2 n evaluations by the engine."""
    parameters = describe(problem.theta)
    objective = Objective(problem.cost, problem.args, parameters, problem.theta)
    engine = open_engine(objective, n_jobs=threads)
    index = np.arange(problem.theta.size)
    plan = Stencils(index, CENTRAL.points(problem.theta, np.full(index.size, 1e-6)))

    def run() -> None:
        for _ in engine.evaluate(plan):
            pass

    try:
        run()
        yield run
    finally:
        engine.close()


def efficiency(problem: Problem, threads: int, repeats: int = 5) -> float:
    """2 n t_J / (threads wall) of the component loop: 1 if nothing but the cost took time.

    t_J and the wall time are measured in turns: other work on the machine meets both.
    """
    shares = []
    with component_loop(problem, threads) as run:
        for _ in range(repeats):
            work = 2 * problem.theta.size * per_evaluation(problem, 1)
            shares.append(work / (threads * seconds(run)))
    return statistics.median(shares)
