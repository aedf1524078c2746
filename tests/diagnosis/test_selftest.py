"""Planted faults are seen where the check can see, and not where it did not look."""

from __future__ import annotations

import numpy as np
import pytest

import fastgradcheck as fgc

RNG = np.random.default_rng(3)
A = RNG.standard_normal((40, 30))
THETA = {"W": RNG.standard_normal((6, 4)), "b": RNG.standard_normal(6)}


def cost(p):
    return float(np.sum(np.tanh(A @ np.append(p["W"], p["b"]))))


def grad(p):
    slope = (1 - np.tanh(A @ np.append(p["W"], p["b"])) ** 2) @ A
    return {"W": slope[:24].reshape(6, 4), "b": slope[24:]}


def rates(result, block):
    return {r.kind: r.seen / r.planted for r in result.self_test().rates if r.block == block}


def test_every_fault_is_seen_by_a_full_check():
    result = fgc.gradcheck(cost, grad, THETA, seed=0)
    assert result
    for block in ("W", "b"):
        seen = rates(result, block)
        assert set(seen) == {"zeroed", "doubled", "sign", "entry zero", "swapped", "entry 1 %"}
        assert set(seen.values()) == {1.0}


def test_directions_see_every_fault_without_measuring_a_component():
    result = fgc.gradcheck(cost, grad, THETA, strategy="screen", seed=0)
    assert result
    assert len(result.components) == 0
    assert set(rates(result, "W").values()) == {1.0}


def test_a_sample_misses_most_single_entries_and_no_whole_block():
    result = fgc.gradcheck(cost, grad, THETA, sample={"W": 2, "b": 2}, seed=0)
    seen = rates(result, "W")
    assert seen["sign"] == seen["doubled"] == seen["zeroed"] == 1.0
    assert seen["entry 1 %"] < 0.5


def test_blocks_that_were_not_looked_at_are_left_out():
    result = fgc.gradcheck(cost, grad, THETA, sample={"b": None}, seed=0)
    assert {r.block for r in result.self_test().rates} == {"b"}


def test_it_prints_a_row_per_block_and_a_column_per_kind():
    lines = str(fgc.gradcheck(cost, grad, THETA, seed=0).self_test()).splitlines()
    assert all(kind in lines[0] for kind in ("zeroed", "entry 1 %"))
    assert [line.split()[0] for line in lines[1:]] == ["W", "b"]
    assert "16/16" in lines[1]


def test_a_result_from_json_says_that_it_cannot():
    result = fgc.gradcheck(cost, grad, THETA, seed=0)
    copy = fgc.GradcheckResult.from_json(result.to_json())
    with pytest.raises(fgc.GradcheckInputError, match="no longer holds its measurements"):
        copy.self_test()
