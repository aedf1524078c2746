"""Backward passes through a module against differences of its forward pass."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from fastgradcheck import check
from fastgradcheck.arguments import with_options
from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.evaluation.engines.batched import DeviceCost
from fastgradcheck.evaluation.plans import Device
from fastgradcheck.options import PASSED_ON
from fastgradcheck.problem.calls import misfit
from fastgradcheck.problem.finding import Finding, Rank, by_rank
from fastgradcheck.problem.guards import IRREPRODUCIBLE
from fastgradcheck.problem.problem import Objective
from fastgradcheck.result import GradcheckResult, skipped
from fastgradcheck.torch import device
from fastgradcheck.torch.network import Network, Tensors, listing, network_of
from fastgradcheck.torch.tensors import converted, scalar, tensor_of
from fastgradcheck.verdict.verdict import Verdict

SAME = 64.0
"""In units of the eps of the coarser dtype: the loss in the module's own dtype may differ by this
from that in `dtype`. Rounding in the layers leaves a few eps."""


@with_options(PASSED_ON)
def gradcheck(
    loss: Callable[..., Any],
    module: torch.nn.Module,
    *,
    args: tuple[Any, ...] = (),
    reference: Callable[..., Any] | None = None,
    dtype: torch.dtype = torch.float64,
    yardstick: Callable[..., Any] | None = None,
    vectorized: bool | int = True,
    **options: Any,
) -> GradcheckResult:
    """Check whether backward passes through `module` give the gradient of its forward pass.

    J is evaluated on copies of the parameters, buffers and arguments in `dtype`; the claimed
    gradient is one backward pass in the module's own dtype, on its own device. The module itself
    is only read.

    Parameters
    ----------
    loss : callable
        ``loss(module, *args)``: a scalar tensor. It must use the module that it is given.
    module : torch.nn.Module
        In training or evaluation mode, as it is. Parameters without ``requires_grad`` are left
        out; those that share memory are one block.
    args : tuple
        Passed on to `loss`. J sees the floating-point tensors and arrays in them in `dtype`.
    reference : callable, optional
        ``reference(module, *args)``: the same J by other means, for a kernel that has no `dtype`.
    dtype : torch.dtype
        In which J is evaluated: float64, or float32 on a device that has nothing else.
    yardstick : callable, optional
        ``yardstick(module, *args)``: the same loss by operations that are trusted, in the same
        dtype, such as eager torch beside a fused kernel in bfloat16. The gradient may be off by
        three times what the backward pass of this is off by.
    vectorized : bool or int
        Whether J is evaluated at many points in one call, by `torch.func.vmap`; a whole number is
        the largest number of them. Where vmap cannot, a finding says why, and each point is
        evaluated by itself.
    **options
        As for `fastgradcheck.gradcheck`: ``sample``, ``strategy``, ``threshold``, ``seed``, ...

    Returns
    -------
    GradcheckResult
        The blocks are called as by ``module.named_parameters()``.

    Raises
    ------
    GradcheckInputError
        If the module, the loss or an option cannot be used, before any long work starts.

    Notes
    -----
    Batch normalisation in training mode is deterministic, and is checked so: every evaluation
    begins with the running statistics that the module has. Dropout in training mode is refused.

    Examples
    --------
    >>> import torch
    >>> import fastgradcheck.torch
    >>> _ = torch.manual_seed(0)
    >>> net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh())
    >>> result = fastgradcheck.torch.gradcheck(
    ...     lambda net, x: net(x).square().sum(), net, args=(torch.ones(4, 3),)
    ... )
    >>> result.verdict.name, [block.name for block in result.blocks]
    ('AGREES', ['0.weight', '0.bias'])
    """
    if check.switched_off():
        return skipped()
    _refuse_unusable(module, args, dtype, loss=loss, reference=reference, yardstick=yardstick)
    network = network_of(module)
    complaint = misfit(loss, args, "loss", point="module")
    if complaint:
        raise GradcheckTypeError(complaint)
    backward = Backward(network, loss, args)
    forward = Forward(network, reference or loss, converted(args, dtype), dtype)
    findings = network.weights.findings + _compared(forward, backward, reference is not None)
    if vectorized:
        reason = _not_mapped(forward)
        findings += reason
        if reason:
            # One after the other; elsewhere they are made there all the same.
            vectorized = 1 if forward.elsewhere else False
        forward = replace(forward, many=bool(vectorized), mapped=not reason)
    measure = None if yardstick is None else Backward(network, yardstick, args)
    result = check.gradcheck(
        forward,
        backward,
        network.theta,
        vectorized=vectorized,
        yardstick=measure,
        **options,
    )
    if result.verdict is Verdict.WRONG and reference is None:
        apart = next((f.message for f in findings if f.kind == "forward"), "")
        if apart:
            options = {**options, "checkpoint": None, "vectorized": vectorized}
            _refuse_another_function(forward, backward, apart, options)
    origin = replace(result.origin, grad="its backward pass")
    return replace(result, findings=by_rank(result.findings + findings), origin=origin)


@dataclass(frozen=True)
class Forward(DeviceCost):
    """J: a cost of NumPy arrays, by a forward pass in `dtype`.

    Attributes
    ----------
    network : Network
    loss : callable
    args : tuple
        In `dtype`.
    dtype : torch.dtype
    many : bool
        Whether it takes many points, along a leading axis ...
    mapped : bool
        ... by vmap.
    """

    network: Network
    loss: Callable[..., Any]
    args: tuple[Any, ...]
    dtype: torch.dtype
    many: bool = False
    mapped: bool = False

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """What the report names."""
        return self.loss

    def __call__(self, theta: Mapping[str, Any]) -> Any:
        blocks = {
            name: tensor_of(theta[name]).to(own.device, self.dtype)
            for name, own in self.network.parameters.items()
        }
        return self.tensors(blocks) if self.many else float(self.tensor(blocks))

    @property
    def elsewhere(self) -> torch.device | None:
        """The device of all parameters, if points would have to be copied there; with float64."""
        own = self.network.parameters.values()
        first = next(iter(own)).device
        one = all(tensor.device == first for tensor in own) and self.dtype is torch.float64
        return first if one and first.type != device.HERE else None

    def device(self, objective: Objective) -> Device | None:
        """Where points are made, if not here."""
        there = self.elsewhere
        return there and device.TorchDevice(
            self.tensors, objective.parameters, objective.theta, there
        )

    def tensors(self, blocks: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """J of many points, as a tensor."""
        if self.mapped:
            return torch.func.vmap(self.tensor)(blocks)
        count = len(next(iter(blocks.values())))
        points = ({name: block[k] for name, block in blocks.items()} for k in range(count))
        return torch.stack([self.tensor(point) for point in points])

    def tensor(self, blocks: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """J of tensors, as a tensor."""
        with torch.no_grad():
            return scalar(self.network(self.loss, blocks, self.args, self.dtype))

    def here(self) -> torch.Tensor:
        """J at the module's own parameters."""
        own = self.network.parameters
        return self.tensor({name: tensor.to(self.dtype) for name, tensor in own.items()})


