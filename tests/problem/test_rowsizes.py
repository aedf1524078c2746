"""How far outputs move, beside closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from fastgradcheck.problem.inspection import inspect_outputs
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective
from fastgradcheck.problem.rowsizes import DIRECTIONS, STEP, row_sizes


def sizes_of(fun, theta, bounds=None, seed=0):
    theta = np.asarray(theta, float)
    inspected = inspect_outputs(Objective(fun, (), describe(theta), theta))
    sizes, evaluations = row_sizes(inspected, bounds, seed)
    assert evaluations == DIRECTIONS
    return sizes


def test_sizes_are_those_of_the_rows_over_sixteen_decades():
    rng = np.random.default_rng(1)
    W, theta = rng.normal(size=(100, 50)), rng.normal(size=50)
    D = 10.0 ** rng.uniform(-8, 8, 100)
    ratio = sizes_of(lambda t: D * np.tanh(W @ t / 7), theta)
    slopes = D[:, None] * (1 - np.tanh(W @ theta / 7)[:, None] ** 2) * W / 7
    ratio /= np.linalg.norm(slopes, axis=1)
    # Four directions: the fourth root of the smallest of a hundred, and the square root of their
    # largest mean; but a row in saturation is rounded at 2^-52 / STEP of its value.
    assert ratio.max() / ratio.min() < 30


def test_an_output_that_hardly_moves_is_as_large_as_its_rounding():
    theta = np.ones(2)
    sizes = sizes_of(lambda t: np.array([t[0], 1e6 + 1e-9 * t[1], t[1] - 1]), theta)
    assert sizes[1] == pytest.approx(2.0**-52)  # relative to the largest output
    # Above it, a row is as large as it is: v STEP of the largest output, and v from 1 / 2.
    assert STEP / 2 / 1e6 < sizes[0] < 2 * STEP / 1e6


def test_the_noise_of_an_output_passes_for_movement():
    def rounded(t):
        return np.array([t[0], 1e-7 * t[0] + 1e-6 * ((1e12 * t[0]) % 7), t[1]])

    sizes = sizes_of(rounded, [1.0, 2.0])
    assert sizes[1] > 1e3 * sizes[0]


def test_outputs_that_do_not_move_take_the_median_of_the_others():
    sizes = sizes_of(lambda t: np.array([t[0], 0 * t[0], 100 * t[0], 1e4 * t[0]]), [3.0])
    assert sizes[1] == sizes[2]
    assert (sizes_of(lambda t: 0 * t, [3.0, 4.0]) == 1).all()


def test_bounds_are_kept_and_an_edge_of_the_domain_is_passed_over():
    theta = np.array([0.0, 1.0])

    def fun(t):
        if t[0] < 0 or t[1] > 1:
            raise ValueError("outside")
        return np.array([np.sqrt(2 + t[0]), 5 * t[1]])

    bounds = np.array([0.0, 0.0]), np.array([1.0, 1.0])
    assert (sizes_of(fun, theta, bounds) > 0).all()
    assert (sizes_of(lambda t: np.log(t), [1e-300, 1.0]) > 0).all()


def test_a_shift_of_the_seed_draws_other_directions():
    fun = lambda t: np.array([t[0] + t[1], t[0] - t[1]])  # noqa: E731
    one, two = sizes_of(fun, [1.0, 1.0]), sizes_of(fun, [1.0, 1.0], seed=1)
    assert (one != two).all()
    assert (one == sizes_of(fun, [1.0, 1.0])).all()
