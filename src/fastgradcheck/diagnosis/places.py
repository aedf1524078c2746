"""Patterns of places: transposed, shifted, exchanged; and which part of a block is wrong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.diagnosis.field import (
    DIGITS,
    EXACT,
    SHARE,
    Array,
    Candidate,
    Field,
    Setting,
    against_bars,
    best_of,
    fitted_slope,
)

# Wrong entries of which one at least stands elsewhere in a block that is permuted.
_PROBES = 4


def _from(field: Field, source: NDArray[np.int64]) -> Array:
    """The prediction that entry i's true gradient stands at source[i]; -1 where it cannot."""
    there = source.ravel()[field.at]
    return np.where(there >= 0, field.gradient[there], np.nan)


def _judged(field: Field, source: NDArray[np.int64], choices: float) -> Candidate:
    """How well the true gradient standing at `source` explains the block.

    What stands elsewhere is often the data's part alone, and lambda * theta is in its place.
    """
    predicted = _from(field, source)
    plain = against_bars(field, predicted, choices=choices)
    there = source.ravel()[field.at]
    moved = np.where(there >= 0, field.theta[there] - field.theta[field.at], np.nan)
    known = np.isfinite(moved) & np.isfinite(predicted)
    fit = fitted_slope(moved[known], (predicted - field.numeric)[known], field.bar[known])
    if fit is None or not 4.0 * fit[1] < abs(fit[0]) < np.inf:
        return plain
    slope, half = fit
    judged = against_bars(field, predicted - slope * moved, freedom=1, choices=2.0 * choices)
    return best_of(
        [
            plain,
            replace(judged, fitted="beside lambda * theta, lambda", value=slope, half_width=half),
        ]
    )


def transposed(field: Field, setting: Setting) -> Iterator[Candidate]:
    """The block holds its gradient with the axes in another order."""
    shape = field.block.shape
    if not 2 <= len(shape) <= 4:
        return
    places = np.arange(field.block.size)
    orders: list[tuple[int, ...]] = list(itertools.permutations(range(len(shape))))[1:]
    for order in orders:
        axes = f"transpose {order}" if len(shape) > 2 else "transpose"
        for source in (
            places.reshape([shape[i] for i in order]).transpose(np.argsort(order)),
            places.reshape(shape).transpose(order),
        ):
            if not np.array_equal(source.ravel(), places):
                yield replace(
                    _judged(field, source, 2.0 * len(orders)),
                    kind="transposed",
                    claim=f"holds the {axes} of the numeric gradient",
                    cause="Look at the order of the outer product (delta.T @ a against "
                    "a.T @ delta), at a transpose before ravel, and at order='F'.",
                )


def shifted(field: Field, setting: Setting) -> Iterator[Candidate]:
    """The block holds its gradient one row, column or entry further on."""
    shape = field.block.shape
    places = np.arange(field.block.size).reshape(shape)
    for axis, extent in enumerate(shape):
        for step in (1, -1) if extent > 2 else ():
            source = np.roll(places, -step, axis)
            line: list[slice] = [slice(None)] * len(shape)
            line[axis] = slice(-1, None) if step == 1 else slice(0, 1)
            cut = source.copy()
            cut[tuple(line)] = -1
            name = _axis_name(axis, shape)
            # What runs off the edge comes back on the other side, or is lost.
            for wrapped_or_cut in (source, cut):
                yield replace(
                    _judged(field, wrapped_or_cut, 4.0 * len(shape)),
                    kind="shifted",
                    claim=f"shifted by one {name}: {name} i holds the numeric gradient of "
                    f"{name} i {'-' if step == 1 else '+'} 1",
                    cause="An index or a slice starts or ends one too early or too late.",
                )


