"""The gradients of the benchmark problems are right, by an oracle that knows nothing of them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.problems import PROBLEMS, Problem

SIZES = {
    "loop_mlp": 2_410,
    "matmul_mlp": 9_610,
    "recurrent": 416,
    "convolution": 1_490,
    "rosenbrock": 10_000,
    "logistic_digits": 650,
    "recurrent_by_columns": 416,
}


def extrapolated_slope(problem: Problem, direction: np.ndarray, h: float) -> float:
    """Directional derivative: central differences at h and 2h, the h^2 term removed.

    D(h) = f' + c h^2 + O(h^4), so that (4 D(h) - D(2h)) / 3 = f' + O(h^4).
    """

    def difference(step: float) -> float:
        ahead = problem.cost(problem.theta + step * direction, *problem.args)
        behind = problem.cost(problem.theta - step * direction, *problem.args)
        return (ahead - behind) / (2 * step)

    return (4 * difference(h) - difference(2 * h)) / 3


def directions(n: int) -> np.ndarray:
    """A few dense directions, and unit vectors spread over all layers."""
    rng = np.random.default_rng(7)
    dense = rng.normal(size=(3, n)) / np.sqrt(n)
    units = np.zeros((40, n))
    units[np.arange(40), np.linspace(0, n - 1, 40).astype(int)] = 1.0
    return np.concatenate([dense, units])


@pytest.mark.parametrize("name", PROBLEMS)
def test_gradient_is_the_derivative_of_the_cost(name: str) -> None:
    problem = PROBLEMS[name]()
    gradient = problem.grad(problem.theta, *problem.args)
    value = problem.cost(problem.theta, *problem.args)
    h = 1e-3
    # Rounding: a sum of k terms errs by up to about sqrt(k) eps |J|, sqrt(k) <= 100 here, over h;
    # truncation: h^4 = 1e-12 times a fifth derivative, of the order of the slope's own scale.
    tolerance = 100 * np.finfo(float).eps * abs(value) / h + 1e-10 * np.linalg.norm(gradient)

    for direction in directions(len(problem.theta)):
        assert gradient @ direction == pytest.approx(
            extrapolated_slope(problem, direction, h), rel=0, abs=tolerance
        )


@pytest.mark.parametrize("name", PROBLEMS)
def test_problems_are_fixed(name: str) -> None:
    first, second = PROBLEMS[name](), PROBLEMS[name]()
    assert len(first.theta) == SIZES[name]
    np.testing.assert_array_equal(first.theta, second.theta)
    assert first.cost(first.theta, *first.args) == second.cost(second.theta, *second.args)


def test_every_layer_has_a_gradient() -> None:
    """No block is all zeros: a check that skips a layer would otherwise go unseen."""
    for name, make in PROBLEMS.items():
        problem = make()
        gradient = problem.grad(problem.theta, *problem.args)
        # Digits have pixels that are always blank, and the ridge pulls at those weights too.
        assert np.count_nonzero(gradient) == len(gradient), name
