"""The report as one self-contained HTML page (extra ``plot`` for jinja2)."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgradcheck.report import content, numbers, pictures, svg, text
from fastgradcheck.report.outcome import Outcome

if TYPE_CHECKING:
    from jinja2 import Template


# What keeps the page small: a reader looks at the worst, the JSON holds the rest.
_POINTS, _SIDE, _MAPS, _CURVES = 1_500, 48, 6, 2


_BLOCKS, _COMPONENTS, _FINDINGS, _REASONS = 200, 15, 20, 20


def to_html(result: Outcome, path: str | Path | None = None) -> str:
    """The report as a page that opens offline.

    Parameters
    ----------
    result : Outcome
    path : str or Path, optional
        Where to write it as well, in UTF-8.

    Returns
    -------
    str
        The page: no script, nothing loaded from elsewhere, all names and texts escaped.

    Raises
    ------
    ImportError
        If jinja2 is not installed.
    """
    page = _template("page.html").render(_values(result))
    if path is not None:
        Path(path).write_text(page, encoding="utf-8")
    return page


def fragment(result: Outcome) -> str:
    """The report for a notebook's output cell; plain text where jinja2 is not installed."""
    try:
        template = _template("fragment.html")
    except ImportError:
        return f"<pre>{escape(text.render(result))}</pre>"
    return template.render(_values(result))


@cache
def _template(name: str) -> Template:
    try:
        from jinja2 import DictLoader, Environment, StrictUndefined
    except ImportError as error:
        raise ImportError(
            "An HTML report needs jinja2, which is not installed: "
            "pip install 'fastgradcheck[plot]'. The text report and to_json() work without."
        ) from error
    folder = resources.files("fastgradcheck.report") / "templates"
    sources = {
        entry.name: entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith((".html", ".css"))
    }
    environment = Environment(
        loader=DictLoader(sources),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(name)


def _values(result: Outcome) -> dict[str, Any]:
    """All that the template names."""
    from markupsafe import Markup

    blocks = content.blocks_worst_first(result)
    rows = content.worst_rows(result, _COMPONENTS)
    curves = [
        pictures.curve(result, sweep, content.index(result.blocks, sweep.address))
        for sweep in result.sweeps[:_CURVES]
    ]
    maps = pictures.heat_maps(result, _MAPS, _SIDE)
    drawn = [(curve.sweep.address, svg.curve(curve)) for curve in curves]
    return {
        "result": result,
        "details": content.details(result),
        "blocks": blocks[:_BLOCKS],
        "more_blocks": max(0, len(blocks) - _BLOCKS),
        "rows": rows,
        "wrong": content.wrong_line(result, _COMPONENTS, rows),
        "findings": result.findings[:_FINDINGS],
        "more_findings": max(0, len(result.findings) - _FINDINGS),
        "cost": content.cost_line(result),
        "next_steps": content.next_steps(result, _REASONS),
        "scatter": Markup(svg.scatter(pictures.points(result, _POINTS))),
        "maps": [(heat.block, Markup(svg.heat(heat))) for heat in maps],
        "legend": Markup(svg.heat_legend()),
        "curves": [(address, Markup(picture)) for address, picture in drawn if picture],
        "measured": content.measured,
        "shape": text.shape,
        "covered": text.covered,
        "numbers": numbers,
    }
