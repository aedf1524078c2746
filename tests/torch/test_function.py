"""Functions of tensors by themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.torch import functioncheck
from tests.cases.layers import FAULTS, Affine

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(3, 8), torch.randn(4, 8), torch.randn(4)


def wrong(result: Any) -> list[str]:
    return [block.name for block in result.blocks if block.verdict.name == "WRONG"]


def test_a_right_function_agrees() -> None:
    x, w, b = inputs()
    result = functioncheck(Affine, x, w, b, 0.7, "", seed=0)
    assert result, str(result)
    assert [block.name for block in result.blocks] == ["x", "weight", "bias"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(fault: str) -> None:
    x, b = torch.randn(3, 8), torch.randn(8)
    result = functioncheck(Affine, x, torch.randn(8, 8), b, 0.7, fault, seed=0)
    assert wrong(result) == ["bias" if fault == "mean over the batch" else "weight"]


def test_those_that_require_a_gradient_are_checked() -> None:
    x, w, b = inputs()
    w.requires_grad_()
    result = functioncheck(Affine, x, w, b, 0.7, "", seed=0)
    assert [block.name for block in result.blocks] == ["weight"]
    assert w.grad is None


def several(x: torch.Tensor, n: int, data: dict[str, torch.Tensor]) -> Any:
    """Outputs in a nest, one of them of whole numbers."""
    return {"sin": torch.sin(x) * data["scale"], "rest": [x[0] ** n, torch.argmax(x)]}


def test_outputs_of_any_shape() -> None:
    x = torch.randn(4)
    result = functioncheck(several, x, 3, {"scale": torch.tensor(2.0)}, seed=0)
    assert result, str(result)
    assert [block.name for block in result.blocks] == ["x"]
    assert result.engine == "batched"


def test_many_arguments_have_numbers() -> None:
    result = functioncheck(lambda *x: x[0] * x[1], torch.ones(2), torch.ones(2), seed=0)
    assert [block.name for block in result.blocks] == ["input0", "input1"]


class Single(torch.autograd.Function):
    """A kernel for float32 and bfloat16 alone."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: float) -> torch.Tensor:
        assert x.dtype != torch.float64
        ctx.save_for_backward(x)
        ctx.factor = factor
        return torch.tanh(x)

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return ctx.factor * slopes[0] * (1 - torch.tanh(x) ** 2), None


def eager(x: torch.Tensor, factor: float) -> torch.Tensor:
    return torch.tanh(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_kernel_without_float64(dtype: torch.dtype) -> None:
    x = torch.randn(6, 7).to(dtype)
    with pytest.raises(GradcheckInputError, match=r"pass reference="):
        functioncheck(Single, x, 1.0)
    options: dict[str, Any] = {"reference": eager, "seed": 0}
    if dtype != torch.float32:
        options["yardstick"] = eager
    assert functioncheck(Single, x, 1.0, **options)
    assert functioncheck(Single, x, 1.1, **options).verdict.name == "WRONG"


def test_a_reference_of_another_shape_is_refused() -> None:
    x = torch.randn(6)
    with pytest.raises(GradcheckInputError, match=r"shape \(\) where the function has \(6,\)"):
        functioncheck(Single, x, 1.0, reference=lambda x, f: torch.tanh(x).sum())
    with pytest.raises(GradcheckInputError, match="2 floating-point outputs where the function"):
        functioncheck(Single, x, 1.0, reference=lambda x, f: (torch.tanh(x), x))


class Square(torch.autograd.Function):
    """Right, but for what its own backward pass gives as a gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return slopes[0] * 2 * x.detach()


def test_the_second_order() -> None:
    x = torch.randn(5)
    assert functioncheck(Square, x, seed=0)
    result = functioncheck(Square, x, seed=0, order=2)
    assert wrong(result) == ["x"]
    assert [f for f in result.findings if f.kind == "order"]
    assert functioncheck(torch.sin, x, seed=0, order=2)


def test_one_cotangent_may_not_see_what_another_does() -> None:
    evaluations = [
        functioncheck(torch.tanh, torch.randn(3), cotangents=k, seed=0).evaluations for k in (1, 2)
    ]
    assert evaluations[0] > 0
    sums = [functioncheck(Affine, *inputs(), 0.7, "sign", seed=s).verdict.name for s in range(3)]
    assert sums == ["WRONG"] * 3


@pytest.mark.parametrize(
    ("function", "given", "options", "message"),
    [
        (3, [torch.ones(2)], {}, "function is a int, which cannot be called"),
        (torch.sin, [torch.arange(3)], {}, "no input is a floating-point tensor"),
        (torch.argmax, [torch.ones(3)], {}, "the function returned no floating-point tensor"),
        (torch.fft.fft, [torch.ones(3)], {}, "the function returned a complex tensor"),
        (lambda z: z.detach() * 2, [torch.ones(3)], {}, "no output of the function has a backward"),
        (torch.nn.Linear(3, 2), [torch.ones(3)], {}, "a module with parameters of its own: use"),
        (torch.sin, [torch.ones(3)], {"cotangents": 0}, "cotangents=0 is not a number of"),
        (torch.sin, [torch.ones(3)], {"order": 3}, "order=3 is not an order: use 1, or 2"),
    ],
)
def test_what_cannot_be_checked_is_refused(
    function: Any, given: list[Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(GradcheckInputError, match=message):
        functioncheck(function, *given, **options)


def test_switched_off_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTGRADCHECK", "off")
    assert functioncheck(torch.sin, torch.ones(2)).verdict.name == "SKIPPED"


def test_nothing_is_said_of_what_does_not_matter() -> None:
    """A Function without a rule for vmap: each point is evaluated by itself, which is quick."""

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, *slopes: torch.Tensor) -> Any:
            return 3 * ctx.saved_tensors[0] ** 2 * slopes[0]

    result = functioncheck(Cube, torch.randn(4), seed=0)
    assert result
    assert not {finding.kind for finding in result.findings} & {"vectorized", "forward"}
    assert result.origin.cost.startswith("Cube (")


def test_options_of_other_names_are_answered() -> None:
    with pytest.raises(GradcheckTypeError, match="functioncheck has no argument eps=: the step is"):
        functioncheck(torch.sin, torch.ones(3), eps=1e-3)
