"""A nest of float arrays as one flat theta, with a name for every block and every entry.

`describe` looks at the user's theta once; the `Parameters` that it returns turn the nest into a
flat vector and back, name entries, and match a gradient with theta. A *block* is one array of the
nest (``W1``, ``layers[0].b``), or one entry of ``layout=``.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import re
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError

Kind: TypeAlias = Literal["dict", "list", "tuple", "namedtuple", "dataclass"]
Convert: TypeAlias = Callable[[Any, str], NDArray[Any]]

# Keys that read well without quotes: identifiers, and dotted ones such as "layers.0.weight".
_PLAIN = re.compile(r"[^\W\d]\w*(\.\w+)*")
_GRADIENT = "the gradient of "  # begins every message about one


@dataclass(frozen=True)
class Block:
    """One array of theta: the entries ``start`` to ``stop`` of the flat vector, in C order.

    Attributes
    ----------
    name : str
    start : int
        Flat index of the first entry.
    shape : tuple of int

    Examples
    --------
    >>> block = Block("W1", 10, (2, 3))
    >>> block.stop, block.rows, block.columns, block.address(5)
    (16, 2, 3, 'W1[1, 2]')
    """

    name: str
    start: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of entries; 1 for a 0-d array."""
        return math.prod(self.shape)

    @property
    def stop(self) -> int:
        """Flat index one past the last entry."""
        return self.start + self.size

    @property
    def slice(self) -> slice:
        """The block's part of a flat vector."""
        return slice(self.start, self.stop)

    @property
    def rows(self) -> int:
        """Rows of the block seen as a matrix: its first axis, 1 below two dimensions."""
        return self.shape[0] if len(self.shape) > 1 else 1

    @property
    def columns(self) -> int:
        """Columns of the block seen as a matrix: all axes but the first, one after the other."""
        return self.size // self.rows

    def address(self, local: int) -> str:
        """Name the entry `local` of the block, e.g. ``W1[3, 5]``, ``b1[2]``; ``c`` if 0-d."""
        index = ", ".join(str(i) for i in np.unravel_index(local, self.shape))
        return f"{self.name}[{index}]" if index else self.name


@dataclass(frozen=True)
class Flat:
    """The cost takes the flat vector itself."""


@dataclass(frozen=True)
class Leaf:
    """The cost takes the block of this number: an array, or a scalar if `scalar`."""

    block: int
    scalar: bool = False


@dataclass(frozen=True)
class Node:
    """The cost takes a nest.

    Attributes
    ----------
    kind : {"dict", "list", "tuple", "namedtuple", "dataclass"}
    type : type
        The user's own class, in which the nest is rebuilt.
    keys : tuple
        Dict keys, positions or field names, in theta's order.
    children : tuple of Leaf or Node
        What stands at the keys.
    static : tuple of (str, object)
        Fields of a dataclass that are no parameters, carried over as they are. Not compared:
        an array among them has no truth value.
    """

    kind: Kind
    type: Any
    keys: tuple[Hashable, ...]
    children: tuple[Leaf | Node, ...]
    static: tuple[tuple[str, Any], ...] = field(default=(), compare=False)

    def build(self, children: list[Any]) -> Any:
        """Rebuild the user's nest with these in the children's places."""
        match self.kind:
            case "dict":
                # Without __init__, whose signature is anybody's guess in a subclass of dict.
                nest = self.type.__new__(self.type)
                nest.update(zip(self.keys, children, strict=True))
                return nest
            case "namedtuple":
                return self.type(*children)
            case "dataclass":
                named = zip(map(str, self.keys), children, strict=True)
                return self.type(**dict(named), **dict(self.static))
            case _:
                return self.type(children)

    @property
    def has_views(self) -> bool:
        """True if the nest, once built of views, follows whatever is written beneath them.

        A dataclass does not: its ``__post_init__`` may copy, a cached property may go stale.
        """
        return self.kind != "dataclass" and all(
            child.has_views if isinstance(child, Node) else not child.scalar
            for child in self.children
        )


