"""What every report says: addresses and the order of the components."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastgradcheck.report import content
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.results import (
    WRONG,
    make_block,
    make_components,
    make_result,
)


@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 3, 4)])
def test_addresses_are_those_of_numpy_and_read_back(shape: tuple[int, ...]) -> None:
    blocks = (make_block("first[0].W", (5,)), make_block("first[0].Wx", shape))
    for i, place in enumerate(np.ndindex(*shape)):
        expected = "first[0].Wx" + (f"[{', '.join(map(str, place))}]" if place else "")
        assert content.address(blocks, 5 + i) == expected
        assert content.index(blocks, expected) == 5 + i


def test_regions_and_strangers_have_no_index() -> None:
    blocks = (make_block("W1", (3, 4)),)
    for name in ("W1", "W1[:, 3]", "W1[1]", "W2[0, 0]"):
        assert content.index(blocks, name) is None


def test_nan_and_infinity_are_the_worst_components() -> None:
    analytic = np.concatenate([np.full(100, 5.0), [math.nan, math.inf]])
    numeric = np.concatenate([np.zeros(100), [1.0, math.inf]])
    components = make_components(analytic, numeric, verdict=WRONG.code)
    result = make_result(
        verdict=WRONG, blocks=(make_block("w", (102,), verdict=WRONG),), components=components
    )
    shown = {row.address for row in content.worst_rows(result, 5)}
    assert {"w[100]", "w[101]"} <= shown


def test_an_error_beside_what_is_no_number_is_none() -> None:
    for analytic, numeric in ((0.0, np.nan), (np.nan, 0.0), (np.inf, 1.0), (np.inf, -np.inf)):
        assert np.isnan(content.Row("W", 0, analytic, numeric, 1.0, Verdict.WRONG).relative_error)
    assert content.Row("W", 0, 1.0, -1.0, 0.1, Verdict.WRONG).relative_error == 2.0
