"""Whether screens keep what they state: resolutions, and limits of the error.

python -m studies.limits               # writes docs/performance.md, three minutes
python -m studies.limits --plants 10   # few plants, printed only
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import fastgradcheck as fgc
from fastgradcheck.verdict.verdict import Verdict
from studies import tables
from tests.cases.residual import Residual

NETWORKS = [(layers, relu) for relu in (False, True) for layers in (2, 8, 20)]
PLANTS = 84
"""Of either kind in each network."""
PAGE = tables.ROOT / "docs" / "performance.md"
BEYOND = 1.05
"""A planted error, relative to the resolution that was stated for its block."""

Array = np.ndarray[Any, Any]
Theta = dict[str, Array]


def checked(network: Residual, claim: Theta, seed: int) -> fgc.GradcheckResult:
    """A screen of this claim."""
    return fgc.gradcheck(
        network.cost, claim, network.theta, strategy="screen", seed=seed, progress=False
    )


def caught(network: Residual, seed: int) -> bool | None:
    """Whether an error just beyond the resolution is seen; None if the right claim is undecided."""
    right, rng = network.grad(network.theta), np.random.default_rng(seed)
    stated = checked(network, right, seed)
    if not stated:
        return None
    block = stated.blocks[int(rng.integers(len(stated.blocks)))]
    claim = {name: part.copy() for name, part in right.items()}
    place = tuple(int(rng.integers(extent)) for extent in block.shape)
    claim[block.name][place] += rng.choice([-1, 1]) * BEYOND * block.resolution
    return checked(network, claim, seed + 1).verdict is not Verdict.AGREES


def holds(network: Residual, seed: int) -> bool:
    """Whether the limits hold of a claim with an error somewhere, per block and overall."""
    right, rng = network.grad(network.theta), np.random.default_rng(seed)
    claim = {name: part.copy() for name, part in right.items()}
    name = str(rng.choice(list(claim)))
    part, size = claim[name], 10.0 ** rng.uniform(-10, -3)
    error = rng.normal(size=part.shape)
    if rng.random() < 0.5:
        # Two equal errors come nearest to what the limits say.
        error[...] = 0.0
        error.flat[rng.choice(part.size, min(2, part.size), replace=False)] = 1.0
    part += size * np.linalg.norm(right[name]) * error / np.linalg.norm(error)
    result = checked(network, claim, seed)
    told = {block.name: block.limit for block in result.blocks}
    return all(relative(claim[k], right[k]) <= told[k] for k in claim) and (
        relative(flat(claim), flat(right)) <= result.limit
    )


def flat(parts: Theta) -> Array:
    """All of it as one vector."""
    return np.concatenate([part.ravel() for part in parts.values()])


def relative(claim: Array, right: Array) -> float:
    """||claim - right|| / (||claim|| + ||right||)."""
    total = np.linalg.norm(claim) + np.linalg.norm(right)
    return float(np.linalg.norm(claim - right) / total) if total else 0.0


def main() -> None:
    """Plant, check and count; write the table, unless fewer are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plants", type=int, default=0, help="per network: printed only")
    asked = parser.parse_args().plants
    plants = asked or PLANTS
    rows: list[list[object]] = []
    for layers, relu in NETWORKS:
        seen, known, within = 0, 0, 0
        for seed in range(plants):
            network = Residual(layers, relu, seed, 16, 8)
            found = caught(network, 7 * seed)
            known += found is not None
            seen += bool(found)
            within += holds(network, 7 * seed + 3)
        name = f"residual {'ReLU' if relu else 'tanh'}, {layers} layers"
        rows.append([name, f"{seen} of {known}", f"{within} of {plants}"])
        print(*rows[-1], sep=" | ", flush=True)
    titles = ["network", "planted at 1.05 x resolution: seen", "limits that hold"]
    if not asked:
        tables.write("limits", tables.table(titles, rows), PAGE)


if __name__ == "__main__":
    main()
