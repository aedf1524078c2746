"""Which engine evaluates J: what the user asked for, or what is measured to be faster.

Compiled is not always faster: without SVML, `tanh` and `exp` in njit code are scalar, and a
vectorised network takes three times as long as in NumPy. Values of J agree to rounding whatever
is chosen, so that the verdict does not depend on it. A Python cost is never called from several
threads or processes unless the user asks for them: that it shares no state cannot be found out by
trying.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import Executor
from dataclasses import replace
from types import FrameType
from typing import Any, Literal, get_args

import numpy as np

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError, shown
from fastgradcheck.evaluation.engines.base import Engine
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.problem import Objective
from fastgradcheck.problem.value import is_jitted

EngineName = Literal["auto", "numba", "python"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)
LONG = 1.0
"""Seconds of predicted work from which it pays to look for something faster."""
START_OF_WORKERS = 1.2
"""Seconds to start worker processes: 0.4 with NumPy alone, 1.2 if the cost's module takes Numba."""
WORTHWHILE = 0.8
"""An alternative must be predicted to take no more than this part of the time."""
PATIENCE = 4.0
"""Plain Python that takes this many times the compiled cost's time is given up."""
SAME = 1e3
"""In units of eps * |J|: two engines compute the same J."""


def refuse_unknown(engine: Any) -> None:
    """Raise `GradcheckInputError` unless `engine` is the name of one."""
    if not isinstance(engine, str) or engine not in ENGINES:
        raise GradcheckInputError(
            f"engine={shown(engine)} is not an engine; use one of {', '.join(map(repr, ENGINES))}."
        )


def on_cluster() -> bool:
    """Whether joblib was told to send work to a cluster, without importing it to find out."""
    if "joblib" not in sys.modules:
        return False
    from fastgradcheck.evaluation import pools

    return pools.on_cluster()


def open_engine(
    objective: Objective,
    engine: str = "auto",
    n_jobs: int | None = None,
    *,
    serial: bool = False,
    backend: str | None = None,
    executor: Executor | None = None,
) -> Engine:
    """The engine for an objective: batches, Numba's for a cost that is compiled, else Python's.

    Parameters
    ----------
    objective : Objective
    engine : {"auto", "numba", "python"}
    n_jobs : int, optional
        Threads for Numba, workers for Python; -1 for one per core. None: for Numba all cores once
        it is worth it, for Python this process, unless the check runs inside a
        `joblib.parallel_config`, which then decides.
    serial : bool
        True if evaluations must not overlap.
    backend : str, optional
        A joblib backend such as ``"threading"`` for a Python cost; None for the active one.
    executor : concurrent.futures.Executor, optional
        Evaluates chunks of long plans, whatever the engine is.
    """
    from fastgradcheck.evaluation.engines.batched import BatchedEngine
    from fastgradcheck.evaluation.engines.python import PythonEngine
    from fastgradcheck.evaluation.parallel import (
        ParallelEngine,
        number_of_workers,
        refuse_no_number,
    )

    refuse_no_number(n_jobs)
    if objective.batch:
        return BatchedEngine(objective)
    compiled = engine == "numba" or (engine == "auto" and is_jitted(objective.cost))
    here = PythonEngine(objective)
    if compiled:
        from fastgradcheck.evaluation.engines.numba import NumbaEngine, serial_engine

        try:
            if not serial and (executor is not None or on_cluster()):
                return ParallelEngine(
                    serial_engine(objective), serial_engine, n_jobs, executor=executor
                )
            return NumbaEngine(objective, n_jobs, serial=serial)
        except GradcheckTypeError as exc:
            if engine == "numba" or objective.outputs is None:
                raise
            # All outputs come from one call: what Python's loop around it costs is not much.
            here.findings += (Finding("engine", f"Called from Python: {exc}"),)
    if serial or (executor is None and number_of_workers(n_jobs, backend) == 1):
        return here
    return ParallelEngine(here, PythonEngine, n_jobs, backend, executor)


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
        The user's.

    Returns
    -------
    engine : Engine
        `running` is closed if it is another one.
    findings : tuple of Finding
        What was chosen and why, or what could be asked for; empty for short loops.
    """
    cores = os.cpu_count() or 1
    if not is_jitted(running.objective.cost):
        asked = n_jobs is not None or running.n_jobs > 1
        return running, () if asked else _could_ask(seconds * evaluations, cores)
    if on_cluster():
        return running, ()
    threads = cores if n_jobs in (None, -1) else int(n_jobs or 1)
    predicted = seconds * evaluations / threads
    if predicted < LONG:
        return running, ()
    dispatcher: Any = running.objective.cost
    plain = replace(running.objective, cost=dispatcher.py_func)
    here = f"{running.name} on {threads} core{'s' if threads > 1 else ''}"
    took = _timed(plain, value, PATIENCE * seconds)
    if took is None:
        return running, (_chosen(f"{here} (predicted: {predicted:.2g} s)"),)
    alone = took * evaluations
    tried = f"(predicted: {here} {predicted:.2g} s, its Python function on 1 core {alone:.2g} s)"
    if alone > WORTHWHILE * predicted:
        return running, (_chosen(f"{here} {tried}"),)
    running.close()
    return open_engine(plain, "python", 1), (_chosen(f"its Python function on 1 core {tried}"),)


def _chosen(what: str) -> Finding:
    return Finding("engine", f"Chosen for speed: {what}.")


def _could_ask(predicted: float, cores: int) -> tuple[Finding, ...]:
    """What n_jobs would give for a Python cost, where that is worth saying."""
    with_workers = START_OF_WORKERS + predicted / cores
    if predicted < LONG or with_workers > WORTHWHILE * predicted:
        return ()
    message = (
        f"A Python cost runs on one core unless you ask for more: about {predicted:.2g} s. "
        f"n_jobs={cores} would take about {with_workers:.2g} s with worker processes, their start "
        'included; compiling the cost with numba.njit (engine="numba") may shorten it too.'
    )
    return (Finding("engine", message),)


class _TooSlow(Exception):
    pass


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
