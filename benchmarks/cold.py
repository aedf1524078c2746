"""The first check of a new process, and what it spends its time on.

``python -m benchmarks.cold`` prints it; with ``--check``, of this very process, as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass

CHECK = "--check"


@dataclass(frozen=True)
class Start:
    """Seconds of a new process, in order.

    Attributes
    ----------
    package : float
        ``import fastgradcheck``.
    numba : float
        ``import numba``.
    check : float
        The first check, compiling included.
    cost : float
        Numba's time for the user's cost; part of `check`.
    second : float
        The same check once more: what it takes when everything is there.
    """

    package: float
    numba: float
    check: float
    cost: float
    second: float

    @property
    def overhead(self) -> float:
        """What the first check takes beyond the user's own compile and the check itself."""
        return self.check - self.cost - self.second


def _squares(theta, x):
    total = 0.0
    for i in range(theta.size):
        total += (theta[i] - x[i]) ** 2
    return total


def here() -> Start:
    """The first check in this process: a flat theta, one array as args, 50 components."""
    began = time.perf_counter()
    import fastgradcheck

    package = time.perf_counter() - began
    began = time.perf_counter()
    import numba
    import numpy as np

    numba_seconds = time.perf_counter() - began
    cost = numba.njit(_squares)
    theta, x = np.linspace(-1.0, 1.0, 50), np.linspace(2.0, 1.0, 50)

    def check() -> tuple[float, float]:
        began = time.perf_counter()
        result = fastgradcheck.gradcheck(
            cost, 2 * (theta - x), theta, args=(x,), progress=False, seed=0
        )
        return time.perf_counter() - began, result.seconds.compiling

    first, compiling = check()
    return Start(package, numba_seconds, first, compiling, check()[0])


def anew(cache: str) -> Start:
    """The first check of a new process that keeps its kernels in a folder."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cold", CHECK],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return Start(**json.loads(done.stdout))


def cold_and_warm(repeats: int = 3) -> tuple[Start, list[Start]]:
    """The first check with an empty cache, and so many with what it left there."""
    with tempfile.TemporaryDirectory() as cache:
        return anew(cache), [anew(cache) for _ in range(repeats)]


def import_seconds() -> float:
    """``import fastgradcheck`` in a new process, the interpreter's own start not counted."""
    code = (
        "import time; t = time.perf_counter(); import fastgradcheck; print(time.perf_counter() - t)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    if CHECK in sys.argv:
        print(json.dumps(asdict(here())))
    else:
        cold, warm = cold_and_warm()
        for name, start in (("cold", cold), *(("warm", start) for start in warm)):
            print(name, {key: round(value, 3) for key, value in asdict(start).items()}, end=" ")
            print(f"ours {start.overhead:.3f} s")
