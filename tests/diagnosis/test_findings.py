"""What is said beside the verdict."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.diagnosis.findings import kinks_met, undecided, unlocated
from fastgradcheck.differences.evidence import Evidence, Located
from fastgradcheck.differences.joint import Joint
from fastgradcheck.differences.noise import Noise
from fastgradcheck.differences.screen import Screened
from fastgradcheck.problem.parameters import describe
from fastgradcheck.verdict.tolerances import Tolerances
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.results import message
from tests.cases.screened import NETWORK
from tests.cases.solvers import RATES, FixedPoint, LotkaVolterra


@pytest.mark.parametrize(
    ("verdict", "text"),
    [
        (Verdict.WRONG, "More is wrong in b1, W2 than could be located. Mend what is named"),
        (Verdict.AGREES, "The directions of b1, W2 disagree by more than their error bars"),
    ],
)
def test_what_could_not_be_located_is_said(verdict: Verdict, text: str) -> None:
    evidence = Evidence(located={b: Located(unexplained=True) for b in (2, 1)})
    (finding,) = unlocated(describe(NETWORK.initial(0)), evidence, verdict)
    assert finding.kind == "unlocated"
    assert finding.message.startswith(text)
    assert 'strategy="components"' in finding.message
    assert unlocated(describe(NETWORK.initial(0)), Evidence(), verdict) == ()


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_a_block_that_the_cost_reads_from_elsewhere_is_told(
    shape: tuple[int, ...], strategy: str
) -> None:
    elsewhere = np.full(shape, 0.5)
    theta = {"W": np.linspace(1.0, 2.0, 12).reshape(3, 4), "b": elsewhere.copy()}

    def cost(p: Any) -> float:
        return float((p["W"] ** 3).sum() + (elsewhere**2).sum())

    def grad(p: Any) -> Any:
        return {"W": 3 * p["W"] ** 2, "b": np.zeros(shape)}

    result = fgc.gradcheck(cost, grad, theta, strategy=strategy, seed=0)
    assert result
    kind, said = {
        "components": ("zero-block", "cost may read these parameters from somewhere else"),
        "screen": ("zero", "parameters that cost does not read from its argument"),
    }[strategy]
    assert said in message(result, kind)
    assert " b" in message(result, kind)


def test_at_an_optimum_that_is_named_as_a_cause() -> None:
    result = fgc.gradcheck(lambda t: float(t @ t), lambda t: 2 * t, np.zeros(3), seed=0)
    assert "It may be dead or at an optimum at this theta" in message(result, "zero-block")


def test_at_a_kink_j_is_not_said_not_to_depend_on_theta() -> None:
    result = fgc.gradcheck(
        lambda t: float(np.maximum(t, 0).sum()), lambda t: 1.0 * (t > 0), np.zeros(3), seed=0
    )
    assert result
    assert [finding.kind for finding in result.findings] == ["kink"]


def test_kinks_at_theta_are_counted_as_such() -> None:
    lam = 0.1
    theta = np.array([0.0, 1.0, 0.0, -2.0, 0.0])

    def cost(t: Any) -> float:
        return float(np.sin(t + 0.3).sum() + lam * np.abs(t).sum())

    slope = np.cos(theta + 0.3) + lam * np.where(theta < 0, -1.0, 1.0)  # the right side at 0
    result = fgc.gradcheck(cost, slope, theta, seed=0)
    assert result
    assert message(result, "kink").endswith("There are 2 more at theta.")


def test_the_width_of_kinks_is_not_taken_for_noise() -> None:
    """An L1 penalty at exact zeros, where directions cover theta: bars are as wide as kinks."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 3000)) / 50, rng.normal(size=50)
    theta = np.where(rng.random(3000) < 0.3, 0.0, rng.normal(size=3000))

    def cost(t: Any) -> float:
        return float(0.5 * np.mean((X @ t - y) ** 2) + 0.1 * np.abs(t).sum())

    def grad(t: Any) -> Any:
        return X.T @ (X @ t - y) / 50 + 0.1 * np.sign(t)

    result = fgc.gradcheck(cost, grad, theta, seed=0)
    assert result
    assert {finding.kind for finding in result.findings} == {"kink"}


