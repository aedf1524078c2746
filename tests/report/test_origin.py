"""What a report says of the functions that were checked."""

from __future__ import annotations

import functools
from pathlib import Path

import numba
import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.report.json import from_json, to_json
from fastgradcheck.report.origin import origin_of

HERE = Path(__file__).name


def cost(theta: np.ndarray) -> float:
    return float((theta**2).sum())


@numba.njit
def compiled(theta):
    return (theta**2).sum()


class Callable:
    def __call__(self, theta: np.ndarray) -> float:
        return 0.0


def test_functions_are_named_with_their_line() -> None:
    line = cost.__code__.co_firstlineno
    for function in (cost, functools.partial(cost), functools.partial(functools.partial(cost))):
        assert origin_of(function, cost).cost.endswith(f"{HERE}, line {line})")
        assert origin_of(function, cost).cost.startswith("cost (")
    assert origin_of(compiled, True).cost.startswith("compiled (")
    assert origin_of(lambda t: 0.0, True).cost.startswith("<lambda> (")
    assert origin_of(Callable(), True).cost.startswith("Callable (")


@pytest.mark.parametrize(
    ("grad", "told"),
    [
        (True, "the gradient that it returns"),
        (np.ones(3), "an array"),
        ({"W": np.ones(3)}, "a dict of arrays"),
    ],
)
def test_a_gradient_that_is_no_function(grad: object, told: str) -> None:
    assert origin_of(cost, grad).grad == told


def test_a_file_below_the_current_folder_is_told_as_one_would_write_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    assert origin_of(cost, True).cost.startswith(f"cost ({HERE}, line")


def test_the_result_and_its_json_keep_the_origin() -> None:
    result = fgc.gradcheck(cost, lambda t: 2 * t, np.ones(2), seed=0)
    assert result.origin.cost.startswith("cost (")
    assert result.origin.version == fgc.__version__
    assert result.origin.when.endswith(" UTC")
    assert from_json(to_json(result)).origin == result.origin
    words = " ".join(result.report(verbose=True).split())
    assert "Checked <lambda> (" in words
    assert "against cost (" in words
