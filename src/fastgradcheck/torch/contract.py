"""What every backward pass must hold, whatever function it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.torch.subject import Subject

BROKEN = ("zero cotangent", "not linear", "cotangent", "alone")
"""Kinds of findings that make a backward pass wrong."""
UNITS = 64.0
"""In units of eps and of the norms involved: sums may be rounded in another order."""
NOISE = 1e3
"""Beyond so many eps, two calls do not only round in another order."""

Tensors = list[torch.Tensor]


def broken(subject: Subject, seed: int) -> tuple[Finding, ...]:
    """What does not hold, told by finding."""
    found = subject.call(subject.tensors, subject.inputs)
    first, second = weights(found, seed, 0), weights(found, seed, 1)
    try:
        plain = pulled(subject, first)
    except Exception as error:
        return (_failed("a random cotangent", error),)
    if not _finite(plain):
        return ()  # the check itself says where: nothing holds of what is no number
    findings = [*_repeated(subject, first, plain), *_zero(subject, found)]
    if not any(finding.kind == "not repeatable" for finding in findings):
        findings += [
            *_linear(subject, first, second, plain),
            *_laid_out(subject, found, first, plain),
            *_alone(subject, first, plain),
        ]
    return tuple(findings)


def weights(outputs: Sequence[torch.Tensor], seed: int, number: int) -> Tensors:
    """Random cotangents."""
    generator = torch.Generator().manual_seed(seed + 1000 + number)
    return [
        (torch.randint(-8, 9, y.shape, generator=generator) / 8).to(y.device, y.dtype)
        for y in outputs
    ]


def pulled(
    subject: Subject, cotangents: Sequence[torch.Tensor], only: Sequence[str] | None = None
) -> Tensors:
    """What the backward pass makes of cotangents, for all tensors or for some of them."""
    names = list(subject.checked) if only is None else list(only)
    tensors = [
        tensor.clone().requires_grad_(name in names)
        for name, tensor in zip(subject.checked, subject.tensors, strict=True)
    ]
    with torch.enable_grad():
        found = subject.call(tensors, subject.inputs)
    pairs = [(y, u) for y, u in zip(found, cotangents, strict=True) if y.requires_grad]
    wanted = [tensor for tensor in tensors if tensor.requires_grad]
    if not pairs:
        return [torch.zeros_like(tensor) for tensor in wanted]
    outputs, given = zip(*pairs, strict=True)
    return list(
        torch.autograd.grad(outputs, wanted, given, allow_unused=True, materialize_grads=True)
    )


def _finite(slopes: Sequence[torch.Tensor]) -> bool:
    return all(bool(torch.isfinite(slope).all()) for slope in slopes)


def _apart(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> tuple[float, float]:
    """The largest distance of two gradients relative to their size, and the coarsest eps."""
    worst, eps = 0.0, 0.0
    for a, b in zip(some, others, strict=True):
        eps = max(eps, torch.finfo(a.dtype).eps)
        # A backward pass that keeps its output in ctx returns it with a graph.
        a, b = a.detach().double(), b.detach().double()
        # Squares of slopes above 1e154 overflow, and those below 1e-162 are zero.
        top = max((float(x.abs().max()) for x in (a, b) if x.numel()), default=0.0)
        if top == 0.0:
            continue
        a, b = a / top, b / top
        share = float((a - b).norm() / (a.norm() + b.norm()))
        worst = max(worst, share if share == share else float("inf"))
    return worst, eps


def _bug(kind: str, message: str) -> Finding:
    return Finding(kind, message, Rank.BUG)


def _failed(what: str, error: Exception) -> Finding:
    text = str(error).strip().split("\n")[0].rstrip(".")
    return _bug(
        "cotangent",
        f"The backward pass fails for {what}: {type(error).__name__}: {text}. A kernel that reads "
        "memory in order needs .contiguous() first.",
    )


def _repeated(subject: Subject, first: Tensors, plain: Tensors) -> Iterator[Finding]:
    apart, eps = _apart(plain, pulled(subject, first))
    if apart > NOISE * eps:
        yield _bug(
            "not repeatable",
            f"The backward pass gives two gradients for one cotangent, {apart:.1%} apart: a random "
            "draw, or memory that is read before it is written.",
        )
    elif apart:
        yield Finding(
            "noise",
            f"The backward pass differs by {apart:.1g} from call to call: sums in another order, "
            "such as by atomic additions.",
        )


def _zero(subject: Subject, found: Tensors) -> Iterator[Finding]:
    slopes = pulled(subject, [torch.zeros_like(y) for y in found])
    wrong = [n for n, g in zip(subject.checked, slopes, strict=True) if not bool((g == 0).all())]
    if wrong:
        yield _bug(
            "zero cotangent",
            f"A cotangent of zeros gives a gradient of {', '.join(wrong)} that is not zero: "
            "something is added that does not depend on the cotangent.",
        )


def _linear(subject: Subject, first: Tensors, second: Tensors, plain: Tensors) -> Iterator[Finding]:
    parts = pulled(subject, second)
    if not _finite(parts):
        return  # an overflow, which u does not reach
    for scale in (1.0, 0.25):  # 2 u + w is up to 3, a quarter of it no larger than u and w
        both = pulled(subject, _combined(first, second, scale))
        expected = _combined(plain, parts, scale)
        if _finite(both) and _finite(expected):
            break
    apart, eps = _apart(both, expected)
    if apart > UNITS * eps:
        yield _bug(
            "not linear",
            f"The backward pass is not linear in the cotangent: that of 2 u + w differs by "
            f"{apart:.1g} from twice that of u plus that of w. Is the cotangent clipped, "
            "normalised or used twice?",
        )


def _combined(some: Tensors, others: Tensors, scale: float) -> Tensors:
    """A multiple of 2 u + w, without an overflow on the way."""
    return [(2 * scale) * a + scale * b for a, b in zip(some, others, strict=True)]


def _laid_out(
    subject: Subject, found: Tensors, first: Tensors, plain: Tensors
) -> Iterator[Finding]:
    """The same numbers, lying in memory in another way."""
    strided = [_strided(u) for u in first]
    ones = [torch.ones((), dtype=y.dtype, device=y.device).expand(y.shape) for y in found]
    for what, given, expected in (
        ("a cotangent that is not contiguous", strided, plain),
        ("an expanded cotangent, as .sum() gives it", ones, None),
    ):
        try:
            slopes = pulled(subject, given)
            expected = expected or pulled(subject, [u.contiguous() for u in given])
        except Exception as error:
            yield _failed(what, error)
            continue
        if not _finite(expected):
            continue  # an overflow, which u does not reach
        apart, eps = _apart(slopes, expected)
        if apart > UNITS * eps:
            yield _bug(
                "cotangent",
                f"The backward pass gives another gradient for {what}: it reads memory in order, "
                "without regard to strides. Call .contiguous() first.",
            )


def _strided(u: torch.Tensor) -> torch.Tensor:
    """The same tensor with its axes the other way round in memory, in every other place."""
    wide = torch.full((*reversed(u.shape), 2), float("nan"), dtype=u.dtype, device=u.device)
    here: torch.Tensor = wide[..., 0].permute(tuple(reversed(range(u.dim()))))
    return here.copy_(u)


def _alone(subject: Subject, first: Tensors, plain: Tensors) -> Iterator[Finding]:
    """Each gradient, where no other is needed."""
    if len(subject.checked) < 2:
        return
    for name, expected in zip(subject.checked, plain, strict=True):
        what = f"The gradient of {name}, if no other is needed,"
        try:
            apart, eps = _apart(pulled(subject, first, [name]), [expected])
        except Exception as error:
            text: Any = str(error).strip().split("\n")[0].rstrip(".")
            yield _bug("alone", f"{what} fails: {type(error).__name__}: {text}.")
            continue
        if apart > UNITS * eps:
            yield _bug(
                "alone",
                f"{what} is another one than with the others, {apart:.1%} apart: look at "
                "ctx.needs_input_grad.",
            )
