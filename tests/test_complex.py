"""Complex parameters: two real components each, in either convention; a mix of them is named."""

from __future__ import annotations

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.verdict.verdict import Verdict

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


A, Z = normal(5, 4), normal(4)
THETA = {"A": normal(3, 4), "z": normal(4), "b": RNG.normal(size=3)}


def cost(z):
    return float(np.sum(np.abs(A @ z) ** 2) + np.sum(np.abs(z) ** 4))


def grad(z):
    """Of x -> J(x + iy) and y -> J(x + iy), as dJ/dx + i dJ/dy."""
    return 2 * A.conj().T @ (A @ z) + 4 * np.abs(z) ** 2 * z


def of_nest(p):
    return float(np.sum(np.abs(p["A"] @ p["z"] - p["b"]) ** 2))


def grad_of_nest(p):
    e = p["A"] @ p["z"] - p["b"]
    return {"A": 2 * np.outer(e, p["z"].conj()), "z": 2 * p["A"].conj().T @ e, "b": -2 * e.real}


def conventions(result):
    return [finding.message for finding in result.findings if finding.kind == "convention"]


@pytest.mark.parametrize("name", ["torch", "jax"])
@pytest.mark.parametrize("given", ["function", "array", "together"])
def test_both_conventions_agree_and_are_told(name, given):
    def claimed(z):
        return grad(z) if name == "torch" else grad(z).conj()

    checked, claim = cost, claimed
    if given == "array":
        claim = claimed(Z)
    elif given == "together":
        checked, claim = (lambda z: (cost(z), claimed(z))), True
    result = fgc.gradcheck(checked, claim, Z, seed=1)
    assert result.verdict is Verdict.AGREES
    (message,) = conventions(result)
    assert f'convention="{name}"' in message


def test_the_other_convention_is_wrong_where_one_is_asked_for():
    assert fgc.gradcheck(cost, grad, Z, convention="torch", seed=1)
    result = fgc.gradcheck(cost, grad, Z, convention="jax", seed=1)
    assert result.verdict is Verdict.WRONG
    assert result.findings[0].kind == "conjugate"
    assert "holds the conjugate" in result.findings[0].message
    assert not conventions(result)


@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_nests_of_complex_and_real_arrays(strategy):
    assert fgc.gradcheck(of_nest, grad_of_nest, THETA, strategy=strategy, seed=1)


def test_mixed_conventions_are_wrong_and_named():
    def mixed(p):
        return {**grad_of_nest(p), "z": grad_of_nest(p)["z"].conj()}

    result = fgc.gradcheck(of_nest, mixed, THETA, seed=1)
    assert result.verdict is Verdict.WRONG
    assert set(result.wrong) == {f"z[{i}].imag" for i in range(4)}
    assert result.findings[0].kind == "conjugate"
    assert "unlike what the rest of the gradient follows" in result.findings[0].message


def test_a_wrong_part_has_an_address_and_comes_back_from_json():
    def wrong(p):
        claimed = grad_of_nest(p)
        claimed["A"][1, 2] += 0.01j
        return claimed

    result = fgc.gradcheck(of_nest, wrong, THETA, seed=1)
    assert result.wrong == ("A[1, 2].imag",)
    assert "(3, 4) complex" in str(result)
    again = fgc.GradcheckResult.from_json(result.to_json())
    assert str(again) == str(result)


def test_single_precision_and_scalars():
    theta = {"z": Z.astype(np.complex64), "s": 1.5 - 0.5j}

    def single(p):
        return float(np.sum(np.abs(p["z"]) ** 2) + abs(p["s"]) ** 2)

    def its_gradient(p):
        return {"z": 2 * p["z"], "s": 2 * p["s"]}

    result = fgc.gradcheck(single, its_gradient, theta, seed=1)
    assert result.verdict is Verdict.AGREES


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(fgc.GradcheckInputError, match="convention='numpy' is not a convention"):
        fgc.gradcheck(cost, grad, Z, convention="numpy")
    with pytest.raises(fgc.GradcheckInputError, match="for a complex one pass a dict of arrays"):
        fgc.gradcheck(cost, grad, Z, layout={"a": 4})
    with pytest.raises(fgc.GradcheckInputError, match=r"has shape \(3, 2\).*\(4, 2\)"):
        fgc.gradcheck(cost, lambda z: grad(z)[:3], Z)
    with pytest.raises(fgc.GradcheckInputError, match="complex number"):
        fgc.gradcheck(lambda z: np.sum(z**2), lambda z: 2 * z, Z)
