"""Random directions: the hash, the bound, the bars, the certificate, and whole checks with them.

Oracles are closed forms and the networks' own back-propagation; simulations draw with NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

import fastgradcheck as fgc
from fastgradcheck.diagnosis.findings import unlocated
from fastgradcheck.differences.directions import OFFSETS, Prober, five_point
from fastgradcheck.differences.screen import (
    CONFIDENCE,
    HIDDEN_BELOW,
    SECOND_MOMENT,
    Draws,
    Screened,
    screen,
)
from fastgradcheck.evaluation.engines import kernels
from fastgradcheck.evaluation.hashing import direction, key
from fastgradcheck.evaluation.plans import Directions, Plan
from fastgradcheck.evaluation.projection import project
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective, Problem
from fastgradcheck.problem.region import region_of, within
from fastgradcheck.search.measured import Measured
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.faults import Subject, subject
from tests.cases.networks import Network

Array = np.ndarray[Any, Any]
NETWORK = Network((12, 20, 14, 5))
RELU = Network((12, 20, 14, 5), activation="relu")


# The hash.


def test_entries_are_signed_magnitudes() -> None:
    """Uniform on [1/2, 3/2), with a fair sign; the seed is fixed, so that it is no lottery."""
    v = direction(key(1, 2), np.arange(400_000))
    assert np.abs(v).min() >= 0.5
    assert np.abs(v).max() <= 1.5
    assert stats.kstest(np.abs(v), "uniform", args=(0.5, 1.0)).pvalue > 1e-3
    assert stats.binomtest(int((v > 0).sum()), v.size).pvalue > 1e-3
    assert abs(np.mean(v**2) - SECOND_MOMENT) < 4 * np.std(v**2) / np.sqrt(v.size)
    # The magnitude does not know the sign.
    assert stats.ks_2samp(v[v > 0], -v[v < 0]).pvalue > 1e-3


def test_entries_are_independent_along_and_across_directions() -> None:
    n = 200_000
    index = np.arange(n)
    v = direction(key(1, 0), index)
    others = [direction(key(1, d), index) for d in range(1, 6)]
    others += [direction(key(seed, 0), index) for seed in (2, 3)]
    others += [np.roll(v, shift) for shift in (1, 2, 64, 1000)]
    # A product of independent entries has mean 0 and variance (13/12)^2.
    sd = SECOND_MOMENT / np.sqrt(n)
    for other in others:
        assert abs(np.mean(v * other)) < 4.5 * sd
        magnitudes = np.corrcoef(np.abs(v), np.abs(other))[0, 1]
        assert abs(magnitudes) < 4.5 / np.sqrt(n)


def test_keys_differ_with_every_part_of_their_path() -> None:
    keys = {int(key(s, b, d)) for s in range(20) for b in range(-1, 20) for d in range(-1, 20)}
    assert len(keys) == 20 * 21 * 21


@pytest.mark.parametrize("start", [0, 12_345_678_901])
def test_the_kernels_hash_bit_by_bit_like_numpy(start: int) -> None:
    word = key(7, 3, 1)
    # `perturb` writes 0 + 1 * v.
    if start == 0:
        theta = np.zeros(50_000)
        region = np.array([0, 50_000, 0, 1, 0, 50_000])
        kernels.perturb(point := np.empty(50_000), theta, region, word, 1.0, None)
        assert np.array_equal(point, direction(word, np.arange(50_000)))
    else:
        assert len(np.unique(direction(word, start + np.arange(1000)))) == 1000


# No error hides often.

ERRORS = {
    "isolated": lambda rng: np.eye(1, 200, 17)[0],
    "two of equal size": lambda rng: np.eye(1, 200, 3)[0] + np.eye(1, 200, 150)[0],
    "two of equal size and other sign": lambda rng: np.eye(1, 200, 3)[0] - np.eye(1, 200, 150)[0],
    "three, one large": lambda rng: np.eye(1, 200, 3)[0] * 3 + np.repeat([0, 1, 0], [90, 2, 108]),
    "dense, equal": lambda rng: np.ones(200),
    "dense, normal": lambda rng: rng.normal(size=200),
    "dense, heavy tails": lambda rng: rng.standard_cauchy(size=200),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_no_error_vector_hides_more_often_than_the_bound(kind: str) -> None:
    """P(|r . v| <= t ||r||) <= sqrt(2) t; the simulation may be four standard errors above."""
    r = ERRORS[kind](np.random.default_rng(0))
    draws = 20_000
    # The entries of one long direction, cut into rows, are independent directions.
    v = direction(key(11), np.arange(draws * r.size)).reshape(draws, r.size)
    y = np.abs(v @ r) / np.linalg.norm(r)
    for t in (0.02, 0.05, 0.1, 0.2, 0.4):
        bound = np.sqrt(2) * t
        assert np.mean(y <= t) <= bound + 4 * np.sqrt(bound / draws)
    if kind == "isolated":
        assert y.min() >= 0.5
    assert y.max() < HIDDEN_BELOW


def test_the_bound_is_nearly_attained() -> None:
    """Two equal entries come within a quarter of it: a bound of half the size would be wrong."""
    v = direction(key(11), np.arange(400_000)).reshape(-1, 2)
    hidden = np.mean(np.abs(v.sum(axis=1)) <= 0.1 * np.sqrt(2))
    assert hidden > 0.45 * np.sqrt(2) * 0.1


# The certificate.


def certified(
    error: Array, bar: float, rng: np.random.Generator, failure: float = (1 - CONFIDENCE) / 6
) -> Screened:
    keys = rng.integers(0, 2**63, 4).astype(np.uint64)
    v = np.stack([direction(word, np.arange(error.size)) for word in keys])
    y = v @ error + bar * rng.uniform(-1, 1, 4)
    return Screened(keys, np.ones(4), y, np.full(4, bar), failure)


def test_the_upper_limit_is_no_better_than_stated() -> None:
    """For two equal errors, which come near the bound: t = 0.2236, and each direction hides

    them with probability (1 - (1 - sqrt(2) t)^2) / 2 = 0.266, all four with 0.005.
    """
    rng = np.random.default_rng(4)
    pair = np.array([1.0, 1.0])
    misses = sum(certified(pair, 0.0, rng, 0.01).upper < np.sqrt(2) for _ in range(4000))
    assert 0.002 * 4000 < misses <= 0.01 * 4000


@pytest.mark.parametrize("kind", ERRORS)
def test_limits_of_the_error_norm_hold_as_often_as_stated(kind: str) -> None:
    """The upper limit at its stated confidence, the lower always, at bars from none to half."""
    rng = np.random.default_rng(5)
    misses = count = 0
    for trial in range(1500):
        r = ERRORS[kind](rng)
        size = float(np.linalg.norm(r))
        screened = certified(r, [0.0, 0.05, 0.5][trial % 3] * size, rng)
        misses += screened.upper < size
        count += 1
        assert screened.lower <= size
    allowed = (1 - CONFIDENCE) / 6
    assert misses <= count * allowed + 4 * np.sqrt(count * allowed)


def test_an_isolated_error_of_the_stated_size_is_always_seen() -> None:
    rng = np.random.default_rng(6)
    for _ in range(2000):
        error = np.zeros(50)
        bar = 10.0 ** rng.uniform(-6, 0)
        error[rng.integers(50)] = 4 * bar
        screened = certified(error, bar, rng)
        assert screened.isolated == pytest.approx(4 * bar)
        assert screened.fails


def test_pairs_and_dense_errors_of_the_upper_limits_size_are_seen() -> None:
    """An error of the norm that a correct gradient's limit excludes makes some direction fail.

    ``|y| - bar > bar`` follows from ``|r . v| > 2 bar``, so twice the reach is what is excluded.
    """
    rng = np.random.default_rng(7)
    for kind in ("two of equal size", "dense, normal"):
        missed = 0
        for _ in range(1000):
            r = ERRORS[kind](rng)
            reach = certified(0 * r, 1.0, rng).reach
            missed += not certified(2 * reach * r / np.linalg.norm(r), 1.0, rng).fails
        allowed = 1000 * (1 - CONFIDENCE) / 6
        assert missed <= allowed + 4 * np.sqrt(allowed)


def test_the_norm_is_estimated_without_bias() -> None:
    rng = np.random.default_rng(8)
    r = rng.normal(size=100)
    squares = [certified(r, 0.0, rng).estimate ** 2 for _ in range(1500)]
    assert np.mean(squares) == pytest.approx(np.linalg.norm(r) ** 2, rel=0.1)


def test_what_is_not_a_number_fails() -> None:
    one = np.array([np.nan])
    assert Screened(np.array([key(0)]), np.ones(1), one, np.ones(1), 1e-3).fails


# The bars.

SMOOTH: dict[str, tuple[Callable[[Array], Array], float]] = {
    "exp": (np.expm1, 1.0),
    "sine": (lambda t: np.sin(3 * t), 3.0),
    "tanh": (lambda t: np.tanh(t + 0.3) - np.tanh(0.3), 1 - np.tanh(0.3) ** 2),
    "rational": (lambda t: 1 / (1 - t) - 1, 1.0),
    "line": (lambda t: 0.7 * t, 0.7),
    "cubic": (lambda t: t**3 - 2 * t, -2.0),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_the_bar_of_a_smooth_slope_holds(name: str) -> None:
    function, slope = SMOOTH[name]
    rng = np.random.default_rng(9)
    steps = np.logspace(-1, -8, 200)
    noise = 1e-13
    values = function(steps[:, np.newaxis] * OFFSETS) + noise * rng.normal(size=(200, 4))
    value, bar = five_point(values, steps, noise)
    assert (np.abs(value - slope) <= bar).all()
    # And it is worth something: about 1e-9 where noise and truncation balance.
    assert bar.min() < 1e-7


@pytest.mark.parametrize("slope", [2.0, -1.0, 0.1])
@pytest.mark.parametrize("at", [0.0, 0.01, 0.5, 0.99, 1.0, 1.5, 1.99, 2.0, 2.5, -0.3, -1.2])
def test_the_bar_holds_what_a_kink_between_the_points_does(slope: float, at: float) -> None:
    """Beside a kink at `at` steps, the slope at zero is the one of zero's own side."""
    step = np.array([1e-3])

    def kinked(t: Array) -> Array:
        own = t / step[0]
        beyond = np.maximum(own - at, 0) if at > 0 else np.maximum(at - own, 0)
        return np.sin(t) + step[0] * slope * beyond

    values = kinked(step[:, np.newaxis] * OFFSETS)
    value, bar = five_point(values, step, 1e-15)
    if at != 0:
        assert abs(value[0] - 1.0) <= bar[0]
    else:
        # On the kink, any slope between the two sides'.
        assert min(1.0, 1.0 - slope) - bar[0] <= value[0] <= max(1.0, 1.0 - slope) + bar[0]


