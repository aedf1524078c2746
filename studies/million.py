"""A network of a million parameters, all of them covered: evaluations, exactness, time, memory.

    python -m studies.million                # writes docs/performance.md, half an hour
    python -m studies.million --share 0.05   # a twentieth of it, printed only

784-1000-256-10, n = 1,043,826, batch of 32, float64, cross entropy. A wrong entry is off by 1e-3 of
the larger of its own size and the median of all. The time is set against the evaluations, each at
the time t_J of the cost alone on one thread. Compiled networks are checked a tenth as often; with
theta and the gradient in float32 only correct gradients are.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from threadpoolctl import threadpool_limits

import fastgradcheck as fgc
from studies import compare, tables
from tests.cases.million import ENDS, LAYOUT, Array, Network, gradient, layers, relu_cost, tanh_cost

OFF = 1e-3
WIDE = (10_000, 1_000)


Planted = tuple[Array, set[str]]


def entries(network: Network, count: int, rng: np.random.Generator) -> Planted:
    """So many entries off, anywhere."""
    grad = network.grad.copy()
    places = rng.choice(len(grad), count, replace=False)
    grad[places] += OFF * np.maximum(np.median(np.abs(grad)), np.abs(grad[places]))
    names = set()
    for place in places:
        b = int(np.searchsorted(ENDS, place, side="right"))
        name, shape = list(LAYOUT.items())[b]
        within = int(place - ENDS[b]) + int(np.prod(shape))
        where = (str(i) for i in np.unravel_index(within, shape))
        names.add(f"{name}[{', '.join(where)}]")
    return grad, names


def line(network: Network, axis: int, rng: np.random.Generator) -> Planted:
    """A row (axis 0) or a column (axis 1) of some weights too large."""
    grad = network.grad.copy()
    name = f"W{rng.integers(1, 4)}"
    weights = np.moveaxis(layers(grad)[name], axis, 0)
    # A dead unit's own line is zero, and cannot be wrong by a factor.
    k = int(rng.choice(np.flatnonzero((weights != 0).mean(axis=1) > 0.5)))
    weights[k] *= 1 + OFF
    return grad, {f"{name}[{k}, :]" if axis == 0 else f"{name}[:, {k}]"}


def whole(network: Network, kinds: str, rng: np.random.Generator) -> Planted:
    """The weights or the bias of a layer, or both, too large."""
    grad, k = network.grad.copy(), rng.integers(1, 4)
    names = {f"{kind}{k}" for kind in kinds}
    for name in names:
        layers(grad)[name][...] *= 1 + OFF
    return grad, names


class Fault(NamedTuple):
    """How a gradient is wrong, the evaluations that finding it may take, and how often to try."""

    plant: Callable[[Network, np.random.Generator], Planted]
    allowed: int
    count: int


FAULTS = {
    "none": Fault(lambda network, rng: (network.grad, set()), 200, 200),
    "one entry": Fault(lambda network, rng: entries(network, 1, rng), 300, 100),
    "five entries": Fault(lambda network, rng: entries(network, 5, rng), 700, 20),
    "twenty entries": Fault(lambda network, rng: entries(network, 20, rng), 1500, 20),
    "column": Fault(lambda network, rng: line(network, 1, rng), 300, 20),
    "row": Fault(lambda network, rng: line(network, 0, rng), 300, 20),
    "bias": Fault(lambda network, rng: whole(network, "b", rng), 300, 20),
    "layer": Fault(lambda network, rng: whole(network, "Wb", rng), 300, 20),
}


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
        """Whether everything was exact, within the evaluations, and what is right within the time.

        That is twice that of the evaluations, and 0.3 s.
        """
        expected = 2 * np.array(self.evaluations) * self.t_cost + 0.3
        in_time = float(np.median(np.array(self.seconds) / expected)) <= 1 or self.fault != "none"
        return self.exact == self.count and max(self.evaluations) <= self.allowed and in_time

    def __str__(self) -> str:
        work = np.array(self.evaluations) * self.t_cost
        return (
            f"| {self.network} | {self.fault} | {self.exact} of {self.count} "
            f"| {int(np.median(self.evaluations)):,} / {max(self.evaluations):,} "
            f"(<= {self.allowed:,}) | {np.median(self.seconds):.2f} s "
            f"| {np.median(np.array(self.seconds) / work):.2f} "
            f"| {'yes' if self.reached else 'no'} |"
        )


HEADER = """\
| network | wrong | exact | evaluations, median / most | time, median | time / (evaluations x t_J) \
| reached |
| --- | --- | --- | --- | --- | --- | --- |"""


def time_of(network: Network) -> float:
    """Seconds of one evaluation of J, the fastest of ten, on one thread."""
    theta = network.theta.astype(np.float64)
    network.cost(theta, *network.args)
    times = []
    with threadpool_limits(1):
        for _ in range(10):
            began = time.perf_counter()
            network.cost(theta, *network.args)
            times.append(time.perf_counter() - began)
    return min(times)


def measured(network: Network, fault: str, count: int) -> Row:
    """Check so many gradients with this fault."""
    plant, allowed, _ = FAULTS[fault]
    evaluations, seconds, missed = [], [], []
    exact = 0
    network.check(network.grad, 0)  # compiling is paid once for a signature
    for k in range(count):
        claimed, names = plant(network, np.random.default_rng([k, len(fault)]))
        began = time.perf_counter()
        result = network.check(claimed, k)
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


def networks() -> Iterator[Network]:
    """Both activations: in NumPy, compiled, and with everything but J in float32."""
    for activation, cost in (("tanh", tanh_cost), ("ReLU", relu_cost)):
        network = Network.drawn(f"{activation}, NumPy", cost, activation == "ReLU", 0)
        yield network
        yield replace(network, name=f"{activation}, njit", cost=njit(cost), share=0.1)
        theta = network.theta.astype(np.float32)
        grad = gradient(theta.astype(np.float64), *network.args, activation == "ReLU")
        name = f"{activation}, NumPy, theta and gradient in float32"
        yield replace(network, name=name, theta=theta, grad=grad.astype(np.float32))


def memory(kind: str) -> str:
    """Peak memory of a check of ten million parameters beyond the user's own, told by a child."""
    command = [sys.executable, "-m", "studies.million", "--memory-child", kind]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    beyond, allowed = (float(number) for number in told)
    return (
        f"Memory, n = 10,000,000 (one layer of 10,000 x 1,000, {kind}): {beyond:.0f} MB beyond the "
        f"user's own; (cores + 4) n 8 bytes + 50 MB are {allowed:.0f} MB."
    )


