"""Patterns of values are recognised: factors, forgotten terms, precision."""

from __future__ import annotations

import numpy as np

from tests.cases.diagnosed import block_diagnosis, numbers


def test_the_message_tells_the_evidence_and_the_cause() -> None:
    n = numbers(40, 32)
    (finding,) = block_diagnosis(n, 2.0 * n)
    assert finding.kind == "factor"
    assert finding.message.startswith(
        "W: every entry is exactly 2 times the numeric one (ratio 2 +- "
    )
    assert "in 1,280 of 1,280 entries). The cost has a factor 1/2" in finding.message


def test_the_batch_size_is_recognised_wherever_it_is_in_args() -> None:
    n = numbers(4, 4)
    (finding,) = block_diagnosis(n, 128.0 * n, args=({"data": [numbers(128, 3)]},))
    assert "lacks the 1/128" in finding.message
    assert "128 (the first axis of args[0]['data'][0])" in finding.message
    (finding,) = block_diagnosis(n, n / 64.0, args=(numbers(3, 64),))
    assert "has a 1/64 too many" in finding.message


def test_a_factor_among_the_arguments_is_recognised() -> None:
    n = numbers(4, 4)
    (finding,) = block_diagnosis(n, 0.73 * n, args=(numbers(9, 3), 0.73))
    assert "which is args[1]" in finding.message


def test_l1_regularisation_is_told_from_l2() -> None:
    n, theta = numbers(6, 6), numbers(6, 6, seed=1)
    (finding,) = block_diagnosis(n, n - 0.2 * np.sign(theta), theta=theta, args=(0.4, numbers(2)))
    assert "-0.2 * sign(theta)" in finding.message
    assert "L1 regularisation of the cost is missing" in finding.message


def test_one_entry_supports_an_exact_factor_and_no_other() -> None:
    assert block_diagnosis([0.7], [1.4])[0].kind == "factor"
    assert block_diagnosis([0.7], [1.3]) == ()
    assert block_diagnosis([0.7], [1.4], bar=1e-4) == ()


def test_round_numbers_are_not_taken_for_single_precision() -> None:
    n = np.ones(8) + 1e-7 * numbers(8)
    assert block_diagnosis(n, np.ones(8)) == ()
