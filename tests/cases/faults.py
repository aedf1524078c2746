"""Planted faults: how hand-written gradients are wrong in practice.

A fault takes a `Subject` (a network at a point, with its correct gradient) and a random
generator, and returns a faulty gradient of the same structure. What it changed is known exactly,
so that a test can hold the verdict against the size of the error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.cases.networks import FLAWS, Array, Network, Parameters

Fault = Callable[["Subject", np.random.Generator], Parameters]


@dataclass(frozen=True, eq=False)
class Subject:
    """A network at a point, with its correct gradient."""

    network: Network
    theta: Parameters
    data: Array
    targets: Array
    gradient: Parameters


def subject(network: Network, seed: int, m: int = 16) -> Subject:
    """The network at random parameters, on a random batch of m rows."""
    theta = network.initial(seed)
    data, targets = network.batch(seed + 1000, m)
    return Subject(network, theta, data, targets, network.grad(theta, data, targets))


def error(faulty: Parameters, gradient: Parameters) -> Array:
    """What the fault changed, flat."""
    return np.concatenate([np.ravel(faulty[k] - gradient[k]) for k in gradient])


def _changed(gradient: Parameters, name: str, value: Array) -> Parameters:
    return {k: value if k == name else v.copy() for k, v in gradient.items()}


def _weights(s: Subject, rng: np.random.Generator) -> str:
    return f"W{rng.integers(1, s.network.layers + 1)}"


def _any_block(s: Subject, rng: np.random.Generator) -> str:
    return str(rng.choice(list(s.gradient)))


def _scaled_block(factor: float) -> Fault:
    def plant(s: Subject, rng: np.random.Generator) -> Parameters:
        name = _any_block(s, rng)
        return _changed(s.gradient, name, factor * s.gradient[name])

    return plant


def _scaled_all(factor: float) -> Fault:
    def plant(s: Subject, rng: np.random.Generator) -> Parameters:
        return {k: factor * v for k, v in s.gradient.items()}

    return plant


def _one_entry(relative: float) -> Fault:
    """One entry off by that fraction of the larger of itself and its block's median."""

    def plant(s: Subject, rng: np.random.Generator) -> Parameters:
        name = _any_block(s, rng)
        block = s.gradient[name].copy()
        i = rng.integers(block.size)
        block.flat[i] += relative * max(abs(block.flat[i]), float(np.median(np.abs(block))))
        return _changed(s.gradient, name, block)

    return plant


def _random_relative(relative: float) -> Fault:
    """Every entry of one block off by a random fraction of itself, of that size."""

    def plant(s: Subject, rng: np.random.Generator) -> Parameters:
        name = _weights(s, rng)
        block = s.gradient[name]
        signs = rng.choice([-1.0, 1.0], size=block.shape)
        return _changed(s.gradient, name, block * (1 + relative * signs))

    return plant


def _transposed(s: Subject, rng: np.random.Generator) -> Parameters:
    square = [k for k, v in s.gradient.items() if v.ndim == 2 and v.shape[0] == v.shape[1]]
    name = str(rng.choice(square))
    return _changed(s.gradient, name, s.gradient[name].T.copy())


def _wrong_memory_order(s: Subject, rng: np.random.Generator) -> Parameters:
    name = _weights(s, rng)
    block = s.gradient[name]
    return _changed(s.gradient, name, block.ravel(order="F").reshape(block.shape))


def _shifted_row(s: Subject, rng: np.random.Generator) -> Parameters:
    name = _weights(s, rng)
    return _changed(s.gradient, name, np.roll(s.gradient[name], 1, axis=0))


def _last_row_forgotten(s: Subject, rng: np.random.Generator) -> Parameters:
    name = _weights(s, rng)
    block = s.gradient[name].copy()
    block[-1] = 0.0
    return _changed(s.gradient, name, block)


def _swapped_entries(s: Subject, rng: np.random.Generator) -> Parameters:
    name = _weights(s, rng)
    block = s.gradient[name].copy()
    i, j = rng.choice(block.size, size=2, replace=False)
    block.flat[[i, j]] = block.flat[[j, i]]
    return _changed(s.gradient, name, block)


def _swapped_biases(s: Subject, rng: np.random.Generator) -> Parameters:
    first, second = s.gradient["b1"], s.gradient["b2"]
    n = min(first.size, second.size)
    changed = {k: v.copy() for k, v in s.gradient.items()}
    changed["b1"][:n], changed["b2"][:n] = second[:n], first[:n]
    return changed


def _wrong_for_negative(s: Subject, rng: np.random.Generator) -> Parameters:
    name = _weights(s, rng)
    factor = np.where(s.theta[name] < 0, 0.9, 1.0)
    return _changed(s.gradient, name, factor * s.gradient[name])


def _wrong_for_negative_inputs(s: Subject, rng: np.random.Generator) -> Parameters:
    return s.network.grad(s.theta, np.abs(s.data), s.targets)


def _constant_added(s: Subject, rng: np.random.Generator) -> Parameters:
    name = _any_block(s, rng)
    block = s.gradient[name]
    return _changed(s.gradient, name, block + 0.01 * np.abs(block).max())


def _clipped(s: Subject, rng: np.random.Generator) -> Parameters:
    name = _weights(s, rng)
    block = s.gradient[name]
    limit = float(np.quantile(np.abs(block), 0.9))
    return _changed(s.gradient, name, np.clip(block, -limit, limit))


def _in_the_code(flaw: str) -> Fault:
    def plant(s: Subject, rng: np.random.Generator) -> Parameters:
        return s.network.grad(s.theta, s.data, s.targets, flaw=flaw)

    return plant


FAULTS: dict[str, Fault] = {
    "everything doubled": _scaled_all(2.0),
    "everything negated": _scaled_all(-1.0),
    "everything zero": _scaled_all(0.0),
    "everything off by 1e-4": _scaled_all(1 + 1e-4),
    "block doubled": _scaled_block(2.0),
    "block negated": _scaled_block(-1.0),
    "block zeroed": _scaled_block(0.0),
    "block off by 1e-2": _scaled_block(1 + 1e-2),
    "block off by 1e-4": _scaled_block(1 + 1e-4),
    "random errors of 1e-2": _random_relative(1e-2),
    "random errors of 1e-4": _random_relative(1e-4),
    "one entry doubled": _one_entry(1.0),
    "one entry off by 1e-2": _one_entry(1e-2),
    "one entry off by 1e-4": _one_entry(1e-4),
    "transposed": _transposed,
    "wrong memory order": _wrong_memory_order,
    "rows shifted by one": _shifted_row,
    "last row forgotten": _last_row_forgotten,
    "two entries swapped": _swapped_entries,
    "biases of two layers swapped": _swapped_biases,
    "wrong where theta is negative": _wrong_for_negative,
    "wrong where the input is negative": _wrong_for_negative_inputs,
    "constant added": _constant_added,
    "clipped": _clipped,
    **{flaw: _in_the_code(flaw) for flaw in FLAWS},
}
