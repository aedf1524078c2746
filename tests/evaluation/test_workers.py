"""What a worker keeps, and that it does not outlive the process that it works for."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from fastgradcheck.evaluation import workers
from fastgradcheck.evaluation.engines.python import PythonEngine
from fastgradcheck.evaluation.pickles import pickled
from fastgradcheck.evaluation.workers import RECEIVED, Shared, evaluate_by_key, lent
from tests.cases.interpreted import objective, stencils

SUBJECT = objective(np.sum, np.zeros(3))
PLAN = stencils(SUBJECT, 1.0)
ROWS = slice(0, 3)


def test_what_is_lacking_is_asked_for_and_kept() -> None:
    contents = {"shared": pickled(Shared(SUBJECT, PythonEngine)), "common": pickled(None)}
    keys = ("shared", "common")
    assert evaluate_by_key(keys, {}, PLAN, ROWS) is None
    for sent in (contents, {}):
        answer = evaluate_by_key(keys, sent, PLAN, ROWS)
        assert answer is not None
        assert answer.values[:, 0].tolist() == [1.0] * 3
    # Of an endless row of checks it keeps the latest ones only.
    for number in range(2 * RECEIVED):
        evaluate_by_key(
            (f"shared {number}", f"common {number}"),
            {f"shared {number}": contents["shared"], f"common {number}": contents["common"]},
            PLAN,
            ROWS,
        )
    assert len(workers._received) <= RECEIVED
    assert evaluate_by_key(keys, {}, PLAN, ROWS) is None


def test_threads_find_what_is_lent_and_nothing_is_left_of_it() -> None:
    with lent(Shared(SUBJECT, PythonEngine)) as shared, lent(None) as common:
        assert evaluate_by_key((shared, common), {}, PLAN, ROWS) is not None
    assert evaluate_by_key((shared, common), {}, PLAN, ROWS) is None
    assert not workers._own


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_worker_processes_end_after_the_one_that_was_killed() -> None:
    script = """
        import os, time
        import numpy as np
        from fastgradcheck.evaluation import parallel
        from fastgradcheck.evaluation.choice import open_engine
        from tests.cases.interpreted import objective, stencils
        parallel.WORTH_SENDING_SECONDS = 0.0
        parallel.CHUNK_SECONDS = 1e-9

        def cost(x):
            return float(os.getpid())

        subject = objective(cost, np.zeros(9))
        engine = open_engine(subject, "python", n_jobs=2)
        pids = set()
        for rows, values in engine.evaluate(stencils(subject, 1.0)):
            pids.update(int(value) for value in values[:, 0])
        pids.discard(os.getpid())
        print(*pids, flush=True)
        time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert pids
        assert all(os.path.exists(f"/proc/{pid}") for pid in pids)
        process.kill()
    deadline = time.monotonic() + 120  # a second where nothing else runs
    while any(running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
