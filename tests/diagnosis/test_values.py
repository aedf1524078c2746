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


def test_a_factor_that_only_looks_like_the_size_of_the_block() -> None:
    n = numbers(3)
    (finding,) = block_diagnosis(n, 1.5 * n)
    assert finding.message.startswith("W: every entry is 1.5 times the numeric one (ratio 1.5 ")
    many = numbers(40)
    (finding,) = block_diagnosis(many, 1.000001 * many)
    assert finding.message.startswith("W: every entry is 1.000001 times the numeric one (ratio 1.0")
    (finding,) = block_diagnosis(n, 3.0 * n)
    assert "lacks the 1/3" in finding.message


def test_a_factor_of_the_data_alone() -> None:
    n, theta = numbers(6, 5), numbers(6, 5, seed=1)
    data = n - 0.1 * theta
    (finding,) = block_diagnosis(n, -data + 0.1 * theta, theta=theta)
    assert finding.kind == "data-factor"
    assert finding.message.startswith(
        "W: apart from lambda * theta, every entry is exactly -1 times the numeric one (lambda 0.1 "
    )
    (finding,) = block_diagnosis(n, 23 * data + 0.1 * theta, theta=theta, args=(numbers(23, 2),))
    assert "apart from lambda * theta, lacks the 1/23: every entry is exactly 23 times" in str(
        finding
    )
    (finding,) = block_diagnosis(n, 1.25 * data + 0.1 * theta, theta=theta)
    assert "apart from lambda * theta, every entry is 1.25 times the numeric one" in finding.message


def test_the_sign_of_the_regularisation() -> None:
    n, theta = numbers(6, 5), numbers(6, 5, seed=1)
    for args, text in [
        (
            (0.1,),
            "has the wrong sign in the gradient (lambda = args[0]), or is missing there (lambda = "
            "2 * args[0]).",
        ),
        ((0.2,), "The L2 regularisation of the cost is missing in the gradient; lambda = args[0]."),
        (
            (),
            "is missing in the gradient, or in part, or has the wrong sign there (then lambda = "
            "0.1).",
        ),
    ]:
        (finding,) = block_diagnosis(n, n - 0.2 * theta, theta=theta, args=args)
        assert finding.message.endswith(text)
