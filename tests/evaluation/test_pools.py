"""Plans over processes, threads, executors and a cluster: failures, deaths and Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import joblib
import numpy as np
import pytest
from joblib._parallel_backends import ParallelBackendBase

from fastgradcheck.errors import (
    CostEvaluationError,
    GradcheckInputError,
    WorkersLostError,
)
from fastgradcheck.evaluation import pools
from fastgradcheck.evaluation.choice import open_engine
from fastgradcheck.problem.problem import Objective
from tests.cases.interpreted import collect, objective, stencils


class Picky(Exception):
    """Cannot be rebuilt from its args."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class TestExceptions:
    def test_a_worker_sends_the_traceback_as_a_note(self, send):
        def cost(x):
            return 1.0 / float(x[2] == 0)

        engine = open_engine(objective(cost, np.zeros(4)), "python", n_jobs=2)
        with pytest.raises(CostEvaluationError, match=r"ZeroDivisionError at theta\[2\] \+ 0\.5"):
            collect(engine, stencils(engine.objective, 0.5))
        with pytest.raises(CostEvaluationError) as caught:
            collect(engine, stencils(engine.objective, 0.5))
        notes = "".join(caught.value.__cause__.__notes__)
        assert "In a worker process:" in notes
        assert "return 1.0 / float(x[2] == 0)" in notes

    def test_an_exception_that_cannot_travel_is_replaced(self, send):
        def cost(x):
            if x[1] > 0:
                raise Picky("one", "two")
            return 0.0

        engine = open_engine(objective(cost, np.zeros(3)), "python", n_jobs=2)
        with pytest.raises(CostEvaluationError, match=r"raised Picky at theta\[1\]") as caught:
            collect(engine, stencils(engine.objective, 0.5))
        assert str(caught.value.__cause__) == "Picky: one and two"


