"""A claim for a sum of sines, and differences of it that are stated, not evaluated."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastgradcheck.differences.components import of_differences
from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.problem.problem import Problem
from fastgradcheck.search.task import Task
from tests.cases.contexts import context_of, with_noise
from tests.cases.evidence import TOLERANCE


def task_of(wrong: dict[int, float], n: int = 50) -> Task:
    """A claim that is off by so much in these entries."""
    theta = np.linspace(0.1, 1.4, n)
    context = with_noise(context_of(lambda t: float(np.sin(t).sum()), theta))
    gradient = np.cos(theta)
    for i, error in wrong.items():
        gradient[i] += error
    problem = Problem(context.stream.engine.objective, gradient, 2.0**-52, context.value)
    return Task(context, problem, TOLERANCE, sample=None, screens=False)


def measured(task: Task, bar: float, off: tuple[int, ...] = ()) -> Evidence:
    """Differences of all components with this provisional bar, wrong themselves in some."""
    slopes = np.cos(task.problem.theta)
    slopes[list(off)] += 0.1
    index = np.arange(len(slopes))
    return Evidence(components=of_differences(index, slopes, np.full(len(index), bar)))


def last(stages: Iterator[Evidence], start: Evidence) -> Evidence:
    for latest in stages:
        start = latest
    return start
