"""The arguments of a check, validated before any work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck import guards, sampling, steps
from fastgradcheck.engines import is_jitted
from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.measured import Options
from fastgradcheck.parameters import Parameters
from fastgradcheck.schemes import Scheme, scheme_named

STRATEGIES = ("auto", "components", "screen")
EVERY_COMPONENT = 2000
"""Up to this size, strategy "auto" measures every component one by one ..."""
SPOT_CHECK = 100
"""... and beyond it, it screens and spot-checks this many."""
IN_BUDGET = 100_000
"""With a budget it screens first, and then measures components as long as there is time, up to
this many."""


def options_of(
    parameters: Parameters,
    theta: NDArray[Any],
    sample: Any,
    strategy: str,
    scheme: str | Scheme,
    epsilon: Any,
    bounds: Any,
    seed: int,
    limited: bool,
) -> Options:
    """The arguments that say what is to be done, validated.

    Parameters
    ----------
    parameters : Parameters
    theta : array, shape (n,)
    sample, strategy, scheme, epsilon, bounds
        As in `gradcheck`.
    seed : int
    limited : bool
        Whether there is a budget: then as many components follow the screen as it allows.

    Raises
    ------
    GradcheckInputError
        Naming the argument and what it may be.
    """
    if strategy not in STRATEGIES:
        raise GradcheckInputError(
            f"strategy={strategy!r} is not a strategy; "
            f"use one of {', '.join(map(repr, STRATEGIES))}."
        )
    screens = strategy == "screen"
    if strategy == "auto":
        screens = sample is None and (parameters.size > EVERY_COMPONENT or limited)
        strategy = "screen" if screens else "components"
        if screens:
            sample = min(parameters.size, IN_BUDGET) if limited else SPOT_CHECK
        drawn = sampling.draw(sample, parameters, seed)
    elif screens and sample is None:
        drawn = sampling.NOTHING
    else:
        drawn = sampling.draw(sample, parameters, seed)
    if screens:
        # A direction on a single entry is that entry's own difference, at eight times the cost.
        drawn = drawn.including([block.start for block in parameters.blocks if block.size == 1])
    absolute = steps.user_epsilon(epsilon, parameters)
    return Options(
        scheme_named(scheme),
        strategy,
        drawn,
        screens,
        absolute,
        steps.flat_bounds(bounds, theta, parameters),
        seed,
    )


def callables(cost: Any, grad: Any) -> tuple[Callable[..., Any], Any]:
    """The cost and the gradient; apart from each other where ``grad=True``."""
    if grad is not True:
        return cost, grad
    if is_jitted(cost):
        from numba import njit

        value = njit(lambda theta, *args: cost(theta, *args)[0])
    else:
        value = _First(cost)
    return value, lambda theta, *args: guards.pair(cost(theta, *args))[1]


@dataclass(frozen=True)
class _First:
    """The J of a cost that returns ``(J, grad)``; picklable if the cost is."""

    cost: Callable[..., Any]

    def __call__(self, theta: Any, *args: Any) -> Any:
        return guards.pair(self.cost(theta, *args))[0]


def checked_seed(seed: Any) -> int:
    """The argument ``seed`` as an int, refused unless it is one and not negative."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise GradcheckInputError(f"seed={seed!r} is not a seed; use a non-negative integer.")
    return int(seed)
