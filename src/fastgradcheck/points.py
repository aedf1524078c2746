"""The results of one gradient at several points, or of several gradients at one."""

from __future__ import annotations

from fastgradcheck.report import content
from fastgradcheck.report.numbers import count, short
from fastgradcheck.result import GradcheckResult
from fastgradcheck.table import Table


class Points(dict[str, GradcheckResult]):
    """A dict of name to `GradcheckResult`; ``print`` shows it as a table.

    True only if there is a result and all of them agree, as `GradcheckResult` is.
    """

    _first = "point"

    def __bool__(self) -> bool:
        return len(self) > 0 and all(map(bool, self.values()))

    def __repr__(self) -> str:
        said = ", ".join(f"{name}: {content.title(result)}" for name, result in self.items())
        return f"<Points {said}>"

    def __str__(self) -> str:
        return str(self._table())

    def _repr_html_(self) -> str:
        return self._table().html()

    def _table(self) -> Table:
        titles = self._first, "verdict", "wrong", "relative difference", "at most", "evaluations"
        rows = (
            (
                name,
                content.title(result),
                content.named_wrong(result) or "-",
                short(result.relative_difference),
                short(result.limit),
                count(result.evaluations),
            )
            for name, result in self.items()
        )
        return Table(titles, tuple(rows), words=3)


class Comparison(Points):
    """The same of several gradients, Jacobians or Hessians at one theta."""

    def __init__(self, kind: str = "gradient") -> None:
        super().__init__()
        self._first = kind
