"""J along one component: what pictures of a result are drawn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem.problem import Problem


def along(problem: Problem, index: int, offsets: NDArray[np.float64]) -> NDArray[np.float64]:
    """J where one component is displaced by the offsets."""
    theta = np.array(problem.theta)
    start = theta[index]
    values = np.empty(len(offsets))
    for k, offset in enumerate(offsets):
        theta[index] = start + offset
        values[k] = float(problem.objective(theta))
    return values
