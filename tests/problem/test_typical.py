"""Typical sizes of blocks, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.typical import VANISHING, typical_sizes


def sizes(**blocks):
    theta = {name: np.array(values, float) for name, values in blocks.items()}
    parameters = describe(theta)
    return typical_sizes(parameters.flatten(theta), parameters).tolist()


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ({"a": [1, -3, 5], "b": [100]}, [3, 100]),
        ({"a": [0, 0, -4]}, [4]),  # zeros have no say
        ({"a": [2, 2, 2], "b": [0, 0]}, [2, 2]),  # a block of zeros takes that of all
        ({"a": [0, 0]}, [1]),
        ({"a": [2, 2, 2], "b": [VANISHING]}, [2, 2]),  # as good as zero
        ({"a": [2, 2, 2], "b": [4 * VANISHING]}, [2, 4 * VANISHING]),
    ],
)
def test_typical_sizes(blocks, expected):
    assert sizes(**blocks) == expected
