"""Joint directions: one event bounds every block, and nothing elsewhere hides one.

Simulations draw with NumPy; the costs are closed forms.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fastgradcheck.differences import joint
from fastgradcheck.differences.directions import Prober
from fastgradcheck.differences.draws import DIRECTIONS, choose_step, measure
from fastgradcheck.differences.screen import CONFIDENCE
from fastgradcheck.evaluation.hashing import direction, key
from fastgradcheck.problem.problem import Problem
from tests.cases.contexts import context_of, with_noise

Array = np.ndarray[Any, Any]
SIZES = (1, 3, 40, 7, 200)
EDGES = np.cumsum([0, *SIZES])


def theta_of(rng: np.random.Generator) -> dict[str, Array]:
    return {f"p{k}": rng.normal(size=size) for k, size in enumerate(SIZES)}


def prober_of(theta: Any, cost: Any, gradient: Array, **options: Any) -> Prober:
    context = with_noise(context_of(cost, theta, **options))
    problem = Problem(context.stream.engine.objective, gradient, 2.2e-16, context.value)
    return Prober(context, problem)


def sines(factors: Array) -> Any:
    """Cost and gradient of the sum of factor * sin, a factor for each block."""

    def cost(theta: dict[str, Array]) -> float:
        return float(sum(f * np.sin(p).sum() for f, p in zip(factors, theta.values(), strict=True)))

    def grad(theta: dict[str, Array]) -> Array:
        parts = zip(factors, theta.values(), strict=True)
        return np.concatenate([f * np.cos(p) for f, p in parts])

    return cost, grad


ERRORS = {
    "a scalar": lambda rng: np.eye(1, EDGES[-1], 0)[0],
    "one entry": lambda rng: np.eye(1, EDGES[-1], 100)[0],
    "a small block": lambda rng: np.repeat([0.0, 1.0, 0.0], [1, 3, EDGES[-1] - 4]),
    "every block": lambda rng: rng.normal(size=EDGES[-1]),
    "one block above all": lambda rng: np.where(np.arange(EDGES[-1]) < 44, 1e-6, 1.0),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_one_limit_holds_for_all_blocks_as_often_as_stated(kind: str) -> None:
    """Over 1,500 draws; four standard errors are allowed for."""
    rng = np.random.default_rng(0)
    weights = 10.0 ** rng.uniform(-3, 3, len(SIZES))
    entries = np.repeat(weights, SIZES)
    failure, draws, misses = 0.01, 1500, 0
    hidden = failure ** (1 / DIRECTIONS) / np.sqrt(2)
    for seed in range(draws):
        r = ERRORS[kind](rng)
        v = [direction(key(seed, d), np.arange(EDGES[-1])) for d in range(DIRECTIONS)]
        upper = max(abs(r * entries @ own) for own in v) / hidden
        sizes = [np.linalg.norm(r[a:b]) for a, b in pairwise(EDGES)]
        misses += bool(np.any(np.array(sizes) > upper / weights))
    assert misses <= draws * failure + 4 * np.sqrt(draws * failure)


@pytest.mark.parametrize("place", [0, 2, 60])
def test_whatever_else_is_wrong_hides_no_block(place: int) -> None:
    """P(|y| <= t s_b ||r_b||) <= sqrt(2) t for any shift by the other blocks."""
    rng = np.random.default_rng(1)
    draws, own = 20_000, np.zeros(EDGES[-1])
    own[place] = 1.0
    v = direction(key(3), np.arange(draws * EDGES[-1])).reshape(draws, -1)
    for shift in (0.0, 0.6, -1.1, rng.normal(size=EDGES[-1] - 1)):
        rest = np.delete(v, place, axis=1) @ np.broadcast_to(shift, EDGES[-1] - 1)
        y = np.abs(v @ own + rest)
        for t in (0.05, 0.2):
            assert np.mean(y <= t) <= np.sqrt(2) * t + 4 * np.sqrt(np.sqrt(2) * t / draws)


def measured(factors: Array, seed: int = 0) -> tuple[joint.Joint, Array]:
    theta = theta_of(np.random.default_rng(seed))
    cost, grad = sines(factors)
    gradient = grad(theta)
    prober = prober_of(theta, cost, gradient, seed=seed)
    weights, middle = joint.weights(prober.context, prober.sizes, np.ones(len(SIZES), bool))
    weighted = replace(prober, moving=joint.spread(prober, weights))
    step = choose_step(weighted, middle, (0,))
    draws = measure(weighted, step, (1,), 0.0)
    sizes = [np.linalg.norm(gradient[a:b]) for a, b in pairwise(EDGES)]
    return joint.limits(weighted, draws, weights, {}, 0), np.array(sizes)


@pytest.mark.parametrize("spread", [1.0, 1e3, 1e6, 1e9])
def test_every_block_of_a_right_gradient_is_known(spread: float) -> None:
    factors = spread ** -np.linspace(0, 1, len(SIZES))
    for seed in range(5):
        found, sizes = measured(factors, seed)
        assert not found.screened.fails
        limits = np.array([found.upper(b) for b in range(len(SIZES))]) / sizes
        # Where the weight is not capped, one number bounds the relative error of every block.
        uncapped = np.isclose(found.weights * sizes, 1.0)
        assert (limits[uncapped] < 1e-6).all()
        # The others are known to the 1e-2 that is asked of a block, where they can be told from
        # zero beside the whole: at 1e-7 of it, by a weight of 2^-8, 2^8 * 1e-7 times coarser.
        assert (limits[sizes > 1e-7 * np.linalg.norm(sizes)] < 1e-2).all()


def test_weights_are_capped_where_the_claim_is_tiny_and_never_for_the_others() -> None:
    found, sizes = measured(np.array([1.0, 1e-12, 1.0, 0.0, 1.0]))
    plain = np.isclose(found.weights * sizes, 1.0)
    assert plain.tolist() == [True, False, True, False, True]
    assert np.isfinite(found.weights).all()
    # No step is longer than 16 / 2^9 of a block's typical entry, by the largest |v|.
    assert (found.steps[~plain] < 16 * 2.0**-9 * 10).all()


def test_scaling_the_cost_by_a_power_of_two_changes_no_bit() -> None:
    one, _ = measured(np.ones(len(SIZES)))
    large, _ = measured(np.full(len(SIZES), 2.0**40))
    # Both y and its bar are in units in which every block's gradient has norm one.
    assert np.array_equal(one.screened.y, large.screened.y)
    assert np.array_equal(one.screened.error, large.screened.error)


def test_the_shares_of_all_limits_add_up_to_the_stated_confidence() -> None:
    total = sum(
        (1 - CONFIDENCE) * share / 2 ** (attempt + 1)
        for share in joint.SHARES.values()
        for attempt in range(40)
    )
    assert total == pytest.approx(1 - CONFIDENCE)


def test_more_directions_are_sharper() -> None:
    sharpness = [joint.hidden(count, 0) for count in joint.SHARES]
    assert sharpness == sorted(sharpness)
    assert joint.hidden(4, 0) == pytest.approx((0.01 * 0.6 / 2) ** 0.25 / np.sqrt(2))


def test_blocks_that_are_left_out_are_not_covered() -> None:
    found, _ = measured(np.ones(len(SIZES)))
    kept = found.only(np.array([True, False, True, True, True]))
    assert [kept.covers(b) for b in range(5)] == [True, False, True, True, True]
    assert kept.upper(2) == found.upper(2)


@pytest.mark.parametrize("bar", [0.0, 1e-9])
def test_what_is_not_known_of_errors_that_were_taken_out_is_granted(bar: float) -> None:
    """By 3/2 of its bar, the largest |v|, and no more: what is beyond is searched for."""
    theta = theta_of(np.random.default_rng(0))
    cost, grad = sines(np.ones(len(SIZES)))
    prober = prober_of(theta, cost, grad(theta), seed=0)
    weights, middle = joint.weights(prober.context, prober.sizes, np.ones(len(SIZES), bool))
    weighted = replace(prober, moving=joint.spread(prober, weights))
    draws = measure(weighted, choose_step(weighted, middle, (0,)), (1,), 0.0)
    plain = joint.limits(weighted, draws, weights, {}, 0).screened
    granted = joint.limits(weighted, draws, weights, {EDGES[1]: (1.0, bar)}, 0).screened
    assert granted.rounding - plain.rounding == pytest.approx(1.5 * bar * weights[1])
    assert granted.isolated - plain.isolated == pytest.approx(6 * bar * weights[1])
    assert granted.upper == plain.upper
