"""Whether a claimed Hessian is symmetric: dense, sparse, and by its products."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sparse

from fastgradcheck.problem.entries import Entries
from fastgradcheck.problem.jacobian import evaluate_jacobian
from fastgradcheck.problem.outputs import describe_outputs
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.products import Products
from fastgradcheck.problem.symmetry import asymmetry

N = 30
RNG = np.random.default_rng(0)
HALF = RNG.normal(size=(N, N))
SYMMETRIC = HALF + HALF.T
# Rows of one size are compared with rows of another: 16 decades.
SCALES = 10.0 ** RNG.uniform(-4, 4, N)
OUTPUTS, PARAMETERS = describe_outputs(np.zeros(N)), describe(np.zeros(N))
EPS = 2.0**-52


def found(H, form):
    if form == "products":
        claim = Products(lambda v: H @ v, (N, N), EPS)
    else:
        given = sparse.csr_array(H) if form == "sparse" else H
        claim, _ = evaluate_jacobian(given, OUTPUTS, PARAMETERS)
    return asymmetry(claim, Entries(OUTPUTS, PARAMETERS))


@pytest.mark.parametrize("form", ["dense", "sparse", "products"])
def test_symmetric_ones_are_but_for_rounding(form):
    H = SYMMETRIC * np.outer(SCALES, SCALES)
    assert found(H, form) == ()
    assert found(H * (1 + 10 * EPS * RNG.uniform(-1, 1, (N, N))), form) == ()
    assert found(np.zeros((N, N)), form) == ()


@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_an_entry_that_differs_is_named_with_its_mirror_image(form):
    H = SYMMETRIC.copy()
    H[7, 3] *= 1 + 1e-9
    (told,) = found(H, form)
    assert told.kind == "asymmetric"
    assert "F[7] / theta[3]" in told.message
    assert "F[3] / theta[7]" in told.message


@pytest.mark.parametrize("form", ["dense", "sparse", "products"])
def test_a_half_that_was_not_filled_is_told(form):
    (told,) = found(np.triu(SYMMETRIC), form)
    assert told.kind == "asymmetric"


def test_products_tell_the_two_values():
    (told,) = found(SYMMETRIC + np.eye(N, k=1), "products")
    assert "u.(H v) is" in told.message
