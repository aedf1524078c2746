"""A jvp beside a vjp: what agrees, what does not, and what rounding may do."""

from __future__ import annotations

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.jacobians import products


def test_a_pair_is_exact_to_rounding():
    fun, jvp, vjp, theta = products(50, 70)
    result = fgc.paircheck(jvp, vjp, theta, fun(theta), seed=1)
    assert result
    assert result.limit < 1e-12
    assert "pair" not in [finding.kind for finding in result.findings]


def test_a_tiny_difference_of_a_pair_is_seen():
    fun, jvp, vjp, theta = products(50, 70)
    result = fgc.paircheck(jvp, lambda t, u: (1 + 1e-6) * vjp(t, u), theta, fun(theta), seed=1)
    assert result.verdict is Verdict.WRONG
    assert result.wrong == ("F / theta",)
    assert 'form="jvp"' in str(result)


def test_a_pair_that_is_not_linear():
    fun, jvp, vjp, theta = products(5, 7)
    result = fgc.paircheck(lambda t, v: np.abs(jvp(t, v)), vjp, theta, fun(theta), seed=1)
    assert result.verdict is Verdict.WRONG
    assert "jvp(theta, v) is not linear in v" in str(result).replace("\n          ", " ")


def test_a_difference_that_rounding_may_make_is_not_agreement():
    rng = np.random.default_rng(0)
    A, theta = rng.normal(size=(6, 6)).astype(np.float32), np.ones(6, np.float32)

    def pair(factor):
        return fgc.paircheck(
            lambda t, v: A @ v,
            lambda t, u: np.float32(factor) * (A.T @ u.astype(np.float32)),
            theta,
            np.ones(6, np.float32),
            seed=0,
        )

    assert pair(1.0)
    result = pair(1.00001)
    assert result.verdict is Verdict.UNDECIDED
    assert "more than the threshold, and rounding may do that" in result.blocks[0].reason
    assert pair(1.001).verdict is Verdict.WRONG


@pytest.mark.parametrize("m", [10, 1000])
def test_float32_tells_what_is_off_by_more_than_its_rounding(m):
    rng = np.random.default_rng(0)
    A = rng.normal(size=(m, 30)).astype(np.float32)

    def pair(factor):
        return fgc.paircheck(
            lambda t, v: A @ v,
            lambda t, u: np.float32(factor) * (A.T @ u.astype(np.float32)),
            np.ones(30, np.float32),
            np.ones(m, np.float32),
            seed=0,
        ).verdict

    # Sixty-four roundings are 4e-6 of a term, and up to four terms' sizes make one product.
    assert pair(1.0) is Verdict.AGREES
    assert pair(1 + 3e-5) is Verdict.WRONG


@pytest.mark.parametrize("layers", [1, 20])
def test_right_pairs_in_float32_are_never_wrong(layers):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        Ws = rng.normal(size=(layers, 40, 40)).astype(np.float32) / np.float32(np.sqrt(40))
        h, slopes = rng.normal(size=40).astype(np.float32), []
        for W in Ws:
            h = np.tanh(W @ h)
            slopes.append(1 - h * h)

        def jvp(t, v, Ws=Ws, slopes=slopes):
            for W, d in zip(Ws, slopes, strict=True):
                v = d * (W @ v)
            return v

        def vjp(t, u, Ws=Ws, slopes=slopes):
            u = u.astype(np.float32)
            for W, d in list(zip(Ws, slopes, strict=True))[::-1]:
                u = W.T @ (d * u)
            return u

        theta = np.ones(40, np.float32)
        result = fgc.paircheck(jvp, vjp, theta, theta, seed=seed)
        assert result.verdict is not Verdict.WRONG
        assert result.limit < 1e-4


def test_products_that_are_zero_are_told():
    A = np.random.default_rng(0).normal(size=(4, 3))
    theta = {"used": np.ones(3), "unused": np.ones(2)}

    def jvp(t, v):
        return A @ v["used"]

    def vjp(t, u):
        return {"used": A.T @ u, "unused": np.zeros(2)}

    result = fgc.paircheck(jvp, vjp, theta, np.ones(4), seed=1)
    assert result
    (told,) = [f.message for f in result.findings if f.kind == "zero-block"]
    assert told.startswith("Both products are zero in F / unused: there they agree whatever J is.")

    nothing = fgc.paircheck(
        lambda t, v: np.zeros(4),
        lambda t, u: {"used": np.zeros(3), "unused": np.zeros(2)},
        theta, np.ones(4), seed=1,
    )  # fmt: skip
    assert nothing.verdict is Verdict.UNDECIDED
    assert nothing.reason.startswith("Both products are zero, whatever the vector")


