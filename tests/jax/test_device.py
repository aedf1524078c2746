"""Points that are made by jax, against those that a plan writes by itself."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fastgradcheck.jax as fgj
from fastgradcheck.evaluation.hashing import direction, key, signed_magnitude
from fastgradcheck.jax import gradient
from fastgradcheck.jax.device import JaxDevice
from fastgradcheck.jax.trees import double
from fastgradcheck.problem.parameters import describe
from tests.cases import points


def made(theta: np.ndarray, plan: Any) -> np.ndarray:
    """The points of a plan, as the device makes them."""
    device = JaxDevice(lambda blocks: blocks, describe(theta), theta)
    return np.asarray(plan.on(device))[: len(plan) * plan.width]


@pytest.mark.parametrize("name", points.PLANS)
def test_points_are_those_of_the_plan(name: str) -> None:
    theta, plan = points.PLANS[name]()
    points.assert_identical(made(theta, plan), points.written(plan, theta))


@pytest.mark.parametrize("compiled", [False, True])
def test_directions_are_those_of_numpy(compiled: bool) -> None:
    """Bit for bit, with keys and indices of which the highest bit is set."""
    index = np.concatenate([np.arange(50_000), 2**62 + np.arange(9)])
    for word in (key(0, 1), key(3, 2, 7), np.uint64(0), np.uint64(2**64 - 1)):
        with double():
            hashed = jax.jit(signed_magnitude) if compiled else signed_magnitude
            found = np.asarray(hashed(word, jnp.asarray(index).astype(jnp.uint64)))
        points.assert_identical(found, direction(word, index))


def test_a_check_copies_no_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves are copied from NumPy by the guards, and by no more evaluations than these take."""
    monkeypatch.setattr("fastgradcheck.jax.device.HERE", "elsewhere")
    monkeypatch.setattr("fastgradcheck.jax.device.LARGE", 10)
    copied = []
    plain = gradient.Forward.leaf
    monkeypatch.setattr(gradient.Forward, "leaf", lambda *args: copied.append(1) or plain(*args))
    rng = np.random.default_rng(0)
    params = {"W": jnp.asarray(rng.normal(size=(6, 5))), "b": jnp.asarray(rng.normal(size=5))}
    x = jnp.asarray(rng.normal(size=(3, 6)))
    result = fgj.gradcheck(
        lambda p, x: jnp.sum(jnp.tanh(x @ p["W"] + p["b"]) ** 2), params, args=(x,), seed=0
    )
    assert result.verdict.name == "AGREES"
    assert result.evaluations > 140
    assert len(copied) <= 14 * 2


@pytest.mark.parametrize(
    ("here", "x64", "size", "there"),
    [
        ("elsewhere", True, 100_001, True),
        ("cpu", True, 100_001, False),
        ("elsewhere", False, 100_001, False),
        ("elsewhere", True, 99, False),
    ],
)
def test_small_ones_and_those_without_64_bits_come_from_here(
    here: str, x64: bool, size: int, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastgradcheck.jax.device.HERE", here)
    tree = gradient.tree_of({"w": jnp.ones(size)})
    forward = gradient.forward_of(lambda p: jnp.sum(p["w"]), tree, (), x64)
    device = forward.device(points.objective_of(forward, tree.theta))
    assert isinstance(device, JaxDevice) == there
