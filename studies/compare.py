"""fastgradcheck beside its peers, on this machine, written into docs/performance.md.

``python -m studies.compare`` measures everything and takes a quarter of an hour; with the names
of sections, only these. Tools take turns, a round at a time, so that other work on the machine
meets all of them; a table gives medians over the rounds. torch and jax take part if installed.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from joblib.externals.loky import get_reusable_executor

from benchmarks import cold, numpy_problems, problems, timing
from benchmarks.problems import Problem
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from studies import peers, tables
from studies.peers import Answer, Tool

PAGE = tables.ROOT / "docs" / "performance.md"
PATIENCE = 20.0
"""Seconds: what takes longer is run once, and the table says so."""
OFF = 1e-3
"""The planted error, in units of the larger of the entry's own size and the median of all."""
TRIALS = 10
"""Places that it is planted at, one after the other; one place only for tools that take long."""
SHARE = 0.05
"""The part of the components that very long loops are timed on, spread over theta."""

PROBLEMS: dict[str, tuple[str, Callable[[], Problem]]] = {
    "recurrent": ("Recurrent network over 50 steps, njit", problems.recurrent_by_columns),
    "convolution": ("Convolution, njit", problems.convolution),
    "logistic_digits": ("Logistic regression on the digits, njit", problems.logistic_digits),
    "loop_mlp": ("64-32-10 network in loops, njit", problems.loop_mlp),
    "logistic": ("Logistic regression, NumPy", numpy_problems.logistic),
    "mlp": ("64-128-10 network, NumPy", numpy_problems.mlp),
}


def wide() -> Problem:
    """64-1334-10, NumPy, n = 100,060, 16 examples."""
    return numpy_problems.mlp(1334, 16)


@dataclass
class Row:
    """What is known of a tool on a problem."""

    tool: Tool
    right: Answer
    caught: tuple[bool, ...]
    named: tuple[bool, ...]
    evaluations: int
    walls: list[float] = field(default_factory=list)

    @property
    def wall(self) -> float:
        return statistics.median(self.walls)

    @property
    def seconds(self) -> str:
        return duration(self.wall) + (" (once)" if len(self.walls) == 1 else "")


