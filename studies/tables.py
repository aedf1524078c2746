"""Measured tables in the documentation, each between two markers that name it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "how-it-decides.md"


def with_tests() -> None:
    """Let the collections that the tests use be imported: they import nothing of the package."""
    sys.path.insert(0, str(ROOT / "tests"))


def table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A markdown table; columns after the first are set to the right.

    Examples
    --------
    >>> print(table(["what", "n"], [["a", 1]]))
    | what | n |
    | --- | ---: |
    | a | 1 |
    """
    lines = [titles, ["---", *["---:"] * (len(titles) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def write(name: str, text: str, page: Path = PAGE) -> None:
    """Put a text between ``<!-- name -->`` and ``<!-- end of name -->`` of a page.

    Raises
    ------
    ValueError
        If the page lacks a marker.
    """
    content = page.read_text("utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    if begin not in content or end not in content:
        raise ValueError(f"{page} has no place for {name}: it needs the lines {begin}{end}")
    before, rest = content.split(begin, 1)
    after = rest.split(end, 1)[1]
    page.write_text(f"{before}{begin}\n{text}\n\n{end}{after}", "utf-8")
