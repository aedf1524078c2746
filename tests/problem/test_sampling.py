"""Which components are drawn, and in which order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgradcheck.problem.parameters import Parameters, describe
from fastgradcheck.problem.sampling import Sample, draw
from tests.cases.refusals import NEST, nested_cost, nested_grad, refused

shapes = st.lists(st.integers(1, 60), min_size=1, max_size=8)


def blocks_of(sizes: list[int]) -> Parameters:
    return describe({f"b{k}": np.zeros(size) for k, size in enumerate(sizes)})


def per_block(sample: Sample, parameters: Parameters) -> np.ndarray:
    owner = [parameters.names[parameters.block_index(int(i))] for i in sample.index]
    return np.array([owner.count(name) for name in parameters.names])


def test_no_sample_is_every_component() -> None:
    sample = draw(None, blocks_of([3, 4]), seed=0)
    assert sample.index.tolist() == list(range(7))
    assert sample.random


@settings(max_examples=150, deadline=None)
@given(sizes=shapes, data=st.data(), seed=st.integers(0, 2**32))
def test_a_count_is_honoured_and_dealt_in_proportion(
    sizes: list[int], data: Any, seed: int
) -> None:
    parameters = blocks_of(sizes)
    total = sum(sizes)
    count = data.draw(st.integers(1, total))
    sample = draw(count, parameters, seed)
    assert len(sample.index) == count
    assert (np.diff(sample.index) > 0).all()
    assert sample.index.min() >= 0
    assert sample.index.max() < total
    got = per_block(sample, parameters)
    if count < len(sizes):
        assert got.max() == 1
        return
    assert got.min() >= 1
    # Beyond the one that every block gets, no block is a whole component off its share.
    share = (count - len(sizes)) * (np.array(sizes) - 1) / max(1, total - len(sizes))
    assert (np.abs(got - 1 - share) < 1).all()


@settings(max_examples=100, deadline=None)
@given(sizes=shapes, fraction=st.floats(1e-3, 1.0), seed=st.integers(0, 2**32))
def test_a_fraction_is_that_fraction_and_at_least_one(
    sizes: list[int], fraction: float, seed: int
) -> None:
    sample = draw(fraction, blocks_of(sizes), seed)
    assert len(sample.index) == max(1, round(fraction * sum(sizes)))


@settings(max_examples=100, deadline=None)
@given(sizes=shapes, data=st.data(), seed=st.integers(0, 2**32))
def test_every_leading_part_of_the_order_is_stratified(
    sizes: list[int], data: Any, seed: int
) -> None:
    parameters = blocks_of(sizes)
    count = data.draw(st.integers(1, sum(sizes)))
    sample = draw(count, parameters, seed)
    assert sorted(sample.order) == sample.index.tolist()
    owner = np.array([parameters.block_index(int(i)) for i in sample.order])
    whole = np.bincount(owner, minlength=len(sizes))
    for reached in range(1, count + 1):
        so_far = np.bincount(owner[:reached], minlength=len(sizes))
        # Each block has k of its m exactly when the order has passed between (k-1)/m and (k+1)/m:
        # there is a place in [0, 1] that all blocks agree on.
        used = whole > 0
        earliest = np.max((so_far[used] - 1) / whole[used])
        latest = np.min((so_far[used] + 1) / whole[used])
        assert earliest < latest


def test_the_draw_is_uniform_within_a_block() -> None:
    parameters = blocks_of([10, 30])
    hits = np.zeros(40)
    rounds = 2000
    for seed in range(rounds):
        hits[draw(8, parameters, seed).index] += 1
    # One each first, then 6 in the proportion 9 : 29, which is 1.42 and 4.58: 2 and 6 are drawn.
    for part, chance in ((hits[:10], 2 / 10), (hits[10:], 6 / 30)):
        spread = np.sqrt(rounds * chance * (1 - chance))
        assert np.abs(part - rounds * chance).max() < 5 * spread


def test_seeds_repeat_and_differ() -> None:
    parameters = blocks_of([50, 50])
    first, again, other = (draw(0.3, parameters, seed) for seed in (5, 5, 6))
    assert first.index.tolist() == again.index.tolist()
    assert first.order.tolist() == again.order.tolist()
    assert first.index.tolist() != other.index.tolist()


@pytest.mark.parametrize("chosen", [[4, 0, 7], np.array([4, 0, 7], np.uint8), range(0, 9, 4)])
def test_chosen_indices_are_checked_and_prove_nothing_else(chosen: Any) -> None:
    sample = draw(chosen, blocks_of([5, 5]), seed=0)
    assert sample.index.tolist() == sorted(chosen)
    assert not sample.random


def test_a_dict_samples_by_block() -> None:
    parameters = describe({"W": np.zeros((4, 5)), "b": np.zeros(6), "c": np.zeros(3)})
    sample = draw({"b": None, "W": 0.25}, parameters, seed=0)
    assert per_block(sample, parameters).tolist() == [5, 6, 0]
    assert sample.random
    chosen = draw({"W": [19, 0], "b": 2}, parameters, seed=0)
    assert chosen.index[:2].tolist() == [0, 19]
    assert len(chosen.index) == 4
    assert not chosen.random


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (0, r"sample=0 components cannot be drawn from 8; use 1 to 8, or None for all"),
        (-3, r"sample=-3 components cannot be drawn from 8"),
        (9, r"sample=9 components cannot be drawn from 8; use 1 to 8"),
        (0.0, r"sample=0\.0 is not a fraction in \(0, 1\]; for a number .* e\.g\. sample=8\."),
        (-0.5, r"sample=-0\.5 is not a fraction in \(0, 1\]"),
        (5.0, r"sample=5\.0 is not a fraction in \(0, 1\]; .* pass an int, e\.g\. sample=5\."),
        (np.nan, r"sample=nan is not a fraction"),
        (np.inf, r"sample=inf is not a fraction"),
        (True, r"sample=True is ambiguous: use a fraction such as 0\.1, a number of components"),
        ("all", r"sample is a str; use None, a fraction, a number of components, an array of"),
        ([1, 2, 1], r"sample contains the index 1 more than once; each .* is measured once"),
        ([0, 8], r"sample contains the index 8, outside 0 to 7"),
        ([-1], r"sample contains the index -1, outside 0 to 7"),
        ([], r"sample has shape \(0,\); indices are a flat, non-empty list of integers"),
        ([[1, 2]], r"sample has shape \(1, 2\); indices are a flat"),
        (np.ones(8, bool), r"sample has dtype bool; indices are integers"),
        ([0.1, 0.2], r"sample has dtype float64; indices are integers\. For a fraction or a num"),
        ({"W2": 1}, r"sample names the block 'W2', which theta does not have; .* are W1, b1\."),
        ({"W1": 7}, r"sample\['W1'\]=7 components cannot be drawn from 6"),
        ({"b1": [2]}, r"sample\['b1'\] contains the index 2, outside 0 to 1"),
        ({"b1": False}, r"sample\['b1'\]=False is ambiguous"),
        ({}, r"sample=\{\} names no block, so that nothing would be checked; .* of W1, b1\."),
    ],
)
def test_sample(sample: Any, message: str) -> None:
    refused(message, nested_cost, nested_grad, NEST, sample=sample)
