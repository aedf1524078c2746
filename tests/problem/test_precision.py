"""A gradient in float32 is checked in float64 where it takes that; else its rounding is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck import Verdict
from fastgradcheck.problem import precision
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective
from tests.cases.results import kinds, message
from tests.cases.trained import trained

SINGLE = float(np.finfo(np.float32).eps)
THETA = {"W": np.linspace(0.5, 2, 6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float32)}


def claim(grad: Any, gradient: Any = None, eps: float = SINGLE, dtype: Any = np.float64) -> Any:
    parameters = describe(THETA)
    flat = parameters.flatten(THETA)
    if gradient is None:
        gradient = parameters.match(grad(THETA))
    objective = Objective(lambda t: 0.0, (), parameters, flat.astype(dtype))
    return precision.sharpest(grad, THETA, objective, gradient, eps)


def tenth(theta: Any) -> Any:
    """A gradient of J = sum theta^2 / 20, in the dtype that it is given."""
    return {name: part / 10 for name, part in theta.items()}


def single(theta: Any) -> Any:
    return {name: (part / 10).astype(np.float32) for name, part in theta.items()}


def test_float64_where_it_is_taken() -> None:
    found = claim(tenth)
    exact = np.concatenate([part.astype(float).ravel() / 10 for part in THETA.values()])
    assert np.array_equal(found.gradient, exact)
    assert found.eps == 2.0**-52
    assert not found.rounding.any()
    assert not found.findings


@pytest.mark.parametrize("flaw", ["raises", "another formula", "nan", "float32 anyway"])
def test_float32_where_it_is_not(flaw: str) -> None:
    def grad(theta: Any) -> Any:
        if theta["W"].dtype == np.float32 or flaw == "float32 anyway":
            return single(theta)
        if flaw == "raises":
            raise TypeError("float32 only")
        factor = np.nan if flaw == "nan" else 1.1
        return {name: factor * part for name, part in tenth(theta).items()}

    found = claim(grad)
    assert found.eps == SINGLE
    assert np.array_equal(found.gradient, describe(THETA).match(single(THETA)))


def test_what_is_wrong_in_float32_alone_is_not_hidden() -> None:
    """An entry that overflows there is no rounding of the one that does not."""
    gradient = describe(THETA).match(single(THETA))
    gradient[3] *= 1.1
    assert claim(tenth, gradient).gradient[3] == gradient[3]


def test_an_entry_that_is_wrong_in_float32_alone_is_not_hidden() -> None:
    theta = {"W": np.random.default_rng(0).normal(size=(60, 50)).astype(np.float32)}
    theta["W"][7, 9] = 1.0

    def grad(t: Any) -> Any:
        slopes = 2 * t["W"]
        if slopes.dtype == np.float32:
            slopes[7, 9] *= 1.3  # half a percent of the norm of the block
        return {"W": slopes}

    result = fgc.gradcheck(lambda t: float((t["W"] ** 2).sum()), grad, theta, seed=0)
    assert result.wrong == ("W[7, 9]",)


def test_nothing_is_called_for_float64_or_for_values() -> None:
    def never(theta: Any) -> Any:
        raise AssertionError

    assert claim(never, np.ones(8), 2.0**-52).eps == 2.0**-52
    assert claim(THETA, np.ones(8)).eps == SINGLE


def test_the_rounding_that_an_ulp_shows() -> None:
    """(x + 1e3) - 1e3 in float32 is rounded to 2^-14: seen in its block, and in no other."""

    def coarse(theta: Any) -> Any:
        shifted = (theta["W"].astype(np.float32) + np.float32(1e3)) - np.float32(1e3)
        return {"W": shifted, "b": theta["b"].astype(np.float32)}

    found = claim(coarse)
    assert found.rounding[1] <= 2 * SINGLE * np.sqrt(2)
    assert found.rounding[0] == 0 or 2.0**-14 <= found.rounding[0] <= 2.0**-14 * np.sqrt(6)
    assert found.eps == SINGLE


SWEEP = [
    (steps, seed, activation)
    for steps in (0, 100, 1000)
    for seed in range(2)
    for activation in ("tanh", "relu")
]


@pytest.mark.parametrize(("steps", "seed", "activation"), SWEEP)
def test_right_float32_gradients_are_never_wrong(steps: int, seed: int, activation: str) -> None:
    case = trained(seed, steps, activation=activation)
    network = case.network
    result = fgc.gradcheck(network.cost, case.grad, case.theta, args=case.args, seed=seed)
    assert result.verdict is Verdict.AGREES, str(result)
    # What it is given in float64 is of no use to this one; nor is a function that is not there.
    for grad in (case.single, case.single(case.theta, *case.args)):
        result = fgc.gradcheck(network.cost, grad, case.theta, args=case.args, seed=seed)
        assert result.verdict is not Verdict.WRONG, str(result)
        if result.verdict is Verdict.UNDECIDED:
            assert any("float32 and given as values" in b.reason for b in result.blocks) or (
                "resolution" in kinds(result)
            )


@pytest.mark.parametrize(("steps", "seed", "activation"), SWEEP)
def test_wrong_float32_gradients_are_found(steps: int, seed: int, activation: str) -> None:
    case = trained(seed, steps, activation=activation)

    def one_entry(theta: Any, data: Any, targets: Any) -> Any:
        gradient = case.grad(theta, data, targets)
        gradient["W1"][3, 4] *= 1.01
        return gradient

    faulty = [one_entry, case.single(case.theta, *case.args)]
    faulty[1]["W2"] *= 2
    for grad, named in zip(faulty, ("W1[3, 4]", "W2["), strict=True):
        result = fgc.gradcheck(case.network.cost, grad, case.theta, args=case.args, seed=seed)
        assert result.verdict is Verdict.WRONG, str(result)
        assert result.wrong[0].startswith(named)


def test_what_float32_loses_is_told() -> None:
    case = trained(0, 3000, activation="relu")
    result = fgc.gradcheck(case.network.cost, case.grad, case.theta, args=case.args, seed=0)
    assert "of its norm in float32, since its sums cancel: near an optimum" in message(
        result, "float32 gradient"
    )
    again = trained(0, 0)
    result = fgc.gradcheck(again.network.cost, again.grad, again.theta, args=again.args, seed=0)
    assert "float32 gradient" not in kinds(result)
