"""SciPy's BLAS, which serves compiled products, may be loaded in the middle of a check.

Seen in a new process, in which nothing has loaded it yet.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

SOURCES = Path(__file__).parents[1] / "src"

CHECK = """
import sys
import numba
import numpy as np
import fastgradcheck as fgc
from threadpoolctl import threadpool_info

def threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

@numba.njit
def product(theta):
    return theta @ theta

def grad(theta):
    seen.append(threads())
    return 2 * theta

seen = []
"""


def run(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHECK + textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()


def test_a_blas_that_compiling_the_cost_loads_is_held_from_the_first_evaluation_on() -> None:
    code = """
    before = threads()
    fgc.gradcheck(product, grad, np.ones(3))
    print(len(seen[0]) - len(before), *set(seen[0]), "released", *set(threads()))
    """
    loaded, *during, _, after = run(code)
    assert (loaded, during) == ("1", ["1"])
    assert after == run("print(*set(threads()))")[0]
