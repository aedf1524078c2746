"""Which components are drawn, in which order, and what a sample proves: SciPy is the oracle."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from fastgradcheck.diagnosis.coverage import coverage, limit
from fastgradcheck.problem.parameters import Parameters, describe
from fastgradcheck.problem.sampling import Sample, draw

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


def exact_limit(checked: int, size: int) -> int:
    """The largest number of wrong ones that a clean sample leaves possible at 95 %.

    Exactly: C(size - wrong, checked) / C(size, checked) >= 1/20, in whole numbers.
    """
    wrong = size - checked
    while 20 * math.comb(size - wrong, checked) < math.comb(size, checked):
        wrong -= 1
    return wrong


@pytest.mark.parametrize(("checked", "size"), [(1, 7), (10, 100), (59, 500), (300, 2000)])
def test_the_exact_limit_is_scipys(checked: int, size: int) -> None:
    wrong = np.arange(size - checked + 1)
    possible = wrong[hypergeom.pmf(0, size, wrong, checked) >= 0.05]
    assert exact_limit(checked, size) == limit(checked, size) == possible.max()


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 150), data=st.data())
def test_the_limit_is_the_hypergeometric_one(size: int, data: Any) -> None:
    checked = data.draw(st.integers(1, size))
    assert limit(checked, size) == exact_limit(checked, size)


@pytest.mark.parametrize(
    ("checked", "size"), [(1024, 10**6), (100, 10**9), (3, 10**7), (59, 10**8)]
)
def test_the_limit_holds_for_large_networks(checked: int, size: int) -> None:
    # Without replacement tends to with replacement: (1 - p)^k = 0.05.
    expected = 1 - 0.05 ** (1 / checked)
    assert limit(checked, size) / size == pytest.approx(expected, rel=2e-3)


def test_the_sentence_on_everything() -> None:
    assert coverage([(6, 6, 0), (4, 4, 1)], True) == (
        "All 10 components were checked one by one.",
        1.0,
    )


def test_the_sentence_on_a_sample_never_promises_too_much() -> None:
    text, fraction = coverage([(10**6, 1024, 0)], True)
    # 1 - 0.05^(1/1024) is 0.2921 %, and rounding must not turn it into a smaller promise.
    assert text == (
        "1,024 of 1,000,000 components were checked one by one (0.1 %), none wrong: "
        "fewer than 0.3 % are wrong at 95 %."
    )
    assert fraction == 1024 / 10**6


@settings(max_examples=60, deadline=None)
@given(size=st.integers(2, 150), data=st.data())
def test_the_promised_percentage_is_above_the_limit(size: int, data: Any) -> None:
    checked = data.draw(st.integers(1, size - 1))
    text, _ = coverage([(size, checked, 0)], True)
    (promised,) = re.findall(r"fewer than ([\d.]+) %", text)
    assert float(promised) / 100 > exact_limit(checked, size) / size


def test_a_sample_of_nearly_everything_is_not_called_all() -> None:
    text, _ = coverage([(1000, 999, 0)], True)
    assert "(99.9 %)" in text
    # One wrong component among a thousand would have been missed once in a thousand: none is left.
    assert "fewer than 0.1 % are wrong" in text


def test_unequal_rates_count_as_the_least_dense() -> None:
    text, _ = coverage([(1000, 10, 0), (1000, 500, 0)], True)
    alone, _ = coverage([(2000, 20, 0)], True)
    assert text.split("none wrong")[1] == alone.split("none wrong")[1]


def test_chosen_components_prove_nothing() -> None:
    text, _ = coverage([(100, 3, 0)], False)
    assert text.endswith("(3 %), as chosen; nothing follows for the others.")


def test_blocks_left_out_are_told() -> None:
    text, _ = coverage([(100, 10, 0), (100, 0, 0)], True)
    assert text.endswith("(5 %); 1 of 2 blocks were not looked at.")


def test_wrong_components_end_the_promise() -> None:
    text, _ = coverage([(100, 10, 1)], True)
    assert text == "10 of 100 components were checked one by one (10 %)."


def test_nothing_covered() -> None:
    assert coverage([(5, 0, 0)], True) == ("No component was checked one by one.", 0.0)
