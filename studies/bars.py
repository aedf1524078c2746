"""Do error bars hold the truth? Measured against exact derivatives, for the documentation.

``python -m studies.bars`` from the checkout's root; some minutes. The functions and their
derivatives (mpmath, 120 digits) are those of ``tests/cases/oracle.py``. A bar that holds says
little if it is huge: the last column is the median of bar over true error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import fastgradcheck as fgc
from studies import tables
from tests.cases.oracle import CASES, Posed

SCALES = ((1.0, 1.0), (1e-9, 1.0), (1e9, 1.0), (1.0, 1e-9), (1.0, 1e9), (1e9, 1e-9))
"""(a, s) of ``a * f(theta / s)``."""
DTYPES = (np.float64, np.float32)
SCHEMES = ("central", "forward", "central4")
EPS = float(np.finfo(np.float64).eps)

Measured = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Value, bar and exact derivative, per component."""


def by_numerical_gradient(posed: Posed) -> Measured:
    """Every component, as `numerical_gradient` measures it."""
    numeric = fgc.numerical_gradient(posed.cost, posed.theta)
    return np.asarray(numeric.value, float), np.asarray(numeric.error, float), posed.exact


def by_confirmation(scheme: str) -> Callable[[Posed], Measured]:
    """Every component of a doubled gradient that a check confirms as wrong."""

    def measure(posed: Posed) -> Measured:
        doubled = (2 * posed.exact).astype(posed.theta.dtype)
        found = fgc.gradcheck(posed.cost, doubled, posed.theta, scheme=scheme, seed=0).components
        found = found[found["verdict"] == fgc.Verdict.WRONG.code]
        return found["numeric"], found["error"], posed.exact[found["index"]]

    return measure


def row(name: str, dtype: Any, measure: Callable[[Posed], Measured]) -> Iterator[object]:
    """One line of the table."""
    parts = [measure(case.at(dtype, a, s)) for case in CASES for a, s in SCALES]
    value, bar, exact = (np.concatenate(column) for column in zip(*parts, strict=True))
    # One rounding separates the exact derivative from any float64 that can be returned.
    rounding = EPS * np.abs(exact)
    error = np.abs(value - exact)
    told = exact != 0  # a derivative of zero has no rounding level to compare with
    ratio = np.median(bar[told] / np.maximum(error, rounding)[told])
    yield from (name, np.dtype(dtype).name, f"{len(bar):,}")
    yield f"{int(np.sum(error > bar + rounding))}"
    yield f"{100 * np.mean(error <= bar + rounding):.2f} %"
    yield f"{ratio:.1f}"


def main() -> None:
    """Measure, print the table, and write it into the documentation."""
    began = time.perf_counter()
    rows = [[*row("`numerical_gradient`", dtype, by_numerical_gradient)] for dtype in DTYPES]
    rows += [
        [*row(f"confirmed, scheme {scheme}", dtype, by_confirmation(scheme))]
        for scheme in SCHEMES
        for dtype in DTYPES
    ]
    titles = ["measured by", "theta", "components", "bar missed", "bar held", "median bar / error"]
    text = tables.table(titles, rows)
    print(f"{text}\n{len(CASES)} functions, {time.perf_counter() - began:.0f} s")
    tables.write("bars", text)


if __name__ == "__main__":
    main()
