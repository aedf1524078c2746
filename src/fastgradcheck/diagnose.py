"""From the pattern of the differences to the likely bug.

Every pattern is a small function that predicts the numeric gradient of a block from the analytic
one: "twice it", "its transpose", "it minus lambda * theta". A prediction is judged against the
error bars, and scored by the decimal digits of the differences that it explains,
sum(log10(|difference| / (4 bar))), less what its own freedom buys: an entry for each fitted
number, log10(number of choices) for a choice. A score of s digits arises by chance about once in
10**s tries, so that patterns of any kind compare, and small or noisy evidence names none.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.parameters import Block
from fastgradcheck.problem import Finding, Problem
from fastgradcheck.result import BlockResult, Verdict

# About 60 patterns are tried on a block: six digits leave one false name in 10,000 blocks.
_DIGITS = 6.0
# Bars hold the truth in 99.9 % of the entries, and a second fault must not hide the first.
_SHARE = 0.95
# Wrong entries of which one at least stands elsewhere in a block that is permuted.
_PROBES = 4
# An exact equality of two doubles is worth their whole mantissa.
_EXACT = 15.0
# Evidence enough: a pattern that holds here is beyond doubt.
_ENTRIES = 10_000

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Field:
    """The measured entries of one failed block.

    Attributes
    ----------
    block : Block
    gradient, theta : float64 array, shape (block.size,)
        All of the block.
    at : int64 array, shape (k,)
        Which of its entries were measured.
    numeric, bar : float64 array, shape (k,)
        Their derivatives, and error bars that include the rounding of the gradient.
    """

    block: Block
    gradient: Array
    theta: Array
    at: NDArray[np.int64]
    numeric: Array
    bar: Array

    @property
    def analytic(self) -> Array:
        return self.gradient[self.at]

    @property
    def difference(self) -> Array:
        return self.analytic - self.numeric

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """Entries whose difference is beyond doubt."""
        return np.abs(self.difference) > 4.0 * self.bar

    @property
    def telling(self) -> NDArray[np.bool_]:
        """Entries that are not zero on both sides: zero is right under almost any fault."""
        return np.maximum(np.abs(self.analytic), np.abs(self.numeric)) > 4.0 * self.bar

    @property
    def matrix_place(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column of the entries, the block seen as a matrix."""
        return self.at // self.block.columns, self.at % self.block.columns

    def only(self, mask: NDArray[np.bool_]) -> Field:
        """The field of some of its entries."""
        return replace(self, at=self.at[mask], numeric=self.numeric[mask], bar=self.bar[mask])


@dataclass(frozen=True, eq=False)
class Setting:
    """What is known beside the block at hand.

    Attributes
    ----------
    fields : mapping of str to Field
        The failed blocks.
    gradients : mapping of str to float64 array
        The analytic gradient of every block.
    results : tuple of BlockResult
    numbers : tuple of (float, str)
        Sizes that may stand in a cost as a factor, and what they are.
    scalars : tuple of (float, str)
        Numbers among the cost's arguments, and where.
    """

    fields: Mapping[str, Field]
    gradients: Mapping[str, Array]
    results: tuple[BlockResult, ...]
    numbers: tuple[tuple[float, str], ...]
    scalars: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Candidate:
    """A pattern that the bars support, for one block.

    Attributes
    ----------
    kind : str
        The finding's slug.
    claim : str
        What is so, to be read after the block's name; blocks of one claim share a finding.
    cause : str
        What usually does that and where to look: whole sentences.
    digits : float
        The score.
    fits, tested : int
        How many entries bear the claim out, of how many that could have contradicted it.
    fitted : str
        Name of the fitted number, empty if there is none ...
    value, half_width : float
        ... and the number and its uncertainty.
    """

    kind: str
    claim: str
    cause: str
    digits: float
    fits: int
    tested: int
    fitted: str = ""
    value: float = math.nan
    half_width: float = math.nan

    @property
    def evidence(self) -> str:
        number = f"{self.fitted} {self._number} +- {self.half_width:.0e} " if self.fitted else ""
        entries = "entry" if self.tested == 1 else "entries"
        return f"{number}in {self.fits:,} of {self.tested:,} {entries}"

    @property
    def _number(self) -> str:
        """The fitted number to the last digit that its uncertainty leaves."""
        digits = math.floor(math.log10(abs(self.value))) - math.floor(math.log10(self.half_width))
        return f"{self.value:.{max(digits, 1)}g}"


