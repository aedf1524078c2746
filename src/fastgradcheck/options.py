"""The arguments of a check, validated before any work."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.recording import Recording
from fastgradcheck.differences.schemes import Scheme, SchemeName, scheme_named
from fastgradcheck.errors import GradcheckInputError, shown
from fastgradcheck.evaluation.choice import EngineName
from fastgradcheck.problem import sampling
from fastgradcheck.problem.bounds import Bounds, flat_bounds
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.sampling import Sample

Strategy = Literal["auto", "components", "screen"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


Convention = Literal["torch", "jax"]


class CheckOptions(TypedDict, total=False):
    """The keyword arguments of `fastgradcheck.gradcheck`, which tells them."""

    args: Any
    layout: Mapping[str, Any] | None
    sample: Any
    strategy: Strategy
    scheme: SchemeName | Scheme
    epsilon: Any
    threshold: float | None
    rtol: float | None
    yardstick: Any
    bounds: Any
    convention: Convention | None
    engine: EngineName
    vectorized: bool | int
    n_jobs: int | None
    executor: Executor | None
    budget: float | None
    checkpoint: Any
    recording: Recording | None
    progress: Any
    seed: int | None


PASSED_ON = frozenset(CheckOptions.__annotations__) - {"layout", "convention", "recording"}
"""What adapters of libraries pass on: theta is theirs, real, and never flat."""


EVERY_COMPONENT = 2000
"""Up to this size, strategy "auto" measures every component one by one ..."""


SPOT_CHECK = 16
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
    strategy = known_strategy(strategy)
    screens, spot = strategy == "screen", False
    step = user_epsilon(epsilon, parameters)
    if strategy == "auto":
        fraction = isinstance(sample, (float, np.floating)) and sample < 1
        large = parameters.size > EVERY_COMPONENT
        screens = bool(large and (sample is None or fraction)) or (limited and sample is None)
        strategy = "screen" if screens else "components"
        if screens and sample is None:
            # A step of the user's own is for the plain loop.
            spot = not limited and bool(np.isnan(step).all())
            sample = min(parameters.size, IN_BUDGET if limited else SPOT_CHECK)
    nothing = screens and sample is None
    drawn = sampling.NOTHING if nothing else sampling.draw(sample, parameters, seed)
    return Options(
        scheme_named(scheme),
        strategy,
        drawn,
        screens,
        spot,
        step,
        flat_bounds(bounds, theta, parameters),
        seed,
    )


def known_strategy(strategy: Any) -> str:
    """The strategy, if there is one of that name.

    Raises
    ------
    GradcheckInputError
        Naming those that there are.
    """
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        raise GradcheckInputError(
            f"strategy={shown(strategy)} is not a strategy; "
            f"use one of {', '.join(map(repr, STRATEGIES))}."
        )
    return strategy


def user_epsilon(epsilon: Any, parameters: Parameters) -> NDArray[np.float64]:
    """One absolute step per block from the argument ``epsilon``; nan for ``"auto"``.

    Raises
    ------
    GradcheckInputError
        If it is not positive and finite, or names an unknown block.
    """
    names = parameters.names
    steps = np.full(len(names), np.nan)
    if isinstance(epsilon, Mapping):
        unknown = [name for name in epsilon if name not in names]
        if unknown:
            raise GradcheckInputError(
                f"epsilon names the block {shown(unknown[0])}, which theta does not have; "
                f"its blocks are {', '.join(names)}."
            )
        for name, value in epsilon.items():
            steps[names.index(name)] = _one_epsilon(value, f"epsilon[{shown(name)}]")
    else:
        steps[:] = _one_epsilon(epsilon, "epsilon")
    return steps


def _one_epsilon(value: Any, where: str) -> float:
    if isinstance(value, str) and value == "auto":
        return np.nan
    number = (
        float(value)
        if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        else np.nan
    )
    if not (np.isfinite(number) and number > 0):
        raise GradcheckInputError(
            f'{where}={shown(value)} is not a step: use "auto", or a positive number in '
            "theta's units such as 1e-6."
        )
    return number


def refuse_vanishing(
    theta: NDArray[Any], chosen: NDArray[np.float64], parameters: Parameters
) -> None:
    """Refuse a user's epsilon that is lost beside some theta_i in floating point.

    Raises
    ------
    GradcheckInputError
        Naming the first such component.
    """
    for block, epsilon in zip(parameters.blocks, chosen, strict=True):
        if np.isnan(epsilon):
            continue
        part = theta[block.slice]
        step = theta.dtype.type(epsilon)
        lost = np.flatnonzero((part + step == part) | (part - step == part))
        if len(lost):
            where = parameters.address(block.start + int(lost[0]))
            value = float(part[lost[0]])
            raise GradcheckInputError(
                f"epsilon={epsilon:g} is too small for {where} = {value:g}: theta + epsilon is "
                f"theta in {theta.dtype}. Use epsilon >= "
                f"{abs(value) * float(np.finfo(theta.dtype).eps) ** (1 / 3):.1g}, or "
                'epsilon="auto".'
            )


@dataclass(frozen=True, eq=False)
class Options:
    """What is to be done, validated."""

    scheme: Scheme
    strategy: str
    sample: Sample
    screens: bool
    spot: bool
    epsilon: NDArray[np.float64]
    bounds: Bounds | None
    seed: int
