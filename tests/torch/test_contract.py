"""What every backward pass must hold: each rule, broken by one function."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fastgradcheck.torch import functioncheck
from fastgradcheck.torch.contract import broken
from fastgradcheck.torch.subject import subject_of

torch.set_num_threads(1)

FLAWS = {
    "something added": "zero cotangent",
    "clipped": "not linear",
    "random": "not repeatable",
    "no contiguous": "cotangent",
    "view": "cotangent",
    "alone": "alone",
    "fails alone": "alone",
    "atomics": "noise",
}


class Product(torch.autograd.Function):
    """``a * b``, with a flaw in its backward pass."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor, flaw: str) -> torch.Tensor:
        ctx.save_for_backward(a, b)
        ctx.flaw = flaw
        return a * b

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> Any:
        (a, b), (u,) = ctx.saved_tensors, slopes
        needed = ctx.needs_input_grad[0] and ctx.needs_input_grad[1]
        match ctx.flaw:
            case "something added":
                return u * b + 1e-6, u * a, None
            case "clipped":
                u = u.clamp(-0.9, 0.9)
            case "random":
                u = u * torch.rand_like(u)
            case "no contiguous":
                # As a kernel that reads memory in order.
                u = torch.as_strided(u, u.shape, u.contiguous().stride(), u.storage_offset())
            case "view":
                u = u.view(-1).view(u.shape)
            case "alone":
                u = u if needed else 2 * u
            case "fails alone":
                assert needed, "both, please"
            case "atomics":
                u = u * (1 + 2e-7 * torch.randint(-1, 2, u.shape))
        return u * b, u * a, None


def kinds(flaw: str) -> list[str]:
    torch.manual_seed(0)
    a, b = torch.randn(4, 6), torch.randn(4, 6)
    return [finding.kind for finding in broken(subject_of(Product, (a, b, flaw)), 0)]


def test_a_right_function_keeps_all_of_it() -> None:
    assert kinds("") == []


@pytest.mark.parametrize(("flaw", "kind"), FLAWS.items())
def test_what_is_broken_is_told(flaw: str, kind: str) -> None:
    assert set(kinds(flaw)) == {kind}


def test_a_broken_contract_is_wrong() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(3), torch.randn(3)
    result = functioncheck(Product, a, b, "fails alone", seed=0)
    assert result.verdict.name == "WRONG"
    assert all(block.verdict.name == "AGREES" for block in result.blocks)
    (message, _) = [f.message for f in result.findings if f.kind == "alone"]
    assert message.startswith("The gradient of a, if no other is needed, fails: AssertionError")
    assert functioncheck(Product, a, b, "fails alone", seed=0, contract=False)


def test_an_unused_input_has_no_gradient() -> None:
    def first(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.sin(a)

    assert functioncheck(first, torch.randn(3), torch.randn(3), seed=0)


def test_an_output_without_a_gradient_is_passed_over() -> None:
    def two(a: torch.Tensor) -> Any:
        return torch.sin(a), a.detach() * 2

    subject = subject_of(two, (torch.randn(3),))
    assert broken(subject, 0) == ()


def test_where_the_gradient_is_no_number_nothing_else_is_said_of_it() -> None:
    """The square root at zero: infinite slopes, which are neither random nor added."""
    result = functioncheck(torch.sqrt, torch.zeros(3), seed=0)
    assert not result
    kinds = {finding.kind for finding in result.findings}
    assert not kinds & {"not repeatable", "zero cotangent", "not linear", "cotangent"}


@pytest.mark.filterwarnings("error")
def test_an_output_kept_in_ctx_gives_no_warning() -> None:
    class Exp(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, z: torch.Tensor) -> torch.Tensor:
            ctx.kept = z.exp()
            return ctx.kept

        @staticmethod
        def backward(ctx: Any, slope: torch.Tensor) -> Any:
            return slope * ctx.kept

    assert functioncheck(Exp, torch.randn(4), seed=0)


@pytest.mark.parametrize(
    ("function", "at", "dtype"),
    [
        (torch.exp, 700.0, torch.float64),
        (torch.log, 1e-300, torch.float64),
        (lambda x: 8e307 * x, 0.5, torch.float64),  # 2 u + w overflows, u and w do not
        (lambda x: 1.2e308 * x + 1.2e308 * x, 1e-9, torch.float64),  # so does a cotangent of ones
        (torch.exp, 80.0, torch.float32),
        (torch.exp, 88.5, torch.float32),
    ],
)
def test_slopes_close_to_an_overflow_break_nothing(function: Any, at: float, dtype: Any) -> None:
    subject = subject_of(function, (torch.tensor([at, 0.99 * at], dtype=dtype),))
    for seed in range(8):
        assert broken(subject, seed) == ()


@pytest.mark.parametrize(("flaw", "kind"), [("alone", "alone"), ("clipped", "not linear")])
@pytest.mark.parametrize("scale", [1e-200, 1e200, 8e307])
def test_what_is_broken_is_told_at_any_size(flaw: str, kind: str, scale: float) -> None:
    a, b = torch.full((2, 4, 6), scale, dtype=torch.float64)
    subject = subject_of(Product, (a, b, flaw))
    assert {finding.kind for finding in broken(subject, 0)} == {kind}


def test_the_right_gradient_of_an_exponential_near_the_overflow_agrees() -> None:
    assert functioncheck(torch.exp, torch.tensor([700.0, 690.0], dtype=torch.float64), seed=0)
