"""Tensors of what a loss takes and returns."""

from __future__ import annotations

from typing import Any

import torch

from fastgradcheck.errors import GradcheckTypeError
from fastgradcheck.problem.nests import entries, rebuilt


def scalar(value: Any) -> torch.Tensor:
    """What a loss returned, if it is a real scalar tensor."""
    if not isinstance(value, torch.Tensor):
        raise GradcheckTypeError(
            f"the loss returned a {type(value).__name__}: it must return the scalar tensor itself, "
            "without .item() or float()."
        )
    if value.dim() or not value.is_floating_point():
        shape = tuple(value.shape)
        raise GradcheckTypeError(
            f"the loss returned a tensor of shape {shape} and {value.dtype}: it must return one "
            "real number; reduce it by .sum() or .mean()."
        )
    return value


def tensor_of(array: Any) -> torch.Tensor:
    """An array as a tensor on the same memory."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def cast(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """A floating-point tensor in another dtype; any other as it is."""
    return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)


def converted(value: Any, dtype: torch.dtype) -> Any:
    """A nest with its floating-point tensors and arrays in another dtype."""
    if isinstance(value, torch.Tensor):
        return cast(value.detach(), dtype)
    if getattr(getattr(value, "dtype", None), "kind", "") == "f":
        return value.astype(str(dtype).removeprefix("torch."))
    parts = entries(value)
    if parts is None:
        return value
    before = dict(parts)
    after = {key: converted(part, dtype) for key, part in before.items()}
    changed = any(after[key] is not part for key, part in before.items())
    return rebuilt(value, after) if changed else value
