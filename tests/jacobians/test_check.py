"""Checks of whole Jacobians: correct ones agree, planted faults are named at their place."""

from __future__ import annotations

import signal
import tracemalloc
from typing import Any

import ml_dtypes
import numba
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sparse
import torch

import fastgradcheck as fgc
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.jacobians import HARD, changed, hard, tanh_layer, two_outputs


def check(fun, jac, theta, **options):
    return fgc.jaccheck(fun, jac, theta, **{"seed": 3, **options})


LARGE = tanh_layer(40, 300)
SMALL = tanh_layer(6, 9)


# Correct ones


@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_a_correct_jacobian_agrees(strategy):
    fun, jac, theta = SMALL
    result = check(fun, jac, theta, strategy=strategy)
    assert result
    assert result.wrong == ()
    assert result.limit < 1e-7
    assert "The Jacobian is the Jacobian of the function" in str(result)


@pytest.mark.parametrize("seed", range(5))
def test_a_large_one_agrees_in_64_evaluations(seed):
    fun, jac, theta = tanh_layer(100, 400, seed)
    result = check(fun, jac, theta, seed=seed)
    assert result.verdict is Verdict.AGREES
    assert result.evaluations <= 64
    assert result.strategy == "screen"
    assert "All 100 rows" in result.coverage


def test_rows_of_very_different_sizes_agree_and_the_smallest_is_still_looked_at():
    fun, jac, theta = LARGE
    s = 10.0 ** np.random.default_rng(1).integers(-6, 7, size=40)
    smallest = int(np.argmin(s))

    def scaled(t):
        return s * fun(t)

    def right(t):
        return s[:, None] * jac(t)

    assert check(scaled, right, theta)

    def change(array):
        array[smallest, 17] *= 1.01

    result = check(scaled, changed(right, change), theta)
    assert result.wrong == (f"F[{smallest}] / theta[17]",)


def test_constant_linear_and_kinked_rows_agree():
    _fun, _, theta = LARGE
    W = np.random.default_rng(2).normal(size=(30, 300))

    def rectified(t):
        return np.concatenate([np.maximum(W @ t, 0), W[:3] @ t, [1.0, 2.0]])

    def jac(t):
        return np.vstack([(W @ t > 0)[:, None] * W, W[:3], np.zeros((2, 300))])

    assert check(rectified, jac, theta)


@pytest.mark.parametrize("name", HARD)
def test_right_ones_that_are_hard_agree(name):
    for m, n in ((20, 30), (60, 200)):
        fun, jac, theta = hard(name, m, n, seed=1)
        result = check(fun, jac, theta)
        assert result, (name, m, n, result.limit)


@pytest.mark.parametrize("n", [30, 300])
def test_noise_that_keeps_a_check_undecided_is_told(n):
    fun, jac, theta = tanh_layer(40, n)

    def noisy(t):
        return fun(t) + 1e-9 * np.sin(1e15 * fun(t))

    result = check(noisy, jac, theta)
    assert result.verdict is Verdict.UNDECIDED
    (told,) = [f.message for f in result.findings if f.kind == "noise"]
    assert told.startswith("F carries noise of ")
    assert told.endswith("tighten the tolerance of the iteration inside it.")


def test_the_row_that_keeps_a_check_undecided_is_named():
    fun, jac, theta = tanh_layer(40, 300)
    far = np.linalg.norm(theta)

    def with_a_pole(t):
        out = fun(t)
        out[7] = 1 / (t @ theta / far - (1 - 1e-7) * far)
        return out

    def its_jacobian(t):
        J = jac(t)
        J[7] = -theta / far / (t @ theta / far - (1 - 1e-7) * far) ** 2
        return J

    result = check(with_a_pole, its_jacobian, theta)
    assert result.verdict is Verdict.UNDECIDED
    (told,) = [f.message for f in result.findings if f.kind == "coarse-row"]
    assert told.startswith("Most of what the numeric side does not know is of the row F[7].")


# Single entries, rows, columns, blocks


@pytest.mark.parametrize("count", [1, 20])
def test_single_entries_in_several_rows_are_named_and_nothing_else(count):
    fun, jac, theta = LARGE
    rng = np.random.default_rng(count)
    rows, columns = rng.choice(40, count, replace=False), rng.choice(300, count)

    def change(array):
        array[rows, columns] += 1e-3 * np.median(np.abs(array))

    result = check(fun, changed(jac, change), theta)
    named = {f"F[{i}] / theta[{j}]" for i, j in zip(rows, columns, strict=True)}
    assert set(result.wrong) == named
    assert result.evaluations <= 80


