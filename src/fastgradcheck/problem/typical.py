"""What is a typical size of the entries of each block of theta."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem.median import median_size
from fastgradcheck.problem.parameters import Parameters

VANISHING = 2.0**-40
"""A block whose entries are smaller than this part of the median of all is as good as zero."""


def typical_sizes(theta: NDArray[Any], parameters: Parameters) -> NDArray[np.float64]:
    """The median size of the entries of each block that are not zero; shape (blocks,).

    A block of zeros (biases at initialisation) takes that of all of theta, or one. So does one
    that is vanishing beside the rest: what rounding leaves of a zero is no scale.
    """
    typical = np.array([median_size(theta[block.slice]) for block in parameters.blocks])
    if typical.min() <= VANISHING * typical.max():
        overall = median_size(theta) or 1.0
        typical[typical <= VANISHING * overall] = overall
    return typical
