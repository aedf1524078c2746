"""Whole checks along random directions.

Oracles are closed forms and the networks' own back-propagation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.problem.parameters import describe
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.faults import Subject, subject
from tests.cases.networks import Network
from tests.cases.screened import NETWORK, RELU, Array, Fenced, checked, copied, quadratic


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


def test_a_block_of_one_scalar_takes_part_like_any_other() -> None:
    rng = np.random.default_rng(3)
    theta = {"W": rng.normal(size=(30, 10)), "s": np.array([0.7]), "t": np.array(0.3)}
    cost, grad = quadratic(dict.fromkeys(theta, 1.0))
    result = fgc.gradcheck(cost, grad, theta, strategy="screen", seed=0)
    assert result
    assert [(b.name, b.checked, b.directions > 0) for b in result.blocks] == [
        ("W", 0, True),
        ("s", 0, True),
        ("t", 0, True),
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
    (message,) = [f.message for f in result.findings if f.kind == "zero"]
    assert message.startswith("Zero to the resolution: frozen. Neither the claimed gradient")
    wrong = grad(theta)
    wrong["frozen"][2, 3] = 1e-3
    found = fgc.gradcheck(cost, wrong, theta, strategy="screen", seed=0)
    assert found.wrong == ("frozen[2, 3]",)


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


def test_the_same_seed_gives_the_same_check() -> None:
    s = subject(RELU, 1)
    first, second = (checked(s, seed=5) for _ in range(2))
    assert first.limit == second.limit
    assert checked(s, seed=6).limit != first.limit


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
    assert result.evaluations < real.evaluations


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
