"""Arguments under names that other tools use: refused in one line, with the name that is meant."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Collection
from typing import ParamSpec, TypeVar

from fastgradcheck.errors import CostEvaluationError, GradcheckTypeError, asks_to_stop, told

_P = ParamSpec("_P")
_R = TypeVar("_R")

_IN_ARGS = "what {0} takes after {1} goes into args=, a tuple in {0}'s order"

_MEANT = {
    **dict.fromkeys(("x0", "x", "xk", "params", "inputs"), ("theta", "theta is given as theta")),
    **dict.fromkeys(("f", "fn", "fun", "func", "function"), ("cost", "J is given as cost")),
    **dict.fromkeys(("jac", "fprime", "gradient"), ("grad", "the gradient is given as grad")),
    **dict.fromkeys(
        ("eps", "step", "h", "delta", "abs_step"),
        ("epsilon", 'the step is epsilon=; by default, "auto", it is chosen block by block'),
    ),
    "rel_step": ("epsilon", 'the step is epsilon=, in theta\'s units; "auto" chooses it'),
    "tol": ("threshold", "the tolerance of the relative difference is threshold="),
    "atol": (
        "threshold",
        "there is no absolute tolerance, as error bars tell the noise; threshold= is the tolerance "
        "of the relative difference, rtol= that of a component",
    ),
    "method": ("scheme", 'the difference formula is scheme=, as in scheme="central"'),
    "direction": ("strategy", 'strategy="screen" checks along random directions'),
    **dict.fromkeys(
        ("kwargs", "kwds", "fcn_args"),
        (
            "args",
            f"{_IN_ARGS.format('cost', 'theta')}; functools.partial(cost, name=value) binds a name",
        ),
    ),
    **dict.fromkeys(("rng", "random_state"), ("seed", "random choices follow seed=, an int")),
    **dict.fromkeys(("workers", "num_workers"), ("n_jobs", "the number of workers is n_jobs=")),
    **dict.fromkeys(("timeout", "max_time"), ("budget", "the time allowed is budget=, in seconds")),
    "verbose": ("progress", "progress=True shows progress, report(verbose=True) tells everything"),
    "raise_exception": ("threshold", "gradcheck returns a result, assert_gradcheck raises"),
}
"""Their name, ours, and what is said; only of a function that has ours."""


def in_our_words(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let a function answer arguments that it does not have by what it has instead.

    NumPy does not warn of overflow and the like while it runs, and raises nothing for them.

    Raises
    ------
    GradcheckTypeError
        Raised by the function so decorated, in place of Python's `TypeError`.

    Examples
    --------
    >>> @in_our_words
    ... def check(cost, theta, *, epsilon="auto"):
    ...     return epsilon
    >>> check(abs, 1.0, epsilon=0.1)
    0.1
    >>> try:
    ...     check(abs, 1.0, epsilom=0.1)
    ... except TypeError as error:
    ...     print(error)
    check has no argument epsilom=: did you mean epsilon=?
    """
    return with_options(())(function)


def with_options(options: Collection[str]) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """`in_our_words` for a function that passes on what it does not name: these `options`."""
    return functools.partial(_answering, options=frozenset(options))


def _answering(function: Callable[_P, _R], options: frozenset[str]) -> Callable[_P, _R]:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        __tracebackhide__ = True
        try:
            signature.bind(*args, **kwargs)
            if options and not kwargs.keys() <= options | signature.parameters.keys():
                raise TypeError
        except TypeError as error:
            message = _complaint(function.__name__, signature, len(args), kwargs, options)
            raise GradcheckTypeError(message or f"{function.__name__}: {error}.") from None
        # Loaded when it is needed: the command line's help takes names from here, too.
        from numpy import errstate

        try:
            # Whatever is no number is a finding, or an error, and not a warning of NumPy's besides.
            with errstate(all="ignore"):
                return function(*args, **kwargs)
        except Exception:
            raise
        except BaseException as error:
            if asks_to_stop(error):
                raise
            # Uncaught, it would end the process, with whatever exit code it has.
            raise CostEvaluationError(f"your code raised {told(error)}.") from error

    return call


def _complaint(
    name: str,
    signature: inspect.Signature,
    count: int,
    given: Collection[str],
    options: Collection[str] = (),
) -> str:
    """What does not fit a signature; empty if it is nothing that is known here."""
    known = signature.parameters
    various = inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL
    ours = [n for n, p in known.items() if p.kind not in various]
    passed_on = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values())
    ours += sorted(set(options) - set(ours))
    unknown = [n for n in given if n not in ours]
    if unknown and (options or not passed_on):
        return f"{name} has no argument {unknown[0]}=: {_instead(unknown[0], ours)}"
    positional = [n for n, p in known.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    if count > len(positional):
        listed = f"{', '.join(positional[:-1])} and {positional[-1]}"
        rest = _IN_ARGS.format(positional[0], positional[-1])
        return f"{name} takes {listed} by position, {count} were given: {rest}."
    missing = [
        n
        for n in positional[count:]
        if n not in given and known[n].default is inspect.Parameter.empty
    ]
    if missing:
        call = f"{name}({', '.join(positional)})"
        return f"{name} lacks {' and '.join(missing)}: it is called as {call}."
    return ""


def _instead(name: str, ours: list[str]) -> str:
    meant, sentence = _MEANT.get(name, ("", ""))
    if meant in ours:
        return f"{sentence}."
    close = meant_by(name, ours)
    return f"did you mean {close}=?" if close else f"its arguments are {', '.join(ours)}."


def meant_by(name: str, ours: Collection[str]) -> str:
    """Which of our names is meant by another; empty if none is near.

    Examples
    --------
    >>> meant_by("eps", ["epsilon", "seed"]), meant_by("sampel", ["sample"]), meant_by("x", [])
    ('epsilon', 'sample', '')
    """
    meant, _ = _MEANT.get(name, ("", ""))
    close = difflib.get_close_matches(name, ours, n=1, cutoff=0.75)
    return meant if meant in ours else next(iter(close), "")
