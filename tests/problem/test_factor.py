"""A factor is never rounded to one."""

from __future__ import annotations

import math

import pytest

from fastgradcheck.problem.factor import as_factor


@pytest.mark.parametrize("away", [10.0**-k for k in range(1, 15)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_what_is_not_one_does_not_look_like_it(away: float, sign: float) -> None:
    for ratio in (sign * (1.0 + away), sign * (1.0 - away)):
        told = float(as_factor(ratio))
        assert told != sign
        assert abs(told - ratio) <= 0.1 * away


@pytest.mark.parametrize(
    ("ratio", "told"),
    [(1.0, "1"), (2.0, "2"), (1 / 3, "0.3333"), (123456.0, "1.235e+05"), (math.inf, "inf")],
)
def test_others_keep_four_digits(ratio: float, told: str) -> None:
    assert as_factor(ratio) == told