Pattern = Callable[[Field, Setting], Iterator[Candidate]]


def diagnose(
    problem: Problem, components: NDArray[Any], blocks: tuple[BlockResult, ...]
) -> tuple[Finding, ...]:
    """The likely bugs behind a wrong gradient, the most useful first.

    Parameters
    ----------
    problem : Problem
    components : structured array of dtype `fastgradcheck.result.COMPONENT`
        The components measured; of a failed block all entries or a random sample.
    blocks : tuple of BlockResult
        One for every block of theta, in theta's order.

    Returns
    -------
    tuple of Finding
        Empty where no pattern is beyond chance.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgradcheck import gradcheck
    >>> result = gradcheck(lambda w: 0.5 * float(w @ w), lambda w: 2.0 * w, np.arange(1.0, 6.0))
    >>> result.findings[0].kind
    'factor'
    >>> result.findings[0].message.split(" (")[0]
    'theta: every entry is exactly 2 times the numeric one'
    """
    setting = _setting(problem, components, blocks)
    found = {
        name: candidate
        for name, field in setting.fields.items()
        if (candidate := _explain(field, setting)) is not None
    }
    ranked = [*_merge(found), *_structure(setting, found)]
    ranked.sort(key=lambda entry: entry[0], reverse=True)
    return tuple(finding for _, finding in ranked)


def _setting(
    problem: Problem, components: NDArray[Any], results: tuple[BlockResult, ...]
) -> Setting:
    gradient, theta = problem.gradient, np.asarray(problem.theta, dtype=np.float64)
    failed = {result.name for result in results if result.verdict is Verdict.WRONG}
    known = problem.parameters.blocks
    fields = {
        block.name: field
        for block in known
        if block.name in failed
        and (field := _field(block, gradient, theta, components, problem.gradient_eps)) is not None
    }
    return Setting(
        fields,
        {block.name: gradient[block.slice] for block in known},
        results,
        _numbers(problem.objective.args, known),
        tuple(_scalars(problem.objective.args, "args")),
    )


def _field(
    block: Block, gradient: Array, theta: Array, components: NDArray[Any], eps: float
) -> Field | None:
    inside = (components["index"] >= block.start) & (components["index"] < block.stop)
    mine = components[inside]
    finite = np.isfinite(mine["analytic"]) & np.isfinite(mine["numeric"] + mine["error"])
    mine = mine[finite]
    if not len(mine):
        return None
    ours = gradient[block.slice]
    size = max(
        np.max(np.abs(ours), where=np.isfinite(ours), initial=0.0), np.max(np.abs(mine["numeric"]))
    )
    # 8 eps of the block's largest entry: the rounding of a gradient computed by sums.
    bar = mine["error"] + 8.0 * eps * size + np.finfo(np.float64).tiny
    field = Field(
        block, ours, theta[block.slice], mine["index"] - block.start, mine["numeric"], bar
    )
    return _thinned(field)


def _thinned(field: Field) -> Field:
    """At most _ENTRIES wrong and as many right ones: more would only take more time."""
    if len(field.at) <= _ENTRIES:
        return field
    order = np.random.default_rng(0).permutation(len(field.at))
    wrong = field.wrong[order]
    kept = np.zeros(len(order), dtype=np.bool_)
    kept[order[wrong][:_ENTRIES]] = True
    kept[order[~wrong][:_ENTRIES]] = True
    return field.only(kept)


def _numbers(args: tuple[Any, ...], blocks: Sequence[Block]) -> tuple[tuple[float, str], ...]:
    """Sizes that people multiply or divide by, the number of examples first."""
    numbers: dict[float, str] = {}
    for axis, name in ((0, "first"), (1, "second")):
        for array, where in _arrays(args, "args"):
            if array.ndim > axis:
                numbers.setdefault(float(array.shape[axis]), f"the {name} axis of {where}")
    layers = sum(len(block.shape) > 1 for block in blocks)
    numbers.setdefault(float(layers), "the number of layers")
    numbers.setdefault(float(blocks[-1].size), f"the size of {blocks[-1].name}")
    return tuple((n, where) for n, where in numbers.items() if n > 2.0)


