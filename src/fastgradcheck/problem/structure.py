"""How a nest of arrays is built, leaf by leaf."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError, said, shown
from fastgradcheck.problem import foreign
from fastgradcheck.problem.foreign import Like
from fastgradcheck.problem.labelled import LikeDataArray, kind_in_xarray, variables

Kind: TypeAlias = Literal[
    "dict", "list", "tuple", "namedtuple", "dataclass", "series", "frame", "dataset"
]


LABELLED = ("series", "frame", "dataset")
"""Kinds for the gradient of which a dict serves as well."""
Convert: TypeAlias = Callable[[Any, str], NDArray[Any]]


# Keys that read well without quotes: identifiers, and dotted ones such as "layers.0.weight" and
# "0.weight". Numbers such as "0" and "0.5" are no addresses.
_PLAIN = re.compile(r"([^\W\d]\w*|\w+(\.\w+)*\.[^\W\d]\w*)(\.\w+)*")


@dataclass(frozen=True)
class Flat:
    """The cost takes the flat vector itself."""


@dataclass(frozen=True)
class Leaf:
    """The cost takes the block of this number: an array, or a scalar if `scalar`.

    `like` makes an array of another library of it.
    """

    block: int
    scalar: bool = False
    like: Like | LikeDataArray | None = field(default=None, compare=False)

    @property
    def has_views(self) -> bool:
        """True if what the cost takes follows whatever is written to its block."""
        return not self.scalar and self.like is None


@dataclass(frozen=True)
class Node:
    """The cost takes a nest.

    Attributes
    ----------
    kind : {"dict", "list", "tuple", "namedtuple", "dataclass", "series", "frame", "dataset"}
        The last three are those of pandas, a mapping of labels to numbers, of columns to arrays,
        and of xarray, of variables to DataArrays.
    type : type
        The user's own class, in which the nest is rebuilt.
    keys : tuple
        Dict keys, positions or field names, in theta's order.
    children : tuple of Leaf or Node
        What stands at the keys.
    static : tuple of (str, object)
        Fields of a dataclass that are no parameters, carried over as they are; of a Dataset, all
        of it. Not compared: an array among them has no truth value.
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
            case "series":
                return self.type(np.array(children), self.keys, **dict(self.static))
            case "frame":
                columns = dict(zip(self.keys, children, strict=True))
                return self.type(columns, columns=list(self.keys), **dict(self.static))
            case "dataset":
                variables = dict(zip(self.keys, children, strict=True))
                return dict(self.static)["template"].assign(variables)
            case _:
                return self.type(children)

    @cached_property
    def numbers(self) -> list[int] | None:
        """The blocks that it holds, if all of them are numbers."""
        found = [c.block for c in self.children if isinstance(c, Leaf) and c.scalar]
        return found if len(found) == len(self.children) else None

    @property
    def is_vector(self) -> bool:
        """True if it is a list or tuple of numbers."""
        return self.kind in ("list", "tuple") and self.numbers is not None

    @property
    def has_views(self) -> bool:
        """True if the nest, once built of views, follows whatever is written beneath them.

        A dataclass does not: its ``__post_init__`` may copy, a cached property may go stale.
        """
        copies = self.kind in ("dataclass", "series", "frame", "dataset")
        return not copies and all(child.has_views for child in self.children)


Structure: TypeAlias = Flat | Leaf | Node


def kind_of(tree: Any) -> Kind | None:
    """Tell which nest it is; None if it is a leaf."""
    if isinstance(tree, dict):
        return "dict"
    if isinstance(tree, list):
        return "list"
    if isinstance(tree, tuple):
        return "namedtuple" if hasattr(tree, "_fields") else "tuple"
    if (pandas := foreign.kind_in_pandas(tree)) is not None:
        return pandas
    if kind_in_xarray(tree) == "dataset":
        return "dataset"
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return "dataclass"
    return None


