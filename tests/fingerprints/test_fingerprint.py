"""Many gradients beside one set of values of J.

Networks bring their own gradients; nothing here is compared with differences of ours.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.residual import Residual

Array = np.ndarray


class Counted:
    """A cost that counts its evaluations."""

    def __init__(self, cost: Any) -> None:
        self.cost, self.calls = cost, 0

    def __call__(self, theta: Any, *args: Any) -> float:
        self.calls += 1
        return float(self.cost(theta, *args))


def taken(layers: int = 6, relu: bool = False, seed: int = 0) -> tuple[Any, Any, Any, Counted]:
    """A fingerprint of a residual network, its theta, its right gradient, and its cost."""
    network = Residual(layers, relu, seed)
    cost = Counted(network.cost)
    fp = fgc.fingerprint(cost, network.theta, seed=seed)
    assert fp.evaluations == cost.calls
    return fp, network.theta, network.grad(network.theta), cost


def copied(gradient: dict[str, Array]) -> dict[str, Array]:
    return {name: part.copy() for name, part in gradient.items()}


@pytest.mark.parametrize("relu", [False, True], ids=["tanh", "ReLU"])
def test_right_gradients_agree_without_an_evaluation(relu: bool) -> None:
    for seed in range(4):
        fp, _, gradient, cost = taken(20, relu, seed)
        before = cost.calls
        result = fp.check(gradient)
        assert result, str(result)
        assert cost.calls == before
        assert result.evaluations == 0
        (told,) = [f for f in result.findings if f.kind == "fingerprint"]
        assert told.message.startswith("J was not evaluated: the gradient was compared with the ")
        # Sharper than what a screen of four directions shows.
        assert all(block.directions == 16 for block in result.blocks)


def test_a_single_wrong_entry_is_decoded_and_said_not_to_be_confirmed() -> None:
    for seed in range(6):
        fp, _, right, cost = taken(6, seed=seed)
        gradient, rng = copied(right), np.random.default_rng(seed)
        name = str(rng.choice(list(gradient)))
        place = tuple(int(rng.integers(extent)) for extent in gradient[name].shape)
        gradient[name][place] += 1e-3 * max(0.05, abs(gradient[name][place]))
        before = cost.calls
        result = fp.check(gradient)
        assert result.verdict is Verdict.WRONG
        assert result.wrong == (f"{name}[{', '.join(map(str, place))}]",)
        assert cost.calls == before
        (told,) = [f for f in result.findings if f.kind == "decoded"]
        assert "not confirmed. Pass cost= to have it confirmed." in told.message
        assert [b.name for b in result.blocks if b.verdict is Verdict.WRONG] == [name]
        confirmed = fp.check(gradient, cost=cost)
        assert confirmed.wrong == result.wrong
        assert 0 < confirmed.evaluations < 60


PATTERNS = {
    "a factor": (lambda g, t: g["W3"].__imul__(2.0), ("W3",), "of W3 is 2 times what"),
    "a sign": (lambda g, t: g["b1"].__imul__(-1.0), ("b1",), "of b1 is -1 times what"),
    "a frozen block": (lambda g, t: g["W2"].__iadd__(0.1 * t["W2"]), ("W2",), "0.1 * W2 too much"),
}


@pytest.mark.parametrize("kind", PATTERNS)
def test_patterns_of_a_block_are_named(kind: str) -> None:
    plant, named, told = PATTERNS[kind]
    fp, theta, right, _ = taken()
    gradient = copied(right)
    plant(gradient, theta)
    result = fp.check(gradient)
    assert result.verdict is Verdict.WRONG
    assert result.wrong == named
    assert told in result.findings[0].message


def test_a_missing_regularisation_is_named() -> None:
    network = Residual(4, False, 0)

    def cost(theta: dict[str, Array]) -> float:
        penalty = sum((part**2).sum() for part in theta.values() if part.ndim == 2)
        return float(network.cost(theta) + 0.005 * penalty)

    fp = fgc.fingerprint(cost, network.theta, seed=0)
    result = fp.check(network.grad)
    assert result.verdict is Verdict.WRONG
    assert "lacks 0.01 * the matrices of theta" in result.findings[0].message


def test_what_nothing_simple_explains_is_wrong_all_the_same() -> None:
    fp, _, right, cost = taken()
    gradient = copied(right)
    gradient["W2"][1, 2] *= 1.1
    gradient["b4"][3] += 0.01
    result = fp.check(gradient)
    assert result.verdict is Verdict.WRONG
    assert result.wrong == ()
    assert "Pass cost= to have it located" in result.findings[0].message
    assert set(fp.check(gradient, cost=cost).wrong) == {"W2[1, 2]", "b4[3]"}


def test_a_gradient_that_is_no_number_is_wrong_where_it_is_none() -> None:
    fp, _, right, _ = taken()
    gradient = copied(right)
    gradient["b4"][3] = np.nan
    result = fp.check(gradient)
    assert (result.verdict, result.wrong) == (Verdict.WRONG, ("b4[3]",))
    assert "is not a number at b4[3]" in str(result)


def test_random_errors_are_never_given_a_cause() -> None:
    fp, _, right, _ = taken()
    for seed in range(20):
        rng, gradient = np.random.default_rng(seed), copied(right)
        name = str(rng.choice(list(gradient)))
        gradient[name] *= 1 + 0.1 * rng.standard_normal(gradient[name].shape)
        result = fp.check(gradient)
        assert result.verdict is Verdict.WRONG
        assert result.wrong == ()


def test_a_file_is_small_and_gives_the_same_result(tmp_path: Any) -> None:
    fp, theta, gradient, _ = taken(100)
    fp.save(tmp_path / "net.fgc")
    assert (tmp_path / "net.fgc").stat().st_size < 10_000
    again = fgc.load_fingerprint(tmp_path / "net.fgc")
    assert repr(again) == repr(fp)
    one, other = fp.check(gradient), again.check(gradient, theta=theta)
    assert (one.limit, one.relative_difference) == (other.limit, other.relative_difference)
    with pytest.raises(fgc.GradcheckInputError, match="does not hold theta itself: pass it"):
        again.check(gradient)


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (
            lambda t: {**t, "b0": t["b0"] + 1e-12},
            "something else. Not the same: the values of theta. Take",
        ),
        (lambda t: {**t, "c": np.ones(3)}, "the size of theta"),
        (lambda t: {("c" if k == "b0" else k): v for k, v in t.items()}, "the names and shapes"),
    ],
)
def test_another_theta_is_refused_with_what_differs(change: Any, differs: str) -> None:
    fp, theta, gradient, _ = taken(3)
    with pytest.raises(fgc.FingerprintError, match=differs):
        fp.check(gradient, theta=change(theta))


def test_other_args_and_another_cost_are_refused() -> None:
    theta = np.linspace(0.1, 1, 9)

    def cost(t: Array, a: float) -> float:
        return float(a * np.sin(t).sum())

    def grad(t: Array, a: float) -> Array:
        return a * np.cos(t)

    fp = fgc.fingerprint(cost, theta, args=(2.0,), seed=0)
    assert fp.check(grad)
    assert fp.check(grad, theta=theta, args=(2.0,))
    with pytest.raises(fgc.FingerprintError, match="Not the same: args"):
        fp.check(grad, theta=theta, args=(3.0,))
    with pytest.raises(fgc.FingerprintError, match="Not the same: args"):
        fp.check(grad, args=(3.0,))
    with pytest.raises(fgc.GradcheckInputError, match="cost or args have changed since"):
        fp.check(grad, cost=lambda t, a: cost(t, a) + 1)


def test_what_to_do_next_is_what_a_fingerprint_can_do() -> None:
    theta = np.linspace(0.1, 2.0, 50)
    fp = fgc.fingerprint(lambda t: np.sin(t).sum(), theta, seed=0)
    assert 'gradcheck with strategy="components"' in " ".join(str(fp.check(np.cos)).split())
    report = " ".join(str(fp.check(lambda t: np.cos(1.1 * t))).split())
    assert "Pass cost= to have it located" in report
    assert "What is wrong was not located: the first finding says how to find it." in report


def test_arrays_that_were_written_to_since_are_refused() -> None:
    """A training step in place: the gradient is of another theta than the values."""
    theta = np.linspace(0.1, 2.0, 50)
    fp = fgc.fingerprint(lambda t: np.sin(t).sum(), theta, seed=0)
    assert fp.check(np.cos)
    assert fp.check(np.cos, theta=theta.copy())
    with pytest.raises(fgc.FingerprintError, match="Not the same: the values of theta"):
        fp.check(np.cos, theta=theta.astype(np.float32))
    theta *= 0.5
    with pytest.raises(fgc.FingerprintError, match="Not the same: the values of theta"):
        fp.check(np.cos)


@pytest.mark.parametrize("damage", ["cut", "flipped", "forged"])
def test_a_damaged_file_is_refused_and_left_as_it_is(damage: str, tmp_path: Any) -> None:
    fp, *_ = taken(3)
    path = tmp_path / "net.fgc"
    fp.save(path)
    content = path.read_bytes()
    other = {
        "cut": content[:-200],
        "flipped": content[:900] + bytes([content[900] ^ 1]) + content[901:],
        "forged": pickle.dumps({"keys": 1}),
    }[damage]
    path.write_bytes(other)
    with pytest.raises(fgc.FingerprintError, match="is not a fingerprint of this package, or"):
        fgc.load_fingerprint(path)
    assert path.read_bytes() == other


def test_bad_arguments_are_told() -> None:
    fp, *_ = taken(3)
    with pytest.raises(fgc.GradcheckInputError, match="directions=5: use one of 4, 8, 16"):
        fgc.fingerprint(np.sum, np.ones(3), directions=5)
    with pytest.raises(fgc.GradcheckTypeError, match="J is not evaluated here: pass the gradient"):
        fp.check(True)
    with pytest.raises(fgc.GradcheckInputError, match="pass cost=, too, or set threshold="):
        fp.check(np.ones(3), yardstick=np.ones(3))
    with pytest.raises(fgc.GradcheckTypeError, match="pass the path of a file"):
        fp.save(3)
    with pytest.raises(fgc.GradcheckTypeError, match="must be a non-empty dict of name to grad"):
        fgc.compare(np.sum, [np.ones(3)], np.ones(3))


def test_several_gradients_are_compared_by_one_set_of_values() -> None:
    network = Residual(5, False, 0)
    cost = Counted(network.cost)
    right = network.grad(network.theta)
    wrong = copied(right)
    wrong["W2"][1, 2] *= 1.1
    results = fgc.compare(cost, {"one": right, "other": network.grad, "kernel": wrong},
                          network.theta, seed=0)  # fmt: skip
    assert [bool(result) for result in results.values()] == [True, True, False]
    assert results["kernel"].wrong == ("W2[1, 2]",)
    assert all(results[name].evaluations < 10 for name in ("one", "other"))
    table = str(results)
    assert table.startswith("gradient  verdict")
    assert "kernel    WRONG" in table


@pytest.mark.parametrize("count", [4, 8, 16])
def test_more_directions_are_sharper(count: int) -> None:
    network = Residual(5, False, 0)
    fp = fgc.fingerprint(network.cost, network.theta, directions=count, seed=0)
    result = fp.check(network.grad)
    assert result, str(result)
    assert result.limit < {4: 1e-7, 8: 6e-8, 16: 5e-8}[count]


def test_float32_and_the_user_s_own_theta_are_left_as_they_are() -> None:
    network = Residual(4, False, 0)
    theta = {k: v.astype(np.float32) for k, v in network.theta.items()}
    before = copied(theta)
    fp = fgc.fingerprint(network.cost, theta, seed=0)
    result = fp.check(network.grad)
    assert result, str(result)
    assert all(np.array_equal(theta[k], before[k]) for k in theta)


def test_compiled_costs_are_recorded_too() -> None:
    numba = pytest.importorskip("numba")
    theta = np.linspace(0.1, 1, 3000)
    cost = numba.njit(lambda t: np.sin(t).sum())
    fp = fgc.fingerprint(cost, theta, seed=0)
    assert fp.check(np.cos)
    assert not fp.check(lambda t: np.cos(t) * (1 + 1e-5))


def test_an_entry_that_no_step_moves_is_not_vouched_for() -> None:
    theta, moves = np.linspace(0.5, 2, 60), np.ones(60)
    theta[5], moves[5] = 1e17, 0.0

    def cost(t: Array) -> float:
        return float((moves * np.sin(t)).sum())

    def grad(t: Array) -> Array:
        return moves * np.cos(t)

    fp = fgc.fingerprint(cost, theta, seed=0)
    for claim in (grad, grad(theta) + (1 - moves)):
        result = fp.check(claim)
        assert result.verdict is Verdict.UNDECIDED
        assert "does not move theta[5], so that the recorded values" in result.findings[0].message
        assert "and was not measured by itself" in result.coverage
    assert fp.check(grad, cost=cost)
    assert fp.check(lambda t: 2 * grad(t)).verdict is Verdict.WRONG
    rows = fgc.jacobian_fingerprint(lambda t: moves * np.sin(t), theta, seed=0)
    result = rows.check(lambda t: np.diag(grad(t)))
    assert result.verdict is Verdict.UNDECIDED
    (told,) = [f for f in result.findings if f.kind == "uncovered"]
    assert "Pass fun= to have it measured." in told.message


def test_odd_arguments_of_a_check_are_told() -> None:
    fp, *_ = taken(3)
    cyclic: dict[str, Any] = {}
    cyclic["itself"] = cyclic
    with pytest.raises(fgc.GradcheckInputError, match="args"):
        fp.check(np.ones(3), args=cyclic)
    with pytest.raises(fgc.GradcheckInputError, match="layout"):
        fp.check(np.ones(3), layout=np.ones(2))
