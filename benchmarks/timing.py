"""How long one evaluation takes, and how well the engines use it."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numba import njit

from benchmarks.problems import Array, Problem
from fastgradcheck.differences.schemes import CENTRAL
from fastgradcheck.evaluation.choice import open_engine
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.plans import Stencils
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective
from fastgradcheck.problem.value import is_jitted


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@njit(nogil=True)
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


def bare_loop(problem: Problem, threads: int) -> Callable[[], None]:
    """As many evaluations of a compiled cost as `component_loop` makes, and nothing else.

    Each thread calls the cost again and again at theta: what the cores give at best, while they
    are shared with other work or slow down together.
    """
    count = 2 * problem.theta.size // threads

    def run() -> None:
        with one_blas_thread():
            workers = [
                threading.Thread(
                    target=_repeat, args=(problem.cost, count, problem.theta.copy(), problem.args)
                )
                for _ in range(threads)
            ]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()

    return run


@dataclass(frozen=True)
class Efficiency:
    """How well the engine uses the cores.

    Attributes
    ----------
    ideal : float
        2 n t_J / (threads wall) of the component loop: 1 if nothing but the cost took time.
    bare : float
        The wall time of `bare_loop` over that of the component loop: 1 if the engine adds
        nothing, also on cores that are busy with something else.
    """

    ideal: float
    bare: float


def efficiency(problem: Problem, threads: int, repeats: int = 7) -> Efficiency:
    """Medians of turns: other work on the machine meets everything that is compared."""
    run, bare = component_loop(problem, threads), bare_loop(problem, threads)
    run()
    bare()
    turns = []
    for _ in range(repeats):
        before = per_evaluation(problem, 1)
        wall, limit = seconds(run), seconds(bare)
        t_cost = (before + per_evaluation(problem, 1)) / 2
        turns.append((2 * problem.theta.size * t_cost / (threads * wall), limit / wall))
    return Efficiency(*map(statistics.median, zip(*turns, strict=True)))


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
