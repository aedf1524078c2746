"""Backward passes of torch, checked on the modules as they are."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

try:
    import torch
except ImportError as error:
    raise ImportError(
        "fastgradcheck.torch needs PyTorch: pip install 'fastgradcheck[torch]'"
    ) from error

from fastgradcheck import check
from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.problem.finding import Finding, Rank, by_rank
from fastgradcheck.problem.nests import entries, rebuilt
from fastgradcheck.result import GradcheckResult, skipped

Tensors = dict[str, torch.Tensor]
SHOWN = 4
"""Names in a message before it says how many more there are."""
SAME = 64.0
"""In units of the eps of the coarser dtype: the loss in the module's own dtype may differ by this
from that in `dtype`. Rounding in the layers leaves a few eps."""


def gradcheck(
    loss: Callable[..., Any],
    module: torch.nn.Module,
    *,
    args: tuple[Any, ...] = (),
    reference: Callable[..., Any] | None = None,
    dtype: torch.dtype = torch.float64,
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
    _refuse_unusable(loss, module, args, reference, dtype)
    network = Network(_copied(module), _weights(module))
    backward = Backward(network, loss, args)
    forward = Forward(network, reference or loss, _converted(args, dtype), dtype)
    findings = network.weights.findings + _compared(forward, backward, reference is not None)
    if vectorized:
        reason = _not_mapped(forward)
        findings += reason
        vectorized = vectorized if not reason else False
        forward = replace(forward, mapped=bool(vectorized))
    result = check.gradcheck(forward, backward, network.theta, vectorized=vectorized, **options)
    return replace(result, findings=by_rank(result.findings + findings))


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
                    f"Left out, since requires_grad is False: {_listing(self.frozen)}.",
                )
            )
        for name, names in self.groups.items():
            if len(names) > 1:
                others = _listing(names[1:])
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
        used = {name: _in(tensor, dtype).clone() for name, tensor in used.items()}
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


@dataclass(frozen=True)
class Forward:
    """J: a cost of NumPy arrays, by a forward pass in `dtype`; of many points if `mapped`."""

    network: Network
    loss: Callable[..., Any]
    args: tuple[Any, ...]
    dtype: torch.dtype
    mapped: bool = False

    def __call__(self, theta: Mapping[str, Any]) -> Any:
        blocks = {
            name: _tensor(theta[name]).to(own.device, self.dtype)
            for name, own in self.network.parameters.items()
        }
        if self.mapped:
            return torch.func.vmap(self.tensor)(blocks)
        return float(self.tensor(blocks))

    def tensor(self, blocks: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """J of tensors, as a tensor."""
        with torch.no_grad():
            return _scalar(self.network(self.loss, blocks, self.args, self.dtype))

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
            return _scalar(self.network(self.loss, leaves, self.args, None))

    def leaves(self) -> Tensors:
        """Copies of the parameters that ask for a gradient."""
        own = self.network.parameters.items()
        return {name: tensor.clone().requires_grad_() for name, tensor in own}

    def __call__(self, theta: Any) -> Tensors:
        """The gradient at the module's own parameters, which theta holds; zero where unused."""
        leaves = self.leaves()
        slopes = torch.autograd.grad(
            self.value(leaves), list(leaves.values()), allow_unused=True, materialize_grads=True
        )
        return dict(zip(leaves, slopes, strict=True))


def _refuse_unusable(loss: Any, module: Any, args: Any, reference: Any, dtype: Any) -> None:
    """Refuse arguments of the wrong kind."""
    if not isinstance(module, torch.nn.Module):
        raise GradcheckTypeError(
            f"module is a {type(module).__name__}, not a torch.nn.Module. The order is "
            "gradcheck(loss, module, args=(x, y)); for a function of tensors use "
            "fastgradcheck.gradcheck."
        )
    for name, function in (("loss", loss), ("reference", reference)):
        if not callable(function) and not (function is None and name == "reference"):
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
        reason = str(error).strip().splitlines()[0].rstrip(".")
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


def _scalar(value: Any) -> torch.Tensor:
    """What a loss returned, if it is a real scalar tensor."""
    if not isinstance(value, torch.Tensor):
        raise GradcheckTypeError(
            f"the loss returned a {type(value).__name__}: it must return the scalar tensor itself, "
            "without .item() or float()."
        )
    if math.prod(value.shape) != 1 or value.dim() or not value.is_floating_point():
        shape = tuple(value.shape)
        raise GradcheckTypeError(
            f"the loss returned a tensor of shape {shape} and {value.dtype}: it must return one "
            "real number; reduce it by .sum() or .mean()."
        )
    return value


def _tensor(array: Any) -> torch.Tensor:
    """An array as a tensor on the same memory."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _in(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    """A floating-point tensor in another dtype; any other as it is."""
    return tensor if dtype is None or not tensor.is_floating_point() else tensor.to(dtype)


def _converted(value: Any, dtype: torch.dtype) -> Any:
    """A nest with its floating-point tensors and arrays in another dtype."""
    if isinstance(value, torch.Tensor):
        return _in(value.detach(), dtype)
    if getattr(getattr(value, "dtype", None), "kind", "") == "f":
        return value.astype(str(dtype).removeprefix("torch."))
    parts = entries(value)
    if parts is None:
        return value
    before = dict(parts)
    after = {key: _converted(part, dtype) for key, part in before.items()}
    changed = any(after[key] is not part for key, part in before.items())
    return rebuilt(value, after) if changed else value


def _listing(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
