"""False alarms, misses and undecided checks, for the documentation.

``python -m studies.corpus`` from the checkout's root, with the extra ``test`` (and umap-learn,
if its gradients are to be among them); some minutes. Released gradients are those of
``tests/cases/corpus.py``: which of them are right is decided by a reference of its own
(``tests/cases/reference.py``). Networks, and faults planted into their gradients, are those of
``tests/cases/networks.py`` and ``tests/faults.py``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any

import numpy as np

import fastgradcheck as fgc
from fastgradcheck import Verdict
from studies import tables
from tests.cases import corpus as released
from tests.cases.faults import FAULTS, error, subject
from tests.cases.networks import NETWORKS, Overconfident
from tests.cases.reference import classify

THRESHOLD = 1e-7
TITLES = ["right", "false alarms", "undecided", "wrong", "missed", "undecided"]
SEEDS = range(10)
SURE = range(60), (1.0, 2.0, 4.0)
"""Seeds and sizes of the overconfident networks ..."""
RESTS = (1e-3, 1e-6, 1e-9, 1e-12, 0.0)
"""... which are told apart by the smallest 1 - a of an example that is not in the class."""


def row(name: str, outcomes: list[tuple[bool, Verdict]]) -> list[object]:
    """One line of the table from pairs of what is right and what the check said."""
    right = Counter(verdict for is_right, verdict in outcomes if is_right)
    wrong = Counter(verdict for is_right, verdict in outcomes if not is_right)
    return [
        name,
        right.total(),
        right[Verdict.WRONG] if right else "-",
        right[Verdict.UNDECIDED] if right else "-",
        wrong.total(),
        wrong[Verdict.AGREES] if wrong else "-",
        wrong[Verdict.UNDECIDED] if wrong else "-",
    ]


def packages() -> Iterator[tuple[str, bool, Verdict]]:
    """Package, whether its gradient is right, and the verdict; without what J cannot tell."""
    for case in released.cases():
        if case.right is None:
            continue
        truth = classify(case.cost, np.array(case.grad(case.theta)), case.theta).right(THRESHOLD)
        if truth is not None:
            result = fgc.gradcheck(case.cost, case.grad, case.theta, seed=1)
            yield case.name.split()[0], truth, result.verdict


def networks() -> Iterator[tuple[str, bool, Verdict]]:
    """Correct back-propagation, and all faults, in every network."""
    for network in NETWORKS.values():
        for seed in SEEDS:
            s = subject(network, seed)
            yield "networks, correct", True, _verdict(s, s.gradient, seed)
            for name, plant in FAULTS.items():
                faulty = plant(s, np.random.default_rng(seed))
                if error(faulty, s.gradient).any():
                    yield f"planted: {name}", False, _verdict(s, faulty, seed)


def _verdict(s: Any, gradient: Any, seed: int) -> Verdict:
    options = {"args": (s.data, s.targets), "seed": seed}
    return fgc.gradcheck(s.network.cost, gradient, s.theta, **options).verdict


def overconfident() -> Iterator[tuple[float, bool, Verdict]]:
    """The smallest 1 - a, whether the gradient is right, and the verdict, by either strategy."""
    for seed, size in product(*SURE):
        network = Overconfident(seed, size)
        theta, X, y = network.drawn()
        with np.errstate(divide="ignore", invalid="ignore"):
            if not np.isfinite(network.cost(theta, X, y)):  # which a check refuses
                continue
        rest = float(np.min(1 - network.activations(theta, X)[1][y == 0]))
        right = network.grad(theta, X, y)
        doubled = right | {"W1": 2 * right["W1"]}
        for strategy, gradient in product(("components", "screen"), (right, doubled)):
            options = {"args": (X, y), "seed": seed, "strategy": strategy}
            verdict = fgc.gradcheck(network.cost, gradient, theta, **options).verdict
            yield rest, gradient is right, verdict


def stairs() -> str:
    """The table of the overconfident networks."""
    found = list(overconfident())
    lines = []
    for most, least in pairwise((np.inf, *RESTS)):
        inside = [outcome for rest, *outcome in found if least < rest <= most]
        name = f"above {least:g}" if most == np.inf else f"{least:g} to {most:g}"
        lines.append(row(name, inside))
    return tables.table(["smallest 1 - a", *TITLES], lines)


def main() -> None:
    """Check everything, print the tables, and write them into the documentation."""
    began = time.perf_counter()
    groups: dict[str, list[tuple[bool, Verdict]]] = {}
    for name, right, verdict in [*packages(), *networks()]:
        groups.setdefault(name, []).append((right, verdict))
    rows = [row(name, outcomes) for name, outcomes in groups.items()]
    rows.append(row("**all**", [pair for outcomes in groups.values() for pair in outcomes]))
    texts = {"corpus": tables.table(["gradients", *TITLES], rows), "stairs": stairs()}
    for marker, text in texts.items():
        print(text)
        tables.write(marker, text)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
