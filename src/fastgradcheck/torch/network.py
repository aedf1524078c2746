"""A module as a function of its parameters."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.problem.finding import Finding
from fastgradcheck.torch.tensors import cast

Tensors = dict[str, torch.Tensor]
SHOWN = 4
"""Names in a message before it says how many more there are."""


@dataclass(frozen=True)
class Weights:
    """The parameters of a module that are checked.

    Attributes
    ----------
    groups : dict of str to tuple of str
        The name of each block, and all names under which the module has it.
    frozen : tuple of str
        Parameters that need no gradient.
    """

    groups: dict[str, tuple[str, ...]]
    frozen: tuple[str, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is left out, and what is one block."""
        found = []
        if self.frozen:
            found.append(
                Finding(
                    "frozen",
                    f"Left out, since requires_grad is False: {listing(self.frozen)}.",
                )
            )
        for name, names in self.groups.items():
            if len(names) > 1:
                others = listing(names[1:])
                message = f"{name} is also {others}: one block, whose gradient is the sum of all."
                found.append(Finding("tied", message))
        return tuple(found)


@dataclass(frozen=True)
class Network:
    """A copy of the module that nobody else sees, called with any parameters."""

    module: torch.nn.Module
    weights: Weights

    @cached_property
    def parameters(self) -> Tensors:
        """The blocks, in the module's own dtype."""
        own = dict(self.module.named_parameters(remove_duplicate=False))
        return {name: own[name].detach() for name in self.weights.groups}

    @property
    def theta(self) -> dict[str, Any]:
        """The blocks as float64 arrays of NumPy."""
        return {name: own.double().cpu().numpy() for name, own in self.parameters.items()}

    def __call__(
        self,
        loss: Callable[..., Any],
        blocks: Mapping[str, torch.Tensor],
        args: tuple[Any, ...],
        dtype: torch.dtype | None,
    ) -> Any:
        """``loss(module, *args)`` with these blocks; frozen parameters and buffers in `dtype`."""
        held = {
            **dict(self.module.named_parameters(remove_duplicate=False)),
            **dict(self.module.named_buffers(remove_duplicate=False)),
        }
        used = {name: held[name].detach() for name in held if name not in self._checked}
        # A copy each time: batch normalisation writes to its running statistics.
        used = {name: cast(tensor, dtype).clone() for name, tensor in used.items()}
        for block, names in self.weights.groups.items():
            used |= dict.fromkeys(names, blocks[block])
        state = {f"module.{name}": tensor for name, tensor in used.items()}
        return torch.func.functional_call(_Loss(self.module, loss), state, args)

    @cached_property
    def _checked(self) -> set[str]:
        return {name for names in self.weights.groups.values() for name in names}


class _Loss(torch.nn.Module):
    """A loss of a module as a module, which `functional_call` takes."""

    def __init__(self, module: torch.nn.Module, loss: Callable[..., Any]) -> None:
        super().__init__()
        self.module = module
        self.loss = loss

    def forward(self, *args: Any) -> Any:
        return self.loss(self.module, *args)


def network_of(module: torch.nn.Module) -> Network:
    """A network that works on a copy of the module.

    Raises
    ------
    GradcheckInputError
        If there is nothing to check, or no way to do it.
    """
    return Network(_copied(module), _weights(module))


def _copied(module: torch.nn.Module) -> torch.nn.Module:
    """A copy to work on."""
    try:
        return copy.deepcopy(module)
    except Exception as error:
        raise GradcheckInputError(
            f"the module cannot be copied ({type(error).__name__}: {error}), and the check never "
            "works on yours. A tensor that was computed and then kept as an attribute is the usual "
            "cause: keep it detached, or as a buffer."
        ) from error


def _weights(module: torch.nn.Module) -> Weights:
    """The parameters to be checked, those that share memory together."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    frozen = []
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if not parameter.requires_grad:
            frozen.append(name)
            continue
        _refuse_parameter(name, parameter)
        groups.setdefault(_memory(parameter), []).append(name)
    if not groups:
        raise GradcheckInputError(
            f"no parameter of {type(module).__name__} needs a gradient: there is nothing to check. "
            "Was it frozen by requires_grad_(False)?"
        )
    _refuse_overlaps({memory: names[0] for memory, names in groups.items()})
    return Weights({names[0]: tuple(names) for names in groups.values()}, tuple(frozen))


def _refuse_parameter(name: str, parameter: torch.Tensor) -> None:
    if isinstance(parameter, torch.nn.parameter.UninitializedTensorMixin):
        raise GradcheckInputError(
            f"{name} has no shape yet: call the module once, so that its lazy layers get theirs."
        )
    if parameter.device.type == "meta":
        raise GradcheckInputError(
            f"{name} is on the device 'meta', which holds no values: use module.to_empty and "
            "initialise it."
        )
    if not parameter.is_floating_point():
        raise GradcheckTypeError(
            f"{name} is {parameter.dtype}: a parameter must be real and floating point. Keep a "
            "complex one as two real ones (torch.view_as_real)."
        )


def _memory(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Where a tensor's entries are: the device, the storage, first and last, and how they lie."""
    storage = tensor.untyped_storage().data_ptr()
    last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    first = tensor.storage_offset()
    # Without entries, or on a backend without addresses, a tensor shares memory with itself alone.
    place = storage if storage else id(tensor)
    return str(tensor.device), place, first, first + last, tensor.shape, tensor.stride()


def _refuse_overlaps(named: Mapping[tuple[Any, ...], str]) -> None:
    """Refuse parameters that share a part of their memory: a step moves both, a gradient one."""
    ranges = sorted((memory[:4], name) for memory, name in named.items())
    for (before, one), (after, other) in pairwise(ranges):
        if before[:2] == after[:2] and after[2] <= before[3]:
            raise GradcheckInputError(
                f"{one} and {other} share a part of their memory, so that neither has a gradient "
                "of its own. Make one a parameter and take the other from it in forward."
            )


def listing(names: Sequence[str]) -> str:
    """The first of several names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
