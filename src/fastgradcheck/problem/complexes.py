"""Complex parameters as pairs of real ones, and what a complex gradient means.

J is real, theta = x + iy. Two conventions are in use for its gradient: dJ/dx + i dJ/dy (torch, and
the direction of steepest ascent) and its conjugate, dJ/dx - i dJ/dy (jax, HIPS autograd).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.problem import foreign
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.nests import rebuilt, refuse_endless
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.structure import child_name, items_of, kind_of

CONVENTIONS = {"torch": 1.0, "jax": -1.0}
"""The sign of i dJ/dy."""
STEP = 1e-6
"""Relative; of the two evaluations that tell which convention a gradient follows."""

TRIED = 8
"""Blocks that vote, two evaluations each."""

Path = tuple[Hashable, ...]


@dataclass(frozen=True)
class Complexes:
    """The complex arrays of a theta.

    Attributes
    ----------
    paths : frozenset of tuple
        The keys that lead to them.
    sign : float
        Of i dJ/dy in the claimed gradient.
    findings : tuple of Finding
    evaluations : int
        Of J, to find out the convention.
    """

    paths: frozenset[Path]
    sign: float = 1.0
    findings: tuple[Finding, ...] = ()
    evaluations: int = 0

    def as_real(self, nest: Any, path: Path = ()) -> Any:
        """A nest with pairs (x, y), along a last axis, in the places of complex arrays."""
        if kind_of(nest) is not None:
            parts = {k: self.as_real(v, (*path, k)) for k, v in items_of(nest)[0].items()}
            return rebuilt(nest, parts)
        if path not in self.paths:
            return nest
        array = np.asarray(foreign.plain(nest, _name(path)))
        single = array.dtype in (np.complex64, np.float32)
        pairs = np.stack([array.real, array.imag], axis=-1)
        return pairs.astype(np.float32 if single else np.float64)

    def as_complex(self, nest: Any, path: Path = ()) -> Any:
        """The way back: arrays are views where that is possible."""
        if kind_of(nest) is not None:
            parts = {k: self.as_complex(v, (*path, k)) for k, v in items_of(nest)[0].items()}
            return rebuilt(nest, parts)
        if path not in self.paths:
            return nest
        pairs = np.ascontiguousarray(nest)
        joined = pairs.view(np.complex64 if pairs.dtype == np.float32 else np.complex128)
        return joined[..., 0] if joined.ndim > 1 else joined[0]

    def gradient(self, claimed: Any) -> Any:
        """A claimed gradient as one of pairs, in the convention of torch."""
        return self._pairs(claimed)

    def _pairs(self, nest: Any, path: Path = ()) -> Any:
        if kind_of(nest) is not None:
            parts = {k: self._pairs(v, (*path, k)) for k, v in items_of(nest)[0].items()}
            return rebuilt(nest, parts)
        if path not in self.paths or nest is None:
            return nest
        pairs = self.as_real(nest, path)
        pairs[..., 1] *= self.sign
        return pairs

    def named(self, parameters: Parameters) -> Parameters:
        """The parameters, pairs named as real and imaginary part."""
        complex_names = {_name(path) for path in self.paths}
        blocks = tuple(
            replace(block, pairs=True) if block.name in complex_names else block
            for block in parameters.blocks
        )
        return replace(parameters, blocks=blocks)


@dataclass(frozen=True)
class _Cost:
    """A cost of complex parameters, given pairs; picklable if the cost is."""

    cost: Callable[..., Any]
    complexes: Complexes
    with_gradient: bool

    def __call__(self, theta: Any, *args: Any) -> Any:
        value = self.cost(self.complexes.as_complex(theta), *args)
        if self.with_gradient and isinstance(value, tuple | list) and len(value) == 2:
            return value[0], self.complexes.gradient(value[1])
        return value


@dataclass(frozen=True)
class _Gradient:
    """A gradient by complex parameters, as one by pairs."""

    grad: Callable[..., Any]
    complexes: Complexes

    def __call__(self, theta: Any, *args: Any) -> Any:
        return self.complexes.gradient(self.grad(self.complexes.as_complex(theta), *args))


def complexes_of(theta: Any) -> Complexes | None:
    """The complex arrays of a theta; None if there are none."""
    refuse_endless(theta, "theta")
    paths = frozenset(_paths(theta))
    return Complexes(paths) if paths else None


def as_pairs(
    cost: Any, grad: Any, theta: Any, args: tuple[Any, ...], complexes: Complexes, convention: Any
) -> tuple[Any, Any, Any, Complexes]:
    """Cost, gradient and theta by pairs of real numbers, and the convention that was found.

    Parameters
    ----------
    cost, grad, theta, args
        As in `gradcheck`, theta with complex arrays.
    complexes : Complexes
    convention : {"torch", "jax"}, optional
        What the gradient follows; None: what it is nearer to.

    Raises
    ------
    GradcheckInputError
        If the convention is unknown.
    """
    if convention is not None and convention not in CONVENTIONS:
        raise GradcheckInputError(
            f"convention={convention!r} is not a convention; use "
            '"torch" (dJ/dx + i dJ/dy), "jax" (its conjugate), or None.'
        )
    if convention is None:
        complexes = _found(cost, grad, theta, args, complexes)
    else:
        complexes = replace(complexes, sign=CONVENTIONS[convention])
    whole = grad is True
    claimed = grad
    if callable(grad):
        claimed = _Gradient(grad, complexes)
    elif not whole:
        claimed = complexes.gradient(grad)
    return _Cost(cost, complexes, whole), claimed, complexes.as_real(theta), complexes


def refuse_layout(layout: Any) -> None:
    """Refuse names of blocks of a complex vector.

    Raises
    ------
    GradcheckInputError
    """
    if layout is not None:
        raise GradcheckInputError(
            "layout= names the blocks of a real theta; for a complex one pass a dict of arrays, "
            "whose keys are then the names."
        )


def _found(
    cost: Any, grad: Any, theta: Any, args: tuple[Any, ...], complexes: Complexes
) -> Complexes:
    """The convention that most blocks of a gradient follow, along random imaginary parts."""
    value = cost if grad is not True else (lambda t, *a: cost(t, *a)[0])
    claim = grad(theta, *args) if callable(grad) else grad
    claim = cost(theta, *args)[1] if grad is True else claim
    rng = np.random.default_rng(0)
    votes: dict[float, list[int]] = {1.0: [0, 0], -1.0: [0, 0]}
    tried = sorted(complexes.paths, key=str)[:TRIED]
    for path in tried:
        leaf, slope = np.asarray(_at(theta, path)), foreign.plain(_at(claim, path), _name(path))
        if slope is None or np.shape(slope) != leaf.shape:
            return complexes  # the check itself says what is wrong with it
        size = float(np.max(np.abs(leaf), initial=0.0)) or 1.0
        step = STEP * size * rng.choice([-1.0, 1.0], leaf.shape)
        predicted = float(np.sum(np.imag(slope) * step))
        try:
            ahead, behind = (
                float(np.real(value(_moved(theta, {path: side * step}), *args)))
                for side in (1j, -1j)
            )
        except Exception:  # the check itself meets the same, and says where
            return complexes
        change = (ahead - behind) / 2
        by_torch, by_jax = abs(change - predicted), abs(change + predicted)
        if not np.isclose(by_torch, by_jax, rtol=1e-3, atol=0.0):
            vote = votes[1.0 if by_torch < by_jax else -1.0]
            vote[0] += 1
            vote[1] += leaf.size
    sign = 1.0 if votes[1.0] >= votes[-1.0] else -1.0
    findings: tuple[Finding, ...] = ()
    if votes[sign][0]:
        name, words = (
            ("torch", "dJ/dx + i dJ/dy") if sign > 0 else ("jax", "dJ/dx - i dJ/dy, its conjugate")
        )
        message = (
            f'The complex gradient follows the convention of {name}, {words}: convention="{name}".'
        )
        findings = (Finding("convention", message),)
    return replace(complexes, sign=sign, findings=findings, evaluations=2 * len(tried))


def _paths(nest: Any, path: Path = ()) -> list[Path]:
    if kind_of(nest) is not None:
        return [p for k, v in items_of(nest)[0].items() for p in _paths(v, (*path, k))]
    is_complex = isinstance(nest, complex | np.ndarray | np.generic) and np.iscomplexobj(nest)
    return [path] if is_complex else []


def _at(nest: Any, path: Path) -> Any:
    """What stands at a path of a nest; None if nothing does."""
    for key in path:
        items = items_of(nest)[0] if kind_of(nest) is not None else {}
        if key not in items:
            return None
        nest = items[key]
    return nest


def _moved(nest: Any, steps: dict[Path, Any], path: Path = ()) -> Any:
    if kind_of(nest) is not None:
        parts = {k: _moved(v, steps, (*path, k)) for k, v in items_of(nest)[0].items()}
        return rebuilt(nest, parts)
    return nest + steps[path] if path in steps else nest


def _name(path: Path) -> str:
    name = ""
    for key in path:
        name = child_name(name, key)
    return name or "theta"
