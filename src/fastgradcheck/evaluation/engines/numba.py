"""The engine for costs that Numba compiles: perturbs and evaluates in compiled, parallel loops."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import (
    CostEvaluationError,
    GradcheckInputError,
    GradcheckTypeError,
    shown,
)
from fastgradcheck.evaluation.engines import kernels
from fastgradcheck.evaluation.engines.adapt import Native, adapt, jitted
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.engines.failure import (
    evaluation_failure,
    failure_at_theta,
    value_failure,
)
from fastgradcheck.evaluation.engines.python import PythonEngine
from fastgradcheck.evaluation.plans import Directions, Plan, Stencils
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.problem import Objective

# A running kernel cannot be interrupted, so this is how long Ctrl-C may have to wait.
_CHUNK_SECONDS = 0.2


# Threads pay once loading their kernel (10 ms) and starting them is small against the work.
_WORTH_THREADS = 0.05


_LAUNCH_SECONDS = 0.001


_CACHE_LINE = 64


# Values of one chunk: a short function of many outputs would fill more memory than it is worth.
_CHUNK_BYTES = 1 << 26


class NumbaEngine:
    """Evaluates J, or F, in compiled loops, each thread on a copy of theta of its own.

    Use it from one thread at a time. Values are the same, bit for bit, for any `n_jobs`.

    Parameters
    ----------
    objective : Objective
        Its cost is a Numba dispatcher, or a Python function to be compiled here.
    n_jobs : int, optional
        Threads; -1 for all cores. None: all cores once the work is worth it, else one.
    serial : bool
        One evaluation after another whatever `n_jobs` says, for costs that write to their args.

    Attributes
    ----------
    objective, name, n_jobs, compile_seconds, findings
        See `evaluation.engines.base.Engine`. With ``n_jobs=None``, `n_jobs` is what was used.
    kernel_seconds : float
        Loading or compiling the package's own loops, so far.
    dispatcher : numba dispatcher
        The compiled cost.
    t_cost : float
        Seconds per evaluation on one core, as last measured; NaN before the first evaluation.

    Raises
    ------
    GradcheckTypeError
        If Numba cannot compile the cost for this theta and these args.

    Examples
    --------
    >>> import numba
    >>> import numpy as np
    >>> from fastgradcheck.problem.parameters import describe
    >>> from fastgradcheck.evaluation.plans import Stencils
    >>> from fastgradcheck.problem.problem import Objective
    >>> theta = np.array([3.0, 4.0])
    >>> objective = Objective(numba.njit(lambda t: t[0] * t[1]), (), describe(theta), theta)
    >>> engine = NumbaEngine(objective, n_jobs=1)
    >>> engine.value(theta)
    12.0
    >>> plan = Stencils(np.array([0]), np.array([[3.5, 2.5]]))
    >>> [values.tolist() for rows, values in engine.evaluate(plan)]
    [[[14.0, 10.0]]]
    """

    name = "numba"

    def __init__(
        self, objective: Objective, n_jobs: int | None = None, *, serial: bool = False
    ) -> None:
        self.objective = objective
        self.findings: tuple[Finding, ...] = ()
        self.compile_seconds = 0.0
        self.kernel_seconds = 0.0
        self.t_cost = math.nan
        self._seconds_planned = 0.0
        self._copies: dict[np.dtype[Any], NDArray[Any]] = {}
        self._natives: dict[np.dtype[Any], Native] = {}
        self.dispatcher = jitted(objective.cost)
        native = self._native(self._dtype)
        _hold_blas()
        self._serial = serial or native.parallel
        if native.parallel:
            self._find(
                "parallel-cost",
                f"{objective.name}, or a function that it calls, is compiled with parallel=True: "
                "its evaluations run one after another, each on Numba's threads. Without "
                "parallel=True the check itself would run in parallel, which is usually faster.",
            )
        self._jobs = None if n_jobs is None else self._threads(n_jobs)
        self.n_jobs = 1 if self._serial else self._jobs or 1

    def supports_complex(self) -> str | None:
        """Why the complex step cannot be used; None if it can."""
        try:
            self._native(np.dtype(np.complex128))
        except GradcheckTypeError as exc:
            return str(exc)
        if self.objective.outputs is None:
            return None
        # An output that is real for a complex theta is no matter of types alone.
        return PythonEngine(replace(self.objective, cost=self.dispatcher)).supports_complex()

    def value(self, theta: NDArray[Any]) -> float | NDArray[Any]:
        """J at a flat theta of the objective's dtype, or several outputs as a vector.

        Raises
        ------
        CostEvaluationError
            If the cost raises; its exception is the cause.
        """
        value, seconds = self._value_and_seconds(theta, 1)
        if math.isnan(self.t_cost):
            self._measure(theta, seconds)
        return value

    def evaluate(self, plan: Plan) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield ``(rows, values)`` in chunks of about 0.2 s; see `base.Engine`.

        Raises
        ------
        CostEvaluationError
            Where the cost raises, with the address and the step; its exception is the cause.
        GradcheckTypeError
            If the plan is complex and the cost cannot be compiled for complex theta.
        """
        if math.isnan(self.t_cost):
            self._measure(self.objective.theta, 0.0)
        native = self._native(np.dtype(np.complex128) if plan.is_complex else self._dtype)
        slots = self._slots(plan)
        # Loaded here, so that it does not count as time of the first chunk.
        self._kernel(native, plan, parallel=slots > 1)
        fewest = math.ceil(slots * len(plan) / plan.pieces) if len(plan) else 0
        size = math.ceil(_CHUNK_SECONDS / 2 * slots / (self.t_cost * plan.width))
        most = max(fewest, _CHUNK_BYTES // (8 * plan.width * self._outputs))
        start = 0
        while start < len(plan):
            rows = slice(start, min(start + min(max(size, fewest), most), len(plan)))
            started = time.perf_counter()
            values = self._run(native, plan.rows(rows), slots)
            seconds = time.perf_counter() - started
            start = rows.stop
            size = round((rows.stop - rows.start) * min(4.0, _CHUNK_SECONDS / seconds))
            self.t_cost = seconds * slots / (values.shape[0] * values.shape[1])
            yield rows, values

    def close(self) -> None:
        """Give the copies of theta back; threads are Numba's and stay."""
        self._copies.clear()

    @property
    def _dtype(self) -> np.dtype[Any]:
        return self.objective.theta.dtype

    @property
    def _outputs(self) -> int:
        """How many numbers the function returns."""
        outputs = self.objective.outputs
        return 1 if outputs is None else outputs.returned.size

    def _native(self, dtype: np.dtype[Any]) -> Native:
        """The cost for a theta of this dtype."""
        if dtype not in self._natives:
            started = time.perf_counter()
            self._natives[dtype] = adapt(self.objective, self.dispatcher, dtype)
            self.compile_seconds += time.perf_counter() - started
        return self._natives[dtype]

    def _kernel(self, native: Native, plan: Plan, parallel: bool) -> Any:
        started = time.perf_counter()
        kernel = kernels.evaluator(
            _LOOPS[type(plan)],
            native.type,
            numba.from_dtype(self._dtype),
            _arrays(plan, native.dtype),
            native.arg_types,
            parallel=parallel,
            cacheable=native.cacheable,
        )
        self.kernel_seconds += time.perf_counter() - started
        if kernels.cache_problem:
            self._find(
                "kernel-cache",
                f"Numba cannot keep compiled kernels on disk ({kernels.cache_problem}), so each "
                "process compiles them again, which takes seconds. Set NUMBA_CACHE_DIR to a "
                "directory that can be written.",
            )
        return kernel

    def _measure(self, theta: NDArray[Any], seconds: float) -> None:
        """Find `t_cost`, after a first evaluation that took so long."""
        # The first call also links and looks for BLAS; and of a short evaluation alone the
        # 50 us that calling a kernel takes would be the larger part.
        if seconds < 0.05:
            seconds = self._value_and_seconds(theta, 1)[1]
        if seconds < 0.001:
            seconds = self._value_and_seconds(theta, 16)[1]
        self.t_cost = seconds

    def _value_and_seconds(
        self, theta: NDArray[Any], count: int
    ) -> tuple[float | NDArray[Any], float]:
        """J at theta, or the outputs, `count` times, and the seconds of one evaluation."""
        native = self._native(self._dtype)
        point = np.array(theta, self._dtype).reshape(1, -1)
        plan = Stencils(np.zeros(1, np.int64), np.full((1, count), point[0, 0]))
        values, done = np.empty((1, count, self._outputs)), np.zeros((1, count), np.uint8)
        task = (native.function, point, point[0], plan.index, plan.points, values)
        kernel = self._kernel(native, plan, parallel=False)
        started = time.perf_counter()
        try:
            with one_blas_thread(), self._alone(native):
                kernel(*task, done, 1, native.args)
        except Exception as exc:
            raise failure_at_theta(self.objective, exc) from exc
        seconds = (time.perf_counter() - started) / count
        return float(values[0, 0, 0]) if self.objective.outputs is None else values[0, 0], seconds

    def _run(self, native: Native, plan: Plan, slots: int) -> NDArray[Any]:
        copies = self._theta_copies(native, slots)
        points = len(plan), plan.width
        values = np.empty((*points, self._outputs), complex if plan.is_complex else float)
        done = np.zeros(points, np.uint8)
        task = (native.function, copies, self.objective.theta, *_arrays(plan, copies.dtype))
        if slots > 1:
            kernel = self._kernel(native, plan, parallel=True)
            # An exception ends one thread's share: silently on a worker, as a SystemError here.
            # What is not done runs again below, where it surfaces as the user's own.
            with one_blas_thread(), kernels.exclusive(slots), suppress(Exception):
                kernel(*task, values, done, slots, native.args)
        if done.all():
            return self._read(values, done, plan)
        kernel = self._kernel(native, plan, parallel=False)
        if slots > 1:
            self._reset(copies)
        try:
            with one_blas_thread(), self._alone(native):
                kernel(*task, values, done, 1, native.args)
        except Exception as exc:
            self._reset(copies)
            row, point = divmod(int(done.argmin()), plan.width)
            raise evaluation_failure(self.objective, plan, row, point, exc) from exc
        return self._read(values, done, plan)

    def _read(self, values: NDArray[Any], done: NDArray[np.uint8], plan: Plan) -> NDArray[Any]:
        """What the loop has written, as engines yield it."""
        outputs = self.objective.outputs
        if outputs is None:
            return values[:, :, 0]
        if np.any(done == kernels.MISSHAPED):
            raise self._misshaped(plan, *divmod(int(done.argmax()), plan.width))
        return outputs.read(values)

    def _misshaped(self, plan: Plan, row: int, point: int) -> CostEvaluationError:
        """The error for outputs of other shapes than at theta: a call from Python tells them."""
        called = replace(self.objective, cost=self.dispatcher)
        work = self.objective.theta.astype(complex if plan.is_complex else self._dtype)
        told = ""
        for j, _ in enumerate(plan.rows(slice(row, row + 1)).visit(work, self.objective.theta)):
            if j == point:
                told = called.complaint(called(work), plan.is_complex)
        return value_failure(self.objective, plan, row, point, told)

    def _theta_copies(self, native: Native, slots: int) -> NDArray[Any]:
        """A copy of theta per slot, far enough apart not to share a cache line."""
        dtype = np.dtype(native.dtype)
        copies = self._copies.get(dtype)
        if copies is None or len(copies) < slots:
            padding = 2 * _CACHE_LINE // dtype.itemsize
            copies = np.empty((slots, self.objective.theta.size + padding), dtype)
            self._reset(copies)
            self._copies[dtype] = copies
        return copies

    def _reset(self, copies: NDArray[Any]) -> None:
        copies[:, : self.objective.theta.size] = self.objective.theta

    def _alone(self, native: Native) -> AbstractContextManager[None]:
        return kernels.exclusive() if native.parallel else nullcontext()

    def _slots(self, plan: Plan) -> int:
        """How many threads this plan is worth."""
        if self._serial or not kernels.parallel_allowed():
            return 1
        if self._jobs is not None:
            return min(self._jobs, plan.pieces)
        seconds = self.t_cost * len(plan) * plan.width
        self._seconds_planned += seconds
        if seconds < _LAUNCH_SECONDS or self._seconds_planned < _WORTH_THREADS:
            return 1
        slots = min(numba.get_num_threads(), plan.pieces)
        self.n_jobs = max(self.n_jobs, slots)
        return slots

    def _threads(self, n_jobs: int) -> int:
        """The threads that a number of jobs stands for; negative ones count from all cores."""
        limit = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
        if isinstance(n_jobs, bool) or n_jobs == 0:
            raise GradcheckInputError(
                f"n_jobs={shown(n_jobs)} is not a number of threads: use 1, 2, ..., or -1."
            )
        if n_jobs > limit:
            self._find(
                "threads",
                f"n_jobs={n_jobs} is more than the {limit} threads that Numba has in this process "
                f"(NUMBA_NUM_THREADS): {limit} are used.",
            )
        return min(n_jobs, limit) if n_jobs > 0 else max(1, limit + 1 + n_jobs)

    def _find(self, kind: str, message: str) -> None:
        if all(finding.kind != kind for finding in self.findings):
            self.findings += (Finding(kind, message),)


def serial_engine(objective: Objective) -> NumbaEngine:
    """The compiled loop on one thread, its objective with the compiled cost: for workers."""
    engine = NumbaEngine(objective, 1, serial=True)
    engine.objective = replace(objective, cost=engine.dispatcher)
    return engine


def _hold_blas() -> None:
    """Hold the BLAS of compiled products to one thread, if others are held already.

    Compiling the first function of a process is what loads it, so this comes after: before, the
    import would take 0.1 s of our own.
    """
    import scipy.linalg.cython_blas  # noqa: F401

    with one_blas_thread():
        pass


_LOOPS = {Stencils: kernels.stencils, Directions: kernels.directions}


def _arrays(plan: Plan, dtype: np.dtype[Any]) -> tuple[NDArray[Any], ...]:
    """A plan as its kernel takes it: points in the dtype of the copies of theta."""
    return tuple(np.ascontiguousarray(array) for array in plan.arrays(dtype))
