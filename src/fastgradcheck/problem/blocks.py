"""One array of theta, and the names of its entries."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

OF = " / "
"""Stands between an output and the parameter by which it is differentiated."""


def entry_name(
    name: str, shape: tuple[int, ...], local: int, split: int | None = None, pairs: bool = False
) -> str:
    """Name the entry `local`, counted in C order, of an array of this name and shape.

    Parameters
    ----------
    name : str
    shape : tuple of int
    local : int
    split : int, optional
        Of a block of a Jacobian: how many of the axes are the output's.
    pairs : bool
        Whether the last axis holds real and imaginary part.

    Examples
    --------
    >>> entry_name("W1", (4, 6), 23), entry_name("c", (), 0)
    ('W1[3, 5]', 'c')
    >>> entry_name("defect / W1", (5, 2, 4, 6), 191, 2)
    'defect[3, 1] / W1[3, 5]'
    >>> entry_name("z", (4, 2), 7, pairs=True)
    'z[3].imag'
    """
    index = [str(i) for i in np.unravel_index(local, shape)]
    if pairs:
        return f"{name}{_subscript(index[:-1])}.{'imag' if index[-1] == '1' else 'real'}"
    if split is None:
        return name + _subscript(index)
    output, _, parameter = name.partition(OF)
    return f"{output}{_subscript(index[:split])}{OF}{parameter}{_subscript(index[split:])}"


def _subscript(index: list[str]) -> str:
    return f"[{', '.join(index)}]" if index else ""


@dataclass(frozen=True)
class Block:
    """One array of theta: the entries ``start`` to ``stop`` of the flat vector, in C order.

    Attributes
    ----------
    name : str
    start : int
        Flat index of the first entry.
    shape : tuple of int
    split : int, optional
        Of a block of a Jacobian: how many of the axes are the output's; the rest are the
        parameter's.
    pairs : bool
        Whether the last axis holds the real and imaginary parts of a complex array.

    Examples
    --------
    >>> block = Block("W1", 10, (2, 3))
    >>> block.stop, block.rows, block.columns, block.address(5)
    (16, 2, 3, 'W1[1, 2]')
    """

    name: str
    start: int
    shape: tuple[int, ...]
    split: int | None = None
    pairs: bool = False

    @cached_property
    def size(self) -> int:
        """Number of entries; 1 for a 0-d array."""
        return math.prod(self.shape)

    @property
    def stop(self) -> int:
        """Flat index one past the last entry."""
        return self.start + self.size

    @cached_property
    def slice(self) -> slice:
        """The block's part of a flat vector."""
        return slice(self.start, self.stop)

    @property
    def rows(self) -> int:
        """Rows of the block seen as a matrix.

        Its first axis, 1 below two dimensions; of a block of a Jacobian, the output's axes.
        """
        if self.split is not None:
            return math.prod(self.shape[: self.split])
        return self.shape[0] if len(self.shape) > 1 else 1

    @property
    def columns(self) -> int:
        """Columns of the block seen as a matrix: all other axes, one after the other."""
        return self.size // self.rows

    def address(self, local: int) -> str:
        """Name the entry `local` of the block, e.g. ``W1[3, 5]``, ``b1[2]``; ``c`` if 0-d."""
        return entry_name(self.name, self.shape, local, self.split, self.pairs)
