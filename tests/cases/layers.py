"""A linear layer as a torch Function, with the mistakes that people make in backward passes."""

from __future__ import annotations

from typing import Any

import torch

FAULTS = (
    "sign",
    "factor",
    "dropped tile",
    "transposed",
    "stale saved tensor",
    "mean over the batch",
    "missing scale",
)


class Affine(torch.autograd.Function):
    """``scale * (x @ weight.T) + bias``."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        scale: float,
        fault: str,
    ) -> torch.Tensor:
        ctx.save_for_backward(x + 0.5 if fault == "stale saved tensor" else x, weight)
        ctx.scale, ctx.fault = scale, fault
        return scale * (x @ weight.T) + bias

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> Any:
        (slope,) = slopes
        x, weight = ctx.saved_tensors
        scale = 1.0 if ctx.fault == "missing scale" else ctx.scale
        dweight = scale * (slope.T @ x)
        dbias = slope.mean(0) if ctx.fault == "mean over the batch" else slope.sum(0)
        match ctx.fault:
            case "sign":
                dweight = -dweight
            case "factor":
                dweight = 2 * dweight
            case "dropped tile":
                dweight[:, :: min(64, dweight.shape[1] // 2)] = 0
            case "transposed":
                dweight = dweight.T
        return ctx.scale * (slope @ weight), dweight, dbias, None, None


class Layer(torch.nn.Module):
    """A layer of such functions.

    Parameters
    ----------
    size : int
        Inputs and outputs.
    fault : str
        One of `FAULTS`, or none.
    """

    def __init__(self, size: int, fault: str = "") -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(size, size) / size**0.5)
        self.bias = torch.nn.Parameter(torch.randn(size))
        self.fault = fault

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = Affine.apply(x, self.weight, self.bias, 0.7, self.fault)
        return result
