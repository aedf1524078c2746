"""One array of theta, and the names of its entries."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


def entry_name(name: str, shape: tuple[int, ...], local: int) -> str:
    """Name the entry `local`, counted in C order, of an array of this name and shape.

    Examples
    --------
    >>> entry_name("W1", (4, 6), 23), entry_name("c", (), 0)
    ('W1[3, 5]', 'c')
    """
    index = ", ".join(str(i) for i in np.unravel_index(local, shape))
    return f"{name}[{index}]" if index else name


@dataclass(frozen=True)
class Block:
    """One array of theta: the entries ``start`` to ``stop`` of the flat vector, in C order.

    Attributes
    ----------
    name : str
    start : int
        Flat index of the first entry.
    shape : tuple of int

    Examples
    --------
    >>> block = Block("W1", 10, (2, 3))
    >>> block.stop, block.rows, block.columns, block.address(5)
    (16, 2, 3, 'W1[1, 2]')
    """

    name: str
    start: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of entries; 1 for a 0-d array."""
        return math.prod(self.shape)

    @property
    def stop(self) -> int:
        """Flat index one past the last entry."""
        return self.start + self.size

    @property
    def slice(self) -> slice:
        """The block's part of a flat vector."""
        return slice(self.start, self.stop)

    @property
    def rows(self) -> int:
        """Rows of the block seen as a matrix: its first axis, 1 below two dimensions."""
        return self.shape[0] if len(self.shape) > 1 else 1

    @property
    def columns(self) -> int:
        """Columns of the block seen as a matrix: all axes but the first, one after the other."""
        return self.size // self.rows

    def address(self, local: int) -> str:
        """Name the entry `local` of the block, e.g. ``W1[3, 5]``, ``b1[2]``; ``c`` if 0-d."""
        return entry_name(self.name, self.shape, local)
