"""One BLAS thread wherever J is evaluated.

BLAS threads compete with the engines' own workers, and they split sums differently, so that J at
one point would differ in its last bits from run to run.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import OpenBLASController, ThreadpoolController

_lock = threading.Lock()


_depth = 0


_limits: list[Any] = []


_controller: tuple[int, Any] = (-1, None)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold every BLAS that is loaded to one thread; process-wide and re-entrant.

    The outermost entry costs about 20 microseconds, nested ones next to nothing, so a loop over
    short evaluations wraps itself once. A BLAS that is loaded within is held from the next entry
    on, nested or not: compiling the user's cost may be what loads it.

    Examples
    --------
    >>> with one_blas_thread():
    ...     pass
    """
    global _depth
    with _lock:
        if _depth == 0 or _controller[0] != len(sys.modules):
            _become_controller()
            _limits.append(_loaded_blas().limit(limits=1))
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _become_controller()
                while _limits:  # the latest first: its originals are what the one before set
                    _limits.pop().restore_original_limits()
                _become_controller()


def _become_controller() -> None:
    """Let this thread set OpenBLAS's threads.

    Since threadpoolctl 3.8 the first thread that sets them is the only one that can, and others
    are ignored without a word; but who leaves last need not be who entered first.
    """
    release = getattr(OpenBLASController, "clear_controlling_thread", None)
    if release is not None:
        release(force=True)


def _loaded_blas() -> Any:
    """The BLAS libraries of this process.

    Looking for them takes 0.5 ms, so it is done anew only when modules have been imported since:
    they are what brings a library in.
    """
    global _controller
    if _controller[0] != len(sys.modules):
        found = ThreadpoolController().select(user_api="blas")
        _controller = (len(sys.modules), found)
    return _controller[1]