def duration(seconds: float) -> str:
    """Three digits, in the unit that suits."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def planted(problem: Problem, trial: int = 0) -> tuple[Problem, int]:
    """The problem with one entry of its gradient off, and which."""
    size = np.abs(problem.grad(problem.theta, *problem.args))
    place = int(np.random.default_rng(trial).integers(size.size))
    error = OFF * max(size[place], float(np.median(size)))

    def grad(theta, *args):
        out = problem.grad(theta, *args)
        out[place] += error
        return out

    return problem._replace(grad=grad), place


def examined(tool: Tool, problem: Problem) -> Row:
    """A run on the right gradient, which counts evaluations, and others on broken ones."""
    counted = peers.Counted(problem.cost)
    ours = tool.package == "fastgradcheck"
    peers.quietly(tool, numpy_problems.logistic(20, 10))  # imports what it needs
    began = time.perf_counter()
    right = peers.quietly(tool, problem if ours else problem._replace(cost=counted))
    quick = time.perf_counter() - began < PATIENCE / TRIALS
    evaluations = counted.calls if right.evaluations is None else right.evaluations
    wrong = []
    for trial in range(TRIALS if quick else 1):
        broken, place = planted(problem, trial)
        answer = peers.quietly(tool, broken)
        wrong.append((not answer.passed, not answer.passed and answer.named == (place,)))
    caught, named = zip(*wrong, strict=True)
    return Row(tool, right, caught, named, evaluations)


def in_turns(rows: Sequence[Row], problem: Problem, rounds: int) -> None:
    """Time all tools, round by round."""
    for turn in range(rounds):
        for row in rows:
            if turn == 0 or row.walls[0] < PATIENCE:
                row.walls.append(timing.seconds(lambda row=row: peers.quietly(row.tool, problem)))


def megabytes(key: str, tool: Tool) -> str:
    """Peak memory that a check adds in a new process, its workers included."""
    done = subprocess.run(
        [sys.executable, "-m", "studies.compare", "--memory", key, tool.name],
        capture_output=True,
        text=True,
    )
    return f"{json.loads(done.stdout):.1f} MB" if done.returncode == 0 else "failed"


def memory(key: str, name: str) -> float:
    """The same in this process, which has not checked anything yet."""
    problem = PROBLEMS[key][1]()
    problem.cost(problem.theta, *problem.args)
    problem.grad(problem.theta, *problem.args)
    tool = next(t for t in (peers.OURS, peers.EVERY, *peers.PEERS) if t.name == name)
    peers.quietly(tool, numpy_problems.logistic(20, 10))  # imports are no part of it
    peaks = Path("/proc/self/clear_refs")
    if peaks.exists():
        peaks.write_text("5")  # forgets the peak of the imports
    before = peak()
    peers.quietly(tool, problem)
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return peak() - before + children


def peak() -> float:
    """Peak resident memory of this process in MB.

    Not from getrusage where it can be helped: of a child, that counts its parent's as well.
    """
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def side_by_side(key: str, rounds: int, tools: Sequence[Tool]) -> str:
    """The table of one problem."""
    title, make = PROBLEMS[key]
    problem = make()
    rows = [examined(tool, problem) for tool in tools]
    in_turns(rows, problem, rounds)
    ours = rows[0].wall
    lines = [
        [
            row.tool.label,
            row.seconds,
            f"{row.wall / ours:.3g}",
            f"{row.evaluations:,}",
            "none" if row.right.relative is None else f"{row.right.relative:.0e}",
            *verdicts(row),
            megabytes(key, row.tool),
        ]
        for row in rows
    ]
    size = problem.theta.size
    head = f"### {title}, n = {size:,}, t_J = {duration(timing.per_evaluation(problem))}"
    heads = ("tool", "time", "x ours", "evaluations", "relative difference", *VERDICTS, "memory")
    return f"{head}\n\n{tables.table(heads, lines)}\n\n{losses(rows)}"


VERDICTS = ("right gradient", "one entry off by 0.1 %", "names it")


def verdicts(row: Row) -> tuple[str, str, str]:
    """What the tool says of right and wrong gradients, and whether it points at the entry alone."""
    named = "yes" if row.tool.package == "fastgradcheck" else "argmax"
    caught = f"caught {sum(row.caught)} of {len(row.caught)}"
    return (
        "passes" if row.right.passed else "**refused**",
        caught if all(row.caught) else f"**{caught}**",
        named if all(row.named) else f"{sum(row.named)} times" if any(row.named) else "no",
    )


def losses(rows: Sequence[Row]) -> str:
    """Who was faster, by how much, and why."""
    ours = rows[0].wall
    faster = [
        f"{row.tool.name} takes {row.wall / ours:.2g} of our time: {row.tool.reason}"
        for row in rows
        if row.wall < ours and row.tool.package != "fastgradcheck"
    ]
    return f"Where we lose: {'; '.join(faster)}." if faster else "Nothing was faster."


def tools(rounds: int) -> str:
    """The tables of all problems."""
    found = tuple(peers.installed(peers.PEERS))
    parts = []
    for key, (_, make) in PROBLEMS.items():
        size = make().theta.size
        ours = (peers.OURS,) if size <= 2000 else (peers.OURS, peers.EVERY)
        able = (tool for tool in found if size <= tool.most)
        parts.append(side_by_side(key, rounds, (*ours, *able)))
    return "\n\n".join(parts)


LOOPS: dict[str, dict[str, Callable[[], Problem]]] = {
    "recurrent": {
        "NumPy, a line per step and sequence": numpy_problems.recurrent_by_sequence,
        "NumPy, a line per step for all sequences": numpy_problems.recurrent,
    },
    "convolution": {"NumPy, a line per pixel for all images": numpy_problems.convolution},
}


def loops(rounds: int) -> str:
    """The component loop, and a whole check, against the naive loop over the same cost in NumPy."""
    lines = []
    for name, twins in LOOPS.items():
        compiled = PROBLEMS[name][1]()
        plain = compiled._replace(cost=numpy_problems.interpreted(compiled.cost))
        naive = {"plain Python": (plain, SHARE)}
        naive |= {kind: (make(), 1.0) for kind, make in twins.items()}
        naive |= {"the same njit cost": (compiled, 1.0)}
        runs: dict[str, Callable[[], float]] = {
            "loop": functools.partial(
                timing.seconds, timing.component_loop(compiled, threads_here()[-1])
            ),
            "check": functools.partial(
                timing.seconds, functools.partial(peers.quietly, peers.EVERY, compiled)
            ),
        }
        runs |= {
            kind: functools.partial(naive_seconds, problem, share)
            for kind, (problem, share) in naive.items()
        }
        walls = medians(runs, rounds)
        lines += [
            [
                PROBLEMS[name][0],
                f"{kind}, t_J = {duration(timing.per_evaluation(problem, 1))}",
                duration(walls[kind]),
                duration(walls["loop"]),
                f"**{walls[kind] / walls['loop']:.3g}**",
                duration(walls["check"]),
                f"**{walls[kind] / walls['check']:.3g}**",
            ]
            for kind, (problem, _) in naive.items()
        ]
    lines += numpy_loops(rounds)
    heads = ("problem", "naive loop over", "naive", "our loop", "times faster")
    return tables.table((*heads, "whole check", "times faster"), lines)


def medians(runs: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Of seconds that runs in turns take, after one that does not count."""
    for name in ("loop", "check"):
        runs[name]()
    walls = [{name: run() for name, run in runs.items()} for _ in range(rounds)]
    return {name: statistics.median(turn[name] for turn in walls) for name in runs}


