"""What a cost returned, as a number, or what is wrong with it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError, said
from fastgradcheck.problem import foreign
from fastgradcheck.problem.nests import leaves


def is_jitted(function: Any) -> bool:
    """Whether a function was compiled by ``numba.njit``, without importing Numba to find out."""
    if "numba" not in sys.modules:
        return False
    from numba.extending import is_jitted

    return bool(is_jitted(function))


def complaint(value: Any, is_complex: bool = False) -> str:
    """What is wrong with a value that the cost returned; empty if it is a scalar as wanted.

    Parameters
    ----------
    value : object
        A real scalar is wanted: a number, or a 0-d array.
    is_complex : bool
        The cost was called with a complex theta, so that a complex scalar is wanted.

    Examples
    --------
    >>> complaint(1.5)
    ''
    >>> complaint(None)
    'cost returned None: does it end with a return statement, in every branch?'
    """
    if value is None:
        return "cost returned None: does it end with a return statement, in every branch?"
    try:
        array = np.asarray(value)
    except Exception as exc:
        return f"cost returned {_typed(value)}, which does not convert to a number ({said(exc)})."
    if array.ndim:
        return f"cost returned an array of shape {array.shape}: {_reduced(array.size)}."
    if array.dtype.kind not in "fiuc":
        return f"cost returned {_typed(value)}: it must return one number."
    if is_complex and array.dtype.kind != "c":
        return (
            "cost returned a real number for a complex theta, so that the complex step sees no "
            'derivative: use scheme="central".'
        )
    if not is_complex and array.dtype.kind == "c":
        return f"cost returned the complex number {value}: it must return a real one."
    return ""


def _reduced(size: int) -> str:
    if size == 1:
        return "it must return the number itself; take it out by .item()"
    return (
        "it must return one real number; reduce it by .sum() or .mean(), as J is the usual sum or "
        "mean over the examples. A function of several values goes with its Jacobian: "
        "jaccheck(fun, jac, theta)"
    )


def _typed(value: Any) -> str:
    return f"a {type(value).__name__}"


def row_values(value: Any, count: int) -> NDArray[Any]:
    """What a cost of many points returned, if it is one number for each.

    Raises
    ------
    GradcheckTypeError
    """
    array = np.asarray(foreign.plain(value, "what the cost returned"))
    if array.shape != (count,) or array.dtype.kind not in "fiuc":
        what = f"an array of shape {array.shape} and {array.dtype}" if array.ndim else _typed(value)
        raise GradcheckTypeError(
            f"cost returned {what} for {count} points. With vectorized= it is called with {count} "
            f"as the first axis of every array of theta, and returns {count} numbers, shape "
            f"({count},): one J for each point."
        )
    return array


def real_value(value: Any, where: str = "at theta", args: Any = ()) -> float:
    """J as a float.

    Parameters
    ----------
    value : object
        What the cost returned.
    where : str
    args : nest
        What the cost was given beside theta: where J is not finite, it may say why.

    Raises
    ------
    GradcheckTypeError
        If the cost returned anything but one real number.
    GradcheckInputError
        If that is not finite.
    """
    if value is None:
        raise GradcheckTypeError(
            f"cost returned None {where}: does it end with a return statement? "
            "It must return one real number."
        )
    if isinstance(value, tuple):
        raise GradcheckTypeError(
            f"cost returned a tuple of {len(value)} {where}. It must return one real number; "
            "if it returns (J, gradient), pass grad=True."
        )
    try:
        array = np.asarray(value)
    except Exception as error:
        raise GradcheckTypeError(
            f"cost returned a {type(value).__name__} {where}, which does not convert to a number "
            f"({said(error)}). It must return one real number."
        ) from error
    if array.dtype.kind == "c":
        raise GradcheckTypeError(
            f"cost returned the complex number {array!s} {where}. It must return one real number: "
            "take the real part or the squared modulus, whichever is your J."
        )
    if array.ndim != 0:
        raise GradcheckTypeError(
            f"cost returned an array of shape {array.shape} {where}: {_reduced(array.size)}."
        )
    if array.dtype.kind == "b":
        raise GradcheckTypeError(
            f"cost returned {value} {where}, a {type(value).__name__}. It must return one real "
            "number: a comparison has no derivative."
        )
    if array.dtype.kind not in "fiu":
        raise GradcheckTypeError(
            f"cost returned a {type(value).__name__} {where}. It must return one real number."
        )
    number = float(array)
    if not np.isfinite(number):
        cause = _not_finite(args) or (
            "log(0), a division by zero or an overflow in exp is the usual cause; check at a point "
            "where J is finite."
        )
        raise GradcheckInputError(f"J is {number} {where}: there is no derivative. {cause}")
    return number


def _not_finite(args: Any) -> str:
    """Which entry of args is not finite; empty if all are."""
    for path, leaf in leaves(args):
        if (
            not isinstance(leaf, np.ndarray | np.floating | float)
            or np.asarray(leaf).dtype.kind not in "fc"
        ):
            continue
        spoiled = np.argwhere(~np.isfinite(leaf))
        if len(spoiled):
            place = f"[{', '.join(map(str, spoiled[0]))}]" if np.ndim(leaf) else ""
            more = (
                f", and {len(spoiled) - 1:,} more entries are not finite"
                if len(spoiled) > 1
                else ""
            )
            return (
                f"{path}{place} is {np.asarray(leaf)[tuple(spoiled[0])]}{more}: leave such "
                "examples out, or put values in their place."
            )
    return ""
