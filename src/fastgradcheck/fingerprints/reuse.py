"""Checks that take their values of J from an earlier run, where it is the same J."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fastgradcheck.check import gradcheck
from fastgradcheck.errors import FingerprintError
from fastgradcheck.evaluation.checkpoint import SAME_VALUE
from fastgradcheck.fingerprints.fingerprint import (
    Fingerprint,
    fingerprint,
    load_fingerprint,
    source_of,
)
from fastgradcheck.result import GradcheckResult

SUBJECT = frozenset({"args", "layout"})
TOLERANCES = frozenset({"threshold", "rtol"})
MEASURING = frozenset({"seed", "engine", "n_jobs", "progress"})
"""Options of a check that recorded directions can answer; one with others is made anew."""


def check_reusing(
    path: Path, cost: Callable[..., Any], grad: Any, theta: Any, **options: Any
) -> GradcheckResult:
    """Check a gradient beside the values in a file; measure them if they are not of this J.

    They are taken if the source of the cost, theta, args and J(theta) are the same as then. A
    gradient that does not agree with them is checked anew, with all that a check can tell.

    Parameters
    ----------
    path : Path
        Written if it is not there, or of something else.
    cost, grad, theta, **options
        As in `gradcheck`.
    """
    if grad is True or set(options) - SUBJECT - TOLERANCES - MEASURING:
        return gradcheck(cost, grad, theta, **options)
    subject = {name: options[name] for name in options if name in SUBJECT}
    tolerances = {name: options[name] for name in options if name in TOLERANCES}
    measuring = {name: options[name] for name in options if name in MEASURING}
    known = _of_the_same(path, cost, theta, subject)
    found_there = known is not None
    if known is None:
        known = fingerprint(cost, theta, **subject, **measuring)
        path.parent.mkdir(parents=True, exist_ok=True)
        known.save(path)
    result = known.check(grad, theta=theta, **subject, **tolerances)
    if result and not found_there:
        told = tuple(f for f in result.findings if f.kind != "fingerprint")
        return replace(result, evaluations=known.evaluations, findings=told)
    return result or gradcheck(cost, grad, theta, **options)


def _of_the_same(
    path: Path, cost: Callable[..., Any], theta: Any, subject: dict[str, Any]
) -> Fingerprint | None:
    """The fingerprint in a file, if it is of this cost at this theta."""
    try:
        known = load_fingerprint(path)
        known.compared(theta, subject.get("args", ()), subject.get("layout"))
    except (FileNotFoundError, FingerprintError):
        return None
    args = subject.get("args", ())
    value = float(np.asarray(cost(theta, *(args if isinstance(args, tuple) else (args,)))))
    then = known.recording.value
    same = known.source == source_of(cost) != "" and abs(value - then) <= SAME_VALUE * abs(then)
    return known if same else None