def naive_seconds(problem: Problem, share: float = 1.0) -> float:
    """The naive loop, timed on a share of the components."""
    index = range(0, problem.theta.size, round(1 / share))
    with one_blas_thread():
        seconds = timing.seconds(lambda: timing.naive_gradient(problem, index))
    return seconds * problem.theta.size / len(index)


def numpy_loops(rounds: int) -> Iterator[list[str]]:
    """Whole checks of NumPy costs, where cores are all there is to gain.

    They are asked for by `n_jobs`: without it a Python cost stays in one process.
    """
    cores = threads_here()[-1]
    for name, problem, share, turns, workers, started in (
        ("Logistic regression, NumPy", numpy_problems.logistic(), 1.0, 3 * rounds, None, False),
        ("64-128-10 network, NumPy", numpy_problems.mlp(), 1.0, rounds, None, False),
        ("64-128-10 network, NumPy", numpy_problems.mlp(), 1.0, rounds, cores, True),
        ("64-1334-10 network, NumPy", wide(), SHARE, 1, cores, False),
    ):
        naive, ours, engine = [], [], ""
        if started:
            engine_of(problem, workers)
        for _ in range(turns):
            naive.append(naive_seconds(problem, share))
            if not started:
                get_reusable_executor().shutdown()
            began = time.perf_counter()
            engine = engine_of(problem, workers)
            ours.append(time.perf_counter() - began)
        yield [
            f"{name}, n = {problem.theta.size:,}",
            f"the same cost, t_J = {duration(timing.per_evaluation(problem, 1))}",
            duration(statistics.median(naive)),
            "",
            "",
            f"{duration(statistics.median(ours))} ({engine}{', started before' * started})",
            f"**{statistics.median(naive) / statistics.median(ours):.3g}**",
        ]


def engine_of(problem: Problem, n_jobs: int | None = None) -> str:
    """Check every component, and tell what did it."""
    import fastgradcheck as fgc

    cost, grad, theta, args = problem
    options = {"strategy": "components", "progress": False, "seed": 0, "n_jobs": n_jobs}
    result = fgc.gradcheck(cost, grad, theta, args=args, **options)
    if not result:
        raise SystemExit(str(result))
    return f"{result.n_jobs} at a time" if result.n_jobs > 1 else "one at a time"


