"""The classical bugs of back-propagation are named first, beside regularisation.

``studies/diagnosis.py`` does the same for twenty seeds, and writes the table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import approx_fprime

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
        numeric = approx_fprime(
            parameters.flatten(c.theta),
            lambda flat, p=parameters, c=c: c.cost(p.unflatten(flat), *c.args),
        )
        exact = parameters.match(c.grad(c.theta, *c.args))
        np.testing.assert_allclose(numeric, exact, atol=1e-6 * np.abs(exact).max())
        result = checked(c, seed)
        assert result
        assert result.findings == ()


@pytest.mark.parametrize(
    ("bug", "network"),
    [(bug, network) for bug in BUGS for network in NETWORKS if ONLY.get(bug, network) == network],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_classical_bug_is_named_first(bug: str, network: str, seed: int) -> None:
    if bug == "dropout":
        with pytest.raises(fgc.GradcheckInputError, match=BUGS[bug]):
            checked(case(network, seed, bug), seed)
        return
    result = checked(case(network, seed, bug), seed)
    assert result.verdict is fgc.Verdict.WRONG
    assert BUGS[bug] in result.findings[0].message


def test_what_is_next_follows_the_finding() -> None:
    for bug in set(BUGS) - {"dropout"}:
        network = ONLY.get(bug, "perceptron")
        report = str(checked(case(network, 2, bug), 2))
        assert "Next      Mend what the first finding names, and check again" in report
        assert "Look at" not in report.split("Next ")[1]
