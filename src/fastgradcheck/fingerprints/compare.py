"""`compare` and its kin: several derivatives of one function, beside one set of its values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastgradcheck.arguments import in_our_words
from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError, shown
from fastgradcheck.fingerprints.fingerprint import fingerprint
from fastgradcheck.fingerprints.jacobian import (
    JacobianFingerprint,
    hessian_fingerprint,
    jacobian_fingerprint,
)
from fastgradcheck.points import Comparison
from fastgradcheck.result import GradcheckResult


@in_our_words
def compare(
    cost: Callable[..., Any],
    grads: Mapping[str, Any],
    theta: Any,
    *,
    threshold: float | None = None,
    rtol: float | None = None,
    **options: Any,
) -> Comparison:
    """Check several gradients of one cost; the directions of J are evaluated once for all.

    Parameters
    ----------
    cost : callable
        As in `gradcheck`.
    grads : mapping of str to gradient
        Names them: ``{"numpy": g1, "kernel": g2}``.
    theta
        As in `gradcheck`.
    threshold, rtol : float, optional
        As in `gradcheck`.
    **options
        Passed on to `fingerprint`.

    Returns
    -------
    Comparison
        A dict of name to `GradcheckResult`, which ``print`` shows side by side. What is wrong in
        one of them is located and confirmed by evaluations of its own.

    Raises
    ------
    GradcheckInputError
        As in `gradcheck`, naming the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgradcheck as fgc
    >>> claims = {"right": np.cos, "wrong": lambda t: -np.cos(t)}
    >>> results = fgc.compare(lambda t: np.sin(t).sum(), claims, np.linspace(0, 1, 20), seed=0)
    >>> [(name, result.verdict.name) for name, result in results.items()]
    [('right', 'AGREES'), ('wrong', 'WRONG')]
    """
    _refuse_no_claims(grads, "gradient")
    values = fingerprint(cost, theta, **options)

    def check(name: str, grad: Any) -> GradcheckResult:
        return values.check(grad, cost=cost, threshold=threshold, rtol=rtol)

    return _compared(grads, "gradient", check)


@in_our_words
def compare_jacobians(
    fun: Callable[..., Any],
    jacs: Mapping[str, Any],
    theta: Any,
    *,
    form: str | Mapping[str, str] = "matrix",
    threshold: float | None = None,
    rtol: float | None = None,
    **options: Any,
) -> Comparison:
    """Check several Jacobians of one function, which is evaluated once for all along directions.

    Parameters
    ----------
    fun : callable
        As in `jaccheck`.
    jacs : mapping of str to Jacobian
        Names them: ``{"dense": jac, "jvp": jvp}``.
    theta
        As in `jaccheck`.
    form : str, or mapping of str to str
        As in `jaccheck`, of all, or of some by name: ``{"jvp": "jvp"}``.
    threshold, rtol : float, optional
        As in `jaccheck`.
    **options
        Passed on to `jacobian_fingerprint`.

    Returns
    -------
    Comparison
        As of `compare`.

    Raises
    ------
    GradcheckInputError
        As in `jaccheck`, naming the Jacobian.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgradcheck as fgc
    >>> A = np.arange(6.0).reshape(2, 3)
    >>> claims = {"matrix": A, "jvp": lambda t, v: -A @ v}
    >>> theta, form = np.ones(3), {"jvp": "jvp"}
    >>> results = fgc.compare_jacobians(lambda t: A @ t, claims, theta, form=form, seed=0)
    >>> [(name, result.verdict.name) for name, result in results.items()]
    [('matrix', 'AGREES'), ('jvp', 'WRONG')]
    """
    _refuse_no_claims(jacs, "Jacobian")
    values = jacobian_fingerprint(fun, theta, **options)
    return _rows_compared(values, fun, jacs, form, threshold, rtol)


@in_our_words
def compare_hessians(
    grad: Callable[..., Any],
    hesses: Mapping[str, Any],
    theta: Any,
    *,
    form: str | Mapping[str, str] = "matrix",
    threshold: float | None = None,
    rtol: float | None = None,
    **options: Any,
) -> Comparison:
    """Check several Hessians of one gradient, which is evaluated once for all along directions.

    Parameters
    ----------
    grad : callable
        As in `hesscheck`.
    hesses : mapping of str to Hessian
        Names them: ``{"matrix": hess, "hvp": hvp}``.
    theta
        As in `hesscheck`.
    form : str, or mapping of str to str
        As in `hesscheck`, of all, or of some by name.
    threshold, rtol : float, optional
        As in `hesscheck`.
    **options
        Passed on to `hessian_fingerprint`.

    Returns
    -------
    Comparison
        As of `compare`.

    Raises
    ------
    GradcheckInputError
        As in `hesscheck`, naming the Hessian.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgradcheck as fgc
    >>> claims = {"matrix": lambda t: np.diag(2 * t), "hvp": lambda t, v: 2 * t * v}
    >>> form = {"hvp": "hvp"}
    >>> bool(fgc.compare_hessians(lambda t: t**2, claims, np.ones(3), form=form, seed=0))
    True
    """
    _refuse_no_claims(hesses, "Hessian")
    values = hessian_fingerprint(grad, theta, **options)
    return _rows_compared(values, grad, hesses, form, threshold, rtol)


def _rows_compared(
    values: JacobianFingerprint,
    fun: Callable[..., Any],
    claims: Mapping[str, Any],
    form: str | Mapping[str, str],
    threshold: float | None,
    rtol: float | None,
) -> Comparison:
    def check(name: str, claim: Any) -> GradcheckResult:
        own = form.get(name, "matrix") if isinstance(form, Mapping) else form
        return values.check(claim, form=own, fun=fun, threshold=threshold, rtol=rtol)

    return _compared(claims, values.kind, check)


def _compared(
    claims: Mapping[str, Any], kind: str, check: Callable[[str, Any], GradcheckResult]
) -> Comparison:
    """The results of checks, by name."""
    results = Comparison(kind)
    for name, claim in claims.items():
        try:
            results[name] = check(name, claim)
        except GradcheckInputError as error:
            raise type(error)(f"the {kind} {shown(name)}: {error}") from error
    return results


def _refuse_no_claims(claims: Any, kind: str) -> None:
    example = {"Jacobian": "jac", "Hessian": "hess"}.get(kind, "grad")
    if not isinstance(claims, Mapping) or not claims:
        raise GradcheckTypeError(
            f'the {kind}s must be a non-empty dict of name to {kind}, e.g. {{"kernel": {example}}}.'
        )