def test_a_bias_before_a_mean_is_removed_is_told_once_and_hides_no_pattern() -> None:
    """b1 has no effect: it is zero to the resolution, and the others tell where the fault is."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(20, 4)), rng.normal(size=(20, 3))
    theta = {"W1": rng.normal(size=(4, 5)), "b1": rng.normal(size=5)}
    theta |= {"W2": rng.normal(size=(5, 6)), "W3": rng.normal(size=(6, 3))}

    def forward(p: Any) -> Any:
        Z = X @ p["W1"] + p["b1"]
        A = np.tanh(Z - Z.mean(axis=0))
        B = np.tanh(A @ p["W2"])
        return A, B, B @ p["W3"] - Y

    def cost(p: Any) -> float:
        return float(0.5 * np.sum(forward(p)[-1] ** 2))

    def grad(p: Any, power: int = 2) -> Any:
        A, B, D = forward(p)
        E = D @ p["W3"].T * (1 - B**power)
        H = E @ p["W2"].T * (1 - A**2)
        H = H - H.mean(axis=0)
        return {"W1": X.T @ H, "b1": H.sum(axis=0), "W2": A.T @ E, "W3": B.T @ D}

    for strategy in ("components", "screen"):
        right = fgc.gradcheck(cost, grad, theta, strategy=strategy, seed=0)
        assert right
        assert [f.kind for f in right.findings].count("lost") == 0
        assert "b1" in message(right, "zero")
        wrong = fgc.gradcheck(cost, lambda p: grad(p, 1), theta, strategy=strategy, seed=0)
        assert "Every block up to W2 is wrong, and every block from W3" in message(
            wrong, "backward"
        )


METHODS = {
    "RK45": (LotkaVolterra(), RATES),
    "RK45, 1e-6": (LotkaVolterra(rtol=1e-6, atol=1e-9), RATES),
    "BDF, 1e-6": (LotkaVolterra(method="BDF", rtol=1e-6, atol=1e-9), RATES),
    "fixed point, 1e-4": (FixedPoint(1e-4), FixedPoint(1e-4).theta),
    "fixed point, 1e-6": (FixedPoint(1e-6), FixedPoint(1e-6).theta),
}


@pytest.mark.parametrize(
    ("name", "strategy"),
    [*((name, "components") for name in METHODS), ("fixed point, 1e-4", "screen")],
)
def test_an_adaptive_or_truncated_method_is_told_and_the_threshold_that_accepts(
    name: str, strategy: str
) -> None:
    method, theta = METHODS[name]
    options = {"strategy": strategy, "seed": 1}
    result = fgc.gradcheck(method.cost, method.grad, theta, **options)
    assert result.verdict is Verdict.WRONG
    said = message(result, "pieces")
    assert said.startswith("J looks like the output of an adaptive or truncated method")
    told = re.search(r"threshold=([\d.e-]+) would accept it", said)
    if told is None:
        assert result.limit > 1e-3  # in some block more than a hundredth
        assert "tighten that tolerance" in said
        return
    assert fgc.gradcheck(method.cost, method.grad, theta, threshold=float(told[1]), **options)
    # And what is wrong in earnest is still seen.
    doubled = 2 * method.grad(theta)
    again = fgc.gradcheck(method.cost, doubled, theta, threshold=float(told[1]), **options)
    assert again.verdict is Verdict.WRONG
    assert not [f for f in again.findings if f.kind == "pieces"]


@pytest.mark.parametrize("strategy", ["components", "screen"])
@pytest.mark.parametrize("kind", ["smooth", "kinks", "far jump"])
def test_a_gradient_that_is_off_throughout_alone_is_not_told_so(kind: str, strategy: str) -> None:
    """Of everything off by 1e-3 a jump as high as J is no cause."""
    theta = np.linspace(0.5, 2.0, 9)

    def cost(t: Any) -> float:
        more = {"smooth": 0.0, "kinks": np.abs(t - 1.0).sum(), "far jump": 50.0 * (t[-1] > 2.1)}
        return float(np.exp(t).sum() + more[kind])

    grad = (np.exp(theta) + np.sign(theta - 1.0) * (kind == "kinks")) * 1.001
    result = fgc.gradcheck(cost, grad, theta, strategy=strategy, seed=1)
    assert result.verdict is Verdict.WRONG
    assert not [f for f in result.findings if f.kind == "pieces"], str(result)


@pytest.mark.parametrize(
    ("steps", "bars", "kinked"),
    [
        ([1e-3, 1e-3], [1e-9, 1e-9], False),
        ([1e-3, 1e-3], [1e-9, 1e-2], True),
        ([1e-3, 3e-5], [1e-9, 1e-8], True),
    ],
)
def test_kinks_that_limit_a_screen_are_said(
    steps: list[float], bars: list[float], kinked: bool
) -> None:
    # Noise of 1e-13 leaves 4.5e-10 at steps of 1e-3, and 1.5e-8 at 3e-5.
    screened = Screened(
        np.zeros(2, np.uint64), np.array(steps), np.zeros(2), np.array(bars), failure=0.01
    )
    joint = Joint(screened, np.ones(1), np.ones(1))
    evidence = Evidence(joint=(joint,), noise=Noise(1e-13, 1e-12, "rounding"))
    said = kinks_met(evidence)
    assert said.startswith(" Directions cross kinks of J (ReLU, max, abs)") == kinked
    assert bool(said) == kinked
    tolerance = Tolerances(threshold=1e-7, rtol=1e-5, eps=2.2e-16, block_limit=1e-2)
    (finding,) = undecided(Verdict.UNDECIDED, 2e-6, (), tolerance, said)
    assert finding.message.startswith("The numeric side resolves 2e-06, not the threshold 1e-07; ")
    assert "threshold=2e-06 would accept." in finding.message
    assert finding.message.endswith("args=(X[:8], y[:8]), has fewer kinks.") == kinked
