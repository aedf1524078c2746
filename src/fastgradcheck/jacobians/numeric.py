"""`numerical_jacobian`: the derivatives of several outputs with their error bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.arguments import in_our_words
from fastgradcheck.check import refuse_scheme
from fastgradcheck.differences import domain
from fastgradcheck.differences.analytic import compare_rows
from fastgradcheck.differences.columns import has_own_bars, measure_columns, sweep_column
from fastgradcheck.differences.components import of_sweeps
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.rows import Rows, measure_noise
from fastgradcheck.differences.schemes import scheme_named
from fastgradcheck.errors import GradcheckInputError, shown
from fastgradcheck.evaluation.choice import open_engine, refuse_unknown
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.options import refuse_vanishing, user_epsilon
from fastgradcheck.problem.bounds import flat_bounds
from fastgradcheck.problem.calls import JACOBIAN, arguments_of
from fastgradcheck.problem.entries import nested
from fastgradcheck.problem.inspection import inspect_outputs
from fastgradcheck.problem.parameters import describe, vector
from fastgradcheck.problem.problem import Objective
from fastgradcheck.problem.sampling import checked_seed
from fastgradcheck.report.numbers import plural


@dataclass(frozen=True, eq=False, repr=False)
class NumericalJacobian:
    """A numerical Jacobian and how far it can be trusted.

    Attributes
    ----------
    value : array of shape ``output.shape + parameter.shape``, or nests of them
        The derivatives, outputs outside and parameters inside; at a kink, the mean of the
        one-sided slopes.
    error : of the same structure
        Error bars.
    evaluations : int
        How often F was evaluated.
    """

    value: Any
    error: Any
    evaluations: int

    def __repr__(self) -> str:
        return f"<NumericalJacobian, {plural(self.evaluations, 'evaluation')} of F>"


SHARP = 1e-7
"""Entries whose bar is larger, relative to the typical one of their row, get step sweeps."""


@in_our_words
def numerical_jacobian(
    fun: Callable[..., Any],
    theta: Any,
    *,
    args: Any = (),
    layout: Mapping[str, Any] | None = None,
    scheme: Literal["central4", "complex"] = "central4",
    epsilon: Any = "auto",
    bounds: Any = None,
    engine: str = "auto",
    n_jobs: int | None = None,
    seed: int = 0,
) -> NumericalJacobian:
    """Differentiate a function of several outputs numerically, every entry with an error bar.

    Each column is measured from five points, four evaluations of F that serve all of its rows, or
    by one complex step; columns in which that is not sharp, over a sweep of 13 steps (26
    evaluations).

    Parameters
    ----------
    fun, theta, args, layout, bounds, engine, n_jobs
        As in `jaccheck`.
    scheme : {"central4", "complex"}
        Five points, or a complex step, for which `fun` must take complex arrays.
    epsilon : "auto", float, or dict of float by block
        The step of the five points, in theta's units.
    seed : int
        Of the direction along which the noise of F is measured.

    Returns
    -------
    NumericalJacobian

    Raises
    ------
    GradcheckInputError, CostEvaluationError
        As in `jaccheck`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgradcheck import numerical_jacobian
    >>> A = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> numeric = numerical_jacobian(lambda t: np.exp(A @ t), np.array([0.1, 0.2, 0.3]))
    >>> numeric.value.shape
    (2, 3)
    >>> true = np.exp(A @ [0.1, 0.2, 0.3])[:, np.newaxis] * A
    >>> bool((abs(numeric.value - true) <= numeric.error).all())
    True
    """
    refuse_unknown(engine)
    seed = checked_seed(seed)
    args = arguments_of(fun, True, args, JACOBIAN)
    theta = vector(theta)
    parameters = describe(theta, layout)
    flat = parameters.flatten(theta)
    limits, chosen = flat_bounds(bounds, flat, parameters), scheme_named(scheme)
    if not has_own_bars(chosen):
        raise GradcheckInputError(
            f"scheme={shown(chosen.name)} does not tell how far each of its values is off, and "
            'numerical_jacobian gives every entry a bar: use "central4" or "complex".'
        )
    own = user_epsilon(epsilon, parameters)
    refuse_vanishing(flat.astype(np.float64), own, parameters)
    with one_blas_thread():
        inspected = inspect_outputs(Objective(fun, args, parameters, flat), None, limits)
        running = open_engine(inspected.objective, engine, n_jobs, serial=inspected.serial)
        try:
            refuse_scheme(chosen, running)
            stream = Stream(running)
            stream.evaluations = inspected.evaluations
            context = Context(
                stream, float("nan"), bounds=limits, scheme=chosen, epsilon=own, seed=seed
            )
            with np.errstate(all="ignore"):  # large steps may leave the function's domain
                level, context, _ = domain.tried(
                    context, lambda within: measure_noise(within, inspected.values)
                )
                rows = Rows(context, inspected.values, level)
                if chosen.imaginary:
                    compare_rows(rows, inspected.outputs, SHARP)
                (value, error), _, _ = domain.tried(
                    context, lambda within: _entries(replace(rows, context=within))
                )
        finally:
            running.close()
    outputs = inspected.outputs
    return NumericalJacobian(
        nested(value, outputs, parameters), nested(error, outputs, parameters), stream.evaluations
    )


def _entries(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """All entries of the Jacobian and their bars, shape (m, n)."""
    columns = np.arange(rows.context.parameters.size)
    value, error = measure_columns(rows, columns, "gradient", by_user=True)
    typical = np.sqrt(np.mean(value**2, axis=1, keepdims=True))
    blunt = error > SHARP * np.maximum(np.abs(value), typical)
    for column in np.flatnonzero(blunt.any(axis=0)).tolist():
        mine = np.flatnonzero(blunt[:, column])
        measured = of_sweeps(sweep_column(rows, column, mine, mine))
        middle = (measured.lower + measured.upper) / 2
        reach = measured.error + (measured.upper - measured.lower) / 2
        better = reach < error[mine, column]
        value[mine[better], column], error[mine[better], column] = middle[better], reach[better]
    return value, error
