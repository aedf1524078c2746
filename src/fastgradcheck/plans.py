"""What an engine is asked to evaluate: component stencils or directions.

A plan is a value: it says at which points J is wanted and nothing about why. Both kinds have
``len(plan)`` rows and ``plan.width`` points per row; an engine answers with a float (or complex)
array of that shape, in chunks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Stencils:
    """Points that differ from theta in one component each.

    Attributes
    ----------
    index : int64 array, shape (k,)
        The component that row r changes.
    points : array, shape (k, p), of theta's dtype or complex128
        The values that ``theta[index[r]]`` takes, one after the other. Absolute values, so that
        the step taken, ``points[r, j] - theta[index[r]]``, is exact.
    """

    index: NDArray[np.int64]
    points: NDArray[Any]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def width(self) -> int:
        return int(self.points.shape[1])

    @property
    def is_complex(self) -> bool:
        return bool(np.iscomplexobj(self.points))

    def rows(self, rows: slice | NDArray[np.int64]) -> Stencils:
        """The plan of these rows alone."""
        return replace(self, index=self.index[rows], points=self.points[rows])


@dataclass(frozen=True, eq=False)
class Directions:
    """Points theta + offset * scale * v, v a signed-magnitude direction on a region of a block.

    Row r moves the entries ``i = start + row * columns + column`` with ``row0 <= row < row1`` and
    ``column0 <= column < column1``; there ``v_i = signed_magnitude(keys[r], i)`` (see
    `fastgradcheck.hashing`), a function of the flat index alone, so that parts of a region share
    the region's v.

    Attributes
    ----------
    regions : int64 array, shape (k, 6)
        Columns: start, columns, row0, row1, column0, column1.
    keys : uint64 array, shape (k,)
        The hash key of each direction.
    offsets : array, shape (k, p), float64 or complex128
        Multiples of v.
    scale : float64 array, shape (n,), or None
        Multiplies v entry by entry; None for 1.
    """

    regions: NDArray[np.int64]
    keys: NDArray[np.uint64]
    offsets: NDArray[Any]
    scale: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def width(self) -> int:
        return int(self.offsets.shape[1])

    @property
    def is_complex(self) -> bool:
        return bool(np.iscomplexobj(self.offsets))

    def rows(self, rows: slice | NDArray[np.int64]) -> Directions:
        """The plan of these rows alone."""
        return replace(
            self, regions=self.regions[rows], keys=self.keys[rows], offsets=self.offsets[rows]
        )


Plan = Stencils | Directions
