"""Gradients of functions of pytrees against differences of the functions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastgradcheck import check
from fastgradcheck.arguments import with_options
from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.evaluation.engines.batched import DeviceCost
from fastgradcheck.evaluation.plans import Device
from fastgradcheck.jax import device
from fastgradcheck.jax.trees import Tree, arrays_of, double, in_double, is_float, tree_of
from fastgradcheck.options import PASSED_ON
from fastgradcheck.problem.calls import misfit
from fastgradcheck.problem.finding import Finding, by_rank
from fastgradcheck.problem.problem import Objective
from fastgradcheck.report.origin import origin_of
from fastgradcheck.result import GradcheckResult, skipped
from fastgradcheck.verdict.verdict import Verdict

SAME = 64.0
"""In units of eps: J in the dtypes of params may differ by this from J in float64."""


@with_options(PASSED_ON)
def gradcheck(
    fun: Callable[..., Any],
    params: Any,
    *,
    args: tuple[Any, ...] = (),
    grad: Any = None,
    x64: bool = True,
    vectorized: bool | int = True,
    **options: Any,
) -> GradcheckResult:
    """Check whether `grad` is the gradient of `fun` at `params`.

    J is ``fun(params, *args)`` in float64, whatever the dtypes of `params` and `args`; the claimed
    gradient is computed in their own. Without `grad`, that is ``jax.grad(fun)``: what is
    checked then are the rules that are used inside, such as a ``custom_vjp``.

    Parameters
    ----------
    fun : callable
        ``fun(params, *args)``: a real scalar.
    params : pytree of arrays
        Leaves that are not floating point are passed on as they are.
    args : tuple of pytrees
        Passed on to `fun` and `grad`. Whole numbers, booleans, strings and functions are passed as
        they are: jax does not trace them.
    grad : callable or pytree, optional
        ``grad(params, *args)``, or its value; ``jax.grad(fun)`` by default.
    x64 : bool
        Whether J is evaluated in float64, which is switched on for the check alone.
    vectorized : bool or int
        Whether J is evaluated at many points in one call, by `jax.vmap`; a whole number is the
        largest number of them. Where vmap cannot, a finding says why.
    **options
        As for `fastgradcheck.gradcheck`: ``sample``, ``strategy``, ``threshold``, ``seed``, ...

    Returns
    -------
    GradcheckResult
        Blocks have jax's own names (`jax.tree_util.keystr`): ``params.b.0``.

    Raises
    ------
    GradcheckInputError
        If an argument is unusable, before any long work starts.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import fastgradcheck.jax
    >>> params = {"W": jnp.ones((3, 2)), "b": [jnp.zeros(2)]}
    >>> result = fastgradcheck.jax.gradcheck(
    ...     lambda p, x: jnp.tanh(x @ p["W"] + p["b"][0]).sum(), params, args=(jnp.ones(3),)
    ... )
    >>> result.verdict.name, [block.name for block in result.blocks]
    ('AGREES', ['params.W', 'params.b.0'])
    """
    if check.switched_off():
        return skipped()
    refuse_uncallable(fun, "fun(params, *args)")
    if not isinstance(args, tuple):
        raise GradcheckTypeError(
            f"args is a {type(args).__name__}; pass a tuple, e.g. args=(x, y) or args=(x,)."
        )
    tree = tree_of(params)
    complaint = misfit(fun, args, "fun", point="params")
    if complaint:
        raise GradcheckTypeError(complaint)
    numbers = arrays_of(args)
    fun = numbers.bound(fun)
    grad = numbers.bound(grad) if callable(grad) else grad
    return checked(fun, tree, numbers.arrays, grad, x64, vectorized, options)


def checked(
    fun: Callable[..., Any],
    tree: Tree,
    args: tuple[Any, ...],
    grad: Any,
    x64: bool,
    vectorized: bool | int,
    options: Mapping[str, Any],
) -> GradcheckResult:
    """The check of a function of a tree; parameters as in `gradcheck`."""
    forward = single = forward_of(fun, tree, args, x64)
    claim = backward_of(forward, args, grad)
    if forward.traced:
        # jax compiles at the first call, so that this says nothing of the time that others take.
        with contextlib.suppress(Exception):  # the check calls it again, and tells
            claim(tree.theta)
    findings = left_out(tree)
    if vectorized:
        forward, reason = mapped(forward)
        findings += reason
        vectorized = vectorized if forward.mapped else False
    options = {**options, "vectorized": vectorized}
    result = check.gradcheck(forward, claim, tree.theta, **options)
    apart = _apart(single, args) if result.verdict is Verdict.WRONG and x64 else ""
    if apart:
        again = check.gradcheck(
            forward, claim.in_double, tree.theta, **{**options, "checkpoint": None}
        )
        # What differs is then not the gradient, and a verdict on it would be a false alarm.
        if again.verdict is not Verdict.WRONG:
            raise GradcheckInputError(apart)
    named = "jax.grad of it" if grad is None else origin_of(fun, grad).grad
    origin = replace(result.origin, grad=named)
    return replace(result, findings=by_rank(result.findings + findings), origin=origin)


def _apart(forward: Forward, args: tuple[Any, ...]) -> str:
    """Says that J is another one in the dtypes of its tree; empty if it only rounds."""
    tree = forward.tree
    own = jnp.asarray(forward.fun(tree.build(tree.own), *args))
    value = float(forward(tree.theta))
    eps = max(float(jnp.finfo(jnp.result_type(x)).eps) for x in (own, *tree.own.values()))
    if abs(float(own) - value) <= SAME * eps * abs(value):
        return ""
    return (
        f"fun is {float(own):.6g} in the dtypes of params, but {value:.6g} in float64: more than "
        "rounding, and the gradient of each is right. jax.random draws other numbers in float64: "
        "give it a dtype, dtype=jnp.float32, also in the p of bernoulli, or draw outside and pass "
        "what was drawn in args=."
    )


def refuse_uncallable(fun: Any, usage: str) -> None:
    """Refuse what is no function."""
    if not callable(fun):
        raise GradcheckTypeError(
            f"fun is a {type(fun).__name__}, which cannot be called; pass a function {usage}."
        )


@dataclass(frozen=True)
class Forward(DeviceCost):
    """J: a cost of NumPy arrays.

    Attributes
    ----------
    fun : callable
    tree : Tree
    args : tuple
        In float64 if `x64`.
    x64 : bool
    compiled : callable
        ``compiled(parts, args)``, by `jax.jit` where that is possible.
    traced : bool
        Whether it is.
    mapped : bool
        Whether that is a function of many points.
    """

    fun: Callable[..., Any]
    tree: Tree
    args: tuple[Any, ...]
    x64: bool
    compiled: Callable[..., Any] = field(repr=False)
    traced: bool = False
    mapped: bool = False

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """What the report names."""
        return self.fun

    def plain(self, parts: Mapping[str, Any], args: tuple[Any, ...]) -> Any:
        """J of the leaves of a tree."""
        return self.fun(self.tree.build(parts), *args)

    def __call__(self, theta: Mapping[str, Any]) -> Any:
        with self.precision():
            if not self.mapped:
                parts = {name: self.leaf(name, value) for name, value in theta.items()}
                return _scalar(self.compiled(parts, self.args))
            count = len(next(iter(theta.values())))
            room = device.room(count, sum(part.size for part in theta.values()) // count)
            index = np.minimum(np.arange(room), count - 1)
            parts = {name: self.leaf(name, value[index]) for name, value in theta.items()}
            return np.asarray(self.compiled(parts, self.args))[:count]

    def device(self, objective: Objective) -> Device | None:
        """Where jax evaluates J, if not here; with 64 bits, and for a large theta."""
        there = jnp.zeros(()).devices().pop().platform
        if there == device.HERE or not self.x64 or objective.theta.size <= device.LARGE:
            return None
        return device.JaxDevice(
            lambda parts: self.compiled(parts, self.args), objective.parameters, objective.theta
        )

    def precision(self) -> Any:
        """The context in which J is evaluated."""
        return double() if self.x64 else contextlib.nullcontext()

    def leaf(self, name: str, value: Any) -> Any:
        """A leaf in the dtype in which J is evaluated."""
        if self.x64:
            return jnp.asarray(value, jnp.float64)
        return jnp.asarray(value, jnp.result_type(self.tree.own[name]))


def forward_of(fun: Callable[..., Any], tree: Tree, args: tuple[Any, ...], x64: bool) -> Forward:
    """J, compiled if it can be.

    Raises
    ------
    GradcheckInputError
        If `fun` fails, or returns no real scalar.
    """
    with double() if x64 else contextlib.nullcontext():
        forward = Forward(fun, tree, in_double(args) if x64 else args, x64, compiled=fun)
        plain = replace(forward, compiled=forward.plain)
        parts = {name: forward.leaf(name, value) for name, value in tree.theta.items()}
        try:
            _scalar(jax.eval_shape(forward.plain, parts, forward.args))
        except GradcheckTypeError:
            raise
        except Exception:  # what depends on values cannot be traced: it is called as it is
            _refuse_failing(plain)
            return plain
    return replace(forward, compiled=jax.jit(forward.plain), traced=True)


def _refuse_failing(forward: Forward) -> None:
    try:
        forward(forward.tree.theta)
    except GradcheckTypeError:
        raise
    except Exception as error:
        precision = " in float64" if forward.x64 else ""
        advice = " x64=False evaluates J in the dtypes of params." if forward.x64 else ""
        raise GradcheckInputError(
            f"fun fails{precision}: {type(error).__name__}: {_first_line(error)}.{advice}"
        ) from error


def mapped(forward: Forward) -> tuple[Forward, tuple[Finding, ...]]:
    """J of many points in one call; as it is, with a finding, where vmap cannot."""
    many = jax.vmap(forward.plain, in_axes=(0, None))
    many = jax.jit(many) if forward.traced else many
    together = replace(forward, compiled=many, mapped=True)
    two = {name: np.stack([value, value]) for name, value in forward.tree.theta.items()}
    try:
        together(two)
    except Exception as error:
        message = (
            "J was evaluated at one point after the other, since jax.vmap does not take this "
            f"function ({type(error).__name__}: {_first_line(error)})."
        )
        return forward, (Finding("vectorized", message),)
    return together, ()


@dataclass(frozen=True)
class Backward:
    """The claimed gradient, in the dtypes of the tree itself."""

    tree: Tree
    args: tuple[Any, ...]
    slopes: Callable[[Mapping[str, Any], tuple[Any, ...]], Mapping[str, Any]]
    x64: bool

    def __call__(self, theta: Any) -> dict[str, Any]:
        """The gradient at the tree's own leaves, which theta holds."""
        return self._at(self.tree.own, self.args)

    def in_double(self, theta: Any) -> dict[str, Any]:
        """The same in float64, if that is wanted: what the tree's own dtypes round."""
        if not self.x64:
            return self(theta)
        with double():
            return self._at(in_double(self.tree.own), in_double(self.args))

    def _at(self, parts: Mapping[str, Any], args: tuple[Any, ...]) -> dict[str, Any]:
        return {name: np.asarray(part) for name, part in self.slopes(parts, args).items()}