Structure: TypeAlias = Flat | Leaf | Node


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
            return not self.structure.scalar
        return isinstance(self.structure, Flat) or self.structure.has_views

    def block_index(self, i: int) -> int:
        """Return the number of the block that holds flat index `i`; IndexError if there is none."""
        if not 0 <= i < self.size:
            raise IndexError(f"flat index {i} is outside of 0 to {self.size - 1}")
        return bisect_right(self.blocks, i, key=operator.attrgetter("start")) - 1

    def address(self, i: int) -> str:
        """Name the entry at flat index `i`, e.g. ``W1[3, 5]``; IndexError if there is none."""
        block = self.blocks[self.block_index(i)]
        return block.address(i - block.start)

    def unflatten(self, flat: NDArray[Any]) -> Any:
        """Put a flat vector into the user's structure.

        Parameters
        ----------
        flat : array, shape (n,), of any dtype

        Returns
        -------
        nest
            Arrays are views of `flat`, 0-d ones too; scalar leaves are NumPy scalars. Of a flat
            theta, `flat` itself.
        """
        return flat if isinstance(self.structure, Flat) else self._fill(self.structure, flat)

    def _fill(self, structure: Leaf | Node, flat: NDArray[Any]) -> Any:
        if isinstance(structure, Node):
            return structure.build([self._fill(child, flat) for child in structure.children])
        block = self.blocks[structure.block]
        return flat[block.start] if structure.scalar else flat[block.slice].reshape(block.shape)

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
        for block, array in self._arrays(theta, prefix, _parameter):
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
        for block, array in self._arrays(gradient, _GRADIENT, _slope):
            flat[block.slice] = array.ravel()
        return flat

    def gradient_eps(self, gradient: Any) -> float:
        """Return the machine epsilon of the coarsest dtype in a gradient that matches."""
        arrays = self._arrays(gradient, _GRADIENT, _slope)
        dtypes = {np.dtype(np.float64), *(array.dtype for _, array in arrays)}
        return max(float(np.finfo(dtype).eps) for dtype in dtypes)

    def _arrays(
        self, tree: Any, prefix: str, convert: Convert
    ) -> Iterator[tuple[Block, NDArray[Any]]]:
        """Yield the leaves of a nest as arrays of their blocks' shapes, refusing any other."""
        if isinstance(self.structure, Flat):
            leaves = iter([(Block("theta", 0, (self.size,)), tree)])
        else:
            found = _leaves(self.structure, tree, prefix, "")
            leaves = ((self.blocks[index], leaf) for index, leaf in found)
        for block, leaf in leaves:
            array = convert(leaf, prefix + block.name)
            if array.shape != block.shape:
                raise GradcheckInputError(
                    f"{prefix}{block.name} has shape {array.shape}, but theta has {block.shape} "
                    f"there: {_shape_hint(array.shape, block.shape)}."
                )
            yield block, array


