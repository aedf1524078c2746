"""What a fingerprint is taken of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem.nests import bytes_of, hexdigest
from fastgradcheck.problem.parameters import Parameters, describe, vector


@dataclass(frozen=True, eq=False)
class Subject:
    """Theta and args, as the user has them.

    Attributes
    ----------
    theta : nest
    args : tuple
    layout : mapping or None
    parameters : Parameters
    flat : float array, shape (n,), read-only
    values : str
        A digest of it.
    """

    theta: Any
    args: tuple[Any, ...]
    layout: Mapping[str, Any] | None
    parameters: Parameters
    flat: NDArray[Any]
    values: str

    @classmethod
    def of(
        cls,
        theta: Any,
        args: tuple[Any, ...],
        layout: Mapping[str, Any] | None,
        known: Subject | None = None,
    ) -> Subject:
        """The subject of these arguments of `gradcheck`.

        If theta is equal to that of a `known` one, so is its digest, which takes ten times longer
        than to compare them.
        """
        theta = vector(theta)
        parameters = describe(theta, layout)
        flat = parameters.flatten(theta)
        flat.setflags(write=False)
        values = "" if known is None else known.values_of(flat)
        values = values or hexdigest(bytes_of(flat))
        return cls(theta, args, layout, parameters, flat, values)

    def values_of(self, flat: NDArray[Any]) -> str:
        """The digest of a flat theta that is equal to this one; empty if it is not."""
        same = flat.dtype == self.flat.dtype and np.array_equal(flat, self.flat)
        return self.values if same else ""

    @property
    def identity(self) -> dict[str, str]:
        """What must be equal for values of J to be of any use: its name, and a digest."""
        blocks = [(block.name, block.shape) for block in self.parameters.blocks]
        return {
            "the size of theta": f"{self.parameters.size:,}",
            "the names and shapes of theta's arrays": hexdigest(bytes_of(blocks)),
            "the values of theta": self.values,
            "args": hexdigest(bytes_of(self.args)),
        }
