"""What an engine is asked to evaluate: component stencils or directions.

A plan is a value: it says at which points J is wanted and nothing about why. Every kind has
``len(plan)`` rows and ``plan.width`` points per row; an engine answers with a float (or complex)
array of that shape, in chunks. A plan writes its points by itself, so that neither engines nor
anything else asks which kind it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.evaluation.hashing import LARGE_REGION, direction
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.region import flat_index, part


class Device(Protocol):
    """Where J is evaluated, if arrays of NumPy would have to be copied there, and how to avoid it.

    Points are made there from the few numbers that tell a plan. They are bit-identical to those
    that the plan itself writes.
    """

    def stencils(self, index: NDArray[np.int64], points: NDArray[Any]) -> Any:
        """The points of `Stencils`, as rows of an array."""

    def directions(
        self,
        regions: NDArray[np.int64],
        keys: NDArray[np.uint64],
        offsets: NDArray[Any],
        scale: NDArray[np.float64] | None,
    ) -> Any:
        """The points of `Directions`, as rows of an array."""

    def values(self, plan: Plan) -> NDArray[Any]:
        """J at every point of a real plan, shape ``(len(plan) * plan.width,)``."""


class Plan(Protocol):
    """Points at which J is wanted."""

    def __len__(self) -> int:
        """Number of rows."""

    @property
    def width(self) -> int:
        """Points per row."""

    @property
    def pieces(self) -> int:
        """How many pieces of work the compiled loops deal out to threads."""

    @property
    def is_complex(self) -> bool:
        """Whether theta is moved along the imaginary axis."""

    @property
    def common(self) -> NDArray[np.float64] | None:
        """An array of theta's size that all rows share, if there is one."""

    def with_common(self, common: NDArray[np.float64] | None) -> Self:
        """The same plan with another such array."""

    def rows(self, rows: slice | NDArray[np.int64]) -> Self:
        """The plan of these rows alone."""

    def by_point(self) -> Self:
        """The same points with a row for each."""

    def content(self) -> tuple[NDArray[Any], ...]:
        """What tells its rows from those of any other plan of its kind, but for `common`."""

    def arrays(self, dtype: np.dtype[Any]) -> tuple[NDArray[Any], ...]:
        """All of it as the compiled loops take it, points in this dtype."""

    def on(self, device: Device) -> Any:
        """All points, as the rows of an array that the device makes."""

    def visit(self, work: NDArray[Any], theta: NDArray[Any]) -> Iterator[None]:
        """Write one point after the other into `work`, which holds theta again at the end."""

    def address(self, parameters: Parameters, row: int) -> str:
        """What a row moves: a parameter, or a block."""

    def displacement(
        self, parameters: Parameters, theta: NDArray[Any], row: int, point: int
    ) -> tuple[float, str]:
        """The step of a point, and where it is, in words."""


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
    def pieces(self) -> int:
        return len(self)

    @property
    def is_complex(self) -> bool:
        return bool(np.iscomplexobj(self.points))

    @property
    def common(self) -> None:
        return None

    def with_common(self, common: NDArray[np.float64] | None) -> Stencils:
        return self

    def rows(self, rows: slice | NDArray[np.int64]) -> Stencils:
        return Stencils(self.index[rows], self.points[rows])

    def by_point(self) -> Stencils:
        return Stencils(np.repeat(self.index, self.width), self.points.reshape(-1, 1))

    def content(self) -> tuple[NDArray[Any], ...]:
        return self.index, self.points

    def arrays(self, dtype: np.dtype[Any]) -> tuple[NDArray[Any], ...]:
        return self.index, self.points.astype(dtype, copy=False)

    def on(self, device: Device) -> Any:
        return device.stencils(self.index, self.points)

    def visit(self, work: NDArray[Any], theta: NDArray[Any]) -> Iterator[None]:
        # Python numbers, because NumPy scalars make the item assignment twice as slow.
        origins = theta[self.index].tolist()
        for i, origin, points in zip(
            self.index.tolist(), origins, self.points.tolist(), strict=True
        ):
            for point in points:
                work[i] = point
                yield
            work[i] = origin

    def address(self, parameters: Parameters, row: int) -> str:
        return parameters.address(int(self.index[row]))

    def displacement(
        self, parameters: Parameters, theta: NDArray[Any], row: int, point: int
    ) -> tuple[float, str]:
        step = self.points[row, point] - theta[self.index[row]]
        return _length(step), f"{self.address(parameters, row)}{_signed(step)}"


