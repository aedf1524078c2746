"""What must hold before any long work, and the findings that the guards leave."""

from __future__ import annotations

import contextlib
import copy
import signal
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.problem import guards, nests
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective
from tests.cases.refusals import THETA, refused, slope, square
from tests.cases.results import kinds, message


def objective(cost: Any, theta: Any = THETA, args: tuple[Any, ...] = ()) -> Objective:
    parameters = describe(theta)
    flat = parameters.flatten(theta)
    flat.flags.writeable = False
    return Objective(cost, args, parameters, flat)


# Repeatable?


def test_dropout_is_refused_and_told_how_to_freeze() -> None:
    rng = np.random.default_rng(0)

    def dropout(theta: np.ndarray) -> float:
        return float((theta**2 * (rng.random(3) < 0.5)).sum())

    refused(
        r"cost is not repeatable: J is .* at the same theta\. Dropout or another random draw "
        r"inside the cost is the usual cause: switch it off, or seed it inside the cost",
        dropout,
    )


def test_a_random_draw_in_compiled_code_is_refused() -> None:
    @numba.njit
    def noisy(theta):
        return (theta**2).sum() + 1e-6 * np.random.random()  # noqa: NPY002

    np.random.seed(0)  # noqa: NPY002 -- seeding outside does not reach compiled code
    refused(r"not repeatable.*np\.random\.seed must be called inside the compiled", noisy)


def test_a_draw_seeded_inside_is_accepted() -> None:
    def frozen(theta: np.ndarray) -> float:
        mask = np.random.default_rng(8).random(3) < 0.5
        return float((theta**2 * mask).sum())

    def grad(theta: np.ndarray) -> np.ndarray:
        return 2 * theta * (np.random.default_rng(8).random(3) < 0.5)

    assert fgc.gradcheck(frozen, grad, THETA, seed=0)


def test_rounding_in_another_order_is_no_dropout() -> None:
    calls = 0

    def reordered(theta: np.ndarray) -> float:
        # A sum in another order at every call: the last bits differ.
        nonlocal calls
        calls += 1
        return float((theta**2).sum()) * (1 + 2**-51 * (calls % 2))

    result = fgc.gradcheck(reordered, slope, THETA, seed=0)
    assert result.verdict is not fgc.Verdict.WRONG


def test_hidden_state_is_refused() -> None:
    class BatchNorm:
        mean = 0.0

        def __call__(self, theta: np.ndarray) -> float:
            # The running mean converges at one theta, and moves at another.
            value = float((theta**2).sum()) + self.mean
            self.mean = float(np.round(theta.sum() * 1e9) % 7)
            return value

    cost = BatchNorm()
    cost(THETA)
    refused(
        r"cost keeps hidden state: J is .* after one evaluation at another theta\. Running "
        r"statistics \(batch normalisation\), a warm start or a cache is the usual cause: freeze",
        cost,
    )


# Whose memory?


def test_a_cost_that_modifies_theta_is_refused() -> None:
    def stepping(theta: np.ndarray) -> float:
        theta[1] -= 0.25
        return float((theta**2).sum())

    refused(
        r"cost modifies theta: entry 1 was -2\.0 before the call and is -2\.25 after it.*look for "
        r"an in-place operation .* and work on a copy",
        stepping,
    )


def test_a_cost_that_modifies_theta_elsewhere_only_is_refused() -> None:
    def clamping(theta: np.ndarray) -> float:
        np.clip(theta, None, 1.0, out=theta)
        return float((theta**2).sum())

    refused(r"cost modifies theta: entry 0 was 1\.000", clamping)


def test_a_compiled_cost_that_modifies_theta_is_refused() -> None:
    @numba.njit
    def stepping(theta):
        theta[0] = 0.0
        return (theta**2).sum()

    refused(r"cost modifies theta: entry 0 was 1\.0", stepping)