def describe(theta: Any, layout: Mapping[str, Any] | None = None) -> Parameters:
    """Find the blocks of a theta, their names and their order.

    Parameters
    ----------
    theta : float, array or nest of them
        Arrays of float64 or float32, of any shape and memory order, in dicts, lists, tuples,
        NamedTuples and dataclasses, however nested. In a dataclass, whatever holds no float is
        carried over unchanged, and so is a field with ``metadata={"static": True}``.
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
    if layout is not None:
        parameters = _laid_out(theta, layout)
    else:
        found: list[tuple[str, Any]] = []
        structure: Structure = _structure(theta, "", found)
        blocks = _blocks((name, np.shape(leaf)) for name, leaf in found)
        _refuse_unusable(found)
        if isinstance(structure, Leaf) and len(blocks[0].shape) == 1:
            structure = Flat()
        single = all(np.asarray(leaf).dtype.type is np.float32 for _, leaf in found)
        parameters = Parameters(blocks, structure, np.dtype(np.float32 if single else np.float64))
    flat = parameters.flatten(theta)
    try:
        parameters.unflatten(flat)
    except Exception as error:
        raise GradcheckTypeError(
            f"theta cannot be rebuilt from its fields and arrays ({type(error).__name__}: {error})."
            " A dataclass must accept them by name; a dict or a NamedTuple always works."
        ) from error
    return parameters


def _laid_out(theta: Any, layout: Mapping[str, Any]) -> Parameters:
    if _kind(theta) is not None:
        raise GradcheckInputError(
            f"layout= names the blocks of a flat theta, but theta is a {type(theta).__name__}, "
            "which has names of its own: leave layout= out."
        )
    array = _parameter(theta, "theta")
    if array.ndim != 1:
        raise GradcheckInputError(
            f"layout= needs a 1-d theta, but theta has shape {array.shape}: "
            "use theta.ravel(), or leave layout= out."
        )
    if not isinstance(layout, Mapping) or not layout:
        raise GradcheckInputError(
            f"layout={layout!r} names no block: "
            'use a dict of names and shapes, such as {"W1": (64, 128), "b1": 128}.'
        )
    blocks = _blocks((name, _shape(name, shape)) for name, shape in layout.items())
    size = blocks[-1].stop
    if size != array.size:
        sizes = " + ".join(f"{block.name}: {block.size:,}" for block in blocks)
        excess = "more" if array.size > size else "fewer"
        raise GradcheckInputError(
            f"layout= adds up to {size:,} entries ({sizes}), but theta has {array.size:,}, "
            f"{abs(array.size - size):,} {excess}: is a block missing, or a shape wrong?"
        )
    return Parameters(blocks, Flat(), np.dtype(array.dtype.type))


def _shape(name: Any, shape: Any) -> tuple[int, ...]:
    """Validate the shape that a layout gives to one block."""
    axes = shape if isinstance(shape, tuple | list) else (shape,)
    whole = all(hasattr(axis, "__index__") and not isinstance(axis, bool) for axis in axes)
    if not (isinstance(name, str) and name and whole and all(axis > 0 for axis in axes)):
        raise GradcheckInputError(
            f"layout[{name!r}] is {shape!r}: a block needs a name and a shape of positive "
            'whole numbers, such as "W1": (64, 128).'
        )
    return tuple(operator.index(axis) for axis in axes)


def _blocks(named_shapes: Iterable[tuple[str, tuple[int, ...]]]) -> tuple[Block, ...]:
    """Place blocks of these names and shapes one after the other."""
    blocks: list[Block] = []
    for name, shape in named_shapes:
        blocks.append(Block(name, blocks[-1].stop if blocks else 0, shape))
    return tuple(blocks)


def _kind(tree: Any) -> Kind | None:
    """Tell which nest it is; None if it is a leaf."""
    if isinstance(tree, dict):
        return "dict"
    if isinstance(tree, list):
        return "list"
    if isinstance(tree, tuple):
        return "namedtuple" if hasattr(tree, "_fields") else "tuple"
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return "dataclass"
    return None


def _items(tree: Any) -> tuple[dict[Hashable, Any], dict[str, Any]]:
    """Read a nest by key: its parameters, and the static fields of a dataclass."""
    match _kind(tree):
        case "dict":
            return dict(tree), {}
        case "namedtuple":
            return dict(zip(tree._fields, tree, strict=True)), {}
        case "dataclass":
            # What __init__ does not take, __post_init__ derives from the rest.
            fields = [item for item in dataclasses.fields(tree) if item.init]
            values = {item.name: getattr(tree, item.name) for item in fields}
            marked = {item.name for item in fields if item.metadata.get("static")}
            static = {k: v for k, v in values.items() if k in marked or _is_static(v)}
            return {k: v for k, v in values.items() if k not in static}, static
        case _:
            return dict(enumerate(tree)), {}


def _is_static(value: Any) -> bool:
    """Tell settings (None, text, whole numbers, functions, nests of them) from parameters."""
    if _kind(value) is not None:
        return all(_is_static(child) for child in _items(value)[0].values())
    if isinstance(value, np.generic | type):
        return not isinstance(value, np.inexact)
    return not (isinstance(value, float | complex) or hasattr(value, "__array__"))


def _child_name(parent: str, key: Hashable) -> str:
    if isinstance(key, str) and _PLAIN.fullmatch(key):
        return f"{parent}.{key}" if parent else key
    return f"{parent or 'theta'}[{key!r}]"


def _structure(tree: Any, name: str, found: list[tuple[str, Any]]) -> Leaf | Node:
    """Find the structure of a theta; its leaves are appended to `found` with their names."""
    kind = _kind(tree)
    if kind is None:
        _parameter(tree, name or "theta")
        found.append((name or "theta", tree))
        return Leaf(len(found) - 1, scalar=not isinstance(tree, np.ndarray))
    items, static = _items(tree)
    children = tuple(_structure(child, _child_name(name, k), found) for k, child in items.items())
    return Node(kind, type(tree), tuple(items), children, tuple(static.items()))


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


def _leaves(structure: Leaf | Node, tree: Any, prefix: str, name: str) -> Iterator[tuple[int, Any]]:
    """Yield block numbers and leaves of a nest of this structure, refusing any other."""
    if isinstance(structure, Leaf):
        yield structure.block, tree
        return
    kinds = {structure.kind, _kind(tree)}
    # `return dW, db` for a list is welcome: positions cannot be mistaken.
    items = _items(tree)[0] if len(kinds) == 1 or kinds == {"list", "tuple"} else None
    if items is None or items.keys() != set(structure.keys):
        positional = structure.kind in ("list", "tuple")
        wanted = f"{len(structure.keys)} entries" if positional else _listing(structure.keys)
        raise GradcheckInputError(
            f"{prefix}{name or 'theta'} {_mismatch(structure, tree, items)}. "
            f"As in theta, it must be of type {structure.type.__name__} with {wanted}."
        )
    for key, child in zip(structure.keys, structure.children, strict=True):
        yield from _leaves(child, items[key], prefix, _child_name(name, key))


def _mismatch(structure: Node, tree: Any, items: dict[Hashable, Any] | None) -> str:
    """Say what stands in the place of a nest."""
    if isinstance(tree, np.ndarray):
        return (
            f"is one array of shape {tree.shape} (a flat vector goes with a flat theta, "
            "whose blocks layout= can name)"
        )
    if items is None:
        return "is None" if tree is None else f"is of type {type(tree).__name__}"
    if structure.kind in ("list", "tuple"):
        return f"has {len(items)} entries"
    missing = [key for key in structure.keys if key not in items]
    extra = [key for key in items if key not in structure.keys]
    parts = [f"lacks {_listing(missing)}"] if missing else []
    parts += [f"has {_listing(extra)}, unknown to theta"] if extra else []
    return " and ".join(parts)


def _listing(keys: Sequence[Hashable]) -> str:
    shown = [repr(key) for key in keys[:6]]
    return ", ".join(shown + ["..."] * (len(keys) > 6))


def _shape_hint(shape: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if shape == wanted[::-1]:
        return "it is the transpose, use .T"
    if math.prod(shape) == math.prod(wanted):
        return f"the number of entries is right, use .reshape({wanted})"
    return "each entry needs exactly one counterpart"


def _parameter(value: Any, where: str) -> NDArray[Any]:
    """Take a leaf of theta as an array, one that a cost can be given back unchanged in kind."""
    rule = "a parameter must be floating point (float64 or float32)"
    array = _floats(value, where, (np.float32, np.float64), rule)
    if isinstance(value, np.matrix) or not isinstance(value, np.ndarray | np.generic | float):
        raise GradcheckTypeError(
            f"{where} is {type(value).__name__}, but the cost will be called with plain NumPy "
            f"arrays: use np.asarray({where}) and a cost written for arrays."
        )
    return array


def _slope(value: Any, where: str) -> NDArray[Any]:
    """Take a leaf of the gradient as an array, of any real floating-point dtype."""
    return _floats(value, where, (np.floating,), "a gradient must be floating point")


_ADVICE = {
    **dict.fromkeys("iub", "use .astype(float), or write 1.0 for 1"),
    "f": "use .astype(float)",
    "c": "pass real and imaginary parts as two real arrays",
}


def _floats(
    value: Any, where: str, accepted: tuple[type[np.floating[Any]], ...], rule: str
) -> NDArray[Any]:
    """Take a leaf as an array of one of the accepted dtypes."""
    if isinstance(value, np.ma.MaskedArray):
        raise GradcheckTypeError(
            f"{where} is a masked array: the cost would see the masked entries too. "
            "Put values in their place with .filled(), or leave them out."
        )
    try:
        array = np.asarray(value)
    except Exception as error:
        raise GradcheckTypeError(
            f"{where} is {type(value).__name__}, which does not convert to one array ({error})."
        ) from error
    if not issubclass(array.dtype.type, accepted):
        plain = array.ndim or isinstance(value, np.ndarray)
        what = "None" if value is None else array.dtype if plain else type(value).__name__
        advice = _ADVICE.get(array.dtype.kind, "use an array of floats")
        raise GradcheckTypeError(f"{where} is {what}: {rule}; {advice}.")
    return array
