"""Engines evaluate J over plans: compiled by Numba, or by calling Python."""

from __future__ import annotations

import sys
from typing import Any

from fastgradcheck.engines.base import Engine
from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.problem import Objective

ENGINES = ("auto", "numba", "python")


def refuse_unknown(engine: Any) -> None:
    """Raise `GradcheckInputError` unless `engine` is the name of one."""
    if engine not in ENGINES:
        raise GradcheckInputError(
            f"engine={engine!r} is not an engine; use one of {', '.join(map(repr, ENGINES))}."
        )


def is_jitted(function: Any) -> bool:
    """Whether a function was compiled by ``numba.njit``, without importing Numba to find out."""
    if "numba" not in sys.modules:
        return False
    from numba.extending import is_jitted

    return bool(is_jitted(function))


def on_cluster() -> bool:
    """Whether joblib was told to send work to a cluster, without importing it to find out."""
    if "joblib" not in sys.modules:
        return False
    from fastgradcheck.engines import workers

    return workers.on_cluster()


def open_engine(
    objective: Objective, engine: str = "auto", n_jobs: int | None = None, *, serial: bool = False
) -> Engine:
    """The engine for an objective: Numba's for a cost that is compiled, else Python's.

    Parameters
    ----------
    objective : Objective
    engine : {"auto", "numba", "python"}
    n_jobs : int, optional
    serial : bool
        True if evaluations must not overlap.
    """
    if engine == "numba" or (engine == "auto" and is_jitted(objective.cost)):
        from fastgradcheck.engines.numba import NumbaEngine

        if not serial and on_cluster():
            from fastgradcheck.engines.cluster import ClusterEngine

            return ClusterEngine(objective, n_jobs)
        return NumbaEngine(objective, n_jobs, serial=serial)
    from fastgradcheck.engines.python import PythonEngine

    return PythonEngine(objective, 1 if serial else n_jobs)