def test_values_that_are_no_numbers_give_an_infinite_bar() -> None:
    values = np.array([[1.0, -1.0, np.inf, -2.0], [1.0, -1.0, 2.0, np.nan]])
    with np.errstate(invalid="ignore"):
        assert np.isinf(five_point(values, np.ones(2), 0.0)[1]).all()


def test_a_signal_that_is_exactly_zero_has_no_bar() -> None:
    slope, bar = five_point(np.zeros((1, 4)), np.ones(1), 1e-10)
    assert slope[0] == bar[0] == 0


# Projections.


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("size", [500, 30_000])
def test_projections_use_the_displacement_that_is_taken(dtype: Any, size: int) -> None:
    """Both ways, in NumPy and compiled, against sums in extended precision."""
    rng = np.random.default_rng(10)
    theta = rng.normal(size=size).astype(dtype)
    covector = rng.normal(size=size)
    region, words = np.array([[0, size, 0, 1, 0, size]]), np.array([key(3)])
    step = 1e-6 if dtype is np.float32 else 1e-9
    plan = Directions(region, words, step * OFFSETS[np.newaxis])
    v = direction(words[0], np.arange(size))
    taken = (theta + plan.offsets[0][:, np.newaxis] * v).astype(dtype).astype(np.longdouble) - theta
    expected = (taken @ covector.astype(np.longdouble)).astype(np.float64)
    got = project(covector, theta, plan, 1)[0]
    assert got == pytest.approx(expected, rel=1e-12, abs=1e-13 * step * np.sqrt(size))
    nominal = plan.offsets[0] * (v @ covector)
    if dtype is np.float32:
        assert np.abs(nominal - expected).max() > 1e-3 * np.abs(expected).max()


