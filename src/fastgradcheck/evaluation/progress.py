"""What a running check shows on stderr: a bar where somebody watches, a line a minute in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from fastgradcheck.errors import GradcheckTypeError
from fastgradcheck.evaluation.stream import COMPONENTS, Progress

Listener = Callable[[Progress], None]


PATIENCE = 1.0
"""Seconds after which a check is long enough for a bar."""


BAR_SECONDS = 0.25
"""Between two drawings of the bar, which take about a millisecond each."""


LOG_SECONDS = 60.0


@contextmanager
def showing(progress: Any) -> Iterator[Listener | None]:
    """What the argument ``progress`` asks for, as a listener for the stream.

    Parameters
    ----------
    progress : None, bool or callable
        None: a bar on a terminal or in a notebook, from the first second on; elsewhere a line a
        minute. True: the same, from the start. False: nothing. A callable gets every `Progress`.

    Raises
    ------
    GradcheckTypeError
        If it is anything else.
    """
    if progress is False or (progress is None and sys.stderr is None):
        yield None
    elif progress is None or progress is True:
        with _Display(_face(), at_once=progress is True) as display:
            yield display.listen
    elif callable(progress):
        yield progress
    else:
        raise GradcheckTypeError(
            f"progress is a {type(progress).__name__}; it is None, True, False, or a function that "
            "is called with every fastgradcheck.Progress."
        )


@dataclass(frozen=True)
class Pace:
    """How fast a stage runs, from its first and its latest event.

    Attributes
    ----------
    first, latest : Progress
        Of the same stage; what a checkpoint remembered is in the first one already.
    """

    first: Progress
    latest: Progress

    def after(self, event: Progress) -> Pace:
        """The pace once `event` has come."""
        begun = event.stage != self.first.stage or event.done < self.latest.done
        return Pace(event if begun else self.first, event)

    @property
    def rate(self) -> float:
        """Evaluations of J per second; nan before there is any."""
        return self._per_second(self.latest.evaluations - self.first.evaluations)

    @property
    def left(self) -> float:
        """Seconds until the stage is through, as far as can be told; nan if it cannot."""
        rows = self._per_second(self.latest.done - self.first.done)
        return (self.latest.total - self.latest.done) / rows if rows > 0 else float("nan")

    def _per_second(self, count: int) -> float:
        seconds = self.latest.seconds - self.first.seconds
        return count / seconds if count and seconds > 0 else float("nan")


def describe(pace: Pace, seconds: float) -> str:
    """The state of a check in one line.

    Parameters
    ----------
    pace : Pace
    seconds : float
        Since the check began.

    Examples
    --------
    >>> first = Progress("components", 0, 2000, 100, 1.0)
    >>> print(describe(Pace(first, Progress("components", 500, 2000, 1100, 11.0, 3)), 11.0))
    components 500 of 2,000 (25 %), 100 J/s, 3 disagree, 11 s so far, 30 s left
    """
    latest = pace.latest
    percent = 100 * latest.done // max(latest.total, 1)
    parts = [f"{latest.stage} {latest.done:,} of {latest.total:,} ({percent} %)"]
    if pace.rate > 0:
        parts.append(_rate(pace.rate))
    if latest.wrong:
        # Confirmed only after the loop: until then a bar may be too small.
        parts.append(f"{latest.wrong:,} {'disagree' if latest.stage == COMPONENTS else 'wrong'}")
    parts.append(f"{duration(seconds)} so far")
    if pace.left > 0:
        parts.append(f"{duration(pace.left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds in the two largest units that say something.

    Examples
    --------
    >>> duration(7), duration(432), duration(9000)
    ('7 s', '7 min 12 s', '2 h 30 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def _rate(rate: float) -> str:
    return f"{rate:,.0f} J/s" if rate >= 10 else f"{rate:.2g} J/s"


class Face(Protocol):
    """How the state is shown."""

    every: float
    patience: float

    def draw(self, pace: Pace | None, seconds: float) -> None:
        """Show the state; there is no pace before the first event."""

    def close(self) -> None:
        """Leave stderr as it was."""


class _Display:
    """Draws a face from a thread of its own, so that it also lives while one evaluation lasts."""

    def __init__(self, face: Face, *, at_once: bool) -> None:
        self._face = face
        self._first = 0.0 if at_once else face.patience
        self._pace: Pace | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name="fastgradcheck-progress", daemon=True
        )

    def __enter__(self) -> _Display:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join(PATIENCE)

    def listen(self, event: Progress) -> None:
        """Take note of an event; drawing is the thread's business."""
        self._pace = self._pace.after(event) if self._pace else Pace(event, event)

    def _run(self) -> None:
        if self._ended.wait(self._first):
            return
        # A terminal that went away must not end a check.
        with suppress(Exception), closing(self._face):
            while True:
                self._face.draw(self._pace, time.monotonic() - self._began)
                if self._ended.wait(self._face.every):
                    return


def _face() -> Face:
    """What suits the place that stderr leads to."""
    if _in_notebook():
        return _Notebook()
    return _Bar() if sys.stderr.isatty() else _Log()


def _in_notebook() -> bool:
    """Whether a Jupyter kernel runs this, without importing IPython to find out."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and hasattr(shell, "kernel")


class _Log:
    """A line now and then."""

    every = LOG_SECONDS
    patience = LOG_SECONDS

    def draw(self, pace: Pace | None, seconds: float) -> None:
        state = describe(pace, seconds) if pace else f"starting, {duration(seconds)} so far"
        print(f"fastgradcheck: {state}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing to tidy up."""


class _Bar:
    """A bar of rich, gone when the check is through."""

    every = BAR_SECONDS
    patience = PATIENCE

    def __init__(self) -> None:
        self._progress: Any = None
        self._task: Any = None

    def draw(self, pace: Pace | None, seconds: float) -> None:
        if self._progress is None:
            self._open()
        latest = pace.latest if pace else None
        self._progress.update(
            self._task,
            completed=latest.done if latest else 0,
            total=latest.total if latest else None,
            state=describe(pace, seconds) if pace else f"starting, {duration(seconds)} so far",
        )
        self._progress.refresh()

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()

    def _open(self) -> None:
        # Only now: rich takes 50 ms to import, and short checks never show a bar.
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        self._progress = Bars(
            BarColumn(bar_width=20),
            TextColumn("{task.fields[state]}", markup=False),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
            # What the cost prints to a file or a pipe must not end up on stderr.
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
        )
        self._task = self._progress.add_task("", total=None, state="")
        self._progress.start()


class _Notebook:
    """The line and its bar as an output of the cell that is updated in place."""

    every = BAR_SECONDS
    patience = PATIENCE

    def __init__(self) -> None:
        self._handle: Any = None

    def draw(self, pace: Pace | None, seconds: float) -> None:
        ipython = import_module("IPython.display")
        done, total = (pace.latest.done, pace.latest.total) if pace else (0, 1)
        state = describe(pace, seconds) if pace else f"starting, {duration(seconds)} so far"
        picture = ipython.HTML(f'<progress value="{done}" max="{total}"></progress> {state}')
        if self._handle is None:
            self._handle = ipython.display(picture, display_id=True)
        else:
            self._handle.update(picture)

    def close(self) -> None:
        if self._handle is not None:
            self._handle.update(import_module("IPython.display").HTML(""))
