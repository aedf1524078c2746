"""Gradient checks as assertions."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from fastgradcheck.check import gradcheck
from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.problem.finding import Finding
from fastgradcheck.testing import GradcheckError, assert_gradcheck, require, stopped_by_hand
from fastgradcheck.verdict.verdict import Verdict

THETA = np.array([1.0, -2.0, 3.0])


def cost(theta):
    return float(np.sum(theta**3) / 3)


def grad(theta):
    return theta**2


def noisy(theta):
    """The cost with a relative noise of 1e-5: no difference quotient resolves 1e-7."""
    return cost(theta) * (1 + 1e-5 * np.sin(1e14 * theta.sum()))


def wrong(theta):
    return theta**2 + np.array([0.0, 0.5, 0.0])


def test_a_correct_gradient_passes_and_returns_the_result():
    assert assert_gradcheck(cost, grad, THETA).verdict is Verdict.AGREES


def test_a_wrong_gradient_raises_with_the_report_and_the_result():
    with pytest.raises(GradcheckError, match=r"^WRONG") as raised:
        assert_gradcheck(cost, wrong, THETA)
    assert raised.value.result.wrong == ("theta[1]",)
    line, _, report = str(raised.value).partition("\n\n")
    assert line.startswith("WRONG in theta[1]: of the measured entries only theta[1] is wrong")
    assert report == str(raised.value.result)


def test_the_error_is_an_assertion():
    with pytest.raises(AssertionError):
        assert_gradcheck(cost, wrong, THETA)


def test_the_error_survives_a_process_boundary():
    with pytest.raises(GradcheckError) as raised:
        assert_gradcheck(cost, wrong, THETA)
    assert pickle.loads(pickle.dumps(raised.value)).result.wrong == ("theta[1]",)


def test_an_undecided_check_raises():
    with pytest.raises(GradcheckError, match=r"^UNDECIDED"):
        assert_gradcheck(noisy, grad, THETA)


def test_an_undecided_check_passes_where_it_is_allowed():
    result = assert_gradcheck(noisy, grad, THETA, allow_undecided=True)
    assert result.verdict is Verdict.UNDECIDED
    assert not result


def test_allowing_undecided_allows_nothing_wrong():
    with pytest.raises(GradcheckError, match=r"^WRONG"):
        assert_gradcheck(cost, wrong, THETA, allow_undecided=True)


def test_a_check_that_is_switched_off_never_raises(monkeypatch):
    monkeypatch.setenv("FASTGRADCHECK", "off")
    assert assert_gradcheck(cost, wrong, THETA).verdict is Verdict.SKIPPED


def test_options_reach_the_check():
    result = assert_gradcheck(cost, wrong, THETA, sample=np.array([0, 2]), seed=5)
    assert result.seed == 5
    assert list(result.components["index"]) == [0, 2]


def test_bad_input_is_no_failed_assertion():
    with pytest.raises(GradcheckInputError, match="'gpu'"):
        assert_gradcheck(cost, grad, THETA, engine="gpu")


def interrupting(evaluations):
    """A cost that presses Ctrl-C at one of its evaluations."""
    calls = []

    def interrupted(theta):
        calls.append(theta)
        if len(calls) == evaluations:
            raise KeyboardInterrupt
        return cost(theta)

    return interrupted


def test_ctrl_c_stops_what_asserts():
    with pytest.raises(KeyboardInterrupt):
        assert_gradcheck(interrupting(30), grad, np.ones(500))


def test_only_a_budget_leaves_an_interrupted_result_to_the_verdict():
    part = gradcheck(interrupting(30), grad, np.ones(500))
    assert part.interrupted
    assert stopped_by_hand(part)
    over = dataclasses.replace(part, findings=(Finding("budget", "10 s are over."),))
    assert not stopped_by_hand(over)
    with pytest.raises(GradcheckError, match=r"^UNDECIDED"):
        require(over)
