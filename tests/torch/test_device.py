"""Points that are made by torch, against those that a plan writes by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import fastgradcheck.torch as fgt
from fastgradcheck.evaluation.hashing import direction, key, signed_magnitude
from fastgradcheck.problem.parameters import describe
from fastgradcheck.torch import module
from fastgradcheck.torch.device import TorchDevice, Words
from tests.cases import points


def made(theta: np.ndarray, plan: Any) -> np.ndarray:
    """The points of a plan, as the device makes them."""
    device = TorchDevice(lambda blocks: blocks, describe(theta), theta, torch.device("cpu"))
    return np.asarray(plan.on(device))


@pytest.mark.parametrize("name", points.PLANS)
def test_points_are_those_of_the_plan(name: str) -> None:
    theta, plan = points.PLANS[name]()
    points.assert_identical(made(theta, plan), points.written(plan, theta))


def test_directions_are_those_of_numpy() -> None:
    """Bit for bit, with keys and indices of which the highest bit is set."""
    index = np.concatenate([np.arange(50_000), 2**62 + np.arange(9)])
    for word in (key(0, 1), key(3, 2, 7), np.uint64(0), np.uint64(2**64 - 1)):
        found = signed_magnitude(word, Words(torch.tensor(index)))
        points.assert_identical(found.numpy(), direction(word, index))


def test_hashing_in_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastgradcheck.torch.device.CHUNK", 7)
    theta, plan = points.PLANS["a rectangle, scaled"]()
    points.assert_identical(made(theta, plan), points.written(plan, theta))


@pytest.mark.parametrize("mappable", [True, False])
def test_a_check_copies_no_points(mappable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are copied from NumPy by the guards, and by no more evaluations than these take."""
    monkeypatch.setattr("fastgradcheck.torch.device.HERE", "elsewhere")
    copied = []
    plain = module.tensor_of
    monkeypatch.setattr(module, "tensor_of", lambda array: copied.append(1) or plain(array))

    def loss(net: Any, x: Any) -> Any:
        value = net(x).square().sum()
        return value if mappable else value * (1.0 if float(value.detach()) > -1 else 2.0)

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    result = fgt.gradcheck(loss, net, args=(torch.randn(3, 6),), seed=0)
    assert result.verdict.name == "AGREES"
    assert any(finding.kind == "vectorized" for finding in result.findings) is not mappable
    assert result.evaluations > 200
    assert len(copied) <= 12 * 4


def test_where_points_are_copied_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float32, since directions are in float64, which such a device may not have."""
    monkeypatch.setattr("fastgradcheck.torch.device.HERE", "elsewhere")
    net = torch.nn.Linear(3, 2)
    forward = module.Forward(module.network_of(net), lambda net: net, (), torch.float32)
    objective = points.objective_of(forward, forward.network.theta)
    assert forward.device(objective) is None
    double = module.Forward(forward.network, forward.loss, (), torch.float64)
    assert isinstance(double.device(objective), TorchDevice)
    monkeypatch.setattr("fastgradcheck.torch.device.HERE", "cpu")
    assert double.device(objective) is None
