"""Compiled loops: arrays in, arrays out, and every option of Numba that they need.

A kernel takes the cost as a *first-class function*, an address with a signature, and not as a
dispatcher: so one kernel serves all costs of a signature and comes from disk in milliseconds, where
a kernel that is specialised to a dispatcher is compiled anew for every cost. Numba asks three
things in return: one dispatcher per signature, no compiling at a call, and the number of threads
as an argument.

Never `fastmath`: it folds ``(x + h) - x`` and makes ``isnan`` false.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from types import FunctionType
from typing import Any

import numba
import numpy as np
from numba import prange, types
from numba.core.registry import cpu_target
from numba.extending import overload, register_jitable
from numba.np.ufunc import parallel as threading_layer
from numpy.typing import NDArray

from fastgradcheck.evaluation import hashing

register_jitable(hashing.mix)


register_jitable(hashing.signed_magnitude)


DONE, MISSHAPED = 1, 2
"""What is known of a point: its value, or that the function returned another number of outputs."""


def _store(values: Any, row: Any, point: Any, value: Any) -> int:
    """Write what the function returned to the last axis of `values`; what is known then."""
    return (_vector if isinstance(value, np.ndarray) else _scalar)(values, row, point, value)


# Numba compares names and annotations of these.
@overload(_store)
def _store_of_type(values: Any, row: Any, point: Any, value: Any) -> Any:
    return _vector if isinstance(value, types.Array) else _scalar


def _scalar(values: Any, row: Any, point: Any, value: Any) -> int:
    """A scalar J is the case of one output."""
    values[row, point, 0] = value
    return DONE


def _vector(values: Any, row: Any, point: Any, value: Any) -> int:
    if value.size != values.shape[2]:
        return MISSHAPED
    for i in range(value.size):
        values[row, point, i] = value[i]
    return DONE


# Lanes of the running sums in `_project`: enough to vectorise, few enough to stay in the L1 cache.
_LANES = 256
# Entries that rows of one region pass through together: what is read of them fits the L2 cache.
_TILE = 8 * _LANES
# Rows that do, each with running sums of its own.
_TOGETHER = 8


def stencils(
    cost: Any,
    work: Any,
    theta: Any,
    index: Any,
    points: Any,
    values: Any,
    done: Any,
    slots: int,
    args: Any,
) -> None:
    """J where one entry of theta takes other values; `work` holds a copy of theta per slot."""
    rows, width = points.shape
    block = _block(rows, slots)
    for slot in prange(slots):
        point = work[slot][: theta.size]
        for first in range(slot * block, rows, slots * block):
            for r in range(first, min(first + block, rows)):
                i = index[r]
                for j in range(width):
                    if done[r, j] == 0:
                        point[i] = points[r, j]
                        done[r, j] = _store(values, r, j, cost(point, *args))
                point[i] = theta[i]


def directions(
    cost: Any,
    work: Any,
    theta: Any,
    regions: Any,
    keys: Any,
    offsets: Any,
    scale: Any,
    values: Any,
    done: Any,
    slots: int,
    args: Any,
) -> None:
    """J where a region of theta is moved; `work` holds a copy of theta per slot."""
    rows, width = offsets.shape
    block = _block(rows * width, slots)
    for slot in prange(slots):
        point = work[slot][: theta.size]
        for first in range(slot * block, rows * width, slots * block):
            for task in range(first, min(first + block, rows * width)):
                r = task // width
                j = task % width
                if done[r, j] == 0:
                    _move(point, theta, regions[r], keys[r], offsets[r, j], scale)
                    done[r, j] = _store(values, r, j, cost(point, *args))
                    _restore(point, theta, regions[r])


def _project(
    covector: Any,
    theta: Any,
    regions: Any,
    keys: Any,
    offsets: Any,
    scale: Any,
    sums: Any,
    slots: int,
) -> None:
    """The covector times the displacement that is really taken, for every row and offset.

    Compensated sums (Ogita, Rump and Oishi, *Accurate sum and dot product*, SISC 26 (2005),
    algorithm 4.4), one per lane: loops over lanes carry no dependence and vectorise. A row is
    summed by one slot and in one order, whatever the number of slots. Rows of one region are
    summed together, tile by tile, so that memory is read once for all of them.
    """
    rows, width = offsets.shape
    for slot in prange(slots):
        total = np.empty((_TOGETHER, width, _LANES))
        lost = np.empty((_TOGETHER, width, _LANES))
        v = np.empty(_LANES)
        r = slot * rows // slots
        end = (slot + 1) * rows // slots
        while r < end:
            region = regions[r]
            after = r + 1
            while after < min(r + _TOGETHER, end) and np.array_equal(regions[after], region):
                after += 1
            total[: after - r] = 0.0
            lost[: after - r] = 0.0
            for row in range(region[2], region[3]):
                start = region[0] + row * region[1]
                stop = start + region[5]
                for tile in range(start + region[4], stop, _TILE):
                    for k in range(after - r):
                        for first in range(tile, min(tile + _TILE, stop), _LANES):
                            last = min(first + _LANES, stop)
                            base = theta[first:last]
                            slope = covector[first:last]
                            factor = scale[first:last]
                            word = np.uint64(first)
                            for m in range(base.size):
                                v[m] = hashing.signed_magnitude(keys[r + k], word + np.uint64(m))
                            for j in range(width):
                                offset = offsets[r + k, j]
                                _add(total[k, j], lost[k, j], slope, base, v, offset, factor)
            for k in range(after - r):
                for j in range(width):
                    sums[r + k, j] = _collected(total[k, j], lost[k, j])
            r = after


@register_jitable
def _block(tasks: int, slots: int) -> int:
    """How many tasks in a row a slot takes.

    Eight outputs fill a cache line, which two threads should not share when the cost is short. With
    few tasks an even share matters more: here it is within 1 %.
    """
    return 8 if tasks >= 1024 * slots else 1


@register_jitable
def _move(point: Any, theta: Any, region: Any, key: Any, offset: Any, scale: Any) -> None:
    """Write theta + offset * v * scale into the region."""
    for row in range(region[2], region[3]):
        # Slices, not indices into the whole: only then does LLVM vectorise (2x).
        first = region[0] + row * region[1] + region[4]
        last = first + region[5] - region[4]
        out = point[first:last]
        base = theta[first:last]
        factor = scale[first:last]
        word = np.uint64(first)
        if scale.size:
            for m in range(out.size):
                v = hashing.signed_magnitude(key, word + np.uint64(m))
                out[m] = base[m] + offset * v * factor[m]
        else:
            for m in range(out.size):
                v = hashing.signed_magnitude(key, word + np.uint64(m))
                out[m] = base[m] + offset * v


@register_jitable
def _restore(point: Any, theta: Any, region: Any) -> None:
    for row in range(region[2], region[3]):
        first = region[0] + row * region[1] + region[4]
        last = first + region[5] - region[4]
        out = point[first:last]
        base = theta[first:last]
        for m in range(out.size):
            out[m] = base[m]


@register_jitable
def _add(total: Any, lost: Any, slope: Any, base: Any, v: Any, offset: float, factor: Any) -> None:
    """Add slope * (displacement taken) to the lanes."""
    kind = base.dtype.type
    if factor.size:
        for m in range(base.size):
            taken = np.float64(kind(base[m] + offset * v[m] * factor[m])) - np.float64(base[m])
            total[m], lost[m] = _two_sum(total[m], slope[m] * taken, lost[m])
    else:
        for m in range(base.size):
            taken = np.float64(kind(base[m] + offset * v[m])) - np.float64(base[m])
            total[m], lost[m] = _two_sum(total[m], slope[m] * taken, lost[m])


@register_jitable
def _two_sum(total: float, term: float, lost: float) -> tuple[float, float]:
    """Knuth's error-free sum of two; its error is added to what was lost before."""
    larger = total + term
    taken = larger - total
    return larger, lost + ((total - (larger - taken)) + (term - taken))