class TestWorkers:
    def test_threads_are_used_inside_a_threading_config(self, send):
        def cost(x):
            time.sleep(0.01)
            return float(threading.get_ident() != main) + float(os.getpid() != pid)

        main, pid = threading.get_ident(), os.getpid()
        with joblib.parallel_config(backend="threading", n_jobs=2):
            engine = open_engine(objective(cost, np.zeros(6)))
            values = collect(engine, stencils(engine.objective, 1.0))
        # The first row is measured here.
        assert values[:, 0].tolist() == [0.0] + [1.0] * 5

    def test_processes_see_one_blas_thread_and_large_args_as_maps(self, send):
        def cost(x, X, scratch):
            from threadpoolctl import threadpool_info

            blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
            scratch[:] = x.sum()
            one = all(pool["num_threads"] == 1 for pool in blas)
            return 1e6 * (os.getpid() == pid) + 10 * isinstance(X, np.memmap) + one

        pid = os.getpid()
        X, scratch = np.ones(200_000), np.zeros(200_000)
        engine = open_engine(objective(cost, np.zeros(6), X, scratch), "python", n_jobs=2)
        values = collect(engine, stencils(engine.objective, 1.0))
        assert values[:, 0].tolist() == [1e6 + 1] + [11.0] * 5

    def test_an_early_close_is_silent_and_the_next_call_works(self, send, tmp_path):
        evaluated = tmp_path / "evaluated"

        def cost(x):
            time.sleep(0.02)
            with evaluated.open("a") as file:
                file.write(".")
            return float(x.sum())

        engine = open_engine(objective(cost, np.zeros(10_000)), "python", n_jobs=2)
        engine.t_cost = 0.02
        plan = stencils(engine.objective, 1.0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            chunks = engine.evaluate(plan)
            next(chunks)
            chunks.close()
        # The whole plan takes two workers 100 seconds: a close that waited would see all of it.
        assert evaluated.stat().st_size < 5000
        assert (collect(engine, plan.rows(slice(0, 40))) == 1.0).all()
        engine.close()

    @pytest.mark.parametrize("where", ["closure", "args"])
    def test_what_does_not_pickle_is_named(self, where, send):
        lock = threading.Lock()

        def held(x):
            with lock:
                return float(x.sum())

        def given(x, X, y):
            return float(x.sum())

        if where == "closure":
            subject = objective(held, np.zeros(3))
            text = r"^cost cannot be sent to worker processes: its closure variable 'lock' \(Typ"
        else:
            subject = objective(given, np.zeros(3), np.ones(3), lock)
            text = r"^args\[1\] cannot be sent to worker processes: it does not pickle \(TypeError"
        with pytest.raises(GradcheckInputError, match=text) as caught:
            collect(open_engine(subject, "python", n_jobs=2), stencils(subject, 1.0))
        assert str(caught.value).endswith(
            "Create such an object inside the cost, or use n_jobs=1, or threads: "
            '`with joblib.parallel_config(backend="threading"): ...`.'
        )
        engine = open_engine(subject, "python", n_jobs=2, backend="threading")
        assert (collect(engine, stencils(subject, 1.0)) == 1.0).all()

    def test_a_module_that_workers_cannot_import_is_named(self, send, monkeypatch):
        module = types.ModuleType("only_in_this_process")
        exec("def cost(x):\n    return float(x.sum())", module.__dict__)
        monkeypatch.setitem(sys.modules, "only_in_this_process", module)
        engine = open_engine(objective(module.cost, np.zeros(5)), "python", n_jobs=2)
        with pytest.raises(GradcheckInputError) as caught:
            collect(engine, stencils(engine.objective, 1.0))
        assert "cannot load what they were sent (ModuleNotFoundError: No module" in str(
            caught.value
        )
        assert "only_in_this_process" in str(caught.value)
        assert "add its folder to PYTHONPATH" in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
class TestDeath:
    def subject(self, flag: Any, *, always: bool) -> Objective:
        pid = os.getpid()

        def cost(x):
            time.sleep(0.005)
            if x[7] > 0 and os.getpid() != pid and (always or not flag.exists()):
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return float(np.sum(x * np.arange(1, 13)))

        return objective(cost, np.zeros(12))

    def test_a_dead_worker_is_told_and_its_rows_are_done_again(self, tmp_path, send):
        subject = self.subject(tmp_path / "died", always=False)
        engine = open_engine(subject, "python", n_jobs=2)
        values = collect(engine, stencils(subject, 1.0, -1.0))
        np.testing.assert_array_equal(values, np.outer(np.arange(1, 13), [1, -1]))
        [finding] = engine.findings
        assert finding.kind == "worker-died"
        assert finding.message.startswith("A worker process died (exit code SIGKILL(-9)): ")
        assert "killed from outside, out of memory, or crashed in compiled code" in finding.message
        assert "What was in flight was evaluated again, by others, and no value is missing" in (
            finding.message
        )

    def test_what_kills_twice_alone_is_blamed(self, tmp_path, send):
        subject = self.subject(tmp_path / "died", always=True)
        engine = open_engine(subject, "python", n_jobs=2)
        with pytest.raises(CostEvaluationError) as caught:
            collect(engine, stencils(subject, 1.0))
        text = str(caught.value)
        assert text.startswith("a worker process died while it evaluated J at theta[7] (exit code")
        assert "needs more memory than there is" in text
        assert caught.value.address == "theta[7]"
        [finding] = engine.findings
        assert finding.message.startswith("3 worker processes, one by one, died (exit code SIGKILL")

    def test_workers_that_are_killed_all_the_time_do_not_change_a_bit(self, tmp_path, send):
        """Each row kills the first process that evaluates it."""
        pid = os.getpid()

        def cost(x):
            flag = tmp_path / str(int(np.argmax(x)))
            if os.getpid() != pid and x[9:].any() and not flag.exists():
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return float(np.tanh(x * np.sqrt(np.arange(1, 13))).sum())

        subject = objective(cost, np.zeros(12))
        engine = open_engine(subject, "python", n_jobs=3)
        here = open_engine(subject, "python")
        values = collect(engine, stencils(subject, 0.3))
        np.testing.assert_array_equal(values, collect(here, stencils(subject, 0.3)))
        assert sorted(int(path.name) for path in tmp_path.iterdir()) == [9, 10, 11]


@pytest.mark.skipif(sys.platform == "win32", reason="interrupts a process group")
@pytest.mark.parametrize("backend", ["None", "'threading'"])
@pytest.mark.parametrize("delay", [0.2, 2.5])
def test_ctrl_c_stops_within_a_second_and_workers_keep_quiet(backend, delay, tmp_path):
    evaluated = tmp_path / "evaluated"
    evaluated.touch()
    script = f"""
        import os, signal, sys, threading, time
        import numpy as np
        import joblib
        from fastgradcheck.evaluation.choice import open_engine
        from fastgradcheck.problem.parameters import describe
        from fastgradcheck.evaluation.plans import Stencils
        from fastgradcheck.problem.problem import Objective
        evaluated = {str(evaluated)!r}
        def cost(x):
            time.sleep(0.05)
            with open(evaluated, "a") as file:
                file.write(".")
            return float(x.sum())
        theta = np.zeros(10_000)
        objective = Objective(cost, (), describe(theta), theta)
        engine = open_engine(objective, "python", n_jobs=2, backend={backend})
        engine.t_cost = 0.05
        def press():
            global pressed
            time.sleep({delay})
            pressed = os.stat(evaluated).st_size
            os.killpg(os.getpgid(0), signal.SIGINT)
        threading.Thread(target=press, daemon=True).start()
        try:
            for rows, values in engine.evaluate(Stencils(np.arange(10_000), theta[:, None] + 1)):
                pass
        except KeyboardInterrupt:
            print(os.stat(evaluated).st_size - pressed)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,  # the whole plan takes two workers four minutes
        start_new_session=True,
        check=False,
    )
    assert done.stderr == ""
    # What two workers evaluate in a second, however long a second is on a busy machine.
    assert int(done.stdout) < 40


def test_a_missing_main_guard_is_explained(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        textwrap.dedent("""
        import multiprocessing
        import numpy as np
        from fastgradcheck.evaluation.choice import open_engine
        from fastgradcheck.problem.parameters import describe
        from fastgradcheck.evaluation.plans import Stencils
        from fastgradcheck.problem.problem import Objective
        def cost(x):
            return float(x.sum())
        if multiprocessing.current_process().name == "MainProcess":
            process = multiprocessing.get_context("spawn").Process(target=print)
            process.start()
            process.join()
        else:
            theta = np.zeros(3)
            engine = open_engine(Objective(cost, (), describe(theta), theta), "python", n_jobs=2)
            engine.t_cost = 1.0
            list(engine.evaluate(Stencils(np.arange(3), theta[:, None] + 1)))
        """)
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "GradcheckInputError: worker processes cannot be started while" in done.stderr
    assert 'put its main part under `if __name__ == "__main__":`' in done.stderr


class Together(ParallelBackendBase):
    """What joblib's interface asks of a backend, and no more: as that of Ray, it runs tasks in
    workers and hands all results back together."""

    supports_sharedmem = False
    supports_return_generator = False
    waves = 0

    def configure(self, n_jobs=1, parallel=None, **_):
        self.parallel = parallel
        self.pool = ThreadPoolExecutor(n_jobs)
        return n_jobs

    def effective_n_jobs(self, n_jobs):
        return 3 if n_jobs in (None, -1) else n_jobs

    def start_call(self):
        Together.waves += 1

    def submit(self, func, callback=None):
        future = self.pool.submit(func)
        future.get = future.result
        if callback is not None:
            future.add_done_callback(callback)
        return future

    apply_async = submit

    def retrieve_result_callback(self, out):
        return out.result()

    def terminate(self):
        self.pool.shutdown()

    def abort_everything(self, ensure_ready=True):
        self.pool.shutdown(cancel_futures=True)
        if ensure_ready:
            self.configure(self.parallel.n_jobs, self.parallel)


joblib.register_parallel_backend("together", Together)


def tangents(x):
    return float(np.tanh(x * np.sqrt(np.arange(1, 41))).sum())


class TestBackendsWithoutGenerators:
    @pytest.mark.parametrize("backend", ["together", "multiprocessing"])
    def test_values_are_those_of_one_process(self, backend, send):
        subject = objective(tangents, np.zeros(40))
        plan = stencils(subject, 0.3, -0.2)
        Together.waves = 0
        with joblib.parallel_config(backend=backend, n_jobs=2):
            values = collect(open_engine(subject, "python"), plan)
        np.testing.assert_array_equal(values, collect(open_engine(subject, "python"), plan))
        # The first row is evaluated here, then come waves of two workers' chunks.
        assert Together.waves == (np.ceil(39 / (2 * pools.WAVE)) if backend == "together" else 0)

    def test_an_exception_keeps_address_and_cause(self, send):
        def cost(x):
            if x[5] > 0:
                raise ValueError("outside")
            return 0.0

        subject = objective(cost, np.zeros(8))
        with (
            joblib.parallel_config(backend="together", n_jobs=2),
            pytest.raises(CostEvaluationError, match=r"ValueError at theta\[5\] \+ 1") as caught,
        ):
            collect(open_engine(subject, "python"), stencils(subject, 1.0))
        assert caught.value.__cause__.args == ("outside",)

    def test_what_such_a_backend_raises_is_told(self, send, monkeypatch):
        def fail(*_: Any, **__: Any) -> Any:
            raise ConnectionError("no route to host")

        monkeypatch.setattr(Together, "submit", fail)
        subject = objective(tangents, np.zeros(40))
        with (
            joblib.parallel_config(backend="together", n_jobs=2),
            pytest.raises(WorkersLostError) as caught,
        ):
            collect(open_engine(subject, "python"), stencils(subject, 1.0))
        assert str(caught.value) == (
            "the workers of joblib's Together failed: ConnectionError: no route to host. What the "
            "workers had not answered is lost, and nothing else: with checkpoint= the same line "
            "goes on from there."
        )

    def test_an_unknown_backend_is_an_input_error(self):
        subject = objective(tangents, np.zeros(40))
        with pytest.raises(GradcheckInputError, match=r"^joblib has no backend 'smoke signals' "):
            open_engine(subject, "python", 2, backend="smoke signals")

    def test_a_backend_without_workers_is_an_input_error(self, monkeypatch):
        def fail(*_: Any, **__: Any) -> Any:
            raise TimeoutError("no worker after 10 seconds")

        monkeypatch.setattr(Together, "effective_n_jobs", fail)
        subject = objective(tangents, np.zeros(40))
        with (
            joblib.parallel_config(backend="together"),
            pytest.raises(GradcheckInputError, match=r"Together offers no workers \(TimeoutError"),
        ):
            open_engine(subject, "python")


class Counted:
    """Counts how often it is pickled."""

    times = 0

    def __init__(self, data: np.ndarray) -> None:
        self.data = data

    def __reduce__(self):
        Counted.times += 1
        return Counted, (self.data,)


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0
        ) as cluster,
        distributed.Client(cluster),
    ):
        yield cluster


@pytest.mark.usefixtures("cluster", "send")
class TestDask:
    def test_theta_and_args_are_sent_once(self):
        def cost(x, counted):
            time.sleep(0.002)
            return float(x.sum() + counted.data.sum()) if os.getpid() != pid else 0.0

        pid = os.getpid()
        subject = objective(cost, np.zeros(200), Counted(np.ones(1000)))
        Counted.times = 0
        with joblib.parallel_config(backend="dask"):
            engine = open_engine(subject, "python")
            assert engine.n_jobs == 2
            values = collect(engine, stencils(subject, 1.0))
        assert values[:, 0].tolist() == [0.0] + [1001.0] * 199
        # The dry run, and a scatter that looks at its size, pickles and may hash it; not 199 tasks.
        assert Counted.times < 10

    def test_a_killed_worker_is_survived(self, tmp_path):
        flag = tmp_path / "died"

        def cost(x):
            time.sleep(0.01)
            if x[20] > 0 and not flag.exists():
                flag.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return float(np.sum(x * np.arange(1, 41)))

        subject = objective(cost, np.zeros(40))
        with joblib.parallel_config(backend="dask"):
            values = collect(open_engine(subject, "python"), stencils(subject, 1.0))
        np.testing.assert_array_equal(values[:, 0], np.arange(1, 41))
        assert flag.exists()

    def test_an_exception_keeps_address_and_cause(self):
        def cost(x):
            if x[5] > 0:
                raise ValueError("outside")
            return 0.0

        subject = objective(cost, np.zeros(8))
        with (
            joblib.parallel_config(backend="dask"),
            pytest.raises(CostEvaluationError, match=r"ValueError at theta\[5\] \+ 1") as caught,
        ):
            collect(open_engine(subject, "python"), stencils(subject, 1.0))
        assert caught.value.__cause__.args == ("outside",)


def test_folders_that_joblib_left_are_removed_at_the_end(tmp_path):
    script = """
        import os, sys
        import fastgradcheck.evaluation.pools
        for pid in (os.getpid(), 0):
            os.makedirs(f"{sys.argv[1]}/joblib_memmapping_folder_{pid}_1a2b_3c4d/sub")
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        env={**os.environ, "JOBLIB_TEMP_FOLDER": str(tmp_path)},
        check=True,
    )
    # Those of other processes are theirs.
    assert [path.name for path in tmp_path.iterdir()] == ["joblib_memmapping_folder_0_1a2b_3c4d"]