def test_args_that_change_the_value_are_refused() -> None:
    def drifting(theta: np.ndarray, X: np.ndarray) -> float:
        X += 1e-3
        return float((theta**2).sum() + X.sum())

    refused(
        r"cost modifies args\[0\], and J depends on what is there: it is .* at first and .* when "
        r"evaluated again at the same theta\. Work on a copy inside cost",
        drifting,
        args=(np.ones(2),),
    )


def scratched(theta: Any, buffer: Any) -> float:
    for i in range(len(theta)):
        buffer[i] = theta[i] ** 2
    return float(buffer.sum())


@pytest.mark.parametrize("cost", [scratched, numba.njit(scratched)], ids=["python", "numba"])
def test_scratch_arrays_run_one_after_the_other(cost: Any) -> None:
    result = fgc.gradcheck(cost, slope, THETA, args=(np.zeros(3),), n_jobs=2, seed=0)
    assert result
    assert result.n_jobs == 1
    assert "cost writes to args[0], but J does not depend on what was there" in message(
        result, "scratch"
    )


@dataclass
class Batch:
    X: np.ndarray
    nested: dict[str, Any] = field(default_factory=dict)


class Layer(NamedTuple):
    W: np.ndarray
    b: np.ndarray


@pytest.mark.parametrize("grad", ["right", "wrong"])
def test_what_is_the_users_is_never_touched(grad: str) -> None:
    rng = np.random.default_rng(0)
    theta = {"layers": [Layer(rng.normal(size=(3, 2)), rng.normal(size=2))]}
    args = (rng.normal(size=(5, 3)), {"y": rng.normal(size=(5, 2))})
    kept = copy.deepcopy((theta, args))

    def cost(p: Any, X: np.ndarray, data: Any) -> float:
        layer = p["layers"][0]
        return float(((X @ layer.W + layer.b - data["y"]) ** 2).mean())

    def slope(p: Any, X: np.ndarray, data: Any) -> Any:
        layer = p["layers"][0]
        residual = 2 * (X @ layer.W + layer.b - data["y"]) / 10
        factor = 1.0 if grad == "right" else 1.5
        return {"layers": [Layer(X.T @ residual, factor * residual.sum(0))]}

    result = fgc.gradcheck(cost, slope, theta, args=args, seed=0)
    assert bool(result) is (grad == "right")
    for (_, now), (_, then) in zip(
        nests.arrays_in((theta, args)), nests.arrays_in(kept), strict=True
    ):
        np.testing.assert_array_equal(now, then)


def test_a_read_only_theta_and_gradient_work() -> None:
    theta, slope = THETA.copy(), 2 * THETA
    theta.flags.writeable = slope.flags.writeable = False
    assert fgc.gradcheck(square, slope, theta, seed=0)


# Slow?


def test_a_slow_cost_is_told_with_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(0.0, 0.5)
    # Every look at the clock is half a second later: one evaluation takes half a second.
    monkeypatch.setattr(guards.time, "perf_counter", lambda: next(clock))
    inspected = guards.inspect(objective(square))
    assert inspected.seconds == 0.5
    (finding,) = guards.slow(inspected.seconds, 6000, 2)
    assert finding.kind == "slow"
    assert finding.message == (
        "one evaluation of J takes 0.5 s, 6,000 of them about 25 minutes. A gradient can be "
        "checked on a subset of the data, args=(X[:256], y[:256]), or on some components, "
        "sample=0.1."
    )


def test_a_quick_cost_is_not() -> None:
    assert guards.slow(1e-3, 100_000, 1) == ()


def test_the_finding_reaches_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "MINUTES", 0.0)
    assert "slow" in kinds(fgc.gradcheck(square, slope, THETA, seed=0))


# A point that tells?


def test_symmetric_weights_are_told() -> None:
    theta = {"W1": np.full((3, 2), 0.5), "b1": np.zeros(2), "W2": np.eye(2)}

    def cost(p: Any) -> float:
        return float(sum((part**2).sum() for part in p.values()))

    result = fgc.gradcheck(cost, lambda p: {k: 2 * v for k, v in p.items()}, theta, seed=0)
    assert result
    symmetric = [finding.message for finding in result.findings if finding.kind == "symmetric"]
    assert len(symmetric) == 1
    assert symmetric[0].startswith("all entries of W1 are 0.5: its units are interchangeable")
    assert "Check at a random theta too" in symmetric[0]


