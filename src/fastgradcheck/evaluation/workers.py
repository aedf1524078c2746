"""Plans over processes, threads or a cluster, through joblib.

joblib pickles by cloudpickle (lambdas and closures travel), hands large arrays to processes as
memory maps, and keeps the processes for the next call.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import pickle
import re
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from typing import Any
from weakref import WeakKeyDictionary

import joblib
import numpy as np
from joblib.externals.loky.backend.reduction import dumps, get_loky_pickler
from joblib.parallel import get_active_backend
from numpy.typing import NDArray

from fastgradcheck.errors import CostEvaluationError, GradcheckInputError
from fastgradcheck.evaluation.engines.base import Engine
from fastgradcheck.evaluation.plans import Plan
from fastgradcheck.problem.problem import Objective

_WAYS_OUT = 'or use n_jobs=1, or threads: `with joblib.parallel_config(backend="threading"): ...`.'


class WorkerDied(Exception):
    """A worker process is gone, and what was in flight with it.

    Parameters
    ----------
    rows : slice
        The first chunk without an answer.
    reason : str
        How the process ended, as far as is known.
    """

    def __init__(self, rows: slice, reason: str) -> None:
        super().__init__(rows, reason)
        self.rows = rows
        self.reason = reason


class ClusterDisturbed(WorkerDied):
    """A cluster lost chunks that it had promised: none of them failed, so that all may go again."""


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
    failure : tuple of (CostEvaluationError, Exception or None), or None
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
        values = np.empty((len(plan), plan.width), complex if plan.is_complex else float)
        for rows, chunk in engines[self].evaluate(plan):
            values[rows] = chunk
        return values


# An engine serves one thread; compiled ones are worth keeping between chunks.
_mine = threading.local()


def on_cluster() -> bool:
    """Whether the active joblib backend sends work to other machines."""
    return hasattr(get_active_backend()[0], "client")


def sent_to_cluster(shared: Shared) -> Any:
    """The active backend if it is a cluster, with a copy of `shared` on every worker; else None.

    A copy on each, so that one that dies takes nothing along.
    """
    if not on_cluster():
        return None
    active = get_active_backend()[0]
    options = {"client": active.client, "scatter": [shared], **active.submit_kwargs}
    try:
        with joblib.parallel_config(backend="dask", **options):
            return get_active_backend()[0]
    except OSError:
        # A worker went away just then: joblib sends it along with the first chunks instead.
        return None


def effective_jobs(n_jobs: int | None, backend: str | None) -> int:
    """How many workers joblib would use."""
    with _chosen(backend):
        return int(joblib.effective_n_jobs(n_jobs))


def stream(
    shared: Shared,
    plan: Plan,
    chunks: Iterator[slice],
    n_jobs: int | None,
    backend: Any,
    one_at_a_time: bool = False,
) -> Iterator[Answer]:
    """Answers to the chunks of a plan, in the order in which they come.

    Parameters
    ----------
    shared : Shared
    plan : Plan
    chunks : iterator of slice
        The rows that are wanted; consumed as workers become free.
    n_jobs : int or None
        As for joblib.
    backend : str, joblib backend or None
        None for the one that is active.
    one_at_a_time : bool
        Have a single chunk in flight.

    Raises
    ------
    CostEvaluationError
        Where the cost raises.
    WorkerDied
        If a worker process ended abruptly.
    GradcheckInputError
        If the cost cannot be sent to the workers or not be loaded there.
    """
    common = plan.common
    waiting: dict[int, slice] = {}

    def tasks() -> Iterator[Any]:
        for rows in chunks:
            waiting[rows.start] = rows
            chunk = plan.rows(rows).with_common(None)
            yield joblib.delayed(_evaluate)(shared, common, chunk, rows)

    with _chosen(backend):
        remote = not getattr(get_active_backend()[0], "supports_sharedmem", False)
        if remote:
            refuse_unpicklable(shared.objective)
        answers = _explained(_parallel(n_jobs, one_at_a_time), tasks(), waiting, remote)
        with contextlib.closing(answers):
            for answer in answers:
                del waiting[answer.rows.start]
                if answer.failure is not None:
                    error, cause = answer.failure
                    raise error from cause
                yield answer


def _evaluate(
    shared: Shared, common: NDArray[np.float64] | None, plan: Plan, rows: slice
) -> Answer:
    """One chunk, in a worker."""
    plan = plan.with_common(common)
    began = time.perf_counter()
    try:
        values = shared.values(plan)
    except CostEvaluationError as error:
        cause = error.__cause__
        if cause is not None and os.getpid() != shared.origin:
            cause = _portable(cause)
        return Answer(rows, np.empty(0), 0.0, (error, cause))
    return Answer(rows, values, time.perf_counter() - began)


def _parallel(n_jobs: int | None, one_at_a_time: bool) -> joblib.Parallel:
    # Arrays are mapped copy-on-write, because a cost may use one of its args as scratch space.
    # The chunks are of the right size already: a batch is one of them.
    return joblib.Parallel(
        n_jobs=n_jobs,
        return_as="generator_unordered",
        mmap_mode="c",
        batch_size=1,
        pre_dispatch=1 if one_at_a_time else "2 * n_jobs",
    )


def _explained(
    parallel: joblib.Parallel, tasks: Iterator[Any], waiting: dict[int, slice], remote: bool
) -> Generator[Answer, None, None]:
    """The stream of joblib, with its failures in the user's terms."""
    answers = None
    try:
        with _interrupts_held_back() if remote else contextlib.nullcontext():
            answers = parallel(tasks)
        # Not `yield from`: it would hand an early close() on to joblib before _close can.
        for answer in answers:  # noqa: UP028
            yield answer
    except BrokenProcessPool as exc:
        if "un-serialize" in str(exc):
            raise GradcheckInputError(_not_loaded(exc)) from exc
        raise WorkerDied(_first(waiting), _exit_codes(exc)) from exc
    except RuntimeError as exc:
        if "bootstrapping" not in str(exc):
            raise
        raise GradcheckInputError(_NO_MAIN_GUARD) from exc
    except Exception as exc:
        # By name, so that distributed is not imported where nobody uses it.
        name = type(exc).__name__
        if name in ("FutureCancelledError", "FuturesCancelledError", "CommClosedError"):
            raise ClusterDisturbed(_first(waiting), "the cluster lost its results") from exc
        if name != "KilledWorker":
            raise
        raise WorkerDied(_first(waiting), "the scheduler gave it up") from exc
    finally:
        if answers is not None:
            _close(answers)


