"""What a function of several outputs returns: one flat vector, with a name for every entry."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError, shown
from fastgradcheck.problem import foreign
from fastgradcheck.problem.blocks import Block
from fastgradcheck.problem.nests import rebuilt, refuse_endless
from fastgradcheck.problem.parameters import Parameters, blocks_of, shape_of
from fastgradcheck.problem.structure import (
    Flat,
    child_name,
    items_of,
    kind_of,
    leaf_paths,
    one_array,
)

NAME = "F"
"""What an output without a name is called."""

Path = tuple[Hashable, ...]


@dataclass(frozen=True)
class Outputs:
    """How the nest that a function returns and the flat vector of its outputs correspond.

    Attributes
    ----------
    blocks : tuple of Block
        One for each array of the nest, or for each entry of ``outputs=``.
    paths : tuple of (tuple, shape)
        Where each array stands in the nest, and its shape.
    like : nest
        What the function returned at theta.
    function : str
        What the user calls it.

    Examples
    --------
    >>> import numpy as np
    >>> outputs = describe_outputs({"defect": np.zeros((2, 3)), "end": np.zeros(2)})
    >>> outputs.size, outputs.address(4)
    (8, 'defect[1, 1]')
    """

    blocks: tuple[Block, ...]
    paths: tuple[tuple[Path, tuple[int, ...]], ...]
    like: Any = field(default=None, compare=False, repr=False)
    function: str = "fun"

    @property
    def size(self) -> int:
        """Number of outputs m."""
        return self.blocks[-1].stop

    @property
    def returned(self) -> Outputs:
        """What the function itself returns."""
        return self

    def read(self, values: NDArray[Any]) -> NDArray[Any]:
        """The outputs, given along the last axis all numbers that the function returned."""
        return values

    def address(self, i: int) -> str:
        """Name the output `i`, such as ``defect[3, 1]``."""
        block = next(block for block in self.blocks if i < block.stop)
        return block.address(i - block.start)

    def flatten(self, value: Any, is_complex: bool = False) -> NDArray[Any]:
        """Copy what the function returned into a vector of shape (m,).

        Raises
        ------
        GradcheckInputError
            If it is not of the structure and shapes that it was of at first.
        """
        return self._flat(value, (), is_complex)

    def rows(self, value: Any, count: int, is_complex: bool = False) -> NDArray[Any]:
        """Copy what the function returned for many points into an array of shape (count, m).

        Raises
        ------
        GradcheckInputError
            If the arrays have no first axis of that length.
        """
        return self._flat(value, (count,), is_complex)

    def _flat(self, value: Any, lead: tuple[int, ...], is_complex: bool) -> NDArray[Any]:
        if len(self.paths) == 1 and not self.paths[0][0]:
            array = _numbers(value, NAME, self.paths[0][1], is_complex, lead)
            return array.reshape(*lead, -1)
        refuse_endless(value, NAME)
        found = dict(_leaves(value))
        if found.keys() != {path for path, _ in self.paths}:
            raise GradcheckInputError(
                f"{self.function} returned {_listing(found)}, where it returned "
                f"{_listing(path for path, _ in self.paths)} at theta: it must return the same "
                "outputs everywhere."
            )
        parts = [_numbers(found[p], _name(p), shape, is_complex, lead) for p, shape in self.paths]
        return np.concatenate([part.reshape(*lead, -1) for part in parts], axis=-1)

    def rebuilt(self, parts: Mapping[Path, Any]) -> Any:
        """A nest like the one that the function returned, of other leaves."""
        return _rebuilt(self.like, parts)

    def complaint(self, value: Any, is_complex: bool = False) -> str:
        """What is wrong with a value that the function returned; empty if nothing is."""
        try:
            self.flatten(value, is_complex)
        except GradcheckInputError as error:
            return str(error)
        return ""


def describe_outputs(
    value: Any, names: Mapping[str, Any] | None = None, function: str = "fun"
) -> Outputs:
    """Find the outputs in what a function returned.

    Parameters
    ----------
    value : nest of arrays
        What it returned at theta.
    names : dict, optional
        Names the outputs of a 1-d array in their order: name to shape.
    function : str
        What the user calls the function.

    Raises
    ------
    GradcheckInputError
        If there is no output, or one is not finite.
    GradcheckTypeError
        If one is not real.
    """
    if value is None:
        raise GradcheckTypeError(
            f"{function} returned None: does it end with a return statement, in every branch? It "
            "must return an array, or a nest of arrays."
        )
    if callable(value):
        raise GradcheckTypeError(f"{function} is a function: pass what it returns at theta.")
    refuse_endless(value, NAME)
    found = list(_leaves(value))
    if not found:
        raise GradcheckInputError(
            f"{function} returned no array: there is nothing to differentiate."
        )
    arrays = [(path, _numbers(leaf, _name(path))) for path, leaf in found]
    for path, array in arrays:
        if not array.size:
            raise GradcheckInputError(
                f"{_name(path)} is empty (shape {array.shape}): there is nothing to "
                f"differentiate. Leave empty outputs out of what {function} returns."
            )
    paths = tuple((path, array.shape) for path, array in arrays)
    blocks = blocks_of((_name(path), array.shape) for path, array in arrays)
    if names is not None:
        blocks = _named(names, paths)
    outputs = Outputs(blocks, paths, value, function)
    flat = outputs.flatten(value)
    spoiled = np.flatnonzero(~np.isfinite(flat))
    if len(spoiled):
        others = f", and {len(spoiled) - 1:,} more are not finite" if len(spoiled) > 1 else ""
        raise GradcheckInputError(
            f"{outputs.address(int(spoiled[0]))} is {flat[spoiled[0]]} at theta{others}: there is "
            "no derivative. log(0), a division by zero or an overflow in exp is the usual cause; "
            "check at a point where all outputs are finite."
        )
    return outputs


def alone(value: Any) -> Any:
    """What a function of many points returned for one of them, without the first axis.

    Raises
    ------
    GradcheckInputError
        If an array has no such axis.

    Examples
    --------
    >>> alone({"end": np.array([[1.0, 2.0]]), "cost": np.array([3.0])})
    {'end': array([1., 2.]), 'cost': np.float64(3.0)}
    """
    parts = {}
    for path, leaf in _leaves(value):
        array = one_array(foreign.plain(leaf, _name(path)), _name(path))
        if array.shape[:1] != (1,):
            raise GradcheckInputError(f"{_name(path)} has shape {array.shape} for one point")
        parts[path] = leaf[0]
    return _rebuilt(value, parts)


def eps_of(returned: Any) -> float:
    """The eps of the coarsest float dtype in a nest."""
    if kind_of(returned) is not None:
        return max((eps_of(child) for child in items_of(returned)[0].values()), default=0.0)
    return foreign.eps(returned)


def like_theta(outputs: Outputs, parameters: Parameters) -> Outputs:
    """The outputs of a gradient: theta's blocks, in theta's order.

    Raises
    ------
    GradcheckInputError
        If they are not of theta's structure and shapes.
    """
    blocks = parameters.blocks
    if isinstance(parameters.structure, Flat):
        paths: list[tuple[Path, tuple[int, ...]]] = [((), (parameters.size,))]
    else:
        where = leaf_paths(parameters.structure)
        paths = [(path, b.shape) for path, b in zip(where, blocks, strict=True)]
    if len(paths) == 1 and [shape for _, shape in outputs.paths] == [()] * parameters.size:
        # A list of numbers in the place of the array.
        return Outputs(blocks, outputs.paths, outputs.like, outputs.function)
    if set(outputs.paths) != set(paths):
        shapes = ", ".join(f"{_name(path)} {shape}" for path, shape in outputs.paths[:6])
        if outputs.paths == (((), ()),):
            raise GradcheckInputError(
                f"{outputs.function} returned a single number where theta has {parameters.size:,}: "
                "it must be the gradient, not the cost."
            )
        raise GradcheckInputError(
            f"{outputs.function} must return the gradient, of theta's structure and shapes; it "
            f"returned {shapes}, and theta has "
            f"{', '.join(f'{_name(p)} {s}' for p, s in paths[:6])}."
        )
    return Outputs(blocks, tuple(paths), outputs.like, outputs.function)


def _named(names: Mapping[str, Any], paths: tuple[tuple[Path, tuple[int, ...]], ...]) -> Any:
    """The blocks that ``outputs=`` names in a vector."""
    (path, shape), *more = paths
    if more or path or len(shape) != 1:
        what = "several arrays" if more or path else f"an array of shape {shape}"
        raise GradcheckInputError(
            f"outputs= names the parts of a 1-d array, but fun returned {what}: return a dict, "
            "whose keys are then the names, or leave outputs= out."
        )
    if not isinstance(names, Mapping) or not names:
        raise GradcheckInputError(
            f"outputs={shown(names)} names no output: "
            'use a dict of names and shapes, such as {"defect": (20, 6), "end": 6}.'
        )
    blocks = blocks_of((name, shape_of(name, part, "outputs")) for name, part in names.items())
    if blocks[-1].stop != shape[0]:
        sizes = " + ".join(f"{block.name}: {block.size:,}" for block in blocks)
        raise GradcheckInputError(
            f"outputs= adds up to {blocks[-1].stop:,} entries ({sizes}), but fun returned "
            f"{shape[0]:,}: is an output missing, or a shape wrong?"
        )
    return blocks


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The leaves of a nest, and the keys that lead to them."""
    if kind_of(value) is None:
        yield path, value
        return
    for key, child in items_of(value)[0].items():
        yield from _leaves(child, (*path, key))


