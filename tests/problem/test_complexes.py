"""Complex parameters as pairs, and the convention of a gradient, in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.problem.complexes import as_pairs, complexes_of, refuse_layout
from fastgradcheck.problem.parameters import describe

Z = np.array([1 + 2j, 3 - 4j])
NEST = {"z": Z, "more": [np.ones(2), np.array(1j)]}


def test_complex_arrays_are_found_where_they_stand():
    assert complexes_of(np.ones(3)) is None
    assert complexes_of(Z).paths == {()}
    assert complexes_of(NEST).paths == {("z",), ("more", 1)}


def test_pairs_and_back():
    complexes = complexes_of(NEST)
    real = complexes.as_real(NEST)
    assert (real["z"] == [[1, 2], [3, -4]]).all()
    assert (real["more"][1] == [0, 1]).all()
    back = complexes.as_complex(real)
    assert (back["z"] == Z).all()
    assert back["more"][1] == 1j
    # Arrays are views, so that an engine that writes into the pairs moves the complex theta.
    real["z"][0, 1] = 7
    assert complexes.as_complex(real)["z"][0] == 1 + 7j
    assert complexes_of(Z).as_real(Z.astype(np.complex64)).dtype == np.float32


def test_pairs_are_named_by_their_parts():
    complexes = complexes_of({"z": Z})
    named = complexes.named(describe(complexes.as_real({"z": Z})))
    assert [named.address(i) for i in range(4)] == [
        "z[0].real", "z[0].imag", "z[1].real", "z[1].imag"
    ]  # fmt: skip


def cost(z):
    """Of z = x + iy: 3 x^2 + x y; dJ/dx = 6 x + y, dJ/dy = x."""
    return float(np.sum(3 * z.real**2 + z.real * z.imag))


def steepest(z):
    return 6 * z.real + z.imag + 1j * z.real


@pytest.mark.parametrize("convention", ["torch", "jax"])
@pytest.mark.parametrize("given", ["function", "array", "both"])
def test_the_convention_that_a_gradient_follows_is_found(convention, given):
    def grad(z):
        return steepest(z) if convention == "torch" else steepest(z).conj()

    subject, claim = cost, grad
    if given == "array":
        claim = grad(Z)
    elif given == "both":
        subject, claim = (lambda z: (cost(z), grad(z))), True
    value, pairs, theta, found = as_pairs(subject, claim, Z, (), complexes_of(Z), None)
    assert found.sign == (1 if convention == "torch" else -1)
    assert found.evaluations == 2
    (told,) = found.findings
    assert f'convention="{convention}"' in told.message
    if given == "both":
        value, pairs = (lambda t: result(t)[0]), (lambda t, result=value: result(t)[1])
        result = as_pairs(subject, claim, Z, (), complexes_of(Z), None)[0]
    slopes = pairs if given == "array" else pairs(theta)
    assert value(theta) == cost(Z)
    assert slopes == pytest.approx(np.stack([6 * Z.real + Z.imag, Z.real], axis=-1))


def test_a_convention_that_was_asked_for_is_taken():
    _, pairs, theta, found = as_pairs(cost, steepest, Z, (), complexes_of(Z), "jax")
    assert found.findings == ()
    assert found.evaluations == 0
    assert pairs(theta)[:, 1] == pytest.approx(-Z.real)


def test_what_is_unknown_is_refused():
    with pytest.raises(GradcheckInputError, match="'numpy' is not a convention"):
        as_pairs(cost, steepest, Z, (), complexes_of(Z), "numpy")
    with pytest.raises(GradcheckInputError, match="layout= names the blocks of a real theta"):
        refuse_layout({"z": 2})
    refuse_layout(None)
