"""Patterns of values: a factor, a forgotten term, a wrong precision."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fastgradcheck.diagnosis.field import (
    EXACT,
    Candidate,
    Field,
    Setting,
    against_bars,
    fitted_slope,
)
from fastgradcheck.problem.factor import as_factor


def zero(field: Field, setting: Setting) -> Iterator[Candidate]:
    """The gradient is zero where J changes."""
    wrong = int(field.wrong.sum())
    if wrong and not field.analytic.any():
        yield Candidate(
            "zero",
            "the gradient is exactly zero where the cost does change",
            "Was it never assigned (a buffer from zeros), multiplied by a mask, or returned "
            "before it was computed?",
            EXACT * wrong,
            wrong,
            wrong,
        )


def conjugate(field: Field, setting: Setting) -> Iterator[Candidate]:
    """The imaginary parts of a complex block have the other sign."""
    if not field.block.pairs:
        return
    turned = np.where(field.at % 2 == 1, -field.analytic, field.analytic)
    others = any(name != field.block.name for name in setting.gradients)
    yield replace(
        against_bars(field, turned),
        kind="conjugate",
        claim="holds the conjugate of the numeric gradient"
        + (", unlike what the rest of the gradient follows" if others else ""),
        cause="dJ/dx + i dJ/dy (torch) and its conjugate (jax) are mixed: look for a missing "
        "np.conj, or a .T where the conjugate transpose belongs.",
    )


def flat(field: Field, setting: Setting) -> Iterator[Candidate]:
    """J does not change where the gradient is not zero."""
    judged = against_bars(field, np.where(field.analytic == 0.0, np.nan, 0.0))
    yield replace(
        judged,
        kind="unused",
        claim="the cost does not change with it, yet the gradient is not zero",
        cause="Is a mask or an activation's derivative missing in the backward pass, or does the "
        "cost not use these parameters?",
    )


def factor(field: Field, setting: Setting) -> Iterator[Candidate]:
    """Every entry is the same multiple of the numeric one."""
    fit = fitted_slope(field.analytic, field.numeric, field.bar)
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
        judged = against_bars(field, field.analytic / value, choices=2.0 * len(known))
    else:
        claim = f"every entry is {as_factor(ratio)} times the numeric one"
        cause = "A constant factor is lost or added on the way to this gradient."
        judged = against_bars(field, inverse * field.analytic, freedom=1)
    yield replace(
        judged,
        kind="factor",
        claim=claim,
        cause=cause,
        fitted="ratio",
        value=ratio,
        half_width=width,
    )


def factor_of_data(field: Field, setting: Setting) -> Iterator[Candidate]:
    """Every entry is a multiple of the numeric one, but for the regularisation, which is right.

    With g = c D + lambda theta, and D + lambda theta the truth, that is g / c + b theta.
    """
    theta, weight = field.theta[field.at], 1.0 / field.bar
    system = np.column_stack([field.analytic, theta]) * weight[:, np.newaxis]
    if len(theta) < 4 or not np.isfinite(system).all():
        return
    (inverse, _), _, rank, _ = np.linalg.lstsq(system, field.numeric * weight)
    if rank < 2 or inverse == 0.0:
        return
    # Bars are no random errors: their largest effect, not their mean.
    width = 4.0 * float(np.abs(np.linalg.pinv(system)[0]).sum())
    known = list(_known_factors(setting))
    named = [k for k in known if abs(1.0 / k[0] - inverse) <= width <= 1e-3 * abs(inverse)]
    if named:
        value, claim, cause = named[0]
        inverse, choices = 1.0 / value, 2.0 * len(known)
    else:
        value, claim, choices = 1.0 / inverse, "", 1.0
        claim = f"every entry is {as_factor(value)} times the numeric one"
        cause = "A constant factor is lost or added on the way to this gradient."
    rest = fitted_slope(theta, field.numeric - inverse * field.analytic, field.bar)
    if rest is None or not abs(rest[0]) > 4.0 * rest[1] or abs(inverse - 1.0) <= width:
        return
    predicted = inverse * field.analytic + rest[0] * theta
    yield replace(
        against_bars(field, predicted, freedom=1 if named else 2, choices=choices),
        kind="data-factor",
        claim=f"apart from lambda * theta, {claim}",
        cause=cause,
        fitted="lambda",
        value=rest[0] / (1.0 - inverse),
        half_width=rest[1] / abs(1.0 - inverse),
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
        if "axis" not in where:
            continue  # such as 3/2, where 3 is the size of a block
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


def regularisation(field: Field, setting: Setting) -> Iterator[Candidate]:
    """The difference is a multiple of theta, or of its signs."""
    for power, penalty, values in (
        ("theta", "L2", field.theta[field.at]),
        ("sign(theta)", "L1", np.sign(field.theta[field.at])),
    ):
        if np.ptp(np.abs(values) if penalty == "L2" else values) == 0.0:
            continue  # cannot be told from a constant
        fit = fitted_slope(values, field.difference, field.bar)
        if fit is None or not abs(fit[0]) > 4.0 * fit[1]:
            continue
        slope, half = fit
        judged = against_bars(field, field.analytic - slope * values, freedom=1, choices=2.0)
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
    size, known = _known_lambda(setting, abs(slope), half)
    half_size, half_of_it = _known_lambda(setting, abs(slope) / 2.0, half / 2.0)
    missing = f"The {penalty} regularisation of the cost"
    if slope < 0.0 and half_size < size:
        return (
            f"{missing} has the wrong sign in the gradient (lambda = {half_of_it}), or is missing "
            f"there (lambda = {known or f'2 * {half_of_it}'})."
        )
    if slope < 0.0 and known:
        return f"{missing} is missing in the gradient; lambda = {known}."
    if slope < 0.0:
        return (
            f"{missing} is missing in the gradient, or in part, or has the wrong sign there (then "
            f"lambda = {abs(slope) / 2.0:.4g})."
        )
    if len(field.block.shape) < 2:
        cause = (
            f"The gradient regularises this block ({penalty}) and the cost does not: biases are "
            "usually left out"
        )
    else:
        cause = (
            f"The {penalty} regularisation is counted twice in the gradient (lambda/2 in the cost?)"
            ", or the cost has none for this block"
        )
    return f"{cause}; lambda = {known}." if known else f"{cause}."


def _known_lambda(setting: Setting, value: float, half: float) -> tuple[float, str]:
    """How the fitted lambda follows from the cost's arguments, the simplest way, and how simple."""
    sizes = ((1.0, ""), *((1.0 / n, f" / {n:.10g}") for n, _ in setting.numbers))
    for simple, ((size, name), (twice, sign)) in enumerate(
        itertools.product(sizes, ((1.0, ""), (2.0, "2 * ")))
    ):
        for scalar, where in setting.scalars:
            if abs(twice * scalar * size - value) <= 2.0 * half + 1e-12 * value:
                return simple, f"{sign}{where}{name}"
    return math.inf, ""


