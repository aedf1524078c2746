"""Whole checks: time, evaluations, memory, and how close the loop is to the cost's own time."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import fastgradcheck
from benchmarks import numpy_problems, timing
from benchmarks.problems import PROBLEMS, Problem
from fastgradcheck.evaluation import progress
from fastgradcheck.evaluation.engines.python import PythonEngine
from fastgradcheck.evaluation.plans import Stencils
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective
from fastgradcheck.report import html, text
from tests.cases.results import make_large, make_result

SMALL = ("loop_mlp", "recurrent", "convolution", "logistic_digits")
ALL = tuple(PROBLEMS)


def check(problem: Problem, **options: Any) -> fastgradcheck.GradcheckResult:
    """A check that must agree: a faster wrong answer is no progress."""
    cost, grad, theta, args = problem
    result = fastgradcheck.gradcheck(
        cost, grad, theta, args=args, seed=0, progress=False, **options
    )
    if not result:
        raise AssertionError(str(result))
    return result


class _Check:
    """One way to check, over problems; compiled in `setup`."""

    param_names = ("problem",)
    timeout = 300
    options: ClassVar[dict[str, Any]] = {}

    def setup(self, name: str) -> None:
        self.problem = PROBLEMS[name]()
        self.check()

    def check(self) -> fastgradcheck.GradcheckResult:
        return check(self.problem, **self.options)


class Components(_Check):
    """Every component, by central differences, on all cores; also thousands of a long sum."""

    params = (*SMALL, "rosenbrock")
    options: ClassVar = {"strategy": "components", "n_jobs": -1}

    def time_check(self, name: str) -> None:
        self.check()

    def track_evaluations(self, name: str) -> int:
        return self.check().evaluations


class Sample(_Check):
    """A tenth of the components."""

    params = ALL
    options: ClassVar = {"sample": 0.1}

    def time_check(self, name: str) -> None:
        self.check()


class Screen(_Check):
    """All of theta by directions."""

    params = ALL
    options: ClassVar = {"strategy": "screen"}

    def time_check(self, name: str) -> None:
        self.check()

    def track_evaluations(self, name: str) -> int:
        return self.check().evaluations


class Whole(_Check):
    """What a user gets without any option."""

    params = ALL

    def time_check(self, name: str) -> None:
        self.check()

    def track_evaluations(self, name: str) -> int:
        return self.check().evaluations


class Plain:
    """A short NumPy cost: what is not the cost shows here."""

    def setup(self) -> None:
        self.problem = numpy_problems.logistic()
        check(self.problem)

    def time_check(self) -> None:
        check(self.problem)

    def track_over_naive(self) -> float:
        """The whole check over the naive loop, in turns."""
        return timing.ratio(
            lambda: check(self.problem), lambda: timing.naive_loop(self.problem), repeats=7
        )

    track_over_naive.unit = "times the naive loop"


class Efficiency:
    """2 n t_J / (threads wall) of the component loop: 1 if nothing but the cost took time."""

    params = (SMALL, tuple(2**k for k in range(5) if 2**k <= (os.cpu_count() or 1)))
    param_names = ("problem", "threads")
    timeout = 300

    def track_efficiency(self, name: str, threads: int) -> float:
        return timing.efficiency(PROBLEMS[name](), threads).ideal

    def track_of_bare_loop(self, name: str, threads: int) -> float:
        return timing.efficiency(PROBLEMS[name](), threads).bare

    track_efficiency.unit = track_of_bare_loop.unit = "fraction of the ideal"

    def setup(self, name: str, threads: int) -> None:
        self.run = timing.component_loop(PROBLEMS[name](), threads)
        self.run()

    def time_loop(self, name: str, threads: int) -> None:
        self.run()


class Loop:
    """What the engines' own loop adds to an interpreted cost."""

    def setup(self) -> None:
        theta = np.zeros(5000)
        objective = Objective(lambda x: 0.0, (), describe(theta), theta)
        self.engine = PythonEngine(objective)
        self.plan = Stencils(np.arange(5000), theta[:, None] + np.array([1.0, -1.0]))

    def track_per_evaluation(self) -> float:
        """Measured: 0.3, the empty cost included; below 3, or something slow is in the loop."""
        points = self.plan.points.size
        return 1e6 * best(lambda: [None for _ in self.engine.evaluate(self.plan)]) / points

    track_per_evaluation.unit = "microseconds"


class Reports:
    """Reports on a million components: each takes less than a second."""

    def setup(self) -> None:
        self.result = make_large()
        # Compiles the template, once per process.
        html.to_html(make_result())

    def track_text(self) -> float:
        return best(lambda: text.render(self.result, width=100), repeats=1)

    def track_html(self) -> float:
        return best(lambda: html.to_html(self.result), repeats=1)

    track_text.unit = track_html.unit = "seconds of the processor"


class Display:
    """The progress bar: less than 0.01 of one processor."""

    def setup(self) -> None:
        first, latest = (
            progress.Progress("components", done, 1000, 2 * done, done / 50) for done in (0, 500)
        )
        self.pace = progress.Pace(first, latest)

    def track_share(self) -> float:
        """The time that drawing takes of the only processor, per second of checking."""
        with contextlib.redirect_stderr(Terminal()):
            face = progress._Bar()
            face.draw(self.pace, 0.0)
            used = best(lambda: [face.draw(self.pace, float(k)) for k in range(40)], repeats=1) / 40
            face.close()
        return used / progress.BAR_SECONDS

    track_share.unit = "of one processor"


class Terminal(io.StringIO):
    """Takes everything, as a terminal does."""

    def isatty(self) -> bool:
        return True


class Plugin:
    """Every run of pytest pays for the plugin's start: less than 5 ms."""

    code = (
        "import time, pytest, _pytest.config\n"
        "config = _pytest.config.get_config()\n"
        "began = time.process_time()\n"
        "import fastgradcheck_pytest as plugin\n"
        "plugin.pytest_addoption(config._parser)\n"
        "print(time.process_time() - began)\n"
    )

    def setup(self) -> None:
        self.sources = str(Path(fastgradcheck.__path__[0]).parent)

    def track_start(self) -> float:
        """With bytecode, as an installed plugin has it: the first of four runs writes it."""
        with tempfile.TemporaryDirectory() as folder:
            environment = {
                **os.environ,
                "PYTHONPATH": self.sources,
                "PYTHONDONTWRITEBYTECODE": "",
                "PYTHONPYCACHEPREFIX": folder,
            }
            run = [sys.executable, "-c", self.code]
            return 1e3 * min(
                float(subprocess.check_output(run, env=environment, text=True)) for _ in range(4)
            )

    track_start.unit = "milliseconds of the processor"


def best(work: Callable[[], object], repeats: int = 5) -> float:
    """The least processor's time of several runs: other processes do not count."""
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return min(seconds)


class Memory:
    """Peak of a process that checks, and of one that does everything but check."""

    def setup(self) -> None:
        self.problem = numpy_problems.mlp(1334, 16)
        self.problem.cost(self.problem.theta, *self.problem.args)
        self.problem.grad(self.problem.theta, *self.problem.args)

    def peakmem_empty(self) -> None:
        """The reference: the same imports, problem, cost and gradient."""
        check(numpy_problems.logistic(20, 10))

    def peakmem_screen(self) -> None:
        check(self.problem)

    def peakmem_components(self) -> None:
        check(self.problem, sample=0.02)
