"""Whether a claimed Hessian is symmetric, as second derivatives are."""

from __future__ import annotations

import numpy as np

from fastgradcheck.problem.entries import Entries
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.problem.jacobian import Dense, Sparse
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.products import Products

ROUNDING = 1e3
"""In units of eps: two halves of a symmetric matrix that are computed in another order."""
PAIRS = 4
CHUNK = 1 << 22
"""Entries that are compared at a time."""


def asymmetry(claim: Dense | Sparse | Products, entries: Entries) -> tuple[Finding, ...]:
    """A finding if a claimed Hessian is not symmetric, beyond rounding."""
    if isinstance(claim, Products):
        return _of_products(claim)
    place = _of_dense(claim) if isinstance(claim, Dense) else _of_sparse(claim)
    if place is None:
        return ()
    i, j, here, there = place
    names = [entries.names.address(int(entries.flat(a, b))) for a, b in ((i, j), (j, i))]
    message = (
        f"The claimed Hessian is not symmetric: {names[0]} is {here:.10g}, but {names[1]} is "
        f"{there:.10g}. One of the two halves that was not filled, or a factor of two for entries "
        "off the diagonal, is the usual cause."
    )
    return (Finding("asymmetric", message, Rank.BUG),)


def _of_dense(claim: Dense) -> tuple[int, int, float, float] | None:
    """The entry that differs most from its mirror image, relative to the sizes of their rows."""
    matrix, n = claim.matrix, claim.shape[1]
    sizes = claim.sizes(slice(0, n))
    worst, place = ROUNDING * claim.eps, None
    rows = max(1, CHUNK // n)
    for first in range(0, n, rows):
        part = slice(first, first + rows)
        scale = np.sqrt(np.outer(sizes[part], sizes))
        scale[scale == 0] = 1.0
        apart = np.abs(matrix[part] - matrix[:, part].T) / scale
        k = int(np.argmax(apart))
        if apart.flat[k] > worst:
            worst = float(apart.flat[k])
            place = first + k // n, k % n
    if place is None:
        return None
    i, j = place
    return i, j, float(matrix[i, j]), float(matrix[j, i])


def _of_sparse(claim: Sparse) -> tuple[int, int, float, float] | None:
    sizes = claim.sizes(slice(0, claim.shape[1]))
    difference = (claim.matrix - claim.matrix.T).tocoo()
    rows, columns = difference.coords
    if not len(rows):
        return None
    scale = np.sqrt(np.maximum(sizes[rows], 0) * np.maximum(sizes[columns], 0))
    apart = np.abs(difference.data) / np.where(scale > 0, scale, 1.0)
    k = int(np.argmax(apart))
    if not apart[k] > ROUNDING * claim.eps:
        return None
    i, j = int(rows[k]), int(columns[k])
    return i, j, float(claim.matrix[i, j]), float(claim.matrix[j, i])


def _of_products(claim: Products) -> tuple[Finding, ...]:
    rng = np.random.default_rng(3)
    n = claim.shape[1]
    for _ in range(PAIRS):
        u, v = rng.choice([-1.0, 1.0], (2, n))
        to_u, to_v = claim.product(u), claim.product(v)
        here, there = float(u @ to_v), float(v @ to_u)
        scale = np.sqrt(n) * (norm(to_u) + norm(to_v))
        if abs(here - there) > ROUNDING * claim.eps * scale:
            message = (
                f"The products are not those of a symmetric matrix: u.(H v) is {here:.10g}, but "
                f"v.(H u) is {there:.10g} for random u and v. A transposed Jacobian, or a term "
                "that only one of the two directions passes through, is the usual cause."
            )
            return (Finding("asymmetric", message, Rank.BUG),)
    return ()
