"""What must hold of a function of several outputs before any long work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.problem.bounds import Bounds
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.guards import CLOSE, IRREPRODUCIBLE, Calls, changed_array, moved_by
from fastgradcheck.problem.nests import fingerprints, promoted
from fastgradcheck.problem.outputs import Outputs, describe_outputs, like_theta
from fastgradcheck.problem.problem import Objective

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
    findings : tuple of Finding
    evaluations : int
    """

    objective: Objective
    outputs: Outputs
    values: Array
    seconds: float
    findings: tuple[Finding, ...]
    evaluations: int


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
    outputs = describe_outputs(objective(objective.theta.copy()), names, function)
    if gradient:
        outputs = like_theta(outputs, objective.parameters)
    objective, found = _in_double(replace(objective, outputs=outputs))
    theta, calls = objective.theta, Calls(objective)
    values = outputs.flatten(calls(theta))
    again = outputs.flatten(calls(theta))
    changed = changed_array(before, fingerprints(objective.args))
    _refuse_unrepeatable(outputs, values, again, changed)
    try:
        calls(moved_by(theta, CLOSE, bounds))
    except GradcheckInputError:
        raise
    except Exception:  # the edge of the domain: the directions meet it again, and say where
        pass
    later = outputs.flatten(calls(theta))
    _refuse_unrepeatable(outputs, values, later, changed, elsewhere=True)
    return InspectedOutputs(objective, outputs, values, calls.seconds, found, calls.count + 1)


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
    outputs: Outputs, values: Array, again: Array, changed: str, elsewhere: bool = False
) -> None:
    largest = np.maximum(np.abs(values), 1e-3 * np.abs(values).max())
    off = ~(np.abs(again - values) <= IRREPRODUCIBLE * np.finfo(np.float64).eps * largest)
    if not off.any():
        return
    i = int(np.argmax(off))
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
