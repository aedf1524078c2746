"""Rules of differentiation that were written by hand: ``custom_jvp`` and ``custom_vjp``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastgradcheck import check
from fastgradcheck.arguments import with_options
from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.jax.gradient import checked, refuse_uncallable
from fastgradcheck.jax.trees import Tree, is_float, tree_of
from fastgradcheck.options import PASSED_ON
from fastgradcheck.points import Points
from fastgradcheck.result import skipped

MODES = ("jvp", "vjp")
TANGENTS = 64
"""Tangents that are sent through a rule in one call."""


@with_options(PASSED_ON | {"x64"})
def rulecheck(
    f: Callable[..., Any],
    *args: Any,
    modes: Sequence[str] = MODES,
    seed: int = 0,
    **options: Any,
) -> Points:
    """Check the forward and the backward rule of a function with outputs of any shape.

    The outputs are weighted by a random cotangent u, and J = u . f is checked: in mode "vjp"
    against what the backward rule makes of u, in mode "jvp" against what the forward rule makes of
    every unit tangent.

    Parameters
    ----------
    f : callable
        A function of `args`, such as a ``jax.custom_vjp``; it returns a pytree of arrays.
    *args : pytrees of arrays
    modes : sequence of {"jvp", "vjp"}
        A ``custom_vjp`` has no forward rule: use ``modes=("vjp",)``.
    seed : int
        Of the cotangent and the checks.
    **options
        As for `fastgradcheck.jax.gradcheck`.

    Returns
    -------
    Points
        A dict of mode to `GradcheckResult`; ``print`` shows a table. Blocks are called
        ``args.0``, ``args.1.W``, ...

    Raises
    ------
    GradcheckInputError
        If a mode is unknown, or the function has no rule for it.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> import fastgradcheck.jax
    >>> @jax.custom_jvp
    ... def cube(x):
    ...     return x**3
    >>> @cube.defjvp
    ... def cube_jvp(primals, tangents):
    ...     return cube(*primals), 2 * primals[0] ** 2 * tangents[0]
    >>> results = fastgradcheck.jax.rulecheck(cube, jnp.array([1.0, 2.0]))
    >>> [(mode, result.wrong) for mode, result in results.items()]
    [('jvp', ('args.0[1]', 'args.0[0]')), ('vjp', ('args.0[1]', 'args.0[0]'))]
    """
    refuse_uncallable(f, "f(*args)")
    unknown = [mode for mode in modes if mode not in MODES]
    if unknown or not modes or isinstance(modes, str):
        raise GradcheckInputError(
            f'modes={modes!r} is not a choice of modes: use ("jvp",), ("vjp",) or ("jvp", "vjp").'
        )
    if check.switched_off():
        return Points({mode: skipped() for mode in modes})
    tree = tree_of(args, "args")
    weighted = Weighted(f, _cotangent(f, args, seed))
    x64, vectorized = options.pop("x64", True), options.pop("vectorized", True)
    forward = Pushed(weighted, tree)
    results = {}
    for mode in modes:
        if mode == "jvp":
            _refuse_without_forward(forward, args)
        else:
            _refuse_without_backward(weighted, tree)
        claim = forward if mode == "jvp" else None
        result = checked(weighted, tree, (), claim, x64, vectorized, {**options, "seed": seed})
        rule = "its forward rule" if mode == "jvp" else "its backward rule"
        results[mode] = replace(result, origin=replace(result.origin, grad=rule))
    return Points(results)


@dataclass(frozen=True)
class Weighted:
    """J = u . f of a tuple of arguments."""

    f: Callable[..., Any]
    cotangent: Any

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """What the report names."""
        return getattr(self.f, "__wrapped__", self.f)

    def __call__(self, args: tuple[Any, ...]) -> Any:
        parts = zip(
            jax.tree_util.tree_leaves(self.cotangent),
            filter(is_float, jax.tree_util.tree_leaves(self.f(*args))),
            strict=True,
        )
        return sum(jnp.sum(jnp.asarray(u, y.dtype) * y) for u, y in parts)


@dataclass(frozen=True)
class Pushed:
    """The gradient of a function by its forward rule, one unit tangent for each entry."""

    fun: Callable[..., Any]
    tree: Tree

    def along(self, parts: Mapping[str, Any], direction: Mapping[str, Any]) -> Any:
        """The slope along one tangent."""
        return jax.jvp(lambda p: self.fun(self.tree.build(p)), (parts,), (direction,))[1]

    def __call__(self, args: tuple[Any, ...]) -> Any:
        parts = {key: jnp.asarray(part) for key, part in self.tree.parts(args).items()}
        slopes = {name: np.empty(jnp.shape(part)) for name, part in parts.items()}
        many = jax.jit(jax.vmap(self.along, (None, 0)))
        for name, part in parts.items():
            flat = slopes[name].reshape(-1)
            for first in range(0, flat.size, TANGENTS):
                # As many every time, for which jax compiles once.
                unit = {key: np.zeros((TANGENTS, jnp.size(own))) for key, own in parts.items()}
                count = min(TANGENTS, flat.size - first)
                unit[name][np.arange(count), first + np.arange(count)] = 1.0
                directions = {
                    key: jnp.asarray(unit[key], jnp.result_type(own)).reshape(-1, *jnp.shape(own))
                    for key, own in parts.items()
                }
                flat[first : first + count] = many(parts, directions)[:count]
            slopes[name] = jnp.asarray(slopes[name], jnp.result_type(part))
        return self.tree.build(slopes)


def _cotangent(f: Callable[..., Any], args: tuple[Any, ...], seed: int) -> Any:
    """A random weight for every floating-point output: a sign times 4/8, 5/8, ... or 12/8.

    Every dtype holds these, so that the claim and J have the same weights.
    """
    rng = np.random.default_rng(seed)
    outputs = [y for y in jax.tree_util.tree_leaves(jax.eval_shape(f, *args)) if is_float(y)]
    if not outputs:
        raise GradcheckInputError("f returns no floating-point array: there is nothing to check.")
    return [rng.integers(4, 13, y.shape) / 8 * rng.choice([-1.0, 1.0], y.shape) for y in outputs]


def _refuse_without_forward(forward: Pushed, args: tuple[Any, ...]) -> None:
    """Refuse a function without a forward rule, such as a ``custom_vjp``."""
    parts = {name: jnp.asarray(part) for name, part in forward.tree.parts(args).items()}
    try:
        forward.along(parts, parts)
    except TypeError as error:
        raise GradcheckInputError(
            'f has no forward rule, as no custom_vjp has: pass modes=("vjp",). jax says: '
            f"{str(error).strip().splitlines()[0]}"
        ) from error


def _refuse_without_backward(weighted: Weighted, tree: Tree) -> None:
    """Refuse a function through which jax cannot go backwards."""
    parts = {name: jnp.asarray(part) for name, part in tree.own.items()}
    try:
        jax.eval_shape(jax.grad(lambda p: weighted(tree.build(p))), parts)
    except (NotImplementedError, ValueError) as error:
        raise GradcheckInputError(
            "f has no backward rule, and jax can make none of the forward rule: pass "
            'modes=("jvp",). '
            "A rule that is not linear in the tangent is a usual cause, and so is a while_loop. "
            f"jax says: {str(error).strip().splitlines()[0]}"
        ) from error
    except Exception:
        return  # which the check itself tells, or which depends on values