# inspect itself


def test_inspect_counts_and_measures() -> None:
    calls = []

    def counted(theta: np.ndarray) -> float:
        calls.append(theta.copy())
        return square(theta)

    inspected = guards.inspect(objective(counted))
    assert inspected.value == square(THETA)
    # The one that leaves the cost at theta is still to come.
    assert inspected.evaluations == len(calls) + 1 == 6
    assert not inspected.serial
    assert inspected.moves
    assert inspected.findings == ()
    close = [k for k, theta in enumerate(calls) if not np.array_equal(theta, THETA)]
    assert close == [1, 3]
    np.testing.assert_array_equal(calls[1], calls[3])


def test_inspect_stays_within_bounds() -> None:
    seen = []

    def watched(theta: np.ndarray) -> float:
        seen.append(theta.copy())
        return square(theta)

    guards.inspect(objective(watched), (THETA - 1, THETA))
    assert all((theta <= THETA).all() for theta in seen)


def test_inspect_forgives_the_edge_of_the_domain() -> None:
    def edged(theta: np.ndarray) -> float:
        if theta[0] > 1.0:
            raise ValueError("outside")
        return square(theta)

    inspected = guards.inspect(objective(edged))
    assert inspected.value == square(THETA)
    assert inspected.moves


# A cost that keeps what it was given?


class Keeps:
    """A cost that keeps J, and something by which it knows theta again."""

    def __init__(self, known_by: str) -> None:
        self.known_by = known_by
        self.kept: Any = None
        self.values: dict[int, float] = {}
        self.J = 0.0

    def __call__(self, theta: Any, *args: Any) -> float:
        if self.known_by == "any id":
            if id(theta) not in self.values:
                self.values[id(theta)] = self.compute(theta)
            return self.values[id(theta)]
        if not self.knows(theta):
            self.J = self.compute(theta)
            self.kept = {"id": id(theta), "copy": copy.deepcopy(theta)}.get(self.known_by, theta)
        return self.J

    def knows(self, theta: Any) -> bool:
        if self.known_by == "id":
            return bool(id(theta) == self.kept)
        if self.known_by == "identity":
            return theta is self.kept
        return self.kept is not None and np.array_equal(theta, self.kept)

    def compute(self, theta: Any) -> float:
        return float((theta**3).sum())


BY = ("identity", "id", "any id", "reference")


def cubes(theta: np.ndarray) -> np.ndarray:
    return 3 * theta**2


@pytest.mark.parametrize("n", [1, 7, 2500])
@pytest.mark.parametrize("known_by", BY)
def test_a_cost_that_takes_the_same_array_for_the_same_theta_gets_copies(
    known_by: str, n: int
) -> None:
    theta = np.random.default_rng(n).normal(size=n) + 2
    result = fgc.gradcheck(Keeps(known_by), cubes, theta, seed=0)
    assert result
    assert (
        "An earlier value comes back when the array that is passed as theta was changed in place"
        in message(result, "caches")
    )
    wrong = fgc.gradcheck(Keeps(known_by), lambda t: 1.01 * cubes(t), theta, seed=0)
    assert wrong.verdict is fgc.Verdict.WRONG
    numeric = fgc.numerical_gradient(Keeps(known_by), theta[:7])
    assert (abs(numeric.value - cubes(theta[:7])) <= numeric.error).all()


def test_a_cost_that_compares_with_a_copy_needs_none() -> None:
    result = fgc.gradcheck(Keeps("copy"), cubes, THETA, seed=0)
    assert result
    assert "caches" not in kinds(result)


