"""Difference schemes as data.

A scheme is a value: where J is evaluated (`offsets`, in steps), how the values combine
(`weights`, for a step of one) and how the error falls (`order`). Nothing else in the package
knows which scheme is in use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, shown


@dataclass(frozen=True)
class Scheme:
    """One finite-difference scheme for a first derivative.

    Attributes
    ----------
    name : str
    offsets : tuple of float
        Displacements in units of the step, along the imaginary axis if `imaginary`.
    weights : tuple of float
        ``sum(weights * J(theta + offsets * h)) / h`` is the derivative, ``+ base * J(theta) / h``.
    base : float
        The weight of J(theta) itself; 0 where the scheme does not use it.
    order : int
        The truncation error falls as ``h ** order``.
    imaginary : bool
        True if the offsets are along the imaginary axis.

    Notes
    -----
    Forward and central: any textbook. Five-point: Fornberg, *Generation of finite difference
    formulas on arbitrarily spaced grids*, Math. Comp. 51 (1988), table 1. Complex step: Squire
    and Trapp, *Using complex variables to estimate derivatives of real functions*, SIAM Review
    40 (1998), eq. 2.
    """

    name: str
    offsets: tuple[float, ...]
    weights: tuple[float, ...]
    base: float
    order: int
    imaginary: bool = False

    @property
    def noise_gain(self) -> float:
        """Largest error of the derivative, times h, for errors of J of at most one."""
        return float(np.abs(self.weights).sum() + abs(self.base))

    def points(self, theta: NDArray[Any], step: NDArray[np.float64]) -> NDArray[Any]:
        """Where J is needed for components at `theta`, shape (k,) each; shape (k, p)."""
        offsets = step[:, np.newaxis] * np.asarray(self.offsets)
        here = theta[:, np.newaxis]
        points: NDArray[Any] = (
            here + 1j * offsets if self.imaginary else (here + offsets).astype(theta.dtype)
        )
        return points

    def derivative(
        self,
        values: NDArray[Any],
        taken: NDArray[np.float64],
        value: float | NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Combine values of J into derivatives, dividing by the steps actually taken.

        Parameters
        ----------
        values : array, shape (k, p) or (k, m, p)
            J at the scheme's points, or m outputs.
        taken : float64 array, shape (k, p) or (k, 1, p)
            The displacements, ``points - theta`` (their imaginary part for ``complex``).
        value : float, or array of shape (m, 1)
            J(theta).

        Returns
        -------
        float64 array, shape (k,) or (k, m)
        """
        weights = np.asarray(self.weights)
        signal = values.imag if self.imaginary else values - value if self.base else values
        derivative: NDArray[np.float64] = (signal @ weights) / (taken @ weights)
        return derivative


FORWARD = Scheme("forward", (1.0,), (1.0,), -1.0, 1)


CENTRAL = Scheme("central", (1.0, -1.0), (0.5, -0.5), 0.0, 2)


CENTRAL4 = Scheme("central4", (1.0, -1.0, 2.0, -2.0), (2 / 3, -2 / 3, -1 / 12, 1 / 12), 0.0, 4)


COMPLEX = Scheme("complex", (1.0,), (1.0,), 0.0, 2, imaginary=True)


SchemeName = Literal["central", "forward", "central4", "complex"]

SCHEMES = {scheme.name: scheme for scheme in (CENTRAL, FORWARD, CENTRAL4, COMPLEX)}


def scheme_named(name: str | Scheme) -> Scheme:
    """The scheme of that name.

    Raises
    ------
    GradcheckInputError
        If there is none.

    Examples
    --------
    >>> scheme_named("central").offsets
    (1.0, -1.0)
    """
    if isinstance(name, Scheme):
        return name
    if not isinstance(name, str) or name not in SCHEMES:
        raise GradcheckInputError(
            f"scheme={shown(name)} is not a difference scheme; "
            f"use one of {', '.join(map(repr, SCHEMES))}."
        )
    return SCHEMES[name]
