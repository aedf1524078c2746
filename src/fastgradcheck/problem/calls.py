"""How cost and grad are called: with theta, then with what is in args."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastgradcheck.errors import GradcheckTypeError
from fastgradcheck.problem.nests import refuse_endless
from fastgradcheck.problem.value import is_jitted


@dataclass(frozen=True)
class Names:
    """What the user calls the function and its derivative, a value of the one, and the other."""

    function: str = "cost"
    derivative: str = "grad"
    value: str = "J"
    claim: str = "gradient"
    forms: str = ""


GRADIENT = Names()
JACOBIAN = Names("fun", "jac", "F", "jacobian", 'form="jvp" or form="vjp"')
HESSIAN = Names("grad", "hess", "the gradient", "hessian", 'form="hvp"')


def arguments_of(
    cost: Any, grad: Any, args: Any, names: Names = GRADIENT, vectors: int = 0, first: int = 0
) -> tuple[Any, ...]:
    """The argument ``args`` as a tuple with which cost and grad can be called.

    Parameters
    ----------
    cost, grad, args
    names : Names
    vectors, first : int
        How many vectors `grad` and `cost` take between theta and args.

    Raises
    ------
    GradcheckTypeError
        If cost is no function, grad is None, or one of them takes other arguments.
    """
    if not callable(cost):
        raise GradcheckTypeError(
            f"{names.function} is a {type(cost).__name__}, which cannot be called; pass the "
            f"function {names.value}."
        )
    if grad is None:
        raise GradcheckTypeError(
            f"{names.derivative} is None: pass the function that computes the {names.claim}, or "
            f"the {names.claim} itself. numerical_{names.claim}({names.function}, theta) is the "
            "way to one without it."
        )
    taken = as_tuple(args, cost)
    for function, name, before in (
        (cost, names.function, first),
        (grad, names.derivative, vectors),
    ):
        complaint = misfit(function, taken, name, vectors=before) if callable(function) else ""
        if complaint and names.forms and not misfit(function, taken, name, "", 1 - before):
            complaint += (
                " What returns the matrix needs no form=."
                if before
                else f" A product with a vector needs {names.forms}."
            )
        if complaint:
            raise GradcheckTypeError(complaint)
    return taken


def as_tuple(args: Any, cost: Any) -> tuple[Any, ...]:
    """The argument ``args`` as a tuple.

    As in ``scipy.optimize``, what is no tuple is one argument; but a list holds several where
    `cost` can be called with them.

    Examples
    --------
    >>> as_tuple([1.0, 2.0], lambda theta, a, b: 0.0)
    (1.0, 2.0)
    >>> as_tuple([1.0, 2.0], lambda theta, a: 0.0)
    ([1.0, 2.0],)
    """
    refuse_endless(args, "args")
    if isinstance(args, tuple) or args is None:
        return args or ()
    several = isinstance(args, list) and not misfit(cost, tuple(args), "cost")
    return tuple(args) if several else (args,)


def misfit(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    name: str,
    where: str = "",
    vectors: int = 0,
    point: str = "theta",
) -> str:
    """Why a function cannot be called as ``name(theta, *args)``; empty where it can.

    What cannot be seen beforehand is taken to fit. `where` may tell more of the function than its
    name; `vectors` stand between theta, which the user may know as `point`, and args.

    Examples
    --------
    >>> misfit(lambda theta, X: 0.0, (), "cost").split(". ")[0]
    "cost(theta, X) does not fit the call cost(theta): missing a required argument: 'X'"
    """
    if inspect.isclass(function):
        return f"{name} is the class {function.__name__}: pass an object of it, or its method."
    plain: Any = getattr(function, "py_func", function) if is_jitted(function) else function
    try:
        # Not followed to what it wraps: a wrapper may well supply an argument of its own.
        signature = inspect.signature(plain, follow_wrapped=False)
    except (TypeError, ValueError):  # many builtins have none
        return ""
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    signature = inspect.Signature(bare)
    try:
        signature.bind(None, *(None,) * vectors, *args)
    except TypeError as error:
        first = ", ".join([point, *["vector"] * vectors])
        call = f"{name}({first}, *args) with {len(args)} in args" if args else f"{name}({first})"
        advice = f"args= must hold, in order, what follows {'the vector' if vectors else point}."
        if next(iter(signature.parameters), "") == "self":
            advice = f"It is a method of a class: pass that of an object, as in model.{name}."
        return f"{where or name}{signature} does not fit the call {call}: {error}. {advice}"
    return ""
