"""Where chunks are evaluated: the workers of joblib, of whatever backend.

joblib pickles by cloudpickle (lambdas and closures travel), hands large arrays to processes as
memory maps, and keeps the processes for the next call.
"""

from __future__ import annotations

import atexit
import contextlib
import glob
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Generator, Iterator
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import resource_tracker
from typing import Any, Protocol

import joblib
from joblib.parallel import get_active_backend

from fastgradcheck.errors import (
    CostEvaluationError,
    GradcheckInputError,
    WorkersLostError,
    said,
    shown,
    told,
)
from fastgradcheck.evaluation.pickles import WAYS_OUT, refuse_unloadable, refuse_unpicklable
from fastgradcheck.evaluation.plans import Plan
from fastgradcheck.evaluation.workers import Answer, Shared, evaluate

WAVE = 4
"""Chunks for each worker at a time, where joblib hands no answer back before it has them all: at
the end of a wave most workers wait for the last one, on average for half a chunk."""

RECONNECT_SECONDS = 5.0
"""So long a cluster may be out of reach: a scheduler that is started again takes a second."""


class WorkersDied(Exception):
    """A worker process is gone, and what was in flight with it.

    Parameters
    ----------
    chunks : tuple of slice
        Those without an answer, any of which may have been the cause.
    reason : str
        How the process ended, as far as is known.
    again : bool
        True if a chunk that was alone may be given to another process: False where several in a
        row have died over it.
    """

    def __init__(self, chunks: tuple[slice, ...], reason: str, again: bool = True) -> None:
        super().__init__(chunks, reason, again)
        self.chunks = chunks
        self.reason = reason
        self.again = again


class ClusterDisturbed(Exception):
    """A cluster lost chunks that it had promised: none of them failed, so that all may go again."""


class Pool(Protocol):
    """Workers that evaluate chunks."""

    n_jobs: int

    def prepare(self, shared: Shared) -> None:
        """Told before the first chunk of a check."""

    def forget(self) -> None:
        """Told at its end, and when a cluster lost what it had."""

    def answers(
        self, shared: Shared, plan: Plan, chunks: Iterator[slice], workers: int
    ) -> Generator[Answer, None, None]:
        """Evaluate chunks, at most this many workers at a time, and yield answers as they come.

        Raises
        ------
        CostEvaluationError
            Where the cost raises; `WorkersLostError` if there are no workers any more.
        WorkersDied
            If a worker process ended abruptly, and there are others.
        ClusterDisturbed
            If a cluster lost what it was sent.
        GradcheckInputError
            If the cost cannot be sent to the workers or not be loaded there.
        """


def unfailed(answer: Answer) -> Answer:
    """The answer, or the exception of the cost."""
    if answer.failure is not None:
        error, cause = answer.failure
        raise error from cause
    return answer


# Workers of joblib


def _tidy() -> None:
    """Remove the folders of this process in which joblib hands large arrays to its workers.

    joblib removes them when it is stopped; a thread of its own that is about to send one more
    chunk at that moment puts one of them back.
    """
    for root in (os.environ.get("JOBLIB_TEMP_FOLDER"), "/dev/shm", tempfile.gettempdir()):
        if root:
            name = os.path.join(glob.escape(root), f"joblib_memmapping_folder_{os.getpid()}_*")
            for folder in glob.glob(name):
                shutil.rmtree(folder, ignore_errors=True)


# What is registered first is called last: after joblib's own, which it registers when it starts.
atexit.register(_tidy)


class JoblibPool:
    """The workers of a joblib backend.

    Parameters
    ----------
    n_jobs : int or None
        As for joblib.
    backend : str or None
        None for the one that is active when chunks are sent.
    """

    def __init__(self, n_jobs: int | None, backend: str | None) -> None:
        self.n_jobs = effective_jobs(n_jobs, backend)
        self._asked = n_jobs
        self._named = backend
        self._backend: Any = backend

    def prepare(self, shared: Shared) -> None:
        """Send a cluster what all chunks have in common."""
        if self._backend is None:
            self._backend = sent_to_cluster(shared)

    def forget(self) -> None:
        """Let go of it again."""
        self._backend = self._named

    def answers(
        self, shared: Shared, plan: Plan, chunks: Iterator[slice], workers: int
    ) -> Generator[Answer, None, None]:
        """See `Pool.answers`."""
        common = plan.common
        waiting: dict[int, slice] = {}

        def tasks() -> Iterator[Any]:
            for rows in chunks:
                waiting[rows.start] = rows
                chunk = plan.rows(rows).with_common(None)
                yield joblib.delayed(evaluate)(shared, common, chunk, rows)

        with _chosen(self._backend):
            active = get_active_backend()[0]
            remote = not getattr(active, "supports_sharedmem", False)
            if remote:
                refuse_unpicklable(shared.objective)
            n_jobs = self._asked if workers == self.n_jobs else workers
            run = _at_once if getattr(active, "supports_return_generator", False) else _in_waves
            with _explained(active, waiting), contextlib.closing(run(tasks(), n_jobs)) as answers:
                for answer in answers:
                    del waiting[answer.rows.start]
                    yield unfailed(answer)


