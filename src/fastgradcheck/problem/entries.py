"""The entries of a Jacobian: their order, their names, and blocks of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem.blocks import OF, Block
from fastgradcheck.problem.outputs import Outputs
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.structure import Flat, Leaf, Node, leaf_paths

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Entries:
    """The entries of a Jacobian as one flat vector, a block for each output and parameter.

    Attributes
    ----------
    outputs : Outputs
    parameters : Parameters
        Of theta.
    """

    outputs: Outputs
    parameters: Parameters

    @cached_property
    def names(self) -> Parameters:
        """Blocks and addresses, such as ``defect[3, 1] / W1[3, 5]``."""
        blocks: list[Block] = []
        for output in self.outputs.blocks:
            for parameter in self.parameters.blocks:
                shape = (*output.shape, *parameter.shape)
                start = blocks[-1].stop if blocks else 0
                name = f"{output.name}{OF}{parameter.name}"
                blocks.append(Block(name, start, shape, len(output.shape)))
        return Parameters(tuple(blocks), Flat(), np.dtype(np.float64))

    @cached_property
    def _edges(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = np.array([block.start for block in self.outputs.blocks])
        return rows, self.parameters.blocks_start

    def pairs(self) -> Iterator[tuple[int, Block, Block]]:
        """Every block: its number, the output, and the parameter."""
        parameters = self.parameters.blocks
        for o, output in enumerate(self.outputs.blocks):
            for b, parameter in enumerate(parameters):
                yield o * len(parameters) + b, output, parameter

    def flat(self, rows: Any, columns: Any) -> NDArray[np.int64]:
        """The flat index of entries, given by row and column of the Jacobian."""
        rows, columns = np.broadcast_arrays(rows, columns)
        o = np.searchsorted(self._edges[0], rows, side="right") - 1
        b = np.searchsorted(self._edges[1], columns, side="right") - 1
        starts = self.names.blocks_start[o * len(self._edges[1]) + b]
        sizes = np.array([block.size for block in self.parameters.blocks])[b]
        index: NDArray[np.int64] = (
            starts + (rows - self._edges[0][o]) * sizes + columns - self._edges[1][b]
        )
        return index

    def places(self, flat: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column in the Jacobian of entries, given by their flat index."""
        number = np.searchsorted(self.names.blocks_start, flat, side="right") - 1
        o, b = np.divmod(number, len(self._edges[1]))
        sizes = np.array([block.size for block in self.parameters.blocks])[b]
        row, column = np.divmod(flat - self.names.blocks_start[number], sizes)
        return row + self._edges[0][o], column + self._edges[1][b]


def nested(matrix: Array, outputs: Outputs, parameters: Parameters) -> Any:
    """A matrix of shape (m, n) as blocks, outputs outside and parameters inside.

    The blocks have the shapes of their output and their parameter, one after the other.
    """
    parts, start = {}, 0
    for path, shape in outputs.paths:
        rows = matrix[start : start + int(np.prod(shape))]
        start += len(rows)
        if isinstance(parameters.structure, Flat):
            parts[path] = rows.reshape(*shape, parameters.size)
            continue
        where = leaf_paths(parameters.structure)
        inner = {
            key: rows[:, block.slice].reshape(*shape, *block.shape)
            for key, block in zip(where, parameters.blocks, strict=True)
        }
        parts[path] = _tree(parameters.structure, inner)
    return outputs.rebuilt(parts)


def _tree(structure: Leaf | Node, parts: Mapping[Any, Any], path: tuple[Any, ...] = ()) -> Any:
    """A nest like theta, of any blocks."""
    if isinstance(structure, Leaf):
        return parts[path]
    children = [
        _tree(child, parts, (*path, key))
        for key, child in zip(structure.keys, structure.children, strict=True)
    ]
    return structure.build(children)
