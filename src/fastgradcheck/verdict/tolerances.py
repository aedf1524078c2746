"""What counts as agreement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, shown
from fastgradcheck.problem import low
from fastgradcheck.problem.foreign import COARSE
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.problem import Problem

Array = NDArray[np.float64]

REAL = (int, float, np.integer, np.floating)
WIDEST_RTOL = 0.1
"""What follows from a threshold never accepts more of a component than this."""


BLOCK_LIMIT = 1e-2
"""No block may be known worse than this, however small its part in the whole."""


ROUNDING_UNITS = 8.0


SEEN_UNITS = 8.0
"""The relative difference that a rounding of one standard deviation may look like. Directions limit
it to max|y| / 2t; over eight of them |y| reaches 2.3 standard deviations, and t is 0.3."""


HIDDEN = 0.01
"""The probability with which the limits by directions may be exceeded."""
LARGEST = 0.4
"""No tolerance is above this, however little a dtype can tell: a doubled gradient has a relative
difference of 1/3, per component 1/2."""


@dataclass(frozen=True)
class Tolerances:
    """What counts as agreement.

    Attributes
    ----------
    threshold : float
        On the relative difference.
    rtol : float
        Per component.
    eps : float
        Machine epsilon of the gradient's dtype.
    block_limit : float
        On every block's upper limit.
    """

    threshold: float
    rtol: float
    eps: float
    block_limit: float = BLOCK_LIMIT

    def allowed(
        self, analytic: Array, numeric: Array, largest: float | Array, rounding: float = 0.0
    ) -> Array:
        """The discrepancy that components are allowed in a block with this largest entry.

        Its entries were seen to be rounded by `rounding`, if that is more than one eps of it.
        """
        size = np.fmax(np.abs(analytic), np.abs(numeric))
        rounded = np.maximum(self.eps * largest, rounding)
        allowed: Array = self.rtol * size + ROUNDING_UNITS * rounded
        return allowed


DOUBLE, SINGLE_GRADIENT, SINGLE = (1e-7, 1e-5), (1e-6, 1e-3), (1e-3, 1e-2)
"""Default (threshold, rtol): all in float64; a float32 gradient of a J evaluated in float64
(its entries are rounded by 6e-8); J itself in float32, where the best central difference has a
relative error of eps^(2/3) = 2.4e-5 of J and the gradient may be a tenth of J."""


def tolerances(
    problem: Problem, threshold: float | None, rtol: float | None, screens: bool = False
) -> Tolerances:
    """The tolerances of a check, the user's own or those that the dtypes can reach.

    Parameters
    ----------
    problem : Problem
    threshold, rtol : float, optional
        The user's own.
    screens : bool
        Whether directions cover theta: of a gradient of 16 bits, their limit is what is judged.

    Raises
    ------
    GradcheckInputError
        If one cannot be met by the dtypes, or is so large that nothing could fail.
    """
    seen, reached = 0.0 if problem.rounding is None else norm(problem.rounding), 0.0
    if seen:
        reached = min(SEEN_UNITS * seen / max(norm(problem.gradient), seen), BLOCK_LIMIT)
    plain = tolerances_at(problem.gradient_eps, problem.theta.dtype, threshold, rtol, reached)
    if problem.gradient_eps > COARSE:
        return _of_low_precision(problem, seen, threshold, rtol, screens)
    return plain


def tolerances_at(
    eps: float,
    dtype: np.dtype[Any],
    threshold: float | None,
    rtol: float | None,
    reached: float = 0.0,
) -> Tolerances:
    """The same, of a claim with this eps and rounding, and a theta of this dtype."""
    single = dtype == np.float32
    default = SINGLE if single else SINGLE_GRADIENT if eps > 1e-10 else DOUBLE
    for name, value in (("threshold", threshold), ("rtol", rtol)):
        if value is not None:
            _refuse_useless(name, value, eps, single)
    if reached:
        default = max(default[0], rounded_up(reached)), default[1]
    if threshold is not None:
        # A threshold that accepts more accepts as much more of a component.
        wider = max(float(threshold) / default[0], 1.0) * default[1]
        default = float(threshold), max(default[1], min(wider, WIDEST_RTOL))
    return Tolerances(
        default[0],
        default[1] if rtol is None else float(rtol),
        eps,
        0.1 if single else BLOCK_LIMIT,
    )


def _of_low_precision(
    problem: Problem,
    rounding: float,
    threshold: float | None,
    rtol: float | None,
    screens: bool,
) -> Tolerances:
    """The tolerances of a gradient of 16 bits, of which this rounding is expected."""
    level = rounding / (norm(problem.gradient) or 1.0)
    whole = low.WHOLE / 2 * level * (low.BY_DIRECTIONS if screens else 1.0)
    # Directions over all blocks limit each of them by what they say of all.
    share = whole * float(np.sqrt(len(problem.parameters.blocks)))
    return Tolerances(
        min(whole, LARGEST) if threshold is None else float(threshold),
        min(low.ITSELF * level, LARGEST) if rtol is None else float(rtol),
        0.0,
        max(BLOCK_LIMIT, min(share, LARGEST)),
    )


def of_rows(
    level: float,
    shape: tuple[int, int],
    threshold: float | None,
    rtol: float | None,
    screens: bool,
) -> Tolerances:
    """The tolerances of a Jacobian of 16 bits, each row of which is rounded by this part of it.

    Parameters
    ----------
    level : float
    shape : (int, int)
        Rows, and blocks of theta.
    threshold, rtol : float, optional
        The user's own.
    screens : bool
        Whether directions cover theta.
    """
    rows, blocks = shape
    whole = low.WHOLE / 2 * level * (low.BY_DIRECTIONS_OF_ROWS if screens else 1.0)
    # What may be seen of a row, over what eight directions show of it at its share of the doubt.
    shown = (HIDDEN / rows) ** (1 / 8) / float(np.sqrt(2))
    share = max(whole * float(np.sqrt(blocks)), ROUNDING_UNITS * level / shown)
    return Tolerances(
        min(whole, LARGEST) if threshold is None else float(threshold),
        min(low.ITSELF * level, LARGEST) if rtol is None else float(rtol),
        level,
        max(BLOCK_LIMIT, min(share, LARGEST)),
    )


def rounded_up(number: float) -> float:
    """The next number of one digit: what is advised must not be refused.

    Examples
    --------
    >>> rounded_up(2.2e-16), rounded_up(3e-7)
    (3e-16, 3e-07)
    """
    unit = 10.0 ** np.floor(np.log10(number))
    return float(f"{np.ceil(round(number / unit, 9)) * unit:.0e}")


def _refuse_useless(name: str, value: Any, eps: float, single: bool) -> None:
    number = float(value) if isinstance(value, REAL) else np.nan
    if isinstance(value, bool) or not np.isfinite(number) or number <= 0:
        raise GradcheckInputError(
            f"{name}={shown(value)} is not a tolerance; use a positive number such as 1e-7."
        )
    if number >= 0.5:
        raise GradcheckInputError(
            f"{name}={value:g} lets everything pass: a gradient of twice the right size has a "
            f"relative difference of 1/3, one of zeros has 1. Use {name} <= 1e-2."
        )
    reachable = float(np.finfo(np.float32).eps) ** (2 / 3) if single else eps
    if number < reachable:
        what = "J is evaluated in float32" if single else f"the gradient's eps is {eps:.1g}"
        raise GradcheckInputError(
            f"{name}={value:g} cannot be met: {what}. Use {name} >= {rounded_up(reachable):g}"
            + (", or pass theta and the gradient in float64." if eps > 1e-10 else ".")
        )
