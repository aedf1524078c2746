"""What a wrong delta leaves behind: sums over the wrong axes, and labels, in the biases."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.diagnosis.field import (
    EXACT,
    Array,
    Candidate,
    Field,
    Setting,
    against_bars,
)

# Beside entries of one, sums of a thousand terms round to less than this.
_ROUNDING = 1e-12

_SUM = (
    "The bias takes the sum of delta over the examples alone, one sum for each unit (axis=0 where "
    "rows are examples)."
)


def rounding(field: Field, setting: Setting) -> Iterator[Candidate]:
    """The gradient is zero up to rounding where J changes: the sum over classes of a softmax."""
    wrong = field.wrong
    small = np.max(np.abs(field.analytic), initial=0.0)
    if small == 0.0 or not wrong.any():
        return
    if small <= _ROUNDING * np.min(np.abs(field.numeric[wrong])):
        yield Candidate(
            "zero",
            f"the gradient is zero up to rounding ({small:.0e}) where the cost does change",
            "The delta of a softmax sums to zero over the classes: is it summed over both axes, or "
            f"over the wrong axis? {_SUM}",
            EXACT * int(wrong.sum()),
            int(wrong.sum()),
            int(wrong.sum()),
        )


def uniform(field: Field, setting: Setting) -> Iterator[Candidate]:
    """Every entry of the gradient is the same number."""
    value = float(field.gradient[0])
    spread = np.max(np.abs(field.gradient - value))
    different = np.abs(field.numeric - field.numeric[0]) > 4.0 * (field.bar + field.bar[0])
    if value == 0.0 or len(field.gradient) < 2 or spread > _ROUNDING * abs(value):
        return
    # A gradient that is all but right is no broadcast scalar.
    close = np.abs(field.difference).max() < 1e-2 * np.abs(field.numeric).max()
    if 2 * different.sum() < len(different) - 1 or close:
        return
    claim = "every entry of the gradient is the same number, and the numeric ones are not"
    cause = f"A scalar is broadcast over the block: a sum over both axes, or a mean? {_SUM}"
    if _is_whole(field) and abs(value - field.numeric.sum()) <= 2.0 * field.bar.sum():
        claim = "every entry of the gradient is the sum of all numeric ones"
        cause = f"Delta is summed over both axes. {_SUM}"
    wrong = int(field.wrong.sum())
    yield Candidate("sum", claim, cause, EXACT * (wrong - 1), wrong, len(field.at))


def total(field: Field, setting: Setting) -> Iterator[Candidate]:
    """The sum over the block is right, its entries are not."""
    off, bar = field.analytic.sum() - field.numeric.sum(), field.bar.sum()
    size = np.abs(field.numeric).sum()
    # Both sums are zero for the last layer of a softmax, whatever else is wrong.
    told = abs(field.numeric.sum()) > 1e-3 * size
    if len(field.block.shape) != 1 or not _is_whole(field) or not told or abs(off) > 2.0 * bar:
        return
    wrong = int(field.wrong.sum())
    yield Candidate(
        "sum",
        "its entries add up to the sum of the numeric ones, but are others",
        f"Delta is summed over the wrong axis. {_SUM}",
        math.log10(np.abs(field.difference).sum() / (4.0 * bar)) if wrong > 1 else -math.inf,
        wrong,
        len(field.at),
    )


def labels(field: Field, setting: Setting) -> Iterator[Candidate]:
    """The bias of a softmax is off by whole labels, each with the weight of an example."""
    if len(field.block.shape) != 1 or len(field.at) < 2:
        return
    sizes = _sizes(setting)
    for examples in (1.0, *sizes):
        most = examples if examples > 1.0 else max(sizes, default=1.0)
        count = np.rint(field.difference * examples)
        if not count.any() or np.abs(count).max() > most:
            continue
        judged = against_bars(field, field.analytic - count / examples)
        each = "1" if examples == 1.0 else f"1/{examples:g}"
        # Each entry chose its count among all up to the number of examples.
        choice = judged.fits * math.log10(2.0 * most + 1.0)
        for claim, cause in _of_labels(field, count, each, setting):
            yield replace(
                judged, kind="labels", claim=claim, cause=cause, digits=judged.digits - choice
            )


_ONE = (
    'Delta lacks the "- 1" at the label: it is p - one-hot(y) for a softmax with cross-entropy, '
    "p - y for a sigmoid."
)


def _of_labels(
    field: Field, count: Array, each: str, setting: Setting
) -> Iterator[tuple[str, str]]:
    """What counts of labels per class say: a claim and its cause."""
    missing = f"exceeds the numeric gradient by {each} for every label of its class"
    other = f"differs from the numeric gradient by whole labels ({each} each)"
    for classes, where in _classes(setting, field.block.size):
        if np.array_equal(count, classes[field.at]):
            yield missing, _ONE
            return
        for step, way in ((1, "one too high"), (-1, "one too low")):
            if np.array_equal(count, (classes - np.roll(classes, step))[field.at]):
                yield (
                    f"{other}, as if every label of {where} were off by one ({way})",
                    "Look at how the gradient indexes by the label: classes from 0 or from 1, an "
                    "index shifted by one.",
                )
                return
    if count.min() >= 0.0 and (not _is_whole(field) or count.sum() in _sizes(setting)):
        yield missing, _ONE
    elif not _is_whole(field) or count.sum() == 0.0:
        yield (
            other,
            "The gradient takes other labels than the cost: an order, a slice, an encoding.",
        )


def _sizes(setting: Setting) -> tuple[float, ...]:
    """Numbers of examples that the arguments may have."""
    return tuple(n for n, where in setting.numbers if "first axis" in where)


def _classes(setting: Setting, size: int) -> Iterator[tuple[Array, str]]:
    """How many labels each class has, of every array of labels among the arguments."""
    for array, where in setting.arrays:
        if array.ndim == 1 and array.dtype.kind in "iu" and len(array):
            if array.min() >= 0 and array.max() < size:
                yield np.bincount(array, minlength=size).astype(np.float64), where
            elif array.min() >= 1 and array.max() <= size:
                yield np.bincount(array - 1, minlength=size).astype(np.float64), where
        elif array.ndim == 2 and size in array.shape and array.dtype.kind in "iufb":
            hot = array if array.shape[1] == size else array.T
            # The first example alone tells most arrays of data from labels.
            if all(map(_is_one_hot, (hot[:1], hot))):
                yield hot.sum(axis=0).astype(np.float64), where


def _is_one_hot(rows: NDArray[Any]) -> bool:
    """Whether every row holds a single 1, and zeros."""
    return bool(np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all())


def _is_whole(field: Field) -> bool:
    """Whether every entry of the block was measured."""
    return len(field.at) == field.block.size
