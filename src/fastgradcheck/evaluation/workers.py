"""What a worker does with a chunk of a plan: in a thread, a process or on another machine."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation.engines.base import Engine
from fastgradcheck.evaluation.pickles import portable
from fastgradcheck.evaluation.plans import Plan
from fastgradcheck.problem.problem import Objective

RECEIVED = 8
"""So many things that were sent to it a process keeps: theta and args are two of them."""

WATCH_SECONDS = 1.0
"""So often a worker process looks whether the one that started it is still there."""


@dataclass(frozen=True)
class Answer:
    """What a worker sends back for one chunk of rows.

    Attributes
    ----------
    rows : slice
    values : array, shape (rows, width)
        Empty if there is a failure.
    seconds : float
        Spent in the loop.
    failure : tuple of (CostEvaluationError, BaseException or None), or None
        The error and its cause, which pickling would lose.
    """

    rows: slice
    values: NDArray[Any]
    seconds: float
    failure: tuple[CostEvaluationError, BaseException | None] | None = None


@dataclass(frozen=True, eq=False)
class Shared:
    """What all chunks of all plans have in common: one object, which a cluster is sent once.

    Attributes
    ----------
    objective : Objective
    rebuild : callable
        ``rebuild(objective)``: the engine of a worker.
    origin : int
        The process that it comes from.
    """

    objective: Objective
    rebuild: Callable[[Objective], Engine]
    origin: int = field(default_factory=os.getpid)

    def __sizeof__(self) -> int:
        # Dask scatters whatever says that it is larger than 1 kB. This always does: how much hides
        # in nested args or in the cost's closure is not known.
        arrays = (self.objective.theta, *self.objective.args)
        return 2**20 + sum(getattr(array, "nbytes", 0) for array in arrays)

    def values(self, plan: Plan) -> NDArray[Any]:
        """J over a plan, in this thread."""
        engines: WeakKeyDictionary[Shared, Engine] = vars(_mine).setdefault(
            "engines", WeakKeyDictionary()
        )
        if self not in engines:
            engines[self] = self.rebuild(self.objective)
        shape = len(plan), plan.width, *self.objective.value_shape
        values = np.empty(shape, complex if plan.is_complex else float)
        for rows, chunk in engines[self].evaluate(plan):
            values[rows] = chunk
        return values


# An engine serves one thread; compiled ones are worth keeping between chunks.
_mine = threading.local()


def evaluate(shared: Shared, common: NDArray[np.float64] | None, plan: Plan, rows: slice) -> Answer:
    """One chunk, in a worker."""
    _end_with(shared.origin)
    plan = plan.with_common(common)
    began = time.perf_counter()
    try:
        values = shared.values(plan)
    except CostEvaluationError as error:
        cause = error.__cause__
        if cause is not None and os.getpid() != shared.origin:
            cause = portable(cause)
        return Answer(rows, np.empty(0), 0.0, (error, cause))
    return Answer(rows, values, time.perf_counter() - began)


_watched: set[int] = set()


def _end_with(origin: int) -> None:
    """Let this process end soon after the one that started it, however that ended.

    joblib's processes wait for more work up to five minutes, and keep its files as long.
    """
    if origin in _watched or os.getpid() == origin or os.getppid() != origin:
        return
    _watched.add(origin)

    def watch() -> None:
        while os.getppid() == origin:
            time.sleep(WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


# Where nobody shares memory with the workers and remembers for them what they have, they do so
# themselves: they are asked by key, and sent what they say they lack.
_own: dict[str, Any] = {}
_received: OrderedDict[str, Any] = OrderedDict()
_receiving = threading.Lock()


@contextmanager
def lent(item: Any) -> Iterator[str]:
    """A key under which threads, and processes that are forked from now on, find an item."""
    key = uuid4().hex
    _own[key] = item
    try:
        yield key
    finally:
        del _own[key]


def evaluate_by_key(
    keys: tuple[str, str], contents: Mapping[str, bytes], plan: Plan, rows: slice
) -> Answer | None:
    """One chunk, in a worker of any kind; None if it has not got what a key stands for.

    Parameters
    ----------
    keys : tuple of two str
        Of the `Shared` and of what all rows of the plan have in common.
    contents : mapping of str to bytes
        What is to be kept under these keys; empty at first.
    plan : Plan
    rows : slice
    """
    found = []
    with _receiving:
        for key in keys:
            if key in contents and key not in _own and key not in _received:
                _received[key] = pickle.loads(contents[key])
            if key not in _own and key not in _received:
                return None
            found.append(_own[key] if key in _own else _received[key])
        while len(_received) > RECEIVED:
            _received.popitem(last=False)
    shared, common = found
    return evaluate(shared, common, plan, rows)