def test_several_entries_of_one_row_are_told_apart():
    fun, jac, theta = LARGE
    columns = np.random.default_rng(5).choice(300, 6, replace=False)

    def change(array):
        array[7, columns] *= 1.1

    result = check(fun, changed(jac, change), theta)
    assert set(result.wrong) == {f"F[7] / theta[{j}]" for j in columns}
    assert result.evaluations < 2 * 300


def scaled_row(array):
    array[5] *= 1.5


def scaled_column(array):
    array[:, 7] *= 1.5


def turned(array):
    array *= -1


@pytest.mark.parametrize(
    ("change", "named", "kind"),
    [
        (scaled_row, "F[5] / theta", "row"),
        (scaled_column, "F / theta[7]", "factor"),
        (turned, "F / theta", "factor"),
    ],
)
def test_a_whole_row_column_or_block_is_named_as_one(change, named, kind):
    fun, jac, theta = LARGE
    result = check(fun, changed(jac, change), theta)
    assert result.verdict is Verdict.WRONG
    assert result.wrong == (named,)
    assert result.findings[0].kind == kind


def test_rows_in_another_order_are_named():
    fun, jac, theta = LARGE
    order = np.random.default_rng(3).permutation(40)
    result = check(fun, lambda t: jac(t)[order], theta)
    assert result.findings[0].kind == "permuted"
    assert "rows stand in another order" in str(result)


def test_a_factor_of_every_row_is_named():
    fun, jac, theta = LARGE
    factors = np.random.default_rng(3).uniform(1.5, 3.0, size=(40, 1))
    result = check(fun, lambda t: factors * jac(t), theta)
    finding = result.findings[0]
    assert finding.kind == "row-factor"
    assert f"F[0] by {factors[0, 0]:.6g}" in finding.message
    assert "Whole rows are off by a factor of their own" in finding.message


@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_a_transposed_square_jacobian_is_named(strategy):
    fun, jac, theta = tanh_layer(8, 8)
    result = check(fun, lambda t: jac(t).T, theta, strategy=strategy)
    assert result.verdict is Verdict.WRONG
    assert result.findings[0].kind == "transposed"


@pytest.mark.parametrize("size", ["small", "large"])
def test_nan_is_never_right(size):
    fun, jac, theta = LARGE if size == "large" else SMALL

    def change(array):
        array[3, 4] = np.nan

    result = check(fun, changed(jac, change), theta)
    assert result.verdict is Verdict.WRONG
    assert "F[3] / theta[4]" in result.wrong
    assert result.findings[0].message.startswith("F[3] / theta[4]: what is claimed is not finite.")


# Nests, sparse matrices, forms of fun


def test_nests_of_outputs_and_parameters_have_addresses_of_both():
    fun, jac, theta = two_outputs()
    result = check(fun, jac, theta)
    assert result
    assert [block.name for block in result.blocks] == [
        "defect / W",
        "defect / b",
        "end / W",
        "end / b",
    ]
    assert any("None for end / W" in finding.message for finding in result.findings)

    def wrong(p):
        claimed = jac(p)
        claimed["defect"]["W"][1, 1, 1, 2] += 0.01
        return claimed

    for strategy in ("components", "screen"):
        result = check(fun, wrong, theta, strategy=strategy)
        assert result.wrong == ("defect[1, 1] / W[1, 2]",)
        assert "defect[1, 1] / W[1, 2]" in str(result)


def ring(n):
    def fun(t):
        return t**2 * np.roll(t, 1)

    def jac(t):
        i = np.arange(n)
        values = np.concatenate([2 * t * np.roll(t, 1), t**2])
        places = np.concatenate([i, i]), np.concatenate([i, (i - 1) % n])
        return sparse.coo_array((values, places), shape=(n, n)).tocsr()

    return fun, jac, np.random.default_rng(6).normal(size=n)


def test_a_nonzero_that_the_sparse_pattern_lacks_is_found():
    """Differences along coloured columns, as others do, take the pattern from the claim."""
    fun, jac, theta = ring(500)
    assert check(fun, jac, theta)

    def lacking(t):
        array = jac(t).tolil()
        array[33, 32] = 0.0
        return sparse.csr_array(array)

    result = check(fun, lacking, theta)
    assert result.wrong == ("F[33] / theta[32]",)


def test_duplicates_of_a_sparse_matrix_are_added_up_and_told():
    def twice(t):
        i = np.arange(3)
        return sparse.coo_array((np.ones(6), (np.tile(i, 2), np.tile(i, 2))), shape=(3, 3))

    result = check(lambda t: 2 * t, twice, np.ones(3))
    assert result
    assert any("stores 3 entries more than once" in f.message for f in result.findings)


def test_function_and_jacobian_from_one_call():
    fun, jac, theta = LARGE
    assert check(lambda t: (fun(t), jac(t)), True, theta)


