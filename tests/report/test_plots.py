"""The matplotlib pictures: what is drawn, and what is said when there is nothing to draw."""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot
from threadpoolctl import threadpool_info, threadpool_limits

from fastgradcheck import report
from fastgradcheck.errors import CostEvaluationError, GradcheckInputError
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective, Problem
from fastgradcheck.report.outcome import Outcome, Section, Sweep
from fastgradcheck.report.plots import plot
from fastgradcheck.result import GradcheckResult
from tests.cases.results import WRONG, make_block, make_components, make_result, make_wrong


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    pyplot.close("all")


def cubic(cost: Any = None, **changes: Any) -> GradcheckResult:
    """theta^3 at 1, with the gradient 2 where it is 3."""
    theta = np.array([1.0])
    parameters = describe(theta)
    objective = Objective(cost or (lambda theta: float(theta[0] ** 3)), (), parameters, theta)
    fields: dict[str, Any] = {
        "blocks": (make_block("theta", (1,), verdict=WRONG),),
        "components": make_components([2.0], [3.0], 1e-10, WRONG.code),
        "wrong": ("theta[0]",),
        "problem": Problem(objective, np.array([2.0]), 2.0**-52, 1.0),
    }
    return make_result(verdict=WRONG, **{**fields, **changes})


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.get_lines()}


def test_all_four_by_default_and_everything_is_drawn_without_a_warning() -> None:
    figure = make_wrong().plot()
    figure.canvas.draw()
    titles = [axes.get_title() for axes in figure.axes]
    assert "Analytic against numeric" in titles
    assert "Relative error of W2 (grey: not measured)" in titles
    assert "Error against step for W2[1, 2]" in titles


def test_the_secants_of_the_textbook() -> None:
    """Around theta = 1 with epsilon 0.5: (1.5^3 - 0.5^3) / 1 = 3.25, (1.5^3 - 1) / 0.5 = 4.75."""
    figure = cubic().plot("secant")
    figure.canvas.draw()
    labels = set(lines(figure.axes[0]))
    assert {"two-sided secant: 3.25", "one-sided secant: 4.75", "analytic gradient: 2"} <= labels
    ticks = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert ticks == ["theta-", "theta[0]", "theta+"]


def test_the_v_curve_is_measured_when_the_check_left_none() -> None:
    """Central differences of theta^3 at 1 are off by h^2 exactly."""
    figure = cubic().plot("steps")
    figure.canvas.draw()
    drawn = lines(figure.axes[0])
    x, y = (np.asarray(values) for values in drawn["central difference"].get_data())
    coarse = x > 1e-3
    np.testing.assert_allclose(y[coarse], x[coarse] ** 2, rtol=1e-5)
    assert "bar 1.0e-10" in drawn
    assert "analytic is 1 away" in drawn


def test_the_scatter_has_the_line_of_equality_and_the_factor() -> None:
    numeric = np.linspace(0.5, 2.0, 26)
    result = make_result(components=make_components(2.0 * numeric, numeric, verdict=WRONG.code))
    figure = plot(result, "scatter")
    figure.canvas.draw()
    drawn = lines(figure.axes[0])
    x, y = drawn["analytic = numeric"].get_data()
    np.testing.assert_array_equal(x, y)
    x, y = drawn["slope 2: the factor"].get_data()
    np.testing.assert_allclose(y, 2.0 * np.asarray(x))
    np.testing.assert_allclose(drawn["wrong (26)"].get_ydata(), 2.0 * numeric)
    assert figure.axes[0].get_aspect() == 1.0
    assert figure.axes[0].get_xlim() == figure.axes[0].get_ylim()
    assert figure.axes[0].get_xscale() == "linear"


def test_the_scatter_of_many_sizes_is_symmetric_log_on_both_axes() -> None:
    numeric = 10.0 ** -np.arange(7.0)
    axes = plot(make_result(components=make_components(numeric, numeric)), "scatter").axes[0]
    axes.figure.canvas.draw()
    assert axes.get_xscale() == axes.get_yscale() == "symlog"
    assert axes.get_xlim() == axes.get_ylim()
    (x0, y0), (x1, y1) = axes.transData.transform([(-1.0, -1.0), (1.0, 1.0)])
    assert x1 - x0 == pytest.approx(y1 - y0)


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "inline"])
def test_a_notebook_shows_the_picture_once(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plot(make_result(), "scatter")
    assert len(pyplot.get_fignums()) == 1
    monkeypatch.setattr("matplotlib.get_backend", lambda: backend)
    plot(make_result(), "scatter")
    assert len(pyplot.get_fignums()) == 1


def test_a_heat_map_for_each_block_and_one_scale() -> None:
    figure = plot(make_wrong(), "heatmap")
    figure.canvas.draw()
    images = [axes.get_images()[0] for axes in figure.axes if axes.get_images()]
    titles = [axes.get_title() for axes in figure.axes if axes.get_images()]
    assert titles == ["W2 (2, 4)", "b1 (4,)", "W1 (4, 3)", "b2 (2,)"]
    assert [image.get_array().shape for image in images] == [(2, 4), (1, 4), (4, 3), (1, 2)]
    assert {image.get_clim() for image in images} == {(-10.0, 0.0)}
    assert images[0].get_array()[1, 2] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("kind", "result", "message"),
    [
        ("pie", make_result(), "kind='pie' is not a picture; use one of 'scatter', 'heatmap'"),
        ("scatter", make_result(components=make_components([], [])), "measured no component"),
        ("heatmap", make_result(components=make_components([], [])), "measured no component"),
        ("steps", make_result(), "read back from JSON no longer holds it"),
        ("secant", make_result(), "read back from JSON no longer holds it"),
        ("secant", cubic(lambda theta: math.nan), "J is not finite within 0.5 of theta"),
    ],
)
def test_what_cannot_be_drawn_is_explained(
    kind: str, result: GradcheckResult, message: str
) -> None:
    with pytest.raises(GradcheckInputError, match=re.escape(message)):
        result.plot(kind)


