"""Remainders of Taylor's formula along directions, and the order with which they fall.

R0(h) = |J(theta + h v) - J(theta)| falls as h, and R1(h) = |J(theta + h v) - J(theta) - h grad . v|
as h^2 if the gradient is right, as h if it is not: the convergence rates by which adjoints are
tested (Farrell, Ham, Funke, Rognes, SIAM J. Sci. Comput. 35 (2013), section 4). Both are read off
the points that directions take anyway, at h and 2h on either side of theta.

With a Hessian H, R2(h) = |J(theta + h v) - J(theta) - h grad . v - h^2 / 2 v . H v| falls as h^3 if
it is right, as h^2 if it is not. J need not be evaluated: its change along a line is the integral
of grad . v, which was measured at five points of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.directions import OFFSETS
from fastgradcheck.problem.norm import norm

Array = NDArray[np.float64]

VISIBLE = 30.0
"""A remainder of fewer standard deviations of the noise tells no order."""


INTEGRALS = np.array(
    [[346, -74, -19, 11], [74, -346, -11, 19], [992, 32, 232, -8], [-32, -992, 8, -232]]
)
"""In units of h / 720: the integrals from 0 to h, -h, 2h and -2h of the polynomial of fourth degree
that is zero at 0, by its values at these four; their errors are of sixth order."""


@dataclass(frozen=True)
class Orders:
    """The orders with which remainders fall.

    Attributes
    ----------
    zeroth, first : float
        Of R0 and R1; nan where the remainder is lost in noise, as R1 is where J is linear.
    step : float
        h, in units of the directions.
    second : float or None
        Of R2; None without a Hessian.
    """

    zeroth: float
    first: float
    step: float
    second: float | None = None

    @property
    def told(self) -> tuple[float, ...]:
        """R0, R1, R2 where there is one, and the step."""
        second = () if self.second is None else (self.second,)
        return self.zeroth, self.first, *second, self.step


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
    return Orders(_order(changes, noise), _order(changes - predicted, noise), step)


def second_order(slopes: Array, curvatures: Array, step: float, noise: float) -> float:
    """The order of R2, of several directions together.

    Parameters
    ----------
    slopes : float64 array, shape (d, 4)
        grad . v at h, -h, 2h and -2h along each direction v, less that at theta.
    curvatures : float64 array, shape (d,)
        v . H v, as it is claimed.
    step : float
        h.
    noise : float
        Standard deviation of grad . v.

    Examples
    --------
    >>> h = 1e-2 * np.array([[1.0, -1.0, 2.0, -2.0]])
    >>> right, wrong = (second_order(np.exp(h) - 1, np.array([c]), 1e-2, 1e-16) for c in (1, 2))
    >>> round(right, 1), round(wrong, 1)
    (3.0, 2.0)
    """
    integrals = step / 720 * slopes @ INTEGRALS.T
    squares = (step * OFFSETS) ** 2
    return _order(integrals - curvatures[:, np.newaxis] / 2 * squares, noise * step)


def _order(remainders: Array, noise: float) -> float:
    """The order with which remainders at h, -h, 2h and -2h fall."""
    near, far = norm(remainders[:, :2].ravel()), norm(remainders[:, 2:].ravel())
    seen = near > VISIBLE * noise * np.sqrt(2 * len(remainders)) and np.isfinite(far)
    return float(np.log2(far / near)) if seen else float("nan")