def backward_of(forward: Forward, args: tuple[Any, ...], grad: Any) -> Backward:
    """The claimed gradient: that of jax, compiled if J is, or the user's own."""
    tree = forward.tree
    if grad is None:
        slopes = jax.grad(forward.plain)
        return Backward(tree, args, jax.jit(slopes) if forward.traced else slopes, forward.x64)

    def given(parts: Mapping[str, Any], args: tuple[Any, ...]) -> Mapping[str, Any]:
        return tree.parts(grad(tree.build(parts), *args) if callable(grad) else grad)

    return Backward(tree, args, given, forward.x64)


def left_out(tree: Tree) -> tuple[Finding, ...]:
    """A finding about leaves that are no floating-point numbers."""
    if not tree.left_out:
        return ()
    some = "1 leaf" if tree.left_out == 1 else f"{tree.left_out:,} leaves"
    return (Finding("frozen", f"Left out, since they are not floating point: {some} of params."),)


def _scalar(value: Any) -> Any:
    """What a function returned, or its shape and dtype, if it is a real scalar."""
    if not isinstance(value, float) and not hasattr(value, "dtype"):
        raise GradcheckTypeError(
            f"fun returned a {type(value).__name__}: it must return one real number, without "
            "auxiliary values."
        )
    if jnp.shape(value) or not is_float(value):
        raise GradcheckTypeError(
            f"fun returned an array of shape {jnp.shape(value)} and {value.dtype}: it must return "
            "one real number; reduce it by .sum() or .mean()."
        )
    return value


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else ""
