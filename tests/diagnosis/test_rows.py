"""Every mistake that people make with Jacobians is planted, and named first."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy.sparse import csr_array

import fastgradcheck as fgc
from tests.cases.jacobians import in_parts, residuals, right_hand_side, tanh_layer

FUNCTIONS = {"layer": tanh_layer, "residuals": residuals, "equation": right_hand_side}


def of_row(factor):
    def planted(J):
        J[3] *= factor
        return J

    return planted


def of_column(change):
    def planted(J):
        J[:, 2] = change(J[:, 2])
        return J

    return planted


def exchanged(J, axis):
    order = np.arange(J.shape[axis])
    order[[1, 4]] = 4, 1
    return np.take(J, order, axis)


def another_row(J):
    J[3] = np.cos(np.arange(J.shape[1]))
    return J


def block_row(J):
    J[: len(J) // 2] *= 2
    return J


def block(J):
    J[: len(J) // 2, : J.shape[1] // 2] *= -1
    return J


def entry(J):
    J[3, 5] *= 1.5
    return J


TURNED = "every entry is exactly -1 times"
HALVED = "every entry is exactly 1/2 times"
DOUBLED = "every entry is exactly 2 times"
NEVER = "jac is exactly zero where fun does change"
PLANTS = {
    "sign": (lambda J: -J, TURNED),
    "factor": (lambda J: 2 * J, DOUBLED),
    "sign of a row": (of_row(-1), f"row 3 is wrong; there: {TURNED}"),
    "factor of a row": (of_row(0.5), f"row 3 is wrong; there: {HALVED}"),
    "row of zeros": (of_row(0), f"row 3 is wrong; there: {NEVER}"),
    "another row": (another_row, "exactly row 3 is wrong"),
    "chain factor": (
        lambda J: J * np.linspace(1.5, 3, len(J))[:, None],
        "Whole rows are off by a factor of their own",
    ),
    "rows shifted": (
        lambda J: np.roll(J, 1, axis=0),
        "row i holds the numeric Jacobian of row i - 1",
    ),
    "rows exchanged": (lambda J: exchanged(J, 0), "row 4 holds that of row 1"),
    "columns shifted": (
        lambda J: np.roll(J, 1, axis=1),
        "column i holds the numeric Jacobian of column i - 1",
    ),
    "columns exchanged": (lambda J: exchanged(J, 1), "column 4 holds that of column 1"),
    "factor of a column": (of_column(lambda c: 2 * c), DOUBLED),
    "column of zeros": (of_column(lambda c: 0 * c), NEVER),
    "another column": (of_column(lambda c: np.cos(np.arange(len(c)))), "is wrong|wrong throughout"),
    "entry": (entry, "only .*3. / .*5. is wrong"),
    "block row": (block_row, DOUBLED),
    "block": (block, TURNED),
}


@pytest.mark.parametrize("form", ["small", "large", "nest", "sparse"])
@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("plant", PLANTS)
def test_what_was_planted_is_named_first(plant, function, form):
    fun, jac, theta = FUNCTIONS[function](*((20, 90) if form == "large" else (12, 12)))
    change, said = PLANTS[plant]
    J = change(jac(theta))
    if form == "nest":
        fun, blocks, theta = in_parts(fun, theta)
        J = blocks(J)
    elif form == "sparse":
        J = csr_array(J)
    result = fgc.jaccheck(fun, J, theta, seed=1)
    assert result.verdict is fgc.Verdict.WRONG
    first = result.findings[0].message
    assert re.search(said, first), first
    # It is no gradient, and there is no cost.
    assert "gradient" not in first
    assert "cost" not in first


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_transposed_one_is_named_first(function):
    fun, jac, theta = FUNCTIONS[function](12, 12)
    result = fgc.jaccheck(fun, jac(theta).T, theta, seed=1)
    assert "holds the transpose of the numeric Jacobian" in result.findings[0].message
    assert "Rows are outputs and columns parameters" in result.findings[0].message


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_row_that_is_wrong_in_every_block_is_named_by_its_factor_alone(function):
    fun, jac, theta = FUNCTIONS[function](20, 30)
    J = jac(theta)
    J[3] *= -1
    J[15] *= 3
    fun, blocks, theta = in_parts(fun, theta)
    result = fgc.jaccheck(fun, blocks(J), theta, seed=1)
    (first,) = [finding for finding in result.findings if finding.kind == "row-factor"]
    assert result.findings[0] is first
    assert "a[3] by -1, b[5] by 3, in every entry" in first.message


def test_the_line_that_is_wrong_is_the_subject():
    fun, jac, theta = tanh_layer(20, 90)
    J = jac(theta)
    J[:, 2] *= 2
    result = fgc.jaccheck(fun, J, theta, seed=1)
    assert result.wrong == ("F / theta[2]",)
    assert result.findings[0].message.startswith(f"F / theta[2]: {DOUBLED}")
    J[:, 2] = np.cos(np.arange(20))
    (finding,) = fgc.jaccheck(fun, J, theta, seed=1).findings
    assert finding.message.startswith("F / theta[2]: wrong throughout, and nothing else there.")


def test_zeros_on_both_sides_are_nothing_to_tell():
    def fun(p):
        return {"x": p["x"] ** 2, "y": p["y"] ** 3}

    def jac(p):
        return {
            "x": {"x": np.diag(2 * p["x"]), "y": np.zeros((3, 2))},
            "y": {"x": np.zeros((2, 3)), "y": np.diag(3 * p["y"] ** 2)},
        }

    result = fgc.jaccheck(fun, jac, {"x": np.arange(1.0, 4.0), "y": np.ones(2)}, seed=1)
    assert result
    assert not result.findings


def test_a_hessian_is_told_in_its_own_words():
    theta = np.linspace(0.5, 2.0, 6)
    result = fgc.hesscheck(lambda t: t**3, lambda t: 1.5 * np.diag(t**2), theta, seed=1)
    first = result.findings[0].message
    assert "The derivative of a square lacks its 2, or hess has a factor 1/2 that grad" in first
