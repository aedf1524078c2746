"""What a function of several outputs returns: one flat vector, with a name for every entry."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.problem.blocks import Block
from fastgradcheck.problem.parameters import blocks_of, shape_of
from fastgradcheck.problem.structure import child_name, items_of, kind_of

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

    Examples
    --------
    >>> import numpy as np
    >>> outputs = describe_outputs({"defect": np.zeros((2, 3)), "end": np.zeros(2)})
    >>> outputs.size, outputs.address(4)
    (8, 'defect[1, 1]')
    """

    blocks: tuple[Block, ...]
    paths: tuple[tuple[Path, tuple[int, ...]], ...]

    @property
    def size(self) -> int:
        """Number of outputs m."""
        return self.blocks[-1].stop

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
        if len(self.paths) == 1 and not self.paths[0][0]:
            return _numbers(value, NAME, self.paths[0][1], is_complex).reshape(-1)
        found = dict(_leaves(value))
        if found.keys() != {path for path, _ in self.paths}:
            raise GradcheckInputError(
                f"fun returned {_listing(found)}, where it returned "
                f"{_listing(path for path, _ in self.paths)} at theta: it must return the same "
                "outputs everywhere."
            )
        parts = [_numbers(found[p], _name(p), shape, is_complex) for p, shape in self.paths]
        return np.concatenate([part.reshape(-1) for part in parts])

    def complaint(self, value: Any, is_complex: bool = False) -> str:
        """What is wrong with a value that the function returned; empty if nothing is."""
        try:
            self.flatten(value, is_complex)
        except GradcheckInputError as error:
            return str(error)
        return ""


def describe_outputs(value: Any, names: Mapping[str, Any] | None = None) -> Outputs:
    """Find the outputs in what a function returned.

    Parameters
    ----------
    value : nest of arrays
        What it returned at theta.
    names : dict, optional
        Names the outputs of a 1-d array in their order: name to shape.

    Raises
    ------
    GradcheckInputError
        If there is no output, or one is not finite.
    GradcheckTypeError
        If one is not real.
    """
    if value is None:
        raise GradcheckTypeError(
            "fun returned None: does it end with a return statement, in every branch? It must "
            "return an array, or a nest of arrays."
        )
    found = list(_leaves(value))
    if not found:
        raise GradcheckInputError("fun returned no array: there is nothing to differentiate.")
    arrays = [(path, _numbers(leaf, _name(path))) for path, leaf in found]
    for path, array in arrays:
        if not array.size:
            raise GradcheckInputError(
                f"{_name(path)} is empty (shape {array.shape}): there is nothing to "
                "differentiate. Leave empty outputs out of what fun returns."
            )
    paths = tuple((path, array.shape) for path, array in arrays)
    blocks = blocks_of((_name(path), array.shape) for path, array in arrays)
    if names is not None:
        blocks = _named(names, paths)
    outputs = Outputs(blocks, paths)
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
            f"outputs={names!r} names no output: "
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


def _name(path: Path) -> str:
    name = ""
    for key in path:
        name = child_name(name, key, NAME)
    return name or NAME


def _listing(paths: Any) -> str:
    names = [_name(path) for path in paths]
    return ", ".join(names[:6] + ["..."] * (len(names) > 6)) or "nothing"


def _numbers(
    value: Any, name: str, shape: tuple[int, ...] | None = None, is_complex: bool = False
) -> NDArray[Any]:
    """A leaf as a new array of float64, or of complex128 where theta is complex."""
    if type(value).__module__.startswith("scipy.sparse"):
        raise GradcheckTypeError(
            f"{name} is a sparse array: outputs must be dense. Use .toarray(), or return its data."
        )
    try:
        array = np.asarray(value)
    except Exception as error:
        raise GradcheckTypeError(
            f"{name} is a {type(value).__name__}, which does not convert to one array ({error})."
        ) from error
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
    if shape is not None and array.shape != shape:
        raise GradcheckInputError(
            f"{name} has shape {array.shape}, but had {shape} at theta: outputs must keep their "
            "shapes. A mask, a filter or an adaptive solver inside fun is the usual cause."
        )
    return array.astype(np.complex128 if is_complex else np.float64)