def test_a_region_is_a_view() -> None:
    array = np.arange(30.0)
    part = within(array, np.array([3, 5, 1, 4, 2, 4]))
    assert part.tolist() == [[10.0, 11.0], [15.0, 16.0], [20.0, 21.0]]
    assert np.shares_memory(part, array)


# Whole checks.


def checked(s: Subject, grad: Any = None, **options: Any) -> fgc.GradcheckResult:
    options = {"strategy": "screen", "seed": 0, "args": (s.data, s.targets)} | options
    return fgc.gradcheck(s.network.cost, grad or s.gradient, s.theta, **options)


def copied(gradient: dict[str, Array]) -> dict[str, Array]:
    return {name: part.copy() for name, part in gradient.items()}


@pytest.mark.parametrize("name", ["tanh", "relu", "float32"])
def test_correct_gradients_are_never_called_wrong(name: str) -> None:
    network = RELU if name == "relu" else NETWORK
    undecided = 0
    for seed in range(42):
        s = subject(network, seed)
        if name == "float32":
            theta = {k: v.astype(np.float32) for k, v in s.theta.items()}
            data, targets = s.data.astype(np.float32), s.targets.astype(np.float32)
            s = Subject(network, theta, data, targets, network.grad(theta, data, targets))
        result = checked(s, seed=seed)
        assert result.verdict is not Verdict.WRONG, str(result)
        assert not [f for f in result.findings if f.kind == "unlocated"]
        undecided += not result
        assert result.evaluations <= 300
    assert undecided <= 2


