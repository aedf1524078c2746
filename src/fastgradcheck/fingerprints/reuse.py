"""Checks that take their values from an earlier run, where they are of the same function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastgradcheck.check import gradcheck
from fastgradcheck.errors import FingerprintError
from fastgradcheck.fingerprints.fingerprint import Fingerprint, fingerprint
from fastgradcheck.fingerprints.jacobian import (
    JacobianFingerprint,
    hessian_fingerprint,
    jacobian_fingerprint,
)
from fastgradcheck.fingerprints.load import load_fingerprint
from fastgradcheck.fingerprints.taken import source_of
from fastgradcheck.jacobians.check import hesscheck, jaccheck
from fastgradcheck.result import GradcheckResult

MEASURING = frozenset({"seed", "engine", "n_jobs", "progress"})
"""Options of a check that recorded directions can answer; one with others is made anew."""


@dataclass(frozen=True)
class Reusable:
    """A check that recorded values can answer.

    Attributes
    ----------
    check, taken : callable
        The check, and what takes the fingerprint.
    subject : frozenset of str
        Options that tell what is checked ...
    judging : frozenset of str
        ... and by what, and in which form.
    """

    check: Callable[..., GradcheckResult]
    taken: Callable[..., Fingerprint | JacobianFingerprint]
    subject: frozenset[str] = frozenset({"args", "layout"})
    judging: frozenset[str] = frozenset({"threshold", "rtol"})


_ROWS = frozenset({"threshold", "rtol", "form"})
REUSABLE = {
    "gradient": Reusable(gradcheck, fingerprint),
    "Jacobian": Reusable(
        jaccheck, jacobian_fingerprint, frozenset({"args", "layout", "outputs"}), _ROWS
    ),
    "Hessian": Reusable(hesscheck, hessian_fingerprint, judging=_ROWS),
}


def check_reusing(
    path: Path,
    kind: str,
    function: Callable[..., Any],
    claim: Any,
    theta: Any,
    **options: Any,
) -> GradcheckResult:
    """Check a derivative beside the values in a file; measure them if they are of something else.

    They are taken if the source of the function, theta, args and the value at theta are the same
    as then. What does not agree with them is checked anew, with all that a check can tell.

    Parameters
    ----------
    path : Path
        Written if it is not there, or of something else.
    kind : {"gradient", "Jacobian", "Hessian"}
    function, claim, theta, **options
        As in the check.
    """
    how = REUSABLE[kind]
    if claim is True or set(options) - how.subject - how.judging - MEASURING:
        return how.check(function, claim, theta, **options)
    subject = {name: options[name] for name in options if name in how.subject}
    judging = {name: options[name] for name in options if name in how.judging}
    measuring = {name: options[name] for name in options if name in MEASURING}
    known = _of_the_same(path, kind, function, theta, subject)
    found_there = known is not None
    if known is None:
        known = how.taken(function, theta, **subject, **measuring)
        path.parent.mkdir(parents=True, exist_ok=True)
        known.save(path)
    subject.pop("outputs", None)
    result = known.check(claim, theta=theta, **subject, **judging)
    if result and not found_there:
        told = tuple(f for f in result.findings if f.kind != "fingerprint")
        return replace(result, evaluations=known.evaluations, findings=told)
    return result or how.check(function, claim, theta, **options)


def _of_the_same(
    path: Path,
    kind: str,
    function: Callable[..., Any],
    theta: Any,
    subject: dict[str, Any],
) -> Fingerprint | JacobianFingerprint | None:
    """The fingerprint in a file, if it is of this function at this theta."""
    args = subject.get("args", ())
    try:
        known = load_fingerprint(path)
        here = known.compared(theta, args, subject.get("layout"))
    except (FileNotFoundError, FingerprintError):
        return None
    if known.kind != kind or not known.source == source_of(function) != "":
        return None
    value = function(here.theta, *here.args)
    if isinstance(known, Fingerprint):
        return known if known.recording.is_of(float(np.asarray(value))) else None
    return known if known.is_of(value, here, subject.get("outputs")) else None
