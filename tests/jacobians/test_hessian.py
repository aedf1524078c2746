"""Hessians and products: right ones agree, and what is wrong with a wrong one is told apart."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sparse

import fastgradcheck as fgc
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.jacobians import products, tanh_layer, two_outputs

RNG = np.random.default_rng(0)
POINT = RNG.normal(size=100)
GRAD, HESS = scipy.optimize.rosen_der, scipy.optimize.rosen_hess
HESSP = scipy.optimize.rosen_hess_prod


def kinds(result):
    return [finding.kind for finding in result.findings]


# Products of Jacobians


@pytest.mark.parametrize("size", [(6, 9), (100, 300)])
@pytest.mark.parametrize("form", ["jvp", "vjp"])
def test_right_products_agree(size, form):
    fun, jvp, vjp, theta = products(*size)
    product = jvp if form == "jvp" else vjp
    result = fgc.jaccheck(fun, product, theta, form=form, seed=1)
    assert result.verdict is Verdict.AGREES
    # A vjp of many rows: four tell their sizes, and 16 combinations instead of 100 rows may need
    # another eight to show their noise.
    assert result.evaluations <= (76 if form == "vjp" and size[0] > 64 else 64)


@pytest.mark.parametrize("rows", [20, 200])
@pytest.mark.parametrize("form", ["jvp", "vjp"])
def test_a_wrong_entry_of_a_product_is_named_by_row_and_column(rows, form):
    fun, jvp, vjp, theta = products(rows, 300)

    def wrong_jvp(t, v):
        out = jvp(t, v)
        out[7] += 1e-3 * v[11]
        return out

    def wrong_vjp(t, u):
        out = vjp(t, u)
        out[11] += 1e-3 * u[7]
        return out

    product = wrong_jvp if form == "jvp" else wrong_vjp
    result = fgc.jaccheck(fun, product, theta, form=form, seed=1)
    assert result.wrong == ("F[7] / theta[11]",)


def test_a_vjp_that_ignores_its_cotangent_is_named():
    fun, _, vjp, theta = products(100, 30)
    result = fgc.jaccheck(fun, lambda t, u: vjp(t, np.ones(100)), theta, form="vjp", seed=1)
    assert result.verdict is Verdict.WRONG
    assert kinds(result)[0] == "linear"
    assert "does not depend on u at all: are its arguments exchanged?" in result.findings[0].message


def test_an_affine_jvp_is_named():
    fun, jvp, _, theta = products(10, 30)
    result = fgc.jaccheck(fun, lambda t, v: jvp(t, v) + 1, theta, form="jvp", seed=1)
    assert result.verdict is Verdict.WRONG
    assert "jac(theta, v) is not linear in v" in result.findings[0].message


def test_products_of_nests():
    fun, jac, theta = two_outputs()

    def jvp(p, v):
        blocks = jac(p)
        inner = {"W": 4, "b": 1}
        return {
            name: sum(
                np.tensordot(block, v[key], axes=v[key].ndim)
                for key, block in blocks[name].items()
                if block is not None and inner
            )
            for name in blocks
        }

    def vjp(p, u):
        blocks = jac(p)
        out = {key: np.zeros_like(value) for key, value in p.items()}
        for name, row in blocks.items():
            for key, block in row.items():
                if block is not None:
                    out[key] = out[key] + np.tensordot(u[name], block, axes=u[name].ndim)
        return out

    for form, product in (("jvp", jvp), ("vjp", vjp)):
        assert fgc.jaccheck(fun, product, theta, form=form, seed=1), form
    assert fgc.paircheck(jvp, vjp, theta, fun(theta), seed=1)

    def twice_b(p, u):
        out = vjp(p, u)
        return {"W": out["W"], "b": 2 * out["b"]}

    result = fgc.paircheck(jvp, twice_b, theta, fun(theta), seed=1)
    assert set(result.wrong) == {"defect / b", "end / b"}
    assert "ratio 0.5" in str(result)


# Hessians


@pytest.mark.parametrize("n", [5, 100])
def test_scipys_rosenbrock(n):
    theta = POINT[:n]
    assert fgc.hesscheck(GRAD, HESS, theta, seed=1)
    assert fgc.hesscheck(GRAD, lambda t: sparse.csr_array(HESS(t)), theta, seed=1)
    result = fgc.hesscheck(GRAD, HESSP, theta, form="hvp", seed=1)
    assert result
    assert "The Hessian is the derivative of the gradient" in str(result)


@pytest.mark.parametrize("n", [5, 100])
def test_an_entry_of_a_hessian_product_is_named(n):
    def wrong(t, v):
        out = np.array(HESSP(t, v))
        out[3] += 0.1 * v[1]
        return out

    result = fgc.hesscheck(GRAD, wrong, POINT[:n], form="hvp", seed=1)
    assert result.wrong == ("theta[3] / theta[1]",)
    assert "asymmetric" in kinds(result)


def test_a_half_that_was_not_filled_is_told_from_a_wrong_gradient():
    result = fgc.hesscheck(GRAD, lambda t: np.triu(HESS(t)), POINT[:6], seed=1)
    assert result.verdict is Verdict.WRONG
    assert kinds(result)[0] == "asymmetric"
    assert "The claimed Hessian is not symmetric: theta[" in result.findings[0].message
    assert set(result.wrong) == {f"theta[{i + 1}] / theta[{i}]" for i in range(5)}


@pytest.mark.parametrize("form", ["matrix", "hvp", "sparse"])
def test_a_grad_that_is_the_gradient_of_nothing(form):
    A = np.random.default_rng(2).normal(size=(8, 8))
    hess = {
        "matrix": lambda t: A,
        "sparse": lambda t: sparse.csr_array(A),
        "hvp": lambda t, v: A @ v,
    }[form]
    result = fgc.hesscheck(
        lambda t: A @ t, hess, POINT[:8], form="hvp" if form == "hvp" else "matrix", seed=1
    )
    assert result.verdict is Verdict.WRONG
    assert result.wrong == ()
    assert kinds(result) == ["not-a-gradient"]
    assert "grad is the gradient of nothing" in " ".join(str(result).split())
    assert "check grad by gradcheck" in result.findings[0].message


def test_a_hessian_of_a_nest_in_another_order():
    theta = {"W": RNG.normal(size=(2, 3)), "b": np.ones(2)}

    def grad(p):
        return {"b": 2 * p["b"], "W": p["W"] ** 3}

    def hvp(p, v):
        return {"W": 3 * p["W"] ** 2 * v["W"], "b": 2 * v["b"]}

    assert fgc.hesscheck(grad, hvp, theta, form="hvp", seed=1)

    def wrong(p, v):
        out = hvp(p, v)
        out["W"][1, 2] *= 2
        return out

    result = fgc.hesscheck(grad, wrong, theta, form="hvp", seed=1)
    assert result.wrong == ("W[1, 2] / W[1, 2]",)


def test_a_gradient_of_another_shape_is_refused():
    with pytest.raises(fgc.GradcheckInputError, match="grad must return the gradient"):
        fgc.hesscheck(lambda t: t[:3], np.eye(5), POINT[:5])


def test_a_product_form_needs_a_function():
    with pytest.raises(fgc.GradcheckInputError, match='form="hvp" needs the function'):
        fgc.hesscheck(GRAD, np.eye(5), POINT[:5], form="hvp")
    with pytest.raises(fgc.GradcheckInputError, match="form='vjp' is not a form"):
        fgc.hesscheck(GRAD, HESS, POINT[:5], form="vjp")


def test_a_matrix_in_the_place_of_a_product_and_the_other_way_round():
    grad, hess, hvp = (
        scipy.optimize.rosen_der,
        scipy.optimize.rosen_hess,
        scipy.optimize.rosen_hess_prod,
    )
    theta = np.linspace(0.5, 1.5, 4)
    with pytest.raises(
        fgc.GradcheckTypeError,
        match=r"does not fit the call hess\(theta, vector\).* the matrix needs no form=\.",
    ):
        fgc.hesscheck(grad, hess, theta, form="hvp")
    with pytest.raises(fgc.GradcheckTypeError, match='A product with a vector needs form="hvp"'):
        fgc.hesscheck(grad, hvp, theta)


def test_a_cost_in_the_place_of_the_gradient_is_refused():
    with pytest.raises(fgc.GradcheckInputError, match="a single number where theta has 4: it must"):
        fgc.hesscheck(scipy.optimize.rosen, scipy.optimize.rosen_hess, np.ones(4))


# As assertions


def test_assertions_raise_with_the_report():
    fun, jvp, vjp, theta = products(5, 7)
    jac = tanh_layer(5, 7)[1]
    assert fgc.assert_jaccheck(fun, jac, theta)
    assert fgc.assert_hesscheck(GRAD, HESS, POINT[:4])
    assert fgc.assert_paircheck(jvp, vjp, theta, fun(theta))
    with pytest.raises(fgc.GradcheckError, match="The Jacobian is not the Jacobian"):
        fgc.assert_jaccheck(fun, -jac(theta), theta)
    with pytest.raises(fgc.GradcheckError, match="The Hessian is not the derivative"):
        fgc.assert_hesscheck(GRAD, lambda t: 2 * HESS(t), POINT[:4])
    with pytest.raises(fgc.GradcheckError, match="is not a product and its transpose"):
        fgc.assert_paircheck(jvp, lambda t, u: -vjp(t, u), theta, fun(theta))


@pytest.mark.parametrize("n", [8, 120])
def test_a_wrong_double_backward_behind_a_right_gradient(n):
    """A Gauss-Newton product passes for the Hessian's: the first order is right, the second not."""
    fun, jac, theta = tanh_layer(10, n)

    def cost(t):
        return float(fun(t) @ fun(t))

    def grad(t):
        return 2 * jac(t).T @ fun(t)

    def gauss_newton(t, v):
        return 2 * jac(t).T @ (jac(t) @ v)

    def full(t, v):
        curved = -2 * fun(t) * (jac(t) @ v)  # of tanh' = 1 - tanh^2
        weights = jac(np.zeros(n))
        return gauss_newton(t, v) + 2 * weights.T @ (curved * fun(t))

    assert fgc.gradcheck(cost, grad, theta, seed=1)
    assert fgc.hesscheck(grad, full, theta, form="hvp", seed=1)
    result = fgc.hesscheck(grad, gauss_newton, theta, form="hvp", seed=1)
    assert result.verdict is Verdict.WRONG
    assert "asymmetric" not in kinds(result)


