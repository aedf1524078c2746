"""Chunks on any executor of `concurrent.futures`: threads, processes, MPI, a batch system."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from itertools import islice

from fastgradcheck.errors import GradcheckTypeError, WorkersLostError, told
from fastgradcheck.evaluation.pickles import pickled, refuse_unpicklable
from fastgradcheck.evaluation.plans import Plan
from fastgradcheck.evaluation.pools import LOST, interrupts_held_back, unfailed
from fastgradcheck.evaluation.workers import Answer, Shared, evaluate_by_key, lent


class ExecutorPool:
    """An executor of the user's own.

    It is given chunks one by one and never shut down. Theta and args travel once to each worker
    that shares no memory with this process.

    Parameters
    ----------
    executor : concurrent.futures.Executor
    n_jobs : int or None
        How many workers it has; None for what it says itself, or else the number of cores.
    """

    def __init__(self, executor: Executor, n_jobs: int | None) -> None:
        if not isinstance(executor, Executor):
            raise GradcheckTypeError(
                f"executor is a {type(executor).__name__}; pass a concurrent.futures.Executor, "
                "such as ThreadPoolExecutor(4), or None."
            )
        if n_jobs is None or n_jobs < 0:
            known = getattr(executor, "_max_workers", None)
            n_jobs = known if isinstance(known, int) and known > 0 else os.cpu_count() or 1
        self.n_jobs = n_jobs
        self._executor = executor

    def prepare(self, shared: Shared) -> None:
        """Nothing: workers are sent what they say they lack."""

    def forget(self) -> None:
        """Nothing: workers keep only the latest things that they were sent."""

    def answers(
        self, shared: Shared, plan: Plan, chunks: Iterator[slice], workers: int
    ) -> Generator[Answer, None, None]:
        """See `Pool.answers`."""
        waiting: dict[Future[Answer | None], slice] = {}
        contents: dict[str, bytes] = {}
        with lent(shared) as mine, lent(plan.common) as common:
            try:
                while True:
                    # Twice as many as there are workers, so that none of them waits.
                    for rows in islice(chunks, 2 * workers - len(waiting)):
                        waiting[self._submit((mine, common), {}, plan, rows)] = rows
                    if not waiting:
                        return
                    # Not for ever: on some systems Ctrl-C is only seen in between.
                    done, _ = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                    for future in done:
                        rows = waiting.pop(future)
                        answer = self._result(future)
                        if answer is not None:
                            yield unfailed(answer)
                            continue
                        if not contents:
                            refuse_unpicklable(shared.objective)
                            contents = {mine: pickled(shared), common: pickled(plan.common)}
                        again = self._submit((mine, common), contents, plan, rows)
                        waiting[again] = rows
            finally:
                for future in waiting:
                    future.cancel()

    def _submit(
        self, keys: tuple[str, str], contents: dict[str, bytes], plan: Plan, rows: slice
    ) -> Future[Answer | None]:
        chunk = plan.rows(rows).with_common(None)
        starts_processes = isinstance(self._executor, ProcessPoolExecutor)
        try:
            with interrupts_held_back() if starts_processes else contextlib.nullcontext():
                return self._executor.submit(evaluate_by_key, keys, contents, chunk, rows)
        except Exception as exc:
            raise self._lost(exc) from exc

    def _result(self, future: Future[Answer | None]) -> Answer | None:
        try:
            return future.result()
        except (Exception, CancelledError) as exc:
            raise self._lost(exc) from exc

    def _lost(self, exc: BaseException) -> WorkersLostError:
        kind = type(self._executor).__name__
        if isinstance(exc, BrokenExecutor):
            advice = "A worker died, and an executor that is broken cannot be mended: make another."
        elif "shutdown" in str(exc) or isinstance(exc, CancelledError):
            advice = "It was shut down: keep it open until the check has ended."
        else:
            advice = "Workers need this package, and whatever the cost imports."
        return WorkersLostError(f"the executor ({kind}) failed: {told(exc)}. {advice} {LOST}")
