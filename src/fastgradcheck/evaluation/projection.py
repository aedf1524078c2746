"""The claimed gradient along the displacements that directions really take."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.evaluation import hashing
from fastgradcheck.evaluation.hashing import LARGE_REGION
from fastgradcheck.evaluation.plans import Directions
from fastgradcheck.problem.region import flat_index


def project(
    covector: NDArray[np.float64], theta: NDArray[Any], plan: Directions, threads: int
) -> NDArray[np.float64]:
    """Covector . (theta' - theta) for every point theta' of a plan, displacements as taken."""
    sizes = (plan.regions[:, 3] - plan.regions[:, 2]) * (plan.regions[:, 5] - plan.regions[:, 4])
    if sizes.max() > LARGE_REGION:
        from fastgradcheck.evaluation.engines import kernels

        arguments = (plan.regions, plan.keys, plan.offsets, plan.scale, threads)
        return kernels.project(covector, theta, *arguments)
    sums = np.empty(plan.offsets.shape)
    for row, region in enumerate(plan.regions):
        index = flat_index(region).ravel()
        v = hashing.direction(plan.keys[row], index)
        if plan.scale is not None:
            v = v * plan.scale[index]
        here = theta[index]
        for place, offset in enumerate(plan.offsets[row]):
            moved = (here + offset * v).astype(here.dtype).astype(np.float64)
            sums[row, place] = covector[index] @ (moved - here)
    return sums