@pytest.mark.parametrize("n", [30, 300])
def test_a_vjp_of_rows_over_sixteen_decades(n):
    rng = np.random.default_rng(0)
    m = 200
    W, theta = rng.normal(size=(m, n)) / np.sqrt(n), rng.normal(size=n)
    D = 10.0 ** rng.uniform(-8, 8, m)

    def fun(t):
        return D * np.tanh(W @ t)

    def jac(t):
        return D[:, None] * (1 - np.tanh(W @ t)[:, None] ** 2) * W

    def vjp(t, u):
        return jac(t).T @ u

    result = fgc.jaccheck(fun, vjp, theta, form="vjp", seed=1)
    assert result.verdict is Verdict.AGREES
    assert "each output in units of how far it moves" in result.coverage
    for i in np.argsort(D)[[0, 1, m // 2, m - 1]]:
        off = 1e-3 * np.median(np.abs(jac(theta)[i]))

        def wrong(t, u, i=i, off=off):
            g = vjp(t, u)
            g[7] += off * u[i]
            return g

        result = fgc.jaccheck(fun, wrong, theta, form="vjp", seed=1)
        assert result.wrong == (f"F[{i}] / theta[7]",)
        (told,) = [f.message for f in result.findings if f.kind == "entry"]
        size = re.search(r"F\[\d+\] / theta\[7\] is off by ([^ ]+)\. Look", told)[1]
        # Bars of 1e-8 of a row, of which it is 1e-3.
        assert float(size) == pytest.approx(off, rel=1e-3)