@register_jitable
def _collected(total: Any, lost: Any) -> float:
    result = 0.0
    rest = 0.0
    for m in range(total.size):
        result, rest = _two_sum(result, total[m], rest + lost[m])
    return result + rest


def evaluator(
    loop: Any,
    cost: types.FunctionType,
    theta: types.Float,
    inputs: Sequence[NDArray[Any]],
    args: tuple[types.Type, ...],
    *,
    parallel: bool,
    cacheable: bool = True,
) -> Any:
    """The kernel that runs a loop over the costs of one signature.

    Parameters
    ----------
    loop : callable
        `stencils` or `directions`.
    cost : numba FunctionType
        ``result(theta, *args)``, its theta real or complex.
    theta : numba type
        Of the entries of the check's theta.
    inputs : sequence of arrays
        A plan, as the loop takes it.
    args : tuple of numba types
    parallel : bool
        The ``prange`` kernel or its serial twin.
    cacheable : bool
        False if a type has no name that lasts beyond this process.
    """
    point = cost.signature.args[0].dtype
    value = types.complex128 if isinstance(point, types.Complex) else types.float64
    plan = tuple(_input(numba.from_dtype(array.dtype), array.ndim) for array in inputs)
    outputs = (value[:, :, ::1], types.uint8[:, ::1])
    signature = (cost, point[:, ::1], _input(theta, 1), *plan, *outputs, types.int64)
    arguments = types.Tuple(args)  # type: ignore[no-untyped-call]
    return _compiled(loop, (*signature, arguments), parallel, cacheable)


