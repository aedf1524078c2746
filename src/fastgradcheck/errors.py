"""Every exception that the package raises on purpose, and how text of others is told in them."""

from __future__ import annotations

import re
import signal

QUOTED = 160
"""Characters of a value in a message."""

_UNPRINTABLE = re.compile(
    # Control characters but for tab and line feed, line separators, marks that turn the direction
    # of writing, what no XML may hold, and halves of surrogate pairs.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)


def clean(text: str) -> str:
    r"""Text from elsewhere with escapes for what a terminal, a file or XML cannot take.

    Examples
    --------
    >>> clean("loss of W₁:\x1b[31m 3")
    'loss of W₁:\\x1b[31m 3'
    """
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shown(value: object) -> str:
    """A value that somebody passed, as it is quoted in a message: short, and without side effects.

    Examples
    --------
    >>> shown("smoke"), shown([1, 2])
    ("'smoke'", '[1, 2]')
    """
    try:
        text = clean(" ".join(repr(value).split("\n")))
    except Exception:  # its own, or of what it holds: nested too deeply, for one
        text = f"<{type(value).__name__}>"
    return text if len(text) <= QUOTED else f"{text[:QUOTED]}..."


def said(error: BaseException) -> str:
    """The message of any exception, also of one that cannot be asked for it.

    Examples
    --------
    >>> said(ValueError("no such thing"))
    'no such thing'
    """
    try:
        return clean(str(error))
    except BaseException as exc:
        if asks_to_stop(exc):
            raise
        return f"its message cannot be shown, str() of it raises {type(exc).__name__}"


def told(error: BaseException) -> str:
    """Kind and message of any exception.

    Examples
    --------
    >>> told(ValueError("no such thing")), told(StopIteration())
    ('ValueError: no such thing', 'StopIteration')
    """
    return f"{type(error).__name__}: {said(error)}".rstrip(" :")


def asks_to_stop(error: BaseException) -> bool:
    """Whether an exception that comes out of the user's code is a wish to stop, and not its fault.

    Ctrl-C is one, and so is whatever a signal handler of the application raises, at whatever line
    that may be. ``sys.exit()`` in a cost is none.
    """
    if isinstance(error, (KeyboardInterrupt, Terminated)):
        return True
    handlers = {
        getattr(signal.getsignal(number), "__code__", None) for number in signal.valid_signals()
    }
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in handlers:
            return True
        trace = trace.tb_next
    return False


class Terminated(SystemExit):
    """The process was asked to end by a signal; everything that was open is closed on its way out.

    Parameters
    ----------
    number : int
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)  # as shells report it
        self.number = number


class GradcheckInputError(ValueError):
    """The check cannot start: an argument is unusable.

    The message says what is wrong, where, the likely cause and what to do next.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(clean(message))


class GradcheckTypeError(GradcheckInputError, TypeError):
    """An argument is of a type that can never be used; also a `TypeError`."""


class CheckpointError(GradcheckInputError):
    """A checkpoint file belongs to another problem, is damaged or cannot be written."""


class FingerprintError(GradcheckInputError):
    """A fingerprint is of another theta, layout or args, or its file is damaged."""


class CostEvaluationError(RuntimeError):
    """The user's cost raised at a perturbed point.

    The user's own exception is the ``__cause__``.

    Parameters
    ----------
    message : str
        Where it happened and what to do.
    address : str
        The parameter that was perturbed, e.g. ``W1[3, 5]``, or the block of a direction.
    step : float
        The displacement, in theta's units (of a direction: its length factor).
    """

    def __init__(self, message: str, address: str = "", step: float = float("nan")) -> None:
        super().__init__(clean(message))
        self.address = address
        self.step = step

    def __reduce__(self) -> tuple[type, tuple[str, str, float]]:
        return type(self), (str(self), self.address, self.step)


class WorkersLostError(CostEvaluationError):
    """The processes or machines that evaluated J are gone; nothing is known to be wrong with J."""
