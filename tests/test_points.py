"""One line in the REPL, a table when printed: results, points, rates and numerical gradients."""

from __future__ import annotations

from html.parser import HTMLParser

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.report.content import named_wrong, summary
from fastgradcheck.table import Table
from tests.cases.results import (
    SKIPPED,
    UNDECIDED,
    WRONG,
    make_block,
    make_components,
    make_result,
    make_wrong,
)

THETA = {"W": np.linspace(1.0, 2.0, 12).reshape(4, 3), "b": np.array([0.5, -1.0])}


def cost(theta: dict[str, np.ndarray]) -> float:
    return float((theta["W"] ** 3).sum() + np.sin(theta["b"]).sum())


def grad(theta: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"W": 3 * theta["W"] ** 2, "b": np.cos(theta["b"])}


def faulty(theta: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"W": 6 * theta["W"] ** 2, "b": np.cos(theta["b"])}


def columns(table: str) -> list[list[str]]:
    return [line.split() for line in table.splitlines()]


def test_a_result_is_a_line() -> None:
    right = repr(fgc.gradcheck(cost, grad, THETA, seed=0))
    assert right.startswith("<GradcheckResult AGREES: relative difference ")
    wrong = repr(fgc.gradcheck(cost, faulty, THETA, seed=0))
    assert wrong.startswith("<GradcheckResult WRONG in W: every entry is exactly 2 times the")
    assert "\n" not in right + wrong
    assert len(right) < 100


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (make_wrong(), "WRONG in b1, W2[1, 2]: relative difference 0.73, at most 0.731"),
        (
            make_wrong(findings=(Finding("x", "b1: twice. Look for it.", Rank.BUG),)),
            "WRONG in b1, W2[1, 2]: b1: twice",
        ),
        (
            make_result(
                verdict=UNDECIDED,
                blocks=(make_block("w", (26,), verdict=UNDECIDED),),
                findings=(
                    Finding("speed", "A note.", Rank.NOTE),
                    Finding("limit", "J is too coarse. Do this.", Rank.LIMIT),
                ),
            ),
            "UNDECIDED in w: J is too coarse",
        ),
        (
            make_result(verdict=SKIPPED, blocks=(), components=make_components([], [])),
            "SKIPPED: Nothing was checked: FASTGRADCHECK=off is set.",
        ),
    ],
    ids=["two blocks", "cause", "undecided", "skipped"],
)
def test_the_summary_names_blocks_and_the_cause(result: fgc.GradcheckResult, told: str) -> None:
    assert summary(result) == told


def test_of_many_wrong_blocks_three_are_named() -> None:
    blocks = tuple(make_block(f"w{i}", (3,), verdict=WRONG, wrong=3) for i in range(9))
    assert named_wrong(make_wrong(blocks=blocks)) == "w0, w1, w2 and 6 more"


def test_points_are_a_dict_that_prints_a_table() -> None:
    later = {"W": THETA["W"] + 1, "b": THETA["b"]}
    results = fgc.check_points(cost, faulty, {"init": THETA, "later": later}, seed=0)
    assert isinstance(results, dict)
    assert repr(results) == "<Points init: WRONG, later: WRONG>"
    head, *rows = columns(str(results))
    assert head == [
        "point",
        "verdict",
        "wrong",
        "relative",
        "difference",
        "at",
        "most",
        "evaluations",
    ]
    assert [row[:3] for row in rows] == [["init", "WRONG", "W"], ["later", "WRONG", "W"]]
    assert [row[-1] for row in rows] == [f"{r.evaluations:,}" for r in results.values()]
    assert results._repr_html_().count("<tr>") == 3


def test_a_numerical_gradient_prints_a_line_per_block() -> None:
    numeric = fgc.numerical_gradient(cost, THETA)
    assert "\n" not in repr(numeric)
    assert "2 blocks" in repr(numeric)
    head, W, b = columns(str(numeric).split("\n\n")[0])
    assert head == ["block", "shape", "norm", "largest", "bar", "at"]
    assert float(W[3]) == pytest.approx(np.linalg.norm(grad(THETA)["W"]), rel=1e-2)
    assert float(b[2]) == pytest.approx(np.linalg.norm(grad(THETA)["b"]), rel=1e-2)
    for block in numeric.blocks:
        error = numeric.error[block.name]
        assert block.error == error.max()
        place = tuple(int(i) for i in np.unravel_index(np.argmax(error), error.shape))
        assert block.worst == f"{block.name}[{', '.join(map(str, place))}]"
    assert str(numeric).endswith(f"{numeric.evaluations:,} evaluations of J")


def test_the_self_test_is_a_line_and_prints_a_table() -> None:
    rates = fgc.gradcheck(cost, grad, THETA, seed=0).self_test()
    planted = sum(rate.planted for rate in rates.rates)
    assert repr(rates) == f"<SelfTest: {planted} of {planted} planted faults were seen>"
    assert "<td" in rates._repr_html_()


def test_a_table_is_escaped_and_balanced() -> None:
    page = Table(("a", "b"), (("<script>", "1"),)).html()
    assert "<script>" not in page
    HTMLParser().feed(page)
    assert page.count("<td") == page.count("</td>") == 2


def test_they_are_true_only_if_all_agree() -> None:
    def cost(t: np.ndarray) -> float:
        return float(t @ t)

    right = fgc.check_points(cost, lambda t: 2 * t, {"a": np.ones(2), "b": np.zeros(2) + 3})
    assert right
    wrong = fgc.check_points(
        cost, lambda t: 2 * t * (t < 2), {"a": np.ones(2), "b": np.zeros(2) + 3}
    )
    assert list(wrong) == ["a", "b"]
    assert not wrong
    assert not type(right)()
