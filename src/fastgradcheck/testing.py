"""Gradient checks as assertions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

from fastgradcheck.arguments import in_our_words
from fastgradcheck.fingerprints.store import checked
from fastgradcheck.options import CheckOptions
from fastgradcheck.report.content import summary
from fastgradcheck.result import GradcheckResult
from fastgradcheck.verdict.verdict import Verdict


@in_our_words
def assert_gradcheck(
    cost: Callable[..., Any],
    grad: Any,
    theta: Any,
    *,
    allow_undecided: bool = False,
    **options: Unpack[CheckOptions],
) -> GradcheckResult:
    """Check a gradient and raise unless it agrees.

    Parameters
    ----------
    cost, grad, theta
        As for `gradcheck`.
    allow_undecided : bool
        Whether a check that could not decide passes, also one that its budget ended; its result
        still says ``UNDECIDED``.
    **options
        Every other argument of `gradcheck`: ``args``, ``sample``, ``seed``, ...

    Returns
    -------
    GradcheckResult
        ``AGREES``; ``UNDECIDED`` only if allowed; ``SKIPPED`` under ``FASTGRADCHECK=off``.

    Raises
    ------
    GradcheckError
        The gradient is wrong or undecided, or the budget ended the check. An `AssertionError`
        whose message ends with the report, with the result as its attribute ``result``.
    GradcheckInputError
        The check cannot start.
    KeyboardInterrupt
        Ctrl-C was pressed. `gradcheck` returns what it has then; an assertion stops the run.

    Examples
    --------
    >>> import numpy as np
    >>> def cost(theta):
    ...     return float(theta @ theta)
    >>> def grad(theta):
    ...     return 2.0 * theta
    >>> assert_gradcheck(cost, grad, np.array([1.0, -2.0])).verdict.name
    'AGREES'
    """
    __tracebackhide__ = True  # pytest then shows the line of the test, not this one
    from fastgradcheck.check import gradcheck

    result = checked("gradient", gradcheck, cost, grad, theta, {**options})
    return require(result, allow_undecided=allow_undecided)


@in_our_words
def assert_jaccheck(
    fun: Any, jac: Any, theta: Any, *, allow_undecided: bool = False, **options: Any
) -> GradcheckResult:
    """Check a Jacobian and raise unless it agrees; see `jaccheck` and `assert_gradcheck`.

    Parameters
    ----------
    fun, jac, theta
        As for `jaccheck`.
    allow_undecided : bool
        As for `assert_gradcheck`.
    **options
        Every other argument of `jaccheck`.

    Returns
    -------
    GradcheckResult

    Raises
    ------
    GradcheckError, GradcheckInputError, KeyboardInterrupt
        As `assert_gradcheck` does.

    Examples
    --------
    >>> import numpy as np
    >>> A = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> assert_jaccheck(lambda t: A @ t, A, np.ones(2)).verdict.name
    'AGREES'
    """
    __tracebackhide__ = True
    from fastgradcheck.jacobians.check import jaccheck

    result = checked("Jacobian", jaccheck, fun, jac, theta, options)
    return require(result, allow_undecided=allow_undecided)


@in_our_words
def assert_hesscheck(
    grad: Any, hess: Any, theta: Any, *, allow_undecided: bool = False, **options: Any
) -> GradcheckResult:
    """Check a Hessian and raise unless it agrees; see `hesscheck` and `assert_gradcheck`.

    Parameters
    ----------
    grad, hess, theta
        As for `hesscheck`.
    allow_undecided : bool
        As for `assert_gradcheck`.
    **options
        Every other argument of `hesscheck`.

    Returns
    -------
    GradcheckResult

    Raises
    ------
    GradcheckError, GradcheckInputError, KeyboardInterrupt
        As `assert_gradcheck` does.

    Examples
    --------
    >>> import numpy as np
    >>> assert_hesscheck(lambda t: t**3, lambda t: np.diag(3 * t**2), np.ones(2)).verdict.name
    'AGREES'
    """
    __tracebackhide__ = True
    from fastgradcheck.jacobians.check import hesscheck

    result = checked("Hessian", hesscheck, grad, hess, theta, options)
    return require(result, allow_undecided=allow_undecided)


@in_our_words
def assert_paircheck(jvp: Any, vjp: Any, theta: Any, like: Any, **options: Any) -> GradcheckResult:
    """Check a jvp beside a vjp and raise unless they agree; see `paircheck`.

    Parameters
    ----------
    jvp, vjp, theta, like
        As for `paircheck`.
    **options
        Every other argument of `paircheck`.

    Returns
    -------
    GradcheckResult

    Raises
    ------
    GradcheckError, GradcheckInputError, KeyboardInterrupt
        As `assert_gradcheck` does.

    Examples
    --------
    >>> import numpy as np
    >>> A = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> pair = (lambda t, v: A @ v), (lambda t, u: A.T @ u)
    >>> assert_paircheck(*pair, np.ones(2), np.ones(2)).verdict.name
    'AGREES'
    """
    __tracebackhide__ = True
    from fastgradcheck.jacobians.pairs import paircheck

    return require(paircheck(jvp, vjp, theta, like, **options))


def require(result: GradcheckResult, *, allow_undecided: bool = False) -> GradcheckResult:
    """The result if it lets an assertion pass, else `GradcheckError`; see `assert_gradcheck`.

    A skipped check never fails: ``FASTGRADCHECK=off`` switches checks off, it does not break a
    build.
    """
    __tracebackhide__ = True
    if stopped_by_hand(result):
        raise KeyboardInterrupt("during a gradient check")
    undecided = result.verdict is Verdict.UNDECIDED and not allow_undecided
    if result.verdict is Verdict.WRONG or undecided:
        raise GradcheckError(result)
    return result


def stopped_by_hand(result: GradcheckResult) -> bool:
    """Whether Ctrl-C ended the check, and not its budget."""
    return any(finding.kind == "interrupted" for finding in result.findings)


class GradcheckError(AssertionError):
    """Raised by `assert_gradcheck`: the gradient is wrong, or could not be decided.

    Parameters
    ----------
    result : GradcheckResult
        The check's result. The message is one line, which names the blocks and the cause, and the
        report below it.
    """

    # Short, as users know it: pytest begins a line with it that is cut at the terminal's width.
    __module__ = "fastgradcheck"

    def __init__(self, result: GradcheckResult) -> None:
        super().__init__(f"{summary(result)}\n\n{result}")
        self.result = result

    def __reduce__(self) -> tuple[type, tuple[GradcheckResult]]:
        return type(self), (self.result,)
