"""`numerical_gradient`: the derivative with its error bar, as a tool of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences import noise
from fastgradcheck.differences.components import of_sweeps
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.sweep import sweep
from fastgradcheck.evaluation.choice import open_engine, refuse_unknown
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.problem import guards
from fastgradcheck.problem.bounds import flat_bounds
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective


@dataclass(frozen=True, eq=False)
class NumericalGradient:
    """A numerical gradient and how far it can be trusted.

    Attributes
    ----------
    value : of theta's structure
        The derivative; on a kink the mean of the one-sided slopes.
    error : of theta's structure
        Error bars: |value - truth| stays below, for at least 999 of 1,000 components.
    evaluations : int
        How often J was evaluated.
    """

    value: Any
    error: Any
    evaluations: int


def numerical_gradient(
    cost: Callable[..., Any],
    theta: Any,
    *,
    args: tuple[Any, ...] = (),
    layout: Mapping[str, Any] | None = None,
    bounds: Any = None,
    engine: str = "auto",
    n_jobs: int | None = None,
    seed: int = 0,
) -> NumericalGradient:
    """Differentiate `cost` numerically, every component with an error bar of its own.

    Each component is measured over a sweep of at least nine steps (18 evaluations of J): slower
    than a plain difference, but right without tuning, and it says how right.

    Parameters
    ----------
    cost, theta, args, layout, bounds, engine, n_jobs
        As in `gradcheck`.
    seed : int
        Of the direction along which the noise of J is measured.

    Returns
    -------
    NumericalGradient

    Raises
    ------
    GradcheckInputError, CostEvaluationError
        As in `gradcheck`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgradcheck import numerical_gradient
    >>> numeric = numerical_gradient(lambda t: np.exp(t).sum(), np.array([0.0, 1.0]))
    >>> bool((abs(numeric.value - np.exp([0.0, 1.0])) <= numeric.error).all())
    True
    """
    refuse_unknown(engine)
    guards.refuse_uncallable(cost, args)
    parameters = describe(theta, layout)
    flat = parameters.flatten(theta)
    limits = flat_bounds(bounds, flat, parameters)
    with one_blas_thread():
        objective, _ = guards.in_double(Objective(cost, args, parameters, flat))
        inspected = guards.inspect(objective, limits)
        running = open_engine(objective, engine, n_jobs, serial=inspected.serial)
        try:
            stream = Stream(running)
            stream.evaluations = inspected.evaluations
            context = Context(stream, inspected.value, bounds=limits, seed=seed)
            with np.errstate(all="ignore"):  # large steps may leave the cost's domain
                context = replace(context, noise=noise.measure(context).level)
                sweeps = sweep(context, np.arange(parameters.size), stage="gradient")
        finally:
            running.close()
    measured = of_sweeps(sweeps)
    middle: NDArray[np.float64] = (measured.lower + measured.upper) / 2
    reach = measured.error + (measured.upper - measured.lower) / 2
    return NumericalGradient(
        parameters.unflatten(middle), parameters.unflatten(reach), stream.evaluations
    )
