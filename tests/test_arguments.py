"""Arguments under other tools' names are answered with the names that are meant."""

from __future__ import annotations

import inspect
import signal
import typing
from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.arguments import _MEANT, with_options
from tests.cases.refusals import THETA, slope, square


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"eps": 1e-6},
            r"gradcheck has no argument eps=: the step is epsilon=; by default, \"auto\"",
        ),
        (
            {"atol": 1e-6},
            r"no argument atol=: there is no absolute tolerance, .* threshold= is the",
        ),
        (
            {"kwargs": {}},
            r"what cost takes after theta goes into args=, a tuple .*functools\.partial",
        ),
        ({"epsilom": 1.0}, r"gradcheck has no argument epsilom=: did you mean epsilon=\?$"),
        ({"bound": 1.0}, r"did you mean bounds=\?$"),
        (
            {"nonsense": 1},
            r"no argument nonsense=: its arguments are cost, grad, theta, args, layou",
        ),
    ],
)
def test_unknown_names(given: dict[str, Any], message: str) -> None:
    for check in (fgc.gradcheck, fgc.assert_gradcheck):
        with pytest.raises(fgc.GradcheckTypeError, match=message):
            check(square, slope, THETA, **given)
    with pytest.raises(fgc.GradcheckTypeError, match=message):
        fgc.check_points(square, slope, {"here": THETA}, **given)


def test_what_follows_theta_by_position() -> None:
    with pytest.raises(
        fgc.GradcheckTypeError,
        match=r"gradcheck takes cost, grad and theta by position, 5 were given: what cost takes "
        r"after theta goes into args=, a tuple in cost's order\.",
    ):
        fgc.gradcheck(square, slope, THETA, 1.0, 2.0)  # type: ignore[misc]
    with pytest.raises(
        fgc.GradcheckTypeError,
        match=r"gradcheck lacks theta: it is called as gradcheck\(cost, grad, theta\)\.",
    ):
        fgc.gradcheck(square, slope)  # type: ignore[call-arg]
    with pytest.raises(fgc.GradcheckTypeError, match=r"no argument x0=: theta is given as theta\."):
        fgc.gradcheck(square, slope, x0=THETA)  # type: ignore[call-arg]
    with pytest.raises(
        fgc.GradcheckTypeError, match=r"gradcheck: multiple values for argument 'co"
    ):
        fgc.gradcheck(square, slope, THETA, cost=square)  # type: ignore[misc]


def test_every_name_that_is_meant_is_one_of_ours() -> None:
    ours = set(inspect.signature(fgc.gradcheck).parameters)
    assert {meant for meant, _ in _MEANT.values()} <= ours
    assert not set(_MEANT) & ours


def test_signature_and_documentation_are_the_functions_own() -> None:
    assert next(iter(inspect.signature(fgc.gradcheck).parameters)) == "cost"
    assert "Parameters" in (fgc.gradcheck.__doc__ or "")
    assert "epsilon" in typing.get_type_hints(fgc.gradcheck)


@pytest.mark.parametrize("where", ["cost", "grad"])
def test_what_would_end_the_process_at_theta_is_an_error(where: str) -> None:
    def leave(*_: Any) -> Any:
        raise SystemExit(0)

    subject = {"cost": square, "grad": slope, where: leave}
    text = r"^your code raised SystemExit: 0\.$"
    with pytest.raises(fgc.CostEvaluationError, match=text) as caught:
        fgc.gradcheck(**subject, theta=THETA)
    assert isinstance(caught.value.__cause__, SystemExit)


def test_a_signal_handler_of_the_application_may_end_the_process() -> None:
    def handler(number: int, frame: Any) -> None:
        raise SystemExit(7)

    def cost(theta: Any) -> float:
        calls.append(None)
        if len(calls) == 9:
            signal.raise_signal(signal.SIGTERM)
        return float(square(theta))

    calls: list[None] = []
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(SystemExit) as caught:
            fgc.gradcheck(cost, slope, THETA)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught.value.code == 7
    assert len(calls) <= 10  # the last one sees what the check has done to the cost


def test_a_function_that_passes_options_on_knows_their_names() -> None:
    @with_options({"seed", "epsilon"})
    def check(loss, module, *, args=(), **options):
        return options

    assert check(1, 2, seed=3) == {"seed": 3}
    with pytest.raises(TypeError, match="check has no argument eps=: the step is epsilon=; by"):
        check(1, 2, eps=3)
    with pytest.raises(TypeError, match="has no argument order=: its arguments are loss, mod"):
        check(1, 2, order=3)
    message = "takes loss and module by position, 3 were given: what loss takes after"
    with pytest.raises(TypeError, match=message):
        check(1, 2, 3)


@pytest.mark.parametrize("state", ["warn", "raise"])
@pytest.mark.parametrize("size", [5, 100])
def test_numpy_neither_warns_nor_raises_of_what_is_told(state: Any, size: int) -> None:
    """Of a claim that overflows, and of a cost's own invalid values away from theta."""
    theta = np.full(size, 1e-9)

    def cost(t: Any) -> float:
        return float(np.sqrt(t).sum())

    def fun(t: Any) -> Any:
        return np.sin(t)

    huge = np.full((size, size), 1.7e308)
    with np.errstate(all=state):
        results = [
            fgc.gradcheck(cost, np.full(size, 1.7e308), theta, seed=0),
            fgc.jaccheck(fun, huge, theta, seed=0),
            fgc.jaccheck(fun, lambda t, v: v * np.nan, theta, form="jvp", seed=0),
            fgc.paircheck(lambda t, v: huge @ v, lambda t, u: huge.T @ u, theta, theta, seed=0),
            fgc.jacobian_fingerprint(fun, theta, seed=0).check(huge),
        ]
    for result in results:
        assert result.verdict is not fgc.Verdict.AGREES
        assert str(result)
        assert result.to_html()
