"""Bars, spoiled entries and second faults support no more than they should."""

from __future__ import annotations

import numpy as np
import pytest

from tests.cases.diagnosed import block_diagnosis, numbers


@pytest.mark.parametrize("bar", [0.3, 1.0])
def test_wide_bars_support_no_claim(bar: float) -> None:
    n = numbers(3, 3)
    assert block_diagnosis(n, 2.0 * n, bar=bar) == ()


def test_a_second_fault_does_not_hide_the_first() -> None:
    n = numbers(10, 10)
    gradient = 2.0 * n
    gradient[3, 4] = 17.0
    (finding,) = block_diagnosis(n, gradient)
    assert finding.kind == "factor"
    assert "in 99 of 100 entries" in finding.message


def test_nothing_measured_is_nothing_said() -> None:
    n = numbers(3, 3)
    assert block_diagnosis(n, 2.0 * n, chosen=np.arange(0)) == ()
    assert block_diagnosis(np.full((3, 3), np.nan), n) == ()


def test_a_gradient_that_is_not_finite_is_told_first_with_the_numeric_value() -> None:
    n = np.arange(1.0, 10.0).reshape(3, 3)
    (finding,) = block_diagnosis(n, np.full((3, 3), np.nan))
    assert finding.kind == "not-finite"
    assert finding.message.startswith(
        "W[0, 0]: the gradient is nan, the numeric one is 1; 8 more entries are not finite. A "
        "division 0/0, log(0)"
    )
    gradient = 2 * n
    gradient[1, 2] = np.inf
    first, second = block_diagnosis(n, gradient)
    assert first.message.startswith("W[1, 2]: the gradient is inf, the numeric one is 6. A div")
    assert second.kind == "factor"
    (finding,) = block_diagnosis(n, gradient, chosen=np.arange(2, 6), bar=np.nan)
    assert finding.message.startswith("W[1, 2]: the gradient is inf. A division")


def test_a_few_spoiled_entries_do_not_hide_the_pattern() -> None:
    n = numbers(10, 10)
    truth = n.copy()
    truth[0, 0] = np.inf
    (finding,) = block_diagnosis(truth, 2.0 * n)
    assert "in 99 of 99 entries" in finding.message
