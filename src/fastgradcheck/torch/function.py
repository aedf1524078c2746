"""Functions of tensors with any outputs, such as a `torch.autograd.Function`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from fastgradcheck import check
from fastgradcheck.arguments import with_options
from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.options import PASSED_ON
from fastgradcheck.problem.finding import Finding, by_rank
from fastgradcheck.result import GradcheckResult, skipped
from fastgradcheck.torch import contract as contracts
from fastgradcheck.torch import module
from fastgradcheck.torch.subject import (
    Subject,
    cotangents_of,
    is_function_class,
    outputs_of,
    subject_of,
)
from fastgradcheck.verdict.verdict import Verdict

UNSAID = ("forward", "vectorized")
"""The scalar u . f cancels, so that its rounding says nothing of the forward pass; and for a
function by itself it does not matter how many points one call evaluates."""


@with_options(PASSED_ON | {"dtype"})
def functioncheck(
    function: Any,
    *inputs: Any,
    reference: Callable[..., Any] | None = None,
    cotangents: int = 2,
    contract: bool = True,
    order: int = 1,
    yardstick: Callable[..., Any] | None = None,
    seed: int | None = None,
    **options: Any,
) -> GradcheckResult:
    """Check the backward pass of a function of tensors, with outputs of any shapes.

    The outputs are weighted by a random cotangent u: what the backward pass makes of u must be the
    gradient of J = u . f, of which the differences are taken in float64.

    Parameters
    ----------
    function : callable or subclass of torch.autograd.Function
        ``function(*inputs)``: a tensor, or a nest of them.
    *inputs
        Those floating-point tensors are checked that require a gradient; all of them if none does.
        They stay as they are.
    reference : callable, optional
        ``reference(*inputs)``: the same by other means, for a kernel that has no float64.
    cotangents : int
        How many of them, one check after the other; the first that does not agree is returned.
    contract : bool
        Whether it is also checked what every backward pass must hold: a cotangent of zeros gives
        zero, it is linear in the cotangent, it is the same when called again, takes expanded
        cotangents and those that are not contiguous, and gives each gradient when that alone is
        asked for. What does not hold is a finding, and the verdict is WRONG.
    order : {1, 2}
        2 also checks the backward pass of the backward pass, against differences of the first.
    yardstick : callable, optional
        ``yardstick(*inputs)``: the same by operations that are trusted, in the same 16-bit dtype.
    seed : int, optional
        Of the cotangents and the checks.
    **options
        As for `fastgradcheck.torch.gradcheck`.

    Returns
    -------
    GradcheckResult
        Blocks are called as the function calls its parameters, or ``input0``, ``input1``, ...

    Raises
    ------
    GradcheckInputError
        If an argument is unusable, before any long work starts.

    Examples
    --------
    >>> import torch
    >>> import fastgradcheck.torch
    >>> class Cube(torch.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x**3
    ...
    ...     @staticmethod
    ...     def backward(ctx, slope):
    ...         (x,) = ctx.saved_tensors
    ...         return 2 * x**2 * slope
    >>> result = fastgradcheck.torch.functioncheck(Cube, torch.tensor([1.0, 2.0]))
    >>> result.verdict.name, [block.name for block in result.blocks]
    ('WRONG', ['x'])
    """
    if check.switched_off():
        return skipped()
    _refuse_unusable(cotangents, order)
    seed = secrets.randbits(32) if seed is None else seed
    subject = subject_of(function, inputs)
    plain = {**options, "seed": seed, "dtype": options.get("dtype", torch.float64)}
    for number in range(cotangents):
        result = _checked(subject, reference, yardstick, number, plain)
        if not result:
            break
    if order == 2 and result:
        second = _second(subject, plain)
        result = result if second else second
    found = result.findings
    if contract:
        broken = contracts.broken(subject, plain["seed"])
        found += broken
        if any(finding.kind in contracts.BROKEN for finding in broken):
            result = replace(result, verdict=Verdict.WRONG)
    return replace(result, findings=by_rank(f for f in found if f.kind not in UNSAID))


class _Inputs(torch.nn.Module):
    """The tensors that are checked, as the parameters of a module."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        for name, tensor in zip(subject.checked, subject.tensors, strict=True):
            self.register_parameter(f"{name}", torch.nn.Parameter(tensor.clone()))

    def tensors(self, names: Sequence[str]) -> list[torch.Tensor]:
        return [getattr(self, name) for name in names]


@dataclass(frozen=True)
class Weighted:
    """The loss u . f of the module that holds the inputs."""

    subject: Subject
    function: Callable[..., Any]
    weights: tuple[torch.Tensor, ...]
    dtype: torch.dtype

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """What the report names."""
        owner: Any = getattr(self.function, "__self__", None)
        return owner if is_function_class(owner) else self.function

    def __call__(self, net: _Inputs, *inputs: Any) -> torch.Tensor:
        tensors = net.tensors(list(self.subject.checked))
        found = self.subject.call(tensors, inputs, self.function)
        if len(found) != len(self.weights):
            raise GradcheckInputError(
                f"{len(found)} floating-point outputs where the function has {len(self.weights)}: "
                "reference= and yardstick= must return the same as the function."
            )
        terms = _terms(found, self.weights, self.dtype)
        return torch.stack(list(terms)).sum()


def _terms(
    found: Sequence[torch.Tensor], weights: Sequence[torch.Tensor], dtype: torch.dtype
) -> Iterator[torch.Tensor]:
    for output, weight in zip(found, weights, strict=True):
        if output.shape != weight.shape:
            raise GradcheckInputError(
                f"an output of shape {tuple(output.shape)} where the function has "
                f"{tuple(weight.shape)}: reference= and yardstick= must return the same."
            )
        yield (weight.to(dtype) * output.to(dtype)).sum()


def _checked(
    subject: Subject, reference: Any, yardstick: Any, number: int, options: dict[str, Any]
) -> GradcheckResult:
    """The check with one cotangent."""
    found = subject.call(subject.tensors, subject.inputs)
    weights = tuple(cotangents_of(found, options["seed"], number))

    def weighted(function: Any) -> Weighted | None:
        return function and Weighted(subject, function, weights, options["dtype"])

    return module.gradcheck(
        Weighted(subject, subject.function, weights, options["dtype"]),
        _Inputs(subject),
        args=subject.inputs,
        reference=weighted(reference),
        yardstick=weighted(yardstick),
        **options,
    )


def _second(subject: Subject, options: dict[str, Any]) -> GradcheckResult:
    """The check of the backward pass of the backward pass."""
    places = list(subject.checked.values())

    def pulled(*inputs: Any) -> Any:
        given = list(inputs)
        with torch.enable_grad():
            for place in places:
                if not given[place].requires_grad:
                    given[place] = given[place].detach().requires_grad_()
            found = outputs_of(subject.function(*given))
            weights = cotangents_of(found, options["seed"])
            tensors = [given[place] for place in places]
            slopes = torch.autograd.grad(
                found,
                tensors,
                weights,
                create_graph=True,
                allow_unused=True,
                materialize_grads=True,
            )
            # Also a backward pass that has none of its own depends on its inputs.
            return [slope + 0.0 * own for slope, own in zip(slopes, tensors, strict=True)]

    second = Subject(pulled, subject.inputs, subject.checked)
    result = _checked(second, None, None, 1, {**options, "vectorized": False})
    message = "This is the check of the backward pass of the backward pass (order=2)."
    return replace(result, findings=(*result.findings, Finding("order", message)))


def _refuse_unusable(cotangents: Any, order: Any) -> None:
    if not isinstance(cotangents, int) or isinstance(cotangents, bool) or cotangents < 1:
        raise GradcheckInputError(
            f"cotangents={cotangents!r} is not a number of cotangents: use 1, 2, ..."
        )
    if order not in (1, 2):
        raise GradcheckInputError(f"order={order!r} is not an order: use 1, or 2.")