def _axis_name(axis: int, shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return "entry"
    return ("row", "column")[axis] if len(shape) == 2 else f"place along axis {axis}"


def flipped(field: Field, setting: Setting) -> Iterator[Candidate]:
    """The block holds its gradient in reverse order."""
    shape = field.block.shape
    places = np.arange(field.block.size).reshape(shape)
    several: list[tuple[int, ...]] = [(i,) for i in range(len(shape))]
    if len(shape) > 1:
        several.append((len(shape) - 2, len(shape) - 1))
    for axes in several:
        if all(shape[axis] > 1 for axis in axes):
            along = " and ".join(str(axis) for axis in axes)
            yield replace(
                _judged(field, np.flip(places, axes), len(several)),
                kind="permuted",
                claim=f"holds the numeric gradient in reverse order along axis {along}",
                cause="A kernel is flipped: convolution against cross-correlation, or a loop that "
                "runs backwards writes forwards.",
            )


def permuted(field: Field, setting: Setting) -> Iterator[Candidate]:
    """Every true value stands somewhere in the block, each in a place of its own."""
    size = field.block.size
    few = np.flatnonzero(field.wrong)[:_PROBES]
    if field.wrong.sum() < 2 or not any(
        np.fmin.reduce(np.abs(field.gradient - field.numeric[k])) <= 2.0 * field.bar[k] for k in few
    ):
        return  # sorting a million entries takes longer than the search for what is wrong
    order = np.argsort(field.gradient, kind="stable")
    rising = field.gradient[order]
    right = np.clip(np.searchsorted(rising, field.numeric), 1, size - 1)
    left_is_nearer = field.numeric - rising[right - 1] < rising[right] - field.numeric
    source = order[right - left_is_nearer]
    judged = against_bars(field, field.gradient[source])
    moved = field.wrong & (np.abs(field.gradient[source] - field.numeric) <= 2.0 * field.bar)
    if len(np.unique(source[moved])) < SHARE * moved.sum():
        return
    yield replace(
        judged,
        kind="permuted",
        claim=_permutation_claim(field, source, moved),
        cause="Look at indices, at the order in which parts are concatenated, and at reshapes.",
        # Each entry chose its source among all of the block.
        digits=judged.digits - judged.fits * math.log10(size),
    )


def _permutation_claim(field: Field, source: NDArray[np.int64], moved: NDArray[np.bool_]) -> str:
    columns = field.block.columns
    at, to = field.at[moved], source[moved]
    for name, here, there, same in (
        ("row", at // columns, to // columns, at % columns == to % columns),
        ("column", at % columns, to % columns, at // columns == to // columns),
    ):
        pairs = dict(zip(there.tolist(), here.tolist(), strict=True))
        if len(field.block.shape) > 1 and same.all() and len(pairs) < len(at):
            return f"its {name}s stand in another order: {_pairs(pairs, name)}"
    pairs = dict(zip(to.tolist(), at.tolist(), strict=True))
    shown = {field.block.address(t): field.block.address(a) for t, a in pairs.items()}
    return f"its entries stand in another order: {_pairs(shown, '')}"


def _pairs(pairs: Mapping[Any, Any], name: str) -> str:
    prefix = f"{name} " if name else ""
    listed = [
        f"{prefix}{a} holds that of {prefix}{b}" for a, b in itertools.islice(pairs.items(), 2)
    ]
    return ", ".join(listed) + (", ..." if len(pairs) > 2 else "")


def other_block(field: Field, setting: Setting) -> Iterator[Candidate]:
    """The block holds the gradient of another one."""
    others = {
        name: gradient
        for name, gradient in setting.gradients.items()
        if name != field.block.name and len(gradient) == field.block.size
    }
    for name, gradient in others.items():
        if np.array_equal(gradient, field.gradient) and gradient.any():
            if name not in setting.fields:
                yield Candidate(
                    "stale",
                    f"is a copy of the gradient of {name}",
                    "A variable was reused or not updated: look at what is assigned to it last.",
                    EXACT * len(field.at),
                    len(field.at),
                    len(field.at),
                )
            continue
        predicted = gradient[field.at]
        if not np.any(np.abs(field.numeric - predicted) <= 2.0 * field.bar):
            continue  # fits nothing, as most of thousands of scalars
        swapped = name in setting.fields and _exchanged(field, setting.fields[name])
        yield replace(
            against_bars(field, predicted, choices=float(len(others))),
            kind="swapped",
            claim=" and ".join(sorted((field.block.name, name))) + " hold each other's gradient"
            if swapped
            else f"its numeric gradient is what is returned for {name}",
            cause="Look at the order in which the gradients are returned or concatenated.",
        )


def _exchanged(one: Field, other: Field) -> bool:
    judged = against_bars(other, one.gradient[other.at])
    return judged.digits >= DIGITS


@dataclass(frozen=True)
class Place:
    """The part of a block that is wrong."""

    kind: str
    claim: str
    cause: str
    digits: float


def place_of(field: Field) -> Place | None:
    """Which part of a block is wrong, if it has a name and is exact."""
    telling = field.telling
    wrong = field.wrong & telling
    if (telling & ~wrong & (np.abs(field.difference) > 2.0 * field.bar)).any():
        return None  # what is neither wrong nor right beyond doubt leaves the place open
    if wrong.sum() == 1:
        address = field.block.address(int(field.at[wrong][0]))
        cause = "Look for an index that is off by one, or a special case."
        return Place("entry", f"of the measured entries only {address} is wrong", cause, 0.0)
    places = [*_lines(field, wrong, telling), *_signs(field, wrong, telling)]
    return max(places, key=lambda place: place.digits, default=None)


def _chance(chosen: int, total: int) -> float:
    """log10 of the number of ways to choose some of the entries."""
    ways = math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)
    return ways / math.log(10.0)


def _lines(field: Field, wrong: NDArray[np.bool_], telling: NDArray[np.bool_]) -> Iterator[Place]:
    """Whole rows or columns that are wrong while all others are right."""
    if len(field.block.shape) < 2:
        return
    total, chosen = int(telling.sum()), int(wrong.sum())
    for name, line in zip(("row", "column"), field.matrix_place, strict=True):
        bad = np.unique(line[wrong])
        if not np.array_equal(np.isin(line, bad) & telling, wrong & telling):
            continue
        lines = len(np.unique(line[telling]))
        digits = _chance(chosen, total) - _chance(len(bad), lines)
        if digits < (1.5 if len(bad) == 1 else 3.0):
            continue
        listed = ", ".join(str(int(i)) for i in bad[:6]) + (", ..." if len(bad) > 6 else "")
        one = len(bad) == 1
        yield Place(
            name if one else "mask",
            f"exactly {name}{'' if one else 's'} {listed} {'is' if one else 'are'} wrong",
            "Look at the bounds of the loop over it and at how its unit is treated."
            if one
            else "Look at the activation's derivative or mask of these units (ReLU, dropout).",
            digits,
        )


def _signs(field: Field, wrong: NDArray[np.bool_], telling: NDArray[np.bool_]) -> Iterator[Place]:
    theta = field.theta[field.at]
    digits = _chance(int(wrong.sum()), int(telling.sum()))
    for sign, where in (("<", theta < 0.0), (">", theta > 0.0)):
        if digits >= 3.0 and np.array_equal(where & telling, wrong & telling):
            yield Place(
                "mask",
                f"wrong exactly where theta {sign} 0",
                "Look at what treats the signs of theta differently: abs, relu, sign, clipping.",
                digits,
            )