def constant(field: Field, setting: Setting) -> Iterator[Candidate]:
    """Every entry is off by the same number."""
    fit = fitted_slope(np.ones(len(field.at)), field.difference, field.bar)
    if fit is None or not abs(fit[0]) > 4.0 * fit[1]:
        return
    offset, half = fit
    yield replace(
        against_bars(field, field.analytic - offset, freedom=1),
        kind="constant",
        claim="every entry is off by the same number",
        cause="Something constant is added: a scalar broadcast over the block, or a sum over the "
        "wrong axis added to it.",
        fitted="difference",
        value=offset,
        half_width=half,
    )


def single(field: Field, setting: Setting) -> Iterator[Candidate]:
    """A gradient that was computed in single precision."""
    nonzero = field.gradient[np.isfinite(field.gradient) & (field.gradient != 0.0)]
    mantissa = np.frexp(nonzero)[0]
    small = np.abs(field.difference) <= 1e-4 * np.max(np.abs(field.gradient), initial=0.0)
    with np.errstate(over="ignore"):
        is_single = nonzero == nonzero.astype(np.float32)
    # Round numbers (1, 0.25) are float32 numbers too: count those that use more than 12 bits.
    used = np.rint(mantissa * 2.0**12) != mantissa * 2.0**12
    wrong = int(field.wrong.sum())
    if wrong and len(nonzero) and is_single.all() and used.sum() >= 3 and small.all():
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
