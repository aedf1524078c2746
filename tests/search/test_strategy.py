"""What is screened and what is measured one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from tests.cases.faults import subject
from tests.cases.screened import NETWORK, checked, quadratic


def test_auto_screens_beyond_two_thousand_components() -> None:
    for n, screens in ((2000, False), (2001, True)):
        theta = {"x": np.linspace(0.1, 1.0, n)}
        cost, grad = quadratic({"x": 1.0})
        result = fgc.gradcheck(cost, grad, theta, seed=0)
        assert result
        assert (result.strategy == "screen") is screens
        assert len(result.components) == (16 if screens else n)


@pytest.mark.parametrize(
    ("options", "components", "directions"),
    [
        ({"sample": 7}, 7, False),
        ({"sample": 7, "strategy": "screen"}, 7, True),
        ({"strategy": "screen"}, 0, True),
        ({"sample": 7, "strategy": "components"}, 7, False),
    ],
)
def test_a_sample_is_exactly_that_unless_a_strategy_is_given(
    options: dict[str, Any], components: int, directions: bool
) -> None:
    s = subject(NETWORK, 0)
    result = checked(s, **{"strategy": "auto"} | options)
    assert len(result.components) == components
    assert any(b.directions for b in result.blocks) is directions
    assert ("covered by 4 directions" in result.coverage) is directions


def test_thousands_of_components_of_a_long_sum_are_known_to_the_threshold() -> None:
    """Moved together, they show more noise than one that is moved by itself."""
    theta = np.random.default_rng(0).normal(size=5000)
    result = fgc.gradcheck(
        lambda t: float(np.cumsum(t**4)[-1]),
        lambda t: 4 * t**3,
        theta,
        strategy="components",
        seed=0,
    )
    assert result, str(result)
    measured = result.components
    assert np.all(np.abs(measured["numeric"] - 4 * theta**3) <= measured["error"])
