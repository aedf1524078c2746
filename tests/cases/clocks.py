"""Time that a test moves by itself."""

from __future__ import annotations


class Clock:
    """A clock that only the cost moves, so that a busy machine changes nothing."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now