def _leaves(value: Any, where: str) -> Iterator[tuple[Any, str]]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _leaves(entry, f"{where}[{key!r}]")
    elif isinstance(value, (tuple, list)):
        for i, entry in enumerate(value):
            yield from _leaves(entry, f"{where}[{i}]")
    else:
        yield value, where


def _arrays(args: Any, where: str) -> Iterator[tuple[NDArray[Any], str]]:
    return ((leaf, at) for leaf, at in _leaves(args, where) if isinstance(leaf, np.ndarray))


def _scalars(args: Any, where: str) -> Iterator[tuple[float, str]]:
    for leaf, at in _leaves(args, where):
        number = isinstance(leaf, (int, float, np.number)) and not isinstance(leaf, bool)
        if number and not isinstance(leaf, np.complexfloating) and float(leaf) not in (0.0, 1.0):
            yield float(leaf), at


# -- judging a prediction --------------------------------------------------------------------


def _judge(field: Field, predicted: Array, freedom: int = 0, choices: float = 1.0) -> Candidate:
    """Hold a prediction of the numeric gradient (NaN: none) against the bars."""
    made = np.isfinite(predicted)
    miss = np.abs(field.numeric - predicted, where=made, out=np.full(len(predicted), np.inf))
    change = np.where(made, np.abs(field.analytic - predicted), 0.0)
    speaks = made & (np.maximum(np.abs(field.difference), change) > 4.0 * field.bar)
    fits = speaks & (miss <= 2.0 * field.bar)
    tested, fitting = int(speaks.sum()), int(fits.sum())
    gains = np.sort(np.log10(np.abs(field.difference[fits]) / (4.0 * field.bar[fits]) + 1.0))
    digits = float(gains[: max(len(gains) - freedom, 0)].sum()) - math.log10(choices)
    # A pattern that is silent on half of what is wrong explains nothing.
    if fitting < _SHARE * tested or 2 * int((field.wrong & made).sum()) < int(field.wrong.sum()):
        digits = -math.inf
    return Candidate("", "", "", digits, fitting, tested)


def _slope(x: Array, y: Array, bar: Array) -> tuple[float, float] | None:
    """The s of y = s x, and its half-width: robust against entries that do not follow.

    Each entry bounds s to an interval. The value is the middle of where most intervals overlap,
    the half-width that of the narrowest.
    """
    # Relative to the most precise: a quotient by a tiny x must not overflow.
    precision = np.abs(x) / bar
    used = precision > 1e-9 * precision.max(initial=0.0)
    if not used.any():
        return None
    ratio, half = y[used] / x[used], 1.0 / precision[used]
    ends = np.concatenate([ratio - half, ratio + half])
    order = np.argsort(ends, kind="stable")
    opens = np.where(order < len(ratio), 1, -1)
    most = int(np.argmax(np.cumsum(opens)))
    return float(ends[order[most : most + 2]].mean()), float(half.min())


# -- patterns of values ----------------------------------------------------------------------


def _zero(field: Field, setting: Setting) -> Iterator[Candidate]:
    wrong = int(field.wrong.sum())
    if wrong and not field.analytic.any():
        yield Candidate(
            "zero",
            "the gradient is exactly zero where the cost does change",
            "Was it never assigned (a buffer from zeros), multiplied by a mask, or returned "
            "before it was computed?",
            _EXACT * wrong,
            wrong,
            wrong,
        )


def _flat(field: Field, setting: Setting) -> Iterator[Candidate]:
    judged = _judge(field, np.where(field.analytic == 0.0, np.nan, 0.0))
    yield replace(
        judged,
        kind="unused",
        claim="the cost does not change with it, yet the gradient is not zero",
        cause="Is a mask or an activation's derivative missing in the backward pass, or does the "
        "cost not use these parameters?",
    )


