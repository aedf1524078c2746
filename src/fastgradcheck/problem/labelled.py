"""Arrays with named dimensions: DataArrays and Datasets of xarray.

The library is not imported here: whoever hands over a DataArray has imported it.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError

POINTS = "points"
"""The first dimension of a DataArray of many points in one call."""


def kind_in_xarray(value: Any) -> Literal["array", "dataset"] | None:
    """Whether it is a DataArray or a Dataset."""
    xarray = sys.modules.get("xarray")
    if xarray is None or not hasattr(xarray, "DataArray"):
        return None
    if isinstance(value, xarray.DataArray):
        return "array"
    return "dataset" if isinstance(value, xarray.Dataset) else None


@dataclass(frozen=True)
class LikeDataArray:
    """Makes a DataArray of a NumPy array, with the dimensions and coordinates of another."""

    template: Any

    def __call__(self, array: NDArray[Any]) -> Any:
        own = self.template
        if array.ndim == own.ndim:
            return own.copy(data=array)
        dims = (POINTS, *own.dims)
        return type(own)(array, coords=own.coords, dims=dims, name=own.name, attrs=own.attrs)

    def aligned(self, value: Any, where: str) -> Any:
        """A DataArray in the order of the template's dimensions and labels; others as they are.

        Raises
        ------
        GradcheckInputError
            If it has other dimensions or labels.
        """
        own = self.template
        if kind_in_xarray(value) != "array":
            return value
        if set(value.dims) != set(own.dims):
            raise GradcheckInputError(
                f"{where} has the dimensions {value.dims}, but theta has {own.dims} there. A sum "
                "over the wrong dimension, or one that arithmetic added, is the usual cause."
            )
        for dim in own.dims:
            labelled = dim in own.indexes and dim in value.indexes
            if not labelled or own.indexes[dim].equals(value.indexes[dim]):
                continue
            if set(own.indexes[dim]) != set(value.indexes[dim]):
                raise GradcheckInputError(
                    f"{where} has other labels along {dim!r} than theta: arithmetic of DataArrays "
                    "keeps only labels that both have. Use .reindex_like(theta), or .to_numpy()."
                )
            value = value.sel({dim: own.indexes[dim]})
        return value.transpose(*own.dims)


def variables(dataset: Any) -> dict[Hashable, Any]:
    """The variables of a Dataset that are parameters: not whole numbers, texts and times."""
    items = dataset.data_vars.items()
    return {name: array for name, array in items if array.dtype.kind in "fc"}
