"""Faults, each of them many times: what was survived, what was told, and what was left behind.

``python -m studies.faults`` repeats every fault ten times and prints a line for each kind; the
exit status is 1 if one of them went wrong. ``--times 3 killed stopped`` repeats two kinds three
times. It kills, signals and counts processes by `/proc`, so that it needs Linux; the scheduler
needs the extra ``dask``. `studies.kill_and_resume` kills the check itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastgradcheck import gradcheck

N = 1500
SHARED_MEMORY = Path("/dev/shm")
SCHEDULER_SECONDS = 10.0
"""A scheduler that is gone is told within this time."""
TIDY_SECONDS = 10.0
"""So long the processes that clean up may take, on a busy machine."""


# The check, in a process of its own


def cost(theta: np.ndarray, x: np.ndarray) -> float:
    """A weighted sum of squares, in a loop that takes a while."""
    s = 0.0
    for k in range(1500):
        s += x[k] * theta[k % len(theta)] ** 2
    return s


def gradient(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Of `cost`, with one wrong entry."""
    k = np.arange(1500)
    slopes = 2 * np.bincount(k % len(theta), x[:1500], len(theta)) * theta
    slopes[17] *= 1.01
    return slopes


def child(folder: Path, scheduler: str, n_jobs: int) -> None:
    """Check; leaves result.json in `folder`, and prints a line when workers are busy."""
    told: list[Any] = []

    def tell(event: Any) -> None:
        if event.stage == "components" and event.done > 20 and not told:
            told.append(event)
            print("running", flush=True)

    with contextlib.ExitStack() as stack:
        if scheduler:
            import joblib
            from distributed import Client

            stack.enter_context(Client(scheduler))
            stack.enter_context(joblib.parallel_config(backend="dask"))
        result = gradcheck(
            cost,
            gradient,
            np.linspace(1.0, 2.0, N),
            # Large enough for joblib to put it into shared memory.
            args=(np.cos(np.arange(300_000.0)),),
            strategy="components",
            n_jobs=None if scheduler else n_jobs,
            checkpoint=folder / "run.npz",
            progress=tell,
            seed=1,
        )
    plain = result.to_dict(components=True)
    for name in ("seconds", "n_jobs", "findings", "origin", "remembered"):
        plain.pop(name, None)
    (folder / "result.json").write_text(json.dumps(plain, sort_keys=True))


