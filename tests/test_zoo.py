"""Networks of random kinds: right by an oracle, and some of them checked."""

from __future__ import annotations

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck import Verdict
from tests.cases.zoo import Parameters, Posed, posed

KINDS = range(16)
"""Four activations, in perceptrons and convolutional networks, without and with batch norm."""


def complex_steps(case: Posed) -> Parameters:
    """The gradient by one complex step for each parameter: exact up to rounding."""
    found = {}
    for name, value in case.theta.items():
        slopes = np.zeros(value.shape)
        for at in np.ndindex(value.shape):
            moved = value.astype(complex)
            moved[at] += 1e-30j
            slopes[at] = case.network.cost(case.theta | {name: moved}, *case.data).imag / 1e-30
        found[name] = slopes
    return found


@pytest.mark.parametrize("seed", KINDS)
def test_back_propagation_is_right(seed):
    case = posed(seed, small=True)
    exact = complex_steps(case)
    largest = max(np.max(np.abs(value)) for value in exact.values())
    for name, value in exact.items():
        # Sums of a few hundred terms, in another order.
        np.testing.assert_allclose(case.right[name], value, rtol=1e-10, atol=1e-13 * largest)


def test_seeds_make_every_kind_and_many_faults():
    cases = [posed(seed, small=True) for seed in range(160)]
    assert len({case.network.kind for case in cases}) == 16
    assert len({case.fault for case in cases}) == 13


@pytest.mark.parametrize("strategy", ["auto", "screen"])
@pytest.mark.parametrize("seed", KINDS)
def test_right_agrees_and_wrong_is_wrong(seed, strategy):
    case = posed(seed, small=True)
    options = {"args": case.data, "seed": seed, "strategy": strategy}
    right = fgc.gradcheck(case.network.cost, case.right, case.theta, **options)
    wrong = fgc.gradcheck(case.network.cost, case.wrong, case.theta, **options)
    assert (right.verdict, wrong.verdict) == (Verdict.AGREES, Verdict.WRONG), f"{right}\n{wrong}"
