"""`gradcheck` from end to end, against gradients in closed form.

Every right gradient agrees, every planted fault is caught and named, and neither depends on the
engine, the scheme, the dtype or the scale.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck import Verdict
from fastgradcheck.errors import CostEvaluationError, GradcheckInputError, GradcheckTypeError
from fastgradcheck.testing import GradcheckError
from tests.cases import refusals
from tests.cases.networks import network
from tests.cases.refusals import Counted, refused, slope

RNG = np.random.default_rng(0)
THETA = RNG.normal(size=12)
WEIGHT = RNG.normal(size=12)


def cost(theta: Any, weight: Any) -> Any:
    """A smooth function, analytic and real on the real axis, whose gradient is known."""
    total = 0.0 * theta[0]
    for i in range(theta.size):
        total += weight[i] * np.sin(theta[i]) * np.exp(theta[(i + 1) % theta.size] / 2)
    return total


def grad(theta: Any, weight: Any) -> Any:
    before = np.roll(weight * np.sin(theta), 1)
    return weight * np.cos(theta) * np.exp(np.roll(theta, -1) / 2) + before * np.exp(theta / 2) / 2


COSTS: dict[str, Callable[..., Any]] = {"python": cost, "numba": numba.njit(cost)}


def square(theta: Any) -> float:
    return float((theta**2).sum())


# Right gradients agree


@pytest.mark.parametrize("dtype", [np.float64, np.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("scheme", ["central", "forward", "central4", "complex"])
@pytest.mark.parametrize("engine", ["python", "numba"])
def test_engines_schemes_and_dtypes_find_the_closed_form(
    engine: str, scheme: str, dtype: Any
) -> None:
    theta, weight = THETA.astype(dtype), WEIGHT.astype(dtype)
    result = fgc.gradcheck(COSTS[engine], grad, theta, args=(weight,), scheme=scheme, seed=3)
    assert result.verdict is Verdict.AGREES, str(result)
    assert (result.engine, result.scheme) == (engine, scheme)
    assert result.threshold == (1e-7 if dtype is np.float64 else 1e-6)
    exact = grad(theta.astype(np.float64), weight.astype(np.float64))
    numeric = result.components["numeric"]
    assert (np.abs(numeric - exact) <= result.components["error"] + 1e-15).all()
    # Whatever the scheme, what it says is good to the tolerance of float64.
    assert np.linalg.norm(numeric - exact) <= 2e-7 * np.linalg.norm(exact)


@pytest.mark.parametrize("engine", ["python", "numba"])
@pytest.mark.parametrize("scheme", ["central", "forward", "central4", "complex"])
def test_a_wrong_entry_is_found_by_every_engine_and_scheme(engine: str, scheme: str) -> None:
    def wrong(theta: Any, weight: Any) -> Any:
        slope = grad(theta, weight)
        slope[7] *= 1.001
        return slope

    result = fgc.gradcheck(COSTS[engine], wrong, THETA, args=(WEIGHT,), scheme=scheme, seed=3)
    assert result.verdict is Verdict.WRONG
    assert result.wrong == ("theta[7]",)


@pytest.mark.parametrize("relu", [False, True], ids=["tanh", "relu"])
@pytest.mark.parametrize("seed", range(4))
def test_a_network_agrees(seed: int, relu: bool) -> None:
    cost, grad, theta, args = network(seed, relu)
    result = fgc.gradcheck(cost, grad, theta, args=args, seed=seed)
    assert result.verdict is Verdict.AGREES, str(result)
    assert result.relative_difference <= result.limit <= result.threshold
    assert [block.name for block in result.blocks] == ["W1", "b1", "W2", "b2"]
    assert sum(block.checked for block in result.blocks) == result.size == 73


def lacking_mean(g: Any) -> None:
    g["b1"] *= 24


def transposed(g: Any) -> None:
    g["W2"][:] = g["W2"].reshape(3, 7).T


def one_entry(g: Any) -> None:
    g["W1"][3, 5] *= 1.01


def sign(g: Any) -> None:
    for part in g.values():
        part *= -1


def zeroed(g: Any) -> None:
    g["b2"][:] = 0


def shifted(g: Any) -> None:
    g["W1"][:] = np.roll(g["W1"], 1, axis=0)


@pytest.mark.parametrize(
    ("fault", "blocks"),
    [
        (lacking_mean, {"b1"}),
        (transposed, {"W2"}),
        (one_entry, {"W1"}),
        (sign, {"W1", "b1", "W2", "b2"}),
        (zeroed, {"b2"}),
        (shifted, {"W1"}),
    ],
)
def test_planted_faults_are_caught_and_named(fault: Any, blocks: set[str]) -> None:
    cost, grad, theta, args = network()

    def faulty(p: Any, X: Any, Y: Any) -> Any:
        slope = grad(p, X, Y)
        fault(slope)
        return slope

    result = fgc.gradcheck(cost, faulty, theta, args=args, seed=1)
    assert result.verdict is Verdict.WRONG
    assert not result
    assert {block.name for block in result.blocks if block.verdict is Verdict.WRONG} == blocks
    assert {address.split("[")[0] for address in result.wrong} == blocks
    if fault is one_entry:
        assert result.wrong == ("W1[3, 5]",)
    with pytest.raises(GradcheckError) as caught:
        fgc.assert_gradcheck(cost, faulty, theta, args=args, seed=1)
    assert caught.value.result.verdict is Verdict.WRONG


# The step


@pytest.mark.parametrize(("scheme", "expected"), [("central", 3.0001), ("forward", 3.0301)])
def test_the_textbook_step_is_honoured(scheme: str, expected: float) -> None:
    result = fgc.gradcheck(
        lambda t: float((t**3).sum()),
        lambda t: 3 * t**2,
        np.ones(1),
        scheme=scheme,
        epsilon=0.01,
        seed=0,
    )
    (numeric,) = result.components["numeric"]
    assert numeric == pytest.approx(expected, abs=1e-12)
    assert abs(numeric - 3) <= result.components["error"][0]


# What decides


def test_nan_is_wrong_and_named() -> None:
    result = fgc.gradcheck(square, lambda t: np.where(t == t[4], np.nan, 2 * t), THETA, seed=0)
    assert result.verdict is Verdict.WRONG
    assert result.wrong == ("theta[4]",)
    assert np.isnan(result.relative_difference)
    infinite = fgc.gradcheck(square, lambda t: np.where(t == t[4], np.inf, 2 * t), THETA, seed=0)
    assert infinite.wrong == ("theta[4]",)


def test_exact_zeros_on_both_sides_agree() -> None:
    theta = {"used": np.array([1.0, 2.0]), "dead": np.array([[1.0, -3.0]])}
    result = fgc.gradcheck(
        lambda p: square(p["used"]),
        lambda p: {"used": 2 * p["used"], "dead": np.zeros((1, 2))},
        theta,
        seed=0,
    )
    assert result.verdict is Verdict.AGREES
    assert result.blocks[1].relative_difference == 0


def test_a_zero_that_should_not_be_is_wrong() -> None:
    result = fgc.gradcheck(lambda t: 0.0, np.array([0.0, 1e-9]), np.ones(2), seed=0)
    assert result.wrong == ("theta[1]",)
    result = fgc.gradcheck(square, np.zeros(12), THETA, seed=0)
    assert result.verdict is Verdict.WRONG
    assert len(result.wrong) == 12


@pytest.mark.parametrize("size", [1e-30, 1e-9, 1e9, 1e30])
def test_sizes_do_not_matter(size: float) -> None:
    # Absolute closeness would pass the first sign, and fail the second gradient.
    right = fgc.gradcheck(lambda t: size * square(t), lambda t: size * 2 * t, THETA, seed=0)
    flipped = fgc.gradcheck(lambda t: size * square(t), lambda t: size * -2 * t, THETA, seed=0)
    assert right.verdict is Verdict.AGREES
    assert flipped.verdict is Verdict.WRONG
    assert len(flipped.wrong) == 12


@pytest.mark.parametrize("fault", [None, 5])
@pytest.mark.parametrize("power", [-60, 1, 90])
def test_scaling_by_powers_of_two_changes_no_bit(power: int, fault: int | None) -> None:
    def checked(size: float) -> fgc.GradcheckResult:
        def slope(theta: Any, weight: Any) -> Any:
            g = size * grad(theta, weight)
            if fault is not None:
                g[fault] *= 1.1
            return g

        return fgc.gradcheck(
            lambda t, w: size * float(cost(t, w)), slope, THETA, args=(WEIGHT,), seed=9
        )

    plain, scaled = checked(1.0), checked(2.0**power)
    assert plain.verdict is scaled.verdict
    assert plain.wrong == scaled.wrong
    assert plain.evaluations == scaled.evaluations
    assert plain.relative_difference == scaled.relative_difference
    assert plain.limit == scaled.limit
    for column in ("analytic", "numeric", "error"):
        np.testing.assert_array_equal(
            plain.components[column] * 2.0**power, scaled.components[column]
        )
    np.testing.assert_array_equal(plain.components["verdict"], scaled.components["verdict"])


@pytest.mark.parametrize("factors", [(1e-6, 1.0), (1.0, 1e6), (1e3, 1e-9)])
@pytest.mark.parametrize("fault", [False, True])
def test_scaling_whole_blocks_keeps_the_verdict(factors: tuple[float, float], fault: bool) -> None:
    # J(a / s_a, b / s_b): theta and its gradient change scale block by block, J does not.
    a, b = (
        THETA[:6] * factors[0],
        THETA[6:] * factors[1],
    )

    def scaled(p: Any) -> float:
        return float(cost(np.concatenate([p["a"] / factors[0], p["b"] / factors[1]]), WEIGHT))

    def slope(p: Any) -> Any:
        g = grad(np.concatenate([p["a"] / factors[0], p["b"] / factors[1]]), WEIGHT)
        g[2] *= 1.1 if fault else 1.0
        return {"a": g[:6] / factors[0], "b": g[6:] / factors[1]}

    result = fgc.gradcheck(scaled, slope, {"a": a, "b": b}, seed=2)
    assert result.verdict is (Verdict.WRONG if fault else Verdict.AGREES), str(result)
    assert result.wrong == (("a[2]",) if fault else ())


@pytest.mark.parametrize("off", [0.0, 1e-7, 1e-5, 1e-3])
def test_relative_noise_never_yields_a_claim_beyond_it(off: float) -> None:
    def noisy(theta: np.ndarray) -> float:
        bits = int(theta.view(np.uint64).sum())
        return float(np.exp(theta).sum()) * (1 + 1e-9 * np.random.default_rng(bits).normal())

    result = fgc.gradcheck(noisy, lambda t: np.exp(t) * (1 + off), THETA, seed=0)
    numeric, bars = result.components["numeric"], result.components["error"]
    assert (np.abs(numeric - np.exp(THETA)) <= bars).all()
    # J is 15, its noise 1.5e-8: a central difference leaves (noise/J)^(2/3), some 1e-5 of J, and
    # the threshold, 1e-7, is out of reach.
    allowed = {
        0.0: {Verdict.UNDECIDED},
        1e-7: {Verdict.UNDECIDED},
        1e-5: {Verdict.UNDECIDED, Verdict.WRONG},
        1e-3: {Verdict.WRONG},
    }
    assert result.verdict in allowed[off]
    assert result.limit > off / 2
    assert result.resolution.size >= 2 * bars.max()


def test_a_doubled_float32_gradient_of_thousands_is_wrong() -> None:
    theta = np.random.default_rng(0).normal(size=1500).astype(np.float32)

    def half(t: np.ndarray) -> Any:
        return 0.5 * (t * t).sum()

    assert fgc.gradcheck(half, lambda t: t, theta, seed=0).verdict is Verdict.AGREES
    assert fgc.gradcheck(half, lambda t: 2 * t, theta, seed=0).verdict is Verdict.WRONG
    assert fgc.gradcheck(half, lambda t: 0 * t, theta, seed=0).verdict is Verdict.WRONG


def test_a_cost_in_float32_alone() -> None:
    theta = np.linspace(0.5, 2.0, 20, dtype=np.float32)

    def single(t: np.ndarray) -> np.float32:
        if t.dtype != np.float32:
            raise TypeError("float32 only")
        return np.float32((t * t).sum())

    right = fgc.gradcheck(single, lambda t: 2 * t, theta, seed=0)
    assert right.verdict is Verdict.AGREES
    assert right.threshold == 1e-3
    wrong = fgc.gradcheck(single, lambda t: np.where(t == t[3], 3 * t, 2 * t), theta, seed=0)
    assert wrong.wrong == ("theta[3]",)


# Kinks and edges


def test_relu_close_to_zero() -> None:
    theta = np.array([1e-5, -1e-5, 0.3, 1.0])

    def relu(t: np.ndarray) -> float:
        return float(np.maximum(t, 0).sum())

    assert fgc.gradcheck(relu, lambda t: (t > 0) * 1.0, theta, seed=0)
    result = fgc.gradcheck(relu, lambda t: (t > 1e-4) * 1.0, theta, seed=0)
    assert result.wrong == ("theta[0]",)


@pytest.mark.parametrize(
    ("claimed", "verdict"),
    [(-1.0, Verdict.AGREES), (0.0, Verdict.AGREES), (1.0, Verdict.AGREES), (1.5, Verdict.WRONG)],
)
def test_any_subgradient_is_accepted_on_a_kink(claimed: float, verdict: Verdict) -> None:
    result = fgc.gradcheck(
        lambda t: float(np.abs(t[0]) + t[1] ** 2),
        np.array([claimed, 2.0]),
        np.array([0.0, 1.0]),
        seed=0,
    )
    assert result.verdict is verdict
    assert "kink" in [finding.kind for finding in result.findings]


def test_clipping_between_two_kinks_is_no_false_alarm() -> None:
    result = fgc.gradcheck(
        lambda t: float(np.clip(t, 1 - 1e-8, 1 + 1e-8).sum() + np.exp(t).sum()),
        lambda t: 1 + np.exp(t),
        np.array([1.0, 1.0]),
        threshold=1e-5,
        seed=0,
    )
    assert result.verdict is not Verdict.WRONG


def test_bounds_are_never_left() -> None:
    seen = []

    def rooted(theta: np.ndarray) -> float:
        seen.append(theta.copy())
        return float(np.sqrt(theta).sum() + np.sqrt(1 - theta).sum())

    theta = np.array([1e-3, 0.5, 0.999])
    low, high = np.array([1e-3 - 1e-6, 0.0, 0.9]), np.array([1.0, 0.5, 0.999])
    result = fgc.gradcheck(
        rooted,
        lambda t: 0.5 / np.sqrt(t) - 0.5 / np.sqrt(1 - t),
        theta,
        bounds=(low, high),
        seed=0,
    )
    assert result.verdict is Verdict.AGREES, str(result)
    assert (np.min(seen, axis=0) >= low).all()
    assert (np.max(seen, axis=0) <= high).all()


def test_the_edge_of_the_domain_is_measured_on_one_side() -> None:
    def edged(theta: np.ndarray) -> float:
        return float(np.exp(theta).sum()) if theta[0] >= 1 else np.nan

    result = fgc.gradcheck(edged, np.exp, np.array([1.0, 0.5]), seed=0)
    assert result.verdict is Verdict.AGREES, str(result)
    assert fgc.gradcheck(edged, lambda t: 2 * np.exp(t), np.array([1.0, 0.5]), seed=0).wrong == (
        "theta[0]",
        "theta[1]",
    )


def test_no_finite_neighbour_is_undecided() -> None:
    def lonely(theta: np.ndarray) -> float:
        return float(np.exp(theta).sum()) if theta[1] == 0.5 else np.nan

    result = fgc.gradcheck(lonely, np.exp, np.array([1.0, 0.5, 2.0]), seed=0)
    assert result.verdict is Verdict.UNDECIDED
    codes = result.components["verdict"]
    assert codes.tolist() == [v.code for v in (Verdict.AGREES, Verdict.UNDECIDED, Verdict.AGREES)]
    assert "non-finite J" in result.blocks[0].reason


# Faults inside the loop


def brittle(theta: Any, place: float) -> Any:
    # Farther than the guards go (1e-6 of the largest entry), nearer than the first steps.
    if abs(theta[3] - place) > 1e-5:
        raise ValueError("theta[3] is too far")
    return (theta**2).sum()


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("engine", ["python", "numba"])
def test_an_exception_in_the_loop_has_an_address(engine: str, n_jobs: int) -> None:
    theta = np.linspace(1.0, 2.0, 40)
    failing = brittle if engine == "python" else numba.njit(brittle)
    with pytest.raises(CostEvaluationError) as caught:
        fgc.gradcheck(
            failing,
            lambda t, place: 2 * t,
            theta,
            args=(theta[3],),
            sample=[3, 7, 20],
            n_jobs=n_jobs,
            seed=0,
        )
    assert caught.value.address == "theta[3]"
    assert caught.value.step > 1e-5
    assert "theta[3]" in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)
    assert "theta[3] is too far" in str(caught.value.__cause__)


# The ways to call it


def both(theta: Any) -> Any:
    return (theta**3).sum(), 3.0 * theta**2


@pytest.mark.parametrize("engine", ["python", "numba"])
def test_a_cost_that_returns_its_gradient(engine: str) -> None:
    function = both if engine == "python" else numba.njit(both)
    result = fgc.gradcheck(function, True, THETA, seed=0)
    assert result.verdict is Verdict.AGREES
    assert result.engine == engine
    np.testing.assert_array_equal(result.components["analytic"], 3 * THETA**2)


def test_a_gradient_may_be_an_array_or_a_nest() -> None:
    assert fgc.gradcheck(square, 2 * THETA, THETA, seed=0)
    cost, grad, theta, args = network()
    assert fgc.gradcheck(cost, grad(theta, *args), theta, args=args, seed=0)
    turned = dict(reversed(list(grad(theta, *args).items())))
    assert fgc.gradcheck(cost, turned, theta, args=args, seed=0)


def test_check_points_checks_each() -> None:
    cost, grad, theta, args = network()
    trained = {name: part + 0.3 for name, part in theta.items()}

    def wrong_when_trained(p: Any, X: Any, Y: Any) -> Any:
        slope = grad(p, X, Y)
        slope["b2"] *= 2.0 if p["b2"][0] > 0.2 else 1.0
        return slope

    results = fgc.check_points(
        cost, wrong_when_trained, {"init": theta, "trained": trained}, args=args, seed=0
    )
    assert [(name, bool(result)) for name, result in results.items()] == [
        ("init", True),
        ("trained", False),
    ]
    assert set(results["trained"].wrong) == {"b2[0]", "b2[1]", "b2[2]"}


def test_off_skips_everything_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(theta: Any) -> float:
        raise AssertionError("called")

    for value in ("off", "OFF"):
        monkeypatch.setenv("FASTGRADCHECK", value)
        result = fgc.gradcheck(never, never, THETA)
        assert result.verdict is Verdict.SKIPPED
        assert not result
        assert "FASTGRADCHECK=off" in result.findings[0].message
        assert fgc.assert_gradcheck(never, never, THETA).verdict is Verdict.SKIPPED
    monkeypatch.setenv("FASTGRADCHECK", "on")
    assert fgc.gradcheck(square, lambda t: 2 * t, THETA, seed=0)


def test_off_holds_for_a_whole_process() -> None:
    code = (
        "import numpy as np, fastgradcheck as fgc\n"
        "print(fgc.gradcheck(lambda t: t.sum(), np.zeros(2), np.ones(2)).verdict.name)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FASTGRADCHECK": "off"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == "SKIPPED"


@pytest.mark.parametrize("sample", [None, 0.3, 5])
def test_seeds_reproduce_bit_for_bit(sample: Any) -> None:
    cost, grad, theta, args = network()
    first, again = (
        fgc.gradcheck(cost, grad, theta, args=args, sample=sample, seed=11) for _ in range(2)
    )
    np.testing.assert_array_equal(first.components, again.components)
    assert first.limit == again.limit
    assert first.evaluations == again.evaluations
    drawn = fgc.gradcheck(cost, grad, theta, args=args, sample=sample)
    repeated = fgc.gradcheck(cost, grad, theta, args=args, sample=sample, seed=drawn.seed)
    np.testing.assert_array_equal(drawn.components, repeated.components)


def test_a_sample_checks_these_components_and_no_others() -> None:
    cost, grad, theta, args = network()
    result = fgc.gradcheck(cost, grad, theta, args=args, sample={"W1": [0, 41], "b2": None})
    assert result.components["index"].tolist() == [0, 41, 70, 71, 72]
    assert result.verdict is Verdict.AGREES
    assert "nothing follows for the others" in result.coverage
    assert [block.verdict for block in result.blocks] == [
        Verdict.AGREES,
        Verdict.SKIPPED,
        Verdict.SKIPPED,
        Verdict.AGREES,
    ]


def test_values_do_not_depend_on_n_jobs() -> None:
    results = [
        fgc.gradcheck(engine, grad, THETA, args=(WEIGHT,), n_jobs=n_jobs, seed=5)
        for engine in (COSTS["numba"],)
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(results[0].components, results[1].components)


def test_evaluations_are_counted() -> None:
    calls = 0

    def counted(theta: np.ndarray) -> float:
        nonlocal calls
        calls += 1
        return square(theta)

    result = fgc.gradcheck(counted, lambda t: 2 * t, THETA, engine="python", n_jobs=1, seed=0)
    assert result.evaluations == calls


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_a_saturated_sigmoid_is_no_false_alarm(seed: int, strategy: str) -> None:
    # log(1 - a) where a is nearly one moves in stairs, which few ulps of theta do not show.
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((100, 8))
    y = (X[:, 0] > 0).astype(float)
    theta = {"W1": rng.standard_normal((8, 6)), "W2": 1.5 * rng.standard_normal((6, 1))}

    def activations(p: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        A = np.maximum(X @ p["W1"], 0)
        return A, 1 / (1 + np.exp(-(A @ p["W2"]).ravel()))

    def cross_entropy(p: dict[str, np.ndarray]) -> float:
        _, a = activations(p)
        return float(-np.mean(y * np.log(a) + (1 - y) * np.log(1 - a)))

    def backward(p: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        A, a = activations(p)
        d = (a - y)[:, None] / len(y)
        return {"W1": X.T @ ((d @ p["W2"].T) * (A > 0)), "W2": A.T @ d}

    result = fgc.gradcheck(cross_entropy, backward, theta, strategy=strategy, seed=seed)
    assert result.verdict is not Verdict.WRONG, str(result)
    doubled = {"W1": 2 * backward(theta)["W1"], "W2": backward(theta)["W2"]}
    result = fgc.gradcheck(cross_entropy, doubled, theta, strategy=strategy, seed=seed)
    assert result.verdict is Verdict.WRONG, str(result)


def test_the_complex_step_needs_a_complex_cost() -> None:
    refused(
        r'scheme="complex" is not possible for this cost: .*\. Use scheme="central4"',
        scheme="complex",
    )


def test_check_points() -> None:
    points = {"init": refusals.THETA, "trained": np.array([1.0, np.nan, 0.0])}
    with pytest.raises(GradcheckInputError, match=r"at the point 'trained': theta\[1\] is nan"):
        fgc.check_points(Counted(), slope, points)
    with pytest.raises(GradcheckTypeError, match=r"must be a non-empty dict of name to theta"):
        fgc.check_points(Counted(), slope, {})
    with pytest.raises(GradcheckTypeError, match=r"cannot be the gradient at several points"):
        fgc.check_points(Counted(), np.ones(3), {"init": refusals.THETA})
