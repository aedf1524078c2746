"""What a running check shows: on a terminal, in a log, in a notebook, to a function."""

from __future__ import annotations

import io
import re
import sys
import time
import types
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from fastgradcheck import GradcheckTypeError, Progress, gradcheck
from fastgradcheck.evaluation import progress
from fastgradcheck.evaluation.progress import Pace, describe, duration, showing

THETA = np.linspace(1.0, 2.0, 30)


def check(cost_seconds: float = 0.0, **options: Any) -> Any:
    def cost(theta: np.ndarray) -> float:
        if cost_seconds:
            time.sleep(cost_seconds)
        return float((theta**3).sum())

    return gradcheck(cost, lambda t: 3 * t**2, THETA, seed=1, **options)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def at_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    return stderr(monkeypatch, Terminal())


def stderr(monkeypatch: pytest.MonkeyPatch, stream: Any) -> Any:
    """Not a fixture, since pytest puts its own stream in place between a fixture and its test."""
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def wait_for(text: str, terminal: io.StringIO, seconds: float = 60.0) -> None:
    """Wait until a text is there: the display draws from a thread of its own."""
    end = time.monotonic() + seconds
    while text not in terminal.getvalue():
        assert time.monotonic() < end, f"{text!r} did not appear"
        time.sleep(0.02)


def test_a_terminal_shows_a_bar_after_a_second_and_takes_it_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = at_terminal(monkeypatch)
    monkeypatch.setattr(progress._Bar, "patience", 0.2)
    # Slow enough that the bar is drawn several times while the components are measured.
    check(2e-2)
    shown = terminal.getvalue()
    assert re.search(r"components \d+ of 30 \(\d+ %\), \d+ J/s", shown)
    assert re.search(r"\d+ s so far", shown)
    assert "\x1b[?25l" in shown, "the cursor is hidden while the bar is there ..."
    assert shown.rstrip("\n").rindex("\x1b[?25h") > shown.rindex("J/s"), "... and comes back"


def test_a_terminal_stays_clean_during_short_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch)
    assert progress._Bar.patience == 1.0
    monkeypatch.setattr(progress._Bar, "patience", 60.0)  # a busy machine is slow at short checks
    check()
    assert terminal.getvalue() == ""


def test_a_bar_is_there_while_the_first_evaluation_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch)
    with showing(True):
        wait_for("so far", terminal)
    assert re.search(r"starting, \d+ s so far", terminal.getvalue())


def test_a_log_gets_a_line_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    log = stderr(monkeypatch, io.StringIO())
    assert (progress._Log.patience, progress._Log.every) == (60.0, 60.0)
    monkeypatch.setattr(progress._Log, "patience", 0.15)
    monkeypatch.setattr(progress._Log, "every", 0.15)
    check(5e-3)
    lines = log.getvalue().splitlines()
    assert len(lines) >= 2
    assert all(re.match(r"fastgradcheck: \w+ \d+ of \d+ \(\d+ %\)", line) for line in lines)


def test_a_log_stays_empty_during_shorter_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    log = stderr(monkeypatch, io.StringIO())
    check(1e-3)
    assert log.getvalue() == ""


def test_true_shows_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    log = stderr(monkeypatch, io.StringIO())
    check(progress=True)
    assert log.getvalue().startswith("fastgradcheck: starting, 0 s so far")


def test_false_shows_nothing_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch)
    monkeypatch.setattr(progress._Bar, "patience", 0.0)
    check(1e-3, progress=False)
    assert terminal.getvalue() == ""


def test_no_stderr_at_all_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert check()


def test_a_terminal_that_goes_away_does_not_end_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch)
    monkeypatch.setattr(progress._Bar, "patience", 0.0)
    terminal.close()
    assert check(2e-3)


def test_output_of_the_cost_stays_on_its_own_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = at_terminal(monkeypatch)
    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)
    with showing(True):
        wait_for("so far", terminal)
        print("from the cost")
    assert stdout.getvalue() == "from the cost\n"
    assert "from the cost" not in terminal.getvalue()