@dataclass(frozen=True, eq=False)
class Directions:
    """Points theta + offset * scale * v, v a signed-magnitude direction on a region of a block.

    Row r moves the entries ``i = start + row * columns + column`` with ``row0 <= row < row1`` and
    ``column0 <= column < column1``; there ``v_i = signed_magnitude(keys[r], i)`` (see
    `evaluation.hashing`), a function of the flat index alone, so that parts of a region share the
    region's v.

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
    def pieces(self) -> int:
        return len(self) * self.width

    @property
    def is_complex(self) -> bool:
        return bool(np.iscomplexobj(self.offsets))

    @property
    def common(self) -> NDArray[np.float64] | None:
        return self.scale

    def with_common(self, common: NDArray[np.float64] | None) -> Directions:
        return replace(self, scale=common)

    def rows(self, rows: slice | NDArray[np.int64]) -> Directions:
        return replace(
            self, regions=self.regions[rows], keys=self.keys[rows], offsets=self.offsets[rows]
        )

    def by_point(self) -> Directions:
        return replace(
            self,
            regions=np.repeat(self.regions, self.width, axis=0),
            keys=np.repeat(self.keys, self.width),
            offsets=self.offsets.reshape(-1, 1),
        )

    def content(self) -> tuple[NDArray[Any], ...]:
        return self.regions, self.keys, self.offsets

    def arrays(self, dtype: np.dtype[Any]) -> tuple[NDArray[Any], ...]:
        scale = np.empty(0) if self.scale is None else self.scale
        return *self.content(), scale

    def on(self, device: Device) -> Any:
        return device.directions(self.regions, self.keys, self.offsets, self.scale)

    def visit(self, work: NDArray[Any], theta: NDArray[Any]) -> Iterator[None]:
        # A row that moves the same region as the one before it writes all of it.
        left = np.append((self.regions[1:] != self.regions[:-1]).any(axis=1), True)
        for row, region in enumerate(self.regions):
            move = self._mover(row, work, theta)
            for offset in self.offsets[row]:
                move(offset)
                yield
            if left[row]:
                part(work, region)[...] = part(theta, region)

    def _mover(self, row: int, work: NDArray[Any], theta: NDArray[Any]) -> Callable[[Any], None]:
        """Writes ``theta + offset * v * scale`` to the region of a row, for one offset."""
        region, key = self.regions[row], self.keys[row]
        here, origin = part(work, region), part(theta, region)
        if here.size > LARGE_REGION:
            from fastgradcheck.evaluation.engines.kernels import perturb

            return lambda offset: perturb(work, theta, region, key, offset, self.scale)
        v = direction(key, flat_index(region))
        factor = 1.0 if self.scale is None else part(self.scale, region)

        def move(offset: Any) -> None:
            here[...] = origin + offset * v * factor

        return move

    def address(self, parameters: Parameters, row: int) -> str:
        return parameters.blocks[parameters.block_index(int(self.regions[row, 0]))].name

    def displacement(
        self, parameters: Parameters, theta: NDArray[Any], row: int, point: int
    ) -> tuple[float, str]:
        offset = self.offsets[row, point]
        where = f"{self.address(parameters, row)}{_signed(offset)} * (a random direction)"
        return _length(offset), where


def _length(step: Any) -> float:
    """A step along the imaginary axis counts by its imaginary part."""
    return float(step.imag if step.imag else step.real)


def _signed(step: Any) -> str:
    size = _length(step)
    return f" {'-' if size < 0 else '+'} {abs(size):.3g}{'j' if step.imag else ''}"
