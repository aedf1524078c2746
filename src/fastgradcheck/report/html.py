"""The report as one self-contained HTML page (extra ``plot`` for jinja2)."""

from __future__ import annotations

import re
from functools import cache
from html import escape
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastgradcheck.report import content, numbers, pictures, svg, text
from fastgradcheck.report.outcome import Outcome
from fastgradcheck.verdict.verdict import BlockResult, Verdict

if TYPE_CHECKING:
    from jinja2 import Template
    from markupsafe import Markup


# What keeps the page small: a reader looks at the worst, the JSON holds the rest.
_POINTS, _SIDE, _MAPS, _CURVES = 1_500, 40, 6, 2


_BLOCKS, _COMPONENTS, _FINDINGS, _REASONS = 200, 15, 20, 20


# Of blocks that agree so many are in sight; a few more are not worth a fold.
_AGREEING = 6


# Numbers and the places in addresses, which browsers would break at a hyphen or a blank.
_WHOLE = re.compile(r"\d[\d.,]*e[+-]\d+|\w*\[[\d:, ]+\]|\([\d, ]+\)")


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
    environment.filters["whole"] = _whole
    environment.filters["address"] = _address
    return environment.get_template(name)


def _whole(text: str) -> Markup:
    """The text, escaped, with nothing broken inside a number or an address."""
    from markupsafe import Markup

    marked = _WHOLE.sub(r'<span class="whole">\g<0></span>', escape(text))
    return Markup(marked)


def _address(text: str) -> Markup:
    """An address that may be broken after its dots, and nowhere else unless it must."""
    from markupsafe import Markup

    return Markup(str(_whole(text)).replace(".", ".<wbr>"))


def _values(result: Outcome) -> dict[str, Any]:
    """All that the template names."""
    from markupsafe import Markup

    blocks = content.blocks_worst_first(result)
    open_blocks = _in_sight(blocks)
    rows = content.worst_rows(result, _COMPONENTS)
    curves = [
        pictures.curve(result, sweep, content.index(result.blocks, sweep.address))
        for sweep in result.sweeps[:_CURVES]
    ]
    maps = pictures.heat_maps(result, _MAPS, _SIDE)
    drawn = [(curve.sweep.address, svg.curve(curve)) for curve in curves]
    return {
        "result": result,
        "checked": content.checked_line(result),
        "scope": content.scope(result),
        "sentence": content.sentence(result),
        "details": content.details(result),
        "blocks": blocks[:open_blocks],
        "folded": blocks[open_blocks:_BLOCKS],
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
        "wrong_count": content.wrong_count,
        "shape": text.shape,
        "covered": text.covered,
        "numbers": numbers,
        "colors": pictures.COLORS,
        "numeric": pictures.NUMERIC,
        "claim": pictures.CLAIM,
    }


def _in_sight(blocks: tuple[BlockResult, ...]) -> int:
    """How many of the blocks, worst first, are shown; the others agree, and are folded away."""
    bad = sum(block.verdict is not Verdict.AGREES for block in blocks)
    agreeing = len(blocks) - bad
    return min(_BLOCKS, bad + (agreeing if agreeing <= 2 * _AGREEING else _AGREEING))