# Arrays are mapped copy-on-write, because a cost may use one of its args as scratch space.
# The chunks are of the right size already: a batch is one of them.
_SETTINGS = {"mmap_mode": "c", "batch_size": 1}


def _at_once(tasks: Iterator[Any], n_jobs: int | None) -> Generator[Answer, None, None]:
    """Answers as they come; more tasks are taken as workers become free."""
    parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", **_SETTINGS)
    with interrupts_held_back():
        answers = parallel(tasks)
    try:
        # Not `yield from`: it would hand an early close() on to joblib without the filter below.
        for answer in answers:  # noqa: UP028
            yield answer
    finally:
        # joblib warns of what it stops; that it was to be stopped is no news to anybody.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"[\s\S]*(not used|cancelled)", UserWarning)
            answers.close()


def _in_waves(tasks: Iterator[Any], n_jobs: int | None) -> Generator[Answer, None, None]:
    """Answers of so many tasks at a time, from a backend that hands them back all together."""
    parallel = joblib.Parallel(n_jobs=n_jobs, pre_dispatch="all", **_SETTINGS)
    with contextlib.ExitStack() as stack:
        with interrupts_held_back():
            stack.enter_context(parallel)
        size = WAVE * int(joblib.effective_n_jobs(n_jobs))
        while wave := list(islice(tasks, size)):
            yield from parallel(wave)


@contextlib.contextmanager
def _explained(active: Any, waiting: dict[int, slice]) -> Iterator[None]:
    """Failures of joblib and its backends in the user's terms."""
    try:
        yield
    except (CostEvaluationError, GradcheckInputError):
        raise
    except BrokenProcessPool as exc:
        if "un-serialize" in str(exc):
            raise refuse_unloadable(exc.__cause__) from exc
        raise WorkersDied(tuple(waiting.values()), _exit_codes(exc)) from exc
    except Exception as exc:
        # By name, so that distributed is not imported where nobody uses it.
        name = type(exc).__name__
        if isinstance(exc, RuntimeError) and "bootstrapping" in str(exc):
            raise GradcheckInputError(_NO_MAIN_GUARD) from exc
        if name == "KilledWorker":
            reason = "the scheduler gave it up"
            raise WorkersDied(tuple(waiting.values()), reason, again=False) from exc
        _refuse_unreachable(active, exc)
        if name in ("FutureCancelledError", "FuturesCancelledError", "CommClosedError"):
            raise ClusterDisturbed from exc
        raise WorkersLostError(
            f"the workers of joblib's {type(active).__name__} failed: {told(exc)}. {LOST}"
        ) from exc


def _exit_codes(exc: BaseException) -> str:
    found = re.search(r"\{(.*)\}", str(exc))
    return f"exit code {found[1]}" if found else "no exit code"


LOST = (
    "What the workers had not answered is lost, and nothing else: with checkpoint= the same line "
    "goes on from there."
)


_NO_MAIN_GUARD = (
    "worker processes cannot be started while this one is still importing its main module. The "
    "script was probably run again by a process that it started itself: put its main part under "
    '`if __name__ == "__main__":`, ' + WAYS_OUT
)


@contextlib.contextmanager
def interrupts_held_back() -> Iterator[None]:
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
    try:
        config = joblib.parallel_config(backend=backend)
    except Exception as exc:
        raise GradcheckInputError(
            f"joblib has no backend {shown(backend)} ({said(exc)}). Import and register the "
            'package that brings it, or use "loky", "threading" or "multiprocessing".'
        ) from exc
    with config:
        yield


def effective_jobs(n_jobs: int | None, backend: str | None) -> int:
    """How many workers joblib would use.

    Raises
    ------
    GradcheckInputError
        If there is no such backend, or it cannot say.
    """
    with _chosen(backend):
        try:
            return int(joblib.effective_n_jobs(n_jobs))
        except Exception as exc:
            active = get_active_backend()[0]
            _refuse_unreachable(active, exc)
            raise GradcheckInputError(
                f"joblib's {type(active).__name__} offers no workers ({told(exc)})."
            ) from exc


# A cluster


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
    _refuse_unreachable(active, None)
    options = {"client": active.client, "scatter": [shared], **active.submit_kwargs}
    try:
        with joblib.parallel_config(backend="dask", **options):
            return get_active_backend()[0]
    except OSError:
        # A worker went away just then: joblib sends it along with the first chunks instead.
        return None


def _refuse_unreachable(active: Any, reason: BaseException | None) -> None:
    """Raise if the scheduler of a cluster is gone, and does not come back soon."""
    client = getattr(active, "client", None)
    deadline = time.monotonic() + RECONNECT_SECONDS
    while (status := getattr(client, "status", "running")) != "running":
        if time.monotonic() > deadline or status == "closed":
            why = f" ({told(reason)})" if reason is not None else ""
            raise WorkersLostError(
                f"the scheduler of the Dask cluster is out of reach{why}. {LOST}"
            ) from reason
        time.sleep(0.05)
