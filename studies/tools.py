"""What each tool says of right and of wrong gradients, for docs/which-tool.md.

``python -m studies.tools`` from the checkout's root, with the extras ``bench`` and ``test``; torch
and jax take part if they are installed. Some minutes. Networks, and faults planted into their
gradients, are those of ``tests/cases``; released gradients are those of ``tests/cases/corpus.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.problems import Problem
from studies import peers, tables
from tests.cases import corpus
from tests.cases.faults import FAULTS, Subject, error, subject
from tests.cases.networks import NETWORKS

PAGE = tables.ROOT / "docs" / "which-tool.md"
SEEDS = range(4)
TITLES = [
    "tool",
    "networks: right, refused",
    "wrong, passed",
    "released: right, refused",
    "wrong, passed",
]


def flat(s: Subject, gradient: dict[str, Any]) -> Problem:
    """A network and a gradient of it, as functions of one vector."""
    names = list(s.theta)
    cuts = np.cumsum([s.theta[name].size for name in names])[:-1]

    def parts(theta: Any) -> dict[str, Any]:
        pieces = zip(names, np.split(theta, cuts), strict=True)
        return {name: piece.reshape(s.theta[name].shape) for name, piece in pieces}

    def cost(theta: Any) -> float:
        return float(s.network.cost(parts(theta), s.data, s.targets))

    claimed = np.concatenate([gradient[name].ravel() for name in names])
    start = np.concatenate([s.theta[name].ravel() for name in names])
    return Problem(cost, lambda theta: claimed.copy(), start, ())


def networks() -> Iterator[tuple[bool, Problem]]:
    """Whether it is right, and the problem."""
    for network in NETWORKS.values():
        for seed in SEEDS:
            s = subject(network, seed)
            yield True, flat(s, s.gradient)
        for fault in FAULTS.values():
            s = subject(network, 3)
            faulty = fault(s, np.random.default_rng(5))
            if error(faulty, s.gradient).any():
                yield False, flat(s, faulty)


def released() -> Iterator[tuple[bool, Problem]]:
    """The same of gradients as released."""
    for case in corpus.cases():
        if case.right is not None:
            yield case.right, Problem(case.cost, case.grad, case.theta, ())


def row(tool: peers.Tool, problems: list[tuple[bool, Problem]]) -> tuple[str, str]:
    """Right ones that it refuses, and wrong ones that it passes, each of how many."""
    passed = [(right, _passes(tool, problem)) for right, problem in problems]
    of_right = [p for right, p in passed if right]
    of_wrong = [p for right, p in passed if not right]
    return (
        f"{of_right.count(False)} of {len(of_right)}",
        f"{of_wrong.count(True)} of {len(of_wrong)}",
    )


def _passes(tool: peers.Tool, problem: Problem) -> bool:
    try:
        return peers.quietly(tool, problem).passed
    except Exception:  # a tool that breaks off does not pass
        return False


def main() -> None:
    """Rewrite the table."""
    nets, real = list(networks()), list(released())
    rows = []
    for tool in peers.installed((peers.OURS, *peers.PEERS)):
        rows.append([tool.label, *row(tool, nets), *row(tool, real)])
        print(*rows[-1], sep="; ", flush=True)
    tables.write("tools", tables.table(TITLES, rows), PAGE)


if __name__ == "__main__":
    main()
