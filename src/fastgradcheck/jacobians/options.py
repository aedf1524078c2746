"""The arguments of a Jacobian's check, validated before any work."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.schemes import Scheme, scheme_named
from fastgradcheck.evaluation.choice import refuse_unknown
from fastgradcheck.options import known_strategy, refuse_vanishing, user_epsilon
from fastgradcheck.problem import sampling
from fastgradcheck.problem.bounds import Bounds, flat_bounds
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.sampling import Sample

EVERY_COLUMN = 64
"""Up to this many parameters, strategy "auto" measures every column, four evaluations each ..."""
SPOT_CHECK = 3
"""... and beyond it, directions cover all of them, and so many columns are measured besides."""


@dataclass(frozen=True)
class Asked:
    """What the user asked for: the arguments that both checks have, as they were given."""

    form: str
    args: Any
    layout: Mapping[str, Any] | None
    sample: Any
    strategy: str
    scheme: str | Scheme
    epsilon: Any
    threshold: float | None
    rtol: float | None
    yardstick: Any
    bounds: Any
    engine: str
    vectorized: bool | int
    n_jobs: int | None
    executor: Executor | None
    budget: float | None
    checkpoint: Any
    progress: Any
    seed: int | None


@dataclass(frozen=True, eq=False)
class Options:
    """What is to be done, validated.

    Attributes
    ----------
    sample : Sample
        The columns to be measured one by one.
    screens : bool
        Whether directions cover all columns.
    spot : bool
        Whether the sample is a spot check beside them.
    scheme : Scheme
        Of the columns.
    epsilon : float64 array, shape (blocks,)
        The user's steps; nan where there are none.
    bounds : Bounds or None
    """

    sample: Sample
    screens: bool
    spot: bool
    scheme: Scheme
    epsilon: NDArray[np.float64]
    bounds: Bounds | None


def options_of(
    asked: Asked, parameters: Parameters, theta: NDArray[Any], seed: int, limited: bool
) -> Options:
    """The arguments that say what is to be done, validated.

    Parameters
    ----------
    asked : Asked
    parameters : Parameters
    theta : array, shape (n,)
    seed : int
    limited : bool
        Whether there is a budget: then directions come first.

    Raises
    ------
    GradcheckInputError
        Naming the argument and what it may be.
    """
    refuse_unknown(asked.engine)
    strategy, sample, whole = known_strategy(asked.strategy), asked.sample, asked.sample is None
    screens = strategy == "screen"
    if strategy == "auto" and whole and (parameters.size > EVERY_COLUMN or limited):
        screens, sample = True, min(SPOT_CHECK, parameters.size)
    drawn = sampling.NOTHING
    if not (screens and sample is None):
        drawn = sampling.draw(sample, parameters, seed)
    epsilon = user_epsilon(asked.epsilon, parameters)
    # F is evaluated in float64, whatever theta is.
    refuse_vanishing(theta.astype(np.float64), epsilon, parameters)
    return Options(
        drawn,
        screens,
        screens and whole,
        scheme_named(asked.scheme),
        epsilon,
        flat_bounds(asked.bounds, theta, parameters),
    )
