"""A network of a million parameters, all of them covered: evaluations, exactness, time, memory.

    python -m benchmarks.million                   # ten positions for each kind of fault
    python -m benchmarks.million --positions 100 --seeds 200 --output table.md

784-1000-256-10, n = 1,043,826, batch of 32, float64, cross entropy. A wrong entry is off by 1e-3 of
the larger of its own size and the median of all. The time is set against the evaluations, each at
the time t_J of the cost alone on one thread.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import fastgradcheck as fgc

Array = NDArray[np.float64]

SIZES = (784, 1000, 256, 10)
BATCH = 32
OFF = 1e-3
WIDE = (10_000, 1_000)


class Weights(NamedTuple):
    """The parameters of three layers, or their gradient."""

    W1: Array
    b1: Array
    W2: Array
    b2: Array
    W3: Array
    b3: Array


def tanh_cost(theta: Weights, X: Array, Y: Array) -> float:
    """Mean cross entropy of a tanh network."""
    A = np.tanh(np.tanh(X @ theta.W1 + theta.b1) @ theta.W2 + theta.b2)
    Z = A @ theta.W3 + theta.b3
    top = np.max(Z)
    return float(np.sum(np.log(np.sum(np.exp(Z - top), 1)) + top - np.sum(Z * Y, 1)) / len(X))


def relu_cost(theta: Weights, X: Array, Y: Array) -> float:
    """Mean cross entropy of a ReLU network."""
    A = np.maximum(np.maximum(X @ theta.W1 + theta.b1, 0.0) @ theta.W2 + theta.b2, 0.0)
    Z = A @ theta.W3 + theta.b3
    top = np.max(Z)
    return float(np.sum(np.log(np.sum(np.exp(Z - top), 1)) + top - np.sum(Z * Y, 1)) / len(X))


def gradient(theta: Weights, X: Array, Y: Array, relu: bool) -> Weights:
    """Back-propagation."""

    def activate(Z: Array) -> Array:
        return np.maximum(Z, 0.0) if relu else np.tanh(Z)

    def slope(A: Array) -> Array:
        return (A > 0).astype(np.float64) if relu else 1 - A**2

    A1 = activate(X @ theta.W1 + theta.b1)
    A2 = activate(A1 @ theta.W2 + theta.b2)
    Z = A2 @ theta.W3 + theta.b3
    P = np.exp(Z - Z.max(axis=1, keepdims=True))
    D3 = (P / P.sum(axis=1, keepdims=True) - Y) / len(X)
    D2 = D3 @ theta.W3.T * slope(A2)
    D1 = D2 @ theta.W2.T * slope(A1)
    return Weights(X.T @ D1, D1.sum(0), A1.T @ D2, D2.sum(0), A2.T @ D3, D3.sum(0))


@dataclass(frozen=True, eq=False)
class Network:
    """A network at random parameters, with data and its correct gradient."""

    name: str
    cost: Callable[..., float]
    theta: Weights
    args: tuple[Array, Array]
    grad: Weights

    @classmethod
    def drawn(cls, name: str, cost: Callable[..., float], relu: bool, seed: int) -> Network:
        """He or Glorot weights, biases of a tenth, standard normal data."""
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((BATCH, SIZES[0]))
        Y = np.eye(SIZES[-1])[rng.integers(0, SIZES[-1], BATCH)]
        layers = []
        for fan_in, fan_out in zip(SIZES, SIZES[1:], strict=False):
            layers.append(rng.standard_normal((fan_in, fan_out)) * np.sqrt((1 + relu) / fan_in))
            layers.append(0.1 * rng.standard_normal(fan_out))
        theta = Weights(*layers)
        return cls(name, cost, theta, (X, Y), gradient(theta, X, Y, relu))


Planted = tuple[Weights, set[str]]


def entries(network: Network, count: int, rng: np.random.Generator) -> Planted:
    """So many entries off, anywhere."""
    grad = Weights(*(part.copy() for part in network.grad))
    ends = np.cumsum([part.size for part in grad])
    median = float(np.median(np.abs(np.concatenate([part.ravel() for part in grad]))))
    names = set()
    for place in rng.choice(ends[-1], count, replace=False):
        b = int(np.searchsorted(ends, place, side="right"))
        within = int(place - ends[b] + grad[b].size)
        where = tuple(int(i) for i in np.unravel_index(within, grad[b].shape))
        grad[b][where] += OFF * max(median, abs(float(grad[b][where])))
        names.add(f"{Weights._fields[b]}[{', '.join(map(str, where))}]")
    return grad, names


def line(network: Network, axis: int, rng: np.random.Generator) -> Planted:
    """A row (axis 0) or a column of some weights too large."""
    grad = Weights(*(part.copy() for part in network.grad))
    # A unit that is dead for the whole batch has no gradient that could be wrong.
    alive = [
        (b, k)
        for b in (0, 2, 4)
        for k in np.flatnonzero(np.any(grad[b] != 0, axis=1 - axis))
        if np.mean(np.take(grad[b], k, axis=axis) != 0) == 1
    ]
    blocks = sorted({b for b, _ in alive})
    b = blocks[int(rng.integers(len(blocks)))]
    k = int(rng.choice([place for block, place in alive if block == b]))
    where = (k, slice(None)) if axis == 0 else (slice(None), k)
    grad[b][where] *= 1 + OFF
    return grad, {f"{Weights._fields[b]}[{k}, :]" if axis == 0 else f"{Weights._fields[b]}[:, {k}]"}


def blocks(network: Network, wrong: tuple[str, ...]) -> Planted:
    """Whole blocks too large."""
    factor = {name: 1 + OFF if name in wrong else 1.0 for name in Weights._fields}
    parts = zip(Weights._fields, network.grad, strict=True)
    return Weights(*(factor[name] * part for name, part in parts)), set(wrong)


Plant = Callable[[Network, np.random.Generator], Planted]
FAULTS: dict[str, tuple[Plant, int]] = {
    "none": (lambda network, rng: (network.grad, set()), 200),
    "one entry": (lambda network, rng: entries(network, 1, rng), 300),
    "five entries": (lambda network, rng: entries(network, 5, rng), 700),
    "twenty entries": (lambda network, rng: entries(network, 20, rng), 1500),
    "column": (lambda network, rng: line(network, 1, rng), 300),
    "row": (lambda network, rng: line(network, 0, rng), 300),
    "bias": (lambda network, rng: blocks(network, (f"b{rng.integers(1, 4)}",)), 300),
    "layer": (
        lambda network, rng: blocks(network, ((k := rng.integers(1, 4)) and f"W{k}", f"b{k}")),
        300,
    ),
}
"""How the gradient is wrong, and the evaluations that finding it may take."""


@dataclass(frozen=True)
class Row:
    """What checks of one kind of fault came to."""

    network: str
    fault: str
    exact: int
    count: int
    evaluations: tuple[int, ...]
    allowed: int
    seconds: tuple[float, ...]
    t_cost: float
    missed: tuple[str, ...]

    @property
    def reached(self) -> bool:
        """Whether everything was exact, within the evaluations and the time."""
        expected = 2 * np.array(self.evaluations) * self.t_cost + 0.3
        in_time = float(np.median(np.array(self.seconds) / expected)) <= 1
        return self.exact == self.count and max(self.evaluations) <= self.allowed and in_time

    def __str__(self) -> str:
        work = np.array(self.evaluations) * self.t_cost
        return (
            f"| {self.network} | {self.fault} | {self.exact} of {self.count} "
            f"| {int(np.median(self.evaluations)):,} / {max(self.evaluations):,} "
            f"(<= {self.allowed:,}) | {np.median(self.seconds):.2f} s "
            f"| {np.median(np.array(self.seconds) / work):.2f} | {'yes' if self.reached else 'no'} |"
        )


HEADER = """\
| network | wrong | exact | evaluations, median / most | time, median | time / (evaluations x t_J) \
| reached |
| --- | --- | --- | --- | --- | --- | --- |"""


def time_of(network: Network) -> float:
    """Seconds of one evaluation of J, the fastest of ten, on one thread."""
    network.cost(network.theta, *network.args)
    times = []
    with threadpool_limits(1):
        for _ in range(10):
            began = time.perf_counter()
            network.cost(network.theta, *network.args)
            times.append(time.perf_counter() - began)
    return min(times)


def measured(network: Network, fault: str, count: int) -> Row:
    """Check so many gradients with this fault."""
    plant, allowed = FAULTS[fault]
    evaluations, seconds, missed = [], [], []
    exact = 0
    # Compiling is paid once for a signature.
    fgc.gradcheck(
        network.cost, network.grad, network.theta, args=network.args, strategy="screen", seed=0
    )
    for k in range(count):
        claimed, names = plant(network, np.random.default_rng([k, len(fault)]))
        began = time.perf_counter()
        result = fgc.gradcheck(
            network.cost, claimed, network.theta, args=network.args, strategy="screen", seed=k
        )
        seconds.append(time.perf_counter() - began)
        evaluations.append(result.evaluations)
        good = set(result.wrong) == names and bool(result) == (not names)
        exact += good
        if not good:
            missed.append(f"{k}: {result.verdict.name} {sorted(names ^ set(result.wrong))[:6]}")
    return Row(
        network.name,
        fault,
        exact,
        count,
        tuple(evaluations),
        allowed,
        tuple(seconds),
        time_of(network),
        tuple(missed),
    )


def networks(names: list[str]) -> Iterator[Network]:
    """The networks that were asked for."""
    for activation, cost in (("tanh", tanh_cost), ("relu", relu_cost)):
        if f"{activation}-numpy" in names:
            yield Network.drawn(f"{activation}, NumPy", cost, activation == "relu", 0)
        if f"{activation}-numba" in names:
            yield Network.drawn(f"{activation}, njit", compiled(cost), activation == "relu", 0)


def compiled(cost: Callable[..., float]) -> Any:
    """The same cost, compiled."""
    return njit(cost)


def memory() -> str:
    """Peak memory of a check of ten million parameters, beyond the user's own, as told by a child."""
    command = [sys.executable, "-m", "benchmarks.million", "--memory-child"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    beyond, allowed = (float(number) for number in told)
    return (
        f"\nMemory, n = 10,000,000 (one layer of 10,000 x 1,000): {beyond:.0f} MB beyond the user's "
        f"own, allowed (cores + 4) n 8 bytes + 50 MB = {allowed:.0f} MB."
    )


def _peak() -> float:
    """Peak resident memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _wide_cost(theta: dict[str, Array], X: Array, y: Array) -> float:
    return float(np.mean((np.tanh(X @ theta["W"]).sum(axis=1) - y) ** 2))


def _memory_child() -> None:
    rng = np.random.default_rng(0)
    small = {"W": rng.standard_normal((200, 200)) / 100}
    X, y = rng.standard_normal((4, WIDE[0])), rng.standard_normal(4)

    def gradient_of(theta: dict[str, Array], X: Array) -> dict[str, Array]:
        A = np.tanh(X @ theta["W"])
        D = 2 * (A.sum(axis=1) - y)[:, np.newaxis] / len(y) * (1 - A**2)
        return {"W": X.T @ D}

    # Everything is imported and compiled before the baseline is read.
    cut = X[:, :200].copy()
    fgc.gradcheck(_wide_cost, gradient_of(small, cut), small, args=(cut, y), strategy="screen")
    theta = {"W": rng.standard_normal(WIDE) / 100}
    grad = gradient_of(theta, X)
    _wide_cost(theta, X, y)
    before = _peak()
    result = fgc.gradcheck(_wide_cost, grad, theta, args=(X, y), strategy="screen", seed=0)
    assert result, str(result)
    n = theta["W"].size
    print(_peak() - before, ((result.n_jobs + 4) * n * 8) / 2**20 + 50)


def main() -> None:
    """Measure, print and, if asked for, write the table."""
    everything = [f"{a}-{c}" for a in ("tanh", "relu") for c in ("numpy", "numba")]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--positions", type=int, default=10, help="checks of every kind of fault")
    parser.add_argument("--seeds", type=int, help="checks of correct gradients (as --positions)")
    parser.add_argument("--networks", nargs="+", choices=everything, default=everything)
    parser.add_argument("--faults", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    parser.add_argument("--output", type=Path, help="where to write the table")
    parser.add_argument("--memory-child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_child:
        _memory_child()
        return
    lines = [HEADER]
    print(HEADER, flush=True)
    for network in networks(options.networks):
        for fault in options.faults:
            count = (options.seeds or options.positions) if fault == "none" else options.positions
            row = measured(network, fault, count)
            print(row, *row.missed, sep="\n", flush=True)
            lines.append(str(row))
    lines.append(memory())
    print(lines[-1])
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
