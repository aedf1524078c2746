"""What is claimed for a Jacobian as a matrix: dense, sparse, and as nests of blocks."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sparse

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.problem.jacobian import called, evaluate_jacobian
from fastgradcheck.problem.outputs import describe_outputs
from fastgradcheck.problem.parameters import describe

RNG = np.random.default_rng(0)
A = RNG.normal(size=(4, 6)) * (RNG.random((4, 6)) < 0.6)
OUTPUTS, PARAMETERS = describe_outputs(np.zeros(4)), describe(np.zeros(6))


def matrix(returned, outputs=OUTPUTS, parameters=PARAMETERS):
    return evaluate_jacobian(returned, outputs, parameters)


FORMS = {
    "array": A,
    "list of rows": A.tolist(),
    "csr": sparse.csr_array(A),
    "csc matrix": sparse.csc_matrix(A),
    "coo": sparse.coo_array(A),
    "lil": sparse.lil_array(A),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_matrix(form):
    claim, found = matrix(FORMS[form])
    assert found == ()
    assert claim.shape == (4, 6)
    v = RNG.normal(size=6)
    assert np.allclose(claim.product(v), A @ v, rtol=0, atol=1e-15)
    assert np.allclose(claim.part(slice(2, 5), v), A[:, 2:5] @ v[2:5], rtol=0, atol=1e-15)
    assert (claim.columns(np.array([5, 0])) == A[:, [5, 0]]).all()
    assert claim.sizes(slice(1, 4)) == pytest.approx(np.linalg.norm(A[:, 1:4], axis=1), rel=1e-15)
    assert claim.eps == 2.0**-52
    assert not len(claim.broken[0])


@pytest.mark.parametrize("scale", [1e-200, 1e200])
@pytest.mark.parametrize("form", ["array", "csr"])
def test_sizes_neither_vanish_nor_overflow(form, scale):
    claim, _ = matrix(FORMS[form] * scale)
    assert claim.sizes(slice(0, 6)) == pytest.approx(scale * np.linalg.norm(A, axis=1), rel=1e-14)


@pytest.mark.parametrize("form", ["array", "csr"])
def test_what_is_no_number_is_told_by_place_and_taken_as_zero(form):
    spoiled = A.copy()
    spoiled[1, 2], spoiled[3, 0] = np.nan, np.inf
    claim, _ = matrix(spoiled if form == "array" else sparse.csr_array(spoiled))
    assert set(zip(*(part.tolist() for part in claim.broken), strict=True)) == {(1, 2), (3, 0)}
    spoiled[1, 2] = spoiled[3, 0] = 0
    assert np.allclose(claim.product(np.ones(6)), spoiled.sum(axis=1), rtol=0, atol=1e-15)


def test_the_dtype_in_which_it_came_tells_its_rounding():
    assert matrix(A.astype(np.float32))[0].eps == 2.0**-23
    assert matrix(sparse.csr_array(A.astype(np.float32)))[0].eps == 2.0**-23
    assert matrix(np.ones((4, 6), int))[0].eps == 2.0**-52


def test_entries_that_are_stored_twice_are_added_up_and_told():
    twice = sparse.coo_array(([1.0, 2.0, 5.0], ([0, 0, 3], [1, 1, 4])), shape=(4, 6))
    claim, (told,) = matrix(twice)
    assert claim.product(np.ones(6)).tolist() == [3, 0, 0, 5]
    assert told.kind == "duplicates"
    assert told.message.startswith("The sparse Jacobian stores 1 entries more than once")


def test_nests_of_blocks_with_sparse_ones_and_none():
    outputs = describe_outputs({"a": np.zeros(2), "b": np.zeros(2)})
    parameters = describe({"W": np.zeros((2, 2)), "c": np.zeros(2)})
    nest = {
        "a": {"W": A[:2, :4].reshape(2, 2, 2), "c": sparse.csr_array(A[:2, 4:])},
        "b": {"W": None, "c": A[2:, 4:]},
    }
    claim, (told,) = matrix(nest, outputs, parameters)
    expected = A.copy()
    expected[2:, :4] = 0
    assert (claim.matrix == expected).all()
    assert told.message == "jac holds None for b / W, which was taken as zero."
    sparse_alone = {
        o: {p: sparse.csr_array(A[i : i + 2, j : j + k]) for p, j, k in (("W", 0, 4), ("c", 4, 2))}
        for o, i in (("a", 0), ("b", 2))
    }
    claim, found = matrix(sparse_alone, outputs, parameters)
    assert found == ()
    assert (claim.matrix.toarray() == A).all()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (A.T, r"shape \(6, 4\), .* make it \(4, 6\): it is the transpose"),
        (sparse.csr_array(A.T), "it is the transpose"),
        (A.reshape(2, 12), r"the number of entries is right, use \.reshape\(\(4, 6\)\)"),
        (A[:3], "each entry needs exactly one counterpart"),
    ],
)
def test_other_shapes_are_refused(returned, message):
    with pytest.raises(GradcheckInputError, match=message):
        matrix(returned)


def test_what_is_no_matrix_is_refused():
    with pytest.raises(GradcheckTypeError, match="jac returned None"):
        matrix(None)
    with pytest.raises(GradcheckTypeError, match="a Jacobian must be real numbers"):
        matrix(A * 1j)
    nested = describe({"W": np.zeros(2)})
    with pytest.raises(GradcheckInputError, match="jac lacks the output b"):
        matrix({"a": {"W": None}}, describe_outputs({"a": np.zeros(1), "b": np.zeros(1)}), nested)
    with pytest.raises(GradcheckInputError, match="jac lacks a / W"):
        matrix({"a": {}}, describe_outputs({"a": np.zeros(1)}), nested)


def test_a_derivative_that_changes_what_it_is_given_is_refused():
    theta, args = np.ones(2), (np.ones(3),)

    def moves(t, x):
        t += 1
        return t

    def spoils(t, x):
        x[0] = 5
        return t

    with pytest.raises(GradcheckInputError, match="jac modifies theta"):
        called(moves, "jac", theta, args)
    assert (theta == 1).all()
    with pytest.raises(GradcheckInputError, match=r"jac modifies args\[0\]"):
        called(spoils, "jac", theta, args)