class Run:
    """A check in a process of its own."""

    def __init__(self, folder: Path, scheduler: str = "", n_jobs: int = 2) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        words = ["--child", str(folder), "--scheduler", scheduler, "--jobs", str(n_jobs)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "studies.faults", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self.process.pid

    def wait_until_busy(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def finish(self) -> tuple[int, str, str]:
        """Exit code, result and what went to stderr; the result is empty if there is none."""
        _, err = self.process.communicate(timeout=600)
        path = self.folder / "result.json"
        return self.process.returncode, path.read_text() if path.exists() else "", err

    def workers(self) -> list[int]:
        return [pid for pid, line in children(self.pid) if "popen_loky" in line]


def children(parent: int) -> Iterator[tuple[int, str]]:
    """Processes of a parent, with their command lines."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(stat[1]) == parent and stat[0] != "Z":
                yield int(folder.name), (folder / "cmdline").read_text()


def of_session(leader: int) -> list[int]:
    """Processes that a run has left behind."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(stat[3]) == leader and stat[0] != "Z":
                found.append(int(folder.name))
    return found


def left_behind(run: Run) -> list[str]:
    """Folders and semaphores of a run, and its processes, that do not go away by themselves."""
    deadline = time.monotonic() + TIDY_SECONDS
    while True:
        places = (SHARED_MEMORY, Path(tempfile.gettempdir()))
        paths = [path for place in places for path in place.glob(f"*[-_]{run.pid}[-_]*")]
        found = [f"{path} ({len(list(path.glob('*')))} files)" for path in paths]
        found += [f"process {pid}" for pid in of_session(run.pid)]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


# The faults: each returns what went wrong, or nothing


class Faults:
    """What all of them share.

    Parameters
    ----------
    root : path
    draw : random.Random
        Of the moments.
    """

    def __init__(self, root: Path, draw: random.Random) -> None:
        self.root = root
        self.draw = draw
        self.number = 0
        began = time.monotonic()
        _, self.expected, _ = Run(root / "whole").finish()
        self.seconds = time.monotonic() - began
        self.whole = (root / "whole" / "run.npz").read_bytes()

    def folder(self) -> Path:
        self.number += 1
        return self.root / str(self.number)

    def killed(self) -> str:
        """Two worker processes are killed while J is evaluated: the result is the same."""
        run = Run(self.folder())
        run.wait_until_busy()
        for _ in range(2):
            time.sleep(self.draw.uniform(0.0, 0.5))
            for pid in run.workers()[:1]:
                os.kill(pid, signal.SIGKILL)
        code, result, err = run.finish()
        left = left_behind(run)
        if code or result != self.expected:
            return f"exit code {code}: {err[-300:]}"
        return f"left {left}" if left else ""

    def _stopped(self, codes: set[int], *signals: int, group: bool) -> str:
        run = Run(self.folder())
        if self.draw.random() < 0.7:
            run.wait_until_busy()
        time.sleep(self.draw.uniform(0.0, 1.0))
        for number in signals:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if group else os.kill)(run.pid, number)
            time.sleep(0.05)
        code, _, err = run.finish()
        left = left_behind(run)
        if left or code not in codes:
            return f"left {left}, exit code {code}: {err[-1000:]}"
        return ""

    def stopped(self) -> str:
        """Ctrl-C, as a terminal sends it: nothing is left."""
        return self._stopped({0, 1, -signal.SIGINT}, signal.SIGINT, group=True)

    def twice(self) -> str:
        """Ctrl-C twice: nothing is left."""
        return self._stopped({0, 1, -signal.SIGINT}, signal.SIGINT, signal.SIGINT, group=True)

    def ended(self) -> str:
        """SIGTERM, to the process or to all of its group: nothing is left."""
        # Before the check has begun, and after it, it is the system that ends the process.
        group = self.draw.random() < 0.5
        return self._stopped({0, 143, -signal.SIGTERM}, signal.SIGTERM, group=group)

    def vanished(self) -> str:
        """SIGKILL to the process: workers end by themselves."""
        run = Run(self.folder())
        run.wait_until_busy()
        time.sleep(self.draw.uniform(0.0, 0.5))
        run.process.kill()
        run.finish()
        left = left_behind(run)
        return f"left {left}" if left else ""

    def shared(self) -> str:
        """Two processes on one checkpoint: one is refused, the other comes to the same result."""
        folder = self.folder()
        runs = [Run(folder, n_jobs=1)]
        if self.draw.random() < 0.5:
            runs[0].wait_until_busy()
        runs.append(Run(folder, n_jobs=1))
        ends = [run.finish() for run in runs]
        told = [err for code, _, err in ends if code]
        if len(told) != 1 or "is in use by another check at this moment" not in told[0]:
            return f"exit codes {[code for code, _, _ in ends]}: {told}"
        names = sorted(path.name for path in folder.iterdir())
        if (folder / "result.json").read_text() != self.expected or names != [
            "result.json",
            "run.npz",
        ]:
            return f"another result, or other files: {names}"
        return ""

    def damaged(self) -> str:
        """A checkpoint with wrong bytes, or cut: it is refused and left, or changes nothing."""
        folder = self.folder()
        folder.mkdir()
        data = bytearray(self.whole)
        if self.draw.random() < 0.3:
            del data[self.draw.randrange(len(data)) :]
        for _ in range(self.draw.randint(1, 5) if data else 0):
            data[self.draw.randrange(len(data))] = self.draw.randrange(256)
        (folder / "run.npz").write_bytes(data)
        run = Run(folder, n_jobs=1)
        code, result, err = run.finish()
        if code and "CheckpointError" in err and "It was left as it is" in err:
            same = (folder / "run.npz").read_bytes() == data
            return "" if same else "the refused file was changed"
        return "" if result == self.expected else f"exit code {code}: {err[-300:]}"

    def scheduler(self) -> str:
        """The scheduler of a cluster is killed: an error in time, and the checkpoint goes on."""
        folder = self.folder()
        with cluster() as (address, process):
            run = Run(folder, scheduler=address)
            run.wait_until_busy()
            time.sleep(self.draw.uniform(0.0, 1.0))
            began = time.monotonic()
            process.kill()
            code, result, err = run.finish()
            seconds = time.monotonic() - began
        if not code and result == self.expected:
            return ""  # it had all its answers when the scheduler died
        if not code or "WorkersLostError" not in err or seconds > SCHEDULER_SECONDS:
            return f"exit code {code} after {seconds:.1f} s: {err[-300:]}"
        _, result, err = Run(folder).finish()
        return "" if result == self.expected else f"resumed: {err[-300:]}"


@contextlib.contextmanager
def cluster() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A Dask cluster of two workers, each part a process; its address, and the scheduler."""
    python = [sys.executable, "-m"]
    nowhere = subprocess.DEVNULL
    alone: dict[str, Any] = {"stdout": nowhere, "stderr": nowhere, "start_new_session": True}
    with tempfile.TemporaryDirectory() as name:
        told = Path(name) / "scheduler.json"
        address = ["--scheduler-file", str(told)]
        scheduler = subprocess.Popen(
            [*python, "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard", *address],
            **alone,
        )
        while not told.exists():
            time.sleep(0.05)
        worker = [*python, "distributed.cli.dask_worker", "--nworkers", "2", "--nthreads", "1"]
        workers = subprocess.Popen(
            [*worker, "--no-dashboard", "--local-directory", name, *address], **alone
        )
        try:
            yield json.loads(told.read_text())["address"], scheduler
        finally:
            for process in (workers, scheduler):
                # Workers that look for their scheduler do not listen to anything gentler.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


KINDS = (
    "killed", "stopped", "twice", "ended", "vanished", "shared", "damaged", "scheduler",
)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Cause the faults and print a line for each kind; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--scheduler", default="", help=argparse.SUPPRESS)
    parser.add_argument("--jobs", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child is not None:
        child(options.child, options.scheduler, options.jobs)
        return 0
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        faults = Faults(Path(name), random.Random(options.seed))
        print(f"without a fault: {faults.seconds:.1f} s")
        for kind in options.kinds or KINDS:
            cause: Callable[[], str] = getattr(faults, kind)
            wrong = [text for text in (cause() for _ in range(options.times)) if text]
            told = (cause.__doc__ or kind).rstrip(".")
            print(f"{options.times - len(wrong)} of {options.times}: {told}", flush=True)
            for text in wrong:
                print(f"    {text}", flush=True)
            bad += len(wrong)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