@pytest.mark.parametrize("network", [NETWORK, RELU], ids=["tanh", "relu"])
def test_wrong_entries_are_named_and_nothing_else_is(network: Network) -> None:
    rng = np.random.default_rng(0)
    for seed, count in enumerate([1] * 12 + [5] * 4 + [20]):
        s = subject(network, seed)
        grad, names = copied(s.gradient), set()
        median = float(np.median(np.abs(np.concatenate([g.ravel() for g in grad.values()]))))
        for name in rng.choice(["W1", "W2", "W3"], count):
            where = tuple(int(rng.integers(k)) for k in grad[name].shape)
            true = s.gradient[name][where]
            grad[name][where] = true + 1e-3 * max(median, abs(true))
            names.add(f"{name}[{', '.join(map(str, where))}]")
        result = checked(s, grad, seed=seed)
        assert result.verdict is Verdict.WRONG
        assert set(result.wrong) == names
        assert not [f for f in result.findings if f.kind == "unlocated"]
        assert result.evaluations <= {1: 300, 5: 700, 20: 1500}[count]


@pytest.mark.parametrize(
    ("where", "name"),
    [
        (("W1", np.s_[3, :]), "W1[3, :]"),
        (("W2", np.s_[:, 4]), "W2[:, 4]"),
        (("b1", np.s_[:]), "b1"),
        (("W3", np.s_[:, :]), "W3"),
    ],
)
def test_lines_and_blocks_are_named_as_such(where: tuple[str, Any], name: str) -> None:
    for seed in range(4):
        s = subject(NETWORK, seed)
        grad = copied(s.gradient)
        grad[where[0]][where[1]] *= 1.001
        result = checked(s, grad, seed=seed)
        assert result.wrong == (name,)
        assert result.evaluations <= 300


def quadratic(scales: dict[str, float]) -> tuple[Any, Any]:
    """Sum of s * theta^2 / 2 + theta^4 / 4 over blocks, and its gradient."""

    def cost(theta: dict[str, Array]) -> float:
        return float(
            sum((scales[k] * (t**2 / 2 + t**4 / 4)).sum() for k, t in theta.items() if k in scales)
        )

    def grad(theta: dict[str, Array]) -> dict[str, Array]:
        return {k: scales[k] * (t + t**3) if k in scales else 0 * t for k, t in theta.items()}

    return cost, grad


def test_a_block_whose_gradient_is_a_million_times_smaller_is_still_seen() -> None:
    rng = np.random.default_rng(1)
    theta = {"large": rng.normal(size=(20, 20)), "small": rng.normal(size=(20, 20))}
    cost, grad = quadratic({"large": 1.0, "small": 1e-6})
    for seed in range(5):
        assert fgc.gradcheck(cost, grad, theta, strategy="screen", seed=seed)
    wrong = grad(theta)
    wrong["small"][3, 4] *= 2
    result = fgc.gradcheck(cost, wrong, theta, strategy="screen", seed=0)
    assert result.wrong == ("small[3, 4]",)