@pytest.mark.parametrize("known_by", ["identity", "id"])
def test_a_cost_that_knows_one_leaf_again_gets_copies(known_by: str) -> None:
    class Leaf(Keeps):
        def __call__(self, p: Any, *args: Any) -> float:
            return super().__call__(p["W"]) + float((p["b"] ** 2).sum())

    theta = {"W": np.arange(1.0, 7).reshape(2, 3), "b": np.array([1.0, -2.0])}
    result = fgc.gradcheck(
        Leaf(known_by), lambda p: {"W": 3 * p["W"] ** 2, "b": 2 * p["b"]}, theta, seed=0
    )
    assert result
    assert "caches" in kinds(result)


def test_copies_go_to_workers_too() -> None:
    result = fgc.gradcheck(Keeps("identity"), cubes, THETA, n_jobs=2, seed=0)
    assert result
    assert result.n_jobs == 2


# Where is it left?


class Stateful:
    """A cost that remembers where it was evaluated last."""

    def __init__(self, fails: Any = None) -> None:
        self.theta = np.zeros(0)
        self.fails = fails
        self.count = 0

    def __call__(self, theta: np.ndarray) -> float:
        self.theta = theta.copy()
        self.count += 1
        if self.fails is not None:
            self.fails(self)
        return float((theta**3).sum())


@pytest.mark.parametrize("n", [5, 2500])
@pytest.mark.parametrize(
    "options",
    [{}, {"strategy": "screen"}, {"sample": 3}, {"budget": 1e-3}, {"scheme": "forward"}],
    ids=str,
)
def test_the_last_evaluation_is_at_theta(n: int, options: dict[str, Any]) -> None:
    theta = np.random.default_rng(n).normal(size=n)
    for grad in (cubes, lambda t: 2 * cubes(t)):
        cost = Stateful()
        result = fgc.gradcheck(cost, grad, theta, seed=0, **options)
        np.testing.assert_array_equal(cost.theta, theta)
        assert cost.count == result.evaluations


def raising(cost: Stateful) -> None:
    if cost.count > 20:
        raise ValueError("no more")


def interrupting(cost: Stateful) -> None:
    if cost.count == 20:
        signal.raise_signal(signal.SIGINT)


def drawing(cost: Stateful) -> None:
    if cost.count % 2:
        raise ArithmeticError("every other time")


@pytest.mark.parametrize("fails", [raising, interrupting, drawing])
def test_so_it_is_when_the_check_stops_or_fails(fails: Any) -> None:
    cost = Stateful(fails)
    with contextlib.suppress(fgc.CostEvaluationError, ArithmeticError):
        fgc.gradcheck(cost, cubes, THETA, seed=0)
    np.testing.assert_array_equal(cost.theta, THETA)


def test_so_it_is_when_the_gradient_raises() -> None:
    def broken(theta: np.ndarray) -> np.ndarray:
        cost(theta + 1)
        raise RuntimeError("not yet written")

    cost = Stateful()
    with pytest.raises(RuntimeError, match="not yet written"):
        fgc.gradcheck(cost, broken, THETA, seed=0)
    np.testing.assert_array_equal(cost.theta, THETA)


def test_a_float32_theta_is_left_in_float32() -> None:
    cost, theta = Stateful(), THETA.astype(np.float32)
    fgc.gradcheck(cost, cubes, theta, seed=0)
    assert cost.theta.dtype == np.float32


def test_the_gradient_finds_the_cost_at_theta() -> None:
    cost = Stateful()
    result = fgc.gradcheck(cost, lambda _: cubes(cost.theta), THETA, seed=0)
    assert result


# Does J depend on theta?


@pytest.mark.parametrize("n", [1, 6, 2500])
@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_a_cost_that_never_uses_theta_is_told(n: int, strategy: str) -> None:
    weights = np.random.default_rng(n).normal(size=n)
    options = {"strategy": strategy, "seed": 0}
    result = fgc.gradcheck(lambda t: float((weights**2).sum()), np.zeros_like, weights, **options)
    assert result.verdict is fgc.Verdict.UNDECIDED
    assert "cost does not depend on theta. It may read its parameters from somewhere else" in (
        message(result, "constant")
    )
    with pytest.raises(fgc.GradcheckError):
        fgc.assert_gradcheck(lambda t: 3.0, np.zeros_like, weights, **options)
    wrong = fgc.gradcheck(lambda t: 3.0, np.ones_like, weights, **options)
    assert wrong.verdict is fgc.Verdict.WRONG
    assert "constant" in kinds(wrong)


