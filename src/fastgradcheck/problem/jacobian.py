"""What is claimed for a Jacobian: a matrix, dense or sparse, or its products with vectors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError, shown, told
from fastgradcheck.problem import foreign
from fastgradcheck.problem.blocks import OF
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.problem.nests import fingerprints
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.outputs import NAME, Outputs
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.structure import (
    Flat,
    Leaf,
    items_of,
    kind_of,
    leaf_paths,
    one_array,
)

Array = NDArray[np.float64]


class Jacobian(Protocol):
    """A claimed Jacobian of shape (m, n), zero where it is no number."""

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and parameters."""

    @property
    def eps(self) -> float:
        """Machine epsilon of the coarsest dtype in which it came."""

    @property
    def broken(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of entries that are no numbers."""

    def product(self, v: Array) -> Array:
        """The Jacobian times a vector of shape (n,); shape (m,)."""

    def part(self, columns: slice, v: Array) -> Array:
        """What these columns contribute to the product with a vector of shape (n,)."""

    def columns(self, index: NDArray[np.int64]) -> Array:
        """Some of its columns, shape (m, k)."""

    def sizes(self, columns: slice) -> Array:
        """The Euclidean norm of every row within these columns, shape (m,)."""


@dataclass(frozen=True, eq=False)
class Dense:
    """A claimed Jacobian as an array.

    Attributes
    ----------
    matrix : float64 array, shape (m, n)
    eps : float
    broken : pair of int64 arrays
    """

    matrix: Array
    eps: float
    broken: tuple[NDArray[np.int64], NDArray[np.int64]]

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape[0], self.matrix.shape[1]

    def product(self, v: Array) -> Array:
        products: Array = self.matrix @ v
        return products

    def part(self, columns: slice, v: Array) -> Array:
        products: Array = self.matrix[:, columns] @ v[columns]
        return products

    def columns(self, index: NDArray[np.int64]) -> Array:
        return self.matrix[:, index]

    def sizes(self, columns: slice) -> Array:
        part = self.matrix[:, columns]
        norms: Array = np.sqrt(np.einsum("ij,ij->i", part, part))
        if not norms.any() or (norms.max() < 1e150 and norms[norms > 0].min() > 1e-140):
            return norms
        # Squares overflow or vanish: row by row.
        return np.array([norm(row) for row in part])


@dataclass(frozen=True, eq=False)
class Sparse:
    """A claimed Jacobian as a sparse matrix; what its pattern lacks is claimed to be zero.

    Attributes
    ----------
    matrix : scipy.sparse.csr_array of float64, shape (m, n)
    eps : float
    broken : pair of int64 arrays
    """

    matrix: Any
    eps: float
    broken: tuple[NDArray[np.int64], NDArray[np.int64]]

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.matrix.shape[0]), int(self.matrix.shape[1])

    @cached_property
    def _by_column(self) -> Any:
        return self.matrix.tocsc()

    @cached_property
    def _row(self) -> NDArray[np.int64]:
        return np.repeat(np.arange(self.shape[0]), np.diff(self.matrix.indptr))

    def product(self, v: Array) -> Array:
        return np.asarray(self.matrix @ v)

    def part(self, columns: slice, v: Array) -> Array:
        return self.product(within(columns, v))

    def columns(self, index: NDArray[np.int64]) -> Array:
        return np.asarray(self._by_column[:, index].toarray())

    def _inside(self, columns: slice) -> NDArray[np.bool_]:
        at = self.matrix.indices
        inside: NDArray[np.bool_] = (at >= columns.start) & (at < columns.stop)
        return inside

    def sizes(self, columns: slice) -> Array:
        inside = self._inside(columns)
        entries = self.matrix.data[inside]
        # In units of the largest, so that squares neither overflow nor vanish.
        unit = np.max(np.abs(entries), initial=0.0) or 1.0
        squares = np.bincount(self._row[inside], (entries / unit) ** 2, self.shape[0])
        return np.asarray(unit * np.sqrt(squares))


def within(columns: slice, v: Array) -> Array:
    """A vector that is zero outside of some columns."""
    alone = np.zeros_like(v)
    alone[columns] = v[columns]
    return alone


def evaluate_jacobian(
    returned: Any, outputs: Outputs, parameters: Parameters, name: str = "jac"
) -> tuple[Dense | Sparse, tuple[Finding, ...]]:
    """What is claimed for the Jacobian as a matrix, and findings.

    Raises
    ------
    GradcheckInputError
        If its shape is not that of outputs and theta.
    """
    if returned is None:
        raise GradcheckTypeError(
            f"{name} returned None: does it end with a return statement, in every branch? It must "
            f"return an array of shape {(outputs.size, parameters.size)}."
        )
    if is_sparse(returned):
        return _sparse(returned, outputs.size, parameters.size, name)
    if _is_one_array(returned):
        return _dense(_whole(returned, outputs, parameters, name), foreign.eps(returned)), ()
    return _assembled(returned, outputs, parameters, name)


def called(function: Callable[..., Any], name: str, theta: Any, args: tuple[Any, ...]) -> Any:
    """What the user's derivative returns for a copy of theta, which it must leave as it is."""
    mine = copy.deepcopy(theta)
    before, args_before = fingerprints(mine), fingerprints(args)
    returned = function(mine, *args)
    if fingerprints(mine) != before:
        raise GradcheckInputError(
            f"{name} modifies theta: its values differ after the call. A derivative must leave "
            "theta as it found it; look for an in-place update such as `theta -= ...`."
        )
    after = fingerprints(args)
    changed = next((path for path in args_before if args_before[path] != after.get(path)), "")
    if changed:
        raise GradcheckInputError(
            f"{name} modifies {changed}: its values differ after the call, so that fun and {name} "
            f"no longer see the same data. Work on a copy inside {name}."
        )
    return returned


def multiplied(
    product: Callable[..., Any],
    name: str,
    theta: Any,
    args: tuple[Any, ...],
    vector: Any,
    other: Any,
    meant: str,
) -> Any:
    """What the user's product with a vector returns; see `called`.

    Parameters
    ----------
    vector, other : float arrays or nests of them
        What it must take, and what the other of jvp and vjp takes.
    meant : str
        What it is if it takes that alone.
    """
    try:
        return called(lambda t, *a: product(t, vector, *a), name, theta, args)
    except GradcheckInputError:
        raise
    except Exception as error:
        try:
            product(copy.deepcopy(theta), other, *args)
        except Exception:
            takes_other = False
        else:
            takes_other = True
        if not takes_other:
            raise
        raise GradcheckInputError(f"{name} raised {told(error)}. {meant}") from error


def is_sparse(value: Any) -> bool:
    """Whether a value is a sparse matrix or array of SciPy's, without importing it."""
    return type(value).__module__.startswith("scipy.sparse")


def _is_one_array(value: Any) -> bool:
    return kind_of(value) is None or (
        isinstance(value, list)
        and all(np.isscalar(row) or _is_vector(row) for row in value)
        and not any(isinstance(row, np.ndarray) or is_sparse(row) for row in value)
    )


def _is_vector(value: Any) -> bool:
    try:
        return np.ndim(value) == 1
    except Exception:  # rows of several lengths, or of what is no number
        return False


def _floats(value: Any, name: str) -> NDArray[Any]:
    """A block of a Jacobian as an array of floats."""
    array = one_array(foreign.plain(value, name), name)
    if array.dtype.kind not in "fiub":
        advice = (
            "take real and imaginary parts as outputs of their own"
            if array.dtype.kind == "c"
            else "an array of arrays of different lengths is the usual cause"
        )
        raise GradcheckTypeError(
            f"{name} is of dtype {array.dtype}: a Jacobian must be real numbers; {advice}."
        )
    return array


def _whole(value: Any, outputs: Outputs, parameters: Parameters, name: str) -> NDArray[Any]:
    """One array as a matrix, if its shape is that of all outputs and all of theta."""
    array, m, n = _floats(value, name), outputs.size, parameters.size
    shapes: list[tuple[int, ...]] = [(m, n)]
    if len(outputs.paths) == 1:
        shapes.append((*outputs.paths[0][1], n))
    whole = isinstance(parameters.structure, Flat | Leaf)
    if len(outputs.paths) == 1 and whole and not isinstance(parameters.structure, Flat):
        shapes.append((*outputs.paths[0][1], *parameters.blocks[0].shape))
    if array.shape not in shapes:
        told = mismatch(array.shape, tuple(dict.fromkeys(shapes)), name)
        raise GradcheckInputError(f"{told}{_mistaken(array.shape, outputs, n)}")
    return array.reshape(m, n)


def _mistaken(shape: tuple[int, ...], outputs: Outputs, n: int) -> str:
    """What else the function may return than F, by its shapes."""
    first, *more = (own for _, own in outputs.paths)
    function = outputs.function
    if first == (*shape, n) and not more:
        return f" {function} returned an array of shape {first}: are the two exchanged?"
    if more == [(*first, n)]:
        return (
            f" {function} returned two arrays, of the shapes of outputs and of their Jacobian: if "
            "that is what they are, pass True for the Jacobian."
        )
    return ""


def mismatch(shape: tuple[int, ...], wanted: tuple[tuple[int, ...], ...], name: str = "jac") -> str:
    """What to tell of a shape that is none of those wanted."""
    fits = " or ".join(map(str, wanted))
    text = f"{name} has shape {shape}, but outputs and parameters make it {fits}"
    if any(shape == right[::-1] for right in wanted):
        return f"{text}: it is the transpose. Rows are outputs and columns parameters; use .T."
    if any(np.prod(shape) == np.prod(right) for right in wanted):
        return f"{text}: the number of entries is right, use .reshape({wanted[0]})."
    return f"{text}: each entry needs exactly one counterpart."


def _dense(array: NDArray[Any], eps: float) -> Dense:
    matrix = np.ascontiguousarray(array, np.float64)
    finite = np.isfinite(matrix)
    rows, columns = np.nonzero(~finite) if not finite.all() else (np.zeros(0, int),) * 2
    if len(rows):
        matrix = np.where(finite, matrix, 0.0)
    return Dense(matrix, eps, (rows.astype(np.int64), columns.astype(np.int64)))


def _sparse(value: Any, m: int, n: int, name: str) -> tuple[Sparse, tuple[Finding, ...]]:
    if value.shape != (m, n):
        raise GradcheckInputError(mismatch(tuple(value.shape), ((m, n),), name))
    from scipy.sparse import coo_array, csr_array

    triples = coo_array(value)
    data = _floats(triples.data, name)
    row, column = triples.coords
    place = row.astype(np.int64) * n + column
    twice = len(place) - len(np.unique(place))
    findings: tuple[Finding, ...] = ()
    if twice:
        message = (
            f"The sparse Jacobian stores {twice:,} entries more than once; SciPy adds them up, and "
            "so does this check. If a later one was meant to replace an earlier one, it does not."
        )
        findings = (Finding("duplicates", message, Rank.NOTE),)
    finite = np.isfinite(data)
    broken = row[~finite].astype(np.int64), column[~finite].astype(np.int64)
    kept = np.where(finite, data, 0.0).astype(np.float64)
    matrix = csr_array((kept, (row, column)), shape=(m, n))
    return Sparse(matrix, foreign.eps(data), broken), findings


def _assembled(
    returned: Any, outputs: Outputs, parameters: Parameters, claim: str
) -> tuple[Dense | Sparse, tuple[Finding, ...]]:
    """A nest of blocks, outputs outside and parameters inside, as one matrix."""
    m, n = outputs.size, parameters.size
    blocks: dict[tuple[int, int], Any] = {}
    start, missing, eps = 0, [], foreign.DOUBLE
    for path, shape in outputs.paths:
        stop = start + int(np.prod(shape))
        inner = _follow(returned, path, claim, parameters)
        for number, leaf in _of_parameters(inner, parameters, path, claim):
            block = parameters.blocks[number] if number >= 0 else None
            columns = slice(0, n) if block is None else block.slice
            name = f"{_named(path)}{OF}{'theta' if block is None else block.name}"
            if leaf is None:
                missing.append(name)
                continue
            eps = max(eps, foreign.eps(leaf))
            wanted = (stop - start, columns.stop - columns.start)
            full = (*shape, *(wanted[1:] if block is None else block.shape))
            if is_sparse(leaf):
                if leaf.shape != wanted:
                    raise GradcheckInputError(mismatch(tuple(leaf.shape), (wanted,), name))
                blocks[start, columns.start] = leaf
                continue
            array = _floats(leaf, name)
            if array.shape not in (full, wanted):
                raise GradcheckInputError(mismatch(array.shape, (full,), name))
            blocks[start, columns.start] = array.reshape(wanted)
        start = stop
    findings: tuple[Finding, ...] = ()
    if missing:
        listed = ", ".join(missing[:6] + ["..."] * (len(missing) > 6))
        message = f"{claim} holds None for {listed}, which was taken as zero."
        findings = (Finding("none", message, Rank.NOTE),)
    if blocks and all(is_sparse(block) for block in blocks.values()):
        matrix, more = _stacked(blocks, m, n, claim)
        return matrix, findings + more
    whole = np.zeros((m, n))
    for (row, column), block in blocks.items():
        part = block.toarray() if is_sparse(block) else block
        whole[row : row + part.shape[0], column : column + part.shape[1]] = part
    return _dense(whole, eps), findings


def _stacked(
    blocks: Mapping[tuple[int, int], Any], m: int, n: int, claim: str
) -> tuple[Sparse, tuple[Finding, ...]]:
    """Sparse blocks as one sparse matrix."""
    from scipy.sparse import coo_array

    parts = [(row, column, coo_array(block)) for (row, column), block in blocks.items()]
    data = np.concatenate([part.data for _, _, part in parts])
    rows = np.concatenate([part.coords[0] + row for row, _, part in parts])
    columns = np.concatenate([part.coords[1] + column for _, column, part in parts])
    return _sparse(coo_array((data, (rows, columns)), shape=(m, n)), m, n, claim)


def _named(path: tuple[Any, ...]) -> str:
    return ".".join(key if isinstance(key, str) else shown(key) for key in path) or NAME


def _follow(nest: Any, path: tuple[Any, ...], claim: str, parameters: Parameters) -> Any:
    """What stands in a nest at these keys, one after the other."""
    for key in path:
        items = items_of(nest)[0] if kind_of(nest) is not None else {}
        if key not in items:
            inside = (
                set()
                if isinstance(parameters.structure, Flat)
                else {where[0] for where in leaf_paths(parameters.structure) if where}
            )
            turned = (
                " Its keys are those of theta: outputs go outside, parameters inside."
                if items and not set(items) - inside
                else ""
            )
            raise GradcheckInputError(
                f"{claim} lacks the output {_named(path)}: as what fun returns, it must hold "
                f"{shown(key)}, and there a block for every parameter.{turned}"
            )
        nest = items[key]
    return nest


def _of_parameters(
    inner: Any, parameters: Parameters, path: tuple[Any, ...], claim: str
) -> list[tuple[int, Any]]:
    """The blocks of one output, by the number of the parameter; -1 for all of theta at once."""
    if isinstance(parameters.structure, Flat | Leaf) or kind_of(inner) is None:
        # A matrix of one output by all of theta serves as well.
        return [(-1, inner)]
    found = []
    for number, where in enumerate(leaf_paths(parameters.structure)):
        here: Any = inner
        for key in where:
            items = items_of(here)[0] if kind_of(here) is not None else {}
            if key not in items:
                raise GradcheckInputError(
                    f"{claim} lacks {_named(path)}{OF}{parameters.blocks[number].name}: for every "
                    "output it must hold a nest like theta, with None where a block is zero."
                )
            here = items[key]
        found.append((number, here))
    return found
