"""Ctrl-C as a wish to stop: an exception where J is evaluated, a note everywhere else."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

_TO_END = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What asks a process to end: a batch system, a container, a terminal that is closed."""


class Interrupts:
    """Watches for Ctrl-C, and for the signals that ask this process to end, while it is entered.

    The first Ctrl-C raises `KeyboardInterrupt` only while `armed`, so that bookkeeping
    is never left half done; the second raises at once, wherever that is. The same goes for SIGTERM
    and SIGHUP. Only the handlers of Python and the system are replaced, and only from the main
    thread: an application that has its own keeps it.

    Attributes
    ----------
    pressed : bool
        Whether there was a Ctrl-C, or one of the signals.
    ended : int or None
        The signal that asked this process to end, if one did.
    armed : bool
        Whether the first one may raise; set by the owner around what may take long.
    """

    def __init__(self) -> None:
        self.pressed = False
        self.ended: int | None = None
        self.armed = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            usual = {signal.SIGINT: signal.default_int_handler}
            usual |= dict.fromkeys(_TO_END, signal.SIG_DFL)
            for number, handler in usual.items():
                if signal.getsignal(number) is handler:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.pressed = self.pressed, True
        if number != signal.SIGINT:
            self.ended = number
        if again or self.armed:
            raise KeyboardInterrupt
