"""Steps and provisional bars: honoured, balanced, within bounds, refused when they vanish."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgradcheck import options
from fastgradcheck.differences import steps, sweep
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.schemes import CENTRAL, CENTRAL4, COMPLEX, FORWARD, Scheme
from fastgradcheck.differences.steps import Steps
from fastgradcheck.problem.parameters import describe
from tests.cases.contexts import context_of, with_noise

EPS = float(np.finfo(np.float64).eps)
RNG = np.random.default_rng(0)
THETA = {"W": RNG.normal(size=(6, 5)), "b": RNG.normal(size=8)}


def cost(theta: Any) -> float:
    return float(np.exp(theta["W"]).sum() + np.sin(3 * theta["b"]).sum())


def exact(theta: Any) -> np.ndarray:
    return np.concatenate([np.exp(theta["W"]).ravel(), 3 * np.cos(3 * theta["b"])])


def calibrated(
    scheme: Scheme = CENTRAL, epsilon: Any = "auto", cost: Any = cost, theta: Any = None
) -> tuple[Steps, Context]:
    theta = THETA if theta is None else theta
    context = with_noise(context_of(cost, theta, epsilon=epsilon, scheme=scheme))
    size = context.parameters.size
    index = steps.choose(np.ones(size), context.parameters, np.arange(size), 0)
    return steps.calibrate(context, index)[0], context


def loop(scheme: Scheme, epsilon: Any = "auto") -> tuple[np.ndarray, np.ndarray]:
    """Derivatives and provisional bars of all components, by the scheme's own points."""
    chosen, context = calibrated(scheme, epsilon)
    parameters, theta = context.parameters, context.theta
    index = np.arange(parameters.size)
    block = np.searchsorted(parameters.blocks_start, index, side="right") - 1
    points = scheme.points(theta, chosen.of(index, block))
    values = np.empty(points.shape)
    for (i, j), point in np.ndenumerate(points):
        moved = theta.copy()
        moved[i] = point
        values[i, j] = cost(parameters.unflatten(moved))
    taken = points - theta[:, np.newaxis]
    derivative = scheme.derivative(values, taken, context.value)
    return derivative, chosen.bars(index, block, derivative)


def mostly_holds(error: np.ndarray, bars: np.ndarray) -> bool:
    """What a provisional bar promises: to agree, and to prove nothing wrong.

    It takes a component's truncation from its neighbours'. Here the steps of a block differ by a
    factor of three and the derivatives by e^2, so that a five-point bar may be off by 3^4 e^2 =
    600 against a spread of ten that is allowed for: a few components miss, none by more.
    """
    return bool((error <= bars).mean() >= 0.8 and (error <= 60 * bars).all())


@pytest.mark.parametrize("scheme", [CENTRAL, FORWARD, CENTRAL4], ids=lambda s: s.name)
def test_chosen_steps_are_near_the_optimum_and_bars_hold(scheme: Scheme) -> None:
    derivative, bars = loop(scheme)
    error = np.abs(derivative - exact(THETA))
    assert mostly_holds(error, bars)
    # The best that the order allows, (eps J)^(p / (p + 1)), within a factor of a thousand: ten
    # for the spread of truncation, three sigmas in the worst signs, and J is 60 here.
    p = scheme.order
    assert error.max() < 1e3 * (60 * EPS) ** (p / (p + 1))
    assert bars.max() < 1e4 * (60 * EPS) ** (p / (p + 1))


@pytest.mark.parametrize("scheme", [CENTRAL, FORWARD, CENTRAL4], ids=lambda s: s.name)
@pytest.mark.parametrize("epsilon", [1e-2, 1e-6, 1e-11])
def test_a_users_epsilon_is_honoured_and_its_bar_holds(scheme: Scheme, epsilon: float) -> None:
    chosen, context = calibrated(scheme, epsilon)
    parameters = context.parameters
    index = np.arange(parameters.size)
    block = np.searchsorted(parameters.blocks_start, index, side="right") - 1
    assert (chosen.of(index, block) == epsilon).all()
    derivative, bars = loop(scheme, epsilon)
    assert mostly_holds(np.abs(derivative - exact(THETA)), bars)


