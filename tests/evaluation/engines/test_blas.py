"""One BLAS thread wherever J is evaluated, and all of them afterwards."""

from __future__ import annotations

import threading

import pytest

from fastgradcheck.evaluation.engines.blas import one_blas_thread
from tests.cases.compiled import blas_threads, run_python


def test_blas_is_held_to_one_thread_within_and_released_after():
    before = blas_threads()
    with one_blas_thread():
        assert set(blas_threads()) == {1}
        with one_blas_thread():
            pass
        assert set(blas_threads()) == {1}
    assert blas_threads() == before


def test_blas_is_released_after_an_exception_and_by_the_last_of_several_threads():
    before = blas_threads()
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        1 / 0  # noqa: B018
    assert blas_threads() == before
    leave = threading.Event()
    entered = threading.Event()

    def hold() -> None:
        with one_blas_thread():
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=hold)
    other.start()
    entered.wait(10)
    with one_blas_thread():
        pass
    assert set(blas_threads()) == {1}
    leave.set()
    other.join()
    assert blas_threads() == before


def test_a_cost_with_products_sees_one_blas_thread():
    """SciPy's BLAS, which compiled products use, is loaded before it is held."""
    code = """
    @numba.njit
    def product(theta, A):
        with numba.objmode(threads="int64"):
            threads = max(blas_threads())
        return (A @ theta).sum() * 0 + threads
    engine = NumbaEngine(objective(product, (np.ones((5, 37)),)), 1)
    print(engine.value(THETA), *set(gathered(engine, stencils(THETA)).ravel().tolist()))
    """
    assert run_python(code).split() == ["1.0", "1.0"]
