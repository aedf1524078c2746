"""What must hold of a function of several outputs before any long work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.problem.batches import first_value
from fastgradcheck.problem.bounds import Bounds
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.guards import (
    CACHES,
    CLOSE,
    Calls,
    Work,
    changed_array,
    constant,
    moved_by,
    moves_far,
    off,
    scratch,
)  # fmt: skip
from fastgradcheck.problem.nests import fingerprints, promoted
from fastgradcheck.problem.outputs import NAME, Outputs, describe_outputs, like_theta
from fastgradcheck.problem.problem import Copies, Objective
from fastgradcheck.problem.value import is_jitted

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class InspectedOutputs:
    """What the guards learnt of a function of several outputs.

    Attributes
    ----------
    objective : Objective
        With its outputs, evaluated in float64 where it accepts that.
    outputs : Outputs
    values : float64 array, shape (m,)
        F(theta).
    seconds : float
        One evaluation, the fastest.
    serial : bool
        True if evaluations must not overlap: the function writes to arrays in args.
    findings : tuple of Finding
    evaluations : int
    moves : bool
        False if F is the same wherever theta is moved.
    """

    objective: Objective
    outputs: Outputs
    values: Array
    seconds: float
    serial: bool
    findings: tuple[Finding, ...]
    evaluations: int
    moves: bool = True


def inspect_outputs(
    objective: Objective,
    names: Mapping[str, Any] | None = None,
    bounds: Bounds | None = None,
    function: str = "fun",
    gradient: bool = False,
) -> InspectedOutputs:
    """Find and name the outputs; evaluate F a few times, at theta and close to it.

    Parameters
    ----------
    objective : Objective
        Of which the outputs are not known yet.
    names : mapping, optional
        ``outputs=``.
    bounds : pair of float64 arrays, shape (n,), optional
    function : str
        What the user calls it.
    gradient : bool
        Whether its outputs are theta's blocks.

    Raises
    ------
    GradcheckInputError
        If F is not made of finite real numbers, not repeatable, depends on hidden state, or
        modifies theta or args.
    """
    before = fingerprints(objective.args)
    first = first_value(objective, function)
    outputs = describe_outputs(first, names, function)
    if gradient:
        outputs = like_theta(outputs, objective.parameters)
    objective, found = _in_double(replace(objective, outputs=outputs))
    theta, calls = objective.theta, Calls(objective)
    single = objective.parameters.dtype == np.float32
    values = outputs.flatten(calls(theta) if single else first)
    changed = changed_array(before, fingerprints(objective.args))
    close, there = moved_by(theta, CLOSE, bounds), None
    try:
        there = outputs.flatten(calls(close))
    except GradcheckInputError:
        raise
    except Exception:  # the edge of the domain: the directions meet it again, and say where
        pass
    work = Work(calls)
    _refuse_unrepeatable(calls, outputs, values, work(theta), changed)
    if there is not None and not is_jitted(objective.cost):
        if off(outputs.flatten(work(close)), there).any():
            objective = replace(objective, copies=Copies(theta.nbytes))
            found = (*found, CACHES)
        _refuse_unrepeatable(calls, outputs, values, calls(theta), changed)
    changed = changed or changed_array(before, fingerprints(objective.args))
    if changed:
        found = (*found, scratch(changed, function, NAME))

    def same(value: Any) -> bool:
        return np.array_equal(outputs.flatten(value), values)

    moves = there is None or not np.array_equal(there, values) or moves_far(calls, same, bounds)
    if not moves and not gradient:  # that of a linear cost moves nowhere either
        found = (*found, constant("F is the same", f"{function} does not depend on theta"))
    # With the one that told the outputs, and the one that leaves the function at theta.
    return InspectedOutputs(
        objective, outputs, values, calls.seconds, bool(changed), found, calls.count + 2, moves
    )


def _in_double(objective: Objective) -> tuple[Objective, tuple[Finding, ...]]:
    """The same function in float64, where theta is float32 and it accepts that."""
    outputs = objective.outputs
    if objective.theta.dtype != np.float32 or outputs is None:
        return objective, ()
    theta = objective.theta.astype(np.float64)
    theta.setflags(write=False)
    double = replace(objective, args=promoted(objective.args), theta=theta)
    single = outputs.flatten(objective(objective.theta.copy()))
    try:
        values = outputs.flatten(double(theta.copy()))
    except Exception:  # whatever the user's function raises when it is given float64
        values = np.full(outputs.size, np.nan)
    if np.abs(values - single).max() <= 1e-2 * np.abs(single).max() + 1e-6:
        message = (
            "theta is float32: F was evaluated on float64 copies of theta and of the float arrays "
            "in args, so that only the rounding of your derivatives (6e-8) is left."
        )
        return double, (Finding("float32", message),)
    raise GradcheckInputError(
        f"{outputs.function} accepts only float32, in which a difference has about 3 digits: let "
        "it compute in float64 where theta is float64 (no .astype(np.float32), no float32 "
        "constants), and check it there."
    )


def _refuse_unrepeatable(
    calls: Calls, outputs: Outputs, values: Array, later: Any, changed: str
) -> None:
    """Refuse an F that is another one at theta, after an evaluation elsewhere."""
    again = outputs.flatten(later)
    differ = off(again, values)
    if not differ.any():
        return
    theta = calls.objective.theta
    twice = outputs.flatten(calls(theta)), outputs.flatten(calls(theta))
    elsewhere = not off(*twice).any()
    i = int(np.argmax(differ))
    what = f"{outputs.address(i)} is {float(values[i])!r}, then {float(again[i])!r}"
    writes = f" It writes to {changed}." if changed else ""
    if elsewhere:
        raise GradcheckInputError(
            f"{outputs.function} keeps hidden state: {what} after one evaluation at another "
            f"theta.{writes} Running statistics, a warm start or a cache is the usual cause: "
            f"freeze it, or reset it inside {outputs.function}."
        )
    raise GradcheckInputError(
        f"{outputs.function} is not repeatable: {what} at the same theta.{writes} Dropout, another "
        "random draw, or an array that it changes is the usual cause: switch it off, seed it "
        "inside the function, or work on a copy."
    )