def efficiency(rounds: int) -> str:
    """How much of the cores the engine's loop turns into evaluations."""
    lines = []
    for name in ("recurrent", "convolution", "logistic_digits", "loop_mlp"):
        problem = PROBLEMS[name][1]()
        shares = [timing.efficiency(problem, threads, 3 * rounds) for threads in threads_here()]
        lines.append(
            [
                PROBLEMS[name][0],
                duration(timing.per_evaluation(problem)),
                *(f"{share.ideal:.3f}" for share in shares),
                *(f"{share.bare:.3f}" for share in shares),
            ]
        )
    heads = [f"{k} thread{'s' if k > 1 else ''}" for k in threads_here()]
    bare = [f"{head}, against bare loops" for head in heads]
    return tables.table(("problem", "t_J", *heads, *bare), lines)


def threads_here() -> list[int]:
    """1, 2, 4, ... up to the cores of this machine."""
    cores = os.cpu_count() or 1
    return [2**k for k in range(cores.bit_length()) if 2**k <= cores]


def start(rounds: int) -> str:
    """The first check of a new process."""
    empty, warm = cold.cold_and_warm(max(rounds, 3))
    imports = statistics.median(cold.import_seconds() for _ in range(max(rounds, 3)))

    def line(name: str, starts: Sequence[cold.Start]) -> list[str]:
        def median(get: Callable[[cold.Start], float]) -> str:
            return duration(statistics.median(map(get, starts)))

        return [
            name,
            median(lambda s: s.numba),
            median(lambda s: s.cost),
            median(lambda s: s.overhead),
            median(lambda s: s.second),
        ]

    heads = ("kernel cache", "`import numba`", "the user's cost", "ours", "second check")
    table = tables.table(heads, [line("empty", [empty]), line("warm", warm)])
    return f"`import fastgradcheck`: {duration(imports)}.\n\n{table}"


def large(rounds: int) -> str:
    """All of theta in a few hundred evaluations, against loops over its components."""
    problem = wide()
    directional = (peers.AUTOGRAD, peers.TORCH_FAST, peers.JAX)
    rows = [examined(t, problem) for t in (peers.OURS, *peers.installed(directional))]
    in_turns(rows, problem, rounds)
    ours = rows[0].wall
    loop = Row(peers.CHECK_GRAD, Answer(True), (), (), problem.theta.size + 1)
    in_turns([loop], problem, 1)
    naive = naive_seconds(problem, SHARE)
    lines = [
        [
            row.tool.label,
            row.seconds,
            f"{row.wall / ours:.3g}",
            f"{row.evaluations:,}",
            *verdicts(row),
        ]
        for row in rows
    ]
    for name, seconds, count in (
        (peers.CHECK_GRAD.label, loop.wall, problem.theta.size + 1),
        (f"naive loop (from {SHARE:.0%} of it)", naive, 2 * problem.theta.size),
    ):
        lines.append([name, duration(seconds), f"{seconds / ours:.3g}", f"{count:,}", "", "", ""])
    heads = ("tool", "time", "x ours", "evaluations", *VERDICTS)
    return (
        f"64-1334-10 network in NumPy, n = {problem.theta.size:,}, "
        f"t_J = {duration(timing.per_evaluation(problem))}.\n\n"
        f"{tables.table(heads, lines)}\n\n{losses(rows)}"
    )


def machine() -> str:
    """Where and with what the figures were taken."""
    import numba

    from fastgradcheck.cli.doctor import usable_cores

    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text().splitlines()
        model = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), model)
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return (
        f"{usable_cores():g} cores, {model}; Python {platform.python_version()}, "
        f"NumPy {np.__version__}, Numba {numba.__version__}; "
        f"{time.strftime('%Y-%m-%d')}{load}."
    )


SECTIONS: dict[str, Callable[[int], str]] = {
    "start": start,
    "efficiency": efficiency,
    "loops": loops,
    "large": large,
    "tools": tools,
}


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", help=", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.memory:
        print(json.dumps(memory(*options.memory)))
        return 0
    for section in options.sections or SECTIONS:
        where = machine()
        text = f"{SECTIONS[section](options.rounds)}\n\n*{where}*"
        print(text, flush=True)
        tables.write(section, text, options.page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
