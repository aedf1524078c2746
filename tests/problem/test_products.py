"""Products of a Jacobian with vectors and cotangents, beside the matrix."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse.linalg import LinearOperator, aslinearoperator

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.problem.inspection import inspect_outputs
from fastgradcheck.problem.outputs import describe_outputs
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective
from fastgradcheck.problem.products import (
    COTANGENTS,
    FEW_ROWS,
    Combined,
    claim_of,
    combined,
    cotangent,
    eps_of,
    linear,
    of_outputs,
    of_parameters,
    with_vectors,
)

RNG = np.random.default_rng(0)
EPS = 2.0**-52


def claimed(A, form, jac, seed=0):
    """The claim on ``F = A t`` at ones."""
    theta = np.ones(A.shape[1])
    inspected = inspect_outputs(Objective(lambda t: A @ t, (), describe(theta), theta))
    return claim_of(form, jac, theta, inspected, None, seed, "jac")


def test_a_jvp_gives_products_columns_and_sizes_of_the_matrix():
    A = RNG.normal(size=(5, 7))
    claim = claimed(A, "jvp", lambda t, v: A @ v).jacobian
    v = RNG.normal(size=7)
    assert np.allclose(claim.product(v), A @ v, rtol=0, atol=1e-15)
    assert (claim.columns(np.array([3, 0])) == A[:, [3, 0]]).all()
    # One column: any vector of signs gives its norm.
    assert (claim.sizes(slice(2, 3)) == np.abs(A[:, 2])).all()
    # Of several, a row's norm is estimated by four vectors of signs: the mean square is right.
    B = RNG.normal(size=(2000, 7))
    squares = claimed(B, "jvp", lambda t, v: B @ v).jacobian.sizes(slice(0, 7)) ** 2
    # A square is off by sqrt(2 / 4) of itself: the mean over 2,000 of them by 0.02, four times.
    assert np.mean(squares / (B**2).sum(axis=1)) == pytest.approx(1, abs=0.08)


def test_a_linear_operator_is_known_by_its_products():
    A = RNG.normal(size=(5, 7))
    for given in (aslinearoperator(A), lambda t: aslinearoperator(A)):
        found = claimed(A, "matrix", given)
        assert found.findings == ()
        assert np.allclose(found.jacobian.columns(np.array([3, 0])), A[:, [3, 0]], rtol=1e-15)
    with pytest.raises(GradcheckInputError, match="it is the transpose"):
        claimed(A, "matrix", aslinearoperator(A.T))
    affine = LinearOperator((5, 7), matvec=lambda v: A @ v + 1)
    (told,) = claimed(A, "matrix", affine).findings
    assert told.message.startswith("jac.matvec(v) is not linear in v")


def test_columns_that_are_asked_for_again_cost_nothing():
    calls = []
    A = RNG.normal(size=(5, 7))

    def jvp(t, v):
        calls.append(v)
        return A @ v

    claim = claimed(A, "jvp", jvp).jacobian
    before = len(calls)
    claim.columns(np.array([1, 2]))
    claim.columns(np.array([2, 1]))
    assert len(calls) == before + 2


def test_a_vjp_of_few_outputs_gives_every_row():
    A = RNG.normal(size=(FEW_ROWS, 3))
    found = claimed(A, "vjp", lambda t, u: A.T @ u)
    assert (found.jacobian.matrix == A).all()
    assert found.evaluations == 0
    assert not isinstance(found.outputs, Combined)


def test_a_vjp_of_many_outputs_gives_combinations_and_f_is_combined_alike():
    A = RNG.normal(size=(FEW_ROWS + 1, 3))
    found = claimed(A, "vjp", lambda t, u: A.T @ u)
    units = found.outputs.cotangents
    assert units.shape == (COTANGENTS, FEW_ROWS + 1)
    assert np.allclose(found.jacobian.matrix, units @ A, rtol=1e-13, atol=1e-13)
    assert np.allclose(found.values, units @ A @ np.ones(3), rtol=1e-13, atol=1e-13)
    assert np.allclose(found.outputs.flatten(A[:, 0]), units @ A[:, 0], rtol=1e-13, atol=1e-13)
    assert found.evaluations > 0


def test_combinations_are_in_units_of_the_sizes_of_rows():
    outputs = describe_outputs(np.ones(3))
    sizes = np.array([1e-3, 1.0, 1e5])
    units = combined(outputs, sizes, 0).cotangents
    part = np.abs(units * sizes)
    assert ((part >= 0.5) & (part <= 1.5)).all()
    assert len(np.unique(np.sign(units[:, 0]))) == 2
    assert (combined(outputs, 4 * sizes, 0).cotangents == units).all()
    assert np.isfinite(combined(outputs, np.array([1e-300, 1.0, 1e300]), 0).cotangents).all()


@pytest.mark.parametrize("rank", [1, 2, 8])
@pytest.mark.parametrize("t", [0.01, 0.05])
def test_products_with_both_vectors_hide_an_error_no_oftener_than_stated(rank, t):
    rng = np.random.default_rng(rank)

    def vectors(count, size):
        return rng.choice([-1.0, 1.0], (count, size)) * rng.uniform(0.5, 1.5, (count, size))

    R = rng.normal(size=(40, rank)) @ rng.normal(size=(rank, 30))
    if rank == 1:  # the worst: the vectors' extreme, two equal entries
        R = np.zeros((40, 30))
        R[np.ix_([0, 1], [3, 4])] = 1
    count = 40_000
    u, v = vectors(count, 40), vectors(count, 30)
    hidden = np.mean(np.abs(np.einsum("ki,ij,kj->k", u, R, v)) <= t * np.linalg.norm(R))
    law = 2 * t * (1 + np.log(1 / (2 * t)))
    assert hidden <= law + 4 * np.sqrt(law / count)
    # The worst is not far from it: a law that is ten times lower fails.
    assert rank > 1 or hidden > law / 10


@pytest.mark.parametrize("m", [10, 100])
def test_products_that_are_not_linear_are_found(m):
    A = RNG.normal(size=(m, 4))
    for form, wrong in (
        ("jvp", lambda t, v: A @ v + 1e-9),
        ("jvp", lambda t, v: A @ t),
        ("vjp", lambda t, u: A.T @ u + 1e-9),
        ("vjp", lambda t, u: A.T @ np.ones(m)),
    ):
        found = claimed(A, form, wrong).findings
        assert [finding.kind for finding in found] == ["linear"], form
    assert not claimed(A, "jvp", lambda t, v: A @ v).findings
    assert not claimed(A, "vjp", lambda t, u: A.T @ u).findings


def test_a_part_that_is_not_linear_shows_however_small_its_row_is():
    D = 10.0 ** np.linspace(-8, 8, 100)
    A = D[:, None] * RNG.normal(size=(100, 4))

    def wrong(t, u):
        return A.T @ np.where(np.arange(100) == 3, np.abs(u), u)

    assert [finding.kind for finding in claimed(A, "vjp", wrong).findings] == ["linear"]


def test_what_linear_tells_of_values_that_are_no_numbers():
    (found,) = linear(lambda v: np.array([np.nan]), 2, EPS, "jac(theta, v)", "v")
    assert found.kind == "not-finite"
    assert "jac(theta, v) returns values that are not finite" in found.message
    (found,) = linear(lambda v: v**2, 2, EPS, "jac(theta, v)", "v")
    assert "jac(theta, v) is not linear in v" in found.message
    assert linear(lambda v: 3 * v, 2, EPS, "jac(theta, v)", "v") == ()


def test_vectors_come_in_the_structures_of_outputs_and_parameters():
    outputs = describe_outputs({"a": np.zeros((2, 2)), "b": np.zeros(1)})
    u = cotangent(np.arange(5.0), outputs)
    assert (u["a"] == [[0, 1], [2, 3]]).all()
    assert u["b"] == [4]
    assert cotangent(np.array([2.0]), describe_outputs(1.0)) == 2.0
    assert (of_outputs(u, outputs, "jvp") == np.arange(5)).all()
    assert (of_outputs(np.arange(5), outputs, "jvp") == np.arange(5)).all()
    parameters = describe({"W": np.zeros((2, 1)), "c": np.zeros(2)})
    product = {"c": np.array([3.0, 4.0]), "W": np.array([[1.0], [2.0]])}
    assert (of_parameters(product, parameters, "vjp") == [1, 2, 3, 4]).all()


def test_products_of_another_structure_are_refused():
    outputs, parameters = describe_outputs(np.zeros(3)), describe(np.zeros(2))
    for refused, message in (
        (lambda: of_outputs(np.zeros(2), outputs, "jvp"), "a product of jvp must have"),
        (lambda: of_parameters(np.zeros(3), parameters, "vjp"), "vjp must be like theta"),
    ):
        with pytest.raises(GradcheckInputError, match=message):
            refused()
    for refused in (of_outputs, of_parameters):
        with pytest.raises(GradcheckTypeError, match="jac returned None"):
            refused(None, outputs if refused is of_outputs else parameters, "jac")
    with pytest.raises(GradcheckTypeError, match='jac is a ndarray, but form="vjp" needs'):
        claimed(np.eye(2), "vjp", np.eye(2))


def test_the_coarsest_dtype_of_a_nest_is_that_of_the_claim():
    assert eps_of({"a": np.zeros(2), "b": [np.zeros(1, np.float32)]}) == 2.0**-23
    assert eps_of(np.zeros(2)) == EPS
    assert eps_of(3) == EPS
    parameters = describe(np.zeros(2, np.float32))
    given = []
    with_vectors(
        lambda t, v: given.append(v) or np.zeros(1, np.float32),
        np.zeros(2, np.float32), (), describe_outputs(np.zeros(1)), parameters,
    )  # fmt: skip
    assert all(v.dtype == np.float32 for v in given)
