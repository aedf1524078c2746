"""Differences of all outputs at once: bars that hold the truth."""

from __future__ import annotations

import numpy as np

from fastgradcheck.differences import rows as differences
from fastgradcheck.differences.draws import everything
from fastgradcheck.differences.schemes import COMPLEX
from fastgradcheck.evaluation import hashing
from tests.cases.rows import POINT, elementary, exact, rows_of


def test_directions_hold_the_product_within_their_bars():
    rows = rows_of(elementary, POINT)
    keys = np.array([hashing.key(5, d) for d in range(20)])
    slopes = differences.along(rows, everything(3), keys, np.full(20, 1e-3), np.ones(3))
    assert (np.abs(slopes.taken @ exact().T - slopes.slopes) <= slopes.error).all()


def test_noise_that_grows_with_the_slope_is_within_the_bars():
    rng = np.random.default_rng(3)
    W, theta = rng.normal(size=(100, 50)) / 7, rng.normal(size=50)
    y = W @ theta
    rows = rows_of(lambda t: (W @ t - y) ** 2 + 1e-3 * (W @ t - y), theta)
    keys = np.array([hashing.key(5, d) for d in range(8)])
    slopes = differences.along(rows, everything(50), keys, np.full(8, 0.03), np.ones(50))
    # A square's second difference is exact: all that is wrong with the slope is rounding.
    missed = np.abs(slopes.taken @ (1e-3 * W).T - slopes.slopes) > slopes.error
    assert missed.mean() < 0.01


def test_a_bar_is_not_small_by_chance():
    # The third derivative along t, cos(t0 + 3 t1)(t0 + 3 t1)'^3, vanishes in some direction.
    rows = rows_of(lambda t: np.array([np.sin(t[0] + 3 * t[1])]), np.array([0.4, 0.2]))
    keys = np.array([hashing.key(5, d) for d in range(400)])
    slopes = differences.along(rows, everything(2), keys, np.full(400, 0.05), np.ones(2))
    assert slopes.error.min() >= np.median(slopes.error) / 2


def test_the_noise_of_every_output_is_its_own():
    rng = np.random.default_rng(0)
    grain = np.array([0.0, 1e-6, 1e-3])
    shake = rng.normal(size=1024)

    def fun(t):
        # A noise that is the same at the same point, and another one at any other.
        place = int(abs(t.view(np.int64) % 1024).sum()) % 1021
        return 10.0 + t[0] + grain * shake[place : place + 3]

    level = rows_of(fun, np.array([0.3, 0.4])).noise
    assert level[0] < 1e-14
    assert 1e-7 < level[1] < 1e-5
    assert 1e-4 < level[2] < 1e-2


def test_complex_steps_along_directions_are_exact():
    rows = rows_of(elementary, POINT, COMPLEX)
    keys = np.array([hashing.key(5, d) for d in range(20)])
    slopes = differences.along(rows, everything(3), keys, np.full(20, 1e-20), np.ones(3))
    assert (np.abs(slopes.taken @ exact().T - slopes.slopes) <= slopes.error).all()
    # A thousand roundings of the largest slope.
    assert slopes.error.max() <= 1024 * 2.3e-16 * np.abs(slopes.slopes).max()
    assert differences.choose_step(rows, np.ones(3)) == 1e-20
    assert not len(differences.leave_out(rows, np.ones(3), 1e-20))