def test_hundreds_of_blocks_share_the_confidence() -> None:
    rng = np.random.default_rng(2)
    layout = {f"b{k}": (3 + k % 5,) for k in range(200)}
    theta = rng.normal(size=1000)

    def cost(theta: Array) -> float:
        return float((theta**2 + theta**4).sum())

    def checked(grad: Array) -> fgc.GradcheckResult:
        return fgc.gradcheck(cost, grad, theta, layout=layout, strategy="screen", seed=0)

    grad = 2 * theta + 4 * theta**3
    result = checked(grad)
    assert result, str(result)
    assert len(result.blocks) == 200
    grad[3 + 4 + 5] += 0.01
    assert checked(grad).wrong == ("b3[0]",)


def test_a_block_of_one_scalar_is_measured_by_itself() -> None:
    rng = np.random.default_rng(3)
    theta = {"W": rng.normal(size=(30, 10)), "s": np.array([0.7]), "t": np.array(0.3)}
    cost, grad = quadratic(dict.fromkeys(theta, 1.0))
    result = fgc.gradcheck(cost, grad, theta, strategy="screen", seed=0)
    assert result
    assert [(b.name, b.checked, b.directions > 0) for b in result.blocks] == [
        ("W", 0, True),
        ("s", 1, False),
        ("t", 1, False),
    ]
    wrong = grad(theta)
    wrong["s"][0] *= 1.01
    assert fgc.gradcheck(cost, wrong, theta, strategy="screen", seed=0).wrong == ("s[0]",)


def test_a_frozen_block_agrees_and_a_gradient_that_is_not_zero_there_does_not() -> None:
    rng = np.random.default_rng(4)
    theta = {"W": rng.normal(size=(20, 10)), "frozen": rng.normal(size=(20, 10))}
    cost, grad = quadratic({"W": 1.0})
    result = fgc.gradcheck(cost, grad, theta, strategy="screen", seed=0)
    assert result
    assert result.blocks[1].limit == 0
    wrong = grad(theta)
    wrong["frozen"][2, 3] = 1e-3
    found = fgc.gradcheck(cost, wrong, theta, strategy="screen", seed=0)
    assert found.wrong == ("frozen[2, 3]",)


# Bounds.


class Fenced:
    """A cost that counts every evaluation outside of its bounds, or at a number it cannot take."""

    def __init__(self, low: Array, high: Array) -> None:
        self.low, self.high, self.outside = low, high, 0

    def __call__(self, theta: Array) -> float:
        self.outside += bool(((theta < self.low) | (theta > self.high)).any())
        return float((np.exp(theta) + theta**3).sum())

    def grad(self, theta: Array) -> Array:
        return np.exp(theta) + 3 * theta**2


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("room", [1e-9, 1e-5, 3e-4, 1e-2])
def test_j_is_never_evaluated_outside_its_bounds(room: float, wrong: bool) -> None:
    rng = np.random.default_rng(5)
    theta = rng.uniform(0.5, 1.5, 300)
    near = rng.choice(300, 30, replace=False)
    low, high = np.full(300, -10.0), np.full(300, 10.0)
    low[near[:15]] = theta[near[:15]] - room
    high[near[15:]] = theta[near[15:]] + room
    low[near[0]] = theta[near[0]]
    fenced = Fenced(low, high)
    grad = fenced.grad(theta)
    place = int(near[1])
    if wrong:
        grad[place] += 0.1
        grad[np.setdiff1d(np.arange(300), near)[7]] += 0.1
    result = fgc.gradcheck(
        fenced, grad, theta, bounds=(low, high), strategy="screen", seed=0, engine="python"
    )
    assert fenced.outside == 0
    assert bool(result) is not wrong, str(result)
    assert len(result.wrong) == 2 * wrong


def test_what_lies_at_its_bounds_is_not_said_to_be_covered() -> None:
    theta = np.concatenate([np.zeros(150), np.linspace(0.5, 1.5, 150)])
    fenced = Fenced(np.zeros(300), np.full(300, 9.0))
    result = fgc.gradcheck(
        fenced, fenced.grad(theta), theta, bounds=(0.0, 9.0), strategy="screen", engine="python"
    )
    assert fenced.outside == 0
    assert "150 of 300 parameters were covered by 4 directions" in result.coverage
    assert "the other 150 are at their bounds, of which 100 were measured" in result.coverage