@pytest.mark.parametrize(
    "cost",
    [
        lambda t: float(np.maximum(t - 3, 0).sum()),  # dead here
        lambda t: float(np.floor(t).sum()),
        lambda t: float(np.round((t**2).sum(), 2)),
        lambda t: float((t - t.mean()).std()),  # no common shift changes it
    ],
)
def test_a_cost_that_moves_somewhere_is_not(cost: Any) -> None:
    assert guards.inspect(objective(cost)).moves


def test_a_cost_that_ends_nearby_is_not() -> None:
    def edged(theta: np.ndarray) -> float:
        if not np.array_equal(theta, THETA):
            raise ValueError("only here")
        return 1.0

    assert guards.inspect(objective(edged)).moves


# float32


def test_float32_is_evaluated_in_double_where_the_cost_accepts_it() -> None:
    theta = THETA.astype(np.float32)
    dtypes = set()

    def cost(t: np.ndarray, X: np.ndarray, scale: np.float32) -> Any:
        dtypes.add((t.dtype.name, X.dtype.name, type(scale).__name__))
        return (t**2 * X).sum() * scale

    args = (np.ones(3, np.float32), np.float32(2.0))
    double, (finding,) = guards.in_double(objective(cost, theta, args))
    assert double.theta.dtype == np.float64
    assert finding.kind == "float32"
    assert "evaluated on float64 copies" in finding.message
    assert dtypes == {("float32", "float32", "float32"), ("float64", "float64", "float64")}
    assert args[0].dtype == np.float32


def test_float32_in_a_dataclass_is_evaluated_in_double_too() -> None:
    dtypes = set()

    def cost(t: np.ndarray, layer: Layer, batch: Batch) -> float:
        arrays = layer.W, layer.b, batch.X, batch.nested["k"]
        dtypes.add((t.dtype.name, *(array.dtype.name for array in arrays)))
        return float((t**2).sum() * layer.W.sum() * batch.X.sum())

    X = np.ones((2, 2), np.float32)
    layer, batch = Layer(X, X), Batch(X, {"k": X})
    double, (finding,) = guards.in_double(objective(cost, THETA.astype(np.float32), (layer, batch)))
    assert double.theta.dtype == np.float64
    assert "evaluated on float64 copies of theta and of the float arrays in args" in finding.message
    assert dtypes == {("float32",) * 5, ("float64",) * 5}
    assert layer.W is batch.X is X


@pytest.mark.parametrize("otherwise", ["raises", "differs", "nan"])
def test_float32_stays_where_the_cost_insists(otherwise: str) -> None:
    def cost(t: np.ndarray) -> float:
        if t.dtype == np.float32:
            return square(t)
        if otherwise == "raises":
            raise TypeError("float32 only")
        return np.nan if otherwise == "nan" else 17.0

    same, (finding,) = guards.in_double(objective(cost, THETA.astype(np.float32)))
    assert same.theta.dtype == np.float32
    assert "could only be evaluated in float32" in finding.message


def test_a_whole_number_is_told_first() -> None:
    result = fgc.gradcheck(lambda t: int((t**2).sum()), slope, THETA, seed=0)
    assert result.verdict is fgc.Verdict.WRONG
    assert result.findings[0].kind == "integer"
    assert result.findings[0].message.startswith(
        "cost returned 5, a whole number (int). What is counted or rounded moves in steps, and its "
        "derivative is zero almost everywhere: return the number before it is rounded."
    )
    assert "integer" not in kinds(fgc.gradcheck(square, slope, THETA, seed=0))
