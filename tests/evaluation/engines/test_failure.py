"""What the user is told when the cost fails at a perturbed point."""

from __future__ import annotations

import numpy as np
import pytest

from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation.choice import open_engine
from fastgradcheck.evaluation.engines.python import PythonEngine
from fastgradcheck.evaluation.plans import Directions
from tests.cases.interpreted import WORKERS, collect, objective, stencils


class TestFailures:
    @pytest.mark.parametrize("workers", WORKERS)
    def test_an_exception_tells_address_step_and_cause(self, workers, send):
        start = np.ones((4, 6))

        def cost(p):
            if p["W1"][3, 5] < 1:
                raise ValueError("log of a negative number", 17)
            return float(np.sum(p["W1"]))

        engine = open_engine(objective(cost, {"b": np.ones(2), "W1": start}), "python", **workers)
        with pytest.raises(CostEvaluationError) as caught:
            collect(engine, stencils(engine.objective, 0.25, -0.125))
        assert str(caught.value) == (
            "cost raised ValueError at W1[3, 5] - 0.125: ('log of a negative number', 17). "
            "It must be defined in a small neighbourhood of theta; move theta away from the "
            "edge of its domain, or pass bounds=."
        )
        assert caught.value.address == "W1[3, 5]"
        assert caught.value.step == -0.125
        cause = caught.value.__cause__
        assert type(cause) is ValueError
        assert cause.args == ("log of a negative number", 17)

    def test_along_a_direction(self):
        def cost(p):
            raise FloatingPointError

        subject = objective(cost, {"a": np.ones(2), "W": np.ones((2, 3))})
        region = np.array([[2, 3, 1, 2, 0, 3]])
        plan = Directions(region, np.array([1], np.uint64), np.array([[1e-3, -1e-3]]))
        with pytest.raises(CostEvaluationError) as caught:
            collect(PythonEngine(subject), plan)
        assert str(caught.value).startswith(
            "cost raised FloatingPointError at W + 0.001 * (a random direction). It must be"
        )
        assert (caught.value.address, caught.value.step) == ("W", 1e-3)

    def test_along_the_imaginary_axis(self):
        def cost(x):
            raise TypeError("no complex numbers here.")

        engine = PythonEngine(objective(cost, np.ones(2)))
        with pytest.raises(CostEvaluationError, match=r"theta\[0\] \+ 1e-20j: no complex numbers"):
            collect(engine, stencils(engine.objective, 1e-20j))

    @pytest.mark.parametrize("workers", WORKERS)
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (None, "cost returned None: does it end with a return statement, in every branch?"),
            (np.ones(3), r"cost returned an array of shape \(3,\): it must return one real number"),
            (
                np.ones((1, 1)),
                r"cost returned an array of shape \(1, 1\): it must .* by \.item\(\)",
            ),
            (2 + 1j, r"cost returned the complex number \(2\+1j\): it must return a real one"),
            ("3.5", "cost returned a str: it must return one number"),
            (True, "cost returned a bool: it must return one number"),
        ],
        ids=str,
    )
    def test_values_that_are_no_scalars(self, value, text, workers, send):
        subject = objective(lambda x: value if x[2] > 0 else 1.0, np.zeros(3))
        engine = open_engine(subject, "python", **workers)
        with pytest.raises(CostEvaluationError, match=r"^at theta\[2\] \+ 0\.5, " + text) as caught:
            collect(engine, stencils(engine.objective, 0.5))
        assert caught.value.address == "theta[2]"

    def test_a_real_value_at_a_complex_point(self):
        engine = PythonEngine(objective(lambda x: float(x.real.sum()), np.zeros(3)))
        with pytest.raises(CostEvaluationError, match="a real number for a complex theta"):
            collect(engine, stencils(engine.objective, 1e-20j))

    def test_value_at_a_point(self):
        def cost(x):
            if x[0] > 1:
                raise ValueError("too large.")
            return None if x[0] < 0 else x[0]

        engine = PythonEngine(objective(cost, np.ones(1)))
        assert engine.value(np.array([0.5])) == 0.5
        assert type(engine.value(np.array([0.5]))) is float
        with pytest.raises(CostEvaluationError, match=r"^cost raised ValueError: too large\.$"):
            engine.value(np.array([1.5]))
        with pytest.raises(CostEvaluationError, match=r"^cost returned None"):
            engine.value(np.array([-1.0]))


class Quit(BaseException):
    """Not even an `Exception`."""


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Quit("enough"), "Quit at theta[5] + 1: enough. It"),
        (SystemExit(0), "SystemExit at theta[5] + 1: 0. It"),
        (GeneratorExit(), "GeneratorExit at theta[5] + 1. It"),
        (Mute(), "Mute at theta[5] + 1: its message cannot be shown, str() of it raises Runt"),
        (ValueError("\x1b[31m\ud800"), r"ValueError at theta[5] + 1: \x1b[31m\ud800. It"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_whatever_the_cost_raises_is_told_with_its_address(workers, error, told, send):
    def cost(x):
        if x[5] > 0:
            raise error
        return 0.0

    subject = objective(cost, np.zeros(8))
    with pytest.raises(CostEvaluationError) as caught:
        collect(open_engine(subject, "python", **workers), stencils(subject, 1.0))
    assert str(caught.value).startswith(f"cost raised {told}")
    assert caught.value.address == "theta[5]"
