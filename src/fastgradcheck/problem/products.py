"""A Jacobian that is claimed by its products: with vectors (jvp), or with cotangents (vjp).

A jvp gives columns and directions of the claim as they are asked for. A vjp gives rows: all of them
where they are few; else random combinations of them, u'J, which are the Jacobian of u'F. Whatever
is wrong shows in nearly every combination; an entry that is wrong alone is decoded from several.

Rows may be of any size, so that their combinations are weighted: with W = diag(1 / size), the error
R of the claim shows as u'WRv, and rows count alike whatever their units. For u and v of independent
entries with densities of at most 1/2, P(|u.a| <= t ||a||) <= sqrt(2) t for every vector a
(`differences.screen`), and so, for a WR of rank one, such as an entry, a row or a column,

    P(|u'WRv| <= t ||WR||) <= 2 t (1 + ln(1 / 2t)),

the law of a product of two such numbers. For any WR, P(||WRv|| <= s ||WR||) <= e x ln(1/x) with
x = sqrt(2) s (`differences.limits`, of one direction) makes it e t (1 + ln(1 / 2t)^2).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.problem import foreign
from fastgradcheck.problem.blocks import Block
from fastgradcheck.problem.bounds import Bounds
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.problem.inspection import InspectedOutputs
from fastgradcheck.problem.jacobian import (
    Dense,
    Sparse,
    called,
    evaluate_jacobian,
    mismatch,
    multiplied,
    within,
)
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.outputs import Outputs, eps_of
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.problem import Objective
from fastgradcheck.problem.rowsizes import row_sizes
from fastgradcheck.problem.structure import kind_of

IS_VJP = "It takes no vector like theta, and one like F: is it a vjp?"
IS_JVP = "It takes no vector like F, and one like theta: is it a jvp?"

Array = NDArray[np.float64]
Product = Callable[[Array], Array]

PROBES = 4
"""Vectors that estimate the size of every row within a block of theta."""
FEW_ROWS = 64
"""Up to this many outputs, a vjp is asked for every row ..."""
COTANGENTS = 16
"""... and beyond it, for so many random combinations of them."""
LARGEST = 2.0**500
"""Of their weights, so that these overflow nothing."""
KEPT_BYTES = 1 << 27
"""Of columns that were asked for, and will be again."""
LINEAR = 1e3
"""In units of eps: a product of a sum may differ from the sum of the products by so much."""


@dataclass(frozen=True, eq=False)
class Products:
    """A claimed Jacobian by its products with vectors.

    Attributes
    ----------
    product : callable
        ``product(v)`` of shape (m,) for v of shape (n,).
    shape : (int, int)
    eps : float
    """

    product: Product
    shape: tuple[int, int]
    eps: float
    broken: tuple[NDArray[np.int64], NDArray[np.int64]] = field(
        default_factory=lambda: (np.zeros(0, np.int64), np.zeros(0, np.int64))
    )
    known: dict[int, Array] = field(default_factory=dict)

    def part(self, columns: slice, v: Array) -> Array:
        """What these columns contribute to the product with a vector."""
        return self.product(within(columns, v))

    def columns(self, index: NDArray[np.int64]) -> Array:
        """Some of its columns, shape (m, k), each a product with a unit vector."""
        found = []
        for j in index.tolist():
            if j not in self.known:
                if len(self.known) * 8 * self.shape[0] > KEPT_BYTES:
                    self.known.clear()
                unit = np.zeros(self.shape[1])
                unit[j] = 1.0
                self.known[j] = self.product(unit)
            found.append(self.known[j])
        return np.stack(found, axis=1) if found else np.zeros((self.shape[0], 0))

    def sizes(self, columns: slice) -> Array:
        """The norm of every row within these columns, estimated."""
        rng = np.random.default_rng(columns.start)
        squares = np.zeros(self.shape[0])
        for _ in range(PROBES):
            v = np.zeros(self.shape[1])
            v[columns] = rng.choice([-1.0, 1.0], columns.stop - columns.start)
            squares += self.product(v) ** 2
        return np.sqrt(squares / PROBES)


@dataclass(frozen=True, eq=False)
class Claimed:
    """What is claimed, and the function whose Jacobian that is.

    Attributes
    ----------
    jacobian : Dense, Sparse or Products
    objective : Objective
        Of combined outputs, where a vjp was asked for combinations only.
    values : float64 array, shape (m,)
        Its values at theta.
    findings : tuple of Finding
    evaluations : int
        Of the function, for that.
    """

    jacobian: Dense | Sparse | Products
    objective: Objective
    values: Array
    findings: tuple[Finding, ...]
    evaluations: int = 0

    @property
    def outputs(self) -> Outputs:
        assert self.objective.outputs is not None
        return self.objective.outputs


def claim_of(
    form: str,
    jac: Any,
    theta: Any,
    inspected: InspectedOutputs,
    bounds: Bounds | None,
    seed: int,
    name: str,
    sizes: Array | None = None,
) -> Claimed:
    """The claim in any of its forms.

    Parameters
    ----------
    form : {"matrix", "jvp", "hvp", "vjp"}
    jac, theta
        As in `jaccheck`.
    inspected : InspectedOutputs
    bounds : pair of float64 arrays, shape (n,), or None
    seed : int
        Of combinations.
    name : str
        What the user calls `jac`.
    sizes : float64 array, shape (m,), optional
        Of the rows, where they are known, so that nothing is evaluated for them.

    Raises
    ------
    GradcheckInputError
    """
    objective, outputs = inspected.objective, inspected.outputs
    args, parameters = objective.args, objective.parameters
    if form == "matrix":
        if callable(jac) and not is_operator(jac):
            jac = called(jac, name, theta, args)
        if is_operator(jac):
            products, found = by_operator(jac, outputs, parameters, name)
            return Claimed(products, objective, inspected.values, found)
        matrix, found = evaluate_jacobian(jac, outputs, parameters, name)
        return Claimed(matrix, objective, inspected.values, found)
    if not callable(jac):
        raise GradcheckTypeError(
            f'{name} is a {type(jac).__name__}, but form="{form}" needs the function that returns '
            f"the product: {name}(theta, vector, *args)."
        )
    if form != "vjp":
        products, found = with_vectors(jac, theta, args, outputs, parameters, name)
        return Claimed(products, objective, inspected.values, found)
    values, units, evaluations = inspected.values, np.eye(outputs.size), 0
    if outputs.size > FEW_ROWS:
        if sizes is None:
            sizes, evaluations = row_sizes(inspected, bounds, seed)
        together = combined(outputs, sizes, seed)
        units, objective = together.cotangents, replace(objective, outputs=together)
        values = units @ values
    rows, found = with_cotangents(jac, theta, args, outputs, parameters, units, name)
    return Claimed(rows, objective, values, found, evaluations)


@dataclass(frozen=True)
class Combined(Outputs):
    """Random combinations of the outputs of a function.

    Attributes
    ----------
    inner : Outputs
        The function's own.
    cotangents : float64 array, shape (k, m)
    """

    inner: Any = None
    cotangents: Any = None

    @property
    def returned(self) -> Outputs:
        """The function's own."""
        inner: Outputs = self.inner
        return inner

    def read(self, values: NDArray[Any]) -> NDArray[Any]:
        """The combinations along the last axis, of one point after the other.

        A product of all points at once would round by their number.
        """
        combined = np.empty((*values.shape[:-1], len(self.cotangents)), values.dtype)
        for place in np.ndindex(values.shape[:-1]):
            combined[place] = self.cotangents @ values[place]
        return combined

    def flatten(self, value: Any, is_complex: bool = False) -> NDArray[Any]:
        """The combinations, shape (k,)."""
        return self.read(self.inner.flatten(value, is_complex))

    def rows(self, value: Any, count: int, is_complex: bool = False) -> NDArray[Any]:
        """Those of many points, one after the other: as rounded as those of one."""
        rows = self.inner.rows(value, count, is_complex)
        return np.stack([self.cotangents @ row for row in rows])