class Scheduler:
    """A client of a cluster whose scheduler is away for a while."""

    def __init__(self, looks: float, status: str = "connecting") -> None:
        self.looks = looks
        self.away = status

    @property
    def status(self) -> str:
        self.looks -= 1
        return self.away if self.looks >= 0 else "running"


class TestScheduler:
    @pytest.mark.parametrize("status", ["connecting", "closed"])
    def test_one_that_is_gone_is_told(self, status, send, monkeypatch):
        monkeypatch.setattr(pools, "RECONNECT_SECONDS", 0.1)
        monkeypatch.setattr(Together, "client", Scheduler(np.inf, status), raising=False)
        subject = objective(tangents, np.zeros(40))
        with (
            joblib.parallel_config(backend="together", n_jobs=2),
            pytest.raises(WorkersLostError, match=r"^the scheduler of the Dask cluster is"),
        ):
            collect(open_engine(subject, "python"), stencils(subject, 1.0))

    def test_what_the_client_said_is_told_too(self, monkeypatch):
        monkeypatch.setattr(pools, "RECONNECT_SECONDS", 0.0)
        active = types.SimpleNamespace(client=Scheduler(np.inf))
        with pytest.raises(WorkersLostError) as caught:
            pools._refuse_unreachable(active, RuntimeError("ConnectionPool is closed"))
        assert str(caught.value) == (
            "the scheduler of the Dask cluster is out of reach (RuntimeError: ConnectionPool is "
            "closed). What the workers had not answered is lost, and nothing else: with "
            "checkpoint= the same line goes on from there."
        )

    def test_one_that_comes_back_is_waited_for(self):
        pools._refuse_unreachable(types.SimpleNamespace(client=Scheduler(3)), None)
        pools._refuse_unreachable(types.SimpleNamespace(), None)