@pytest.mark.parametrize("kind", [None, "steps", "secant"])
def test_j_is_evaluated_with_one_blas_thread(kind: str | None) -> None:
    threads = []

    def cost(theta: np.ndarray) -> float:
        threads.extend(info["num_threads"] for info in blas())
        return float(theta[0] ** 3)

    with threadpool_limits(2, user_api="blas"):
        before = [info["num_threads"] for info in blas()]
        cubic(cost).plot(kind)
        assert [info["num_threads"] for info in blas()] == before
    assert threads
    assert set(threads) == {1}


def blas() -> list[dict[str, Any]]:
    return [info for info in threadpool_info() if info["user_api"] == "blas"]


@pytest.mark.parametrize("kind", ["scatter", "heatmap"])
def test_pictures_of_what_was_measured_evaluate_nothing(kind: str) -> None:
    def cost(theta: np.ndarray) -> float:
        raise AssertionError("J was evaluated")

    changes = {
        "blocks": (make_block("theta", (2,)),),
        "components": make_components([2, 3], [3, 3]),
    }
    assert cubic(cost, **changes).plot(kind).axes


def test_a_picture_that_does_not_exist_evaluates_nothing() -> None:
    def cost(theta: np.ndarray) -> float:
        raise AssertionError("J was evaluated")

    with pytest.raises(GradcheckInputError, match="is not a picture"):
        cubic(cost).plot("pie")


def test_a_cost_that_raises_is_told_with_the_place() -> None:
    def cost(theta: np.ndarray) -> float:
        return math.log(theta[0] - 0.5)

    with pytest.raises(CostEvaluationError, match=r"theta\[0\]"):
        cubic(cost).plot("secant")


def test_pictures_are_drawn_from_data_alone() -> None:
    """The outcome has no cost; around theta = 1 the section holds theta^3."""
    outcome = Outcome(**{f.name: getattr(cubic(), f.name) for f in dataclasses.fields(Outcome)})
    offsets = np.array([-0.75, -0.5, 0.0, 0.5, 0.75])
    section = Section("theta[0]", 2.0, 0.5, offsets, (1.0 + offsets) ** 3)
    steps = np.array([1e-1, 1e-2])
    sweep = Sweep("theta[0]", steps, 3.0 + steps**2, 3.0, 1e-10)
    drawn = lines(plot(outcome, "secant", section=section).axes[0])
    assert {"two-sided secant: 3.25", "one-sided secant: 4.75"} <= set(drawn)
    drawn = lines(plot(outcome, "steps", sweep=sweep).axes[0])
    np.testing.assert_allclose(drawn["central difference"].get_ydata(), steps**2)
    with pytest.raises(GradcheckInputError, match="no longer holds it"):
        plot(outcome, "secant")


def test_reports_load_nothing_that_evaluates() -> None:
    names = [path.stem for path in Path(report.__file__).parent.glob("[!_]*.py")]
    code = "".join(f"import fastgradcheck.report.{name}\n" for name in names)
    answer = subprocess.run(
        [sys.executable, "-c", f"{code}import sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    rooms = {name.split(".")[1] for name in answer.stdout.split() if "fastgradcheck." in name}
    assert {"report", "problem"} <= rooms
    assert not rooms & {"result", "check", "search", "differences", "evaluation", "diagnosis"}


def test_a_picture_that_cannot_be_drawn_does_not_spoil_the_others() -> None:
    figure = make_result().plot()
    figure.canvas.draw()
    assert figure.get_supxlabel().count("no longer holds it") == 1
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[0] == "Analytic against numeric"
    assert not any("Error against step" in title or "slope at" in title for title in titles)
    # Two pictures in one row: both are as high as the page allows.
    assert all(axes.get_position().height > 0.5 for axes in figure.axes)


def test_without_matplotlib_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'fastgradcheck[plot]'")):
        plot(make_result())
