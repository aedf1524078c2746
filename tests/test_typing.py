"""A user's own file passes mypy in strict mode, and mistakes in it do not."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import fastgradcheck as fgc
from fastgradcheck.differences.schemes import SCHEMES, SchemeName
from fastgradcheck.options import CheckOptions

SOURCE = Path(fgc.__file__).parents[1]

USER = """
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastgradcheck as fgc
from fastgradcheck_pytest import Gradcheck

Array = NDArray[np.float64]


def cost(theta: Array, x: Array) -> float:
    return float(x @ theta**2)


def grad(theta: Array, x: Array) -> Array:
    return 2.0 * x * theta


THETA, X = np.ones(3), np.arange(3.0)


def test_the_gradient(gradcheck: Gradcheck) -> None:
    result = gradcheck(cost, grad, THETA, args=(X,), sample=0.5, allow_undecided=True)
    assert result.verdict is fgc.Verdict.AGREES


def test_the_rest() -> None:
    result: fgc.GradcheckResult = fgc.gradcheck(
        cost, grad, THETA, args=[X], bounds=[(0, None)] * 3, engine="python", scheme="central4"
    )
    wrong: tuple[str, ...] = result.wrong
    numeric: Any = fgc.numerical_gradient(cost, THETA, args=(X,)).value
    points = fgc.check_points(cost, grad, {"here": THETA}, args=(X,), strategy="screen")
    fgc.assert_gradcheck(cost, grad, THETA, args=(X,), seed=1)
    assert not wrong and numeric.shape == (3,) and points["here"]
"""

MISTAKES = {
    'fgc.gradcheck(cost, grad, THETA, engine="numpy")': "arg-type",
    'fgc.gradcheck(cost, grad, THETA, strategy="random")': "arg-type",
    'fgc.gradcheck(cost, grad, THETA, scheme="centre")': "arg-type",
    "fgc.gradcheck(cost, grad, THETA, eps=1e-6)": "call-arg",
    "fgc.assert_gradcheck(cost, grad, THETA, eps=1e-6)": "call-arg",
    "fgc.gradcheck(cost, grad)": "call-arg",
}


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy says of the user's file, and of the mistakes, a file of its own."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "test_model.py").write_text(USER)
    mistakes = "\n".join(["from test_model import *", "import fastgradcheck as fgc", *MISTAKES])
    (folder / "mistakes.py").write_text(mistakes + "\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-pretty"),
            *("--config-file=", "test_model.py", "mistakes.py"),
        ],
        cwd=folder,
        env={**os.environ, "MYPYPATH": str(SOURCE)},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_a_users_file_passes(complaints: str) -> None:
    assert "test_model.py" not in complaints, complaints


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_does_not(complaints: str, mistake: str) -> None:
    line = 3 + list(MISTAKES).index(mistake)
    told = [text for text in complaints.splitlines() if text.startswith(f"mistakes.py:{line}:")]
    assert len([text for text in told if f"[{MISTAKES[mistake]}]" in text]) == 1, complaints


def test_both_packages_say_that_they_are_typed() -> None:
    for package in ("fastgradcheck", "fastgradcheck_pytest"):
        assert (SOURCE / package / "py.typed").is_file()


def test_the_options_are_those_of_gradcheck() -> None:
    parameters = inspect.signature(fgc.gradcheck).parameters.values()
    ours = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    told = {name: hint.__forward_arg__ for name, hint in CheckOptions.__annotations__.items()}
    assert told == ours
    assert get_args(SchemeName) == tuple(SCHEMES)