def _factor(field: Field, setting: Setting) -> Iterator[Candidate]:
    fit = _slope(field.analytic, field.numeric, field.bar)
    if fit is None or not abs(fit[0]) > 4.0 * fit[1]:
        return
    inverse, half = fit
    ratio, width = 1.0 / inverse, half / inverse**2
    if abs(ratio - 1.0) <= 4.0 * width:
        return
    known = list(_known_factors(setting))
    named = [k for k in known if abs(ratio - k[0]) <= 2.0 * width <= 2e-3 * abs(k[0])]
    if named:
        value, claim, cause = named[0]
        judged = _judge(field, field.analytic / value, choices=2.0 * len(known))
    else:
        claim = f"every entry is {ratio:.4g} times the numeric one"
        cause = "A constant factor is lost or added on the way to this gradient."
        judged = _judge(field, inverse * field.analytic, freedom=1)
    yield replace(
        judged,
        kind="factor",
        claim=claim,
        cause=cause,
        fitted="ratio",
        value=ratio,
        half_width=width,
    )


_PLAIN_FACTORS = (
    (
        -1.0,
        "-1",
        "The sign is turned: prediction minus target the other way round, or the gradient of a "
        "log-likelihood where the cost is its negative.",
    ),
    (
        2.0,
        "2",
        "The cost has a factor 1/2 that the gradient lacks, or a term is added twice "
        "(accumulated with += into a buffer that was not cleared).",
    ),
    (
        0.5,
        "1/2",
        "The derivative of a square lacks its 2, or the gradient has a factor 1/2 that the cost "
        "does not have.",
    ),
)


def _known_factors(setting: Setting) -> Iterator[tuple[float, str, str]]:
    """Factors with a name: value, claim and cause."""

    def times(factor: str) -> str:
        return f"every entry is exactly {factor} times the numeric one"

    for value, name, cause in _PLAIN_FACTORS:
        yield value, times(name), cause
    for n, where in setting.numbers:
        size = f"{n:.10g}"
        lacks = f"lacks the 1/{size}: {times(size)}"
        yield n, lacks, f"The cost divides by {size} ({where}) and the gradient does not."
        has = f"has a 1/{size} too many: {times(f'1/{size}')}"
        yield 1.0 / n, has, f"The gradient divides by {size} ({where}), the cost does not."
        for value, name in (
            (-n, f"-{size}"),
            (-1.0 / n, f"-1/{size}"),
            (2.0 * n, f"2 * {size}"),
            (0.5 * n, f"{size}/2"),
            (2.0 / n, f"2/{size}"),
            (0.5 / n, f"1/(2 * {size})"),
        ):
            yield value, times(name), f"{size} is {where}: compare the cost's factor with it."
    for scalar, where in setting.scalars:
        for value, name in ((scalar, where), (1.0 / scalar, f"1/{where}")):
            claim = f"{times(f'{value:.6g}')}, which is {name}"
            yield value, claim, f"The factor {where} is applied once too often or too little."


def _regularisation(field: Field, setting: Setting) -> Iterator[Candidate]:
    for power, penalty, values in (
        ("theta", "L2", field.theta[field.at]),
        ("sign(theta)", "L1", np.sign(field.theta[field.at])),
    ):
        if np.ptp(np.abs(values) if penalty == "L2" else values) == 0.0:
            continue  # cannot be told from a constant
        fit = _slope(values, field.difference, field.bar)
        if fit is None or not abs(fit[0]) > 4.0 * fit[1]:
            continue
        slope, half = fit
        judged = _judge(field, field.analytic - slope * values, freedom=1, choices=2.0)
        yield replace(
            judged,
            kind="regularisation",
            claim=f"the difference is {slope:+.4g} * {power}",
            cause=_regularisation_cause(field, setting, slope, half, penalty),
            fitted="lambda",
            value=abs(slope),
            half_width=half,
        )


def _regularisation_cause(
    field: Field, setting: Setting, slope: float, half: float, penalty: str
) -> str:
    if slope < 0.0:
        cause = f"The {penalty} regularisation of the cost is missing in the gradient, or in part"
    elif len(field.block.shape) < 2:
        cause = (
            f"The gradient regularises this block ({penalty}) and the cost does not: biases are "
            "usually left out"
        )
    else:
        cause = (
            f"The {penalty} regularisation is counted twice in the gradient (lambda/2 in the cost?)"
            ", or the cost has none for this block"
        )
    known = _known_lambda(setting, abs(slope), half)
    return f"{cause}; lambda = {known}." if known else f"{cause}."


