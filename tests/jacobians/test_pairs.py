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
    with pytest.raises(fgc.GradcheckInputError, match="like is a function: pass what it returns"):
        fgc.paircheck(jvp, vjp, theta, fun)
    with pytest.raises(fgc.GradcheckInputError, match="vjp is a float"):
        fgc.paircheck(jvp, 3.0, theta, fun(theta))
