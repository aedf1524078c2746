"""Recorded directions are those that were measured, whatever is claimed beside them."""

from __future__ import annotations

import numpy as np
import pytest

from fastgradcheck.differences import row_recording
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.row_recording import RowRecording, record_rows
from fastgradcheck.differences.rows import Rows, leave_out, spread
from fastgradcheck.evaluation.engines.absent import AbsentEngine
from fastgradcheck.evaluation.engines.python import PythonEngine
from fastgradcheck.evaluation.stream import Stream
from fastgradcheck.problem.outputs import describe_outputs
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective

RNG = np.random.default_rng(0)
W, THETA = RNG.normal(size=(60, 300)), RNG.normal(size=300)


def fun(t):
    return np.concatenate([np.maximum(W @ t, 0), np.tanh(W[:5] @ t / 20)])


def objective():
    parameters = describe(THETA, {"a": (200,), "b": (100,)})
    return Objective(fun, (), parameters, THETA, outputs=describe_outputs(fun(THETA)))


@pytest.fixture(scope="module")
def measured():
    """A recording, and the directions as they were measured."""
    seen = []

    def measure(*args):
        seen.append(original(*args))
        return seen[-1]

    original, row_recording.measure = row_recording.measure, measure
    try:
        context = Context(Stream(PythonEngine(objective())), float("nan"), seed=1)
        recording = record_rows(context, fun(THETA), np.ones(65), 1, 8)
    finally:
        row_recording.measure = original
    return recording, seen[0]


def restored(recording: RowRecording):
    rows = Rows(
        Context(Stream(AbsentEngine(objective())), float("nan"), seed=1),
        recording.values,
        recording.noise,
    )
    moving = spread(rows, recording.weights, None)
    leave_out(rows, moving, recording.step)
    return recording.draws(rows, moving)


def test_the_directions_are_those_that_were_measured_bit_by_bit(measured):
    recording, draws = measured
    again = restored(recording)
    assert recording.retried, "kinks make some rows take other steps"
    assert np.array_equal(again.error, draws.error)
    for values in ("slopes", "error"):
        one, other = ([getattr(s, values) for s in d.sets] for d in (draws, again))
        assert np.array_equal(draws.chosen(one), again.chosen(other))
    assert np.array_equal(draws.sets[0].taken, again.sets[0].taken)
    assert sum(len(s.rows) for s in recording.retried) < 65


def test_slopes_are_those_of_the_closed_form(measured):
    draws = restored(measured[0])
    true = np.vstack(
        [(W @ THETA > 0)[:, None] * W, (1 - np.tanh(W[:5] @ THETA / 20) ** 2)[:, None] * W[:5] / 20]
    )
    for s in draws.sets:
        off = np.abs(s.slopes - s.taken @ true.T)
        known = np.isfinite(s.error)
        # Kinks that are nearer than the steps have bars of that size.
        assert (off[known] <= s.error[known]).mean() > 0.99


def test_combinations_of_outputs_are_combinations_of_their_values(measured):
    recording, _ = measured
    u = np.random.default_rng(2).normal(size=(4, 65))
    together = recording.combined(u)
    assert np.allclose(together.values, u @ recording.values)
    first = restored(recording).sets[0]
    plain = recording.changes
    for d in range(8):
        for p in range(4):
            assert np.allclose(together.changes[d, p], u @ plain[d, p])
    assert together.noise == pytest.approx(np.sqrt((u**2) @ recording.noise**2))
    assert first.slopes.shape == (8, 65)


def test_values_are_compared_but_for_their_last_digits(measured):
    recording, _ = measured
    assert recording.is_of(recording.values * (1 + 2**-51))
    assert not recording.is_of(recording.values * (1 + 1e-9))
    assert not recording.is_of(recording.values[:-1])
