"""What was covered, in words, and what a sample proves: SciPy is the oracle."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

import fastgradcheck as fgc
from fastgradcheck.diagnosis.coverage import coverage, limit
from fastgradcheck.differences.screen import (
    CONFIDENCE,
)
from tests.cases.faults import subject
from tests.cases.screened import NETWORK, Fenced, checked, quadratic


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


def test_what_lies_at_its_bounds_is_not_said_to_be_covered() -> None:
    theta = np.concatenate([np.zeros(150), np.linspace(0.5, 1.5, 150)])
    fenced = Fenced(np.zeros(300), np.full(300, 9.0))
    result = fgc.gradcheck(
        fenced, fenced.grad(theta), theta, bounds=(0.0, 9.0), strategy="screen", engine="python"
    )
    assert fenced.outside == 0
    assert "150 of 300 parameters were covered by 4 directions" in result.coverage
    assert (
        "the other 150 are at their bounds, or so large that the step does not move them, and "
        "100 of these were measured one by one"
    ) in result.coverage


def test_zeros_on_kinks_that_were_measured_by_themselves_are_counted() -> None:
    theta = np.append(np.zeros(2), np.linspace(0.5, 1.5, 60))
    claim = np.cos(theta) + np.where(theta == 0, 0.5, np.sign(theta))  # 0.5: a subgradient
    result = fgc.gradcheck(
        lambda t: float(np.sin(t).sum() + np.abs(t).sum()), claim, theta, strategy="screen", seed=0
    )
    assert result, str(result)
    assert (
        "60 of 62 parameters were covered by 4 directions over all blocks at once"
        in result.coverage
    )
    assert (
        "the other 2 are exactly zero, where J has kinks, and 2 of these were measured one by one"
    ) in result.coverage


def test_coverage_in_words() -> None:
    result = checked(subject(NETWORK, 0), sample=100)
    assert result.coverage.startswith(
        f"All {result.size:,} parameters were covered by 4 directions over all blocks at once: an "
        f"isolated error above {result.resolution.size:.1g} "
        f"({result.resolution.relative:.1g} of the median entry) would have been seen"
    )
    assert "none wrong" in result.coverage
    assert result.resolution.probability == CONFIDENCE


def test_entries_smaller_than_the_resolution_are_counted_as_not_covered() -> None:
    theta = {"x": np.append(np.linspace(0.5, 1, 40), [1e-14, 1e-13])}
    cost, grad = quadratic({"x": 1.0})
    result = fgc.gradcheck(cost, grad, theta, strategy="screen", seed=0)
    assert "2 entries are smaller than that and not individually covered" in result.coverage
