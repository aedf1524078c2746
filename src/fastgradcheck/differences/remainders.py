"""Remainders of Taylor's formula along directions, and the order with which they fall.

R0(h) = |J(theta + h v) - J(theta)| falls as h, and R1(h) = |J(theta + h v) - J(theta) - h grad . v|
as h^2 if the gradient is right, as h if it is not: the convergence rates by which adjoints are
tested (Farrell, Ham, Funke, Rognes, SIAM J. Sci. Comput. 35 (2013), section 4). Both are read off
the points that directions take anyway, at h and 2h on either side of theta.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem.norm import norm

Array = NDArray[np.float64]

VISIBLE = 30.0
"""A remainder of fewer standard deviations of the noise tells no order."""


@dataclass(frozen=True)
class Orders:
    """The orders with which remainders fall.

    Attributes
    ----------
    zeroth, first : float
        Of R0 and R1; nan where the remainder is lost in noise, as R1 is where J is linear.
    step : float
        h, in units of the directions.
    """

    zeroth: float
    first: float
    step: float


def orders(changes: Array, predicted: Array, step: float, noise: float) -> Orders:
    """The orders of the remainders of several directions together.

    Parameters
    ----------
    changes : float64 array, shape (d, 4) or (d, 4, m)
        J at h, -h, 2h and -2h along each direction, less J(theta).
    predicted : float64 array of that shape
        What the gradient predicts for them.
    step : float
        h.
    noise : float
        Standard deviation of all of J's m values together.

    Examples
    --------
    >>> h = 1e-3 * np.array([[1.0, -1.0, 2.0, -2.0]])
    >>> found = orders(np.exp(h) - 1, h, 1e-3, 1e-16)
    >>> round(found.zeroth, 2), round(found.first, 2)
    (1.0, 2.0)
    """
    found = []
    for remainder in (changes, changes - predicted):
        near, far = norm(remainder[:, :2].ravel()), norm(remainder[:, 2:].ravel())
        seen = near > VISIBLE * noise * np.sqrt(2 * len(changes)) and np.isfinite(far)
        found.append(float(np.log2(far / near)) if seen else float("nan"))
    return Orders(found[0], found[1], step)
