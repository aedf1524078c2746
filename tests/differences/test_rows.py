"""Differences of all outputs at once: bars that hold the truth."""

from __future__ import annotations

import mpmath
import numpy as np

from fastgradcheck.differences import rows as differences
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.draws import everything
from fastgradcheck.differences.rows import Rows
from fastgradcheck.evaluation import hashing
from fastgradcheck.evaluation.engines.python import PythonEngine
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.problem.outputs import describe_outputs
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective


def rows_of(fun, theta):
    values = np.asarray(fun(theta), float)
    objective = Objective(fun, (), describe(theta), theta, outputs=describe_outputs(values))
    context = Context(Stream(PythonEngine(objective)), float("nan"), seed=1)
    return Rows(context, values, differences.measure_noise(context, values))


def elementary(t):
    return np.array([np.sin(t[0]) * np.exp(t[1]), t[2] ** 3 / t[0], np.log(t[1] + t[2])])


POINT = np.array([0.7, 1.3, 2.1])


def exact():
    """The Jacobian in 50 digits."""
    with mpmath.workdps(50):
        x, y, z = map(mpmath.mpf, POINT.tolist())
        table = [
            [mpmath.cos(x) * mpmath.exp(y), mpmath.sin(x) * mpmath.exp(y), 0],
            [-(z**3) / x**2, 0, 3 * z**2 / x],
            [0, 1 / (y + z), 1 / (y + z)],
        ]
        return np.array([[float(entry) for entry in row] for row in table])


def test_columns_hold_the_derivative_within_their_bars():
    values, bars = differences.measure_columns(rows_of(elementary, POINT), np.arange(3))
    assert (np.abs(values - exact()) <= bars).all()
    assert bars.max() < 1e-6


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


def test_sweeps_of_a_column_hold_the_derivative():
    rows = rows_of(elementary, POINT)
    sweeps = differences.sweep_column(rows, 0, np.arange(2), np.array([0, 3]))
    for sweep, true in zip(sweeps, exact()[:2, 0], strict=True):
        assert abs(sweep.value - true) <= sweep.error < 1e-8


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
