"""Modules of torch as they are: right ones agree, and what is planted in a backward is named."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fastgradcheck.errors import CostEvaluationError, GradcheckInputError, GradcheckTypeError
from fastgradcheck.problem.finding import Rank
from fastgradcheck.torch import gradcheck
from tests.cases.layers import FAULTS, Layer

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def squares(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return net(x).square().mean()


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.cells(x)[0]
        return result


class Words(nn.Module):
    """An embedding whose weights are the output layer's too."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(5, 4)
        self.out = nn.Linear(4, 5, bias=False)
        self.out.weight = self.words.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.out(torch.tanh(self.words(x)))
        return result


def images(*, training: bool) -> nn.Module:
    net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.GELU(), nn.Flatten())
    return net.train(training)


RIGHT: dict[str, tuple[Any, Any]] = {
    "perceptron": (
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)),
        lambda: torch.randn(6, 3),
    ),
    "batch norm in training": (lambda: images(training=True), lambda: torch.randn(5, 1, 5, 5)),
    "batch norm in evaluation": (lambda: images(training=False), lambda: torch.randn(5, 1, 5, 5)),
    "recurrent": (Recurrent, lambda: torch.randn(2, 5, 3)),
    "tied": (Words, lambda: torch.tensor([[0, 1, 4], [3, 2, 1]])),
    "sparse": (lambda: nn.Embedding(4, 3, sparse=True), lambda: torch.tensor([0, 2, 2])),
    "transformer": (
        lambda: nn.TransformerEncoderLayer(4, 2, 6, 0.0, batch_first=True, norm_first=True),
        lambda: torch.randn(2, 3, 4),
    ),
    "weight norm": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)),
        lambda: torch.randn(4, 3),
    ),
    "own function": (lambda: Layer(6), lambda: torch.randn(4, 6)),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("name", RIGHT)
def test_right_modules_agree(name: str, dtype: torch.dtype) -> None:
    build, draw = RIGHT[name]
    net, x = build().to(dtype), draw()
    x = x.to(dtype) if x.is_floating_point() else x
    result = gradcheck(squares, net, args=(x,), seed=0)
    assert result, str(result)
    assert {block.name for block in result.blocks} == dict(net.named_parameters()).keys()


def test_slopes_are_those_of_a_closed_form() -> None:
    net, x = nn.Linear(3, 1, bias=False).double(), torch.randn(8, 3).double()
    result = gradcheck(lambda net, x: net(x).square().sum() / 2, net, args=(x,), seed=0)
    X, w = x.numpy(), net.weight.detach().numpy()[0]
    exact = X.T @ (X @ w)
    np.testing.assert_array_less(
        abs(result.components["numeric"] - exact), result.components["error"] + 1e-15
    )
    np.testing.assert_allclose(result.components["analytic"], exact, rtol=1e-13)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_planted_in_a_backward_is_named(fault: str) -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), Layer(8, fault))
    result = gradcheck(squares, net, args=(torch.randn(5, 8),), seed=0)
    wrong = {block.name for block in result.blocks if block.verdict.name == "WRONG"}
    assert wrong == {"2.bias" if fault == "mean over the batch" else "2.weight"}
    pattern = {
        "sign": "negative",
        "factor": "2 times",
        "dropped tile": "zero",
        "transposed": "transpose",
        "mean over the batch": "0.2 times",
        "missing scale": "1.429 times",
    }.get(fault)
    told = " ".join(f.message for f in result.findings if f.rank is Rank.BUG)
    assert pattern is None or pattern in told, told


def state(net: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in net.state_dict().items()}


def test_the_module_is_never_touched() -> None:
    net, x = images(training=True), torch.randn(5, 1, 5, 5)
    before, mode = state(net), [part.training for part in net.modules()]
    seen = []

    def loss(given: nn.Module, x: torch.Tensor) -> torch.Tensor:
        value = squares(given, x)
        assert given is not net
        assert state(net) == before, "another thread would see this"
        seen.append(value.dtype)
        return value

    assert gradcheck(loss, net, args=(x,), seed=0)
    assert state(net) == before
    assert [part.training for part in net.modules()] == mode
    assert all(parameter.grad is None for parameter in net.parameters())
    # Calls in the module's own dtype: one that looks, and the claim, which must be repeatable.
    assert seen.count(torch.float32) == 3
    assert seen.count(torch.float64) == len(seen) - 3


