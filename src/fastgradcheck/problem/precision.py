"""The gradient in float64 where it can be had, and how far it is rounded where not.

Near an optimum the sums of a gradient cancel, and what rounding leaves of them in float32 has few
digits: a relative error of 1e-4 after some training, 1e-2 where a network fits its data. It is the
formula that is to be checked. So a gradient in float32 is evaluated on float64 copies of theta and
of the float arrays in args, as J is. Where it takes nothing but float32, its rounding is seen when
theta moves by an ulp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem import low
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.foreign import COARSE
from fastgradcheck.problem.nests import promoted
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.problem import Objective

LOW = 1e-10
"""Machine epsilons above this are those of less than float64."""
SAME = 1e-2
"""Two gradients that differ by more than this part of a block are not the same formula, rounded.
What is wrong in float32 alone must not be hidden by float64."""
UNEVEN = 10.0
"""How far an entry's rounding may lie above the root mean square that this leaves for a block."""
SMALL = 1e-3
"""... but for blocks that are this small beside the whole gradient."""
LOST = 1e-6
"""A rounding of the gradient, relative to its norm, that the threshold would not accept: told."""
MOVES = 2
"""How often theta is moved by an ulp."""


@dataclass(frozen=True, eq=False)
class Claim:
    """The gradient that is checked.

    Attributes
    ----------
    gradient : float64 array, shape (n,)
    eps : float
        Machine epsilon of the dtype in which it was computed.
    rounding : float64 array, shape (blocks,)
        How far an ulp of theta was seen to move each block, as a norm; zero where it was not seen.
        Of a gradient of 16 bits, what is expected (`problem.low`).
    findings : tuple of Finding
    """

    gradient: NDArray[np.float64]
    eps: float
    rounding: NDArray[np.float64]
    findings: tuple[Finding, ...] = ()


def sharpest(
    grad: Any, theta: Any, objective: Objective, gradient: NDArray[np.float64], eps: float
) -> Claim:
    """The claim in float64 where `grad` takes that, else with what is seen of its rounding.

    Parameters
    ----------
    grad : callable or nest of arrays
    theta : nest
        The user's own.
    objective : Objective
        In the precision in which J is evaluated.
    gradient : float64 array, shape (n,)
        As it came ...
    eps : float
        ... and the machine epsilon of the dtype in which it came.
    """
    parameters = objective.parameters
    claim = Claim(gradient, eps, np.zeros(len(parameters.blocks)))
    if eps > COARSE:
        rounding = low.expected(objective, gradient, eps)
        return Claim(gradient, eps, rounding)
    if eps < LOW or not callable(grad):
        return claim
    if objective.theta.dtype == np.float64:
        double = _in_double(grad, objective, gradient)
        if double is not None:
            return double
    flat = parameters.flatten(theta)
    largest = np.zeros(len(parameters.blocks))
    for seed in range(MOVES):
        signs = np.random.default_rng(seed).choice(np.array([-eps, eps], flat.dtype), len(flat))
        near = parameters.unflatten(flat * (1 + signs))
        try:
            moved = parameters.match(grad(near, *objective.args))
        except Exception:  # the edge of the domain, say: then nothing is seen
            return claim
        apart = [norm(moved[b.slice] - gradient[b.slice]) for b in parameters.blocks]
        largest = np.maximum(largest, apart)
    return Claim(gradient, eps, np.where(np.isfinite(largest), largest, 0.0))


def _in_double(grad: Any, objective: Objective, claimed: NDArray[np.float64]) -> Claim | None:
    """The claim in float64, or None where `grad` does not take that, or answers differently."""
    parameters = objective.parameters
    try:
        theta = parameters.unflatten(objective.theta.copy())
        # An adapter that holds arrays of its own, in a dtype of their own, says how.
        sharper = getattr(grad, "in_double", grad)
        returned = sharper(theta, *promoted(objective.args))
        double, eps = parameters.match(returned), parameters.gradient_eps(returned)
    except Exception:  # whatever the user's gradient raises when it is given float64
        return None
    if eps > LOW or not _same(double, claimed, parameters):
        return None
    known = np.zeros(len(parameters.blocks))
    lost = norm(double - claimed) / (norm(double) or 1.0)
    if lost <= LOST:
        return Claim(double, eps, known)
    message = (
        f"grad loses {lost:.1g} of its norm in float32, since its sums cancel: near an "
        "optimum, or where units are saturated (1 - tanh(z)**2). What was checked is grad on "
        "float64 copies of theta and of the float arrays in args."
    )
    return Claim(double, eps, known, (Finding("float32 gradient", message),))


def _same(
    double: NDArray[np.float64], claimed: NDArray[np.float64], parameters: Parameters
) -> bool:
    """Whether one is the other, rounded, in every block that matters."""
    whole = norm(double)
    for block in parameters.blocks:
        difference = double[block.slice] - claimed[block.slice]
        size = SAME * norm(double[block.slice]) + SMALL * SAME * whole
        if not norm(difference) <= size:
            return False
        # A kernel for float32 alone may be wrong in a single entry, which no norm shows.
        if not np.max(np.abs(difference)) <= UNEVEN * size / np.sqrt(block.size):
            return False
    return True
