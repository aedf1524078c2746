"""Exceptions that the package raises on purpose."""

from __future__ import annotations

import pickle
import signal
import sys

import numpy as np
import pytest

from fastgradcheck.errors import (
    QUOTED,
    CostEvaluationError,
    GradcheckInputError,
    Terminated,
    asks_to_stop,
    clean,
    shown,
    told,
)
from fastgradcheck.problem.finding import Finding


def test_the_error_pickles():
    error = pickle.loads(pickle.dumps(CostEvaluationError("text", "W1[3, 5]", 0.5)))
    assert (str(error), error.address, error.step) == ("text", "W1[3, 5]", 0.5)


class Mute(Exception):
    def __str__(self):
        raise ValueError("no")


class Silent(Exception):
    def __str__(self):
        raise SystemExit(0)


class Recursive:
    def __repr__(self):
        return repr(self)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("W₁ of the first\tlayer,\nas ever 👩‍💻", "W₁ of the first\tlayer,\nas ever 👩‍💻"),
        ("\x1b[31mred\x07\r", r"\x1b[31mred\x07\r"),
        ("\ud800 and \udfff", r"\ud800 and \udfff"),
        ("abc\u202efed", r"abc\u202efed"),
        ("\0\x7f\x85\u2028\ufffe", r"\x00\x7f\x85\u2028\ufffe"),
    ],
)
def test_what_a_terminal_a_file_or_xml_cannot_take_is_escaped(text, cleaned):
    assert clean(text) == cleaned
    for error in (GradcheckInputError(text), CostEvaluationError(text), Finding("k", text)):
        assert str(getattr(error, "message", error)) == cleaned
    cleaned.encode()


def test_every_exception_has_a_message():
    assert told(ValueError("no such\x1b thing")) == r"ValueError: no such\x1b thing"
    assert told(StopIteration()) == "StopIteration"
    assert told(Mute()) == "Mute: its message cannot be shown, str() of it raises ValueError"
    assert told(Silent()) == "Silent: its message cannot be shown, str() of it raises SystemExit"


def test_values_are_quoted_shortly_and_on_one_line():
    assert shown("smoke") == "'smoke'"
    assert shown(Recursive()) == "<Recursive>"
    assert shown(np.eye(2)) == "array([[1., 0.],        [0., 1.]])"
    assert shown("x" * 1000) == "'" + "x" * (QUOTED - 1) + "..."


def test_what_a_signal_handler_raises_is_a_wish_to_stop():
    def handler(number, frame):
        sys.exit(3)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(SystemExit) as caught:
            signal.raise_signal(signal.SIGTERM)
        assert asks_to_stop(caught.value)
        with pytest.raises(SystemExit) as caught:
            sys.exit(3)
        assert not asks_to_stop(caught.value)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert asks_to_stop(KeyboardInterrupt())
    assert asks_to_stop(Terminated(signal.SIGTERM))
