"""How many evaluations of F the check of a Jacobian takes, and whether it names what is wrong.

``python -m studies.jacobian [checks]`` prints a row for every kind of fault in a Jacobian of
300 x 2,000: median and most evaluations, how often exactly the planted entries were named, and
false names. A second table tells the same of right Jacobians that are hard to check, of 20 x 30,
60 x 200 and 300 x 500. A third is of vjps, 200 outputs by 300 parameters, whose rows differ by up
to sixteen decades: right ones, and with one entry of a random row off by 1e-3 of its median.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.jacobians.check import jaccheck
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.jacobians import HARD, hard

M, N = 300, 2000
HARD_SIZES = (20, 30), (60, 200), (300, 500)
VERDICTS = Verdict.AGREES, Verdict.UNDECIDED, Verdict.WRONG
Array = NDArray[np.float64]


def problem(seed: int) -> tuple[Callable[[Array], Array], Array, Array]:
    """A function of 2,000 parameters with 300 outputs, its Jacobian, and the point."""
    rng = np.random.default_rng(seed)
    W, theta = rng.normal(size=(M, N)) / np.sqrt(N), rng.normal(size=N)

    def fun(t: Array) -> Array:
        z = W @ t
        return np.asarray(np.tanh(z) + 0.1 * z**2)

    z = W @ theta
    return fun, (1 - np.tanh(z) ** 2 + 0.2 * z)[:, np.newaxis] * W, theta


def planted(jac: Array, rows: Array, per_row: int, seed: int) -> set[str]:
    """Entries made wrong by 1e-3 of the median of their rows; their addresses."""
    rng = np.random.default_rng([seed, 1])
    named = set()
    for i in rows:
        for j in rng.choice(N, per_row, replace=False):
            jac[i, j] += 1e-3 * float(np.median(np.abs(jac[i]))) * rng.choice([-1, 1])
            named.add(f"F[{i}] / theta[{j}]")
    return named


KINDS = {
    "right": (0, 0),
    "1 entry": (1, 1),
    "30 entries in 30 rows": (30, 1),
    "150 entries in 150 rows": (150, 1),
    "10 entries in one row": (1, 10),
    "20 entries in 10 rows": (10, 2),
}


def of_vjp(decades: float, wrong: bool, seed: int) -> tuple[str, int, bool]:
    """Verdict, evaluations, and whether the wrong entry alone is named."""
    rng = np.random.default_rng([seed, 3])
    W, theta = rng.normal(size=(200, 300)) / np.sqrt(300), rng.normal(size=300)
    D = 10.0 ** rng.uniform(-decades / 2, decades / 2, 200)
    slopes = (D * (1 - np.tanh(W @ theta) ** 2))[:, np.newaxis] * W
    i, j = int(rng.integers(200)), int(rng.integers(300))
    slopes[i, j] += 1e-3 * float(np.median(np.abs(slopes[i]))) if wrong else 0.0

    def fun(t: Array) -> Array:
        return np.asarray(D * np.tanh(W @ t))

    result = jaccheck(fun, lambda t, u: slopes.T @ u, theta, form="vjp", seed=seed)
    return result.verdict.value, result.evaluations, result.wrong == (f"F[{i}] / theta[{j}]",)


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    checks = int((argv or sys.argv)[1:2][0]) if len(argv or sys.argv) > 1 else 10
    print(f"| fault ({M} x {N:,}) | evaluations, median / most | exact | false names |")
    print("| --- | --- | --- | --- |")
    for name, (rows, per_row) in KINDS.items():
        counts, exact, false = [], 0, 0
        for seed in range(checks):
            fun, jac, theta = problem(seed)
            rng = np.random.default_rng([seed, 2])
            wrong = planted(jac, rng.choice(M, rows, replace=False), per_row, seed)
            result = jaccheck(fun, jac, theta, seed=seed)
            counts.append(result.evaluations)
            verdict = result.verdict.name == ("WRONG" if wrong else "AGREES")
            exact += set(result.wrong) == wrong and verdict
            false += len(set(result.wrong) - wrong)
        middle = f"{np.median(counts):.0f} / {max(counts)}"
        print(f"| {name} | {middle} | {exact} of {checks} | {false} |", flush=True)
    print()
    print("| right, and hard to check | AGREES | UNDECIDED | WRONG | evaluations, median / most |")
    print("| --- | --- | --- | --- | --- |")
    for name in HARD:
        results = [
            jaccheck(*hard(name, m, n, seed), seed=seed)
            for m, n in HARD_SIZES
            for seed in range(checks)
        ]
        verdicts = [sum(r.verdict is verdict for r in results) for verdict in VERDICTS]
        counts = [r.evaluations for r in results]
        middle = f"{np.median(counts):.0f} / {max(counts)}"
        print(f"| {name} | {' | '.join(map(str, verdicts))} | {middle} |", flush=True)
    print()
    print("| rows of a vjp over | right: AGREES | wrong: named | evaluations at most, of either |")
    print("| --- | --- | --- | --- |")
    for decades in (0, 8, 16):
        right, wrong = ([of_vjp(decades, w, seed) for seed in range(checks)] for w in (False, True))
        agree = sum(verdict == "AGREES" for verdict, _, _ in right)
        named = sum(exact for _, _, exact in wrong)
        most = f"{max(r[1] for r in right)} / {max(w[1] for w in wrong)}"
        print(f"| {decades} decades | {agree} of {checks} | {named} of {checks} | {most} |")


if __name__ == "__main__":
    main()
