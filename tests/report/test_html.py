"""The HTML report: self-contained, escaped, small and complete."""

from __future__ import annotations

import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fastgradcheck.problem.finding import Finding
from fastgradcheck.report import content, html
from fastgradcheck.report.html import fragment, to_html
from fastgradcheck.report.outcome import Origin, Sweep
from tests.cases.results import (
    SKIPPED,
    UNDECIDED,
    WRONG,
    make_block,
    make_components,
    make_large,
    make_result,
    make_wrong,
)

VOID = {"meta", "link", "br", "img", "wbr"}


class Reader(HTMLParser):
    """Collects tags and text, and insists on balanced tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    @property
    def said(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_the_page_tells_what_the_text_tells() -> None:
    said = Reader(to_html(make_wrong())).said
    for part in (
        "WRONG The gradient is not the gradient of the cost. Relative difference 0.73",
        "b1: every entry is 32 times the numeric one.",
        "Look at W2 first",
        "W2[1, 2] WRONG -0.2533333333 0.2533333334 1.0e-11 -1 2",
        "All 26 components were checked.",
        "52 evaluations of J in 1.23 s",
        "seed=42",
    ):
        assert part in said


def test_the_page_is_self_contained() -> None:
    page = to_html(make_wrong())
    reader = Reader(page)
    assert {"script", "link", "img", "iframe"}.isdisjoint(tag for tag, _ in reader.tags)
    attributes = {name for _, attrs in reader.tags for name in attrs}
    assert attributes.isdisjoint({"src", "href", "onload", "onclick"})
    assert "http" not in page
    assert "url(" not in page
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in (
        reader.tags
    )


def test_names_and_texts_are_escaped_everywhere() -> None:
    name = "<script>alert('&\"')</script>"
    result = make_wrong(
        blocks=(make_block(name, (2, 13), verdict=WRONG),),
        wrong=(f"{name}[0, 0]", f"{name}[:, 3]"),
        findings=(Finding("factor", f"{name}: twice <b>"),),
        coverage=name,
        engine=name,
        sweeps=(Sweep(f"{name}[0, 0]", np.array([1e-3, 1e-5]), np.array([1.0, 2.0]), 1.5, 0.1),),
    )
    for page in (to_html(result), fragment(result)):
        assert "<script" not in page
        assert "<b>" not in page
        reader = Reader(page)
        assert reader.said.count("<script>alert('&\"')</script>") >= 8
        assert "script" not in {tag for tag, _ in reader.tags}


def test_the_page_is_written_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    blocks = (make_block("Gewichte_ü", (26,)),)
    page = make_result(blocks=blocks).to_html(path)
    assert path.read_text(encoding="utf-8") == page
    assert "Gewichte_ü" in page


@pytest.mark.parametrize(
    "result",
    [
        make_result(),
        make_result(verdict=SKIPPED, blocks=(), components=make_components([], [])),
        make_result(
            verdict=UNDECIDED,
            blocks=(make_block("w", (26,), verdict=UNDECIDED, limit=math.inf, reason="noise"),),
            components=make_components([math.nan, 0.0], [math.inf, 0.0], 0.0),
        ),
        make_result(
            blocks=(make_block("w", (26,), checked=0),), components=make_components([], [])
        ),
        make_result(blocks=(make_block("c", ()),), components=make_components([1.0], [1.0])),
    ],
    ids=["agrees", "skipped", "non-finite", "unmeasured", "scalar"],
)
def test_every_kind_of_result_renders(result: object) -> None:
    said = Reader(to_html(result)).said  # type: ignore[arg-type]
    assert content.sentence(result) in said  # type: ignore[arg-type]


ORIGIN = Origin("cost (model.py, line 3)", "grad (model.py, line 9)", "2026-03-01 12:34 UTC", "1.2")


def test_the_head_says_what_was_checked_and_when() -> None:
    said = Reader(to_html(make_wrong(origin=ORIGIN))).said
    head = said.split("Relative difference")[0]
    assert "grad (model.py, line 9) against cost (model.py, line 3); 2026-03-01 12:34 UTC" in head
    assert "fastgradcheck 1.2" in head
    assert "against" not in Reader(to_html(make_wrong())).said.split("Relative")[0]


def test_many_agreeing_blocks_are_folded_and_a_wrong_one_never_is() -> None:
    agreeing = tuple(make_block(f"layers[{i}].W", (3, 3)) for i in range(40))
    wrong = tuple(make_block(f"w{i}", (3,), verdict=WRONG) for i in range(20))
    page = to_html(make_result(blocks=agreeing + wrong))
    before, folded = page.split("<details>")
    folded = folded.split("</details>")[0]
    assert "34 more blocks, none worse" in folded
    assert all(f">{block.name}</td>" in before for block in wrong)
    assert before.count("layers[") == 6
    assert folded.count("layers[") == 34
    assert "<details>" not in to_html(make_result(blocks=agreeing[:12]))


def test_numbers_and_places_are_never_broken() -> None:
    finding = Finding("x", "At W2[3, 5] of (12, 8) the bar is 1.5e-07, <b> 3e+200.")
    page = to_html(make_wrong(findings=(finding,)))
    for part in ("W2[3, 5]", "(12, 8)", "1.5e-07", "3e+200"):
        assert f'<span class="whole">{part}</span>' in page
    assert ".whole { white-space: nowrap; }" in page
    name = make_block("encoder.layers.3.weight", (2,))
    assert ">encoder.<wbr>layers.<wbr>3.<wbr>weight</td>" in to_html(make_result(blocks=(name,)))


def test_a_narrow_page_says_that_a_table_goes_on() -> None:
    narrow = to_html(make_wrong()).split("@container (max-width: 700px)")[1]
    assert 'content: "The table goes on to the right: slide it."' in narrow


def test_a_million_parameters_stay_small() -> None:
    page = to_html(make_large())
    assert len(page.encode()) < 2_000_000


def test_many_blocks_and_findings_are_cut_with_a_count() -> None:
    blocks = tuple(make_block(f"layers[{i}].W", (3, 3)) for i in range(250))
    findings = tuple(Finding("kink", f"Finding {i}.") for i in range(30))
    said = Reader(to_html(make_result(blocks=blocks, findings=findings))).said
    assert "and 50 blocks more, none worse" in said
    assert "and 10 more" in said


def test_without_jinja2_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    html._template.cache_clear()
    with pytest.raises(ImportError, match=re.escape("pip install 'fastgradcheck[plot]'")):
        to_html(make_result())
    assert fragment(make_result()).startswith("<pre>AGREES  The gradient is the gradient")
    html._template.cache_clear()
