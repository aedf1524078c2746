"""False alarms, misses and undecided checks on networks of random kinds, for the documentation.

``python -m studies.networks`` from the checkout's root, with the extra ``test``; twenty minutes on
one core. ``--count 150`` checks as many networks, ``--first 300`` begins with that one: every
network follows from its number. Each is checked by the default strategy and by directions alone,
with its right gradient and with one fault that was planted at random (``tests/cases/zoo.py``;
``tests/test_zoo.py`` holds every kind of network against complex steps). What is not as it should
be is printed with the network's number.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import product

import fastgradcheck as fgc
from fastgradcheck import Verdict
from studies import tables
from studies.corpus import TITLES, row
from tests.cases.zoo import posed

COUNT = 1_000
STRATEGIES = "auto", "screen"

Outcome = tuple[bool, Verdict]
"""Whether the gradient is right, and what the check says."""


def outcomes(number: int) -> dict[tuple[str, str], list[Outcome]]:
    """By kind of network and strategy, and by fault, what is said of one network."""
    case = posed(number)
    found: dict[tuple[str, str], list[Outcome]] = {}
    for strategy, right in product(STRATEGIES, (True, False)):
        gradient = case.right if right else case.wrong
        options = {"args": case.data, "seed": number, "strategy": strategy}
        result = fgc.gradcheck(case.network.cost, gradient, case.theta, **options)
        found.setdefault((case.network.kind, strategy), []).append((right, result.verdict))
        if not right:
            found.setdefault((case.fault, strategy), []).append((right, result.verdict))
        if result.verdict is not (Verdict.AGREES if right else Verdict.WRONG):
            what = "right" if right else case.fault
            print(f"network {number} ({case.network.kind}, n = {case.size:,}), {strategy}, {what}:")
            print(result, flush=True)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Check networks, print the table, and write it into the documentation."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="how many networks")
    parser.add_argument("--first", type=int, default=0, help="the number of the first one")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for number in range(options.first, options.first + options.count):
        for group, found in outcomes(number).items():
            groups.setdefault(group, []).extend(found)
    kinds = {group: found for group, found in sorted(groups.items()) if group[0] in _kinds(groups)}
    rows = [row(", ".join(group), found) for group, found in kinds.items()]
    for strategy in STRATEGIES:
        every = [pair for group, found in kinds.items() if group[1] == strategy for pair in found]
        rows.append(row(f"**all, {strategy}**", every))
    faults = [row(", ".join(group), f) for group, f in sorted(groups.items()) if group not in kinds]
    print(tables.table(["planted fault", *TITLES], faults))
    text = tables.table(["networks", *TITLES], rows)
    print(text)
    tables.write("networks", text)
    print(f"{time.perf_counter() - began:.0f} s")


def _kinds(groups: dict[tuple[str, str], list[Outcome]]) -> set[str]:
    """The kinds of networks among what was counted: faults hold no right gradient."""
    return {name for (name, _), found in groups.items() if any(right for right, _ in found)}


if __name__ == "__main__":
    main()
