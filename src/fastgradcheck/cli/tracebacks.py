"""Tracebacks cut down to the frames of the user's own code."""

from __future__ import annotations

import traceback
from types import FrameType, TracebackType

_OURS = frozenset({"fastgradcheck", "fastgradcheck_pytest"})


_BETWEEN = frozenset({"importlib", "_frozen_importlib", "_frozen_importlib_external"}) | {
    "contextlib",
    "joblib",
    "numba",
}
"""What we call the user's code through; what Numba raises tells the user's line."""


_CALLS = frozenset(
    {
        ("fastgradcheck.problem.problem", "called"),
        ("fastgradcheck.problem.gradient", "evaluate_gradient"),
    }
)
"""Where the user's cost and gradient are called: compiled ones leave no frame of their own."""


def user_frames(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without our frames and those of what we call the user's code through.

    Parameters
    ----------
    trace : traceback or None

    Returns
    -------
    traceback or None
        None if nothing is left.
    """
    entries = []
    while trace is not None:
        entries.append(trace)
        trace = trace.tb_next
    kept: TracebackType | None = None
    for entry in reversed(entries):
        if _package(entry.tb_frame) not in _OURS | _BETWEEN:
            kept = TracebackType(kept, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return kept


def user_traceback(error: BaseException) -> str:
    """The traceback of `error` as text, user's frames only; empty if there are none.

    A `SyntaxError` has its line in itself and needs no frame.
    """
    kept = user_frames(error.__traceback__)
    if kept is None and not isinstance(error, SyntaxError):
        return ""
    return "".join(traceback.format_exception(type(error), error, kept, chain=False)).rstrip()


def is_our_fault(error: BaseException) -> bool:
    """Whether a line of this package raised the error, and not what it called."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not frames:
        return True
    last = (frames[-1].f_globals.get("__name__"), frames[-1].f_code.co_name)
    return _package(frames[-1]) in _OURS and last not in _CALLS


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