def items_of(tree: Any) -> tuple[dict[Hashable, Any], dict[str, Any]]:
    """Read a nest by key: its parameters, and the static fields of a dataclass."""
    match kind_of(tree):
        case "dict":
            return dict(tree), {}
        case "series" | "frame":
            return foreign.items_of_pandas(tree)
        case "dataset":
            return variables(tree), {"template": tree}
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


def leaf_paths(
    structure: Leaf | Node, path: tuple[Hashable, ...] = ()
) -> list[tuple[Hashable, ...]]:
    """The keys that lead to every leaf of a nest, in the order of its blocks."""
    if isinstance(structure, Leaf):
        return [path]
    return [
        found
        for key, child in zip(structure.keys, structure.children, strict=True)
        for found in leaf_paths(child, (*path, key))
    ]


def _is_static(value: Any) -> bool:
    """Tell settings (None, text, whole numbers, functions, nests of them) from parameters."""
    if kind_of(value) is not None:
        return all(_is_static(child) for child in items_of(value)[0].values())
    if isinstance(value, np.generic | type):
        return not isinstance(value, np.inexact)
    return not (isinstance(value, float | complex) or hasattr(value, "__array__"))


def child_name(parent: str, key: Hashable, nest: str = "theta") -> str:
    """The name of what stands at a key of a nest."""
    if isinstance(key, str) and _PLAIN.fullmatch(key):
        return f"{parent}.{key}" if parent else key
    return f"{parent or nest}[{shown(key)}]"


def structure_of(tree: Any, name: str, found: list[tuple[str, Any]]) -> Leaf | Node:
    """Find the structure of a theta; its leaves are appended to `found` with their names."""
    kind = kind_of(tree)
    if kind is None:
        like = foreign.like(tree)
        if isinstance(like, LikeDataArray) and not name and isinstance(tree.name, str):
            name = child_name("", tree.name)
        array = parameter(tree, name or "theta")
        found.append((name or "theta", tree if like is None else array))
        return Leaf(len(found) - 1, like is None and not isinstance(tree, np.ndarray), like)
    items, static = items_of(tree)
    children = tuple(structure_of(child, child_name(name, k), found) for k, child in items.items())
    return Node(kind, type(tree), tuple(items), children, tuple(static.items()))


def leaves_of(
    structure: Leaf | Node, tree: Any, prefix: str, name: str
) -> Iterator[tuple[int, Any]]:
    """Yield block numbers and leaves of a nest of this structure, refusing any other."""
    if isinstance(structure, Leaf):
        like = structure.like
        here = prefix + (name or "theta")
        yield structure.block, tree if like is None else like.aligned(tree, here)
        return
    kinds = {structure.kind, kind_of(tree)}
    if isinstance(tree, np.ndarray) and tree.ndim == 1 and structure.is_vector:
        tree, kinds = list(tree), {"list"}  # as SciPy has it for a list of numbers
    # `return dW, db` for a list is welcome: positions cannot be mistaken.
    tree = foreign.by_label(tree, structure.kind, structure.keys, structure.static)
    kinds = {structure.kind, kind_of(tree)}
    alike = len(kinds) == 1 or kinds in ({"list", "tuple"}, *({k, "dict"} for k in LABELLED))
    items = items_of(tree)[0] if alike else None
    if items is None or items.keys() != set(structure.keys):
        positional = structure.kind in ("list", "tuple")
        wanted = f"{len(structure.keys)} entries" if positional else _listing(structure.keys)
        raise GradcheckInputError(
            f"{prefix}{name or 'theta'} {_mismatch(structure, tree, items)}. "
            f"As in theta, it must be of type {structure.type.__name__} with {wanted}."
        )
    for key, child in zip(structure.keys, structure.children, strict=True):
        yield from leaves_of(child, items[key], prefix, child_name(name, key))


