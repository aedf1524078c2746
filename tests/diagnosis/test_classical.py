"""The classical bugs of back-propagation are named first, beside regularisation.

``studies/diagnosis.py`` does the same for twenty seeds, and writes the table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.problem.parameters import describe
from tests.cases.classical import BUGS, NETWORKS, ONLY, Case, case


def checked(c: Case, seed: int, **options: Any) -> fgc.GradcheckResult:
    return fgc.gradcheck(c.cost, c.grad, c.theta, args=c.args, seed=seed, **options)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_networks_are_right_and_nothing_is_named(network: str) -> None:
    for seed in (0, 1):
        c = case(network, seed)
        parameters = describe(c.theta)
        assert (parameters.size > 2000) == (network == "wide perceptron")
        flat, exact = parameters.flatten(c.theta), parameters.match(c.grad(c.theta, *c.args))
        for i in np.random.default_rng(seed).choice(parameters.size, 30, replace=False):
            ends = [flat.copy(), flat.copy()]
            ends[0][i] -= 1e-5
            ends[1][i] += 1e-5
            low, high = (c.cost(parameters.unflatten(end), *c.args) for end in ends)
            assert abs((high - low) / 2e-5 - exact[i]) <= 1e-7 * np.abs(exact).max()
        result = checked(c, seed)
        assert result
        assert result.findings == ()


PLANTED = [
    (bug, network) for bug in BUGS for network in NETWORKS if ONLY.get(bug, network) == network
]


@pytest.mark.parametrize(("bug", "network"), PLANTED)
def test_a_classical_bug_is_named_first(bug: str, network: str) -> None:
    seed = PLANTED.index((bug, network)) % 2
    if bug == "dropout":
        with pytest.raises(fgc.GradcheckInputError, match=BUGS[bug]):
            checked(case(network, seed, bug), seed)
        return
    result = checked(case(network, seed, bug), seed)
    assert result.verdict is fgc.Verdict.WRONG
    assert BUGS[bug] in result.findings[0].message


def test_what_is_next_follows_the_finding() -> None:
    for bug in ("transposed", "stale activations", "label off by one"):
        report = str(checked(case("perceptron", 2, bug), 2))
        assert "Next      Mend what the first finding names, and check again" in report
        assert "Look at" not in report.split("Next ")[1]