def _close(answers: Any) -> None:
    """Stop what is still running; joblib's warning that it does so is no news to anybody."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"[\s\S]*(not used|cancelled)", UserWarning)
        answers.close()


def _first(waiting: dict[int, slice]) -> slice:
    return next(iter(waiting.values()), slice(0, 0))


def _exit_codes(exc: BaseException) -> str:
    found = re.search(r"\{(.*)\}", str(exc))
    return f"exit code {found[1]}" if found else "no exit code"


_NO_MAIN_GUARD = (
    "worker processes cannot be started while this one is still importing its main module. The "
    "script was probably run again by a process that it started itself: put its main part under "
    '`if __name__ == "__main__":`, ' + _WAYS_OUT
)


def _not_loaded(exc: BaseException) -> str:
    lines = str(exc.__cause__).strip().strip("'\"").strip().splitlines()
    reason = lines[-1].strip() if lines else "the reason is not known"
    return (
        f"the worker processes cannot load what they were sent ({reason}). A module that only this "
        "process can import is the usual cause: install it, or add its folder to PYTHONPATH; "
        + _WAYS_OUT
    )


def _portable(cause: BaseException) -> BaseException:
    """An exception as it survives the way to another process, with its traceback as a note."""
    trace = "".join(traceback.format_exception(cause))
    cause.add_note(f"In a worker process:\n{trace}")
    try:
        pickle.loads(dumps(cause))
    except Exception:
        # Its constructor takes something else than args, or it holds a lock, a file, ...
        stand_in = RuntimeError(f"{type(cause).__name__}: {cause}")
        stand_in.add_note(f"In a worker process:\n{trace}")
        return stand_in
    return cause


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes that are started in here never see Ctrl-C; this one sees it a little later.

    A terminal sends Ctrl-C to all its processes. What stops is for this one to decide; from the
    workers only tracebacks would come. The signal mask is inherited, also by a new program.
    """
    if sys.platform == "win32":
        yield
        return
    # It starts with the first process, and unblocks what is blocked here.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _chosen(backend: Any) -> Iterator[None]:
    if backend is None:
        yield
        return
    with joblib.parallel_config(backend=backend):
        yield


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
        return f"{type(exc).__name__}: {exc}"
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
                f"Create such an object inside the cost, {_WAYS_OUT}"
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
