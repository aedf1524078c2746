"""What the pictures show, whatever draws them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from fastgradcheck.report import pictures, svg
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
    columns = {
        path.get("fill"): re.findall(r"M(\d+) (\d+)", path.get("d") or "")
        for path in drawing.iter("path")
    }
    assert columns[svg.HEAT_COLORS[9]] == [("3", "0"), ("3", "1"), ("3", "2")]
    assert columns[svg.HEAT_COLORS[5]] == [("2", "0"), ("2", "1"), ("2", "2")]
    assert columns[svg.HEAT_COLORS[1]] == [("1", "0"), ("1", "1"), ("1", "2")]


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