@numba.njit
def compiled(t, buffer):
    for i in range(t.size):
        buffer[i] = np.sin(t[i])
    return buffer[: t.size].sum() * np.ones(2), t * t


def slopes(t, buffer):
    return np.cos(t) * np.ones((2, 1)), np.diag(2 * t)


@pytest.mark.parametrize("strategy", ["components", "screen"])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_compiled_function_gives_the_result_of_python_bit_for_bit(strategy, n_jobs):
    theta, args = np.linspace(-1.0, 1.0, 30), (np.zeros(30),)
    options = {"args": args, "strategy": strategy, "seed": 1}
    result = fgc.jaccheck(compiled, slopes, theta, n_jobs=n_jobs, **options)
    python = fgc.jaccheck(compiled, slopes, theta, engine="python", **options)
    assert result
    assert (result.engine, result.n_jobs, python.engine) == ("numba", 1, "python")
    np.testing.assert_array_equal(result.components, python.components)
    assert result.relative_difference == python.relative_difference
    # It writes to its args, so that evaluations must not overlap.
    told = next(finding for finding in result.findings if finding.kind == "scratch")
    assert "fun writes to args[0], but F does not depend on what was there" in told.message


def test_a_numerical_jacobian_of_a_compiled_function():
    fun = numba.njit(lambda t: (t[0] * t[1], np.exp(t)))
    numeric = fgc.numerical_jacobian(fun, np.array([0.5, 2.0]), n_jobs=2)
    first, second = numeric.value
    np.testing.assert_allclose(first, [2.0, 0.5], rtol=1e-9)
    np.testing.assert_allclose(second, np.diag(np.exp([0.5, 2.0])), rtol=1e-9)


def test_names_of_a_flat_theta_and_flat_outputs():
    fun, jac, theta = SMALL

    def change(array):
        array[4, 7] += 1.0

    names = {"layout": {"W": (2, 4), "b": 1}, "outputs": {"defect": (2, 2), "end": 2}}
    result = check(fun, changed(jac, change), theta, **names)
    assert result.wrong == ("end[0] / W[1, 3]",)


def test_bounds_are_never_left():
    fun, jac, theta = LARGE
    low, high = theta - 1e-9, theta + 1.0
    low[:250] = -10.0

    def guarded(t):
        assert (t >= low).all()
        assert (t <= high).all()
        return fun(t)

    result = check(guarded, jac, theta, bounds=(low, high))
    assert result.verdict is not Verdict.WRONG
    assert "at their bounds" in result.coverage


def test_scipys_hessian_of_rosenbrock():
    theta = np.random.default_rng(0).normal(size=100)
    assert check(scipy.optimize.rosen_der, scipy.optimize.rosen_hess, theta)


# Reports, storage


def test_a_result_goes_to_json_and_back_and_to_html():
    fun, jac, theta = LARGE
    result = check(fun, changed(jac, scaled_row), theta)
    again = fgc.GradcheckResult.from_json(result.to_json())
    assert str(again) == str(result)
    assert again.subject == "Jacobian"
    assert "F[5]" in result.to_html()


def test_a_checkpoint_is_continued(tmp_path):
    fun, jac, theta = LARGE
    calls = []

    def counted(t):
        calls.append(0)
        return fun(t)

    path = tmp_path / "jac.npz"
    first = check(counted, jac, theta, checkpoint=path)
    before = len(calls)
    second = check(counted, jac, theta, checkpoint=path)
    assert first
    assert second
    assert len(calls) - before < before / 4
    assert second.remembered > 40


def test_a_budget_ends_the_check():
    fun, jac, theta = LARGE
    result = check(fun, jac, theta, budget=1e-9)
    assert result.verdict is not Verdict.WRONG
    assert result.interrupted


def test_the_same_seed_gives_the_same_numbers():
    fun, jac, theta = LARGE
    one, two = (check(fun, jac, theta) for _ in range(2))
    assert np.array_equal(one.components, two.components)
    assert one.limit == two.limit


# Bad input