def by_operator(
    operator: Any, outputs: Outputs, parameters: Parameters, name: str
) -> tuple[Products, tuple[Finding, ...]]:
    """The claim of a linear operator of SciPy's, by its products with vectors."""
    m, n = outputs.size, parameters.size
    if operator.shape != (m, n):
        raise GradcheckInputError(mismatch(operator.shape, ((m, n),), name))

    def product(v: Array) -> Array:
        return np.asarray(operator.matvec(v), np.float64)

    eps = eps_of(operator.matvec(np.ones(n)))
    return Products(product, (m, n), eps), linear(product, n, eps, f"{name}.matvec(v)", "v")


def is_operator(value: Any) -> bool:
    """Whether a value is a ``scipy.sparse.linalg.LinearOperator``, without importing it."""
    return any(
        base.__name__ == "LinearOperator" and base.__module__.startswith("scipy.sparse")
        for base in type(value).__mro__
    )


def with_vectors(
    jvp: Callable[..., Any],
    theta: Any,
    args: tuple[Any, ...],
    outputs: Outputs,
    parameters: Parameters,
    name: str = "jac",
) -> tuple[Products, tuple[Finding, ...]]:
    """The claim of a ``jvp(theta, v, *args)``."""

    def product(v: Array) -> Array:
        vector = parameters.unflatten(v.astype(parameters.dtype))
        returned = jvp(theta, vector, *args)
        return of_outputs(returned, outputs, name, parameters.size)

    rng = np.random.default_rng(0)
    v = rng.choice([-1.0, 1.0], parameters.size)
    vector = parameters.unflatten(v.astype(parameters.dtype))
    other = cotangent(np.ones(outputs.size), outputs)
    returned = multiplied(jvp, name, theta, args, vector, other, IS_VJP)
    of_outputs(returned, outputs, name, parameters.size)
    eps = eps_of(returned)
    claim = Products(product, (outputs.size, parameters.size), eps)
    return claim, linear(product, parameters.size, eps, f"{name}(theta, v)", "v")