def perturb(
    point: NDArray[Any],
    theta: NDArray[Any],
    region: NDArray[np.int64],
    key: np.uint64,
    offset: complex,
    scale: NDArray[np.float64] | None,
) -> None:
    """Write ``theta + offset * v * scale`` into a region of `point`; see `plans.Directions`.

    Parameters
    ----------
    point : array, shape (n,), of theta's dtype or complex128
        Written within the region only, and rounded to its dtype.
    theta : float64 or float32 array, shape (n,)
    region : int64 array, shape (6,)
        A row of ``Directions.regions``.
    key : uint64
    offset : float or complex
    scale : float64 array, shape (n,), or None

    Examples
    --------
    >>> import numpy as np
    >>> theta, point = np.zeros(4), np.zeros(4)
    >>> perturb(point, theta, np.array([0, 2, 0, 2, 1, 2]), np.uint64(7), 1.0, None)
    >>> np.flatnonzero(point)
    array([1, 3])
    """
    kernel = _perturbing(point.dtype, theta.dtype, np.iscomplexobj(offset))
    kernel(point, theta, region, key, offset, scale_or_empty(scale))


@lru_cache
def _perturbing(point: np.dtype[Any], theta: np.dtype[Any], imaginary: bool) -> Any:
    """The kernel of `perturb`: to put its signature together takes longer than a small region."""
    signature = (
        numba.from_dtype(point)[::1],
        _input(numba.from_dtype(theta), 1),
        _input(types.int64, 1),
        types.uint64,
        types.complex128 if imaginary else types.float64,
        _input(types.float64, 1),
    )
    return _compiled(_move, signature)


def project(
    covector: NDArray[np.float64],
    theta: NDArray[Any],
    regions: NDArray[np.int64],
    keys: NDArray[np.uint64],
    offsets: NDArray[np.float64],
    scale: NDArray[np.float64] | None,
    threads: int = 1,
) -> NDArray[np.float64]:
    """Sum of ``covector * (point - theta)`` over the displacements that directions really take.

    Parameters
    ----------
    covector : float64 array, shape (n,)
    theta : float64 or float32 array, shape (n,)
        Points are rounded to its dtype before theta is taken away again.
    regions, keys, offsets, scale
        Of `plans.Directions`, the offsets real, shape (k, p).
    threads : int
        The result does not depend on it.

    Returns
    -------
    float64 array, shape (k, p)
        Rounded products, summed as if in twice the working precision.

    Examples
    --------
    >>> import numpy as np
    >>> region, one = np.array([[0, 4, 0, 1, 2, 3]]), np.array([[1.0, -1.0]])
    >>> sums = project(np.ones(4), np.zeros(4), region, np.array([7], np.uint64), one, None)
    >>> bool(0.5 <= abs(sums[0, 0]) < 1.5 and sums[0, 1] == -sums[0, 0])
    True
    """
    slots = min(threads, len(keys)) if parallel_allowed() else 1
    signature = (
        _input(types.float64, 1),
        _input(numba.from_dtype(theta.dtype), 1),
        _input(types.int64, 2),
        _input(types.uint64, 1),
        _input(types.float64, 2),
        _input(types.float64, 1),
        types.float64[:, ::1],
        types.int64,
    )
    kernel = _compiled(_project, signature, parallel=slots > 1)
    sums = np.empty(offsets.shape)
    inputs = (covector, theta, regions, keys, offsets, scale_or_empty(scale))
    with exclusive(slots) if slots > 1 else nullcontext():
        kernel(*inputs, sums, max(slots, 1))
    return sums


