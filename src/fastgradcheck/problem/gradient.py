"""The claimed gradient, evaluated once, and where that is cheap once more."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.problem.calls import GRADIENT, Names
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.problem.guards import IRREPRODUCIBLE, changed_array
from fastgradcheck.problem.low import refuse_sharp
from fastgradcheck.problem.nests import arrays_in, fingerprints
from fastgradcheck.problem.norm import largest
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.region import CHUNK
from fastgradcheck.problem.value import is_jitted

CHEAP = 0.1
"""Seconds that a second call of the gradient may take, whatever the cost takes ..."""
CHEAP_BESIDE = 10.0
"""... or so many evaluations of J: a check needs dozens of these."""


def callables(cost: Any, grad: Any, names: Names = GRADIENT) -> tuple[Callable[..., Any], Any]:
    """The cost and the gradient; apart from each other where ``grad=True``."""
    if grad is not True:
        return cost, grad
    if is_jitted(cost):
        from numba import njit

        value = njit(lambda theta, *args: cost(theta, *args)[0])
    else:
        value = _First(cost, names)
    return value, lambda theta, *args: pair(cost(theta, *args), names)[1]


@dataclass(frozen=True)
class _First:
    """The J of a cost that returns ``(J, grad)``; picklable if the cost is."""

    cost: Callable[..., Any]
    names: Names

    def __call__(self, theta: Any, *args: Any) -> Any:
        return pair(self.cost(theta, *args), self.names)[0]


def pair(returned: Any, names: Names = GRADIENT) -> tuple[Any, Any]:
    """J and the gradient, as a cost returns them under ``grad=True``.

    Raises
    ------
    GradcheckTypeError
        If it returned anything else.
    """
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise GradcheckTypeError(
            f"{names.derivative}=True means that {names.function} returns ({names.value}, "
            f"{names.claim}), but it returned a {type(returned).__name__}: return both, or pass "
            f"the {names.claim} itself as {names.derivative}."
        )
    return returned[0], returned[1]


def _refuse_pair(returned: Any, parameters: Parameters) -> None:
    """Refuse (J, gradient), which is no gradient of any theta."""
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        return
    if not isinstance(returned[0], int | float | np.number | np.ndarray) or np.ndim(returned[0]):
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
    grad: Any, theta: Any, args: tuple[Any, ...], parameters: Parameters, seconds: float
) -> tuple[NDArray[np.float64], float, tuple[Finding, ...]]:
    """The analytic gradient, flat, the eps of its dtype, and findings.

    `grad` is called with a copy of theta, and again where that is cheap: it must be repeatable.

    Parameters
    ----------
    grad, theta, args
        The user's.
    parameters : Parameters
    seconds : float
        One evaluation of J.

    Raises
    ------
    GradcheckInputError
        If it modifies theta or args, is another one when it is called again, or its structure is
        not theta's.
    """
    if not callable(grad):
        gradient, eps = parameters.match(grad), parameters.gradient_eps(grad)
        return gradient, eps, _in_single(grad, eps, parameters)
    mine = copy.deepcopy(theta)
    before, args_before = fingerprints(mine), fingerprints(args)
    began = time.perf_counter()
    returned = grad(mine, *args)
    took = time.perf_counter() - began
    if fingerprints(mine) != before:
        raise GradcheckInputError(
            "grad modifies theta: its values differ after the call. A gradient must leave theta "
            "as it found it; look for an in-place update such as `theta -= ...`."
        )
    changed = changed_array(args_before, fingerprints(args))
    if changed:
        raise GradcheckInputError(
            f"grad modifies {changed}: its values differ after the call, so that cost and grad "
            "no longer see the same data. Work on a copy inside grad."
        )
    _refuse_pair(returned, parameters)
    gradient, eps = parameters.match(returned), parameters.gradient_eps(returned)
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
    if took <= max(CHEAP, CHEAP_BESIDE * seconds):
        _refuse_unrepeatable(gradient, grad(mine, *args), eps, parameters)
    else:
        findings.append(
            Finding(
                "once",
                f"grad takes {took:.2g} s and was called only once: whether it is the same at the "
                "next call (dropout, buffers that are added to) was not checked.",
            )
        )
    return gradient, eps, (*findings, *_in_single(grad, eps, parameters))


def _in_single(grad: Any, eps: float, parameters: Parameters) -> tuple[Finding, ...]:
    """A finding if a gradient is float32 and theta is not: it explains the wider tolerances."""
    if parameters.dtype != np.float64 or eps != np.finfo(np.float32).eps:
        return ()
    if hasattr(grad, "in_double"):  # an adapter's, of parameters in a dtype of their own
        return ()
    message = (
        "The gradient, or a part of it, is float32 and theta is float64: its entries are rounded "
        "by 6e-8, and the default tolerances are wider for it. If that is not meant, look for a "
        "cast or a buffer of float32 in grad."
    )
    return (Finding("float32", message, Rank.LIMIT),)


def _refuse_unrepeatable(
    gradient: NDArray[np.float64], again: Any, eps: float, parameters: Parameters
) -> None:
    """Refuse a gradient that is another one when it is called again at the same theta."""
    for block, array in parameters.slopes(again):
        flat = array.ravel()
        size = largest(gradient[block.slice])
        for first in range(0, block.size, CHUNK):
            part = slice(block.start + first, min(block.start + first + CHUNK, block.stop))
            one, other = gradient[part], flat[first : first + CHUNK]
            if np.array_equal(one, other):
                continue
            with np.errstate(invalid="ignore"):
                same = np.abs(other - one) <= IRREPRODUCIBLE * eps * size
            differ = np.flatnonzero(~(same | (one == other) | (np.isnan(one) & np.isnan(other))))
            if len(differ):
                i = int(differ[0])
                where = parameters.address(part.start + i)
                _refuse(where, float(one[i]), float(other[i]))


def _refuse(where: str, one: float, other: float) -> None:
    added_up = one != 0 and abs(other - 2 * one) <= 1e-3 * abs(one)
    cause = (
        "It is twice as large at the second call: a buffer that is added to and never set to zero "
        "is the usual cause (zero_grad, in PyTorch)."
        if added_up
        else "Dropout or another random draw inside grad, or something that it keeps from call to "
        "call, is the usual cause: switch it off, seed it inside grad, or reset it."
    )
    raise GradcheckInputError(
        f"grad is not repeatable: its entry {where} is {one!r}, then {other!r} at the same theta. "
        f"{cause}"
    )


def measure_of(
    yardstick: Any,
    theta: Any,
    args: tuple[Any, ...],
    parameters: Parameters,
    eps: float,
    seconds: float,
) -> NDArray[np.float64]:
    """Another gradient of the same low precision, flat; `eps` is that of the claim.

    Raises
    ------
    GradcheckInputError
        If the claim is of float32 or float64, or this one is no gradient of theta.
    """
    refuse_sharp(eps)
    flat, _, _ = evaluate_gradient(yardstick, theta, args, parameters, seconds)
    if not np.isfinite(flat).all():
        where = parameters.address(int(np.argmin(np.isfinite(flat))))
        raise GradcheckInputError(f"the yardstick is not finite at {where}: it measures nothing.")
    return flat
