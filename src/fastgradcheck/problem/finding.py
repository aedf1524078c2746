"""What the user should know beside the verdict."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from fastgradcheck.errors import clean


class Rank(enum.Enum):
    """What a finding is for, in the order in which findings are told."""

    BUG = "bug"
    """Names what is probably wrong with the gradient."""
    LIMIT = "limit"
    """Says what the check could not tell, and why."""
    NOTE = "note"
    """Anything else that is worth knowing."""


@dataclass(frozen=True)
class Finding:
    """Something the user should know, in the words of the report.

    Attributes
    ----------
    kind : str
        A stable slug such as ``"kink"`` or ``"float32"``, for filtering.
    message : str
        One or two sentences: what, where, and what to do.
    rank : Rank
    """

    kind: str
    message: str
    rank: Rank = Rank.NOTE

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", clean(self.message))


def by_rank(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings by rank; those of the same rank keep their order.

    Examples
    --------
    >>> found = Finding("slow", "..."), Finding("factor", "...", Rank.BUG)
    >>> [finding.kind for finding in by_rank(found)]
    ['factor', 'slow']
    """
    order = list(Rank)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.rank)))