def _known_lambda(setting: Setting, value: float, half: float) -> str:
    """How the fitted lambda follows from the cost's arguments."""
    sizes = ((1.0, ""), *((1.0 / n, f" / {n:.10g}") for n, _ in setting.numbers))
    for scalar, where in setting.scalars:
        for (size, name), (twice, sign) in itertools.product(sizes, ((1.0, ""), (2.0, "2 * "))):
            if abs(twice * scalar * size - value) <= 2.0 * half + 1e-12 * value:
                return f"{sign}{where}{name}"
    return ""


def _constant(field: Field, setting: Setting) -> Iterator[Candidate]:
    fit = _slope(np.ones(len(field.at)), field.difference, field.bar)
    if fit is None or not abs(fit[0]) > 4.0 * fit[1]:
        return
    offset, half = fit
    yield replace(
        _judge(field, field.analytic - offset, freedom=1),
        kind="constant",
        claim="every entry is off by the same number",
        cause="Something constant is added: a scalar broadcast over the block, or a sum over the "
        "wrong axis added to it.",
        fitted="difference",
        value=offset,
        half_width=half,
    )


# -- patterns of places ----------------------------------------------------------------------


def _from(field: Field, source: NDArray[np.int64]) -> Array:
    """The prediction that entry i's true gradient stands at source[i]; -1 where it cannot."""
    there = source.ravel()[field.at]
    return np.where(there >= 0, field.gradient[there], np.nan)


def _transposed(field: Field, setting: Setting) -> Iterator[Candidate]:
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
                    _judge(field, _from(field, source), choices=2.0 * len(orders)),
                    kind="transposed",
                    claim=f"holds the {axes} of the numeric gradient",
                    cause="Look at the order of the outer product (delta.T @ a against "
                    "a.T @ delta), at a transpose before ravel, and at order='F'.",
                )


def _shifted(field: Field, setting: Setting) -> Iterator[Candidate]:
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
                    _judge(field, _from(field, wrapped_or_cut), choices=4.0 * len(shape)),
                    kind="shifted",
                    claim=f"shifted by one {name}: {name} i holds the numeric gradient of "
                    f"{name} i {'-' if step == 1 else '+'} 1",
                    cause="An index or a slice starts or ends one too early or too late.",
                )


def _axis_name(axis: int, shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return "entry"
    return ("row", "column")[axis] if len(shape) == 2 else f"place along axis {axis}"


def _flipped(field: Field, setting: Setting) -> Iterator[Candidate]:
    shape = field.block.shape
    places = np.arange(field.block.size).reshape(shape)
    several: list[tuple[int, ...]] = [(i,) for i in range(len(shape))]
    if len(shape) > 1:
        several.append((len(shape) - 2, len(shape) - 1))
    for axes in several:
        if all(shape[axis] > 1 for axis in axes):
            along = " and ".join(str(axis) for axis in axes)
            yield replace(
                _judge(field, _from(field, np.flip(places, axes)), choices=len(several)),
                kind="permuted",
                claim=f"holds the numeric gradient in reverse order along axis {along}",
                cause="A kernel is flipped: convolution against cross-correlation, or a loop that "
                "runs backwards writes forwards.",
            )


def _permuted(field: Field, setting: Setting) -> Iterator[Candidate]:
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
    judged = _judge(field, field.gradient[source])
    moved = field.wrong & (np.abs(field.gradient[source] - field.numeric) <= 2.0 * field.bar)
    if len(np.unique(source[moved])) < _SHARE * moved.sum():
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


def _other_block(field: Field, setting: Setting) -> Iterator[Candidate]:
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
                    _EXACT * len(field.at),
                    len(field.at),
                    len(field.at),
                )
            continue
        swapped = name in setting.fields and _exchanged(field, setting.fields[name])
        yield replace(
            _judge(field, gradient[field.at], choices=float(len(others))),
            kind="swapped",
            claim=" and ".join(sorted((field.block.name, name))) + " hold each other's gradient"
            if swapped
            else f"its numeric gradient is what is returned for {name}",
            cause="Look at the order in which the gradients are returned or concatenated.",
        )


def _exchanged(one: Field, other: Field) -> bool:
    judged = _judge(other, one.gradient[other.at])
    return judged.digits >= _DIGITS


