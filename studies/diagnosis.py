"""How often a classical bug is named first: the table of `docs/how-it-decides.md`.

``python -m studies.diagnosis`` plants every bug of ``tests/cases/classical.py`` in its
networks, for 20 seeds each, and checks the right gradients too; some minutes.
"""

from __future__ import annotations

import sys
from collections import Counter

import fastgradcheck as fgc
from fastgradcheck.problem.finding import Rank
from studies import tables
from tests.cases.classical import BUGS, NETWORKS, ONLY, case

SEEDS = 20


def first(network: str, seed: int, bug: str = "") -> str:
    """The finding that names the bug first; empty if none does."""
    c = case(network, seed, bug)
    try:
        result = fgc.gradcheck(c.cost, c.grad, c.theta, args=c.args, seed=seed)
    except fgc.GradcheckInputError as refusal:
        return str(refusal)
    assert bool(result) == (not bug), (network, seed, bug, str(result))
    named = [finding.message for finding in result.findings if finding.rank is Rank.BUG]
    return named[0] if named else ""


def main(argv: list[str] | None = None) -> None:
    """Check everything, print the table, and write it into the documentation."""
    seeds = int((argv or [*sys.argv, str(SEEDS)])[1])
    rows: list[list[object]] = []
    for bug, words in {**BUGS, "": ""}.items():
        counts: list[object] = []
        for network in NETWORKS:
            if ONLY.get(bug, network) != network:
                counts.append("-")
                continue
            found = [first(network, seed, bug) for seed in range(seeds)]
            right = sum((words in text) == bool(words or not text) for text in found)
            others = Counter(text[:160] for text in found if words not in text or not words)
            for text, count in others.most_common(3):
                if text or bug:
                    print(f"  {bug}, {network}: {count} x {text or 'nothing'}", file=sys.stderr)
            counts.append(f"{right} of {seeds}")
        rows.append([bug or "*none*: nothing is named", *counts])
    text = tables.table(["bug", *NETWORKS], rows)
    print(text)
    if seeds >= SEEDS:
        tables.write("diagnosis", text)


if __name__ == "__main__":
    main()