# What is screened, and what is said about it.


def test_auto_screens_beyond_two_thousand_components() -> None:
    for n, screens in ((2000, False), (2001, True)):
        theta = {"x": np.linspace(0.1, 1.0, n)}
        cost, grad = quadratic({"x": 1.0})
        result = fgc.gradcheck(cost, grad, theta, seed=0)
        assert result
        assert (result.strategy == "screen") is screens
        assert len(result.components) == (100 if screens else n)


@pytest.mark.parametrize(
    ("options", "components", "directions"),
    [
        ({"sample": 7}, 7, False),
        ({"sample": 7, "strategy": "screen"}, 7, True),
        ({"strategy": "screen"}, 0, True),
        ({"sample": 7, "strategy": "components"}, 7, False),
    ],
)
def test_a_sample_is_exactly_that_unless_a_strategy_is_given(
    options: dict[str, Any], components: int, directions: bool
) -> None:
    s = subject(NETWORK, 0)
    result = checked(s, **{"strategy": "auto"} | options)
    assert len(result.components) == components
    assert any(b.directions for b in result.blocks) is directions
    assert ("covered by 4 directions" in result.coverage) is directions


def test_coverage_in_words() -> None:
    result = checked(subject(NETWORK, 0), sample=100)
    assert result.coverage.startswith(
        f"All {result.size:,} parameters were covered by 4 directions per block: an isolated error "
        f"above {result.resolution.size:.1g} ({result.resolution.relative:.1g} of the median "
        "entry) would have been seen"
    )
    assert "none wrong" in result.coverage
    assert result.resolution.probability == CONFIDENCE


def test_entries_smaller_than_the_resolution_are_counted_as_not_covered() -> None:
    theta = {"x": np.append(np.linspace(0.5, 1, 40), [1e-14, 1e-13])}
    cost, grad = quadratic({"x": 1.0})
    result = fgc.gradcheck(cost, grad, theta, strategy="screen", seed=0)
    assert "2 entries are smaller than that and not individually covered" in result.coverage


def test_the_same_seed_gives_the_same_check() -> None:
    s = subject(RELU, 1)
    first, second = (checked(s, seed=5) for _ in range(2))
    assert first.limit == second.limit
    assert checked(s, seed=6).limit != first.limit


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (Verdict.WRONG, "More is wrong in b1, W2 than could be located. Mend what is named"),
        (Verdict.AGREES, "The directions of b1, W2 disagree by more than their error bars"),
    ],
)
def test_what_could_not_be_located_is_said(verdict: Verdict, text: str) -> None:
    measured = Measured(incomplete={2, 1})
    (finding,) = unlocated(describe(NETWORK.initial(0)), measured, verdict)
    assert finding.kind == "unlocated"
    assert finding.message.startswith(text)
    assert 'strategy="components"' in finding.message
    assert unlocated(describe(NETWORK.initial(0)), Measured(), verdict) == ()


def test_more_errors_than_are_followed_are_reported_as_such() -> None:
    """A third of a block: neither a few entries nor all of it."""
    s, rng = subject(NETWORK, 0), np.random.default_rng(0)
    grad = copied(s.gradient)
    grad["W2"][rng.random(grad["W2"].shape) < 0.3] *= 1.1
    result = checked(s, grad)
    assert result.verdict is Verdict.WRONG
    assert (
        "W2"
        in {
            f
            for finding in result.findings
            if finding.kind == "unlocated"
            for f in finding.message.replace(",", "").split()
        }
        or "W2" in result.wrong
    )
    wrong = np.flatnonzero(grad["W2"] != s.gradient["W2"])
    start = next(b for b in describe(s.theta).blocks if b.name == "W2").start
    called = result.components["index"][result.components["verdict"] == Verdict.WRONG.code]
    assert set(called - start) <= set(wrong)


# Complex steps.


def smooth(theta: dict[str, Array]) -> Any:
    """A cost that takes complex numbers."""
    return (np.sin(theta["W"]) * np.exp(theta["b"])).sum() + (theta["b"] ** 3).sum()


