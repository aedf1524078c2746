"""Compiled loops: their values, their cache, their threads and forks."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import numpy as np
import pytest

from fastgradcheck.evaluation.engines import kernels
from fastgradcheck.evaluation.hashing import direction, key
from fastgradcheck.evaluation.plans import Directions
from tests.cases.compiled import THETA, THREADS, directions, needs_fork, points_of, run_python


def test_two_checks_at_once_abort_nothing_under_workqueue():
    code = """
    import threading
    problem = objective(rational, (X,), np.tile(THETA, 30))
    plan = stencils(problem.theta)
    results = []
    def check():
        results.append(gathered(NumbaEngine(problem, 2), plan))
    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(len(results), all((r == results[0]).all() for r in results), numba.threading_layer())
    """
    out = run_python(code, NUMBA_THREADING_LAYER="workqueue", NUMBA_NUM_THREADS="2")
    assert out.split() == ["4", "True", "workqueue"]


@needs_fork
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_a_forked_child_works_after_a_parallel_kernel(layer):
    code = """
    import os
    engine = NumbaEngine(objective(rational, (X,)), 2)
    plan = stencils(THETA)
    values = gathered(engine, plan)
    assert kernels.parallel_allowed()
    child = os.fork()
    if child == 0:
        assert not kernels.parallel_allowed()
        same = (gathered(engine, plan) == values).all()
        same &= (gathered(NumbaEngine(objective(rational, (X,)), 2), plan) == values).all()
        os._exit(0 if same else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), numba.threading_layer())
    """
    try:
        out = run_python(code, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="2")
    except AssertionError as error:
        if "No threading layer could be loaded" in str(error):
            pytest.skip(f"no {layer} layer here")
        raise
    assert out.split() == ["0", layer]


@needs_fork
def test_a_child_forked_before_any_thread_may_start_its_own():
    code = """
    import os
    child = os.fork()
    if child == 0:
        ok = kernels.parallel_allowed()
        gathered(NumbaEngine(objective(rational, (X,)), 2), stencils(THETA))
        os._exit(0 if ok else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    assert run_python(code, NUMBA_NUM_THREADS="2").split() == ["0"]


# The cache of kernels.

CACHED = """
    engine = NumbaEngine(objective(rational, (X,)), {n_jobs})
    values = gathered(engine, stencils(THETA))
    values = gathered(engine, directions(THETA))
    wanted = looped(lambda t: rational.py_func(t, X), directions(THETA), THETA)
    np.testing.assert_array_equal(values, wanted)
    stats = [kernel.stats for kernel in kernels._kernels.values()]
    hits = sum(sum(s.cache_hits.values()) for s in stats)
    misses = sum(sum(s.cache_misses.values()) for s in stats)
    print(hits, misses, *[finding.kind for finding in engine.findings])
    """


def cached(folder: Path, n_jobs: int = 1) -> list[str]:
    code = CACHED.format(n_jobs=n_jobs)
    return run_python(code, NUMBA_CACHE_DIR=str(folder), NUMBA_NUM_THREADS="2").split()


def test_a_second_process_loads_every_kernel(tmp_path):
    # Serial stencils for the value at theta, parallel stencils and directions.
    assert cached(tmp_path, 2) == ["0", "3"]
    assert cached(tmp_path, 2) == ["3", "0"]
    # Serial directions are another kernel, though Numba tells them from parallel ones by nothing.
    assert cached(tmp_path, 1) == ["1", "1"]


def test_processes_that_start_at_once_on_an_empty_cache_agree(tmp_path):
    outputs: list[list[str]] = []
    threads = [threading.Thread(target=lambda: outputs.append(cached(tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outputs) == 4
    # One file per kernel: whoever came last has written the same as the first.
    assert len(list(tmp_path.rglob("*.nbc"))) == 2
    assert cached(tmp_path) == ["2", "0"]


def test_a_damaged_cache_is_passed_over_with_a_finding(tmp_path):
    cached(tmp_path)
    for file in tmp_path.rglob("*.nbc"):
        file.write_bytes(b"not a pickle")
    assert cached(tmp_path)[-1] == "kernel-cache"


def test_no_place_for_a_cache_is_a_finding_and_no_failure():
    # What Numba raises where neither the installation nor the home can be written; root can
    # write everywhere, so the place is taken away rather than locked.
    code = """
    from numba.core.caching import CacheImpl
    CacheImpl._locator_classes = []
    engine = NumbaEngine(objective(rational, (X,)), 1)
    values = gathered(engine, stencils(THETA))
    wanted = looped(lambda t: rational.py_func(t, X), stencils(THETA), THETA)
    np.testing.assert_array_equal(values, wanted)
    print(engine.findings[0].kind, engine.findings[0].message)
    """
    out = run_python(code)
    assert out.startswith("kernel-cache Numba cannot keep compiled kernels on disk (RuntimeError: ")
    assert "cannot cache function" in out
    assert "Set NUMBA_CACHE_DIR to a directory that can be written." in out


# Projections and single points.


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("scaled", [False, True])
def test_projections_take_the_displacement_that_is_really_taken(dtype, scaled):
    rng = np.random.default_rng(1)
    n = 3000
    theta = rng.normal(size=n).astype(dtype)
    covector = rng.normal(size=n) * 10.0 ** rng.integers(-8, 8, n)
    scale = 10.0 ** rng.normal(size=n) if scaled else None
    whole, part, nothing = [0, n, 0, 1, 0, n], [3, 40, 2, 30, 5, 17], [10, 5, 0, 0, 0, 5]
    # More rows of one region than are summed together, and a tile that is not full.
    regions = np.array([*[whole] * 11, part, part, nothing, whole])
    offsets = 1e-5 * rng.normal(size=(len(regions), 2))
    offsets[[1, 12]] = [3e-4, 0.0], [1.0, 2.0]
    plan = Directions(regions, np.arange(len(regions)).astype(np.uint64), offsets, scale)
    results = [
        kernels.project(covector, theta, regions, plan.keys, offsets, scale, threads)
        for threads in range(1, THREADS + 1)
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    base = theta.astype(float)
    terms = [covector * (point.astype(float) - base) for point in points_of(plan, theta)]
    wanted = np.reshape([math.fsum(row) for row in terms], offsets.shape)
    # Twice the working precision: what remains is the rounding of the result.
    np.testing.assert_allclose(results[0], wanted, rtol=4e-16, atol=0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
@pytest.mark.parametrize("scaled", [False, True])
def test_perturb_writes_the_same_point_as_numpy(dtype, scaled):
    theta = THETA.astype(np.float32 if dtype == np.float32 else np.float64)
    theta.flags.writeable = False
    plan = directions(theta, np.linspace(1, 3, 37) if scaled else None)
    offsets = plan.offsets * (1j if dtype == np.complex128 else 1)
    plan = Directions(plan.regions, plan.keys, offsets, plan.scale)
    wanted = list(points_of(plan, theta.astype(dtype)))
    for r in range(2):
        for j in range(3):
            point = theta.astype(dtype)
            kernels.perturb(point, theta, plan.regions[r], plan.keys[r], offsets[r, j], plan.scale)
            np.testing.assert_array_equal(point, wanted[3 * r + j])


@pytest.mark.parametrize("start", [0, 12_345_678_901])
def test_the_kernels_hash_bit_by_bit_like_numpy(start: int) -> None:
    word = key(7, 3, 1)
    # `perturb` writes 0 + 1 * v.
    if start == 0:
        theta = np.zeros(50_000)
        region = np.array([0, 50_000, 0, 1, 0, 50_000])
        kernels.perturb(point := np.empty(50_000), theta, region, word, 1.0, None)
        assert np.array_equal(point, direction(word, np.arange(50_000)))
    else:
        assert len(np.unique(direction(word, start + np.arange(1000)))) == 1000
