"""Columns by every scheme: bars that hold the truth, and steps of the user's own."""

from __future__ import annotations

import numpy as np
import pytest

from fastgradcheck.differences import columns as differences
from fastgradcheck.differences.schemes import CENTRAL, CENTRAL4, COMPLEX, FORWARD
from tests.cases.rows import POINT, elementary, exact, rows_of

THREE = np.arange(3)


def test_columns_hold_the_derivative_within_their_bars():
    values, bars = differences.measure_columns(rows_of(elementary, POINT), np.arange(3))
    assert (np.abs(values - exact()) <= bars).all()
    assert bars.max() < 1e-6


@pytest.mark.parametrize(
    ("scheme", "sharp"), [(CENTRAL4, 1e-8), (COMPLEX, 3e-12), (CENTRAL, 1e-7), (FORWARD, 1e-5)]
)
def test_every_scheme_holds_the_derivative_within_its_bars(scheme, sharp):
    values, bars = differences.by_scheme(rows_of(elementary, POINT, scheme), THREE)(THREE, "test")
    assert (np.abs(values - exact()) <= bars).all()
    assert bars.max() < sharp * np.abs(exact()).max()


@pytest.mark.parametrize("scheme", [CENTRAL4, CENTRAL, FORWARD])
def test_a_step_of_the_users_own_is_taken_and_its_bars_tell_what_it_is_worth(scheme):
    points = []

    def seen(t):
        points.append(t.copy())
        return elementary(t)

    rows = rows_of(seen, POINT, scheme, epsilon=np.array([2.0**-7]))
    measure = differences.by_scheme(rows, THREE)
    points.clear()
    values, bars = measure(THREE, "test")
    moved = np.abs(np.array(points) - POINT).max(axis=1)
    wanted = 2.0**-7 * np.abs(scheme.offsets)
    np.testing.assert_array_equal(moved, np.tile(wanted, 3))
    assert (np.abs(values - exact()) <= bars).all()
    # So long a step is not exact, and says so.
    assert bars.max() > 1e-6
    # What is looked for elsewhere takes steps of its own.
    points.clear()
    differences.measure_columns(rows, THREE)
    assert np.abs(np.array(points) - POINT).max() < 2.0**-7


def test_columns_without_room_are_not_known():
    bounds = POINT - np.array([0.0, 1.0, 1.0]), POINT + 1.0
    _, bars = differences.measure_columns(rows_of(elementary, POINT, bounds=bounds), THREE)
    assert np.isinf(bars[:, 0]).all()
    assert np.isfinite(bars[:, 1:]).all()


def test_sweeps_of_a_column_hold_the_derivative():
    rows = rows_of(elementary, POINT)
    sweeps = differences.sweep_column(rows, 0, np.arange(2), np.array([0, 3]))
    for sweep, true in zip(sweeps, exact()[:2, 0], strict=True):
        assert abs(sweep.value - true) <= sweep.error < 1e-8
