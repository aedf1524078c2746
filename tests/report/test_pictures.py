"""What the pictures show, whatever draws them."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.report import pictures, plots, svg
from fastgradcheck.report.html import to_html
from fastgradcheck.report.outcome import Sweep
from tests.cases.results import (
    WRONG,
    make_block,
    make_components,
    make_result,
    make_wrong,
)


def test_the_heat_map_has_the_shape_of_the_block_and_the_decade_of_the_error() -> None:
    numeric = np.ones(12)
    analytic = numeric * (1.0 + np.array([0.0, 3e-9, 3e-5, 0.5] * 3))
    result = make_result(
        blocks=(make_block("W", (3, 4)),), components=make_components(analytic, numeric)
    )
    (heat,) = pictures.heat_maps(result, 6, 48)
    assert heat.cells.shape == (3, 4)
    np.testing.assert_allclose(
        heat.cells[0], [-10.0, np.log10(3e-9), np.log10(3e-5), np.log10(1 / 3)], atol=1e-4
    )
    drawing = ElementTree.fromstring(svg.heat(heat))
    cells = {
        group.get("fill"): {path.get("d", "")[:4]: path[0].text for path in group}
        for group in drawing.iter("g")
        if group.get("class") == "cells"
    }
    assert cells[svg.HEAT_COLORS[9]] == {f"M3 {i}": f"W[{i}, 3]: 0.333" for i in range(3)}
    assert cells[svg.HEAT_COLORS[5]] == {f"M2 {i}": f"W[{i}, 2]: 3e-05" for i in range(3)}
    assert cells[svg.HEAT_COLORS[1]] == {f"M1 {i}": f"W[{i}, 1]: 3e-09" for i in range(3)}
    assert cells[svg.HEAT_COLORS[0]] == {f"M0 {i}": f"W[{i}, 0]: at most 1e-10" for i in range(3)}
    said = [text.text for text in drawing.iter("text")]
    assert said == ["0", "1", "2", "3", "column", "0", "1", "2", "row"]


@pytest.mark.parametrize(("rows", "columns", "side"), [(10, 7, 4), (5, 48, 32), (33, 33, 32)])
def test_a_cell_names_the_entries_that_it_shows(rows: int, columns: int, side: int) -> None:
    """One entry after the other is off; the cell that shows it names a range that holds it."""
    shown = 0
    for k in range(0, rows * columns, 3):
        analytic = np.ones(rows * columns)
        analytic[k] = 2.0
        result = make_result(
            blocks=(make_block("W", (rows, columns)),),
            components=make_components(analytic, np.ones(rows * columns)),
        )
        (heat,) = pictures.heat_maps(result, 1, side)
        ((i, j),) = np.argwhere(heat.cells > -1.0)
        told = heat.told(int(i), int(j))
        if told.startswith("W["):
            assert told == f"W[{k // columns}, {k % columns}]: 0.5"
        else:
            ranges = re.findall(r"(\d+) to (\d+)", told)
            (top, bottom), (left, right) = [(int(a), int(b)) for a, b in ranges]
            assert top <= k // columns <= bottom
            assert left <= k % columns <= right
        shown += 1
    assert shown > 20


def test_unmeasured_cells_are_left_grey_and_a_cell_shows_its_worst_entry() -> None:
    components = make_components([1.0, 1.0, 1.5], [1.0, 1.0, 1.0])
    components["index"] = [0, 98, 99]
    result = make_result(blocks=(make_block("W", (10, 10)),), components=components)
    (heat,) = pictures.heat_maps(result, 1, 5)
    assert np.isfinite(heat.cells).sum() == 2
    assert heat.cells[0, 0] == -10.0
    assert heat.cells[4, 4] == pytest.approx(np.log10(1 / 3))


def test_the_factor_is_drawn_only_where_one_fits() -> None:
    numeric = np.linspace(0.5, 2.0, 26)
    wrong = {"verdict": WRONG.code}
    same = make_result(components=make_components(2.0 * numeric, numeric, **wrong))
    assert pictures.points(same, 100).factor == pytest.approx(2.0)
    assert "dashed: slope 2" in svg.scatter(pictures.points(same, 100))
    varied = make_result(components=make_components(numeric**2, numeric, **wrong))
    assert pictures.points(varied, 100).factor is None


def marks(drawing: str) -> list[tuple[float, float]]:
    """The places of the dots, from the left and from the top."""
    dots = ElementTree.fromstring(drawing).iter("circle")
    return [(float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in dots]


def line_of_equality(drawing: str) -> list[float]:
    (line,) = (e for e in ElementTree.fromstring(drawing).iter("line") if e.get("class") == "equal")
    return [float(line.get(end, "")) for end in ("x1", "y1", "x2", "y2")]


def test_equal_values_lie_on_a_line_at_45_degrees_whatever_their_sizes() -> None:
    for values in (np.linspace(0.5, 2.0, 20), 10.0 ** np.arange(-9.0, 6.0), np.zeros(3)):
        signs = (-1.0) ** np.arange(len(values))
        result = make_result(components=make_components(signs * values, signs * values))
        drawing = svg.scatter(pictures.points(result, 100))
        x1, y1, x2, y2 = line_of_equality(drawing)
        assert x2 - x1 == pytest.approx(y1 - y2)
        for x, y in marks(drawing):
            assert x - x1 == pytest.approx(y1 - y, abs=0.2)


def test_values_of_all_sizes_are_told_apart() -> None:
    """A decade is as wide as another: between 1e-6 and 1 no two dots lie together."""
    values = 10.0 ** np.arange(-6.0, 1.0)
    result = make_result(components=make_components(values, values))
    places = [x for x, _ in marks(svg.scatter(pictures.points(result, 100)))]
    steps = np.diff(places)
    assert steps.min() > 15
    np.testing.assert_allclose(steps[1:], steps[1], atol=0.2)


def test_nothing_else_has_the_colour_of_a_verdict() -> None:
    others = {pictures.NUMERIC, pictures.CLAIM, plots._ONE_SIDED, plots._INK, plots._GREY}
    assert others.isdisjoint(pictures.COLORS.values())
    page = to_html(make_wrong())
    for verdict, color in pictures.COLORS.items():
        assert f"--{verdict.value}: {color};" in page
        assert page.count(color) == 1


def test_of_too_many_points_wrong_ones_are_kept() -> None:
    numeric = np.linspace(0.5, 2.0, 5000)
    verdict = np.zeros(5000, dtype=np.uint8)
    verdict[[7, 4000]] = WRONG.code
    result = make_result(components=make_components(numeric, numeric, verdict=verdict))
    points = pictures.points(result, 100)
    assert len(points.numeric) == 100
    assert (points.verdict == WRONG.code).sum() == 2


def test_the_v_curve_marks_the_step_closest_to_the_value() -> None:
    steps = 10.0 ** -np.arange(1.0, 8.0)
    sweep = Sweep("W2[1, 2]", steps, -0.26 + steps**2 + 3e-16 / steps, -0.26, 1e-11)
    curve = pictures.curve(make_wrong(), sweep, 22)
    assert steps[curve.chosen] == pytest.approx(1e-5)
    assert curve.analytic == pytest.approx(0.26 - 19 / 75, abs=1e-12)
    assert "diamond" in to_html(make_wrong(sweeps=(sweep,)))


@pytest.mark.parametrize("slope", [2.0, -64.0, 1e-3])
def test_the_line_of_a_factor_is_straight_where_it_is_drawn(slope: float) -> None:
    right, left = pictures.straight(slope, reach=1e3, linear=1e-4)
    np.testing.assert_array_equal(left, -right)
    x = np.geomspace(*right, 9)
    y = pictures.symlog(slope * x, 1e-4)
    across = pictures.symlog(x, 1e-4)
    # On both logarithmic parts: as many decades up as across.
    np.testing.assert_allclose(np.abs(y - y[0]), across - across[0], atol=1e-9)
    assert max(right[1], abs(slope) * right[1]) == pytest.approx(1e3)
    assert pictures.straight(slope, reach=1.0, linear=1.0)[0][0] == 0.0


def test_a_factor_too_large_for_the_axes_is_not_drawn() -> None:
    assert pictures.straight(1e9, reach=1.0, linear=1e-6) == []
    assert pictures.straight(0.0, reach=1.0, linear=1e-6)[0].tolist() == [0.0, 1.0]


def test_a_jacobian_of_several_blocks_has_one_map_of_the_whole() -> None:
    """Whatever the blocks are, its entry (i, j) is output i by parameter j."""
    A = np.arange(1.0, 36.0).reshape(5, 7)

    def fun(p: Any) -> Any:
        x = np.concatenate([p["x"].ravel(), p["y"]])
        return {"a": A[:2] @ x, "b": (A[2:] @ x).reshape(1, 3)}

    J = A.copy()
    J[3, 5] *= 1.1
    J[1, 2] *= 1.01
    blocks = {
        "a": {"x": J[:2, :4].reshape(2, 2, 2), "y": J[:2, 4:]},
        "b": {"x": J[2:, :4].reshape(1, 3, 2, 2), "y": J[2:, 4:].reshape(1, 3, 3)},
    }
    theta = {"x": np.ones((2, 2)), "y": np.ones(3)}
    result = fgc.jaccheck(fun, blocks, theta, seed=0)
    whole, *others = pictures.heat_maps(result, 6, 48)
    assert (whole.block.name, whole.block.shape) == ("Jacobian", (5, 7))
    assert len(others) == 4
    off = np.abs(J - A) / np.maximum(J, A)
    np.testing.assert_allclose(10 ** whole.cells[off > 0], off[off > 0], rtol=1e-6)
    assert (whole.cells[off == 0] < -6).all()
    assert whole.told(3, 5) == "Jacobian[3, 5]: 0.0909"
    assert [heat.block.name for heat in pictures.heat_maps(result, 1, 3)] == ["Jacobian"]
    single = fgc.jaccheck(lambda t: A @ t, A, np.ones(7), seed=0)
    assert [heat.block.name for heat in pictures.heat_maps(single, 6, 48)] == ["F / theta"]
