"""A table as text and as HTML: what `print` and a notebook show of a list of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_CELL = 'style="text-align: {}; padding: .1rem .6rem"'


@dataclass(frozen=True)
class Table:
    """Titles and rows; what begins with a word goes to the left, numbers go to the right.

    Attributes
    ----------
    titles : tuple of str
    rows : tuple of tuple of str
    words : int
        So many of the first columns hold words.

    Examples
    --------
    >>> print(Table(("point", "wrong"), (("init", "0"), ("trained", "12")), 1))
    point    wrong
    init         0
    trained     12
    """

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1

    def __str__(self) -> str:
        lines = (self.titles, *self.rows)
        wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(self._line(line, wide) for line in lines)

    def _line(self, cells: Sequence[str], wide: Sequence[int]) -> str:
        padded = (
            cell.ljust(width) if place < self.words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, wide, strict=True))
        )
        return "  ".join(padded).rstrip()

    def html(self) -> str:
        """The table for a notebook's output cell; its texts are escaped."""
        head = self._cells("th", self.titles)
        body = "".join(f"<tr>{self._cells('td', row)}</tr>" for row in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def _cells(self, tag: str, cells: Sequence[str]) -> str:
        sides = ("left" if place < self.words else "right" for place in range(len(cells)))
        return "".join(
            f"<{tag} {_CELL.format(side)}>{escape(cell)}</{tag}>"
            for side, cell in zip(sides, cells, strict=True)
        )
