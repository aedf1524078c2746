"""What the user should know beside the verdict."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something the user should know, in the words of the report.

    Attributes
    ----------
    kind : str
        A stable slug such as ``"kink"`` or ``"float32"``, for filtering.
    message : str
        One or two sentences: what, where, and what to do.
    """

    kind: str
    message: str