def test_many_points_in_one_call() -> None:
    net, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh()), torch.randn(5, 3)
    together = gradcheck(squares, net, args=(x,), seed=0)
    alone = gradcheck(squares, net, args=(x,), seed=0, vectorized=False)
    assert (together.engine, alone.engine) == ("batched", "python")
    apart = abs(alone.components["numeric"] - together.components["numeric"])
    assert (apart <= alone.components["error"] + together.components["error"]).all()


def test_where_vmap_cannot_each_point_is_evaluated_by_itself() -> None:
    shapes = set()

    def loss(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = squares(net, x)
        shapes.add(net.weight.shape)
        return y if y.item() > 0 else -y

    result = gradcheck(loss, nn.Linear(3, 2), args=(torch.randn(5, 3),), seed=0)
    assert result
    assert shapes == {(2, 3)}
    (finding,) = [f for f in result.findings if f.kind == "vectorized"]
    assert "torch.func.vmap does not take this loss (RuntimeError: " in finding.message


class Dispatched(torch.autograd.Function):
    """A kernel for float32 with one wrong entry, and another way for float64."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> Any:
        x, weight = ctx.saved_tensors
        dweight = slopes[0].T @ x
        if dweight.dtype == torch.float32:
            dweight[3, 5] = 0
        return slopes[0] @ weight, dweight


def test_what_is_wrong_in_float32_alone_is_found() -> None:
    net = nn.Module()
    net.weight = nn.Parameter(torch.randn(64, 64))

    def loss(net: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(Dispatched.apply(x, net.weight) / 8).square().mean()

    result = gradcheck(loss, net, args=(torch.randn(16, 64),), seed=0)
    assert result.wrong == ("weight[3, 5]",)


def test_an_argument_gets_no_gradient() -> None:
    x = torch.randn(4, 3, requires_grad=True)
    assert gradcheck(squares, nn.Linear(3, 2), args=(x,), seed=0)
    assert x.grad is None


def test_frozen_parameters_are_left_out_and_said() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    net[0].requires_grad_(False)
    result = gradcheck(squares, net, args=(torch.randn(4, 3),), seed=0)
    assert result
    assert [block.name for block in result.blocks] == ["1.weight", "1.bias"]
    (finding,) = [f for f in result.findings if f.kind == "frozen"]
    assert finding.message == "Left out, since requires_grad is False: 0.weight, 0.bias."


def test_tied_parameters_are_one_block() -> None:
    x = torch.tensor([[0, 1, 4]])
    result = gradcheck(squares, Words(), args=(x,), seed=0)
    assert [block.name for block in result.blocks] == ["words.weight"]
    (finding,) = [f for f in result.findings if f.kind == "tied"]
    assert finding.message.startswith("words.weight is also out.weight: one block")


def test_parameters_on_the_same_memory_are_one_block() -> None:
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh(), nn.Linear(3, 3, bias=False))
    net[2].weight = nn.Parameter(net[0].weight.detach())
    assert net[2].weight is not net[0].weight
    result = gradcheck(squares, net, args=(torch.randn(4, 3),), seed=0)
    assert result
    assert [block.name for block in result.blocks] == ["0.weight"]


def test_parts_of_one_vector_are_blocks_of_their_own() -> None:
    net, flat = nn.Linear(3, 2), torch.randn(8)
    net.weight, net.bias = nn.Parameter(flat[:6].view(2, 3)), nn.Parameter(flat[6:])
    result = gradcheck(squares, net, args=(torch.randn(4, 3),), seed=0)
    assert result
    assert [block.name for block in result.blocks] == ["weight", "bias"]


def test_parameters_that_overlap_are_refused() -> None:
    net, flat = nn.Linear(3, 2), torch.randn(7)
    net.weight, net.bias = nn.Parameter(flat[:6].view(2, 3)), nn.Parameter(flat[5:])
    with pytest.raises(GradcheckInputError, match="weight and bias share a part of their memory"):
        gradcheck(squares, net, args=(torch.randn(4, 3),))


def test_an_unused_parameter_is_right_to_have_no_gradient() -> None:
    net = nn.Linear(3, 1)
    net.extra = nn.Parameter(torch.ones(2))
    assert gradcheck(squares, net, args=(torch.randn(4, 3),), seed=0)


class Single(nn.Module):
    """A kernel that has no float64."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.weight.dtype != torch.float32:
            raise TypeError("this kernel takes float32")
        return torch.tanh(x @ self.weight.T)


def test_a_kernel_without_float64_needs_a_reference() -> None:
    net, x = Single(), torch.randn(5, 3)
    with pytest.raises(GradcheckInputError) as caught:
        gradcheck(squares, net, args=(x,))
    message = str(caught.value)
    assert "the loss fails on float64 copies: TypeError: this kernel takes float32." in message
    assert "pass reference=" in message

    def eager(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ net.weight.T).square().mean()

    assert gradcheck(squares, net, args=(x,), reference=eager, seed=0)


def test_a_reference_that_is_another_function_is_said() -> None:
    def other(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return squares(net, x) * 1.1

    net = nn.Linear(3, 2)
    result = gradcheck(squares, net, args=(torch.randn(4, 3),), reference=other, seed=0)
    assert not result
    (finding,) = [f for f in result.findings if f.kind == "forward"]
    assert "but reference gives" in finding.message
    assert finding.rank is Rank.LIMIT


def test_args_that_are_missing_are_told() -> None:
    message = r"loss\(net, x\) does not fit the call loss\(module\): .* what follows module\.$"
    with pytest.raises(GradcheckTypeError, match=message):
        gradcheck(lambda net, x: net(x).sum(), nn.Linear(3, 2))


def test_tensors_from_outside_are_explained() -> None:
    x = torch.randn(4, 3)
    with pytest.raises(GradcheckInputError, match=r"stay as they are: pass them in args="):
        gradcheck(lambda net: net(x).sum(), nn.Linear(3, 2))


def test_a_cast_that_takes_the_digits_is_said() -> None:
    net, x = nn.Linear(3, 2), torch.randn(4, 3)
    result = gradcheck(lambda net, x: net(x).float().square().sum(), net, args=(x,), seed=0)
    (finding,) = [f for f in result.findings if f.kind == "float32"]
    assert finding.message.startswith("J came out in float32, although parameters and args")


def test_arguments_in_nests_are_converted() -> None:
    data = {"x": torch.randn(4, 3), "y": [torch.ones(4, 2), 3, np.float32(2.0)]}

    def loss(net: nn.Module, data: Any) -> torch.Tensor:
        y, three, two = data["y"]
        assert three == 3
        return (net(data["x"]) - y * two).square().sum()

    assert gradcheck(loss, nn.Linear(3, 2), args=(data,), seed=0)
    assert data["x"].dtype == torch.float32


def test_an_error_far_from_theta_has_its_address() -> None:
    def loss(net: nn.Module) -> torch.Tensor:
        if net.weight.dtype == torch.float64 and abs(net.weight[0, 1] - 0.5) > 1e-9:
            raise ValueError("outside")
        return net.weight.sum()

    net = nn.Linear(3, 1, bias=False)
    nn.init.constant_(net.weight, 0.5)
    with pytest.raises(CostEvaluationError, match=r"ValueError on both sides of weight\[0, 1\]"):
        gradcheck(loss, net, seed=0, epsilon=1e-6)


OWN = nn.Linear(3, 1)


@pytest.mark.parametrize(
    ("loss", "net", "message"),
    [
        (OWN, lambda: None, "module is a function, not a torch.nn.Module"),
        (3, OWN, "loss is a int, which cannot be called"),
        (lambda net: 1.0, OWN, r"the loss returned a float: .* without .item\(\)"),
        (lambda net: net.weight, OWN, r"a tensor of shape \(1, 3\) and torch.float32"),
        (lambda net: OWN.weight.detach().sum(), OWN, "the loss does not depend on the parameters"),
        (squares, nn.ReLU(), "no parameter of ReLU needs a gradient"),
        (squares, nn.LazyLinear(2), "weight has no shape yet: call the module once"),
        (squares, nn.Linear(3, 1, device="meta"), "weight is on the device 'meta'"),
        (squares, nn.Linear(2, 1, dtype=torch.complex64), "weight is torch.complex64"),
    ],
)
def test_what_cannot_be_checked_is_refused(loss: Any, net: Any, message: str) -> None:
    with pytest.raises(GradcheckInputError, match=message):
        gradcheck(loss, net)


def noisy(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    return net(x + 0.1 * drawn).square().mean()


def test_a_loss_that_draws_other_numbers_in_float64_is_refused() -> None:
    """Its gradient is right in each dtype, so that WRONG would be a false alarm."""
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(4, 3), nn.Tanh()), torch.randn(20, 4)
    with pytest.raises(GradcheckInputError, match="the loss is another function in each dtype"):
        gradcheck(noisy, net, args=(x,), seed=0)
    assert gradcheck(noisy, net.double(), args=(x.double(),), seed=0)
    # With a fault in the backward pass it is WRONG all the same.
    assert gradcheck(noisy, Layer(4, "factor"), args=(x,), seed=0).verdict.name == "WRONG"


def test_a_module_that_cannot_be_copied_is_refused() -> None:
    net = nn.Linear(3, 1)
    net.kept = net.weight * 2
    with pytest.raises(GradcheckInputError, match="the module cannot be copied"):
        gradcheck(squares, net, args=(torch.randn(4, 3),))


def test_other_arguments_are_refused() -> None:
    with pytest.raises(GradcheckInputError, match=r"dtype=torch\.bfloat16 cannot be differenced"):
        gradcheck(squares, OWN, dtype=torch.bfloat16)
    with pytest.raises(GradcheckTypeError, match="args is a Tensor; pass a tuple"):
        gradcheck(squares, OWN, args=torch.ones(3))  # type: ignore[arg-type]
    with pytest.raises(GradcheckTypeError, match="reference is a str, which cannot be called"):
        gradcheck(squares, OWN, reference="eager")  # type: ignore[arg-type]


def test_switched_off_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTGRADCHECK", "off")
    assert gradcheck(squares, copy.deepcopy(OWN)).verdict.name == "SKIPPED"


def test_dropout_is_refused_by_name() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
    message = r"^the loss is not repeatable: .* mode draws anew at every call: 1 \(Dropout\(p=0\.5"
    with pytest.raises(GradcheckInputError, match=message):
        gradcheck(squares, net, args=(torch.ones(5, 3),), seed=0)

    def loss(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return squares(net, nn.functional.dropout(x))

    with pytest.raises(GradcheckInputError, match="such as dropout from torch"):
        gradcheck(loss, net.eval(), args=(torch.ones(5, 3),), seed=0)
    assert gradcheck(squares, net.eval(), args=(torch.ones(5, 3),), seed=0)


def test_arguments_of_other_names_are_answered() -> None:
    net, x = nn.Linear(3, 2), torch.ones(5, 3)
    with pytest.raises(GradcheckTypeError, match="gradcheck has no argument eps=: the step is eps"):
        gradcheck(squares, net, args=(x,), eps=1e-6)
    with pytest.raises(GradcheckTypeError, match="gradcheck has no argument layout=: its argument"):
        gradcheck(squares, net, args=(x,), layout={})
    message = "takes loss and module by position, 3 were given: what loss takes after module goes"
    with pytest.raises(GradcheckTypeError, match=message):
        gradcheck(squares, net, (x,))  # type: ignore[call-arg]


def test_the_report_names_the_loss_and_its_backward_pass() -> None:
    result = gradcheck(squares, nn.Linear(3, 2), args=(torch.randn(5, 3),), seed=0)
    assert result.origin.grad == "its backward pass"
    assert result.origin.cost.startswith("squares (")


def test_what_torch_says_of_vmap_is_told_without_its_own_address() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(1, 2, 4, 8))

        def forward(self) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(self.w, 2 * self.w, self.w**2)

    result = gradcheck(lambda net: net().square().sum(), Attention(), seed=0)
    assert result, str(result)
    for finding in result.findings:
        assert "Triggered" not in finding.message
        assert "file us" not in finding.message
