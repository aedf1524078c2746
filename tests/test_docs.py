"""What the README and the documentation show is what happens."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from studies import tables
from tests.cases import documents

README = documents.ROOT / "README.md"
DOCS = documents.ROOT / "docs"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in; a check is not switched off."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTGRADCHECK", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


@pytest.mark.parametrize(
    "path", documents.paths(), ids=lambda path: str(path.relative_to(documents.ROOT))
)
def test_document_runs(path: Path, here: Path) -> None:
    CLAIMS.get(path.stem, lambda run: None)(documents.run(path))


def readme(run: documents.Run) -> None:
    assert run.snapshots[0]["result"].wrong == ("b",)
    textbook(run.names)


def textbook(names: dict[str, Any]) -> None:
    # 3 + 0.01^2 and 3 + 3 * 0.01 + 0.01^2; rounding: eps / 0.01, a few times over.
    assert names["two_sided"] == pytest.approx(3.0001, rel=0, abs=1e-12)
    assert names["one_sided"] == pytest.approx(3.0301, rel=0, abs=1e-12)
    numeric = names["numeric"]
    assert abs(numeric.value[0] - 3) <= numeric.error[0] < 3e-12


CLAIMS = {"README": readme}


def test_textbook_numbers_are_arithmetic() -> None:
    text = README.read_text("utf-8")
    ahead, behind, epsilon = 1.01**3, 0.99**3, 0.01
    for number in (
        f"J⁺ = J(θ⁺) = {ahead:.6f}",
        f"J⁻ = J(θ⁻) = {behind:.6f}",
        f"2ε = **{(ahead - behind) / (2 * epsilon):.4f}**",
        f"ε = **{(ahead - 1) / epsilon:.4f}**",
    ):
        assert number in text


def test_every_page_is_in_the_navigation() -> None:
    listed = (documents.ROOT / "mkdocs.yml").read_text("utf-8")
    pages = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")]
    assert [page for page in pages if f": {page}" not in listed] == []


def test_nothing_is_loaded_from_elsewhere() -> None:
    """Neither the theme nor a page has a script, a font, a picture or a formula of another site."""
    settings = (documents.ROOT / "mkdocs.yml").read_text("utf-8")
    assert "http" not in settings
    assert "\n  font: false" in settings
    for page in (README, *DOCS.rglob("*.md"), *DOCS.rglob("*.css"), DOCS / "report.html"):
        text = page.read_text("utf-8")
        assert not re.search(r"!\[[^]]*\]\(\s*http|<script|<link|src=|url\(|@import", text), page


def test_every_public_name_is_in_the_reference() -> None:
    listed = re.findall(r"^::: ([\w.]+)$", (DOCS / "reference.md").read_text("utf-8"), re.MULTILINE)
    public = {f"fastgradcheck.{name}" for name in fgc.__all__ if not name.startswith("__")}
    assert public - set(listed) == set()
    assert len(listed) == len(set(listed))
    for name in listed:
        module, _, attribute = name.rpartition(".")
        if module != "fastgradcheck.torch":
            assert getattr(importlib.import_module(module), attribute).__doc__


@pytest.mark.parametrize("name", [name for name in fgc.__all__ if not name.startswith("__")])
def test_every_parameter_is_described(name: str) -> None:
    """A line of its own, or one for several, with a text below it."""
    thing = getattr(fgc, name)
    if not (inspect.isfunction(thing) or dataclasses.is_dataclass(thing)):
        return
    documented = {}
    for parent in reversed(inspect.getmro(thing) if inspect.isclass(thing) else (thing,)):
        for names, text in _ENTRY.findall(inspect.cleandoc(parent.__doc__ or "")):
            documented |= dict.fromkeys(re.findall(r"\w+", names), text.strip())
    told = set(inspect.signature(thing).parameters)
    assert {p for p in told if p not in documented} == set()
    if inspect.isfunction(thing):
        assert [p for p in told if not documented[p]] == []


_ENTRY = re.compile(r"^([*\w]+(?:, [*\w]+)*)(?: : [^\n]*)?((?:\n    [^\n]+)*)", re.MULTILINE)


def test_measured_tables_are_in_their_place(tmp_path: Path) -> None:
    text = tables.PAGE.read_text("utf-8")
    for name in ("bars", "corpus", "stairs", "diagnosis"):
        measured = text.split(f"<!-- {name} -->")[1].split(f"<!-- end of {name} -->")[0]
        assert len(measured.strip().splitlines()) > 5
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- n -->\nold\n<!-- end of n -->\nb\n", "utf-8")
    tables.write("n", tables.table(["x"], [[1]]), page)
    expected = "a\n<!-- n -->\n\n| x |\n| --- |\n| 1 |\n\n<!-- end of n -->\nb\n"
    assert page.read_text("utf-8") == expected
    with pytest.raises(ValueError, match="has no place for other"):
        tables.write("other", "", page)


def written(folder: Path, text: str) -> Path:
    path = folder / "page.md"
    path.write_text(text, "utf-8")
    return path


def test_a_block_that_raises_is_found(here: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        documents.run(written(here, "```python\n1 / 0\n```\n"))


def test_an_output_that_is_not_printed_is_found(here: Path) -> None:
    page = "```python\nprint('AGREES', 'in 1.5 s')\n```\n\n```text\n{} in 33 ms\n```\n"
    documents.run(written(here, page.format("AGREES")))
    with pytest.raises(AssertionError, match=r"line 1 shows what is not printed: \{'WRONG': 1\}"):
        documents.run(written(here, page.format("WRONG")))


def test_writing_puts_the_real_output_in_place(here: Path) -> None:
    page = "```python\nprint(1 + 1)\n```\n\n```text\nthree\n```\n\nThe end.\n"
    documents.write(written(here, page))
    assert (here / "page.md").read_text("utf-8") == page.replace("three", "2")
    documents.run(here / "page.md")


def test_a_command_with_another_exit_code_is_found(here: Path) -> None:
    page = (
        '```python title="gone.py"\nimport sys; sys.exit(3)\n```\n'
        "```sh\npip install nothing\npython gone.py  # exit code {}\n```\n"
    )
    documents.run(written(here, page.format(3)))
    with pytest.raises(AssertionError, match="returned 3, not 1"):
        documents.run(written(here, page.format(1)))


def test_a_block_is_passed_over_where_its_package_is_missing(here: Path) -> None:
    page = "<!-- needs: {} -->\n```python\nfound = True\n```\n"
    assert "found" in documents.run(written(here, page.format("numpy"))).names
    assert "found" not in documents.run(written(here, page.format("no_such_package"))).names
    page = page.replace("needs: {}", "not run: it needs a cluster")
    assert "found" not in documents.run(written(here, page)).names


def test_noise_of_the_last_digits_is_no_difference() -> None:
    numbers = np.array([1.25e-9, 3.5e-10])
    rows = "W1[{}]  {}  1  AGREES\nWrong  W2[0, 1]"
    assert documents.words(rows.format("3, 5", numbers[0])) == documents.words(
        rows.format("1", numbers[1])
    )
    assert documents.words(rows) != documents.words(rows.replace("W2[0, 1]", "W2[0, 2]"))