@pytest.mark.parametrize(
    ("fun", "jac", "message"),
    [
        (LARGE[0], lambda t: LARGE[1](t).T, r"\(300, 40\).*\(40, 300\): it is the transpose"),
        (LARGE[0], lambda t: LARGE[1](t)[:3], r"each entry needs exactly one counterpart"),
        (LARGE[0], lambda t: None, "jac returned None"),
        (LARGE[0], lambda t: LARGE[1](t) + 0j, "a Jacobian must be real"),
        (lambda t: None, LARGE[1], "fun returned None"),
        (lambda t: np.zeros(0), LARGE[1], r"F is empty \(shape \(0,\)\)"),
        (lambda t: t + 0j, LARGE[1], "F is complex, and theta is real"),
        (lambda t: np.array([{}, 1], object), LARGE[1], "an output must be numbers"),
        (lambda t: np.full(3, np.inf), LARGE[1], r"F\[0\] is inf at theta, and 2 more"),
        (lambda t: t[t > 0.1 - 1e-7 * np.arange(300)], LARGE[1], "outputs|shape"),
        (lambda t: np.random.default_rng().normal(size=40), LARGE[1], "fun is not repeatable"),
        (3.0, LARGE[1], "fun is a float"),
        (lambda t: LARGE[0](t), True, r"jac=True means that fun returns \(F, jacobian\)"),
        (LARGE[0], sparse.eye_array(300), r"\(300, 300\).*\(40, 300\)"),
    ],
)
def test_what_cannot_be_checked_is_refused(fun, jac, message):
    with pytest.raises(fgc.GradcheckInputError, match=message):
        check(fun, jac, LARGE[2])


A = np.arange(12.0).reshape(3, 4) + 1


@pytest.mark.parametrize(
    ("fun", "jac", "options", "message"),
    [
        (
            lambda t: A @ t,
            lambda t, v: A,
            {"form": "jvp"},
            r"of what fun returns: F has shape \(3, 4\), and not \(3,\). It is as large as",
        ),
        (lambda t: A @ t, lambda t, v: v, {"form": "jvp"}, "of the size of theta: is it a vjp"),
        (lambda t: A @ t, lambda t, u: u, {"form": "vjp"}, "of the size of F: is it a jvp"),
        (
            lambda t: A @ t,
            lambda t, v: A @ v + 1j,
            {"form": "jvp"},
            "product of jac .* F is complex",
        ),
        (
            lambda t: A @ t,
            lambda t, u: (u @ A) * 1j,
            {"form": "vjp"},
            "product of jac .*complex128",
        ),
        (
            lambda t: A,
            lambda t: A @ t,
            {},
            r"jac has shape \(3,\), .* fun returned an array of shape \(3, 4\): are the two exch",
        ),
        (
            lambda t: (A @ t, A),
            A,
            {},
            "fun returned two arrays, .* if that is what they are, pass True for the Jacobian",
        ),
    ],
)
def test_what_was_meant_is_said(fun, jac, options, message):
    with pytest.raises(fgc.GradcheckInputError, match=message):
        fgc.jaccheck(fun, jac, np.ones(4), **options)


def test_a_nest_with_parameters_outside_is_told():
    def fun(p):
        return {"o": A[:, :2] @ p["x"], "p": p["y"] ** 2}

    def turned(p):
        return {"x": {"o": A[:, :2], "p": None}, "y": {"o": None, "p": np.diag(2 * p["y"])}}

    with pytest.raises(
        fgc.GradcheckInputError,
        match=r"jac lacks the output o: .* Its keys are those of theta: outputs go outside",
    ):
        fgc.jaccheck(fun, turned, {"x": np.ones(2), "y": np.ones(2)})


def test_a_jacobian_that_changes_theta_or_args_is_refused():
    fun, jac, theta = LARGE

    def in_place(t):
        t += 1.0
        return jac(t)

    with pytest.raises(fgc.GradcheckInputError, match="jac modifies theta"):
        check(fun, in_place, theta)

    def data_in_place(t, x):
        x *= 2
        return jac(t)

    with pytest.raises(fgc.GradcheckInputError, match=r"jac modifies args\[0\]"):
        check(lambda t, x: fun(t), data_in_place, theta, args=(np.ones(2),))


def test_outputs_that_change_their_shape_are_told_with_both_shapes():
    theta = np.zeros(3)
    with pytest.raises(
        (fgc.GradcheckInputError, fgc.CostEvaluationError), match=r"shape \(2,\), but had \(3,\)"
    ):
        check(lambda t: t if not t.any() else t[:2], np.eye(3), theta)


def test_an_unknown_form_or_strategy_is_refused():
    fun, jac, theta = SMALL
    with pytest.raises(fgc.GradcheckInputError, match="form='dense' is not a form"):
        check(fun, jac, theta, form="dense")
    with pytest.raises(fgc.GradcheckInputError, match="is not a strategy"):
        check(fun, jac, theta, strategy="fast")


def test_an_exception_of_fun_is_told_with_its_place():
    def fun(t):
        if (t != 1).sum() > 1:
            raise ValueError("one at a time")
        return t**2

    told = r"fun raised ValueError at theta.*one at a time.* or pass bounds="
    with pytest.raises(fgc.CostEvaluationError, match=told):
        check(fun, lambda t: np.diag(2 * t), np.ones(3))


