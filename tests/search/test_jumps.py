"""What would be called wrong agrees where J jumps between the steps, and only there."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.networks import Overconfident

THETA = np.array([0.3003731, -0.7, 1.1, 0.6])
STRATEGIES = pytest.mark.parametrize("strategy", ["components", "screen"])


def stairs(width: float) -> Callable[[Any], float]:
    """sum sin(t), and t_0 rounded down to a multiple of `width`."""
    return lambda t: float(np.sin(t).sum() + np.floor(t[0] / width) * width)


def claim(share: float) -> Callable[[Any], Any]:
    """The gradient of sum sin(t) + share t_0."""
    return lambda t: np.cos(t) + share * (np.arange(t.size) == 0)


def doubled(t: Any) -> Any:
    """`claim` of the whole slope, with theta[2] off by a factor of two."""
    return claim(1.0)(t) * (1 + (np.arange(t.size) == 2))


@STRATEGIES
@pytest.mark.parametrize("width", [1e-6, 1e-4, 1e-3, 5e-3])
def test_the_slope_of_a_staircase_is_not_called_wrong(width, strategy):
    result = fgc.gradcheck(stairs(width), claim(1.0), THETA, strategy=strategy, seed=1)
    assert result.verdict is not Verdict.WRONG, str(result)


@STRATEGIES
@pytest.mark.parametrize("width", [1e-4, 1e-3, 5e-3])
def test_the_slope_of_a_staircase_is_told_of(width, strategy):
    result = fgc.gradcheck(stairs(width), claim(1.0), THETA, strategy=strategy, seed=1)
    (message,) = (f.message for f in result.findings if f.kind == "two-scales")
    assert message.startswith("J has one slope in theta[0] for the smallest steps")
    # Both slopes are told: the one measured, and the one that is accepted.
    other = float(re.search(r"another for larger ones \(([\d.]+)\)", message)[1])
    assert other == pytest.approx(float(claim(1.0)(THETA)[0]), rel=0.1)


@STRATEGIES
@pytest.mark.parametrize("share", [-1.0, 0.5, 1.3, 1.5, 2.0, 3.0])
def test_a_slope_that_no_scale_shows_is_wrong(share, strategy):
    result = fgc.gradcheck(stairs(1e-3), claim(share), THETA, strategy=strategy, seed=1)
    assert result.wrong == ("theta[0]",), str(result)


@STRATEGIES
@pytest.mark.parametrize("share", [0.5, 1.5])
def test_a_large_neighbour_does_not_make_it_agree(share, strategy):
    slope = np.array([0.0, 1e8, 0.0, 0.0])

    def cost(t):
        return stairs(1e-3)(t) + float(slope @ t)

    result = fgc.gradcheck(
        cost, lambda t: claim(share)(t) + slope, THETA, strategy=strategy, seed=1
    )
    assert result.wrong == ("theta[0]",), str(result)


@STRATEGIES
def test_steep_is_no_jump(strategy):
    def steep(t):
        return float(np.sin(t).sum() + 0.005 * np.tanh((t[0] - THETA[0] - 1e-3) / 1e-6))

    result = fgc.gradcheck(steep, claim(1.0), THETA, strategy=strategy, seed=1)
    assert result.wrong == ("theta[0]",), str(result)


@STRATEGIES
def test_rounding_near_a_zero_of_J_is_no_jump(strategy):
    theta = np.array([0.0, 1.0])
    grad = np.array([0.7, 0.0])
    result = fgc.gradcheck(lambda t: np.sin(40 * t[0]) / 40, grad, theta, strategy=strategy, seed=1)
    assert result.wrong == ("theta[0]",), str(result)


def test_where_larger_steps_fail_the_smaller_ones_count():
    def hole(t):
        if 2e-4 < t[0] - THETA[0] < 1.2e-3:
            raise ValueError("hole")
        return stairs(1e-3)(t)

    result = fgc.gradcheck(hole, claim(1.0), THETA, strategy="components", seed=1)
    assert result.wrong == ("theta[0]",), str(result)


def test_stairs_in_every_entry_are_no_false_alarm_of_the_block():
    theta = np.random.default_rng(0).normal(size=60)

    def cost(t):
        return float(np.sin(t).sum() + np.floor(t[:58] / 4e-3).sum() * 4e-3)

    grad = (np.cos(theta) + (np.arange(60) < 58)).astype(np.float32)
    result = fgc.gradcheck(cost, grad, theta, strategy="components", seed=1)
    assert result.verdict is Verdict.UNDECIDED, str(result)
    assert not [f for f in result.findings if f.kind == "unlocated"]


@STRATEGIES
def test_a_fault_is_wrong_though_J_jumps_elsewhere(strategy):
    result = fgc.gradcheck(stairs(1e-3), doubled, THETA, strategy=strategy, seed=1)
    assert result.verdict is Verdict.WRONG
    assert result.wrong == ("theta[2]",), str(result)


@STRATEGIES
def test_a_fault_is_wrong_where_bounds_leave_no_larger_steps(strategy):
    narrow = np.array([1.0, 1.0, 1e-2, 1.0])
    bounds = (THETA - narrow, THETA + narrow)
    options = {"strategy": strategy, "bounds": bounds, "seed": 1}
    result = fgc.gradcheck(stairs(1e-3), doubled, THETA, **options)
    assert result.wrong == ("theta[2]",), str(result)


@STRATEGIES
@pytest.mark.parametrize("distance", [1e-4, 1e-3, 4e-3])
def test_a_kink_between_the_steps_is_no_jump(distance, strategy):
    # Differences over more than the distance tend to a slope of one half, the claim.
    def bent(t):
        return float(np.sin(t).sum() + max(t[0] - THETA[0] - distance, 0.0))

    result = fgc.gradcheck(bent, claim(0.48), THETA, strategy=strategy, seed=1)
    assert result.wrong == ("theta[0]",), str(result)


@STRATEGIES
@pytest.mark.parametrize(
    ("seed", "size"), [(13, 4.0), (35, 2.0), (39, 2.0), (41, 4.0), (176, 4.0), (183, 2.0)]
)
def test_examples_that_a_sigmoid_is_far_too_sure_of_are_no_false_alarm(seed, size, strategy):
    # 1 - a is between 2e-10 and 2e-16 for a misclassified example: the stairs of log(1 - a) are
    # as wide as the steps.
    network = Overconfident(seed, size)
    theta, *data = network.drawn()

    def doubled(p, *data):
        right = network.grad(p, *data)
        return right | {"W1": 2 * right["W1"]}

    options = {"args": tuple(data), "strategy": strategy, "seed": seed}
    right = fgc.gradcheck(network.cost, network.grad, theta, **options)
    assert right.verdict is not Verdict.WRONG, str(right)
    wrong = fgc.gradcheck(network.cost, doubled, theta, **options)
    # A direction meets the stairs of all its entries at once, and may see nothing.
    caught = (Verdict.WRONG,) if strategy == "components" else (Verdict.WRONG, Verdict.UNDECIDED)
    assert wrong.verdict in caught, str(wrong)


@STRATEGIES
def test_larger_steps_may_leave_the_domain(strategy):
    def edged(t):
        if t[0] > THETA[0] + 5e-3:
            raise ValueError("outside")
        return float(np.sin(t).sum())

    result = fgc.gradcheck(edged, claim(0.5), THETA, strategy=strategy, seed=1)
    assert result.wrong == ("theta[0]",), str(result)


def test_what_stays_wrong_is_rechecked_once():
    calls = []

    def counted(t):
        calls.append(t.copy())
        return float(np.sin(t).sum())

    result = fgc.gradcheck(counted, claim(0.5), THETA, seed=1)
    assert result.wrong == ("theta[0]",)
    moves = np.abs([t[0] - THETA[0] for t in calls])
    # Twice in the step sweep, and twice in the recheck.
    assert np.sum(np.abs(moves - moves.max()) < 1e-12) <= 4


AT = 0.7386561


def ripple(share, frequency, base=np.sin):
    """J(t) = base(t) + a sin(frequency t + 1), whose slope of its own is `share` cos(...)."""
    return lambda t: float(base(t[0]) + share / frequency * np.sin(frequency * t[0] + 1.0))


def slopes(share, frequency):
    """The slope at AT with what oscillates, and without."""
    return np.cos(AT) + share * np.cos(frequency * AT + 1.0), np.cos(AT)


OSCILLATIONS = pytest.mark.parametrize("frequency", [1e5, 1e6, 3e7, 4e8])
SHARES = pytest.mark.parametrize("share", [0.1, 1.0, 20.0])


@OSCILLATIONS
@SHARES
def test_a_slope_that_is_of_neither_scale_is_wrong(share, frequency):
    """However small the steps must be that resolve what oscillates."""
    fine, coarse = slopes(share, frequency)
    for claim in (0.0, -fine, -coarse, 2 * coarse, fine + 2 * (fine - coarse)):
        check = fgc.gradcheck(ripple(share, frequency), [claim], [AT], seed=1)
        assert check.verdict is Verdict.WRONG, f"{claim}: {check}"


@OSCILLATIONS
@SHARES
def test_the_slope_of_either_scale_is_not_wrong_and_both_are_told(share, frequency):
    for claim in slopes(share, frequency):
        check = fgc.gradcheck(ripple(share, frequency), [claim], [AT], seed=1)
        assert check.verdict is not Verdict.WRONG, str(check)
        (message,) = (f.message for f in check.findings if f.kind == "two-scales")
        told = re.findall(r"\((-?[\d.e-]+)", message)
        for slope, number in zip(slopes(share, frequency), told, strict=False):
            assert float(number) == pytest.approx(slope, rel=0.02, abs=0.02 * share), message


def test_an_oscillation_is_no_jump_whatever_looks_at_it_alias():
    """At 0.41468 the nine points of the first look see the same phase of this one."""
    x, frequency = 0.4146815617088992, 856_600.0
    for frequency in np.linspace(8.55e5, 8.59e5, 21):
        cost = ripple(16.7, frequency, base=lambda t: t)
        check = fgc.gradcheck(cost, [0.0], [x], seed=1)
        assert check.verdict is Verdict.WRONG, str(check)


def test_stairs_that_only_small_steps_see_accuse_nobody():
    """They are 1e-8 wide: no step of ordinary size shows the slope of one."""
    for width in (3e-9, 1e-8, 1e-7):
        check = fgc.gradcheck(stairs(width), claim(1.0), THETA, strategy="components", seed=1)
        assert check.verdict is not Verdict.WRONG, str(check)