def smooth_gradient(theta: dict[str, Array]) -> dict[str, Array]:
    W, b = theta["W"], theta["b"]
    return {
        "W": np.cos(W) * np.exp(b),
        "b": (np.sin(W) * np.exp(b)).sum(axis=0) + 3 * b**2,
    }


def test_complex_directions_are_exact_after_one_evaluation_each() -> None:
    rng = np.random.default_rng(6)
    theta = {"W": rng.normal(size=(40, 30)), "b": rng.normal(size=30)}
    grad = smooth_gradient(theta)
    real = fgc.gradcheck(smooth, grad, theta, strategy="screen", seed=0)
    result = fgc.gradcheck(smooth, grad, theta, strategy="screen", scheme="complex", seed=0)
    assert result
    assert result.limit < 1e-11 < real.limit
    assert result.evaluations < real.evaluations / 2


def test_errors_that_only_complex_directions_see_are_located() -> None:
    rng = np.random.default_rng(7)
    theta = {"W": rng.normal(size=(40, 30)), "b": rng.normal(size=30)}
    for seed in range(5):
        grad = smooth_gradient(theta)
        grad["W"][7, 8] *= 1.0001
        grad["W"][20, 3] += 1e-3
        result = fgc.gradcheck(smooth, grad, theta, strategy="screen", scheme="complex", seed=seed)
        assert set(result.wrong) == {"W[7, 8]", "W[20, 3]"}


def test_complex_directions_are_refused_where_the_cost_is_real() -> None:
    s = subject(NETWORK, 0)
    with pytest.raises(fgc.GradcheckInputError, match='scheme="complex" is not possible'):
        checked(s, scheme="complex")


# Steps.


@dataclass
class Exact:
    """A stream over a closed form: J at every point of a plan, no engine."""

    objective: Objective
    engine: Any = None

    def __post_init__(self) -> None:
        self.engine = SimpleNamespace(n_jobs=1)
        self.evaluations = 0

    @property
    def theta(self) -> Array:
        return self.objective.theta

    def values(self, plan: Plan, stage: str) -> Array:
        assert isinstance(plan, Directions)
        self.evaluations += plan.offsets.size
        rows = []
        for region, word, offsets in zip(plan.regions, plan.keys, plan.offsets, strict=True):
            index = np.arange(region[0], region[0] + region[1] * region[3])
            points = []
            for offset in offsets:
                theta = self.theta.copy()
                theta[index] += offset * direction(word, index)
                points.append(self.objective(theta))
            rows.append(points)
        return np.array(rows)


@pytest.mark.parametrize("near", [1e-4, 1e-6])
def test_steps_shrink_until_no_kink_is_crossed(near: float) -> None:
    """A unit that close to its kink is crossed by half of all directions at longer steps."""
    rng = np.random.default_rng(8)
    flat = rng.normal(size=60)
    flat[5] = near

    def cost(theta: Array) -> float:
        return float(np.sin(theta).sum() + 5 * max(theta[5], 0.0))

    gradient = np.cos(flat)
    gradient[5] += 5
    objective = Objective(cost, (), describe(flat), flat)
    problem = Problem(objective, gradient, 2.2e-16, cost(flat))
    prober = Prober(problem, Exact(objective), 1e-15)  # type: ignore[arg-type]
    for seed in range(10):
        screened = screen(prober, [0], np.abs(flat), seed, 7e-8)[0]
        assert not screened.fails
        assert screened.upper / (2 * np.linalg.norm(gradient)) < 1e-6


def test_new_measurements_count_only_where_their_bars_are_smaller() -> None:
    old = Draws(np.zeros(2, int), np.zeros(2, np.uint64), np.ones(2), np.zeros(2), np.ones(2))
    rows, keys = np.arange(2), np.array([5, 6], np.uint64)
    new = old.improved(rows, keys, 2 * np.ones(2), np.array([3.0, 4.0]), np.array([0.5, 2.0]))
    assert new.keys.tolist() == [5, 0]
    assert new.y.tolist() == [3.0, 0.0]
    assert new.error.tolist() == [0.5, 1.0]
    assert old.keys.tolist() == [0, 0]


def test_a_blocks_region_is_all_of_it() -> None:
    block = describe({"a": np.zeros(3), "W": np.zeros((4, 5))}).blocks[1]
    assert region_of(block).tolist() == [3, 5, 0, 4, 0, 5]
