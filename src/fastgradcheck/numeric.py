"""`numerical_gradient`: the derivative with its error bar, as a tool of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.arguments import in_our_words
from fastgradcheck.differences import domain
from fastgradcheck.differences.components import of_sweeps
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.sweep import sweep
from fastgradcheck.evaluation.choice import EngineName, open_engine, refuse_unknown
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.problem import guards
from fastgradcheck.problem.blocks import Block
from fastgradcheck.problem.bounds import flat_bounds
from fastgradcheck.problem.calls import arguments_of
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.parameters import describe, vector
from fastgradcheck.problem.problem import Objective
from fastgradcheck.problem.sampling import checked_seed
from fastgradcheck.report.numbers import bar, plural, short
from fastgradcheck.table import Table


@dataclass(frozen=True)
class BlockBars:
    """One block of a numerical gradient.

    Attributes
    ----------
    name : str
    shape : tuple of int
    norm : float
        Euclidean norm of the derivative.
    error : float
        The largest error bar of its entries ...
    worst : str
        ... and the address of that entry.
    """

    name: str
    shape: tuple[int, ...]
    norm: float
    error: float
    worst: str


@dataclass(frozen=True, eq=False, repr=False)
class NumericalGradient:
    """A numerical gradient and how far it can be trusted; ``print`` shows a line per block.

    Attributes
    ----------
    value : of theta's structure
        The derivative; on a kink the mean of the one-sided slopes.
    error : of theta's structure
        Error bars: |value - truth| stays below, for at least 999 of 1,000 components.
    evaluations : int
        How often J was evaluated.
    blocks : tuple of BlockBars
        The same in short, in theta's order.
    """

    value: Any
    error: Any
    evaluations: int
    blocks: tuple[BlockBars, ...] = ()

    def __repr__(self) -> str:
        largest = max((block.error for block in self.blocks), default=0.0)
        return (
            f"<NumericalGradient of {plural(len(self.blocks), 'block')}, bars at most "
            f"{bar(largest)}, {plural(self.evaluations, 'evaluation')} of J>"
        )

    def __str__(self) -> str:
        return f"{self._table()}\n\n{plural(self.evaluations, 'evaluation')} of J"

    def _repr_html_(self) -> str:
        return f"{self._table().html()}<p>{plural(self.evaluations, 'evaluation')} of J</p>"

    def _table(self) -> Table:
        rows = ((b.name, str(b.shape), short(b.norm), bar(b.error), b.worst) for b in self.blocks)
        return Table(("block", "shape", "norm", "largest bar", "at"), tuple(rows), words=2)


@in_our_words
def numerical_gradient(
    cost: Callable[..., Any],
    theta: Any,
    *,
    args: Any = (),
    layout: Mapping[str, Any] | None = None,
    bounds: Any = None,
    engine: EngineName = "auto",
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
    seed = checked_seed(seed)
    args = arguments_of(cost, True, args)
    theta = vector(theta)
    parameters = describe(theta, layout)
    flat = parameters.flatten(theta)
    limits = flat_bounds(bounds, flat, parameters)
    asked = Objective(cost, args, parameters, flat)
    with one_blas_thread(), guards.leaving_at_theta(asked):
        objective, _ = guards.in_double(asked)
        inspected = guards.inspect(objective, limits)
        running = open_engine(inspected.objective, engine, n_jobs, serial=inspected.serial)
        try:
            stream = Stream(running)
            stream.evaluations = inspected.evaluations
            context = Context(stream, inspected.value, bounds=limits, seed=seed)
            with np.errstate(all="ignore"):  # large steps may leave the cost's domain
                context, noise, _ = domain.settle(context)
                context = replace(context, noise=noise.level)
                sweeps = sweep(context, np.arange(parameters.size), stage="gradient")
        finally:
            running.close()
    measured = of_sweeps(sweeps)
    middle: NDArray[np.float64] = (measured.lower + measured.upper) / 2
    reach = measured.error + (measured.upper - measured.lower) / 2
    return NumericalGradient(
        parameters.unflatten(middle),
        parameters.unflatten(reach),
        stream.evaluations,
        tuple(_in_short(block, middle, reach) for block in parameters.blocks),
    )


def _in_short(block: Block, value: NDArray[np.float64], error: NDArray[np.float64]) -> BlockBars:
    value, error = value[block.slice], error[block.slice]
    largest = int(np.argmax(error))  # of NaN, the first
    return BlockBars(
        block.name, block.shape, norm(value), float(error[largest]), block.address(largest)
    )
