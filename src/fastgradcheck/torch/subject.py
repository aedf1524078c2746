"""A function of tensors, and which of its inputs are checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.problem.nests import leaves


@dataclass(frozen=True)
class Subject:
    """A function of the tensors that are checked; the other inputs are held.

    Attributes
    ----------
    function : callable
    inputs : tuple
        All of them, tensors detached.
    checked : dict of str to int
        The names of the tensors that are checked, and which inputs they are.
    """

    function: Callable[..., Any]
    inputs: tuple[Any, ...]
    checked: dict[str, int]

    @property
    def tensors(self) -> list[torch.Tensor]:
        """The tensors that are checked."""
        return [self.inputs[place] for place in self.checked.values()]

    def call(
        self, tensors: Sequence[torch.Tensor], inputs: tuple[Any, ...], function: Any = None
    ) -> list[torch.Tensor]:
        """The floating-point outputs at these tensors; `inputs` are the others' values."""
        given = list(inputs)
        for place, tensor in zip(self.checked.values(), tensors, strict=True):
            given[place] = tensor
        return outputs_of((function or self.function)(*given))


def outputs_of(returned: Any) -> list[torch.Tensor]:
    """The floating-point tensors in what a function returned."""
    found = [leaf for _, leaf in leaves(returned) if isinstance(leaf, torch.Tensor)]
    if any(tensor.is_complex() for tensor in found):
        raise GradcheckTypeError(
            "the function returned a complex tensor: return real and imaginary parts as two real "
            "ones (torch.view_as_real)."
        )
    return [tensor for tensor in found if tensor.is_floating_point()]


def cotangents_of(
    outputs: Sequence[torch.Tensor], seed: int, number: int = 0
) -> list[torch.Tensor]:
    """Random weights for outputs: signs times 4/8, 5/8, ... or 12/8, which every dtype holds."""
    generator = torch.Generator().manual_seed(seed + number)
    weights = []
    for output in outputs:
        size = torch.randint(4, 13, output.shape, generator=generator) / 8
        sign = 2.0 * torch.randint(0, 2, output.shape, generator=generator) - 1.0
        weights.append((size * sign).to(output.device, output.dtype))
    return weights


def subject_of(function: Any, inputs: tuple[Any, ...]) -> Subject:
    """What is to be checked.

    Raises
    ------
    GradcheckInputError
        If nothing is.
    """
    names = _names(function, len(inputs))
    function = function.apply if is_function_class(function) else function
    if not callable(function):
        raise GradcheckTypeError(
            f"function is a {type(function).__name__}, which cannot be called; pass a function of "
            "tensors, or a subclass of torch.autograd.Function."
        )
    if isinstance(function, torch.nn.Module) and any(True for _ in function.parameters()):
        raise GradcheckTypeError(
            f"function is a {type(function).__name__}, a module with parameters of its own: use "
            "fastgradcheck.torch.gradcheck(loss, module, args=...), which checks these."
        )
    tensors = {i: x for i, x in enumerate(inputs) if isinstance(x, torch.Tensor)}
    floats = [i for i, tensor in tensors.items() if tensor.is_floating_point()]
    wanted = [i for i in floats if tensors[i].requires_grad] or floats
    if not wanted:
        raise GradcheckInputError(
            "no input is a floating-point tensor: there is nothing to check. Tensors inside lists "
            "or dicts are held as they are: pass them one by one."
        )
    held = tuple(x.detach() if isinstance(x, torch.Tensor) else x for x in inputs)
    subject = Subject(function, held, {names[i]: i for i in wanted})
    with torch.enable_grad():
        found = subject.call([tensor.clone().requires_grad_() for tensor in subject.tensors], held)
    if not found:
        raise GradcheckInputError("the function returned no floating-point tensor.")
    if not any(output.requires_grad for output in found):
        raise GradcheckInputError(
            "no output of the function has a backward pass to its inputs: detach(), .item(), "
            "no_grad() or NumPy inside is the usual cause."
        )
    return subject


def _names(function: Any, count: int) -> list[str]:
    """The names of a function's parameters, as far as it has any."""
    numbered = [f"input{i}" for i in range(count)]
    owner = getattr(function, "__self__", None)
    function = owner if is_function_class(owner) else function
    is_class = is_function_class(function)
    try:
        parameters = inspect.signature(function.forward if is_class else function).parameters
    except (TypeError, ValueError):
        return numbered
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = [name for name, parameter in parameters.items() if parameter.kind in kinds]
    # setup_context= lets forward do without ctx.
    named = named[1:] if is_class and len(named) > count else named
    return named[:count] + numbered[len(named) :]


def is_function_class(function: Any) -> bool:
    """Whether it is a `torch.autograd.Function`."""
    return isinstance(function, type) and issubclass(function, torch.autograd.Function)
