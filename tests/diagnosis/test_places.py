"""Patterns of places are recognised: masks, flips, permutations, copies."""

from __future__ import annotations

import numpy as np

from tests.cases.diagnosed import Network, block_diagnosis, diagnosis, numbers


def test_units_that_are_switched_off_by_mistake() -> None:
    n = numbers(20, 6)
    gradient = n.copy()
    gradient[[2, 5, 11]] = 0.0
    (finding,) = block_diagnosis(n, gradient)
    assert finding.kind == "mask"
    assert "exactly rows 2, 5, 11 are wrong; there: the gradient is exactly zero" in finding.message


def test_units_that_are_not_switched_off() -> None:
    gradient = numbers(20, 6)
    n = gradient.copy()
    n[[2, 5, 11]] = 0.0
    (finding,) = block_diagnosis(n, gradient)
    assert finding.kind == "mask"
    assert "the cost does not change with it, yet the gradient is not zero" in finding.message


def test_a_pattern_in_scattered_entries_is_told_with_their_number() -> None:
    n = numbers(12, 12)
    scattered = numbers(12, 12, seed=3) > 0.0
    (finding,) = block_diagnosis(n, np.where(scattered, -n, n))
    assert finding.message.startswith(f"W: where it is wrong ({scattered.sum()} of 144 measured")
    assert "exactly -1 times" in finding.message


def test_a_flipped_convolution_kernel() -> None:
    n = numbers(4, 2, 3, 3)
    (finding,) = block_diagnosis(n, n[:, :, ::-1, ::-1])
    assert "in reverse order along axis 2 and 3" in finding.message
    assert "convolution against cross-correlation" in finding.message


def test_axes_of_a_kernel_in_another_order() -> None:
    n = numbers(4, 2, 3, 3)
    (finding,) = block_diagnosis(n, n.transpose(1, 0, 2, 3).reshape(n.shape))
    assert finding.kind == "transposed"


def test_two_blocks_that_are_rightly_equal_are_no_copy_of_each_other() -> None:
    n = numbers(5)
    truth = {"a": n, "b": n.copy()}
    net = Network(None, None, {"a": np.ones(5), "b": np.ones(5)}, (), truth)
    rng = np.random.default_rng(0)
    (finding,) = diagnosis(net, {name: 2.0 * value for name, value in truth.items()}, rng)
    assert finding.kind == "factor"
    assert finding.message.startswith("a, b: every entry is exactly 2 times")


def test_values_that_are_dense_within_the_bars_are_no_permutation() -> None:
    """Among 2,000 values any number has a neighbour within 0.01: 12 such matches say nothing."""
    chosen = np.arange(0, 2000, 170)
    assert block_diagnosis(numbers(2000), numbers(2000, seed=1), bar=0.01, chosen=chosen) == ()


def test_what_stands_elsewhere_beside_the_regularisation() -> None:
    n, theta = numbers(6, 6), numbers(6, 6, seed=1)
    data = n - 0.1 * theta
    for moved, text in [
        (data.T, "holds the transpose of the numeric gradient (beside lambda * theta, lambda 0.1 "),
        (np.roll(data, 1, axis=0), "shifted by one row: row i holds the numeric gradient of row i"),
        (data[::-1], "in reverse order along axis 0 (beside lambda * theta, lambda 0.1 "),
    ]:
        (finding,) = block_diagnosis(n, moved + 0.1 * theta, theta=theta)
        assert text in finding.message


def layers(*wrong: str, **shapes: tuple[int, ...]) -> str:
    """What is said of a network with such blocks, some of them wrong without a pattern."""
    truth = {name: numbers(*shape, seed=k) for k, (name, shape) in enumerate(shapes.items())}
    net = Network(None, None, {k: np.ones(v.shape) for k, v in truth.items()}, (), truth)
    spoiled = truth | {
        name: truth[name] * (1 + 0.1 * numbers(*shapes[name], seed=99)) for name in wrong
    }
    (finding,) = diagnosis(net, spoiled, np.random.default_rng(0))
    return finding.message


def test_what_agrees_in_the_same_layer_says_which_factor_is_wrong() -> None:
    two = {"W1": (4, 5), "b1": (5,), "W2": (5, 3), "b2": (3,)}
    assert layers("W2", **two).startswith(
        "W2 is wrong, and b2, made of the same delta, agrees: delta is most likely right, and the "
        "other factor, the input of the layer, is not. Look for stale activations"
    )
    assert layers("b1", **two).startswith(
        "Only biases are wrong (b1), and the weights made of the same delta agree: look at the sum"
    )
    apart = {"W1": (4, 5), "W2": (5, 3), "b1": (5,), "b2": (3,)}
    assert layers("W2", **apart).startswith("W2 is wrong, and b2, made of the same delta, agrees")
    torch = {"0.weight": (5, 4), "0.bias": (5,), "2.weight": (5, 5), "2.bias": (5,)}
    assert layers("2.weight", **torch).startswith("2.weight is wrong, and 2.bias, made of the same")
    recurrent = {"Wx": (3, 5), "Wh": (5, 5), "bh": (5,), "Wo": (5, 4), "bo": (4,)}
    assert "Wh is wrong, and bh, Wx, made of the same delta, agree: " in layers("Wh", **recurrent)
    assert "of another step (off by one in time)" in layers("Wh", **recurrent)
    assert layers("Wx", "bh", **recurrent).startswith(
        "Wx, bh are wrong, and Wh, made of the same delta, agrees. Where the state is zero, at the "
        "first step in time, only they change: the loop over time most likely leaves that step out"
    )
    assert "derivative, the range of a loop over time), and" in layers(
        "Wx", "Wh", "bh", **recurrent
    )
    convolution = {"K": (4, 3, 3), "bK": (4,), "W": (16, 3), "b": (3,)}
    assert "the argmax of a pooling layer" in layers("K", **convolution)


def test_an_infinite_entry_beside_the_pattern_is_left_out() -> None:
    n, theta = numbers(6, 6), numbers(6, 6, seed=1)
    gradient = (n - 0.1 * theta).T + 0.1 * theta
    gradient[2, 3] = np.inf
    first, second = block_diagnosis(n, gradient, theta=theta)
    assert (first.kind, second.kind) == ("not-finite", "transposed")
