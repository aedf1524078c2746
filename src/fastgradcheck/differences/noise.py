"""The noise of J: how far its value scatters under changes too small to matter.

Everything else in the package measures its error bars with this number.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.context import Context
from fastgradcheck.evaluation import hashing
from fastgradcheck.evaluation.plans import Directions
from fastgradcheck.evaluation.stream import Stream

POINTS = 8


ORDERS = range(1, POINTS - 1)
"""Orders of the difference table that hold at least two entries."""


SPACINGS = tuple(4 * 8.0**k for k in range(11))
"""Spacings tried, in ulps of theta: from 4 up to 4.3e9, which is 1e-6 in float64: enough to move a
J that was computed in float32."""


MANY = 2_000
FINEST = 4e-13
"""For more parameters, no spacing is finer than this, relative to theta. Closer together, long sums
are rounded alike: x @ x for 1e7 entries shows 1.5e-16 at 32 ulps, 3e-16 at 256, 1e-15 at 2,048 and
2e-15 from 16,384 ulps on. At 1e-9 the kinks of ReLU networks count as noise; at 1e-12 they do not
yet, but that of a single parameter may."""


JUMP = 1e3
"""How far a jump of J stands out from the other changes between eight points."""


WIDEST = 1e-2
"""No spacing is wider than this, relative to theta: in float32, 16,384 ulps are already 2e-3."""


SINGLE = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class Noise:
    """The noise of J at theta.

    Attributes
    ----------
    level : float
        Standard deviation of the irreproducible part of J, absolute. At least the rounding of
        one number of J's size.
    spacing : float
        The relative displacement of theta at which it was measured.
    kind : str
        ``"rounding"`` (about eps * |J|), ``"float32"`` (J has no more than 24 bits),
        ``"solver"`` (far above rounding: an iteration stopped early, a sum of rounded numbers),
        ``"constant"`` (J did not move at any spacing).
    """

    level: float
    spacing: float
    kind: str


def difference_table(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimates of the noise from the differences of order 1, 2, ..., one per order.

    ``sigma_k^2 = gamma_k * mean((Delta^k f)^2)``, ``gamma_k = (k!)^2 / (2k)!``: Moré and Wild,
    *Estimating Computational Noise*, SIAM J. Sci. Comput. 33 (2011), eq. 2.2.

    Examples
    --------
    >>> import numpy as np
    >>> bool(np.allclose(difference_table(np.arange(8.0))[1:], 0))   # a line is not noise
    True
    """
    levels = []
    differences = values
    for k in ORDERS:
        differences = np.diff(differences)
        gamma = factorial(k) ** 2 / factorial(2 * k)
        levels.append(np.sqrt(gamma) * _rms(differences))
    return np.array(levels)


def _rms(values: NDArray[np.float64]) -> float:
    """Root mean square, of numbers whose squares may overflow or vanish."""
    largest = float(np.max(np.abs(values)))
    return largest * float(np.sqrt(np.mean((values / largest) ** 2))) if largest else 0.0


def ecnoise(values: NDArray[np.float64]) -> float | None:
    """The noise level of equidistant values of a function, or None where none is visible.

    The first order k at which three estimates in a row agree within a factor of four and the
    differences change sign (Moré and Wild, section 5).

    Parameters
    ----------
    values : float64 array, shape (8,)

    Returns
    -------
    float or None
        None if the differences keep falling with the order: a smooth trend at this spacing.
    """
    levels = difference_table(values)
    differences = values
    for k in range(len(levels) - 2):
        differences = np.diff(differences)
        three = levels[k : k + 3]
        changes_sign = differences.min() < 0 < differences.max()
        if changes_sign and three.min() > 0 and three.max() <= 4 * three.min():
            return float(three[0])
    return None