def combined(outputs: Outputs, sizes: Array, seed: int) -> Combined:
    """Random combinations of outputs, each in units of its size, relative to the median of these.

    Parameters
    ----------
    outputs : Outputs
    sizes : float64 array, shape (m,)
        Of the rows of their Jacobian.
    seed : int
    """
    rng = np.random.default_rng([seed, 7])
    shape = COTANGENTS, outputs.size
    with np.errstate(over="ignore"):
        weights = np.clip(np.median(sizes) / sizes, 1 / LARGEST, LARGEST)
    units = weights * rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape)
    block = Block("cotangent", 0, (COTANGENTS,))
    return Combined((block,), outputs.paths, outputs.like, outputs.function, outputs, units)


def with_cotangents(
    vjp: Callable[..., Any],
    theta: Any,
    args: tuple[Any, ...],
    outputs: Outputs,
    parameters: Parameters,
    units: Array,
    name: str = "jac",
) -> tuple[Dense, tuple[Finding, ...]]:
    """The claim of a ``vjp(theta, u, *args)``, a row for each u of `units`, of shape (k, m)."""

    def product(u: Array) -> Array:
        returned = vjp(theta, cotangent(u, outputs), *args)
        return of_parameters(returned, parameters, name, outputs.size)

    first = np.random.default_rng(0).choice([-1.0, 1.0], outputs.size)
    other = parameters.unflatten(np.ones(parameters.size, parameters.dtype))
    u = cotangent(first, outputs)
    returned = multiplied(vjp, name, theta, args, u, other, IS_JVP)
    of_parameters(returned, parameters, name, outputs.size)
    eps = eps_of(returned)
    found = linear(lambda c: product(c @ units), len(units), eps, f"{name}(theta, u)", "u")
    matrix = np.stack([product(u) for u in units])
    finite = np.isfinite(matrix)
    rows, columns = np.nonzero(~finite)
    return Dense(np.where(finite, matrix, 0.0), eps, (rows, columns)), found


def cotangent(u: Array, outputs: Outputs) -> Any:
    """A vector of shape (m,) in the structure that the function returns."""
    if len(outputs.paths) == 1 and not outputs.paths[0][0]:
        shape = outputs.paths[0][1]
        return u.reshape(shape) if shape else float(u[0])
    parts, start = {}, 0
    for path, shape in outputs.paths:
        size = int(np.prod(shape))
        parts[path] = u[start : start + size].reshape(shape)
        start += size
    return outputs.rebuilt(parts)


