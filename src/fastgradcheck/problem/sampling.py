"""Which components are measured one by one, and what a sample proves about the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError, said, shown
from fastgradcheck.problem.parameters import Parameters


@dataclass(frozen=True, eq=False)
class Sample:
    """The components to measure.

    Attributes
    ----------
    index : int64 array, sorted
    order : int64 array
        `index` in the order of measurement: random and stratified, so that whatever part was
        reached when time runs out is itself a stratified sample.
    random : bool
        False if the user chose the indices: then nothing follows for the others.
    """

    index: NDArray[np.int64]
    order: NDArray[np.int64]
    random: bool


NOTHING = Sample(np.zeros(0, np.int64), np.zeros(0, np.int64), True)


def checked_seed(seed: Any) -> int:
    """The argument ``seed`` as an int, refused unless it is one and not negative."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise GradcheckInputError(f"seed={shown(seed)} is not a seed; use a non-negative integer.")
    return int(seed)


def draw(sample: Any, parameters: Parameters, seed: int) -> Sample:
    """Draw the sample that the argument ``sample`` asks for, stratified by block.

    Parameters
    ----------
    sample : None, float in (0, 1], int, index array, or dict of these per block
    parameters : Parameters
    seed : int

    Raises
    ------
    GradcheckInputError
        If it cannot be drawn, saying what would be possible.
    """
    rng = np.random.default_rng([seed, 2])
    sizes = np.array([block.size for block in parameters.blocks])
    if sample is None:
        return _sample(np.arange(parameters.size), parameters, rng, random=True)
    if isinstance(sample, Mapping):
        return _per_block(sample, parameters, rng)
    if _is_index(sample):
        index = _indices(sample, parameters.size, "sample")
        return _sample(index, parameters, rng, random=False)
    counts = _allocate(_count(sample, parameters.size, "sample"), sizes, rng)
    parts = [
        block.start + rng.choice(block.size, count, replace=False)
        for block, count in zip(parameters.blocks, counts, strict=True)
    ]
    return _sample(np.concatenate(parts), parameters, rng, random=True)


def _per_block(
    sample: Mapping[str, Any], parameters: Parameters, rng: np.random.Generator
) -> Sample:
    blocks = {block.name: block for block in parameters.blocks}
    parts, chosen = [], False
    if not sample:
        raise GradcheckInputError(
            "sample={} names no block, so that nothing would be checked; name at least one of "
            f"{', '.join(blocks)}."
        )
    for name, part in sample.items():
        if name not in blocks:
            raise GradcheckInputError(
                f"sample names the block {shown(name)}, which theta does not have; "
                f"its blocks are {', '.join(blocks)}."
            )
        block, where = blocks[name], f"sample[{shown(name)}]"
        if part is None:
            local = np.arange(block.size)
        elif _is_index(part):
            local, chosen = _indices(part, block.size, where), True
        else:
            local = rng.choice(block.size, _count(part, block.size, where), replace=False)
        parts.append(block.start + local)
    return _sample(np.concatenate(parts), parameters, rng, random=not chosen)


def _is_index(sample: Any) -> bool:
    single = isinstance(sample, np.ndarray) and sample.ndim == 0
    return isinstance(sample, (np.ndarray, list, tuple, range)) and not single


def _count(sample: Any, size: int, where: str) -> int:
    """How many components a fraction or a count asks for, at least one."""
    if isinstance(sample, (bool, np.bool_)):
        raise GradcheckTypeError(
            f"{where}={sample} is ambiguous: use a fraction such as 0.1, a number of components "
            "such as 100, or None for all."
        )
    if isinstance(sample, (int, np.integer)):
        if not 0 < sample <= size:
            raise GradcheckInputError(
                f"{where}={sample} components cannot be drawn from {size:,}; "
                f"use 1 to {size:,}, or None for all."
            )
        return int(sample)
    if isinstance(sample, (float, np.floating)):
        fraction = float(sample)
        if not 0 < fraction <= 1:
            number = round(fraction) if 1 < fraction <= size else min(100, size)
            raise GradcheckInputError(
                f"{where}={sample} is not a fraction in (0, 1]; for a number of components pass "
                f"an int, e.g. {where}={number}."
            )
        return max(1, round(fraction * size))
    raise GradcheckTypeError(
        f"{where} is a {type(sample).__name__}; use None, a fraction, a number of components, "
        "an array of indices, or a dict of these by block."
    )


def _indices(given: Any, size: int, where: str) -> NDArray[np.int64]:
    try:
        index = np.asarray(given)
    except Exception as error:
        raise GradcheckTypeError(
            f"{where} is a {type(given).__name__} that does not convert to one array "
            f"({said(error)}); indices are a flat list of integers."
        ) from error
    if index.ndim != 1 or not len(index):
        raise GradcheckInputError(
            f"{where} has shape {index.shape}; indices are a flat, non-empty list of integers."
        )
    if index.dtype.kind not in "iu":
        raise GradcheckTypeError(
            f"{where} has dtype {index.dtype}; indices are integers. For a fraction or a number "
            "of components pass one number."
        )
    outside = index[(index < 0) | (index >= size)]
    if len(outside):
        raise GradcheckInputError(
            f"{where} contains the index {outside[0]}, outside 0 to {size - 1:,}."
        )
    unique, counts = np.unique(index, return_counts=True)
    if len(unique) < len(index):
        raise GradcheckInputError(
            f"{where} contains the index {unique[counts > 1][0]} more than once; "
            "each component is measured once."
        )
    return index.astype(np.int64)


def _allocate(count: int, sizes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Deal `count` components to blocks in proportion, but at least one each while they last."""
    blocks = len(sizes)
    if count < blocks:
        counts = np.zeros(blocks, dtype=np.int64)
        counts[rng.choice(blocks, count, replace=False)] = 1
        return counts
    share = (count - blocks) * (sizes - 1) / max(1, int(sizes.sum()) - blocks)
    counts = 1 + np.floor(share).astype(np.int64)
    largest_rest = np.argsort(-(share - np.floor(share)), kind="stable")
    for b in largest_rest[: count - int(counts.sum())]:
        counts[b] += 1
    return np.minimum(counts, sizes)


def _sample(
    index: NDArray[np.int64], parameters: Parameters, rng: np.random.Generator, *, random: bool
) -> Sample:
    """Order the indices so that every leading part is stratified.

    Each component gets the position (k + u)/m of its place k in its block's own random order.
    """
    index = np.sort(index)
    edges = np.searchsorted(index, np.append(parameters.blocks_start, parameters.size))
    place = np.empty(len(index))
    for low, high in pairwise(edges):
        count = high - low
        place[low:high] = (rng.permutation(count) + rng.random(count)) / max(count, 1)
    return Sample(index, index[np.argsort(place, kind="stable")], random)