def test_a_notebook_gets_one_output_that_is_updated(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Handle:
        update = staticmethod(shown.append)

    def display(picture: str, display_id: bool) -> Handle:
        assert display_id
        shown.append(picture)
        return Handle()

    shell = types.SimpleNamespace(kernel=object())
    kernel = types.SimpleNamespace(get_ipython=lambda: shell)
    pictures = types.SimpleNamespace(display=display, HTML=str)
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setitem(sys.modules, "IPython.display", pictures)
    monkeypatch.setattr(progress._Notebook, "patience", 0.2)
    check(5e-3)
    assert len(shown) >= 3
    assert re.search(r'<progress value="\d+" max="30"></progress> components', shown[-2])
    assert shown[-1] == ""


def test_a_function_gets_frozen_events() -> None:
    events: list[Progress] = []
    result = check(progress=events.append)
    assert list(dict.fromkeys(e.stage for e in events)) == ["noise", "calibrating", "components"]
    assert events[-1].evaluations == result.evaluations
    assert events[-1].done == events[-1].total
    assert all(a.evaluations <= b.evaluations for a, b in pairwise(events))
    assert all(a.seconds <= b.seconds for a, b in pairwise(events))
    with pytest.raises(AttributeError):
        events[0].done = 3  # type: ignore[misc]


def test_what_disagrees_is_told_while_the_loop_runs() -> None:
    events: list[Progress] = []

    def wrong(theta: np.ndarray) -> np.ndarray:
        gradient = 3 * theta**2
        gradient[3:8] *= 1.01
        return gradient

    gradcheck(lambda t: float((t**3).sum()), wrong, THETA, seed=1, progress=events.append)
    loop = [e.wrong for e in events if e.stage == "components"]
    # Some calibrated the steps, and are measured before the loop begins.
    assert loop[0] < 5
    assert loop[-1] == 5


def test_the_bar_counts_what_the_report_counts() -> None:
    events: list[Progress] = []
    result = check(progress=events.append)
    loop = [event for event in events if event.stage == "components"]
    assert (loop[-1].done, loop[-1].total) == (len(result.components), THETA.size)
    assert loop[0].total == loop[-1].total
    assert 0 < loop[0].done < loop[-1].done


def test_an_error_in_the_function_is_the_caller_s() -> None:
    def broken(event: Progress) -> None:
        raise LookupError("my mistake")

    with pytest.raises(LookupError, match="my mistake"):
        check(progress=broken)


def test_what_is_no_progress_is_refused() -> None:
    with pytest.raises(GradcheckTypeError, match="progress is a str; it is None, True, False"):
        check(progress="yes")


def event(done: int, evaluations: int, seconds: float, **rest: Any) -> Progress:
    return Progress(rest.pop("stage", "components"), done, 1000, evaluations, seconds, **rest)


def test_what_a_checkpoint_remembered_does_not_count_as_speed() -> None:
    pace = Pace(event(900, 1800, 1.0), event(950, 1900, 11.0))
    assert pace.rate == pytest.approx(10.0)
    assert pace.left == pytest.approx(10.0)


def test_the_pace_begins_anew_with_a_stage_and_with_a_plan_of_the_same_stage() -> None:
    pace = Pace(event(0, 0, 0.0), event(500, 1000, 10.0))
    assert pace.after(event(0, 1000, 10.0, stage="confirming")).first.evaluations == 1000
    assert pace.after(event(0, 1000, 10.0)).first.evaluations == 1000
    assert pace.after(event(600, 1200, 12.0)).first.evaluations == 0


def test_nothing_is_foretold_before_there_is_anything_to_go_by() -> None:
    first = event(0, 100, 1.0)
    assert describe(Pace(first, first), 1.0) == "components 0 of 1,000 (0 %), 1 s so far"


def test_slow_costs_show_evaluations_below_one_per_second() -> None:
    text = describe(Pace(event(0, 0, 0.0), event(2, 4, 8.0, wrong=2)), 8.0)
    assert text == "components 2 of 1,000 (0 %), 0.5 J/s, 2 disagree, 8 s so far, 1 h 6 min left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3661, "1 h 1 min"),
        (9e6, "2,500 h 0 min"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text
