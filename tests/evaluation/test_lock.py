"""One check at a time: threads, processes, a killed one, and file systems without locks."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fastgradcheck.evaluation import lock
from fastgradcheck.evaluation.lock import FileLock, Held

HOLD = """
import sys, time
from pathlib import Path
from fastgradcheck.evaluation.lock import FileLock
held = FileLock(Path(sys.argv[1]))
held.acquire()
print("held", flush=True)
time.sleep(600)
"""


def test_the_second_of_one_process_is_told_who_has_it(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "run.npz"), FileLock(tmp_path / "run.npz")
    first.acquire()
    with pytest.raises(Held, match=rf"^process {os.getpid()} on this machine$"):
        second.acquire()
    # The attempt took nothing from the first one.
    with pytest.raises(Held):
        second.acquire()
    second.release()
    assert (tmp_path / "run.npz.lock").exists()
    first.release()
    assert not list(tmp_path.iterdir())
    second.acquire()
    second.release()


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        mine = FileLock(path)
        with pytest.raises(Held, match=rf"^process {process.pid} on this machine$"):
            mine.acquire()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        mine.acquire()
        assert path.with_name("run.npz.lock").read_text().startswith(f"{os.getpid()} ")
        mine.release()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_takes_nothing_along(tmp_path: Path) -> None:
    held = FileLock(tmp_path / "run.npz")
    held.acquire()
    child = subprocess.run(
        [sys.executable, "-c", HOLD, str(tmp_path / "run.npz")], capture_output=True, check=False
    )
    assert b"Held" in child.stderr
    with pytest.raises(Held):
        FileLock(tmp_path / "run.npz").acquire()
    held.release()


def test_never_two_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        mine = FileLock(tmp_path / "run.npz")
        for _ in range(200):
            try:
                mine.acquire()
            except Held:
                continue
            inside.append(1)
            most.append(len(inside))
            inside.pop()
            mine.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_a_file_that_its_former_owner_removed_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = FileLock(tmp_path / "run.npz")
    take, rounds = lock._lock, []

    def slowly(file: object) -> None:
        take(file)  # type: ignore[arg-type]
        rounds.append(file)
        if len(rounds) == 1:
            mine.path.unlink()

    monkeypatch.setattr(lock, "_lock", slowly)
    mine.acquire()
    assert len(rounds) == 2
    assert mine.path.exists()
    mine.release()


def test_a_file_system_without_locks_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock, "_lock", refuse)
    mine = FileLock(tmp_path / "run.npz")
    mine.acquire()
    assert not mine.supported
    mine.release()
    assert not list(tmp_path.iterdir())


def test_no_folder_no_lock(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileLock(tmp_path / "nowhere" / "run.npz").acquire()