def test_entries_at_the_edge_of_the_domain_are_measured_from_inside():
    def fun(t):
        if (t > 1).any():
            raise ValueError("too large")
        return t**2

    assert check(fun, lambda t: np.diag(2 * t), np.ones(3))
    assert check(fun, lambda t: np.diag(2.01 * t), np.ones(3)).verdict is Verdict.WRONG
    numeric = fgc.numerical_jacobian(fun, np.ones(3))
    assert (np.abs(numeric.value - 2 * np.eye(3)) <= numeric.error).all()
    assert numeric.error.max() < 1e-6


def test_a_sparse_jacobian_of_many_rows_is_never_held_as_a_numeric_matrix():
    n = 20_000
    fun, jac, theta = ring(n)
    wrong = jac(theta)
    wrong.data[[5, n]] *= 1.01
    tracemalloc.start()
    result = check(fun, wrong, theta)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(result.wrong) == 2
    assert result.evaluations <= 80
    assert peak < 100 * 2**20  # of 3.2 GB


def test_pictures_and_the_self_test_of_a_jacobian():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    fun, jac, theta = LARGE
    result = check(fun, changed(jac, scaled_row), theta)
    assert result.plot("heatmap").axes
    assert len(result.plot().axes) == 5  # four pictures and a colour bar
    with pytest.raises(fgc.GradcheckInputError, match="this result is of a Jacobian"):
        result.self_test()


@pytest.mark.parametrize("form", ["matrix", "jvp", "vjp"])
def test_pictures_show_the_output_along_the_parameter_of_the_worst_entry(form):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")

    def fun(p):
        return {"end": np.array([p["x"][0] ** 2, p["x"][1] * p["y"][0]])}

    def matrix(p):
        J = np.array([[2 * p["x"][0], 0, 0], [0, p["y"][0], p["x"][1] + 1]])
        return {"end": {"x": J[:, :2], "y": J[:, 2:]}}

    def whole(p):
        return np.hstack(list(matrix(p)["end"].values()))

    products = {
        "matrix": matrix,
        "jvp": lambda p, v: whole(p) @ np.concatenate([v["x"], v["y"]]),
        "vjp": lambda p, u: u["end"] @ whole(p),
    }
    theta = {"x": np.array([1.0, 2.0]), "y": np.array([3.0])}
    result = fgc.jaccheck(fun, products[form], theta, form=form, seed=0)
    assert result.wrong == ("end[1] / y[0]",)
    (axes,) = result.plot("secant").axes
    assert axes.get_ylabel() == "end[1]"
    # x[1] y[0] is a line of slope 2, and 6 at theta.
    offsets, values = axes.get_lines()[0].get_data()
    np.testing.assert_allclose(values, 6 + 2 * offsets)
    (axes,) = result.plot("steps").axes
    assert axes.get_title() == "Error against step for end[1] / y[0]"
    back = fgc.GradcheckResult.from_json(result.to_json())
    with pytest.raises(fgc.GradcheckInputError, match="no longer holds it"):
        back.plot("secant")


# Functions with a state, and Ctrl-C


@pytest.mark.parametrize("n", [6, 2500])
def test_a_function_that_knows_the_array_again_gets_copies_and_is_left_at_theta(n: int) -> None:
    class Keeps:
        kept: Any = None

        def __call__(self, t: Any) -> Any:
            if t is not self.kept:
                self.kept, self.value = t, np.array([(t**3).sum(), (t**2).sum()])
            return self.value

    theta = np.random.default_rng(n).normal(size=n)
    fun = Keeps()
    result = fgc.jaccheck(fun, lambda t: np.stack([3 * t**2, 2 * t]), theta, seed=0)
    assert result
    assert "caches" in [finding.kind for finding in result.findings]
    np.testing.assert_array_equal(fun.kept, theta)
    wrong = fgc.jaccheck(Keeps(), lambda t: np.stack([3 * t**2, 2.1 * t]), theta, seed=0)
    assert wrong.verdict is fgc.Verdict.WRONG


@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_a_check_that_was_stopped_never_agrees(strategy: str) -> None:
    weights = np.random.default_rng(0).normal(size=(5, 60))
    theta = 0.1 * np.random.default_rng(1).normal(size=60)

    class Interrupting:
        def __init__(self, at: int) -> None:
            self.at, self.count = at, 0

        def __call__(self, t: Any) -> Any:
            self.count += 1
            if self.count == self.at:
                signal.raise_signal(signal.SIGINT)
            return np.tanh(weights @ t)

    def jac(t: Any) -> Any:
        return (1 - np.tanh(weights @ t) ** 2)[:, np.newaxis] * weights

    whole = fgc.jaccheck(Interrupting(0), jac, theta, strategy=strategy, seed=0)
    assert whole
    for at in range(9, whole.evaluations - 1, 6):
        result = fgc.jaccheck(Interrupting(at), jac, theta, strategy=strategy, seed=0)
        assert result.interrupted
        assert result.verdict is Verdict.UNDECIDED
        assert result.reason.startswith("The check was stopped before ")