def test_epsilon_by_block() -> None:
    chosen, _ = calibrated(epsilon={"b": 1e-3})
    index, block = np.array([0, 30]), np.array([0, 1])
    auto, mine = chosen.of(index, block)
    assert mine == 1e-3
    assert auto == calibrated()[0].of(index, block)[0]
    assert np.isnan(options.user_epsilon({"b": "auto"}, describe(THETA))).all()


def test_the_complex_step_has_no_truncation() -> None:
    chosen, _ = calibrated(COMPLEX)
    assert (chosen.truncation == 0).all()
    assert steps.calibrate(context_of(cost, THETA, scheme=COMPLEX), np.arange(3))[1] == ()
    bars = chosen.bars(np.array([0]), np.array([0]), np.array([2.0]))
    assert 0 < bars[0] < 1e-11


def test_a_line_gets_the_largest_step() -> None:
    chosen, _ = calibrated(cost=lambda t: float(t["W"].sum() + 2 * t["b"].sum()))
    assert (chosen.relative == sweep.LARGEST_STEP).all()


def test_kinks_do_not_shrink_the_step() -> None:
    # The component that calibrates "b" sits beside a kink, on which no step is small enough.
    def kinked(theta: Any) -> float:
        return cost(theta) + 3 * float(np.maximum(theta["b"][0] - kink, 0))

    kink = THETA["b"][0] + 1e-10
    smooth, _ = calibrated()
    chosen, _ = calibrated(cost=kinked)
    assert chosen.relative[1] > 0.01 * smooth.relative[1]


@pytest.mark.parametrize("scheme", [FORWARD, CENTRAL, CENTRAL4])
@pytest.mark.parametrize("distance", [3e-6, 1e-5, 1e-4, 1e-3])
def test_a_kink_within_one_sweep_does_not_shrink_the_step(scheme: Scheme, distance: float) -> None:
    """The largest entry of W calibrates; the others are as smooth as before."""

    def kinked(theta: Any) -> float:
        return cost(theta) + 0.3 * max(theta["W"][0, 0] - kink, 0.0)

    kink = THETA["W"][0, 0] + distance
    smooth, context = calibrated(scheme)
    chosen, _ = calibrated(scheme, cost=kinked)
    assert chosen.truncation[0] < 20 * smooth.truncation[0]
    # It is shortened, as kinks may be anywhere, but for no more than noise leaves to be told.
    noise = (
        3 * scheme.noise_gain * context.noise / np.array([c.of_blocks[0] for c in (smooth, chosen)])
    )
    assert noise[0] / 1.1 < noise[1]  # J is another one, and so is its rounding
    assert noise[1] < max(5e-8 * np.median(np.exp(THETA["W"])), 1.1 * noise[0])


def test_kinks_everywhere_shrink_the_step() -> None:
    """No component is smooth over 1e-4: the step is below that."""

    def kinked(theta: Any) -> float:
        return cost(theta) + 0.3 * float(np.abs(theta["W"] - THETA["W"] - 1e-4).sum())

    chosen, _ = calibrated(cost=kinked)
    assert chosen.of_blocks[0] < 1e-4


def test_scales() -> None:
    theta = {"W": np.array([1.0, -3.0, 2.0, 0.0, 1e-9]), "zero": np.zeros(2), "c": np.array(5.0)}
    scale = context_of(lambda t: 0.0, theta).scale
    # The median of the sizes above zero (1e-9, 1, 2, 3) is 1.5; of all of theta, 2.
    assert scale.tolist() == [1.5, 3.0, 2.0, 1.5, 1.5, 2.0, 2.0, 5.0]
    assert context_of(lambda t: 0.0, np.zeros(3)).scale.tolist() == [1.0] * 3


def test_choose_takes_the_largest_and_a_few_others() -> None:
    parameters = describe({"W": np.zeros(5000), "b": np.zeros(3), "c": np.zeros(1)})
    gradient = np.zeros(parameters.size)
    gradient[[1234, 5001]] = -7.0
    every = np.arange(parameters.size)
    chosen = steps.choose(gradient, parameters, every, seed=0)
    assert (np.diff(chosen) > 0).all()
    assert {1234, 5001, 5003} <= set(chosen.tolist())
    assert len(chosen) == 6 + 2 + 1
    few = np.array([7, 9])
    assert steps.choose(gradient, parameters, few, seed=0).tolist() == [7, 9]
    gradient[1234] = np.nan
    assert len(steps.choose(gradient, parameters, every, seed=0)) == 9
