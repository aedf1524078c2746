"""A nest of float arrays as one flat theta, with a name for every block and every entry.

`describe` looks at the user's theta once; the `Parameters` that it returns turn the nest into a
flat vector and back, name entries, and match a gradient with theta. A *block* is one array of the
nest (``W1``, ``layers[0].b``), or one entry of ``layout=``.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError, shown, told
from fastgradcheck.problem import foreign
from fastgradcheck.problem.blocks import Block
from fastgradcheck.problem.nests import refuse_endless
from fastgradcheck.problem.structure import (
    Convert,
    Flat,
    Leaf,
    Node,
    Structure,
    kind_of,
    leaves_of,
    parameter,
    slope,
    structure_of,
)

_GRADIENT = "the gradient of "  # begins every message about one


@dataclass(frozen=True)
class Parameters:
    """How the user's theta and the flat vector correspond.

    Attributes
    ----------
    blocks : tuple of Block
        In flat order, none of them empty.
    structure : Flat, Leaf or Node
        What the cost takes.
    dtype : numpy.dtype
        float32 if every leaf of theta is float32, else float64.

    Examples
    --------
    >>> import numpy as np
    >>> parameters = describe({"W1": np.ones((2, 3)), "layers": [{"b": np.zeros(2)}]})
    >>> parameters.names, parameters.size
    (('W1', 'layers[0].b'), 8)
    >>> parameters.address(4), parameters.address(7)
    ('W1[1, 1]', 'layers[0].b[1]')
    >>> parameters.unflatten(np.arange(8.0))["layers"]
    [{'b': array([6., 7.])}]
    """

    blocks: tuple[Block, ...]
    structure: Structure
    dtype: np.dtype[Any]

    @property
    def size(self) -> int:
        """Number of entries n of the flat vector."""
        return self.blocks[-1].stop

    @property
    def names(self) -> tuple[str, ...]:
        """The blocks' names."""
        return tuple(block.name for block in self.blocks)

    @cached_property
    def blocks_start(self) -> NDArray[np.int64]:
        """The blocks' first flat indices, rising, for ``numpy.searchsorted(..., side="right")``."""
        return np.array([block.start for block in self.blocks], dtype=np.int64)

    @cached_property
    def has_views(self) -> bool:
        """True if one `unflatten` serves for good, since all its leaves are views of the vector.

        False with scalar leaves, which are values, and with dataclasses, which may copy or cache:
        there, each change of the flat vector needs an `unflatten` of its own.
        """
        if isinstance(self.structure, Leaf):
            return self.structure.has_views
        return isinstance(self.structure, Flat) or self.structure.has_views

    def block_index(self, i: int) -> int:
        """Return the number of the block that holds flat index `i`; IndexError if there is none."""
        if not 0 <= i < self.size:
            raise IndexError(f"flat index {i} is outside of 0 to {self.size - 1}")
        return bisect_right(self.blocks, i, key=operator.attrgetter("start")) - 1

    def blocks_of(self, index: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of the blocks that hold these entries, each once."""
        return np.unique(np.searchsorted(self.blocks_start, index, side="right") - 1)

    def address(self, i: int) -> str:
        """Name the entry at flat index `i`, e.g. ``W1[3, 5]``; IndexError if there is none."""
        block = self.blocks[self.block_index(i)]
        return block.address(i - block.start)

    def unflatten(self, flat: NDArray[Any]) -> Any:
        """Put a flat vector into the user's structure.

        Parameters
        ----------
        flat : array, shape (n,) or (k, n), of any dtype
            One point, or many: then every leaf has a first axis of that length.

        Returns
        -------
        nest
            Arrays are views of `flat`, 0-d ones too; scalar leaves are NumPy scalars. Of a flat
            theta, `flat` itself.
        """
        return flat if isinstance(self.structure, Flat) else self._fill(self.structure, flat)

    def _fill(self, structure: Leaf | Node, flat: NDArray[Any]) -> Any:
        if isinstance(structure, Node):
            if structure.numbers and flat.ndim == 1:
                # They may be thousands; their blocks follow one another.
                first = self.blocks[structure.numbers[0]].start
                return structure.build(list(flat[first : first + len(structure.numbers)]))
            return structure.build([self._fill(child, flat) for child in structure.children])
        block = self.blocks[structure.block]
        if structure.scalar:
            return flat[block.start] if flat.ndim == 1 else flat[:, block.start]
        array = flat[..., block.slice].reshape(flat.shape[:-1] + block.shape)
        return array if structure.like is None else structure.like(array)

    def flatten(self, theta: Any, role: str = "theta") -> NDArray[Any]:
        """Copy a theta of this structure into a contiguous flat vector, never a view.

        Parameters
        ----------
        theta : nest
            Of the structure and shapes of the theta described.
        role : str
            What messages call it.

        Returns
        -------
        array, shape (n,), of ``dtype``

        Raises
        ------
        GradcheckInputError
            If structure, shapes or dtypes do not match, or an entry is not finite.
        """
        prefix = "" if role == "theta" else f"{role}: "
        flat = np.empty(self.size, self.dtype)
        for block, array in self._arrays(theta, prefix, parameter):
            flat[block.slice] = array.ravel()
        spoiled = np.flatnonzero(~np.isfinite(flat))
        if len(spoiled):
            others = f", and {len(spoiled) - 1:,} more are not finite" if len(spoiled) > 1 else ""
            raise GradcheckInputError(
                f"{prefix}{self.address(int(spoiled[0]))} is {flat[spoiled[0]]}{others}: there is "
                "no derivative. A diverged training run or an uninitialised array is the usual "
                "cause; check at a finite theta."
            )
        return flat

    def match(self, gradient: Any) -> NDArray[np.float64]:
        """Copy the analytic gradient into a flat vector, dicts by key and not by position.

        Parameters
        ----------
        gradient : nest
            Of theta's structure (a list and a tuple are the same here) and shapes, of real
            floating-point arrays; scalars for 0-d entries. Need not be finite.

        Returns
        -------
        float64 array, shape (n,)

        Raises
        ------
        GradcheckInputError
            With the path of the first difference.
        """
        if gradient is None:
            raise GradcheckTypeError(
                "grad returned None: does it end with a return statement? "
                "It must return the gradient in theta's structure."
            )
        flat = np.empty(self.size)
        for block, array in self.slopes(gradient):
            flat[block.slice] = array.ravel()
        return flat

    def slopes(self, gradient: Any) -> Iterator[tuple[Block, NDArray[Any]]]:
        """Yield the leaves of a gradient as arrays of their blocks' shapes; see `match`."""
        return self._arrays(gradient, _GRADIENT, slope)

    def gradient_eps(self, gradient: Any) -> float:
        """Return the machine epsilon of the coarsest dtype in a gradient that matches."""
        if isinstance(self.structure, Flat):
            return foreign.eps(gradient)
        return max(foreign.eps(leaf) for _, leaf in leaves_of(self.structure, gradient, "", ""))

    def parts(self, tree: Any, prefix: str = "") -> Iterator[tuple[Block, Any]]:
        """Yield the leaves of a nest of theta's structure with their blocks, refusing any other."""
        if isinstance(self.structure, Flat):
            yield Block("theta", 0, (self.size,)), tree
            return
        for index, leaf in leaves_of(self.structure, tree, prefix, ""):
            yield self.blocks[index], leaf

    def _arrays(
        self, tree: Any, prefix: str, convert: Convert
    ) -> Iterator[tuple[Block, NDArray[Any]]]:
        """Yield the leaves of a nest as arrays of their blocks' shapes, refusing any other."""
        for block, leaf in self.parts(tree, prefix):
            array = convert(leaf, prefix + block.name)
            if array.shape != block.shape:
                raise GradcheckInputError(
                    f"{prefix}{block.name} has shape {array.shape}, but theta has {block.shape} "
                    f"there: {_shape_hint(array.shape, block.shape)}."
                )
            yield block, array


def vector(theta: Any) -> Any:
    """A list of numbers as the array that SciPy makes of it; any other theta as it is.

    Examples
    --------
    >>> vector([1.0, 2]), vector((1.0, 2.0))
    (array([1., 2.]), (1.0, 2.0))
    """
    numbers = isinstance(theta, list) and all(
        isinstance(x, int | float | np.integer | np.floating) and not isinstance(x, bool)
        for x in theta
    )
    if not (numbers and theta):
        return theta
    array = np.asarray(theta)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def describe(theta: Any, layout: Mapping[str, Any] | None = None) -> Parameters:
    """Find the blocks of a theta, their names and their order.

    Parameters
    ----------
    theta : float, array or nest of them
        Arrays of float64 or float32, of any shape and memory order, in dicts, lists, tuples,
        NamedTuples and dataclasses, however nested; tensors of torch, arrays of jax, Series and
        DataFrames of pandas, DataArrays and Datasets of xarray. In a dataclass or Dataset, whatever
        holds no float is carried over unchanged, and so is a field of a dataclass with
        ``metadata={"static": True}``.
    layout : dict, optional
        Names the blocks of a 1-d theta in their order: name to shape (an int for a vector).

    Returns
    -------
    parameters : Parameters

    Raises
    ------
    GradcheckInputError
        If theta is empty, not finite, or tied, or if the layout does not fit it.
    GradcheckTypeError
        If theta holds anything but real float64 or float32 numbers.

    Examples
    --------
    >>> import numpy as np
    >>> describe(np.zeros(8), layout={"W1": (2, 3), "b1": 2}).address(4)
    'W1[1, 1]'
    """
    refuse_endless(theta, "theta")
    if layout is not None:
        parameters = _laid_out(theta, layout)
    else:
        found: list[tuple[str, Any]] = []
        structure: Structure = structure_of(theta, "", found)
        blocks = blocks_of((name, np.shape(leaf)) for name, leaf in found)
        _refuse_unusable(found)
        plain = isinstance(structure, Leaf) and structure.like is None
        if plain and len(blocks[0].shape) == 1:
            structure = Flat()
        single = all(np.asarray(leaf).dtype.type is np.float32 for _, leaf in found)
        parameters = Parameters(blocks, structure, np.dtype(np.float32 if single else np.float64))
    flat = parameters.flatten(theta)
    try:
        parameters.unflatten(flat)
    except Exception as error:
        raise GradcheckTypeError(
            f"theta cannot be rebuilt from its fields and arrays ({told(error)})."
            " A dataclass must accept them by name; a dict or a NamedTuple always works."
        ) from error
    return parameters


def _laid_out(theta: Any, layout: Mapping[str, Any]) -> Parameters:
    if kind_of(theta) is not None:
        raise GradcheckInputError(
            f"layout= names the blocks of a flat theta, but theta is a {type(theta).__name__}, "
            "which has names of its own: leave layout= out."
        )
    if foreign.like(theta) is not None:
        raise GradcheckInputError(
            f"layout= names the blocks of a flat NumPy array, but theta is a "
            f"{type(theta).__name__}: pass a dict of arrays by name, or np.asarray(theta)."
        )
    array = parameter(theta, "theta")
    if array.ndim != 1:
        raise GradcheckInputError(
            f"layout= needs a 1-d theta, but theta has shape {array.shape}: "
            "use theta.ravel(), or leave layout= out."
        )
    if not isinstance(layout, Mapping) or not layout:
        raise GradcheckInputError(
            f"layout={shown(layout)} names no block: "
            'use a dict of names and shapes, such as {"W1": (64, 128), "b1": 128}.'
        )
    blocks = blocks_of((name, shape_of(name, shape)) for name, shape in layout.items())
    size = blocks[-1].stop
    if size != array.size:
        sizes = " + ".join(f"{block.name}: {block.size:,}" for block in blocks)
        excess = "more" if array.size > size else "fewer"
        raise GradcheckInputError(
            f"layout= adds up to {size:,} entries ({sizes}), but theta has {array.size:,}, "
            f"{abs(array.size - size):,} {excess}: is a block missing, or a shape wrong?"
        )
    return Parameters(blocks, Flat(), np.dtype(array.dtype.type))


def shape_of(name: Any, shape: Any, argument: str = "layout") -> tuple[int, ...]:
    """Validate the shape that an argument such as ``layout`` gives to one block."""
    axes = shape if isinstance(shape, tuple | list) else (shape,)
    whole = all(isinstance(axis, int | np.integer) and not isinstance(axis, bool) for axis in axes)
    named = isinstance(name, str) and name and name.isprintable()
    if not (named and whole and all(axis > 0 for axis in axes)):
        raise GradcheckInputError(
            f"{argument}[{shown(name)}] is {shown(shape)}: a block needs a name and a shape of "
            'positive whole numbers, such as "W1": (64, 128), and the name must be printable.'
        )
    return tuple(operator.index(axis) for axis in axes)


def blocks_of(named_shapes: Iterable[tuple[str, tuple[int, ...]]]) -> tuple[Block, ...]:
    """Place blocks of these names and shapes one after the other."""
    blocks: list[Block] = []
    for name, shape in named_shapes:
        blocks.append(Block(name, blocks[-1].stop if blocks else 0, shape))
    return tuple(blocks)


def _refuse_unusable(found: list[tuple[str, Any]]) -> None:
    """Refuse no leaves, empty leaves, leaves of one name and arrays that occur twice."""
    if not found:
        raise GradcheckInputError("theta holds no array: there is nothing to check.")
    names: set[str] = set()
    arrays: dict[int, str] = {}
    for name, leaf in found:
        if np.size(leaf) == 0:
            raise GradcheckInputError(
                f"{name} is empty (shape {np.shape(leaf)}): there is nothing to check. "
                "Was theta filled? Leave empty arrays out of it."
            )
        if name in names:
            raise GradcheckInputError(
                f"two parameters of theta would both be called {name}: rename a key of the dict."
            )
        names.add(name)
        if isinstance(leaf, np.ndarray) and arrays.setdefault(id(leaf), name) != name:
            raise GradcheckInputError(
                f"{arrays[id(leaf)]} and {name} are one and the same array. The check changes one "
                "entry at a time, so tied weights must occur once in theta (let the cost use them "
                "twice); if they are not tied, make one of them a copy."
            )


def _shape_hint(shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if shape == ():
        return "it is one number, such as J, or a sum over the entries"
    if shape == wanted[::-1]:
        return "it is the transpose, use .T"
    if math.prod(shape) == math.prod(wanted):
        return f"the number of entries is right, use .reshape({wanted})"
    return "each entry needs exactly one counterpart"
