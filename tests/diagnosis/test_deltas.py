"""What a wrong delta leaves in a bias."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cases.diagnosed import diagnosis_of_bias, numbers

M = 40
Y = np.random.default_rng(3).integers(0, 6, M)
COUNTS = np.bincount(Y, minlength=6) / M


def test_a_sum_over_both_axes() -> None:
    n = numbers(6)
    (finding,) = diagnosis_of_bias(n, np.full(6, n.sum()))
    assert finding.kind == "sum"
    assert finding.message.startswith(
        "b: every entry of the gradient is the sum of all numeric ones (in 6 of 6 entries). Delta "
        "is summed over both axes. The bias takes the sum of delta over the examples alone"
    )
    (finding,) = diagnosis_of_bias(n, np.full(6, n.mean()))
    assert "the same number, and the numeric ones are not" in finding.message
    # What is right but for a little is no scalar that was broadcast.
    assert diagnosis_of_bias(1.0 + 1e-4 * n, np.ones(6)) == ()


def test_a_sum_over_the_wrong_axis() -> None:
    delta = numbers(6, 6)
    (finding,) = diagnosis_of_bias(delta.sum(axis=0), delta.sum(axis=1))
    assert "add up to the sum of the numeric ones, but are others" in finding.message
    assert "Delta is summed over the wrong axis. The bias takes" in finding.message
    # Where both sums are zero, as for a softmax, they say nothing.
    delta -= delta.mean(axis=1, keepdims=True)
    other = delta.sum(axis=0)[::-1] * np.linspace(0.5, 1.5, 6)
    assert diagnosis_of_bias(delta.sum(axis=0), other - other.mean()) == ()


def test_a_sum_over_the_classes_of_a_softmax() -> None:
    (finding,) = diagnosis_of_bias(numbers(6), 1e-17 * numbers(6, seed=1))
    assert finding.kind == "zero"
    assert "the gradient is zero up to rounding (1e-17) where the cost does" in finding.message
    assert "sums to zero over the classes: is it summed over both axes, or over" in finding.message


@pytest.mark.parametrize("labels", [Y, Y + 1, np.eye(6)[Y], np.eye(6, dtype=bool)[Y].T])
@pytest.mark.parametrize(("step", "way"), [(1, "one too high"), (-1, "one too low")])
def test_labels_that_are_off_by_one(labels: Any, step: int, way: str) -> None:
    n = numbers(6)
    wrong = n + COUNTS - np.roll(COUNTS, step)
    (finding,) = diagnosis_of_bias(n, wrong, args=(numbers(M, 3), labels))
    assert finding.kind == "labels"
    assert f"as if every label of args[1] were off by one ({way})" in finding.message
    # The sum over the examples in place of their mean.
    (finding,) = diagnosis_of_bias(n, n + M * (wrong - n), args=(numbers(M, 3), labels))
    assert "by whole labels (1 each), as if every label of args[1] were" in finding.message


def test_other_labels() -> None:
    n = numbers(6)
    (finding,) = diagnosis_of_bias(
        n, n + np.array([3, -3, 2, -1, 0, -1]) / M, args=(numbers(M, 3),)
    )
    assert "differs from the numeric gradient by whole labels (1/40 each) (in" in finding.message
    assert "takes other labels than the cost: an order, a slice, an encoding" in finding.message


def test_the_one_that_delta_lacks() -> None:
    n = numbers(6)
    (finding,) = diagnosis_of_bias(n, n + COUNTS, args=(numbers(M, 3), Y))
    assert "exceeds the numeric gradient by 1/40 for every label of its class" in finding.message
    assert 'Delta lacks the "- 1" at the label: it is p - one-hot(y) for a soft' in finding.message
    (finding,) = diagnosis_of_bias(n, n + M * COUNTS, args=(numbers(M, 3), Y))
    assert "by 1 for every label of its class" in finding.message


def test_labels_among_too_many_examples_are_not_guessed() -> None:
    """With 1e9 examples every difference is a multiple of 1e-9, within the bars."""
    n = numbers(6)
    wrong = n + 1e-3 * numbers(6, seed=1)
    found = diagnosis_of_bias(n, wrong, args=(np.broadcast_to(0.0, (10**9, 1)),))
    assert found == ()


def test_labels_of_which_not_every_class_was_measured() -> None:
    n = numbers(6)
    args = numbers(M, 3), Y
    (finding,) = diagnosis_of_bias(n, n + COUNTS, args, sample=5)
    assert 'Delta lacks the "- 1" at the label' in finding.message
    (finding,) = diagnosis_of_bias(n, n + COUNTS - np.roll(COUNTS, 1), args, sample=5)
    assert "as if every label of args[1] were off by one (one too high)" in finding.message
    wrong = n + np.array([3, -3, 2, -1, 4, -5]) / M
    (finding,) = diagnosis_of_bias(n, wrong, args[:1], sample=5)
    assert "takes other labels than the cost" in finding.message
