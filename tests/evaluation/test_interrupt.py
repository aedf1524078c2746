"""Ctrl-C: real signals to real processes, and the handler by itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from fastgradcheck import Verdict, check_points, gradcheck
from fastgradcheck.evaluation import archive
from fastgradcheck.evaluation.interrupt import Interrupts

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
PREAMBLE = """
import json, os, signal, socket, sys, threading, time
import numpy as np
import fastgradcheck as fgc

FOLDER = os.path.dirname(os.path.abspath(__file__))

def sleepy(theta):
    # From the moment on at which Ctrl-C may be pressed, one evaluation takes a minute, but for the
    # last one of the check, which is at theta itself.
    moved = (theta != np.linspace(1.0, 2.0, len(theta))).any()
    slow = moved and os.path.exists(os.path.join(FOLDER, "told"))
    time.sleep(60.0 if slow else 0.2)
    return float((theta**2).sum())

def busy(theta):
    s = 0.0
    for k in range(3000):
        s += theta[k % len(theta)] ** 2
    return s / 3000 + float((theta**2).sum())

def tell(event):
    # The parent presses Ctrl-C once it has read this line.
    if event.stage == STAGE and event.evaluations > 5 and not told:
        told.append(event)
        open(os.path.join(FOLDER, "told"), "w").close()
        print("running", flush=True)

told = []
STAGE = "components"

# A byte arrives with the signal, whatever the main thread is doing: from then on the processor's
# time of this process is counted, which other processes do not lengthen.
reader, writer = socket.socketpair()
writer.setblocking(False)
pressed = []

def watch():
    reader.recv(1)
    pressed.append(time.process_time())

if __name__ == "__main__":
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
"""


CHECK = """
if __name__ == "__main__":
    result = fgc.gradcheck(
        {cost}, lambda t: 2 * t, np.linspace(1.0, 2.0, {n}), seed=1, strategy="components",
        progress=tell, {options}
    )
    returned = time.process_time()
    watcher.join(10)
    print(json.dumps({{
        "seconds": returned - pressed[0],
        "interrupted": result.interrupted,
        "kinds": [f.kind for f in result.findings],
        "checked": len(result.components),
        "coverage": result.coverage,
        "evaluations": result.evaluations,
    }}))
"""


NJIT = """
import numba

@numba.njit
def compiled(theta):
    s = 0.0
    for k in range(200):
        for x in theta:
            s += x * x
    return s / 200
"""


class Run:
    """A script in a process whose Ctrl-C is that of a terminal."""

    def __init__(self, script: str, folder: Path) -> None:
        path = folder / "script.py"
        path.write_text(textwrap.dedent(script))
        self.process = subprocess.Popen(
            [sys.executable, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "running\n", self.process.communicate()[1]

    def press(self) -> None:
        """Ctrl-C: to every process of the terminal, as a terminal does it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def finish(self) -> tuple[str, str]:
        return self.process.communicate(timeout=20)


CASES = [
    pytest.param("busy", "", id="python"),
    pytest.param("busy", "n_jobs=2", id="processes"),
    pytest.param("compiled", "n_jobs=2", id="njit"),
]


@pytest.mark.parametrize(("cost", "options"), CASES)
def test_ctrl_c_stops_within_a_second_and_returns_what_there_is(
    cost: str, options: str, tmp_path: Path
) -> None:
    script = PREAMBLE + (NJIT if cost == "compiled" else "")
    run = Run(script + CHECK.format(cost=cost, n=20_000, options=options), tmp_path)
    time.sleep(0.3)
    run.press()
    out, err = run.finish()
    told = json.loads(out)
    assert told["interrupted"], err
    assert told["kinds"].count("interrupted") == 1
    assert 0 < told["checked"] < 20_000
    assert f"{told['checked']:,} of 20,000 components" in told["coverage"]
    assert told["seconds"] < 1.0
    assert "Traceback" not in err