def test_a_function_that_computes_in_float32_is_not_called_wrong():
    """It moves at no small step, which looks as if it were constant and without noise."""
    fun, jac, theta = tanh_layer(40, 80)
    for single in (lambda t: np.float32(fun(t)), lambda t: np.float32(fun(t)).astype(float)):
        result = check(single, jac, theta)
        assert result.verdict is not Verdict.WRONG, str(result)
        assert result.noise > 1e-10
    assert check(fun, jac, theta).noise < 1e-15


# Many points in one call

WEIGHTS = np.random.default_rng(0).normal(size=(30, 80)) / 9
THETA = {"t": np.random.default_rng(1).normal(size=80), "s": np.array(1.3)}


def many(p: dict[str, Any]) -> dict[str, Any]:
    """Of K points: every array has a first axis more."""
    z = np.einsum("ij,kj->ki", WEIGHTS, p["t"])
    return {"y": np.tanh(z) * p["s"][:, np.newaxis], "e": np.sum(p["t"] ** 2, axis=-1)}


def of_many(p: dict[str, Any], wrong: float = 0.0) -> dict[str, Any]:
    """The Jacobian at one point."""
    y = np.tanh(WEIGHTS @ p["t"])
    block = p["s"] * (1 - y**2)[:, np.newaxis] * WEIGHTS
    block[3, 5] += wrong
    return {"y": {"t": block, "s": y}, "e": {"t": 2 * p["t"], "s": np.zeros(())}}


@pytest.mark.parametrize("batch", [True, 1, 7])
def test_many_points_in_one_call(batch: Any) -> None:
    seen: list[int] = []

    def fun(p: dict[str, Any]) -> dict[str, Any]:
        seen.append(len(p["t"]))
        return many(p)

    result = fgc.jaccheck(fun, of_many, THETA, vectorized=batch, seed=0)
    assert (result.verdict.name, result.engine) == ("AGREES", "batched")
    assert max(seen) in (range(8, 65) if batch is True else [batch])
    assert sum(seen) == result.evaluations
    wrong = fgc.jaccheck(fun, lambda p: of_many(p, 0.1), THETA, vectorized=batch, seed=0)
    assert wrong.wrong == ("y[3] / t[5]",)


def test_many_points_are_measured_as_single_ones() -> None:
    def one(p: dict[str, Any]) -> dict[str, Any]:
        together = many({name: np.asarray(part)[np.newaxis] for name, part in p.items()})
        return {name: part[0] for name, part in together.items()}

    together = fgc.jaccheck(many, of_many, THETA, vectorized=True, seed=0, sample=5)
    alone = fgc.jaccheck(one, of_many, THETA, seed=0, sample=5)
    apart = abs(alone.components["numeric"] - together.components["numeric"])
    assert (apart <= alone.components["error"] + together.components["error"]).all()


def test_many_points_of_a_vjp_and_of_a_gradient() -> None:
    B = np.random.default_rng(2).normal(size=(200, 80)) / 9
    theta = THETA["t"]

    def vjp(t: Any, u: Any) -> Any:
        return (u * (1 - np.tanh(B @ t) ** 2)) @ B

    def fun(t: Any) -> Any:
        return np.tanh(t @ B.T)

    assert fgc.jaccheck(fun, vjp, theta, form="vjp", vectorized=True, seed=0)
    wrong = fgc.jaccheck(fun, lambda t, u: 1.01 * vjp(t, u), theta, form="vjp", vectorized=True)
    assert wrong.verdict.name == "WRONG"
    hessian = np.diag(12 * theta**2)
    assert fgc.hesscheck(lambda t: 4 * t**3, hessian, theta, vectorized=True, seed=0)


def test_many_points_by_vmap() -> None:
    B = torch.tensor(WEIGHTS, requires_grad=True)

    def fun(t: Any) -> Any:
        return torch.tanh(B @ t)

    theta = torch.tensor(THETA["t"])
    for many_ in (torch.func.vmap(fun), lambda t: torch.tanh(t @ B.T)):
        assert fgc.jaccheck(many_, torch.func.jacrev(fun), theta, vectorized=True, seed=0)