def _mismatch(structure: Node, tree: Any, items: dict[Hashable, Any] | None) -> str:
    """Say what stands in the place of a nest."""
    if isinstance(tree, np.ndarray) and _is_table(structure):
        return (
            f"is one array of shape {tree.shape}, but theta is a {structure.kind} of lists of "
            "numbers (np.array(theta) is an array)"
        )
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


def _is_table(structure: Node) -> bool:
    """Whether it is made of lists or tuples of numbers, as a matrix is written down."""
    rows = all(isinstance(child, Node) and child.is_vector for child in structure.children)
    return structure.kind in ("list", "tuple") and rows


def _listing(keys: Sequence[Hashable]) -> str:
    return ", ".join([shown(key) for key in keys[:6]] + ["..."] * (len(keys) > 6))


def parameter(value: Any, where: str) -> NDArray[Any]:
    """Take a leaf of theta as an array, one that a cost can be given back unchanged in kind."""
    if callable(value) and where == "theta":
        raise GradcheckTypeError(
            "theta is a function: the order is gradcheck(cost, grad, theta), with the point third."
        )
    if kind_in_xarray(value) == "array":
        value = value.to_numpy()
    elif foreign.like(value) is not None:
        return foreign.parameter(value, where)
    rule = "a parameter must be floating point (float64 or float32)"
    array = _floats(value, where, (np.float32, np.float64), rule, _if_setting(value, where))
    if isinstance(value, np.matrix) or not isinstance(value, np.ndarray | np.generic | float):
        raise GradcheckTypeError(
            f"{where} is {type(value).__name__}, but the cost will be called with plain NumPy "
            f"arrays: use np.asarray({where}) and a cost written for arrays."
        )
    return array


def _if_setting(value: Any, where: str) -> str:
    """What to do with a leaf that is no array, in a nest: it often is a setting."""
    if where == "theta" or isinstance(value, np.ndarray):
        return ""
    advice = f"take {where} out of theta if it is a setting, and pass it by args"
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        advice += f", or write {value}.0 if it is a parameter"
    return advice


def slope(value: Any, where: str) -> NDArray[Any]:
    """Take a leaf of the gradient as an array, of any real floating-point dtype.

    Tensors are welcome, and so are floats of 16 bits and fewer: see `problem.foreign`.
    """
    value = foreign.plain(value, where)
    return _floats(value, where, (np.floating,), "a gradient must be floating point")


_ADVICE = {
    **dict.fromkeys("iub", "use .astype(float), or write 1.0 for 1"),
    "f": "use .astype(float)",
    "O": "use an array of floats, without None or rows of several lengths",
    "c": "pass real and imaginary parts as two real arrays",
}


def one_array(value: Any, where: str) -> NDArray[Any]:
    """A leaf as NumPy converts it, of any dtype.

    Raises
    ------
    GradcheckTypeError
        If it does not convert.
    """
    try:
        return np.asarray(value)
    except Exception as error:
        raise GradcheckTypeError(
            f"{where} is a {type(value).__name__}, which does not convert to one array "
            f"({said(error)})."
        ) from error


def _floats(
    value: Any,
    where: str,
    accepted: tuple[type[np.floating[Any]], ...],
    rule: str,
    setting: str = "",
) -> NDArray[Any]:
    """Take a leaf as an array of one of the accepted dtypes."""
    if isinstance(value, np.ma.MaskedArray):
        raise GradcheckTypeError(
            f"{where} is a masked array: the cost would see the masked entries too. "
            "Put values in their place with .filled(), or leave them out."
        )
    array = one_array(value, where)
    if not issubclass(array.dtype.type, accepted):
        plain = array.ndim or isinstance(value, np.ndarray)
        what = "None" if value is None else array.dtype if plain else type(value).__name__
        advice = setting or _ADVICE.get(array.dtype.kind, "use an array of floats")
        raise GradcheckTypeError(f"{where} is {what}: {rule}; {advice}.")
    return array
