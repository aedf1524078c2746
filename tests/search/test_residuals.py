"""What directions leave of a claim: (claim - A) v, of a linear F = A t, and its parts."""

from __future__ import annotations

import numpy as np

from fastgradcheck.search.residuals import Residuals
from fastgradcheck.search.separate import Separated
from tests.cases.rowtasks import row_task

M, N = 12, 40
RNG = np.random.default_rng(0)
A = RNG.normal(size=(M, N))
THETA = RNG.normal(size=N)
OFF = np.zeros((M, N))
OFF[2, 7], OFF[9, 30] = 0.5, -1e-3


def linear(t):
    return A @ t


def residuals(off=OFF, **options):
    return Residuals.over(row_task(linear, A + off, THETA, **options))


def test_residuals_are_what_the_claim_is_off_by_along_the_directions():
    state = residuals()
    draws = state.measure((1, 0))
    for slopes in draws.sets:
        y = state.residual(slopes)
        assert (np.abs(y - slopes.taken @ OFF.T) <= slopes.error).all()
        # Rows that are right leave nothing beyond their bars.
        right = np.delete(np.arange(M), [2, 9])
        assert (np.abs(y[:, right]) <= slopes.error[:, right]).all()
    (joint,) = state.joint([draws], 0)
    assert np.flatnonzero(joint.screened.failing).tolist() == [2, 9]
    assert joint.screened.upper >= np.linalg.norm(OFF * state.moving) * (1 - 1e-9)


def test_what_was_found_is_named_and_taken_out():
    state = residuals()
    draws = state.measure((1, 0))
    found = state.separate(draws, np.array([2, 9]), 0)
    assert set(found.entries) == {(2, 7), (9, 30)}
    for (i, j), (size, bar) in found.entries.items():
        assert abs(size - OFF[i, j]) <= bar < 1e-9
    assert state.take_out(found)
    again = state.measure((1, 1))
    (joint,) = state.joint([again], 1)
    assert not joint.screened.failing.any()
    # What was taken out is known to its bars only, and these count.
    slopes = again.sets[0]
    assert (state.doubt(slopes)[:, 2] > slopes.error[:, 2]).all()
    assert (state.doubt(slopes)[:, 3] == slopes.error[:, 3]).all()


def test_what_is_found_twice_adds_up_and_nothing_is_nothing():
    state = residuals()
    assert not state.take_out(Separated())
    state.take_out(Separated(entries={(2, 7): (0.4, 1e-9)}))
    state.take_out(Separated(entries={(2, 7): (0.1, 2e-9)}))
    assert state.repaired == {(2, 7): (0.5, 2e-9)}
    state.take_out(Separated(lines={(4, 0)}))
    assert np.flatnonzero(state.lost).tolist() == [4]
    assert not state.coarse(np.full(M, np.inf))[4]


def test_values_that_are_no_numbers_have_no_y_and_infinite_bars():
    state = residuals()
    draws = state.measure((1, 0))
    draws.sets[0].slopes[1, 5] = np.nan
    y, error, claimed = state.seen(draws)
    assert y[1, 5] == claimed[1, 5] == 0
    assert error[1, 5] == np.inf


def test_outputs_share_the_probability_and_have_their_own_rows():
    def two(t):
        return {"a": A[:5] @ t, "b": A[5:] @ t}

    state = Residuals.over(row_task(two, A + OFF, THETA))
    first, second = state.joint([state.measure((1, 0))], 0)
    assert first.screened.y.shape[1] == 5
    assert second.screened.y.shape[1] == 7
    assert np.flatnonzero(first.screened.failing).tolist() == [2]
    assert np.flatnonzero(second.screened.failing).tolist() == [4]
    alone = residuals()
    (whole,) = alone.joint([alone.measure((1, 0))], 0)
    assert first.screened.failure == second.screened.failure == whole.screened.failure / 2


def test_columns_at_their_bounds_do_not_move():
    high = np.full(N, 10.0)
    high[3] = THETA[3]
    state = residuals(bounds=(np.full(N, -10.0), high))
    assert state.fixed.tolist() == [3]
    assert state.moving[3] == 0
    task = row_task(linear, A, THETA, bounds=(THETA, THETA))
    assert Residuals.over(task) is None


def test_columns_are_looked_at_without_what_was_taken_out():
    state = residuals()
    state.take_out(Separated(entries={(2, 7): (0.5, 1e-9)}))
    slopes = state.measure((1, 0)).sets[0]
    off, bars, wrong = state.separation(slopes, 0).look(np.array([7, 30]))
    assert np.abs(off[2, 0]) <= bars[2, 0]
    assert np.argwhere(wrong).tolist() == [[9, 1]]
    assert len(state.looked) == 1
