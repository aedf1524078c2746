"""What is found of a gradient and a cost, in the words of a Jacobian or a Hessian."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from fastgradcheck.problem.calls import Names
from fastgradcheck.problem.finding import Finding

_CAUSES = (
    (
        "The sign is turned: prediction minus target the other way round, or the gradient of a "
        "log-likelihood where the cost is its negative.",
        "The sign of a residual (data - model against model - data) is the usual cause.",
    ),
    (
        "Look at the order of the outer product (delta.T @ a against a.T @ delta), at a transpose "
        "before ravel, and at order='F'.",
        "Rows are outputs and columns parameters: look at which of them is differentiated by "
        "which, at a transpose before ravel, and at order='F'.",
    ),
    (
        "Is a mask or an activation's derivative missing in the backward pass, or does the cost "
        "not use these parameters?",
        "Is an index off, or a mask missing?",
    ),
    (
        "Look at the bounds of the loop over it and at how its unit is treated.",
        "Look at what computes it.",
    ),
)
"""Causes that people have in mind with a network, and with a function of several outputs."""
_WORDS = re.compile(
    r"numeric gradient|[Tt]he gradient of|[Tt]he gradient|gradient|[Tt]he cost|\bcost\b|\bJ\b"
)


def of_rows(findings: Iterable[Finding], names: Names) -> tuple[Finding, ...]:
    """The findings of patterns that know a gradient and a cost, as they hold for `names`.

    Examples
    --------
    >>> from fastgradcheck.problem.calls import HESSIAN
    >>> found = Finding("x", "the gradient is zero where the cost does change, beside J")
    >>> of_rows([found], HESSIAN)[0].message
    'hess is zero where grad does change, beside the gradient'
    """
    return tuple(replace(found, message=_told(found.message, names)) for found in findings)


def _told(message: str, names: Names) -> str:
    for theirs, ours in _CAUSES:
        message = message.replace(theirs, ours)
    claim = names.claim.capitalize()
    words = {
        "numeric gradient": f"numeric {claim}",
        "the gradient of": f"the {claim} in",
        "the gradient": names.derivative,
        "gradient": "derivative",
        "the cost": names.function,
        "cost": names.function,
        "J": names.value,
    }

    def other(match: re.Match[str]) -> str:
        word = match.group()
        ours = words[word[0].lower() + word[1:] if word != "J" else word]
        # The names of functions begin a sentence as they are written.
        return ours[0].upper() + ours[1:] if word.startswith("The gradient of") else ours

    return _WORDS.sub(other, message)