_EMPTY = np.empty(0)


_EMPTY.flags.writeable = False


def scale_or_empty(scale: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """A direction's scale as kernels take it: an empty array stands for 1."""
    return _EMPTY if scale is None else scale


_running = threading.Lock()


_forked = False


def parallel_allowed() -> bool:
    """False in a child that was forked after threads had been started."""
    return not _forked


@contextmanager
def exclusive(threads: int | None = None) -> Iterator[None]:
    """Alone in the process in running threads of Numba, this many of them."""
    with _running:
        if threads is None:
            yield
            return
        before = numba.get_num_threads()
        numba.set_num_threads(threads)
        try:
            yield
        finally:
            numba.set_num_threads(before)


def _after_fork() -> None:
    global _forked, _running, _compiling
    _forked = _forked or threading_layer._is_initialized
    _running = threading.Lock()
    _compiling = threading.Lock()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_after_fork)


_compiling = threading.Lock()


_kernels: dict[Any, Any] = {}


cache_problem = ""


def _input(entry: types.Type, ndim: int) -> types.Array:
    """An array that the kernel only reads; the caller's may be writeable or not."""
    return types.Array(entry, ndim, "C", readonly=True)


def _compiled(
    loop: Any, signature: tuple[types.Type, ...], parallel: bool = False, cacheable: bool = True
) -> Any:
    """The kernel of this signature, from this process, from disk, or compiled."""
    global cache_problem
    key = (loop, signature, parallel)
    with _compiling:
        if key in _kernels:
            return _kernels[key]
        kernel = None
        if cacheable:
            try:
                kernel = _dispatcher(loop, signature, parallel, cached=True)
            except numba.errors.NumbaError:
                raise
            except Exception as exc:
                # No place to write, a full disk or a damaged file.
                cache_problem = f"{type(exc).__name__}: {exc}"
        _kernels[key] = kernel or _dispatcher(loop, signature, parallel, cached=False)
        return _kernels[key]


def _dispatcher(loop: Any, signature: Any, parallel: bool, cached: bool) -> Any:
    copy = FunctionType(loop.__code__, loop.__globals__, loop.__name__)
    copy.__module__ = loop.__module__
    if cached:
        copy.__qualname__ = f"{loop.__name__}_{_digest(signature, parallel)}"
    dispatcher = numba.njit(parallel=parallel, nogil=True, cache=cached)(copy)
    dispatcher.compile(signature)
    dispatcher.disable_compile()
    return dispatcher


def _digest(signature: Any, parallel: bool) -> str:
    """A name in the cache that stands for one machine code and no other.

    Numba numbers the files of one function as they come, so that processes which start at once on
    an empty cache would overwrite each other's kernels, and it does not see that the hash in
    another module has changed, nor the options. With a name for each kernel, whoever writes the
    file writes the same.
    """
    sources = inspect.getsource(sys.modules[__name__]), inspect.getsource(hashing)
    target = cpu_target.target_context.codegen().magic_tuple()
    content = repr((sources, target, numba.__version__, signature, parallel))
    return hashlib.sha256(content.encode()).hexdigest()[:16]
