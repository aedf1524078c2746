"""The networks of the tour: their costs and gradients are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from fastgradcheck.cli import digits

pytestmark = pytest.mark.xdist_group("demo")  # one process compiles the network, once


def independent_cost(theta: digits.Network, X: np.ndarray, y: np.ndarray, ridge: float) -> float:
    """The same network by another route: float128 where there is one, log-sum-exp by logaddexp."""
    W1, b1, W2, b2 = (np.asarray(part, np.longdouble) for part in theta)
    scores = np.tanh(X @ W1 + b1) @ W2 + b2
    loss = np.logaddexp.reduce(scores, axis=1) - scores[np.arange(len(y)), y]
    return loss.mean() + ridge * ((W1**2).sum() + (W2**2).sum()) / 2


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    X, y = digits.digits()
    return X[:64], y[:64]


def test_cost_is_what_it_says(data: tuple[np.ndarray, np.ndarray]) -> None:
    theta = digits.initial()
    expected = float(independent_cost(theta, *data, 0.1))
    # A sum of 64 terms of order 1 and of 2,368 squares: far below 1e-12.
    assert digits.cost(theta, *data, 0.1) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("layer", digits.Network._fields)
def test_gradient_is_right_and_the_planted_bug_is_in_db1_alone(
    layer: str, data: tuple[np.ndarray, np.ndarray]
) -> None:
    theta = digits.initial()
    right = getattr(digits.grad(theta, *data, 0.1), layer)
    buggy = getattr(digits.grad_with_a_bug(theta, *data, 0.1), layer)
    h = 1e-5  # truncation h^2 J'''/6 < 1e-10; rounding of float64, if that is all: 1e-16/h = 1e-11
    for i in np.linspace(0, right.size - 1, 5).astype(int):
        values = []
        for step in (h, -h):
            moved = getattr(theta, layer).copy()
            moved.flat[i] += step
            values.append(independent_cost(theta._replace(**{layer: moved}), *data, 0.1))
        assert right.flat[i] == pytest.approx(float(values[0] - values[1]) / (2 * h), abs=1e-9)
    np.testing.assert_array_equal(buggy, right * (64 if layer == "b1" else 1))


def right_answers(theta: digits.Network, X: np.ndarray, y: np.ndarray) -> float:
    hidden = np.tanh(X @ theta.W1 + theta.b1)
    return float(np.mean((hidden @ theta.W2 + theta.b2).argmax(axis=1) == y))


def test_training_works_and_with_the_bug_stays_at_chance() -> None:
    X, y = digits.digits()
    start = digits.initial()
    assert right_answers(digits.trained(start, X, y), X, y) > 0.9
    # Always the same digit is right for 10 % of the images; 15 % is no learning either.
    assert right_answers(digits.trained(start, X, y, digits.grad_with_a_bug), X, y) < 0.15


def test_the_large_network_is_what_it_says() -> None:
    rng = np.random.default_rng(0)
    shapes = {"W1": (9, 7), "b1": 7, "W2": (7, 5), "b2": 5, "W3": (5, 3), "b3": 3}
    theta = {name: 0.3 * rng.normal(size=shape) for name, shape in shapes.items()}
    X, labels = rng.normal(size=(6, 9)), np.array([0, 1, 2, 2, 1, 0])

    def independent(changed: dict[str, np.ndarray]) -> np.longdouble:
        A = X.astype(np.longdouble)
        for k in (1, 2):
            A = np.tanh(A @ changed[f"W{k}"] + changed[f"b{k}"])
        scores = A @ changed["W3"] + changed["b3"]
        return (np.logaddexp.reduce(scores, axis=1) - scores[np.arange(6), labels]).mean()

    Y = np.eye(3)[labels]
    # Sums of a few dozen terms of order one.
    assert digits.large_cost(theta, X, Y) == pytest.approx(float(independent(theta)), rel=1e-13)
    gradient = digits.large_grad(theta, X, Y)
    h = 1e-5  # truncation h^2/6 times a third derivative of order one; rounding as above
    for name, values in theta.items():
        for i in (0, values.size - 1):
            moved = [np.array(values, np.longdouble) for _ in range(2)]
            moved[0].flat[i] += h
            moved[1].flat[i] -= h
            up, down = (independent(theta | {name: part}) for part in moved)
            assert gradient[name].flat[i] == pytest.approx(float((up - down) / (2 * h)), abs=1e-9)


def test_enlarged_images_repeat_pixels() -> None:
    image = np.arange(64.0)[np.newaxis]
    large = digits.enlarged(image).reshape(28, 28)
    assert large[0, 0] == 0
    assert large[27, 27] == 63
    assert large[13, 20] == 3 * 8 + 5  # 13 * 8 // 28 and 20 * 8 // 28
