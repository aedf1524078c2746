"""Ctrl-C as a wish to stop: an exception where J is evaluated, a note everywhere else."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Interrupts:
    """Watches for Ctrl-C while it is entered.

    The first Ctrl-C raises `KeyboardInterrupt` only while `armed`, so that bookkeeping
    is never left half done; the second raises at once, wherever that is. Only Python's own
    handler is replaced, and only from the main thread: an application that has its own keeps it.

    Attributes
    ----------
    pressed : bool
        Whether there was a Ctrl-C.
    armed : bool
        Whether the first one may raise; set by the owner around what may take long.
    """

    def __init__(self) -> None:
        self.pressed = False
        self.armed = False
        self._installed = False

    def __enter__(self) -> Interrupts:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(self, *exc: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.pressed = self.pressed, True
        if again or self.armed:
            raise KeyboardInterrupt