@pytest.mark.parametrize(
    ("fun", "options", "message"),
    [
        (lambda p: {"y": WEIGHTS @ p["t"]}, {}, "fun raised ValueError for one point with vect"),
        (
            lambda p: {"y": np.tanh(p["t"] @ WEIGHTS.T).sum(axis=0)},
            {},
            r"y has shape \(30,\) for one point, with vectorized=. Every array of theta has a",
        ),
        (
            lambda p: {"y": np.tanh(p["t"][:1] @ WEIGHTS.T)},
            {},
            r"y has shape \(1, 30\) for 8 points in one call, but must have \(8, 30\)",
        ),
        (
            lambda p: {"y": p["t"] - p["t"].mean(axis=0)},
            {},
            r"fun mixes its rows: y\[0\] of point 7 of 8 is .* in one call with the others, but 0",
        ),
        (many, {"n_jobs": 2}, "n_jobs=2 and vectorized= are two ways"),
        (many, {"jac": True}, r"a function that returns \(F, jac\) would have to return both"),
    ],
)
def test_refusals_of_many_points(fun: Any, options: dict[str, Any], message: str) -> None:
    jac = options.pop("jac", of_many)
    with pytest.raises(fgc.GradcheckInputError, match=message):
        fgc.jaccheck(fun, jac, THETA, vectorized=True, seed=0, **options)


# 16 bits


def of_low_precision(m: int, n: int, seed: int, dtype: Any) -> tuple[Any, Any, Any]:
    """tanh(A t), its Jacobian with every product and sum rounded to a dtype, and t."""
    rng = np.random.default_rng(seed)
    A, theta = rng.normal(size=(m, n)) / np.sqrt(n), rng.normal(size=n)
    low = A.astype(dtype)

    def jac(t: Any) -> Any:
        z = (low.astype(np.float32) @ t.astype(dtype).astype(np.float32)).astype(dtype)
        y = np.tanh(z.astype(np.float32)).astype(dtype)
        return ((np.array(1, dtype) - y * y)[:, np.newaxis] * low).astype(dtype)

    return lambda t: np.tanh(A @ t), jac, theta


def spoiled(jac: Any, change: str) -> Any:
    def wrong(t: Any) -> Any:
        found = jac(t)
        match change:
            case "sign":
                found = -found
            case "row":
                found[1] = found[1] * np.array(0.5, found.dtype)
            case "factor":
                found = (found * np.array(1.5, found.dtype)).astype(found.dtype)
        return found

    return wrong


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(5, 6), (40, 30), (30, 200)])
def test_a_jacobian_of_16_bits(shape: tuple[int, int], dtype: Any) -> None:
    for seed in range(2):
        fun, jac, theta = of_low_precision(*shape, seed, dtype)
        result = check(fun, jac, theta, seed=seed)
        assert result, str(result)
        (finding,) = [f for f in result.findings if f.kind == "low precision"]
        eps = float(ml_dtypes.finfo(dtype).eps)
        message = f"The Jacobian came in a dtype with eps = {eps:.2g}: it is expected to be off by"
        assert finding.message.startswith(message)
        assert "of its row's typical entry. A Jacobian of the same dtype" in finding.message
        trusted = check(fun, jac, theta, yardstick=jac, seed=seed)
        assert trusted, str(trusted)
        assert [f.kind for f in trusted.findings if f.kind in ("yardstick", "low precision")] == [
            "yardstick"
        ]
        row = check(fun, spoiled(jac, "row"), theta, seed=seed, yardstick=(None, jac)[seed])
        assert row.verdict is Verdict.WRONG
        assert all(name.startswith("F[1] /") for name in row.wrong)
    for change in ("sign", "factor"):
        wrong = check(fun, spoiled(jac, change), theta, sample=3, strategy="components")
        assert wrong.verdict is Verdict.WRONG


def test_products_of_16_bits() -> None:
    fun, jac, theta = of_low_precision(30, 80, 0, ml_dtypes.bfloat16)

    def jvp(t: Any, v: Any) -> Any:
        return (jac(t).astype(np.float32) @ v).astype(ml_dtypes.bfloat16)

    def vjp(t: Any, u: Any) -> Any:
        return torch.from_numpy(u @ jac(t).astype(np.float32)).bfloat16()

    for form, product in (("jvp", jvp), ("vjp", vjp)):
        assert check(fun, product, theta, form=form)
        assert check(fun, product, theta, form=form, yardstick=product)
        wrong = check(fun, lambda t, v, p=product: -p(t, v), theta, form=form, yardstick=product)
        assert wrong.verdict is Verdict.WRONG


def test_a_yardstick_is_for_16_bits() -> None:
    fun, jac, theta = SMALL
    with pytest.raises(fgc.GradcheckInputError, match="yardstick= is for Jacobians of 16 bits"):
        check(fun, jac, theta, yardstick=jac)


