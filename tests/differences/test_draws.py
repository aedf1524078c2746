"""How directions are measured: steps, kinks, and which are drawn anew.

Oracles are closed forms.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastgradcheck.differences import joint
from fastgradcheck.differences.directions import Prober
from fastgradcheck.differences.draws import DIRECTIONS, Draws, choose_step, measure
from fastgradcheck.differences.schemes import COMPLEX
from fastgradcheck.problem.problem import Problem
from tests.cases.contexts import context_of

Array = np.ndarray


def drawn(cost, flat, gradient, seed=0, imaginary=False, noise=1e-15):
    """Directions over all of theta, as a check draws them; and what they say."""
    scheme = {"scheme": COMPLEX} if imaginary else {}
    context = replace(context_of(cost, flat, **scheme), noise=noise, seed=seed)
    problem = Problem(context.stream.engine.objective, gradient, 2.2e-16, context.value)
    prober = Prober(context, problem, imaginary=imaginary)
    weights, middle = joint.weights(context, prober.sizes, np.ones(1, bool))
    weighted = replace(prober, moving=joint.spread(prober, weights))
    before = context.stream.evaluations
    chosen = choose_step(weighted, middle, (0,))
    draws = measure(weighted, chosen, (1,), 1e-9)
    found = joint.limits(weighted, draws, weights, {}, 0)
    return draws, found, context.stream.evaluations - before


@pytest.mark.parametrize("near", [1e-4, 1e-6])
def test_steps_shrink_until_no_kink_is_crossed(near: float) -> None:
    """A unit that close to its kink is crossed by half of all directions at longer steps."""
    rng = np.random.default_rng(8)
    flat = rng.normal(size=60)
    flat[5] = near
    gradient = np.cos(flat)
    gradient[5] += 5
    for seed in range(10):
        _, found, _ = drawn(
            lambda theta: float(np.sin(theta).sum() + 5 * max(theta[5], 0.0)), flat, gradient, seed
        )
        assert not found.screened.fails
        assert found.upper(0) / (2 * np.linalg.norm(gradient)) < 1e-6


def test_kinks_at_theta_are_told_from_kinks_beside_it() -> None:
    flat = np.random.default_rng(8).normal(size=60)
    for zeros, near, standing in [
        (3, 1.0, True),
        (60, 1.0, True),
        (0, 1.0, False),
        (0, 1e-4, False),
    ]:
        theta = flat.copy()
        theta[:zeros] = 0.0
        theta[5] = near if zeros < 5 else 0.0
        draws, found, _ = drawn(
            lambda t: float(np.sin(t).sum() + 0.1 * np.abs(t).sum()),
            theta,
            np.cos(theta) + 0.1 * np.sign(theta),
        )
        assert draws.on_kinks == standing
        assert not found.screened.fails
        assert found.upper(0) / (2 * np.linalg.norm(np.cos(theta))) < 1e-6


def test_smooth_directions_are_measured_once() -> None:
    flat = np.random.default_rng(1).normal(size=60)
    draws, found, evaluations = drawn(lambda t: float(np.sin(t).sum()), flat, np.cos(flat))
    # Eight of each of two directions choose the step; two more complete each of them, and four
    # measure each of the others.
    assert evaluations == 2 * (8 + 2) + 4 * (DIRECTIONS - 2)
    assert len(set(draws.steps)) == 1
    assert not found.screened.fails


@pytest.mark.parametrize("wrong", [0.0, 1e-3])
def test_complex_steps_take_one_evaluation_each_and_no_noise(wrong: float) -> None:
    flat = np.random.default_rng(2).normal(size=60) * 10.0 ** np.linspace(-6, 6, 60)
    gradient = np.cos(flat)
    gradient[7] *= 1 + wrong
    draws, found, evaluations = drawn(
        lambda t: np.sin(t).sum(), flat, gradient, imaginary=True, noise=1e-3
    )
    assert evaluations == DIRECTIONS
    assert found.screened.fails == bool(wrong)
    # The step moves no entry by more than a part in 1e9 of it, so that its square is nothing.
    assert (draws.steps * found.weights[0] <= 1e-9 * np.abs(flat).min()).all()


def test_new_measurements_count_only_where_their_bars_are_smaller() -> None:
    old = Draws(np.zeros(2, np.uint64), np.ones(2), np.zeros(2), np.ones(2), np.zeros((2, 4)))
    keys = np.array([5, 6], np.uint64)
    new = Draws(keys, 2 * np.ones(2), np.array([3.0, 4.0]), np.array([0.5, 2.0]), np.ones((2, 4)))
    merged = old.improved(np.arange(2), new)
    assert merged.keys.tolist() == [5, 0]
    assert merged.y.tolist() == [3.0, 0.0]
    assert merged.error.tolist() == [0.5, 1.0]
    assert merged.signal.tolist() == [[1.0] * 4, [0.0] * 4]
    assert old.keys.tolist() == [0, 0]


def test_draws_are_joined() -> None:
    one = Draws(np.ones(1, np.uint64), np.ones(1), np.ones(1), np.ones(1), np.ones((1, 4)))
    assert len(one.joined(one).keys) == 2
