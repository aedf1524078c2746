"""Fault injection: kill -9 a checkpointed check at random moments, resume it, compare.

``python -m studies.kill_and_resume --kills 20`` runs one check without any fault, then as many
again that are killed once each, at a moment drawn from the whole run, and started anew. Every
evaluation of J is counted outside the process, so that what a kill costs is measured and not
believed. The exit status is 1 if any resumed result differs in one bit, or if more evaluations
were repeated than 5 % of a run plus what the last seconds before the kill held.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastgradcheck import gradcheck
from fastgradcheck.evaluation.checkpoint import SAVE_SECONDS

SLACK_SECONDS = 0.5
"""Of evaluating that a kill may cost besides `SAVE_SECONDS`: the chunk in flight, and writing."""


def problem(rows: int, columns: int) -> tuple[Any, ...]:
    """Logistic loss and its gradient, one entry of which is wrong by 1 %."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((rows, columns))
    y = np.sign(rng.standard_normal(rows))
    theta = {"w": rng.standard_normal(columns) / np.sqrt(columns), "b": np.zeros(1)}

    def cost(t, x, y):
        return np.logaddexp(0.0, -y * (x @ t["w"] + t["b"][0])).mean()

    def grad(t, x, y):
        s = -y / (1.0 + np.exp(y * (x @ t["w"] + t["b"][0]))) / len(y)
        w = x.T @ s
        w[columns // 3] *= 1.01
        return {"w": w, "b": np.array([s.sum()])}

    return cost, grad, theta, (x, y)


def check(folder: Path, rows: int, columns: int) -> None:
    """The check, in a process of its own: leaves result.json and evaluations.bin in `folder`."""
    counter = np.memmap(folder / "evaluations.bin", np.int64, mode="r+", shape=(1,))
    cost, grad, theta, args = problem(rows, columns)

    def counted(*arguments):
        counter[0] += 1
        return cost(*arguments)

    result = gradcheck(
        counted,
        grad,
        theta,
        args=args,
        strategy="screen",
        sample=columns,
        checkpoint=folder / "run.npz",
        progress=False,
        seed=3,
    )
    plain = result.to_dict(components=True)
    for name in ("seconds", "remembered", "origin"):
        del plain[name]
    (folder / "result.json").write_text(json.dumps(plain, sort_keys=True))


def start(folder: Path, size: tuple[int, int]) -> subprocess.Popen[bytes]:
    """Begin, or go on with, the check in a folder."""
    folder.mkdir(exist_ok=True)
    counter = folder / "evaluations.bin"
    if not counter.exists():
        counter.write_bytes(bytes(8))
    module = [sys.executable, "-m", "studies.kill_and_resume"]
    sizes = [str(number) for number in size]
    return subprocess.Popen([*module, "--child", str(folder), "--size", *sizes])


def finish(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Wait for the end; the result as text."""
    if process.wait() != 0:
        raise SystemExit(f"the check in {folder} failed")
    return (folder / "result.json").read_text()


def evaluated(folder: Path) -> int:
    """How often J was evaluated, by all processes that ran in this folder."""
    return int(np.fromfile(folder / "evaluations.bin", np.int64)[0])


@dataclass(frozen=True)
class Kill:
    """What one kill came to.

    Attributes
    ----------
    moment : float
        Seconds after the start of the process.
    before, recent, total : int
        Evaluations until then, in the last seconds before it, and in the end.
    identical : bool
        Whether the result is that of the run without a fault.
    """

    moment: float
    before: int
    recent: int
    total: int
    identical: bool


def kill_once(folder: Path, size: tuple[int, int], moment: float, expected: str) -> Kill:
    """Kill a run after `moment` seconds and start it again."""
    process = start(folder, size)
    began, earlier = time.monotonic(), 0
    while (now := time.monotonic() - began) < moment:
        if now < moment - SAVE_SECONDS - SLACK_SECONDS:
            earlier = evaluated(folder)
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = evaluated(folder)
    result = finish(start(folder, size), folder)
    return Kill(moment, before, before - earlier, evaluated(folder), result == expected)


def main(argv: list[str] | None = None) -> int:
    """Do the kills and print a line for each; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--size", type=int, nargs=2, default=(1500, 3000), metavar=("ROWS", "N"))
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    size = options.size[0], options.size[1]
    if options.child is not None:
        check(options.child, *size)
        return 0
    with tempfile.TemporaryDirectory() as name:
        return _faults(Path(name), size, options.kills, random.Random(options.seed))


def _faults(root: Path, size: tuple[int, int], kills: int, draw: random.Random) -> int:
    began = time.monotonic()
    expected = finish(start(root / "whole", size), root / "whole")
    seconds, whole = time.monotonic() - began, evaluated(root / "whole")
    print(f"without a fault: {whole:,} evaluations, {seconds:.1f} s")
    bad = 0
    for number in range(kills):
        moment = draw.uniform(0.0, seconds)
        kill = kill_once(root / str(number), size, moment, expected)
        repeated = kill.total - whole
        good = kill.identical and repeated <= 0.05 * whole + kill.recent
        bad += not good
        print(
            f"killed after {kill.moment:5.1f} s, {kill.before:6,} evaluations: "
            f"{'identical' if kill.identical else 'DIFFERENT'}, "
            f"{repeated:5,} repeated ({100 * repeated / whole:.1f} %), "
            f"{kill.recent:,} in the last seconds",
            flush=True,
        )
    print(
        f"{kills - bad} of {kills} resumed runs are bit-identical and repeated at most 5 % and the "
        f"last {SAVE_SECONDS + SLACK_SECONDS:g} s"
    )
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