@dataclass(frozen=True)
class Backward:
    """The claimed gradient, by a backward pass in the module's own dtype."""

    network: Network
    loss: Callable[..., Any]
    args: tuple[Any, ...]

    def value(self, leaves: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The loss, with a graph."""
        with torch.enable_grad():
            return scalar(self.network(self.loss, leaves, self.args, None))

    def leaves(self) -> Tensors:
        """Copies of the parameters that ask for a gradient."""
        own = self.network.parameters.items()
        return {name: tensor.clone().requires_grad_() for name, tensor in own}

    def __call__(self, theta: Any) -> Tensors:
        """The gradient at the module's own parameters, which theta holds; zero where unused."""
        leaves = self.leaves()
        return _slopes(self.value(leaves), leaves)

    def in_double(self, theta: Any) -> Tensors:
        """The same by a backward pass in float64: what the module's own dtype rounds."""
        double = torch.float64
        leaves = {name: leaf.detach().to(double) for name, leaf in self.leaves().items()}
        for leaf in leaves.values():
            leaf.requires_grad_()
        with torch.enable_grad():
            args = converted(self.args, double)
            return _slopes(scalar(self.network(self.loss, leaves, args, double)), leaves)


def _slopes(value: torch.Tensor, leaves: Tensors) -> Tensors:
    """The gradient of a scalar, zero in leaves that it does not depend on."""
    slopes = torch.autograd.grad(
        value, list(leaves.values()), allow_unused=True, materialize_grads=True
    )
    return dict(zip(leaves, slopes, strict=True))


def _refuse_unusable(module: Any, args: Any, dtype: Any, **functions: Any) -> None:
    """Refuse arguments of the wrong kind."""
    if not isinstance(module, torch.nn.Module):
        raise GradcheckTypeError(
            f"module is a {type(module).__name__}, not a torch.nn.Module. The order is "
            "gradcheck(loss, module, args=(x, y)); for a function of tensors use "
            "fastgradcheck.gradcheck."
        )
    for name, function in functions.items():
        if not callable(function) and (function is not None or name == "loss"):
            raise GradcheckTypeError(
                f"{name} is a {type(function).__name__}, which cannot be called; pass a function "
                f"{name}(module, *args) that returns a scalar tensor."
            )
    if not isinstance(args, tuple):
        raise GradcheckTypeError(
            f"args is a {type(args).__name__}; pass a tuple, e.g. args=(x, y) or args=(x,)."
        )
    if dtype not in (torch.float64, torch.float32):
        raise GradcheckInputError(
            f"dtype={dtype} cannot be differenced: use torch.float64, or torch.float32 on a "
            "device that has nothing else."
        )


def _compared(forward: Forward, backward: Backward, by_reference: bool) -> tuple[Finding, ...]:
    """What one evaluation of J, and of the loss itself, tells before the check."""
    leaves = backward.leaves()
    own = _tried(lambda: backward.value(leaves), "the loss fails on a copy of the module", "")
    if not own.requires_grad:
        raise GradcheckInputError(
            "the loss does not depend on the parameters of the module that it is given. It "
            "probably calls a module from outside: use its first argument, "
            "`lambda net, x: net(x).sum()`. no_grad() or detach() inside has the same effect."
        )
    double = str(forward.dtype).removeprefix("torch.")
    advice = (
        f" Tensors that it takes from outside stay as they are: pass them in args=. "
        f"For a kernel that has no {double}, pass reference=, the same J by other means."
    )
    function = "reference" if by_reference else "the loss"
    value = _tried(forward.here, f"{function} fails on {double} copies", advice)
    _refuse_unrepeatable(forward, float(value))
    findings = []
    if value.dtype != forward.dtype:
        came = str(value.dtype).removeprefix("torch.")
        findings.append(
            Finding(
                "float32",
                f"J came out in {came}, although parameters and args were {double}: somewhere is a "
                "cast, such as .float(), which takes the digits that a difference needs. Cast "
                "to the dtype of a parameter instead, or pass reference=.",
                Rank.LIMIT,
            )
        )
    coarser = max(torch.finfo(t.dtype).eps for t in (own, value, *leaves.values()))
    apart = abs(float(own.detach().double()) - float(value.double()))
    if apart > SAME * coarser * max(abs(float(value)), 1e-6):
        findings.append(
            Finding(
                "forward",
                f"the loss is {float(own.detach()):.6g} in the module's own dtype, but "
                f"{function} gives {float(value):.6g} in {double}: more than rounding. What is "
                "checked is the gradient of the latter.",
                Rank.LIMIT,
            )
        )
    return tuple(findings)


def _refuse_another_function(
    forward: Forward, backward: Backward, apart: str, options: Mapping[str, Any]
) -> None:
    """Refuse a loss whose gradient is right in `dtype`, where it is another loss.

    What differs is then not the backward pass, and a verdict on it would be a false alarm.
    """
    network = forward.network
    if check.gradcheck(forward, backward.in_double, network.theta, **options).verdict is not (
        Verdict.WRONG
    ):
        raise GradcheckInputError(
            f"{apart} Its own gradient agrees there, so that the loss is another function in each "
            "dtype. Random numbers that are drawn in the dtype of the data are the usual cause: "
            "draw them in one dtype, or outside and pass them in args=."
        )


def _refuse_unrepeatable(forward: Forward, value: float) -> None:
    """Refuse a loss that draws anew at every call, naming what may do so."""
    again = float(forward.here())
    eps = torch.finfo(forward.dtype).eps
    if not abs(again - value) > IRREPRODUCIBLE * eps * abs(value):
        return
    modules = forward.network.module.named_modules()
    drops = [
        f"{name or 'the module'} ({module})"
        for name, module in modules
        if isinstance(module, torch.nn.modules.dropout._DropoutNd) and module.training and module.p
    ]
    cause = (
        f"Dropout in training mode draws anew at every call: {listing(drops)}. Call module.eval(), "
        "or set p to zero."
        if drops
        else "A random draw is the usual cause, such as dropout from torch.nn.functional: draw "
        "outside and pass what was drawn in args=, or call torch.manual_seed in the loss."
    )
    raise GradcheckInputError(
        f"the loss is not repeatable: it is {value!r}, then {again!r} at the same parameters. "
        f"{cause}"
    )


def _not_mapped(forward: Forward) -> tuple[Finding, ...]:
    """Why J cannot be evaluated at many points in one call; empty if it can."""
    own = forward.network.parameters
    points = {name: torch.stack([t, t]).to(forward.dtype) for name, t in own.items()}
    try:
        with warnings.catch_warnings():
            # vmap warns where it only loops over the points.
            warnings.simplefilter("error")
            torch.func.vmap(forward.tensor)(points)
    except Exception as error:
        # Where in torch a warning was triggered, and what to tell its authors, is not for the user.
        reason = re.split(r" \(Triggered| Please file", str(error).strip().splitlines()[0])[0]
        reason = reason.rstrip(".")
        message = (
            "J was evaluated at one point after the other, since torch.func.vmap does not take "
            f"this loss ({type(error).__name__}: {reason})."
        )
        return (Finding("vectorized", message),)
    return ()


def _tried(function: Callable[[], torch.Tensor], what: str, advice: str) -> torch.Tensor:
    try:
        return function()
    except GradcheckInputError:
        raise
    except Exception as error:
        text = str(error).strip().rstrip(".")
        raise GradcheckInputError(f"{what}: {type(error).__name__}: {text}.{advice}") from error
