"""The cost model of docs/scaling.md against measurement: 1, 2 and 4 local workers.

``python -m studies.scaling`` prints a line per way of running and number of workers. The cost
waits instead of computing, so that workers do not compete for the cores of this machine: what is
measured is what the package adds.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

import joblib
import numpy as np
from distributed import Client, LocalCluster

from fastgradcheck.evaluation.choice import open_engine
from fastgradcheck.evaluation.parallel import CHUNK_SECONDS
from fastgradcheck.evaluation.plans import Stencils
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective

SECONDS = 0.005
ROWS = 1200
LATENCY = {"here": 0.0, "processes": 0.002, "dask": 0.002}
"""Seconds per chunk that a worker does not evaluate, as this script measured them."""


def cost(theta: np.ndarray) -> float:
    """Takes `SECONDS`, whatever else runs."""
    end = time.perf_counter() + SECONDS
    time.sleep(SECONDS * 0.9)
    while time.perf_counter() < end:
        pass
    return float(theta @ theta)


def predicted(evaluations: int, t_cost: float, workers: int, latency: float) -> float:
    """E t_J / w, the latency of every chunk of a worker, and the last chunk of the slowest."""
    chunks = math.ceil(evaluations * t_cost / CHUNK_SECONDS)
    return evaluations * t_cost / workers + chunks / workers * latency + CHUNK_SECONDS / 2


@contextlib.contextmanager
def cluster(workers: int) -> Iterator[None]:
    """A Dask cluster of local processes as joblib's backend."""
    options = {"processes": True, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        LocalCluster(n_workers=workers, silence_logs=50, **options) as local,
        Client(local),
        joblib.parallel_config(backend="dask"),
    ):
        yield


def measure(way: str, workers: int) -> float:
    """Seconds for `ROWS` rows of two evaluations, the workers being there already."""
    theta = np.linspace(1.0, 2.0, ROWS)
    plan = Stencils(np.arange(ROWS), theta[:, None] + np.array([1e-5, -1e-5]))
    place = cluster(workers) if way == "dask" else contextlib.nullcontext()
    with place:
        objective = Objective(cost, (), describe(theta), theta)
        engine = open_engine(objective, "python", None if way == "dask" else workers)
        engine.value(theta)
        for _ in engine.evaluate(plan.rows(slice(0, 100 * workers))):
            pass
        began = time.perf_counter()
        for _ in engine.evaluate(plan):
            pass
        return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    evaluations = 2 * ROWS
    print("way        workers  seconds  predicted  efficiency")
    for way, counts in {"here": [1], "processes": [2, 4], "dask": [1, 2, 4]}.items():
        for workers in counts:
            seconds = measure(way, workers)
            model = predicted(evaluations, SECONDS, workers, LATENCY[way])
            efficiency = evaluations * SECONDS / (workers * seconds)
            print(f"{way:9}  {workers:7}  {seconds:7.2f}  {model:9.2f}  {efficiency:10.3f}")


if __name__ == "__main__":
    main()
