"""The claimed gradient, evaluated once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.guards import _changed
from fastgradcheck.problem.nests import arrays_in, fingerprints
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.value import is_jitted


def callables(cost: Any, grad: Any) -> tuple[Callable[..., Any], Any]:
    """The cost and the gradient; apart from each other where ``grad=True``."""
    if grad is not True:
        return cost, grad
    if is_jitted(cost):
        from numba import njit

        value = njit(lambda theta, *args: cost(theta, *args)[0])
    else:
        value = _First(cost)
    return value, lambda theta, *args: pair(cost(theta, *args))[1]


@dataclass(frozen=True)
class _First:
    """The J of a cost that returns ``(J, grad)``; picklable if the cost is."""

    cost: Callable[..., Any]

    def __call__(self, theta: Any, *args: Any) -> Any:
        return pair(self.cost(theta, *args))[0]


def pair(returned: Any) -> tuple[Any, Any]:
    """J and the gradient, as a cost returns them under ``grad=True``.

    Raises
    ------
    GradcheckTypeError
        If it returned anything else.
    """
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise GradcheckTypeError(
            f"grad=True means that cost returns (J, gradient), but it returned a "
            f"{type(returned).__name__}: return both, or pass the gradient itself as grad."
        )
    return returned[0], returned[1]


def _refuse_pair(returned: Any, parameters: Parameters) -> None:
    """Refuse (J, gradient), which is no gradient of any theta."""
    if not isinstance(returned, tuple | list) or len(returned) != 2 or np.ndim(returned[0]):
        return
    try:
        parameters.match(returned[1])
    except GradcheckInputError:
        return
    raise GradcheckTypeError(
        "grad returned two things, a number and what looks like the gradient: (J, gradient)? "
        "Return the gradient alone, or pass this function as cost, and grad=True."
    )


def evaluate_gradient(
    grad: Any, theta: Any, args: tuple[Any, ...], parameters: Parameters
) -> tuple[NDArray[np.float64], float, tuple[Finding, ...]]:
    """The analytic gradient, flat, the eps of its dtype, and findings.

    `grad` is called once, with a copy of theta.

    Raises
    ------
    GradcheckInputError
        If it modifies theta or args, or its structure is not theta's.
    """
    if not callable(grad):
        return parameters.match(grad), parameters.gradient_eps(grad), ()
    mine = copy.deepcopy(theta)
    before, args_before = fingerprints(mine), fingerprints(args)
    returned = grad(mine, *args)
    if fingerprints(mine) != before:
        raise GradcheckInputError(
            "grad modifies theta: its values differ after the call. A gradient must leave theta "
            "as it found it; look for an in-place update such as `theta -= ...`."
        )
    changed = _changed(args_before, fingerprints(args))
    if changed:
        raise GradcheckInputError(
            f"grad modifies {changed}: its values differ after the call, so that cost and grad "
            "no longer see the same data. Work on a copy inside grad."
        )
    _refuse_pair(returned, parameters)
    gradient = parameters.match(returned)
    findings = []
    if any(
        np.shares_memory(part, own) for _, part in arrays_in(returned) for _, own in arrays_in(mine)
    ):
        findings.append(
            Finding(
                "aliasing",
                "grad returned theta's own memory, not an array of its own: an in-place update "
                "of theta changes the gradient too. Return a copy.",
            )
        )
    return gradient, parameters.gradient_eps(returned), tuple(findings)
