"""The text report: what it says, in which order, and on how many lines."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from fastgradcheck.check import gradcheck
from fastgradcheck.errors import GradcheckInputError, clean
from fastgradcheck.problem.finding import Finding, Rank, by_rank
from fastgradcheck.report import content
from fastgradcheck.report.text import render, show
from fastgradcheck.verdict.verdict import Resolution
from tests.cases.results import (
    AGREES,
    SKIPPED,
    UNDECIDED,
    WRONG,
    make_block,
    make_components,
    make_large,
    make_result,
    make_wrong,
)


def unwrapped(text: str) -> str:
    return " ".join(text.split())


def test_agreement_reads_verdict_first_and_next_step_last() -> None:
    text = render(make_result(), width=100)
    assert text.startswith("AGREES  The gradient is the gradient of the cost")
    assert "Relative difference 3.21e-10, at most 5.4e-10 with the error bars" in unwrapped(text)
    assert "threshold 1e-07" in unwrapped(text)
    assert "more than 2.3e-08 (1.1e-06 of the median entry)" in unwrapped(text)
    assert "with probability 100 %" in unwrapped(text)
    assert text.splitlines()[-1].startswith("Next      Check again after some training")


def test_certainty_is_never_rounded_up() -> None:
    text = render(make_result(resolution=Resolution(1e-8, 1.0 - 1e-9, 1e-6)), width=100)
    assert "probability more than 99.9 %" in unwrapped(text)


def test_blocks_come_worst_first_and_nan_before_every_number() -> None:
    blocks = (
        make_block("fine", (2,)),
        make_block("bad", (2,), verdict=WRONG, relative_difference=0.1),
        make_block("unsure", (2,), verdict=UNDECIDED, relative_difference=0.9),
        make_block("unreached", (2,), verdict=UNDECIDED, checked=0, relative_difference=math.nan),
        make_block("unseen", (2,), verdict=SKIPPED, checked=0, relative_difference=math.nan),
        make_block("broken", (2,), verdict=WRONG, relative_difference=math.nan, limit=math.nan),
    )
    result = make_result(verdict=WRONG, blocks=blocks, components=make_components([], []))
    ordered = [block.name for block in content.blocks_worst_first(result)]
    assert ordered == ["broken", "bad", "unsure", "unreached", "fine", "unseen"]
    lines = render(result, width=100).splitlines()
    assert [
        line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in ordered
    ] == ordered
    assert next(line for line in lines if line.startswith("broken")).split()[-4:-2] == [
        "nan",
        "nan",
    ]
    assert next(line for line in lines if line.startswith("unseen")).endswith("SKIPPED")


def test_what_names_the_bug_is_told_before_all_notes() -> None:
    """Three blocks with equal entries leave three notes, and three findings are shown."""
    theta = {
        name: np.full((2, 2), value) for name, value in zip("abc", (1.0, 2.0, 3.0), strict=True)
    }
    result = gradcheck(
        lambda p: sum(float((x**3).sum()) for x in p.values()),
        lambda p: {name: 6 * x**2 for name, x in p.items()},
        theta,
        seed=0,
    )
    assert [finding.kind for finding in result.findings] == ["factor", *["symmetric"] * 3]
    assert [finding.rank for finding in result.findings] == [Rank.BUG, *[Rank.NOTE] * 3]
    text = unwrapped(render(result, width=100))
    assert "every entry is exactly 2 times the numeric one" in text
    assert "and 1 more: see the verbose report" in text


def test_findings_are_told_by_rank_and_else_in_their_order() -> None:
    kinds = {"a": Rank.NOTE, "b": Rank.LIMIT, "c": Rank.BUG, "d": Rank.LIMIT, "e": Rank.BUG}
    ordered = by_rank(Finding(kind, "", rank) for kind, rank in kinds.items())
    assert "".join(finding.kind for finding in ordered) == "cebda"


def test_worst_components_show_both_values_the_bar_ratio_and_relative_error() -> None:
    lines = render(make_wrong(), width=100).splitlines()
    row = next(line for line in lines if line.startswith("b1[3]")).split()
    assert row == [
        "b1[3]", "2.133333333", "0.06666666667", "1.0e-11", "32", "0.969", "WRONG",
    ]  # fmt: skip
    # The order is the result's own: W2[1, 2] is named worst though b1[3] is further off.
    shown = [line for line in lines if line.endswith(" WRONG") and "[" in line]
    assert shown[0].startswith("W2[1, 2]")


def test_both_sides_exactly_zero_is_agreement_and_nan_is_shown_plainly() -> None:
    components = make_components([0.0, math.nan], [0.0, 1.0], 0.0, [AGREES.code, WRONG.code])
    blocks = (make_block("w", (2,), verdict=WRONG, relative_difference=math.nan, wrong=1),)
    result = make_result(verdict=WRONG, blocks=blocks, components=components, wrong=("w[0]",))
    rows = {row.address: row for row in content.worst_rows(result, 5)}
    assert rows["w[0]"].relative_error == 0.0
    assert rows["w[0]"].ratio is None
    assert math.isnan(rows["w[1]"].relative_error)
    line = next(x for x in render(result, width=100).splitlines() if x.startswith("w[1]"))
    assert line.split() == ["w[1]", "nan", "1", "0", "nan", "nan", "WRONG"]


def test_numeric_values_lose_the_digits_that_their_bar_does_not_support() -> None:
    blocks = (make_block("w", (1,)),)
    result = make_result(
        blocks=blocks, components=make_components([0.5], [0.512345678901], 3e-4), size=1
    )
    assert "0.51235" in render(result, width=100)
    assert "0.512346" not in render(result, width=100)


def test_wrong_regions_are_listed_although_no_row_shows_them() -> None:
    assert "Wrong     W1[:, 3]" in render(make_wrong(wrong=("W1[:, 3]",)), width=100)
    assert "Wrong " not in render(make_wrong(), width=100)


def test_a_wrong_check_says_which_layer_to_mend_first() -> None:
    text = unwrapped(render(make_wrong(), width=100))
    assert "Look at W2 first: it is the last wrong block" in text
    assert text.endswith("Mend it and check again.")
    one = make_wrong().blocks[:2]
    text = unwrapped(render(make_wrong(blocks=one, wrong=("b1[3]",)), width=100))
    assert text.endswith("compute the gradient of b1, beginning with b1[3].")


def test_below_the_threshold_and_yet_wrong_is_explained() -> None:
    text = unwrapped(render(make_wrong(relative_difference=1e-9, limit=2e-9), width=100))
    assert "single components are off by more than rtol = 1e-05" in text


def test_an_undecided_check_ends_with_the_reason_of_each_block() -> None:
    reason = "J is computed in float32: the numeric side resolves 9e-4; use float64"
    blocks = tuple(
        make_block(f"W{i}", (2,), verdict=UNDECIDED, reason=reason, limit=0.1) for i in range(6)
    )
    result = make_result(verdict=UNDECIDED, blocks=blocks, components=make_components([], []))
    text = unwrapped(render(result, width=100))
    assert f"Next W0: {reason} W1: {reason} W2: {reason} 3 more undecided blocks" in text


def test_a_sample_says_how_to_check_everything() -> None:
    blocks = (make_block("W1", (26,), checked=5),)
    result = make_result(blocks=blocks, components=make_components(np.ones(5), np.ones(5)))
    assert 'To check everything: strategy="components" and no sample.' in render(result, width=100)
    assert "5 of 26" in render(result, width=100)
    blocks = (make_block("W1", (26,), checked=5, directions=8),)
    text = render(make_result(blocks=blocks, components=result.components), width=100)
    assert "To measure every component by itself" in text
    assert "all + 5" in text


@pytest.mark.parametrize("subject", ["Jacobian", "Hessian"])
def test_what_is_no_gradient_is_not_trained(subject: str) -> None:
    text = render(make_result(subject=subject), width=100)
    assert text.splitlines()[-1].startswith("Next      Check at another theta as well")


@pytest.mark.parametrize("kind", ["budget", "interrupted"])
def test_interrupted_says_how_to_go_on(kind: str) -> None:
    findings = (Finding(kind, "It was stopped."),)
    text = unwrapped(render(make_result(interrupted=True, findings=findings), width=100))
    assert "stopped before it was through" in text
    assert "checkpoint=path continues" in text
    assert ("a larger budget" in text) == (kind == "budget")
    assert "To check everything" not in text


def test_skipped_says_so_and_how_to_check_again() -> None:
    nothing = make_result(verdict=SKIPPED, blocks=(), components=make_components([], []), size=0)
    text = render(nothing, width=100)
    assert text.startswith("SKIPPED  Nothing was checked: FASTGRADCHECK=off is set.")
    assert "Unset the environment variable FASTGRADCHECK" in text
    assert "Cost" not in text


def test_nothing_measured_is_said() -> None:
    blocks = (make_block("w", (26,), verdict=UNDECIDED, checked=0),)
    result = make_result(verdict=UNDECIDED, blocks=blocks, components=make_components([], []))
    assert "Nothing was measured." in " ".join(render(result, width=100).split())


def test_a_screenful_unless_verbose() -> None:
    blocks = tuple(
        make_block(f"layers[{i}].weight", (1000, 300), verdict=WRONG, relative_difference=0.5)
        for i in range(60)
    )
    findings = tuple(Finding("factor", f"Finding {i}. " + "Long words. " * 15) for i in range(12))
    result = make_wrong(
        blocks=blocks, findings=findings, wrong=tuple(f"layers[{i}].weight" for i in range(60))
    )
    text = render(result, width=100)
    assert len(text.splitlines()) <= 40
    assert "and 52 blocks more, none worse" in text
    assert "and 9 more: see the verbose report" in text
    verbose = render(result, width=100, verbose=True)
    assert all(f"Finding {i}." in verbose for i in range(12))
    assert all(f"layers[{i}].weight" in verbose for i in range(60))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_width_and_are_ascii(width: int) -> None:
    text = render(make_wrong(), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert text.isascii()
    assert text == "\n".join(line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("width", [60, 68, 80, 99, 100])
def test_no_number_is_folded(width: int) -> None:
    components = make_components([-2.370138056e-10, 0.5], [-2.370138123e-3, 1.0], 1e-12, WRONG.code)
    blocks = (
        make_block("W1", (784, 1000), verdict=WRONG, wrong=784_000, relative_difference=1e-9),
    )
    result = make_wrong(blocks=blocks, components=components, wrong=("W1[0, 0]", "W1[0, 1]"))
    rows = render(result, width=width).splitlines()
    (block,) = (row for row in rows if row.startswith("W1  "))
    assert "784,000  WRONG" in block
    first, second = (row.split() for row in rows if row.startswith("W1[0, "))
    numbers = [row[2:6] for row in (first, second)]
    assert all(cell == f"{float(cell):.10g}" or "e" in cell for row in numbers for cell in row)
    for cell, truth in zip(
        numbers[0], (-2.370138056e-10, -2.370138123e-3, 1e-12, 1e-7), strict=True
    ):
        # Five digits at the least: half a unit of the fifth.
        assert float(cell) == pytest.approx(truth, rel=5e-5)


def test_colour_on_a_terminal_only() -> None:
    assert "\x1b[" in render(make_wrong(), color=True, width=100)
    assert "\x1b" not in render(make_wrong(), width=100)
    terminal, pipe = io.StringIO(), io.StringIO()
    show(make_wrong(), Console(file=terminal, force_terminal=True, color_system="standard"))
    show(make_wrong(), Console(file=pipe, width=100))
    assert "\x1b[1;31mWRONG" in terminal.getvalue()
    assert "\x1b" not in pipe.getvalue()


def test_names_are_no_markup() -> None:
    blocks = (make_block("[red]w[/red]", (26,)),)
    assert "[red]w[/red][0]" in render(make_result(blocks=blocks), width=100)


def test_print_of_a_result_is_the_report() -> None:
    assert str(make_wrong()).startswith("WRONG  The gradient is not the gradient of the cost.")


def test_a_million_components_render() -> None:
    text = render(make_large(), width=100)
    assert "1,000,000 of 1,000,000" in text


@pytest.mark.parametrize("width", [80, 100])
def test_long_addresses_are_broken_after_dots(width: int) -> None:
    name = "encoder.layers.3.attention.weight"
    blocks = (make_block(name, (26,), verdict=WRONG),)
    report = render(make_result(blocks=blocks, verdict=WRONG), width=width)
    firsts = [line.split()[0] for line in report.splitlines() if line.startswith("encoder")]
    assert firsts
    assert all(name.startswith(first.partition("[")[0]) for first in firsts)
    assert all(first.endswith((".", "]", name)) for first in firsts), firsts


class Key:
    """A key whose text would colour a terminal, and name its window."""

    def __repr__(self) -> str:
        return "\x1b[31mkey\x1b]0;title\x07\n\ud800"

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (Key(), r"theta[\x1b[31mkey\x1b]0;title\x07 \ud800]"),
        ("\x1b[31m", r"theta['\x1b[31m']"),
        ("\ud800", r"theta['\ud800']"),
        ("a\nb\r\0", r"theta['a\nb\r\x00']"),
        ("abc\u202efed", r"theta['abc\u202efed']"),
        ("<script>", "theta['<script>']"),
        ("日本", "日本"),
    ],
    ids=lambda value: ascii(value) if isinstance(value, str) else "object",
)
def test_names_are_clean_text_in_every_report(key: object, name: str) -> None:
    theta = {key: np.array([1.0, 2.0])}
    result = gradcheck(
        lambda t: float((t[key] ** 2).sum()), lambda t: {key: 3 * t[key]}, theta, seed=0
    )
    assert result.wrong == (f"{name}[1]", f"{name}[0]")
    for text in (str(result), repr(result), result.to_json(), result.to_html()):
        assert text == clean(text)
        text.encode()
    assert name[:8] in str(result)  # where it is long, its column is narrow
    assert json.loads(result.to_json())["wrong"][0] == f"{name}[1]"
    assert "<script>'" not in result.to_html()


def test_names_in_layout_are_printable() -> None:
    with pytest.raises(GradcheckInputError, match=r"layout\['\\x1b\[31m'\] is 2: .*be printable"):
        gradcheck(np.sum, np.ones_like, np.ones(2), layout={"\x1b[31m": 2})
