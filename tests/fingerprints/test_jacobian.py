"""Many Jacobians beside one set of values of F.

Jacobians are in closed form; nothing here is compared with differences of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sparse

import fastgradcheck as fgc
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.jacobians import changed, products, tanh_layer, two_outputs

FUN, JAC, THETA = tanh_layer(40, 300)
FP = fgc.jacobian_fingerprint(FUN, THETA, seed=3)


class Counted:
    """A function that counts its evaluations."""

    def __init__(self, fun: Any) -> None:
        self.fun, self.calls = fun, 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self.fun(*args)


# Right ones


@pytest.mark.parametrize("seed", range(3))
def test_right_jacobians_agree_without_an_evaluation(seed: int) -> None:
    fun, jac, theta = tanh_layer(100, 400, seed)
    counted = Counted(fun)
    fp = fgc.jacobian_fingerprint(counted, theta, seed=seed)
    assert fp.evaluations == counted.calls
    before = counted.calls
    result = fp.check(jac)
    assert result, str(result)
    assert (result.evaluations, counted.calls) == (0, before)
    assert result.limit < 1e-7
    (told,) = [f for f in result.findings if f.kind == "fingerprint"]
    assert told.message.startswith("F was not evaluated: the Jacobian was compared with the slopes")
    report = " ".join(str(result).split())
    assert 'To measure every component by itself: jaccheck with strategy="components"' in report


@pytest.mark.parametrize("m", [30, 300])  # beyond 64 outputs, a vjp is asked for combinations
def test_matrices_and_products_are_judged_by_the_same_values(m: int) -> None:
    fun, jvp, vjp, theta = products(m, 200)
    fp = fgc.jacobian_fingerprint(fun, theta, seed=1)
    jac = tanh_layer(m, 200)[1]
    assert fp.check(jac)
    assert fp.check(sparse.csr_array(jac(theta)))
    assert fp.check(jvp, form="jvp")
    assert fp.check(vjp, form="vjp")
    for wrong in (
        fp.check(lambda t: 2 * jac(t)),
        fp.check(sparse.csr_array(2 * jac(theta))),
        fp.check(lambda t, v: 2 * jvp(t, v), form="jvp"),
        fp.check(lambda t, u: 2 * vjp(t, u), form="vjp"),
    ):
        assert (wrong.verdict, wrong.wrong) == (Verdict.WRONG, ("F / theta",))
        assert "F / theta is 2 times what the slopes" in wrong.findings[0].message


@pytest.mark.parametrize("seed", range(4))
def test_kinked_constant_and_tiny_rows_agree_as_they_do_in_a_check(seed: int) -> None:
    rng = np.random.default_rng(seed)
    W, theta, s = rng.normal(size=(60, 300)), rng.normal(size=300), 10.0 ** rng.integers(-6, 7, 65)

    def fun(t: Any) -> Any:
        return s * np.concatenate([np.maximum(W @ t, 0), W[:3] @ t, [1.0, 2.0]])

    def jac(t: Any) -> Any:
        return s[:, None] * np.vstack([(W @ t > 0)[:, None] * W, W[:3], np.zeros((2, 300))])

    result = fgc.jacobian_fingerprint(fun, theta, seed=seed).check(jac)
    assert result, str(result)


def test_float32_is_recorded_in_float64() -> None:
    fp = fgc.jacobian_fingerprint(FUN, THETA.astype(np.float32), seed=1)
    assert fp.dtype == "float64"
    assert fp.check(JAC)


@pytest.mark.parametrize("count", [4, 8, 16])
def test_more_directions_are_sharper(count: int) -> None:
    fp = fgc.jacobian_fingerprint(FUN, THETA, directions=count, seed=3)
    limit = fp.check(JAC).limit
    assert limit < {4: 1e-7, 8: 3e-8, 16: 2e-8}[count]


@pytest.mark.parametrize("m", [5, 40])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_jacobians_of_16_bits_have_the_tolerances_of_a_check(m: int, dtype: Any) -> None:
    """tanh(A t), every product of its Jacobian rounded to a dtype."""
    rng = np.random.default_rng(m)
    A, theta = rng.normal(size=(m, 30)) / np.sqrt(30), rng.normal(size=30)
    y = np.tanh((A.astype(dtype) @ theta.astype(dtype)).astype(dtype)).astype(dtype)
    jac = ((np.array(1, dtype) - y * y)[:, np.newaxis] * A.astype(dtype)).astype(dtype)

    def fun(t: Any) -> Any:
        return np.tanh(A @ t)

    fp = fgc.jacobian_fingerprint(fun, theta, seed=1)
    result, checked = fp.check(jac), fgc.jaccheck(fun, jac, theta, strategy="screen", seed=1)
    assert result, str(result)
    assert checked, str(checked)
    assert (result.threshold, result.rtol) == (checked.threshold, checked.rtol)
    mine, theirs = [
        [f.message for f in r.findings if f.kind == "low precision"] for r in (result, checked)
    ]
    assert mine == theirs != []
    for wrong in (-jac, (1.5 * jac.astype(float)).astype(dtype)):
        assert fp.check(wrong).verdict is Verdict.WRONG


# Wrong ones: what a check by directions catches


def entry(array: Any) -> None:
    array[7, 33] += 1e-3 * np.median(np.abs(array))


def row(array: Any) -> None:
    array[5] *= 1.5


def column(array: Any) -> None:
    array[:, 7] *= 1.5


def sign(array: Any) -> None:
    array *= -1


def nothing(array: Any) -> None:
    array[9, 250] = 0.0


def not_a_number(array: Any) -> None:
    array[3, 4] = np.nan


def swapped(array: Any) -> None:
    array[[3, 8]] = array[[8, 3]]


FAULTS = {
    "entry": (entry, ("F[7] / theta[33]",), "only F[7] / theta[33] is wrong"),
    "row": (row, ("F[5] / theta",), "F[5] by 1.5, along all directions"),
    "column": (column, ("F / theta[7]",), "every entry is 1.5 times the numeric one"),
    "sign": (sign, ("F / theta",), "F / theta is -1 times what the slopes"),
    "missing": (nothing, ("F[9] / theta[250]",), "exactly zero where fun does change"),
    "NaN": (not_a_number, ("F[3] / theta[4]",), "not a number at F[3] / theta[4]"),
    "swapped": (swapped, ("F[3] / theta", "F[8] / theta"), "that of F[8] belongs in the place of"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_a_check_finds_is_found_without_an_evaluation(name: str) -> None:
    change, named, told = FAULTS[name]
    wrong = changed(JAC, change)
    result = FP.check(wrong)
    assert result.verdict is Verdict.WRONG
    assert set(result.wrong) == set(named)
    assert told in result.findings[0].message
    assert result.evaluations == 0
    assert [b.verdict for b in result.blocks] == [Verdict.WRONG]
    assert set(fgc.jaccheck(FUN, wrong, THETA, seed=3, strategy="screen").wrong) == set(named)


def test_single_entries_of_many_rows_are_decoded_and_said_not_to_be_confirmed() -> None:
    rng = np.random.default_rng(4)
    rows, columns = rng.choice(40, 20, replace=False), rng.choice(300, 20)

    def change(array: Any) -> None:
        array[rows, columns] += 1e-3 * np.median(np.abs(array))

    counted = Counted(FUN)
    named = {f"F[{i}] / theta[{j}]" for i, j in zip(rows, columns, strict=True)}
    result = FP.check(changed(JAC, change))
    assert set(result.wrong) == named
    (told,) = [f for f in result.findings if f.kind == "decoded"]
    assert "not confirmed by an evaluation. Pass fun= to have them confirmed." in told.message
    confirmed = FP.check(changed(JAC, change), fun=counted)
    assert set(confirmed.wrong) == named
    assert confirmed.evaluations == counted.calls < 60
    assert not [f for f in confirmed.findings if f.kind == "decoded"]


def test_rows_of_several_wrong_entries_are_named_and_located_by_evaluations() -> None:
    def change(array: Any) -> None:
        array[7, [3, 50, 99]] *= 1.1

    result = FP.check(changed(JAC, change))
    assert (result.verdict, result.wrong) == (Verdict.WRONG, ("F[7]",))
    assert "the rows of F[7], and neither a single entry nor" in result.findings[0].message
    located = FP.check(changed(JAC, change), fun=FUN)
    assert set(located.wrong) == {f"F[7] / theta[{j}]" for j in (3, 50, 99)}


def test_factors_of_every_row_are_told() -> None:
    factors = np.random.default_rng(3).uniform(1.5, 3.0, size=(40, 1))
    result = FP.check(lambda t: factors * JAC(t))
    assert result.wrong == ("F / theta",)
    assert (
        f"off by a factor of their own: F[0] by {factors[0, 0]:.6g}" in result.findings[0].message
    )


def test_errors_at_random_are_given_no_cause() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        noise = 1 + 0.1 * rng.standard_normal((3, 300))

        def change(array: Any, noise: Any = noise) -> None:
            array[10:13] *= noise

        result = FP.check(changed(JAC, change))
        assert result.verdict is Verdict.WRONG
        assert set(result.wrong) == {"F[10]", "F[11]", "F[12]"}


def test_an_entry_behind_combinations_of_many_outputs_is_named() -> None:
    fun, jac, theta = tanh_layer(300, 200)
    fp = fgc.jacobian_fingerprint(fun, theta, seed=1)

    def change(array: Any) -> None:
        array[17, 33] *= 1.01

    def vjp(t: Any, u: Any) -> Any:
        return changed(jac, change)(t).T @ u

    assert fp.check(vjp, form="vjp").wrong == ("F[17] / theta[33]",)
    assert fp.check(vjp, form="vjp", fun=fun).wrong == ("F[17] / theta[33]",)


def test_blocks_have_addresses_of_both() -> None:
    fun, jac, theta = two_outputs()
    fp = fgc.jacobian_fingerprint(fun, theta, seed=1)
    assert fp.check(jac)

    def wrong(p: Any) -> Any:
        claimed = jac(p)
        claimed["defect"]["W"][1, 1, 1, 2] += 0.01
        return claimed

    def doubled(p: Any) -> Any:
        claimed = jac(p)
        claimed["defect"]["b"] = 2 * claimed["defect"]["b"]
        return claimed

    assert fp.check(wrong).wrong == ("defect[1, 1] / W[1, 2]",)
    result = fp.check(doubled)
    assert result.wrong == ("defect / b",)
    assert "defect / b is 2 times what the slopes" in result.findings[0].message


def test_flat_outputs_keep_their_names() -> None:
    names = {"layout": {"W": (10, 29), "b": 10}, "outputs": {"defect": (19, 2), "end": 2}}
    fp = fgc.jacobian_fingerprint(FUN, THETA, seed=1, **names)
    wrong = changed(JAC, entry)
    for result in (fp.check(wrong), fp.check(wrong, fun=FUN)):
        assert result.wrong == ("defect[3, 1] / W[1, 4]",)


# Hessians


def test_hessians_are_judged_by_values_of_the_gradient() -> None:
    theta = np.random.default_rng(0).normal(size=100)
    grad, hess = scipy.optimize.rosen_der, scipy.optimize.rosen_hess
    fp = fgc.hessian_fingerprint(grad, theta, seed=2)
    assert fp.check(hess)
    assert fp.check(scipy.optimize.rosen_hess_prod, form="hvp")

    def change(array: Any) -> None:
        array[3, 4] *= 1.1

    result = fp.check(changed(hess, change))
    assert result.wrong == ("theta[3] / theta[4]",)
    assert "asymmetric" in {f.kind for f in result.findings}
    assert fp.check(changed(hess, change), fun=grad).wrong == result.wrong
    with pytest.raises(fgc.GradcheckInputError, match="form='jvp' is not a form; use one of 'mat"):
        fp.check(hess, form="jvp")


# Several


def test_several_jacobians_are_compared_by_one_set_of_values() -> None:
    fun, jvp, vjp, theta = products(30, 200)
    counted = Counted(fun)
    form = {"jvp": "jvp", "vjp": "vjp", "wrong": "jvp"}
    claims = {"jvp": jvp, "vjp": vjp, "wrong": lambda t, v: -jvp(t, v)}
    results = fgc.compare_jacobians(counted, claims, theta, form=form, seed=0)
    assert [bool(result) for result in results.values()] == [True, True, False]
    assert all(results[name].evaluations < 10 for name in ("jvp", "vjp"))
    assert str(results).startswith("Jacobian  verdict")
    with pytest.raises(fgc.GradcheckInputError, match="the Jacobian 'vjp': form='hvp' is not"):
        fgc.compare_jacobians(fun, {"vjp": vjp}, theta, form="hvp")
    with pytest.raises(fgc.GradcheckTypeError, match="the Hessians must be a non-empty dict of"):
        fgc.compare_hessians(fun, [vjp], theta)


# Files


def test_a_file_gives_the_same_result(tmp_path: Any) -> None:
    rng = np.random.default_rng(0)
    W, theta = rng.normal(size=(60, 300)), rng.normal(size=300)
    fp = fgc.jacobian_fingerprint(lambda t: np.maximum(W @ t, 0), theta, seed=0)
    assert fp.recording.retried, "kinks make some rows take other steps"
    fp.save(tmp_path / "rows.fgc")
    assert (tmp_path / "rows.fgc").stat().st_size < 2 * 8 * 32 * 60 + 5_000
    again = fgc.load_fingerprint(tmp_path / "rows.fgc")
    assert repr(again) == repr(fp)
    claim = (W @ theta > 0)[:, None] * W
    one, other = fp.check(claim), again.check(claim, theta=theta)
    assert one.limit == other.limit
    assert np.array_equal(one.components, other.components)
    with pytest.raises(fgc.GradcheckInputError, match=r"pass it, fp.check\(jac, theta=theta, args"):
        again.check(claim)
    with pytest.raises(fgc.FingerprintError, match="Not the same: the values of theta"):
        again.check(claim, theta=theta + 1e-9)


class Pair(NamedTuple):
    defect: Any
    end: Any


@dataclass
class Marks:
    defect: Any
    end: Any


CONTAINERS = {
    "dict": lambda a, b: {"defect": a, "end": b},
    "list": lambda a, b: [a, b],
    "nest": lambda a, b: ({"defect": a}, [b]),
    "named": Pair,
    "dataclass": Marks,
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_nests_of_outputs_go_to_a_file_and_back(kind: str, tmp_path: Any) -> None:
    build = CONTAINERS[kind]
    rng = np.random.default_rng(1)
    A, B, theta = rng.normal(size=(3, 9)), rng.normal(size=(2, 9)), rng.normal(size=9)

    def parts(u: Any) -> tuple[Any, Any]:
        if isinstance(u, dict):
            return u["defect"], u["end"]
        if kind == "nest":
            return u[0]["defect"], u[1][0]
        return (u.defect, u.end) if kind in ("named", "dataclass") else (u[0], u[1])

    def vjp(t: Any, u: Any) -> Any:
        a, b = parts(u)
        return A.T @ np.ravel(a) + B.T @ b

    def fun(t: Any) -> Any:
        return build((A @ t).reshape(3, 1), B @ t)

    fp = fgc.jacobian_fingerprint(fun, theta, seed=0)
    fp.save(tmp_path / "nest.fgc")
    again = fgc.load_fingerprint(tmp_path / "nest.fgc")
    assert [b.name for b in again.outputs.blocks] == [b.name for b in fp.outputs.blocks]
    assert fp.check(vjp, form="vjp")
    assert again.check(lambda t, v: build((A @ v).reshape(3, 1), B @ v), form="jvp", theta=theta)
    if kind in ("named", "dataclass"):
        with pytest.raises(fgc.GradcheckInputError, match="does not hold the class of what fun"):
            again.check(vjp, form="vjp", theta=theta)
        assert again.check(vjp, form="vjp", theta=theta, fun=fun)
    else:
        assert again.check(vjp, form="vjp", theta=theta)


def test_a_gradient_in_another_order_than_theta_goes_to_a_file(tmp_path: Any) -> None:
    theta = {"a": np.linspace(1, 2, 3), "b": np.linspace(2, 3, 4)}

    def grad(p: Any) -> Any:
        return {"b": p["b"] ** 3, "a": p["a"] ** 2}

    def hvp(p: Any, v: Any) -> Any:
        return {"b": 3 * p["b"] ** 2 * v["b"], "a": 2 * p["a"] * v["a"]}

    fp = fgc.hessian_fingerprint(grad, theta, seed=0)
    fp.save(tmp_path / "h.fgc")
    again = fgc.load_fingerprint(tmp_path / "h.fgc")
    assert fp.check(hvp, form="hvp")
    assert again.check(hvp, form="hvp", theta=theta)
    assert not again.check(lambda p, v: grad(v), form="hvp", theta=theta)


def test_damage_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "rows.fgc"
    FP.save(path)
    content = path.read_bytes()
    for place in range(0, len(content), 997):
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        try:
            again = fgc.load_fingerprint(path)
        except fgc.FingerprintError:
            continue
        assert np.array_equal(again.recording.changes, FP.recording.changes)


# Refusals


def test_bad_arguments_are_told() -> None:
    with pytest.raises(fgc.GradcheckInputError, match="directions=5: use one of 4, 8, 16"):
        fgc.jacobian_fingerprint(FUN, THETA, directions=5)
    with pytest.raises(fgc.GradcheckTypeError, match="jac=True means that fun returns both, and"):
        FP.check(True)
    with pytest.raises(fgc.GradcheckInputError, match="form='hvp' is not a form; use one of 'mat"):
        FP.check(JAC, form="hvp")
    with pytest.raises(fgc.GradcheckTypeError, match="jac is None: pass the function that compute"):
        FP.check(None)
    with pytest.raises(fgc.GradcheckInputError, match=r"\(300, 40\), but .* it is the transpose"):
        FP.check(JAC(THETA).T)
    with pytest.raises(fgc.GradcheckInputError, match=r"fun\(theta\) is not what it was when"):
        FP.check(JAC, fun=lambda t: FUN(t) + 1)
    with pytest.raises(fgc.GradcheckTypeError, match="recording is a int: use jacobian_finger"):
        fgc.jaccheck(FUN, JAC, THETA, recording=3)
    with pytest.raises(fgc.GradcheckTypeError, match=r"jac\(t\) does not fit the call"):
        FP.check(JAC, form="jvp")
