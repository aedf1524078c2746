"""Formulas as MathML, when the site is built: a page loads no script to show them."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert

_FORMULA = re.compile(r'<(div|span) class="arithmatex">\\[\[(](.*?)\\[\])]</\1>', re.DOTALL)


def on_page_content(html: str, **_: Any) -> str:
    """Replace what pymdownx.arithmatex marked; MkDocs calls this for every page."""
    return _FORMULA.sub(_mathml, html)


def _mathml(match: re.Match[str]) -> str:
    kind, tex = match.groups()
    display = "block" if kind == "div" else "inline"
    return f'<{kind} class="formula">{convert(unescape(tex), display=display)}</{kind}>'