@pytest.mark.parametrize("options", ["", "n_jobs=2"], ids=["python", "processes"])
def test_ctrl_c_does_not_wait_for_a_slow_evaluation(options: str, tmp_path: Path) -> None:
    script = PREAMBLE + 'STAGE = "noise"\n' + CHECK.format(cost="sleepy", n=3, options=options)
    run = Run(script, tmp_path)
    time.sleep(0.3)
    run.press()
    out, err = run.finish()
    told = json.loads(out)
    assert told["interrupted"], err
    assert 5 < told["evaluations"] < 12
    assert "No component was checked" in told["coverage"]
    assert told["seconds"] < 1.0  # and `finish` does not wait for the minute


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /dev/shm")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_stop_leaves_no_files_of_workers_behind(number: signal.Signals, tmp_path: Path) -> None:
    # Arrays of more than a megabyte reach processes as files in shared memory.
    script = PREAMBLE + CHECK.format(cost="big", n=20_000, options="n_jobs=2, args=(DATA,)")
    big = "DATA = np.ones(200_000)\n\ndef big(theta, x):\n    return busy(theta)\n\ndef tell"
    script = script.replace("def tell", big).replace("lambda t: 2 * t,", "lambda t, x: 2 * t,")
    run = Run(script, tmp_path)

    def left() -> list[str]:
        return [path.name for path in Path("/dev/shm").glob(f"*[-_]{run.process.pid}[-_]*")]

    def wait_until(there: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not there():
            assert time.monotonic() < deadline, left()
            time.sleep(0.05)

    wait_until(lambda: any("memmapping" in name for name in left()))
    os.kill(run.process.pid, number)
    out, err = run.finish()
    assert run.process.returncode == (143 if number == signal.SIGTERM else 0), err
    assert ("interrupted" in out) == (number == signal.SIGINT)
    # The process that cleans up does so after the end of ours.
    wait_until(lambda: not left())


def test_the_second_ctrl_c_raises(tmp_path: Path) -> None:
    # Judging goes on after the first one: it is made slow, so that the second hits it.
    slow = """
    from fastgradcheck.verdict import rules
    judged = rules.judge
    def slowly(*args):
        print("judging", flush=True)
        time.sleep(60)  # longer than `finish` waits
        return judged(*args)
    rules.judge = slowly
    """
    script = PREAMBLE + textwrap.dedent(slow) + CHECK.format(cost="busy", n=20_000, options="")
    run = Run(script, tmp_path)
    run.press()
    assert run.process.stdout is not None
    assert run.process.stdout.readline() == "judging\n"
    run.press()
    out, err = run.finish()
    assert "KeyboardInterrupt" in err
    assert out == ""


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_elsewhere_the_first_press_is_only_noted_and_the_second_raises() -> None:
    with Interrupts() as interrupts:
        press()
        assert interrupts.pressed
        with pytest.raises(KeyboardInterrupt):
            press()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_where_it_is_armed_the_first_press_raises() -> None:
    with Interrupts() as interrupts:
        interrupts.armed = True
        with pytest.raises(KeyboardInterrupt):
            press()
    assert interrupts.pressed


@contextmanager
def handled_by(handler: signal.Handlers) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_handler_of_the_application_is_left_alone() -> None:
    with handled_by(signal.SIG_IGN):
        with Interrupts() as interrupts:
            press()
            assert not interrupts.pressed
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_asks_the_process_to_end_stops_the_check_and_is_passed_on(
    number: signal.Signals, tmp_path: Path
) -> None:
    calls = []

    def cost(theta: np.ndarray) -> float:
        calls.append(None)
        if len(calls) == 400:
            signal.raise_signal(number)
        return cubes(theta)

    def check() -> object:
        return gradcheck(
            cost,
            lambda t: 3 * t**2,
            np.linspace(1.0, 2.0, 300),
            seed=1,
            checkpoint=tmp_path / "run.npz",
        )

    assert signal.getsignal(number) is signal.SIG_DFL
    with pytest.raises(SystemExit) as caught:
        check()
    assert caught.value.code == 128 + number
    assert len(calls) <= 401  # the last one sees what the check has done to the cost
    assert signal.getsignal(number) is signal.SIG_DFL
    # What came before it is in the checkpoint, and nothing but the checkpoint is there.
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]
    result = check()
    assert result.verdict is Verdict.AGREES  # type: ignore[attr-defined]
    assert result.remembered > 0  # type: ignore[attr-defined]


def test_a_signal_while_the_checkpoint_is_closed_does_not_spoil_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = archive.write

    def slowly(path: Path, *args: object) -> None:
        if not asked and len(calls) > 1000:
            asked.append(None)
            signal.raise_signal(signal.SIGTERM)
        write(path, *args)  # type: ignore[arg-type]

    def cost(theta: np.ndarray) -> float:
        calls.append(None)
        return cubes(theta)

    calls: list[None] = []
    asked: list[None] = []
    monkeypatch.setattr(archive, "write", slowly)
    path = tmp_path / "run.npz"
    theta = np.linspace(1.0, 2.0, 1000)
    with pytest.raises(SystemExit):
        gradcheck(cost, lambda t: 3 * t**2, theta, seed=1, checkpoint=path)
    assert asked
    whole = len(calls)
    gradcheck(cost, lambda t: 3 * t**2, theta, seed=1, checkpoint=path)
    assert len(calls) - whole < 10


def test_other_threads_have_no_handler_to_install() -> None:
    entered = []

    def enter() -> None:
        with Interrupts() as interrupts:
            entered.append(interrupts)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert len(entered) == 1


def cubes(theta: np.ndarray) -> float:
    return float((theta**3).sum())


def test_a_press_inside_the_cost_keeps_what_came_before() -> None:
    calls = []

    def cost(theta: np.ndarray) -> float:
        calls.append(None)
        if len(calls) == 400:
            press()
        return cubes(theta)

    result = gradcheck(cost, lambda t: 3 * t**2, np.linspace(1.0, 2.0, 2000), seed=1)
    assert result.interrupted
    assert len(calls) <= 401
    assert "interrupted" in [f.kind for f in result.findings]


def test_a_cost_that_swallows_ctrl_c_cannot_go_on() -> None:
    calls = []

    def cost(theta: np.ndarray) -> float:
        calls.append(None)
        if len(calls) == 400:
            with suppress(KeyboardInterrupt):
                press()
        time.sleep(1e-4)
        return cubes(theta)

    result = gradcheck(
        cost, lambda t: 3 * t**2, np.linspace(1, 2, 2000), strategy="components", seed=1
    )
    assert result.interrupted
    assert len(calls) < 4000


def test_points_after_an_interrupted_one_are_not_begun() -> None:
    class Cost:
        calls = 0  # the first ones belong to the inspection of the cost

        def __call__(self, theta: np.ndarray) -> float:
            self.calls += theta[0] > 5
            if self.calls == 10:
                press()
            return cubes(theta)

    points = {"a": np.array([1.0]), "b": np.array([9.0]), "c": np.array([2.0])}
    results = check_points(Cost(), lambda t: 3 * t**2, points, seed=1)
    assert list(results) == ["a", "b"]
    assert results["a"].verdict is Verdict.AGREES
    assert results["b"].interrupted
