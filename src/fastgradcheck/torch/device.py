"""Points of plans on the device of a module, by the hash that NumPy uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastgradcheck.evaluation.hashing import signed_magnitude
from fastgradcheck.evaluation.plans import Plan
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.region import Region, part

HERE = "cpu"
"""The device that works in the memory of NumPy's arrays: they are not copied."""
CHUNK = 1 << 22
"""Entries that are hashed at a time: what lies between takes a few times as much memory."""


class Words:
    """Unsigned words of 64 bits in a tensor of int64, which multiplies and adds as they do.

    torch has no arithmetic of uint64. What differs from that of int64 is `>>`, which must shift
    in zeros.

    Examples
    --------
    >>> (Words(torch.tensor([-1])) >> np.uint64(60)).bits
    tensor([15])
    """

    __array_ufunc__ = None
    """NumPy's scalars leave arithmetic with words to these."""

    def __init__(self, bits: torch.Tensor) -> None:
        self.bits = bits

    def __add__(self, other: Any) -> Words:
        return Words(self.bits + _bits(other))

    __radd__ = __add__

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, float):
            # Only what is below 2^53 is multiplied by a float: int64 holds it, and float64 too.
            return self.bits.double() * other
        return Words(self.bits * _bits(other))

    __rmul__ = __mul__

    def __xor__(self, other: Any) -> Words:
        return Words(self.bits ^ _bits(other))

    def __and__(self, other: Any) -> Words:
        return Words(self.bits & _bits(other))

    def __rshift__(self, places: Any) -> Words:
        return Words((self.bits >> int(places)) & ((1 << (64 - int(places))) - 1))


def _bits(word: Any) -> Any:
    """A word as int64 has it."""
    return word.bits if isinstance(word, Words) else int(np.uint64(word).astype(np.int64))


class TorchDevice:
    """Makes points where the parameters of a module are; see `evaluation.plans.Device`.

    Parameters
    ----------
    evaluate : callable
        J of the blocks of many points: a tensor with one entry for each.
    parameters : Parameters
    theta : float64 array, shape (n,)
    device : torch.device
    """

    def __init__(
        self,
        evaluate: Callable[[Mapping[str, torch.Tensor]], torch.Tensor],
        parameters: Parameters,
        theta: NDArray[np.float64],
        device: torch.device,
    ) -> None:
        self._evaluate = evaluate
        self._parameters = parameters
        self._theta = torch.tensor(theta, device=device)
        self._scale: tuple[Any, Any] = (None, None)

    def values(self, plan: Plan) -> NDArray[Any]:
        """J at every point of a plan."""
        values = self._evaluate(self._parameters.unflatten(plan.on(self)))
        array: NDArray[Any] = values.double().cpu().numpy()
        return array

    def stencils(self, index: NDArray[np.int64], points: NDArray[Any]) -> torch.Tensor:
        """The points of `Stencils`, as rows."""
        rows = self._theta.repeat(points.size, 1)
        columns = self._here(np.repeat(index, points.shape[1]))
        rows[torch.arange(points.size, device=rows.device), columns] = self._here(points.ravel())
        return rows

    def directions(
        self,
        regions: NDArray[np.int64],
        keys: NDArray[np.uint64],
        offsets: NDArray[Any],
        scale: NDArray[np.float64] | None,
    ) -> torch.Tensor:
        """The points of `Directions`, as rows."""
        rows = self._theta.repeat(offsets.size, 1)
        if scale is not self._scale[0]:
            # One array serves for all plans of a check: it is copied once.
            self._scale = scale, None if scale is None else self._here(scale)
        factor = self._scale[1]
        width = offsets.shape[1]
        for place, (region, key) in enumerate(zip(regions, keys, strict=True)):
            v, origin = self._direction(region, key), part(self._theta, region)
            for row, offset in enumerate(offsets[place].tolist(), place * width):
                step = offset * v
                # In the order in which NumPy and Numba multiply and add.
                step = step if factor is None else step * part(factor, region)
                part(rows[row], region)[...] = origin + step
        return rows

    def _direction(self, region: Region, key: np.uint64) -> torch.Tensor:
        """The entries of a direction in a region; see `evaluation.hashing.signed_magnitude`."""
        start, columns, row0, row1, column0, column1 = region.tolist()
        rows = torch.arange(row0, row1, device=self._theta.device)[:, None]
        index = start + rows * columns
        index = index + torch.arange(column0, column1, device=self._theta.device)
        pieces = index.view(-1).split(CHUNK)
        return torch.cat([signed_magnitude(key, Words(piece)) for piece in pieces]).view_as(index)

    def _here(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.tensor(array, device=self._theta.device)