def of_outputs(returned: Any, outputs: Outputs, name: str, n: int = 0) -> Array:
    """A product as a vector of shape (m,): a nest like F, or a vector.

    Parameters
    ----------
    n : int
        Parameters, of which something may have been returned instead; 0 if that is not known.
    """
    if returned is None:
        raise GradcheckTypeError(f"{name} returned None: does it end with a return statement?")
    if _is_vector(returned, outputs.size):
        return np.asarray(foreign.plain(returned, name), np.float64)
    try:
        return np.asarray(outputs.flatten(returned), np.float64)
    except GradcheckInputError as error:
        # What a function of several outputs may have done wrong, a product has not.
        reason = str(error).partition(" at theta: outputs must keep")[0].rstrip(".")
        reason = reason.replace(", but had ", ", and not ")
        like = "like" if outputs.function == "like" else f"what {outputs.function} returns"
        meant = _meant(returned, outputs.size, n, "theta: is it a vjp?")
        raise type(error)(
            f"a product of {name} must have the structure and shape of {like}: {reason}.{meant}"
        ) from error


def _is_vector(returned: Any, size: int) -> bool:
    try:
        array = np.asarray(returned)
        return kind_of(returned) is None and array.shape == (size,) and array.dtype.kind in "fiub"
    except Exception:  # it converts to no array, and is refused with the reason
        return False


def _meant(returned: Any, own: int, other: int, what: str) -> str:
    """What may have been returned in the place of a product, by its size."""
    try:
        shape = np.shape(returned)
    except Exception:  # of arrays that make no array together
        return ""
    if other and math.prod(shape) == own * other != own:
        return (
            " It is as large as the whole matrix: return its product with the vector "
            '(form="matrix" checks the matrix itself).'
        )
    return f" It is of the size of {what}" if shape == (other,) else ""


def of_parameters(returned: Any, parameters: Parameters, name: str, m: int = 0) -> Array:
    """A product as a vector of shape (n,): a nest like theta, or a vector.

    Parameters
    ----------
    m : int
        Outputs, of which something may have been returned instead; 0 if that is not known.
    """
    if returned is None:
        raise GradcheckTypeError(f"{name} returned None: does it end with a return statement?")
    if _is_vector(returned, parameters.size):
        return np.asarray(foreign.plain(returned, name), np.float64)
    try:
        return parameters.match(returned)
    except GradcheckInputError as error:
        reason = str(error).removeprefix("the gradient of ")
        meant = _meant(returned, parameters.size, m, "F: is it a jvp?")
        raise type(error)(
            f"a product of {name} must be like theta: that of {reason}{meant}"
        ) from error


def linear(product: Product, size: int, eps: float, call: str, vector: str) -> tuple[Finding, ...]:
    """A finding if a product is not linear in its vector, or not finite."""
    rng = np.random.default_rng(1)
    one, two = rng.uniform(-1, 1, size), rng.uniform(-1, 1, size)
    first, second = product(one), product(two)
    together = product(one + 2 * two)
    off = np.abs(together - (first + 2 * second))
    scale = norm(np.array([norm(first), norm(second), norm(together)]))
    if norm(off) <= LINEAR * eps * scale * max(1.0, np.log2(max(size, 2))):
        return ()
    if not np.isfinite(norm(off)):
        message = (
            f"{call} returns values that are not finite. A division 0/0, log(0), an overflow, or "
            "an array from np.empty that was never filled is the usual cause."
        )
        return (Finding("not-finite", message, Rank.BUG),)
    ignored = np.array_equal(first, second)
    cause = (
        f"It does not depend on {vector} at all: are its arguments exchanged? The vector comes "
        "after theta."
        if ignored
        else f"A constant that is added, or a {vector} in a wrong place, is the usual cause."
    )
    message = (
        f"{call} is not linear in {vector}: a product with {vector}1 + 2 {vector}2 differs from "
        f"the sum of the products by {norm(off) / max(scale, 1e-300):.1g} of their size. {cause}"
    )
    return (Finding("linear", message, Rank.BUG),)
