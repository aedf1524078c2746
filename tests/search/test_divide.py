"""All blocks at once: few evaluations whatever their number, and wrong entries by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck import Verdict
from tests.cases.residual import Residual

Array = np.ndarray[Any, Any]


def check(network: Residual, gradient: Any, seed: int, **options: Any) -> fgc.GradcheckResult:
    """By directions alone."""
    return fgc.gradcheck(
        network.cost, gradient, network.theta, strategy="screen", seed=seed, **options
    )


@pytest.mark.parametrize("relu", [False, True], ids=["tanh", "ReLU"])
def test_evaluations_do_not_grow_with_the_number_of_blocks(relu: bool) -> None:
    for layers, seeds in ((3, 6), (30, 4), (150, 2)):
        for seed in range(seeds):
            network = Residual(layers, relu, seed)
            result = check(network, network.grad(network.theta), seed)
            assert result, str(result)
            assert result.evaluations <= (128 if relu else 96)
            assert len(result.blocks) == 2 * layers
            assert all(block.directions >= 4 for block in result.blocks)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("layers", [3, 40])
def test_wrong_entries_are_named_and_nothing_else(layers: int, count: int) -> None:
    for seed in range(5):
        network = Residual(layers, False, seed)
        gradient = network.grad(network.theta)
        rng = np.random.default_rng(seed)
        wrong = set()
        while len(wrong) < count:
            name = str(rng.choice(list(gradient)))
            place = tuple(int(rng.integers(extent)) for extent in gradient[name].shape)
            address = f"{name}[{', '.join(map(str, place))}]"
            if address not in wrong:
                gradient[name][place] += 1e-3 * max(0.05, abs(gradient[name][place]))
                wrong.add(address)
        result = check(network, gradient, seed)
        assert result.verdict is Verdict.WRONG
        assert set(result.wrong) == wrong
        # What is confirmed by directions of the repaired claim takes no step sweep of its own.
        assert result.evaluations <= {1: 112, 2: 240, 5: 420}[count]


def test_a_single_wrong_entry_is_confirmed_by_other_directions_and_its_slope_is_right() -> None:
    network = Residual(20, False, 0)
    right = network.grad(network.theta)
    gradient = {k: v.copy() for k, v in right.items()}
    gradient["W7"][2, 3] *= 1.01
    result = check(network, gradient, 0)
    (record,) = result.components
    assert abs(record["numeric"] - right["W7"][2, 3]) <= record["error"]
    (finding,) = [f for f in result.findings if f.kind == "entry"]
    assert finding.message.startswith("W7: only W7[2, 3] is wrong, as directions through all show")


@pytest.mark.parametrize("part", ["W5", "b5", "row", "column"])
def test_a_wrong_block_row_or_column_is_named_as_such(part: str) -> None:
    for seed in range(3):
        network = Residual(12, False, seed)
        gradient = network.grad(network.theta)
        where, named = {
            "W5": (("W5", np.s_[:, :]), "W5"),
            "b5": (("b5", np.s_[:]), "b5"),
            "row": (("W5", np.s_[3, :]), "W5"),
            "column": (("W5", np.s_[:, 2]), "W5"),
        }[part]
        gradient[where[0]][where[1]] *= 1.5
        result = check(network, gradient, seed)
        assert result.verdict is Verdict.WRONG
        assert {name.split("[")[0] for name in result.wrong} == {named}, result.wrong


def test_all_blocks_from_some_layer_down_are_wrong() -> None:
    network = Residual(4, False, 1)
    gradient = network.grad(network.theta)
    for k in range(2):
        gradient[f"W{k}"] *= 0.5
        gradient[f"b{k}"] *= 0.5
    result = check(network, gradient, 1)
    assert {b.name for b in result.blocks if b.verdict is Verdict.WRONG} == {"W0", "b0", "W1", "b1"}
    assert {b.name for b in result.blocks if b.verdict is Verdict.AGREES} == {
        "W2", "b2", "W3", "b3"
    }  # fmt: skip


def test_thousands_of_scalars_take_part_like_anything_else() -> None:
    rng = np.random.default_rng(0)
    theta = {f"s{k}": np.array(x) for k, x in enumerate(rng.normal(size=2500))}

    def cost(t: dict[str, Array]) -> float:
        return float(np.sin(np.array(list(t.values()))).sum())

    gradient = {name: np.cos(x) for name, x in theta.items()}
    result = fgc.gradcheck(cost, gradient, theta, strategy="screen", seed=0)
    assert result, str(result)
    assert result.evaluations <= 96
    wrong = gradient | {"s1234": 1.01 * gradient["s1234"]}
    assert fgc.gradcheck(cost, wrong, theta, strategy="screen", seed=0).wrong == ("s1234",)
    assert len(str(result).splitlines()) < 60


@pytest.mark.parametrize("claim", [1.0, -1.0])
def test_an_entry_that_no_step_moves_is_said_not_to_be_covered(claim: float) -> None:
    theta = np.append(np.linspace(0.5, 1.5, 60), 1e16)

    def cost(t: Array) -> float:
        return float(np.sin(t[:60]).sum() + 1e-16 * t[60])

    gradient = np.append(np.cos(theta[:60]), claim * 1e-16)
    result = fgc.gradcheck(cost, gradient, theta, strategy="screen", seed=0)
    assert "60 of 61 parameters were covered" in result.coverage
    assert "the other one is at its bound, or so large that the step does not move it" in (
        result.coverage
    )
    assert result.verdict is not Verdict.WRONG or claim < 0


@pytest.mark.parametrize("size", [1e160, 1e-170])
def test_norms_neither_overflow_nor_vanish(size: float) -> None:
    theta = np.linspace(0.5, 1.5, 300)
    right = size * np.cos(theta)
    result = fgc.gradcheck(
        lambda t: float(size * np.sin(t).sum()), right, theta, strategy="screen", seed=0
    )
    assert result, str(result)
    assert 0 < result.limit <= 1e-7
    doubled = fgc.gradcheck(
        lambda t: float(size * np.sin(t).sum()), 2 * right, theta, strategy="screen", seed=0
    )
    assert doubled.verdict is Verdict.WRONG
    assert 0.01 < doubled.relative_difference < 1


def test_a_fraction_of_many_components_comes_with_directions_over_all() -> None:
    network = Residual(60, False, 0)
    gradient = network.grad(network.theta)
    gradient["W31"][1, 2] *= 2
    result = fgc.gradcheck(network.cost, gradient, network.theta, sample=0.1, seed=0)
    assert result.wrong == ("W31[1, 2]",)
    assert len(result.components) >= 252
    assert all(block.directions for block in result.blocks)
    alone = fgc.gradcheck(
        network.cost, gradient, network.theta, sample=0.1, strategy="components", seed=0
    )
    assert not any(block.directions for block in alone.blocks)


def test_a_block_that_is_at_its_bounds_altogether_is_said_not_to_be_covered() -> None:
    theta = {"free": np.linspace(0.5, 1.5, 50), "fixed": np.zeros(20)}
    bounds = ({"free": np.full(50, -9.0), "fixed": np.zeros(20)}, 9.0)

    def cost(t: dict[str, Array]) -> float:
        return float(np.sin(t["free"]).sum() + (t["fixed"] + 1).prod())

    right = {"free": np.cos(theta["free"]), "fixed": np.ones(20)}
    options = {"bounds": bounds, "strategy": "screen", "seed": 0}
    result = fgc.gradcheck(cost, right, theta, **options)
    assert result, str(result)
    assert result.coverage.startswith("50 of 70 parameters were covered")
    wrong = right | {"fixed": np.where(np.arange(20) == 7, 2.0, 1.0)}
    assert fgc.gradcheck(cost, wrong, theta, **options).wrong == ("fixed[7]",)
