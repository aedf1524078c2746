"""What a fingerprint is taken of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    """

    theta: Any
    args: tuple[Any, ...]
    layout: Mapping[str, Any] | None
    parameters: Parameters
    flat: NDArray[Any]

    @classmethod
    def of(cls, theta: Any, args: tuple[Any, ...], layout: Mapping[str, Any] | None) -> Subject:
        """The subject of these arguments of `gradcheck`."""
        theta = vector(theta)
        parameters = describe(theta, layout)
        flat = parameters.flatten(theta)
        flat.setflags(write=False)
        return cls(theta, args, layout, parameters, flat)

    @property
    def identity(self) -> dict[str, str]:
        """What must be equal for values of J to be of any use: its name, and a digest."""
        blocks = [(block.name, block.shape) for block in self.parameters.blocks]
        return {
            "the size of theta": f"{self.parameters.size:,}",
            "the names and shapes of theta's arrays": hexdigest(bytes_of(blocks)),
            "the values of theta": hexdigest(bytes_of(self.flat)),
            "args": hexdigest(bytes_of(self.args)),
        }
