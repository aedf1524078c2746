"""What travels to other processes and back, and what the user is told if it cannot."""

from __future__ import annotations

import inspect
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
from joblib.externals.loky.backend.reduction import dumps, get_loky_pickler

from fastgradcheck.errors import GradcheckInputError, told
from fastgradcheck.problem.problem import Objective

WAYS_OUT = 'or use n_jobs=1, or threads: `with joblib.parallel_config(backend="threading"): ...`.'


def pickled(item: Any) -> bytes:
    """An object as bytes for `pickle.loads`; functions travel by value where they must."""
    return bytes(dumps(item))


def portable(cause: BaseException) -> BaseException:
    """An exception as it survives the way to another process, with its traceback as a note."""
    trace = "".join(traceback.format_exception(cause))
    try:
        cause.add_note(f"In a worker process:\n{trace}")
        pickle.loads(dumps(cause))
    except Exception:
        # Its constructor takes something else than args, or it holds a lock, a file, ...
        stand_in = RuntimeError(told(cause))
        stand_in.add_note(f"In a worker process:\n{trace}")
        return stand_in
    return cause


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: Any) -> int:
        return len(data)


class _DryRun(get_loky_pickler()):  # type: ignore[misc]  # joblib has no type hints
    """Tries to pickle, but leaves out the numbers in arrays, which may be gigabytes."""

    def persistent_id(self, item: Any) -> str | None:
        numbers = isinstance(item, np.ndarray) and not item.dtype.hasobject
        return "numbers" if numbers else None


def _objection(item: Any) -> str | None:
    """Why something cannot be pickled; None if it can."""
    try:
        _DryRun(_Nowhere()).dump(item)
    except Exception as exc:
        return told(exc)
    return None


def refuse_unpicklable(objective: Objective) -> None:
    """Refuse a cost, args or theta that cannot be sent to another process.

    Raises
    ------
    GradcheckInputError
        Naming the object that does not pickle.
    """
    sent: list[tuple[str, Any]] = [("cost", objective.cost), ("theta", objective.parameters)]
    sent += [(f"args[{i}]", arg) for i, arg in enumerate(objective.args)]
    for name, item in sent:
        if reason := _objection(item):
            part = _unpicklable(item)
            because = f"{part} does not pickle" if part else f"it does not pickle ({reason})"
            raise GradcheckInputError(
                f"{name} cannot be sent to worker processes: {because}. "
                f"Create such an object inside the cost, {WAYS_OUT}"
            )


def _unpicklable(item: Callable[..., Any]) -> str:
    """The variable in a function that does not pickle, in words; empty if none is found."""
    try:
        used = inspect.getclosurevars(item)
    except TypeError:
        return ""
    for kind, names in (("closure", used.nonlocals), ("global", used.globals)):
        for name, value in names.items():
            if reason := _objection(value):
                return f"its {kind} variable {name!r} ({reason})"
    return ""


def refuse_unloadable(reason: BaseException | None) -> GradcheckInputError:
    """The error for what arrived in a worker and could not be loaded there."""
    lines = told(reason).strip().strip("'\"").strip().splitlines() if reason else []
    why = lines[-1].strip() if lines else "the reason is not known"
    return GradcheckInputError(
        f"the worker processes cannot load what they were sent ({why}). A module that only this "
        "process can import is the usual cause: install it, or add its folder to PYTHONPATH; "
        + WAYS_OUT
    )
