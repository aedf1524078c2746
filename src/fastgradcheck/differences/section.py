"""J, or one of several outputs, along one component: for the pictures of a result."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.evaluation.choice import open_engine
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.plans import Stencils
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.problem.problem import Objective

Array = NDArray[np.float64]


def along(objective: Objective, index: int, offsets: Array, output: int | None = None) -> Array:
    """J where one component is displaced by the offsets, all others as they are.

    Parameters
    ----------
    objective : Objective
    index : int
        The component's flat index.
    offsets : float64 array, shape (k,)
        In theta's units.
    output : int, optional
        Which output, of a function of several.

    Returns
    -------
    float64 array, shape (k,), read-only

    Raises
    ------
    CostEvaluationError
        If the cost raises, or returns anything but a scalar.

    Examples
    --------
    >>> from fastgradcheck.problem.parameters import describe
    >>> theta = np.array([1.0, 2.0])
    >>> objective = Objective(lambda x: float(np.prod(x)), (), describe(theta), theta)
    >>> along(objective, 1, np.array([-0.5, 0.0, 0.5]))
    array([1.5, 2. , 2.5])
    """
    points = (objective.theta[index] + offsets).astype(objective.theta.dtype)
    # The user's own call from Python: for a hundred points nothing is worth compiling.
    engine = open_engine(objective, "python", 1, serial=True)
    try:
        with one_blas_thread():
            plan = Stencils(np.array([index]), points.reshape(1, -1))
            values: Array = Stream(engine).values(plan, "section")[0]
    finally:
        engine.close()
    return values if output is None else values[:, output]


def around(
    objective: Objective, index: int, output: int | None = None
) -> tuple[float, Array, Array]:
    """A distance epsilon at which a secant can be told from a tangent, and J to both sides.

    Returns
    -------
    epsilon : float
        Half of the component's size, and at least 1/2.
    offsets, values : float64 array, shape (65,)
        As `along` has them, from -1.6 to 1.6 epsilon.
    """
    epsilon = 0.5 * max(1.0, abs(float(objective.theta[index])))
    offsets = np.linspace(-1.6, 1.6, 65) * epsilon
    return epsilon, offsets, along(objective, index, offsets, output)


def differences_by_step(
    objective: Objective, index: int, output: int | None = None
) -> tuple[Array, Array]:
    """Central differences of one component at steps from 1/10 of its size down to 1e-13.

    Returns
    -------
    steps, derivatives : float64 array, shape (k,)
        Two steps per decade, decreasing, without those that do not move the component.
    """
    start = float(objective.theta[index])
    steps = max(1.0, abs(start)) * 10.0 ** np.arange(-1.0, -13.0, -0.5)
    # The displacement that arithmetic takes, not the nominal one.
    up, down = (start + steps) - start, (start - steps) - start
    moves = up > down
    up, down = up[moves], down[moves]
    high, low = np.split(along(objective, index, np.concatenate([up, down]), output), 2)
    return steps[moves], (high - low) / (up - down)