def _wide_cost(W, X, y):
    return np.mean((np.sum(np.tanh(X @ W), axis=1) - y) ** 2)


def _memory_child(kind: str) -> None:
    cost: Any = njit(_wide_cost) if kind == "njit" else _wide_cost
    rng = np.random.default_rng(0)
    small = rng.standard_normal((200, 200)) / 100
    X, y = rng.standard_normal((4, WIDE[0])), rng.standard_normal(4)

    def gradient_of(W: Array, X: Array) -> Array:
        A = np.tanh(X @ W)
        D = 2 * (A.sum(axis=1) - y)[:, np.newaxis] / len(y) * (1 - A**2)
        return X.T @ D

    # Everything is imported and compiled before the baseline is read.
    cut = X[:, :200].copy()
    fgc.gradcheck(cost, gradient_of(small, cut), small, args=(cut, y), strategy="screen")
    W = rng.standard_normal(WIDE) / 100
    grad = gradient_of(W, X)
    cost(W, X, y)
    before = compare.peak()
    result = fgc.gradcheck(cost, grad, W, args=(X, y), strategy="screen", seed=0)
    assert result, str(result)
    print(compare.peak() - before, (((os.cpu_count() or 1) + 4) * W.size * 8) / 2**20 + 50)


def main() -> None:
    """Measure and print; write the table, if everything was measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the checks of every kind")
    parser.add_argument("--memory-child", choices=["NumPy", "njit"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_child:
        _memory_child(options.memory_child)
        return
    where, lines = compare.machine(), [HEADER]
    print(HEADER, flush=True)
    for network in networks():
        for name, fault in FAULTS.items():
            if network.grad.dtype == np.float32 and name != "none":
                continue
            row = measured(
                network, name, max(1, round(options.share * network.share * fault.count))
            )
            print(row, *row.missed, sep="\n", flush=True)
            lines.append(str(row))
    lines += ["", *(memory(kind) for kind in ("NumPy", "njit")), "", f"*{where}*"]
    print("\n".join(lines[-5:]))
    if options.share == 1:
        tables.write("million", "\n".join(lines), compare.PAGE)


if __name__ == "__main__":
    main()
