"""Which engine is fastest for a long loop: measured, not believed.

Compiled is not always faster: without SVML, `tanh` and `exp` in njit code are scalar, and a
vectorised network takes three times as long as in NumPy. Values of J agree to rounding whatever
is chosen, so that the verdict does not depend on it.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.engines import is_jitted, on_cluster, open_engine
from fastgradcheck.engines.base import Engine
from fastgradcheck.problem import Finding, Objective

LONG = 1.0
"""Seconds of predicted work from which it pays to look for something faster, for about 0.1 s."""
START_OF_WORKERS = 1.2
"""Seconds to start worker processes: 0.4 with NumPy alone, 1.2 if the cost's module takes Numba."""
WORTHWHILE = 0.8
"""An alternative must be predicted to take no more than this part of the time."""
PATIENCE = 4.0
"""Plain Python that takes this many times the compiled cost's time is given up."""
SAME = 1e3
"""In units of eps * |J|: two engines compute the same J."""


@dataclass(frozen=True)
class Option:
    """One way to run the loop, and the seconds that it is predicted to take."""

    name: str
    seconds: float
    start: Callable[[], Engine]


class _TooSlow(Exception):
    pass


def faster(
    running: Engine, value: float, seconds: float, evaluations: int, n_jobs: int | None
) -> tuple[Engine, tuple[Finding, ...]]:
    """The engine to use for a loop of so many evaluations: the given one, or a faster one.

    Parameters
    ----------
    running : Engine
        What ``engine="auto"`` starts with.
    value : float
        J(theta).
    seconds : float
        One evaluation with the cost as it is.
    evaluations : int
    n_jobs : int, optional
        The user's; a number of workers for a Python cost is taken as it is.

    Returns
    -------
    engine : Engine
        `running` is closed if it is another one.
    findings : tuple of Finding
        What was chosen and why; empty for short loops.
    """
    objective = running.objective
    compiled = is_jitted(objective.cost)
    if on_cluster() or (not compiled and (n_jobs is not None or running.n_jobs > 1)):
        return running, ()
    workers = (os.cpu_count() or 1) if n_jobs in (None, -1) else int(n_jobs or 1)
    present = workers if compiled else 1
    predicted = seconds * evaluations / present
    if predicted < LONG:
        return running, ()
    here = Option(_label(running.name, present), predicted, lambda: running)
    if compiled:
        options = _plain(objective, value, seconds, evaluations, workers)
    else:
        options = _parallel(objective, seconds, evaluations, workers)
    best = min([here, *options], key=lambda option: option.seconds)
    if best.seconds > WORTHWHILE * predicted:
        best = here
    tried = ", ".join(f"{o.name} {o.seconds:.2g} s" for o in [here, *options])
    advice = (
        ""
        if compiled or best is not here
        else ' Compiling the cost with numba.njit (engine="numba") may shorten it.'
    )
    finding = Finding("engine", f"Chosen for speed: {best.name} (predicted: {tried}).{advice}")
    if best is here:
        return running, (finding,)
    running.close()
    return best.start(), (finding,)


def _label(name: str, workers: int) -> str:
    return f"{name} on {workers} core{'s' if workers > 1 else ''}"


def _plain(
    objective: Objective, value: float, seconds: float, evaluations: int, workers: int
) -> list[Option]:
    """The compiled cost's own Python function, if that is a vectorised NumPy program."""
    dispatcher: Any = objective.cost
    plain = replace(objective, cost=dispatcher.py_func)
    took = _timed(plain, value, PATIENCE * seconds)
    if took is None:
        return []
    options = [
        Option(
            "its Python function on 1 core",
            took * evaluations,
            lambda: open_engine(plain, "python", 1),
        )
    ]
    if workers > 1:
        total = took * evaluations
        options += _threaded(plain, "its Python function", took, total, workers)
    return options


def _parallel(objective: Objective, seconds: float, evaluations: int, workers: int) -> list[Option]:
    """Threads where NumPy releases the lock, and processes where the cost can be sent to them."""
    if workers == 1:
        return []
    from fastgradcheck.engines.workers import are_running, refuse_unpicklable

    total = seconds * evaluations
    try:
        refuse_unpicklable(objective)
    except ValueError:
        return _threaded(objective, "threads", seconds, total, workers)
    ready = are_running(workers)
    processes = Option(
        _label("processes", workers),
        (0.0 if ready else START_OF_WORKERS) + total / workers,
        lambda: open_engine(objective, "python", workers),
    )
    if ready:  # threads cannot be faster
        return [processes]
    return [*_threaded(objective, "threads", seconds, total, workers), processes]


def _threaded(
    objective: Objective, name: str, seconds: float, total: float, workers: int
) -> list[Option]:
    """Threads, if NumPy releases the lock long enough for two of them to gain anything."""
    from fastgradcheck.engines.python import PythonEngine

    gain = _gain_of_threads(objective, seconds)
    if gain <= 1:
        return []
    return [
        Option(
            f"{name} in {workers} threads",
            total / (1 + (workers - 1) * (gain - 1)),
            lambda: PythonEngine(objective, workers, backend="threading"),
        )
    ]


def _gain_of_threads(objective: Objective, seconds: float, repeats: int = 2) -> float:
    """How much faster two threads are than one: 2 at best.

    1 if the values at different thetas are not those that they have alone. Python gives the lock
    on every 5 ms: only threads that run longer can be seen to spoil each other's arrays.
    """
    count = max(1, int(0.01 / max(seconds, 1e-9)))
    thetas = [(objective.theta * (1 + k * 1e-9)).astype(objective.theta.dtype) for k in (0, 1)]

    def run(theta: NDArray[Any]) -> list[float]:
        return [float(objective(theta.copy())) for _ in range(count)]

    gains = []
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(id, thetas))  # starts the threads
        for _ in range(repeats):
            began = time.perf_counter()
            alone = [run(theta) for theta in thetas]
            between = time.perf_counter()
            together = list(pool.map(run, thetas))
            if together != alone:
                return 1.0
            gains.append((between - began) / (time.perf_counter() - between))
    return min(statistics.median(gains), 2.0)


def _timed(objective: Objective, value: float, limit: float) -> float | None:
    """Seconds of one evaluation, or None if it takes longer than `limit` or differs in value.

    A first call under a trace can be given up at any line: an interpreted loop may take hundreds
    of times as long as the compiled one.
    """
    deadline = time.perf_counter() + max(limit, 0.05)

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        if time.perf_counter() > deadline:
            raise _TooSlow
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        plain = float(objective(objective.theta.copy()))
    except Exception:  # too slow, or not valid as plain Python: it stays compiled
        return None
    finally:
        sys.settrace(before)
    if not abs(plain - value) <= SAME * np.finfo(np.float64).eps * abs(value):
        return None
    times = []
    for _ in range(3):
        began = time.perf_counter()
        objective(objective.theta.copy())
        times.append(time.perf_counter() - began)
    return min(times)