def measure(context: Context, finest: float = 0.0) -> Noise:
    """The noise of J over all of theta, along one direction relative to |theta|.

    The spacing starts at the finest of `SPACINGS`, where even a ReLU network has no structure, and
    is enlarged until J moves. Components that have no room between the bounds stay where they are.

    Parameters
    ----------
    context : Context
    finest : float
        No spacing is finer than this, relative to theta: `FINEST` where directions through all of
        a large theta are to be measured. A step of one component leaves most of a long sum as it
        is, and rounded alike.
    """
    stream, value, room = context.stream, context.value, context.room
    theta = stream.theta
    eps = float(np.finfo(theta.dtype).eps)
    scale = np.abs(theta).astype(np.float64, copy=False)
    # A zero moves a little, anything else by ulps of its own: those of an entry of 1e9 may be
    # more than all that is known of one of 1e-9.
    zero = scale == 0
    if zero.any():
        scale[zero] = 1e-3 * (1.0 if zero.all() else float(np.median(scale[~zero])))
    rounding = 0.5 * float(np.finfo(np.float64).eps) * abs(value)
    spacings = [s * eps for s in SPACINGS if s * eps <= WIDEST]
    for attempt, spacing in enumerate(spacings):
        if spacing < finest and len(theta) > MANY:
            continue
        farthest = 1.5 * spacing * (POINTS - 1) / 2
        moving = scale if room is None else np.where(farthest * scale < room, scale, 0.0)
        values = _along(stream, moving, spacing, context.seed, attempt)
        finite = values[np.isfinite(values)]
        if len(finite) < POINTS or len(np.unique(finite)) <= POINTS // 2:
            continue
        values = _without_jump(values)
        level = ecnoise(values)
        if level is None:
            # A trend: the highest difference bounds what is left of it.
            level = float(difference_table(values)[-1])
        level = max(level, rounding, _grid(values, value) / np.sqrt(12))
        return Noise(level, spacing, _kind(values, level, value))
    return _still(values, value, spacings[-1])


def _along(
    stream: Stream, scale: NDArray[np.float64], spacing: float, seed: int, attempt: int
) -> NDArray[np.float64]:
    """J at eight points, spaced evenly and centred on theta, along one direction."""
    n = len(scale)
    places = np.arange(POINTS) - (POINTS - 1) / 2
    plan = Directions(
        regions=np.array([[0, n, 0, 1, 0, n]]),
        keys=np.array([hashing.key(seed, -1, attempt)]),
        offsets=spacing * places[np.newaxis],
        scale=scale,
    )
    values: NDArray[np.float64] = stream.values(plan, "noise")[0]
    return values


def _without_jump(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values without a single jump among them, since theta may stand on one (a floor at 1).

    Noise moves all of them: its smallest change of eight is not a thousand times smaller than its
    largest; the second largest, hardly ever.
    """
    changes = np.diff(values)
    order = np.argsort(np.abs(changes))
    largest, second = np.abs(changes[order[-1]]), np.abs(changes[order[-2]])
    if not largest > JUMP * second:
        return values
    levelled = values.copy()
    levelled[order[-1] + 1 :] -= changes[order[-1]]
    return levelled


def _grid(values: NDArray[np.float64], value: float) -> float:
    """The grid that all values lie on, 0 if there is none: J rounded to float32, or to cents."""
    gaps = np.diff(np.unique(values))
    smallest = float(gaps.min())
    if _is_float32(values) and smallest >= SINGLE * abs(value) / 2:
        return SINGLE * abs(value)
    multiples = gaps / smallest
    uneven = gaps.max() > 1.5 * smallest
    return smallest if uneven and np.allclose(multiples, np.rint(multiples)) else 0.0


def _still(values: NDArray[np.float64], value: float, spacing: float) -> Noise:
    """The noise of a J that hardly moves (constant, or on a coarse grid), or is not finite.

    At the edge of the domain nothing but rounding can be assumed; step sweeps measure the rest.
    """
    finite = np.append(values, value) if np.isfinite(values).all() else np.array([value])
    spread = float(np.ptp(finite)) / np.sqrt(12)
    if _is_float32(finite) and value != 0:
        # A grid of 24 bits: half an ulp, spread evenly.
        grid = SINGLE * abs(value) / np.sqrt(12)
        return Noise(max(spread, grid), spacing, "float32" if spread else "constant")
    rounding = 0.5 * float(np.finfo(np.float64).eps) * abs(value)
    return Noise(max(spread, rounding), spacing, "solver" if spread else "constant")


def _is_float32(values: NDArray[Any]) -> bool:
    with np.errstate(over="ignore"):
        return bool(np.all(values == values.astype(np.float32)))


def _kind(values: NDArray[np.float64], level: float, value: float) -> str:
    if _is_float32(values):
        return "float32"
    return "solver" if level > 1e4 * np.finfo(np.float64).eps * abs(value) else "rounding"
