"""Pytrees as a dict of arrays, by jax's own names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastgradcheck.errors import GradcheckInputError


@dataclass(frozen=True)
class Tree:
    """How a pytree and a dict of its floating-point leaves correspond.

    Attributes
    ----------
    names : tuple of str
        Of the floating-point leaves, such as ``params.b.0``.
    places : tuple of int
        Where they stand among all leaves.
    leaves : tuple
        All leaves; those that are no floating-point numbers stay as they are.
    definition : PyTreeDef
    """

    names: tuple[str, ...]
    places: tuple[int, ...]
    leaves: tuple[Any, ...]
    definition: Any

    @property
    def left_out(self) -> int:
        """How many leaves hold no floating-point numbers."""
        return len(self.leaves) - len(self.names)

    @property
    def own(self) -> dict[str, Any]:
        """The floating-point leaves as they are."""
        return {
            name: self.leaves[place] for name, place in zip(self.names, self.places, strict=True)
        }

    @property
    def theta(self) -> dict[str, Any]:
        """The floating-point leaves as float64 arrays of NumPy."""
        return {name: np.asarray(leaf).astype(np.float64) for name, leaf in self.own.items()}

    def build(self, parts: Mapping[str, Any]) -> Any:
        """The pytree with these in the places of its floating-point leaves."""
        leaves = list(self.leaves)
        for name, place in zip(self.names, self.places, strict=True):
            leaves[place] = parts[name]
        return jax.tree_util.tree_unflatten(self.definition, leaves)

    def parts(self, tree: Any) -> dict[str, Any]:
        """The leaves of a gradient that stand in the places of the floating-point ones.

        Raises
        ------
        GradcheckInputError
            If it is of another structure.
        """
        leaves, definition = jax.tree_util.tree_flatten(tree)
        if definition != self.definition:
            raise GradcheckInputError(
                f"the gradient is the pytree {definition}, but params is {self.definition}: grad "
                "must return what jax.grad(fun) returns, a gradient of its first argument."
            )
        return {name: leaves[place] for name, place in zip(self.names, self.places, strict=True)}


@dataclass(frozen=True)
class Arrays:
    """The arrays in the arguments of a function, apart from what jax cannot trace, or need not.

    Attributes
    ----------
    arrays : tuple
        Arrays and floating-point numbers.
    leaves : tuple
        All leaves.
    places : tuple of int
        Where the arrays stand among them.
    definition : PyTreeDef
    """

    arrays: tuple[Any, ...]
    leaves: tuple[Any, ...]
    places: tuple[int, ...]
    definition: Any

    def bound(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of params and the arrays alone."""

        @functools.wraps(function)
        def of_arrays(params: Any, *arrays: Any) -> Any:
            leaves = list(self.leaves)
            for place, array in zip(self.places, arrays, strict=True):
                leaves[place] = array
            return function(params, *jax.tree_util.tree_unflatten(self.definition, leaves))

        return of_arrays


def arrays_of(args: tuple[Any, ...]) -> Arrays:
    """The arrays in the arguments of a function."""
    leaves, definition = jax.tree_util.tree_flatten(args)
    traced = jax.Array, np.ndarray, np.generic, float, complex
    places = tuple(place for place, leaf in enumerate(leaves) if isinstance(leaf, traced))
    return Arrays(tuple(leaves[place] for place in places), tuple(leaves), places, definition)


def is_float(leaf: Any) -> bool:
    """Whether it is a floating-point array or number."""
    return isinstance(leaf, float) or (
        hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
    )


def tree_of(params: Any, root: str = "params") -> Tree:
    """The floating-point leaves of a pytree.

    Raises
    ------
    GradcheckInputError
        If there is none.
    """
    found, definition = jax.tree_util.tree_flatten_with_path(params)
    leaves = tuple(leaf for _, leaf in found)
    places = tuple(place for place, leaf in enumerate(leaves) if is_float(leaf))
    if not places:
        raise GradcheckInputError(
            f"{root} holds no floating-point array: there is nothing to check. Its pytree is "
            f"{definition}."
        )
    names = tuple(_named(root, found[place][0]) for place in places)
    return Tree(names, places, leaves, definition)


def _named(root: str, path: Any) -> str:
    inner = jax.tree_util.keystr(path, simple=True, separator=".")
    return f"{root}.{inner}" if inner else root


def double() -> Any:
    """A context in which jax has float64."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64  # before jax 0.8

    return enable_x64(True)


def in_double(tree: Any) -> Any:
    """A pytree with its floating-point leaves in float64; under `double` only."""
    return jax.tree_util.tree_map(
        lambda leaf: jnp.asarray(leaf, jnp.float64) if is_float(leaf) else leaf, tree
    )
