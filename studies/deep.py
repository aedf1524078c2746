"""Deep networks and many blocks: what one set of directions takes, table by table.

python -m studies.deep                # writes docs/performance.md, ten minutes
python -m studies.deep --seeds 5      # few seeds, printed only
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import fastgradcheck as fgc
from studies import tables
from studies.million import LAYOUT, Network, relu_cost, tanh_cost
from tests.cases.residual import Residual, Theta

WIDTH, BATCH, SEEDS = 64, 16, 8
PAGE = tables.ROOT / "docs" / "performance.md"

Array = np.ndarray[Any, Any]


Subject = tuple[Callable[..., float], Any, Any, tuple[Array, ...], dict[str, Any]]
"""Cost, right gradient, theta, args, options."""


def residual(layers: int, relu: bool) -> Callable[[int], Subject]:
    """A residual network."""

    def drawn(seed: int) -> Subject:
        network = Residual(layers, relu, seed, WIDTH, BATCH)
        return network.cost, network.grad(network.theta), network.theta, (), {}

    return drawn


def perceptron(relu: bool) -> Callable[[int], Subject]:
    """784-1000-256-10."""

    def drawn(seed: int) -> Subject:
        n = Network.drawn("", relu_cost if relu else tanh_cost, relu, seed)
        return n.cost, n.grad, n.theta, n.args, {"layout": LAYOUT}

    return drawn


def decades(seed: int, blocks: int = 500, size: int = 50) -> Subject:
    """Blocks whose gradients spread over nine decades."""
    rng = np.random.default_rng(seed)
    theta = {f"p{k}": rng.standard_normal(size) for k in range(blocks)}
    factors = 10.0 ** rng.uniform(-9, 0, blocks)

    def cost(t: Theta) -> float:
        return float(
            sum(f * np.sin(part).sum() for f, part in zip(factors, t.values(), strict=True))
        )

    gradient = {name: f * np.cos(theta[name]) for f, name in zip(factors, theta, strict=True)}
    return cost, gradient, theta, (), {}


def scalars(seed: int, count: int = 2500) -> Subject:
    """As many blocks of one entry each."""
    rng = np.random.default_rng(seed)
    theta = {f"s{k}": np.array(x) for k, x in enumerate(rng.standard_normal(count))}
    A = rng.standard_normal(count)

    def cost(t: Theta) -> float:
        x = np.fromiter((float(v) for v in t.values()), float, count)
        return float(np.sin(A * x).sum())

    gradient = {name: a * np.cos(a * theta[name]) for a, name in zip(A, theta, strict=True)}
    return cost, gradient, theta, (), {}


SUBJECTS = {
    "784-1000-256-10 tanh": perceptron(False),
    "784-1000-256-10 ReLU": perceptron(True),
    **{f"residual tanh, {k} layers": residual(k, False) for k in (5, 50, 150)},
    **{f"residual ReLU, {k} layers": residual(k, True) for k in (20, 50, 150)},
    "500 blocks over nine decades": decades,
    "2,500 scalars": scalars,
}


def planted(gradient: Any, count: int, rng: np.random.Generator) -> tuple[Any, set[int]]:
    """So many entries off by 1e-3 of the larger of the median and themselves."""
    parts = list(gradient.values()) if isinstance(gradient, dict) else [gradient]
    flat = np.concatenate([part.ravel() for part in parts])
    index = rng.choice(flat.size, count, replace=False)
    flat[index] += 1e-3 * np.maximum(np.median(np.abs(flat)), np.abs(flat[index]))
    if not isinstance(gradient, dict):
        return flat, set(index.tolist())
    ends = np.cumsum([part.size for part in parts])[:-1]
    pieces = zip(gradient, np.split(flat, ends), strict=True)
    return {k: v.reshape(gradient[k].shape) for k, v in pieces}, set(index.tolist())


def row(name: str, wrong: int, seeds: int, strategy: str) -> list[object]:
    """Verdicts, evaluations and seconds over the seeds."""
    verdicts: Counter[str] = Counter()
    evaluations, seconds, exact = [], [], 0
    for seed in range(seeds):
        cost, gradient, theta, args, options = SUBJECTS[name](seed)
        claim, index = planted(gradient, wrong, np.random.default_rng(seed))
        began = time.perf_counter()
        result = fgc.gradcheck(
            cost, claim, theta, args=args, strategy=strategy, seed=seed, progress=False, **options
        )
        seconds.append(time.perf_counter() - began)
        verdicts[result.verdict.name] += 1
        evaluations.append(result.evaluations)
        assert result.problem is not None
        named = {result.problem.parameters.address(i) for i in index}
        exact += set(result.wrong) == named
    said = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
    middle, most = int(np.median(evaluations)), max(evaluations)
    return [name, wrong, said, f"{exact} of {seeds}", middle, most, f"{np.median(seconds):.2f}"]


TITLES = ["subject", "wrong entries", "verdicts", "exact", "evaluations", "most", "seconds"]


def rows(seeds: int, names: Sequence[str], counts: Sequence[int]) -> Iterator[list[object]]:
    """Right gradients of everything, and wrong entries."""
    for name in names:
        for count in counts:
            found = row(name, count, seeds, "screen")
            print(*found, sep=" | ", flush=True)
            yield found


def main() -> None:
    """Check everything, print the table, and write it into the documentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=0, help="few: printed only")
    parser.add_argument("--names", nargs="*", default=list(SUBJECTS))
    parser.add_argument("--wrong", nargs="*", type=int, default=[0, 1, 5, 20])
    options = parser.parse_args()
    found = list(rows(options.seeds or SEEDS, options.names, options.wrong))
    if not options.seeds:
        tables.write("deep networks", tables.table(TITLES, found), PAGE)


if __name__ == "__main__":
    main()
