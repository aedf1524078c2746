"""The tour: its gradients are right, its checks come out as told, its messages help."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from fastgradcheck.cli import demo
from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.verdict.verdict import Verdict

pytestmark = pytest.mark.xdist_group("demo")  # one process compiles the network, once


def test_tour_comes_out_as_told(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=100)
    assert demo.main(console, tmp_path / "new" / "build") == 0
    text = console.file.getvalue()
    assert text.count("Learnt:") == 5
    assert "compiled by Numba and trained: some seconds" in text.split("1. Back-propagation")[0]
    assert "5 stops; the checks came out as they should" in text
    summary = text.split("Summary")[1].splitlines()
    lines = [line.split() for line in summary if line.strip()]
    rows = [line for line in lines if line[0].rstrip(".").isdecimal() and line[1] != "stops;"]
    assert [row[0] for row in rows] == ["1.", "2.", "3.", "4.", "5."]
    assert "WRONG b1 " in " ".join(rows[1])
    assert "WRONG W2[123, 45] 1,043,826" in " ".join(rows[4])
    (rest,) = (float(line[-1]) for line in lines if line[0] == "data,")
    (whole,) = (float(line[-1]) for line in lines if line[0] == "all")
    assert whole == pytest.approx(sum(float(row[-1]) for row in rows) + rest)
    assert "W2[123, 45]" in text
    files = {path.name: path for path in (tmp_path / "new" / "build").iterdir()}
    pictures = {"scatter.png", "heatmap.png", "steps.png", "secant.png"}
    assert set(files) == {"report.html", *pictures}
    assert "b1" in files["report.html"].read_text("utf-8")
    assert all(files[name].read_bytes().startswith(b"\x89PNG") for name in pictures)


def test_a_check_that_comes_out_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    first = demo.tour()[-1]
    surprised = demo.Stop(first.title, first.intro, first.check, Verdict.WRONG, first.lesson)
    monkeypatch.setattr(demo, "tour", lambda: [surprised])
    console = Console(file=io.StringIO(), width=100)
    assert demo.main(console) == 1
    assert "Expected WRONG: this is a bug of fastgradcheck." in console.file.getvalue()


def test_the_wrong_address_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = replace(demo.tour()[1], named=("W1[0, 1]",))
    monkeypatch.setattr(demo, "tour", lambda: [elsewhere])
    console = Console(file=io.StringIO(), width=100)
    assert demo.main(console) == 1
    assert "Expected WRONG W1[0, 1]: this is a bug" in console.file.getvalue()


def test_missing_jinja2_is_told_before_the_tour(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(GradcheckInputError, match=r"need jinja2.*'fastgradcheck\[demo\]'"):
        demo.main(Console(file=io.StringIO()), tmp_path / "build")


def test_a_file_in_the_folders_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "build").write_text("")
    with pytest.raises(GradcheckInputError, match="build cannot be used as a folder"):
        demo.main(Console(file=io.StringIO()), tmp_path / "build")


def test_missing_scikit_learn_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(GradcheckInputError, match=r"pip install 'fastgradcheck\[demo\]'"):
        demo.main(Console(file=io.StringIO()))
