"""What must hold before any long work: repeatable, finite, unmodified inputs, a point that tells.

Each guard either refuses, saying what to change, or leaves a finding.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.problem.nests import fingerprints, promoted
from fastgradcheck.problem.problem import Objective, Problem
from fastgradcheck.problem.value import real_value

IRREPRODUCIBLE = 1e3
"""In units of eps * |J|: differences up to this are rounding in another order, which is noise;
a random draw inside the cost changes J by far more."""


ELSEWHERE = 1e-6
"""Relative displacement for the test of hidden state."""


MINUTES = 120.0
"""Seconds of predicted work from which a finding warns."""


@dataclass(frozen=True)
class Inspected:
    """What the guards learnt.

    Attributes
    ----------
    value : float
        J(theta).
    seconds : float
        One evaluation, the faster of two.
    serial : bool
        True if evaluations must not overlap: the cost writes to arrays in args.
    findings : tuple of Finding
    evaluations : int
    """

    value: float
    seconds: float
    serial: bool
    findings: tuple[Finding, ...]
    evaluations: int


def in_double(objective: Objective) -> tuple[Objective, tuple[Finding, ...]]:
    """The objective evaluated in float64 where theta is float32 and the cost accepts it."""
    if objective.theta.dtype != np.float32:
        return objective, ()
    theta = objective.theta.astype(np.float64)
    theta.setflags(write=False)
    double = replace(objective, args=promoted(objective.args), theta=theta)
    single = _value(objective, objective(objective.theta.copy()))
    try:
        value = float(double(theta.copy()))
    except Exception:  # whatever the user's cost raises when it is given float64
        value = np.nan
    if np.isfinite(value) and abs(value - single) <= 1e-2 * abs(single) + 1e-6:
        return double, (
            Finding(
                "float32",
                "theta is float32: J was evaluated on float64 copies of theta and of the float "
                "arrays in args, so that only the rounding of your gradient (6e-8) is left.",
            ),
        )
    return objective, (
        Finding(
            "float32",
            "J could only be evaluated in float32: a difference then has about 3 digits, and "
            "smaller errors of the gradient cannot be seen. Let the cost accept float64.",
            Rank.LIMIT,
        ),
    )


def _value(objective: Objective, returned: Any) -> float:
    """J at theta as a float, or a refusal that looks at theta and args too."""
    nest = isinstance(returned, Mapping | list) or np.shape(getattr(returned, "shape", ()))
    if nest and objective.parameters.size > 1:
        try:
            objective.parameters.match(returned)
        except GradcheckInputError:
            pass
        else:
            raise GradcheckTypeError(
                "cost returned what has theta's own structure and shape, as a gradient has: are "
                "cost and grad exchanged? The order is gradcheck(cost, grad, theta), and cost "
                "returns one number."
            )
    return real_value(returned, args=objective.args)


def inspect(
    objective: Objective, bounds: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
) -> Inspected:
    """Evaluate J a few times at theta and once elsewhere, and see what that changes.

    Parameters
    ----------
    objective : Objective
    bounds : pair of float64 arrays, shape (n,), optional
        "Elsewhere" lies between them.

    Raises
    ------
    GradcheckInputError
        If J is not a finite real number, not repeatable, depends on hidden state, or modifies
        theta or args.
    """
    theta = objective.theta
    before = fingerprints(objective.args)
    first, _ = _evaluate(objective, theta)
    value = _value(objective, first)
    changed = _changed(before, fingerprints(objective.args))
    second, seconds = _evaluate(objective, theta)
    again = _value(objective, second)
    _refuse_random(value, again, changed)
    _evaluate_elsewhere(objective, theta, bounds)
    third, more = _evaluate(objective, theta)
    _refuse_state(value, real_value(third, "at theta, after an evaluation elsewhere"), changed)
    changed = changed or _changed(before, fingerprints(objective.args))
    findings = []
    if changed:
        findings.append(
            Finding(
                "scratch",
                f"cost writes to {changed}, but J does not depend on what was there: a scratch "
                "array. Evaluations therefore run one after the other; allocate it inside the "
                "cost to use all cores.",
            )
        )
    return Inspected(value, min(seconds, more), bool(changed), tuple(findings), 4)


def _evaluate(objective: Objective, theta: NDArray[Any]) -> tuple[Any, float]:
    mine = theta.copy()
    began = time.perf_counter()
    value = objective(mine)
    seconds = time.perf_counter() - began
    if not np.array_equal(mine, theta):
        place = int(np.argmax(mine != theta))
        raise GradcheckInputError(
            f"cost modifies theta: entry {place} was {theta[place]} before the call and is "
            f"{mine[place]} after it. J must leave theta as it found it; look for an in-place "
            "operation such as `theta -= ...` or `W *= mask`, and work on a copy."
        )
    return value, seconds


def _evaluate_elsewhere(
    objective: Objective,
    theta: NDArray[Any],
    bounds: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
) -> None:
    scale = np.maximum(np.abs(theta), float(np.abs(theta).max()) or 1.0)
    elsewhere = theta + ELSEWHERE * scale
    if bounds is not None:
        elsewhere = np.clip(elsewhere, *bounds)
    try:
        _evaluate(objective, elsewhere.astype(theta.dtype))
    except GradcheckInputError:
        raise
    except Exception:  # the edge of the domain: the loop meets it again, and says where
        return


def _refuse_random(value: float, again: float, changed: str) -> None:
    if abs(again - value) <= IRREPRODUCIBLE * np.finfo(np.float64).eps * abs(value):
        return
    if changed:
        raise GradcheckInputError(
            f"cost modifies {changed}, and J depends on what is there: it is {value!r} at first "
            f"and {again!r} when evaluated again at the same theta. Work on a copy inside cost."
        )
    raise GradcheckInputError(
        f"cost is not repeatable: J is {value!r}, then {again!r} at the same theta. Dropout or "
        "another random draw inside the cost is the usual cause: switch it off, or seed it inside "
        "the cost (in njit code, np.random.seed must be called inside the compiled function)."
    )


def _refuse_state(value: float, later: float, changed: str) -> None:
    if abs(later - value) <= IRREPRODUCIBLE * np.finfo(np.float64).eps * abs(value):
        return
    where = f" It writes to {changed}." if changed else ""
    raise GradcheckInputError(
        f"cost keeps hidden state: J is {value!r} at theta, but {later!r} after one evaluation "
        f"at another theta.{where} Running statistics (batch normalisation), a warm start or a "
        "cache is the usual cause: freeze it, or reset it inside the cost."
    )


def _changed(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    return next((path for path in before if before[path] != after.get(path)), "")


def slow(seconds: float, evaluations: int, workers: int) -> tuple[Finding, ...]:
    """A finding if the check will take minutes."""
    expected = seconds * evaluations / workers
    if expected < MINUTES:
        return ()
    return (
        Finding(
            "slow",
            f"one evaluation of J takes {seconds:.2g} s, {evaluations:,} of them about "
            f"{expected / 60:.0f} minutes. A gradient can be checked on a subset of the data, "
            "args=(X[:256], y[:256]), or on some components, sample=0.1.",
        ),
    )


def uninformative(problem: Problem) -> tuple[Finding, ...]:
    """Findings about a theta at which a wrong gradient could look right.

    Blocks with several rows that are all equal make hidden units interchangeable: their gradients
    agree whatever is swapped among them.
    """
    findings = []
    for block in problem.parameters.blocks:
        part = problem.theta[block.slice]
        equal = len(block.shape) >= 2 and block.size > 1 and bool(np.all(part == part[0]))
        if equal:
            findings.append(
                Finding(
                    "symmetric",
                    f"all entries of {block.name} are {part[0]:g}: its units are interchangeable, "
                    "and swapped or transposed gradients look right here. Check at a random "
                    "theta too.",
                )
            )
    return tuple(findings)