def _rebuilt(value: Any, parts: Mapping[Path, Any], path: Path = ()) -> Any:
    """A nest with these leaves in the places of those of `value`."""
    kind = kind_of(value)
    if kind is None:
        return parts[path]
    items = items_of(value)[0]
    inner = {key: _rebuilt(child, parts, (*path, key)) for key, child in items.items()}
    return rebuilt(value, inner)


def _name(path: Path) -> str:
    name = ""
    for key in path:
        name = child_name(name, key, NAME)
    return name or NAME


def _listing(paths: Any) -> str:
    names = [_name(path) for path in paths]
    return ", ".join(names[:6] + ["..."] * (len(names) > 6)) or "nothing"


def _numbers(
    value: Any,
    name: str,
    shape: tuple[int, ...] | None = None,
    is_complex: bool = False,
    lead: tuple[int, ...] = (),
) -> NDArray[Any]:
    """A leaf as a new array of float64, or of complex128 where theta is complex.

    `lead` is the axis of many points, if there is one.
    """
    if type(value).__module__.startswith("scipy.sparse"):
        raise GradcheckTypeError(
            f"{name} is a sparse array: outputs must be dense. Use .toarray(), or return its data."
        )
    array = one_array(foreign.plain(value, name), name)
    if array.dtype.kind not in "fiubc":
        what = "None" if value is None else f"of dtype {array.dtype}"
        raise GradcheckTypeError(
            f"{name} is {what}: an output must be numbers, so that it can be differentiated. "
            "An array of arrays of different lengths is the usual cause; return a list of them."
        )
    if is_complex and array.dtype.kind != "c":
        raise GradcheckTypeError(
            f"{name} is real for a complex theta, so that the complex step sees no derivative: "
            'use scheme="central".'
        )
    if array.dtype.kind == "c" and not is_complex:
        raise GradcheckTypeError(
            f"{name} is complex, and theta is real: return real and imaginary parts as two "
            "outputs, such as {'real': z.real, 'imag': z.imag}."
        )
    if shape is not None and lead and array.shape != lead + shape:
        raise GradcheckInputError(
            f"{name} has shape {array.shape} for {lead[0]} points in one call, but must have "
            f"{lead + shape}: with vectorized= every array of theta has a first axis more, with "
            "one entry for each point, and so has every array that is returned."
        )
    if shape is not None and array.shape != lead + shape:
        raise GradcheckInputError(
            f"{name} has shape {array.shape}, but had {shape} at theta: outputs must keep their "
            "shapes. A mask, a filter or an adaptive solver inside fun is the usual cause."
        )
    return array.astype(np.complex128 if is_complex else np.float64)