def _single(field: Field, setting: Setting) -> Iterator[Candidate]:
    """A gradient that was computed in single precision."""
    nonzero = field.gradient[np.isfinite(field.gradient) & (field.gradient != 0.0)]
    mantissa = np.frexp(nonzero)[0]
    small = np.abs(field.difference) <= 1e-4 * np.max(np.abs(field.gradient), initial=0.0)
    with np.errstate(over="ignore"):
        is_single = nonzero == nonzero.astype(np.float32)
    # Round numbers (1, 0.25) are float32 numbers too: count those that use more than 12 bits.
    used = np.rint(mantissa * 2.0**12) != mantissa * 2.0**12
    if len(nonzero) and is_single.all() and used.sum() >= 3 and small.all():
        wrong = int(field.wrong.sum())
        yield Candidate(
            "float32",
            "every entry of the gradient is a float32 number",
            "It is computed in single precision somewhere (a float32 array, a cast, a framework's "
            "default): its rounding is the difference.",
            # Of a float64's 52 bits of fraction, the last 29 are zero in each entry.
            29.0 * math.log10(2.0) * int(used.sum()),
            wrong,
            wrong,
        )


_VALUES: tuple[Pattern, ...] = (
    _zero, _flat, _factor, _regularisation, _constant, _transposed, _shifted, _flipped, _permuted,
    _other_block, _single,
)  # fmt: skip


def _best(field: Field, setting: Setting) -> Candidate | None:
    found = [candidate for pattern in _VALUES for candidate in pattern(field, setting)]
    best = max(found, key=lambda candidate: candidate.digits, default=None)
    return best if best is not None and best.digits >= _DIGITS else None


# -- where in the block ----------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """The part of a block that is wrong."""

    kind: str
    claim: str
    cause: str
    digits: float


def _explain(field: Field, setting: Setting) -> Candidate | None:
    """The best pattern of the block, or of the part of it that is wrong."""
    whole = _best(field, setting)
    wrong, telling = field.wrong, field.telling
    if whole is not None or not wrong.any() or wrong[telling].all():
        return whole
    part, place = _best(field.only(wrong), setting), _place(field)
    counts = f"{int(wrong.sum()):,} of {int(telling.sum()):,} measured entries"
    if place is None:
        return part and replace(part, claim=f"where it is wrong ({counts}): {part.claim}")
    if part is None:
        fits, tested = int(wrong.sum()), int(telling.sum())
        return Candidate(place.kind, place.claim, place.cause, place.digits, fits, tested)
    return replace(part, kind=place.kind, claim=f"{place.claim}; there: {part.claim}")


def _place(field: Field) -> Place | None:
    wrong, telling = field.wrong, field.telling
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


# -- from blocks to findings -----------------------------------------------------------------

# Blocks explained, then whether the pattern is one of values, then digits: the most useful first.
Ranked = tuple[tuple[int, int, float], Finding]