@pytest.mark.parametrize("m", [20, 200])
@pytest.mark.parametrize("wrong", ["jvp", "vjp"])
def test_jaccheck_tells_which_of_a_pair_is_wrong(m, wrong):
    fun, jvp, vjp, theta = products(m, 90)

    def wrong_jvp(t, v):
        out = jvp(t, v)
        out[3] *= 1.001
        return out

    def wrong_vjp(t, u):
        out = vjp(t, u)
        out[5] *= 1.001
        return out

    pair = {"jvp": jvp, "vjp": vjp, wrong: wrong_jvp if wrong == "jvp" else wrong_vjp}
    assert fgc.paircheck(pair["jvp"], pair["vjp"], theta, fun(theta), seed=1).wrong
    for form, product in pair.items():
        result = fgc.jaccheck(fun, product, theta, form=form, seed=1)
        assert result.verdict is (Verdict.WRONG if form == wrong else Verdict.AGREES), form


def test_a_pair_that_agrees_may_still_be_of_another_function():
    fun, jvp, vjp, theta = products(5, 7)
    report = fgc.paircheck(jvp, vjp, theta, fun(theta), seed=1).report()
    assert "check one of them by jaccheck" in " ".join(report.split())
    assert "strategy=" not in report


def test_products_that_are_not_finite_are_named_as_such():
    fun, jvp, vjp, theta = products(5, 7)
    result = fgc.paircheck(jvp, lambda t, u: np.nan * vjp(t, u), theta, fun(theta), seed=1)
    assert result.verdict is Verdict.WRONG
    assert result.findings[0].message.startswith("vjp(theta, u) returns values that are not finite")


def test_a_pair_of_wrong_shapes_is_refused():
    fun, jvp, vjp, theta = products(5, 7)
    with pytest.raises(fgc.GradcheckInputError, match="a product of jvp must have the structure"):
        fgc.paircheck(lambda t, v: jvp(t, v)[:3], vjp, theta, fun(theta))
    with pytest.raises(fgc.GradcheckInputError, match="a product of vjp must be like theta"):
        fgc.paircheck(jvp, lambda t, u: vjp(t, u)[:3], theta, fun(theta))
    with pytest.raises(fgc.GradcheckInputError, match=r"like: F has shape \(5,\), and not"):
        fgc.paircheck(jvp, vjp, theta, theta)
    with pytest.raises(fgc.GradcheckInputError, match="like is a function: pass what it returns"):
        fgc.paircheck(jvp, vjp, theta, fun)
    with pytest.raises(fgc.GradcheckInputError, match="vjp is a float"):
        fgc.paircheck(jvp, 3.0, theta, fun(theta))


def exchanged(form):
    """Products that take the other's vector, by A of shape (4, 6)."""
    A = np.random.default_rng(0).normal(size=(4, 6))
    return A, {"jvp": lambda t, v: A.T @ v, "vjp": lambda t, u: A @ u}[form]


def test_an_exchanged_pair_is_named_as_such():
    _, jvp = exchanged("jvp")
    A, vjp = exchanged("vjp")
    told = (
        r"jvp raised ValueError: matmul: .* It takes no vector like theta, and one like F: is it a "
        r"vjp\? The order is paircheck\(jvp, vjp, theta, like\)\."
    )
    with pytest.raises(fgc.GradcheckInputError, match=told):
        fgc.paircheck(jvp, vjp, np.ones(6), np.ones(4))
    told = "vjp raised ValueError: .* no vector like F, and one like theta: is it a jvp"
    with pytest.raises(fgc.GradcheckInputError, match=told):
        fgc.paircheck(lambda t, v: A @ v, vjp, np.ones(6), np.ones(4))


@pytest.mark.parametrize(("form", "other"), [("jvp", "vjp"), ("vjp", "jvp")])
def test_a_product_of_the_other_form_is_named_as_such(form, other):
    A, product = exchanged(form)
    with pytest.raises(fgc.GradcheckInputError, match=f"jac raised ValueError: .* is it a {other}"):
        fgc.jaccheck(lambda t: A @ t, product, np.ones(6), form=form)


def test_an_exception_of_a_product_is_the_users_own():
    def fails(t, v):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fgc.paircheck(fails, fails, np.ones(6), np.ones(4))


def test_a_pair_has_no_pictures_and_says_why():
    pytest.importorskip("matplotlib")
    fun, jvp, vjp, theta = products(5, 7)
    result = fgc.paircheck(jvp, vjp, theta, fun(theta))
    with pytest.raises(fgc.GradcheckInputError, match="without differences: there is nothing to"):
        result.plot()
