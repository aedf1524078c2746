"""The tour: its gradients are right, its checks come out as told, its messages help."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from rich.console import Console

from fastgradcheck import demo
from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.result import Verdict

pytestmark = pytest.mark.xdist_group("demo")  # one process compiles the network, once


def independent_cost(theta: demo.Network, X: np.ndarray, y: np.ndarray, ridge: float) -> float:
    """The same network by another route: float128 where there is one, log-sum-exp by logaddexp."""
    W1, b1, W2, b2 = (np.asarray(part, np.longdouble) for part in theta)
    scores = np.tanh(X @ W1 + b1) @ W2 + b2
    loss = np.logaddexp.reduce(scores, axis=1) - scores[np.arange(len(y)), y]
    return loss.mean() + ridge * ((W1**2).sum() + (W2**2).sum()) / 2


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    X, y = demo.digits()
    return X[:64], y[:64]


def test_cost_is_what_it_says(data: tuple[np.ndarray, np.ndarray]) -> None:
    theta = demo.initial()
    expected = float(independent_cost(theta, *data, 0.1))
    # A sum of 64 terms of order 1 and of 2,368 squares: far below 1e-12.
    assert demo.cost(theta, *data, 0.1) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("layer", demo.Network._fields)
def test_gradient_is_right_and_the_planted_bug_is_in_db1_alone(
    layer: str, data: tuple[np.ndarray, np.ndarray]
) -> None:
    theta = demo.initial()
    right = getattr(demo.grad(theta, *data, 0.1), layer)
    buggy = getattr(demo.grad_with_a_bug(theta, *data, 0.1), layer)
    h = 1e-5  # truncation h^2 J'''/6 < 1e-10; rounding of float64, if that is all: 1e-16/h = 1e-11
    for i in np.linspace(0, right.size - 1, 5).astype(int):
        values = []
        for step in (h, -h):
            moved = getattr(theta, layer).copy()
            moved.flat[i] += step
            values.append(independent_cost(theta._replace(**{layer: moved}), *data, 0.1))
        assert right.flat[i] == pytest.approx(float(values[0] - values[1]) / (2 * h), abs=1e-9)
    np.testing.assert_array_equal(buggy, right * (64 if layer == "b1" else 1))


def right_answers(theta: demo.Network, X: np.ndarray, y: np.ndarray) -> float:
    hidden = np.tanh(X @ theta.W1 + theta.b1)
    return float(np.mean((hidden @ theta.W2 + theta.b2).argmax(axis=1) == y))


def test_training_works_and_with_the_bug_stays_at_chance() -> None:
    X, y = demo.digits()
    start = demo.initial()
    assert right_answers(demo.trained(start, X, y), X, y) > 0.9
    # Always the same digit is right for 10 % of the images; 15 % is no learning either.
    assert right_answers(demo.trained(start, X, y, demo.grad_with_a_bug), X, y) < 0.15


def test_tour_comes_out_as_told() -> None:
    console = Console(file=io.StringIO(), width=100)
    assert demo.main(console) == 0
    text = console.file.getvalue()
    assert text.count("Learnt:") == 4
    assert "the checks came out as they should" in text
    assert "b1" in text


def test_a_check_that_comes_out_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    first = demo.tour()[-1]
    surprised = demo.Stop(first.title, first.intro, first.check, Verdict.WRONG, first.lesson)
    monkeypatch.setattr(demo, "tour", lambda: [surprised])
    console = Console(file=io.StringIO(), width=100)
    assert demo.main(console) == 1
    assert "Expected WRONG: this is a bug of fastgradcheck." in console.file.getvalue()


def test_missing_scikit_learn_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(GradcheckInputError, match=r"pip install 'fastgradcheck\[demo\]'"):
        demo.main(Console(file=io.StringIO()))