def _merge(found: Mapping[str, Candidate]) -> Iterator[Ranked]:
    """One finding for all blocks of which the same is claimed."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, candidate in found.items():
        groups.setdefault((candidate.kind, candidate.claim), []).append(name)
    for (kind, claim), names in groups.items():
        members = [found[name] for name in names]
        widest = max(members, key=lambda candidate: candidate.half_width)
        all_of_them = replace(
            widest,
            fits=sum(candidate.fits for candidate in members),
            tested=sum(candidate.tested for candidate in members),
        )
        message = f"{_listed(names)}: {claim} ({all_of_them.evidence}). {widest.cause}"
        digits = sum(candidate.digits for candidate in members)
        yield (len(names), 1, digits), Finding(kind, message)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:6])
    return shown if len(names) <= 6 else f"{shown} and {len(names) - 6} more blocks"


def _structure(setting: Setting, found: Mapping[str, Candidate]) -> Iterator[Ranked]:
    """What the failed blocks have in common by their place in the network."""
    known = [r for r in setting.results if r.verdict in (Verdict.WRONG, Verdict.AGREES)]
    wrong = [result for result in known if result.verdict is Verdict.WRONG]
    for pattern in (_depth_of_factors, _depth, _backward, _biases):
        finding = pattern(known, wrong, found)
        if finding is not None:
            first = 2 if pattern is _depth_of_factors else 0
            yield (len(wrong), first, -float(len(wrong))), finding
            return


def _is_weight(result: BlockResult) -> bool:
    return len(result.shape) > 1


def _depth_of_factors(
    known: Sequence[BlockResult], wrong: Sequence[BlockResult], found: Mapping[str, Candidate]
) -> Finding | None:
    """Each backward step multiplies by the same number once more."""
    layers = [result for result in known if _is_weight(result)]
    factors: list[float] = []
    widths: list[float] = []
    for result in layers:
        if result.verdict is Verdict.AGREES:
            factors.append(1.0)
            widths.append(result.limit)
        elif result.name in found and found[result.name].kind == "factor":
            factors.append(found[result.name].value)
            widths.append(found[result.name].half_width)
        else:
            return None
    if len(factors) < 3:
        return None
    growth = [a / b for a, b in itertools.pairwise(factors)]
    slack = 8.0 * max(width / abs(factor) for width, factor in zip(widths, factors, strict=True))
    if slack > 1e-3 or any(abs(step / growth[0] - 1.0) > slack for step in growth):
        return None
    if abs(growth[0] - 1.0) <= slack:
        return None
    shown = ", ".join(f"{f:.6g} in {r.name}" for f, r in zip(factors, layers, strict=True))
    return Finding(
        "depth",
        f"The factor grows with depth: {shown}. Each backward step multiplies by another "
        f"{growth[0]:.6g}: look at what every layer does to delta (its activation's derivative, a "
        "dropout or residual scale).",
    )


def _depth(
    known: Sequence[BlockResult], wrong: Sequence[BlockResult], found: Mapping[str, Candidate]
) -> Finding | None:
    """The difference grows evenly with every layer further from the output."""
    layers: list[list[BlockResult]] = []
    for result in known:
        if _is_weight(result) or not layers:
            layers.append([])
        layers[-1].append(result)
    # Three numbers in order are no evidence: five blocks must follow, biases with their weights.
    if len(layers) < 3 or len(wrong) < max(5, len(known)):
        return None
    sizes = [max(result.relative_difference for result in layer) for layer in layers]
    least = [min(result.relative_difference for result in layer) for layer in layers]
    if not all(size <= 10.0 * small for size, small in zip(sizes, least, strict=True)):
        return None
    steps = [a / b for a, b in itertools.pairwise(sizes)]
    if not 3.0 <= min(steps) <= max(steps) <= min(steps) ** 2:
        return None
    shown = ", ".join(
        f"{size:.2g} in {layer[0].name}" for size, layer in zip(sizes, layers, strict=True)
    )
    return Finding(
        "depth",
        f"The relative difference grows with depth: {shown}. A small error in every backward step "
        "most likely adds up: look at the derivative of the activation and at saturating or "
        "clipped values.",
    )


def _backward(
    known: Sequence[BlockResult], wrong: Sequence[BlockResult], found: Mapping[str, Candidate]
) -> Finding | None:
    """All is wrong up to some block, all is right after it."""
    if not 2 <= len(wrong) < len(known) or not any(map(_is_weight, wrong)):
        return None
    if [result.verdict for result in known[: len(wrong)]].count(Verdict.WRONG) < len(wrong):
        return None
    last, first = wrong[-1].name, known[len(wrong)].name
    return Finding(
        "backward",
        f"Every block up to {last} is wrong, and every block from {first} on agrees: the fault "
        f"most likely enters in the backward step from the layer of {first} to that of {last} "
        "(delta times the weights, times the activation's derivative), and back-propagation "
        "carries it on.",
    )


def _biases(
    known: Sequence[BlockResult], wrong: Sequence[BlockResult], found: Mapping[str, Candidate]
) -> Finding | None:
    """The biases, all of them and nothing else."""
    if not wrong or len(wrong) == len(known) or len(found) == len(wrong):
        return None
    if any(_is_weight(r) == (r.verdict is Verdict.WRONG) for r in known):
        return None
    return Finding(
        "biases",
        f"Only the biases are wrong ({_listed([r.name for r in wrong])}), all of them, and every "
        "weight matrix agrees: look at the sum of delta over the examples (axis, 1/m).",
    )