@pytest.mark.parametrize("strategy", ["screen", "components"])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_of_a_function_that_does_not_depend_on_theta_nothing_was_checked(
    value: float, strategy: Any
) -> None:
    theta = np.linspace(-1, 1, 30)
    fun, zeros = lambda t: np.full(4, value), np.zeros((4, 30))
    result = fgc.jaccheck(fun, zeros, theta, strategy=strategy, seed=1)
    assert result.verdict is Verdict.UNDECIDED
    assert result.reason == "F does not depend on theta: nothing was checked."
    assert str(result).startswith("UNDECIDED  F does not depend on theta: nothing was checked.")
    (told,) = [f.message for f in result.findings if f.kind == "constant"]
    assert told.startswith("F is the same wherever theta is moved, close to it or far away: fun do")
    assert "noise" not in " ".join(block.reason for block in result.blocks)
    assert fgc.jaccheck(fun, zeros + 1, theta, strategy=strategy).verdict is Verdict.WRONG


def test_a_function_that_moves_far_away_only_depends_on_theta() -> None:
    def steps(t: Any) -> Any:
        return np.floor(t[:2] / 10)

    theta = np.full(2, 5.0)
    result = fgc.jaccheck(steps, np.zeros((2, 2)), theta, strategy="components", seed=1)
    assert result.verdict is Verdict.AGREES
    assert not [f for f in result.findings if f.kind == "constant"]


def test_the_constant_gradient_of_a_linear_cost_agrees() -> None:
    theta = np.linspace(-1, 1, 10)
    result = fgc.hesscheck(lambda t: np.ones(10), np.zeros((10, 10)), theta, seed=1)
    assert result.verdict is Verdict.AGREES
    assert not [f for f in result.findings if f.kind == "constant"]


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_an_output_that_is_constant_among_others_agrees(value: float) -> None:
    theta = np.linspace(0.1, 1, 30)

    def fun(t: Any) -> Any:
        return np.append(np.sin(t), value)

    jac = np.vstack([np.diag(np.cos(theta)), np.zeros(30)])
    result = fgc.jaccheck(fun, jac, theta, strategy="screen", seed=1)
    assert result, str(result)
    wrong = jac.copy()
    wrong[30, 3] = 1e-3
    assert fgc.jaccheck(fun, wrong, theta, strategy="screen", seed=1).verdict is Verdict.WRONG


@pytest.mark.parametrize("close", [1e-5, 1e-7, 1e-9, 1e-12])
@pytest.mark.parametrize(
    ("strategy", "bounds"), [("components", None), ("components", (0, None)), ("screen", (0, None))]
)
def test_an_entry_much_smaller_than_the_others_is_measured_at_steps_of_its_own_size(
    strategy: Any, bounds: Any, close: float
) -> None:
    """The logarithm near zero: 1 / theta at steps of the others' size is anything."""
    theta = np.abs(np.random.default_rng(0).normal(size=30)) + 0.1
    theta[4] = close
    jac = np.diag(1 / theta)
    result = fgc.jaccheck(np.log, jac, theta, strategy=strategy, bounds=bounds, seed=1)
    assert result, str(result)
    jac[4, 4] *= 1.001
    result = fgc.jaccheck(np.log, jac, theta, strategy=strategy, bounds=bounds, seed=1)
    assert result.wrong == ("F[4] / theta[4]",)


def logarithm(t: Any) -> Any:
    if (t <= 0).any():
        raise ValueError("math domain error")
    return np.log(t)


@pytest.mark.parametrize("close", [1e-3, 1e-5, 1e-7, 1e-9, 1e-12])
@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_a_function_that_raises_beyond_the_edge_is_measured_inside(
    strategy: Any, close: float
) -> None:
    for n in (5, 100):
        theta = np.abs(np.random.default_rng(0).normal(size=n)) + 0.1
        theta[4] = close
        jac = np.diag(1 / theta)
        result = fgc.jaccheck(logarithm, jac, theta, strategy=strategy, seed=1)
        assert result, str(result)
        jac[4, 4] *= 1.01
        result = fgc.jaccheck(logarithm, jac, theta, strategy=strategy, seed=1)
        assert result.wrong == ("F[4] / theta[4]",)


def test_an_entry_at_the_edge_is_named() -> None:
    theta = np.linspace(0.1, 1, 30)
    theta[4] = 1e-9
    jac = np.diag(1 / theta)
    result = fgc.jaccheck(logarithm, jac, theta, strategy="components", seed=1)
    (told,) = [f.message for f in result.findings if f.kind == "edge"]
    assert told.startswith("Theta is at the edge of F's domain: F is not defined below theta[4], ")


def test_an_entry_without_a_neighbourhood_is_refused_by_name() -> None:
    def fun(t: Any) -> Any:
        if t[2] != 0.5:
            raise ValueError("only a half")
        return t**2

    told = r"fun raised ValueError on both sides of theta\[2\] = 0.5, .*: only a half\. There is no"
    with pytest.raises(fgc.CostEvaluationError, match=told):
        fgc.jaccheck(fun, np.eye(4), np.full(4, 0.5), seed=1)
