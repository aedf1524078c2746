"""Bounds in every form, and those that are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize

import fastgradcheck as fgc
from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.problem.bounds import flat_bounds
from fastgradcheck.problem.parameters import describe

RNG = np.random.default_rng(0)
THETA = {"W": RNG.normal(size=(6, 5)), "b": RNG.normal(size=8)}
INF = np.inf


@pytest.mark.parametrize(
    "bounds",
    [
        (-2.0, 5.0),
        (-2, 5),
        (np.full(3, -2.0), [5.0, 5.0, 5.0]),
        ([-2, -2, -2], np.array([5, 5, 5])),
        scipy.optimize.Bounds(-2.0, 5.0),
        scipy.optimize.Bounds([-2.0, -2.0, -2.0], 5.0),
        [(-2, 5), (-2.0, 5.0), [-2, 5]],
        ((-2, 5),) * 3,
        np.array([[-2, 5]] * 3),
        {"theta": (-2, 5)},
        {"theta": ([-2, -2, -2], 5)},
        {"theta": scipy.optimize.Bounds(-2.0, 5.0)},
    ],
)
def test_bounds_in_every_form(bounds: Any) -> None:
    theta = np.array([1.0, -2.0, 5.0])
    low, high = flat_bounds(bounds, theta, describe(theta))
    assert low.tolist() == [-2.0] * 3
    assert high.tolist() == [5.0] * 3


@pytest.mark.parametrize(
    ("bounds", "low", "high"),
    [
        ([(0, None), (None, None), (None, 9)], [0, -INF, -INF], [INF, INF, 9]),
        ((None, 9), [-INF] * 3, [9] * 3),
        ((0, None), [0] * 3, [INF] * 3),
        (([0, None, 0], None), [0, -INF, 0], [INF] * 3),
        ((None, None), [-INF] * 3, [INF] * 3),
    ],
)
def test_none_is_an_open_side(bounds: Any, low: Any, high: Any) -> None:
    theta = np.array([1.0, 2.0, 3.0])
    found = flat_bounds(bounds, theta, describe(theta))
    assert found is not None
    assert (found[0].tolist(), found[1].tolist()) == (low, high)


def test_two_pairs_are_read_as_scipy_reads_them() -> None:
    theta = np.array([0.5, 7.0])
    bounds = [(0.0, 1.0), (5.0, 10.0)]
    low, high = flat_bounds(bounds, theta, describe(theta))
    theirs = scipy.optimize.minimize(lambda t: float((t**2).sum()), theta, bounds=bounds)
    np.testing.assert_array_equal(theirs.x, low)
    assert (low.tolist(), high.tolist()) == ([0.0, 5.0], [1.0, 10.0])
    with pytest.raises(
        GradcheckInputError,
        match=r"theta\[0\] = 0\.5 lies outside its bounds \[0, 0\]; .* Two pairs of numbers are "
        r"the bounds of one entry each, as in SciPy; pass scipy\.optimize\.Bounds\(low, high\)",
    ):
        flat_bounds(([0.0, 0.0], [10.0, 10.0]), theta, describe(theta))


def test_bounds_of_a_nest() -> None:
    parameters = describe(THETA)
    low = {name: part - 1 for name, part in THETA.items()}
    flat = parameters.flatten(THETA)
    found = flat_bounds((low, np.inf), flat, parameters)
    assert found is not None
    np.testing.assert_array_equal(found[0], flat - 1)
    assert (found[1] == np.inf).all()
    assert flat_bounds(None, flat, parameters) is None
    pairs = flat_bounds([(x, None) for x in flat], flat, parameters)
    np.testing.assert_array_equal(pairs[0], flat)
    blocks = flat_bounds({"b": (-9, THETA["b"] + 1)}, flat, parameters)
    np.testing.assert_array_equal(blocks[0], [-np.inf] * 30 + [-9] * 8)
    np.testing.assert_array_equal(blocks[1][30:], THETA["b"] + 1)
    for bad, message in [
        ((-np.inf, low), r"W\[0, 0\] = .* lies outside its bounds"),
        (({"W": low["W"]}, 0.0), r"in bounds, theta lacks 'b'"),
        ((0.0, "high"), r"in bounds, theta is of type str"),
        ((-9.0, low["W"]), r"in bounds, theta is one array of shape \(6, 5\)"),
        (({"W": low["b"], "b": None}, None), r"in bounds, W has shape \(8,\), but theta has \(6, "),
        ({"c": (0, 1)}, r"bounds names the block 'c', which theta does not have; .* W, b\."),
        ({"b": 3}, r"bounds\['b'\] must be a pair \(low, high\); None leaves a side open\."),
        ({"b": (0, "1,0")}, r"bounds\['b'\] holds '1,0': use numbers, or None\."),
    ]:
        with pytest.raises(GradcheckInputError, match=message):
            flat_bounds(bad, flat, parameters)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (3.0, r"bounds must be a pair \(low, high\), a list with such a pair for each of the 3 en"),
        ([(0, 1)] * 2, r"bounds must be .*leaves a side open\. There are 2 here\."),
        ([(0, 1)] * 4, r"bounds must be .*leaves a side open\. There are 4 here\."),
        ((0, 1, 2), r"bounds must be a pair"),
        (
            (5, 0),
            r"the lower bound 5 of theta\[0\] is above its upper bound 0: are low and high e",
        ),
        ([(0, 5), (0, 5), (np.nan, 5)], r"a bound of theta\[2\] is nan: None, or an infinity, lea"),
        (([0, 0], 5), r"in bounds, theta has shape \(2,\), but theta has \(3,\) there: pass one n"),
    ],
)
def test_bounds_that_are_refused(bounds: Any, message: str) -> None:
    theta = np.array([1.0, 2.0, 3.0])
    with pytest.raises(GradcheckInputError, match=message):
        flat_bounds(bounds, theta, describe(theta))


def test_the_domain_is_never_left() -> None:
    """J has no value below 1e-3; without the bounds the steps would go there."""
    seen = []

    def cost(theta: np.ndarray) -> float:
        seen.append(theta.min())
        return float(np.log(theta - 0.999e-3).sum())

    theta = np.array([1.001e-3, 2.0])
    bounds = [(1e-3, None), (1e-3, None)]
    assert fgc.gradcheck(cost, lambda t: 1 / (t - 0.999e-3), theta, bounds=bounds, seed=0)
    assert min(seen) >= 1e-3


def test_an_entry_without_room_is_named() -> None:
    theta = np.array([1.0, 2.0])
    options = {"bounds": [(1, 1), (0, None)], "seed": 0}
    result = fgc.gradcheck(lambda t: float((t**2).sum()), lambda t: 2 * t, theta, **options)
    assert result.verdict is fgc.Verdict.UNDECIDED
    said = " ".join(str(result).split())
    assert "theta[0] has no room between its bounds [1, 1]: open a side, or leave" in said
