"""Small pictures as inline SVG: no library, no script, a few kilobytes each.

Colours of lines and text come from the page's style sheet, so that they follow its light or dark
scheme; every piece of text is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.report import pictures
from fastgradcheck.report.numbers import bar, short
from fastgradcheck.verdict.verdict import Verdict

_WIDTH, _HEIGHT = 420, 320


_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 12, 14, 42


# Ten steps of viridis, from 1e-10 (dark) to 1 (light).
HEAT_COLORS = (
    "#440154", "#482878", "#3e4989", "#31688e", "#26828e",
    "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725",
)  # fmt: skip


# A square plot: equal scales put the line of equality at 45 degrees.
_SQUARE = _WIDTH - _LEFT - _RIGHT + _TOP + _BOTTOM


# A heat map, without its margins.
_HEAT_WIDTH, _HEAT_HEIGHT, _STRIP = 360.0, 300.0, 36.0


@dataclass(frozen=True)
class _Frame:
    """Maps data coordinates, within these limits, to the drawing's, and draws the axes."""

    x: tuple[float, float]
    y: tuple[float, float]
    height: float = _HEIGHT

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The drawing's coordinates of a point."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            round(_LEFT + across * (_WIDTH - _LEFT - _RIGHT), 1),
            round(self.height - _BOTTOM - up * (self.height - _TOP - _BOTTOM), 1),
        )

    def line(self, start: tuple[float, float], end: tuple[float, float], kind: str) -> str:
        """A straight line between two points."""
        (x1, y1), (x2, y2) = self.at(*start), self.at(*end)
        return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'

    def axes(
        self,
        x_label: str,
        y_label: str,
        x_ticks: Iterable[tuple[float, str]],
        y_ticks: Iterable[tuple[float, str]],
    ) -> str:
        """Frame, ticks and labels."""
        parts = [
            f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{_WIDTH - _LEFT - _RIGHT}" '
            f'height="{self.height - _TOP - _BOTTOM}"/>'
        ]
        for value, text in x_ticks:
            x, _ = self.at(value, self.y[0])
            parts.append(_text(x, self.height - _BOTTOM + 15, text, "middle"))
        for value, text in y_ticks:
            _, y = self.at(self.x[0], value)
            parts.append(_text(_LEFT - 6, y + 4, text, "end"))
        parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, self.height - 6, x_label, "middle"))
        middle = (_TOP + self.height - _BOTTOM) / 2
        turn = f' transform="rotate(-90 12 {middle})"'
        parts.append(_text(12, middle, y_label, "middle", turn))
        return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _svg(width: float, height: float, title: str, body: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{body}</svg>"
    )


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Four or so round numbers between two limits."""
    step = 10.0 ** math.floor(math.log10((high - low) / 2.0))
    for multiple in (1.0, 2.0, 5.0, 10.0):
        if (high - low) / (multiple * step) <= 5.0:
            step *= multiple
            break
    first, last = math.ceil(low / step), math.floor(high / step)
    return [(k * step, short(k * step)) for k in range(first, last + 1)]


def _decades(low: float, high: float) -> list[tuple[float, str]]:
    """Powers of ten between two logarithms, at most six or so."""
    every = max(1, math.ceil((high - low) / 6.0))
    first = math.ceil(low / every) * every
    return [(float(k), f"1e{k}") for k in range(first, math.floor(high) + 1, every)]


def scatter(points: pictures.Points) -> str:
    """Analytic against numeric on equal scales, with the line on which they are equal."""
    if not len(points.numeric):
        return ""
    reach, linear = points.reach, points.linear
    edge = float(pictures.symlog(np.array(reach), linear))
    frame = _Frame((-edge, edge), (-edge, edge), _SQUARE)
    if linear == reach:
        ticks = [value for value, _ in _ticks(-reach, reach)]
    else:
        ticks = pictures.symlog_ticks(linear, reach)
    places = pictures.symlog(np.array(ticks), linear).tolist()
    marks = list(zip(places, map(short, ticks), strict=True))
    body = [
        frame.axes("numeric", "analytic", marks, marks),
        frame.line((-edge, -edge), (edge, edge), "equal"),
    ]
    if points.factor is not None:
        body += [_proportional(frame, points.factor, reach, linear)]
        x, y = frame.at(-edge, edge)
        body.append(_text(x + 8, y + 16, f"dashed: slope {points.factor:.4g}", "start"))
    across, up = (pictures.symlog(v, linear) for v in (points.numeric, points.analytic))
    for verdict in (Verdict.AGREES, Verdict.UNDECIDED, Verdict.WRONG):
        mine = points.verdict == verdict.code
        pairs = zip(across[mine].tolist(), up[mine].tolist(), strict=True)
        body += [_mark(*frame.at(x, y), verdict) for x, y in pairs]
    return _svg(_WIDTH, _SQUARE, "Analytic against numeric derivative", "".join(body))


def _proportional(frame: _Frame, slope: float, reach: float, linear: float) -> str:
    """The graph of y = slope x, within the frame."""
    drawn = []
    for x in pictures.straight(slope, reach, linear):
        across, up = pictures.symlog(x, linear), pictures.symlog(slope * x, linear)
        start, end = zip(across.tolist(), up.tolist(), strict=True)
        drawn.append(frame.line(start, end, "fit"))
    return "".join(drawn)


def _mark(x: float, y: float, verdict: Verdict) -> str:
    """A cross for what is wrong, a square or a dot for the rest: told apart without colour."""
    if verdict is Verdict.WRONG:
        return f'<path class="wrong" d="M{x - 3:.1f} {y - 3:.1f}l6 6m0-6l-6 6"/>'
    if verdict is Verdict.UNDECIDED:
        return f'<path class="undecided" d="M{x - 2.5:.1f} {y - 2.5:.1f}h5v5h-5z"/>'
    return f'<circle class="agrees" cx="{x}" cy="{y}" r="2.6"/>'


def curve(v: pictures.Curve) -> str:
    """Error against step, both logarithmic, with the chosen step and the bar."""
    good = np.isfinite(v.errors) & (v.errors > 0.0) & (v.sweep.steps > 0.0)
    if good.sum() < 2:
        return ""
    steps, errors = np.log10(v.sweep.steps[good]), np.log10(v.errors[good])
    levels = [
        (math.log10(level), kind, text)
        for level, kind, text in (
            (v.sweep.error, "bar", f"bar {bar(v.sweep.error)}"),
            (v.analytic or 0.0, "away", f"analytic is {short(v.analytic or 0.0)} away"),
        )
        if 0.0 < level < math.inf
    ]
    heights = [*errors.tolist(), *(level for level, _, _ in levels)]
    frame = _Frame(
        (float(steps.min()) - 0.3, float(steps.max()) + 0.3),
        (min(heights) - 0.6, max(heights) + 0.9),
    )
    body = [frame.axes("step", "error", _decades(*frame.x), _decades(*frame.y))]
    for level, kind, text in levels:
        body.append(frame.line((frame.x[0], level), (frame.x[1], level), kind))
        # At opposite ends, so that they stay apart where the levels do not.
        right = kind == "bar"
        x, y = frame.at(frame.x[1] if right else frame.x[0], level)
        body.append(_text(x - 6 if right else x + 6, y - 5, text, "end" if right else "start"))
    places = [frame.at(x, y) for x, y in zip(steps.tolist(), errors.tolist(), strict=True)]
    path = "L".join(f"{x} {y}" for x, y in places)
    body.append(f'<path class="curve" d="M{path}"/>')
    body += [f'<circle class="step" cx="{x}" cy="{y}" r="2.6"/>' for x, y in places]
    if good[v.chosen]:
        x, y = places[int(good[: v.chosen].sum())]
        body.append(f'<path class="chosen" d="M{x} {y - 8:.1f}l8 8l-8 8l-8 -8z"/>')
    return _svg(_WIDTH, _HEIGHT, f"Error against step for {v.sweep.address}", "".join(body))


def heat(heat_map: pictures.Heat) -> str:
    """The block as a matrix of colours with its axes; each cell says its value on hover."""
    rows, columns = heat_map.cells.shape
    levels = _levels(heat_map.cells)
    wide = _HEAT_WIDTH / columns
    high = min(max(wide, 14.0), _HEAT_HEIGHT / rows) if rows > 1 else _STRIP
    height = high * rows
    body = [f'<rect class="unmeasured" width="{_HEAT_WIDTH:g}" height="{height:.6g}"/>']
    # Cells are unit squares; a transform scales them, so that the paths stay short.
    scale = f'transform="scale({wide:.6g} {high:.6g})"'
    for level, color in enumerate(HEAT_COLORS):
        cells = zip(*(axis.tolist() for axis in np.nonzero(levels == level)), strict=True)
        drawn = "".join(
            f'<path d="M{column} {row}h1v1h-1z">'
            f"<title>{escape(heat_map.told(row, column))}</title></path>"
            for row, column in cells
        )
        if drawn:
            body.append(f'<g class="cells" fill="{color}" {scale}>{drawn}</g>')
    body += [
        _text(place, height + 15, text, "middle")
        for place, text in _counted(heat_map.columns, _HEAT_WIDTH)
    ]
    what = "column" if heat_map.rows > 1 else "entry"
    body.append(_text(_HEAT_WIDTH / 2, height + 32, what, "middle"))
    if heat_map.rows > 1:
        marks = _counted(heat_map.rows, height)
        body += [_text(-6, place + 4, text, "end") for place, text in marks]
        turn = f' transform="rotate(-90 {12 - _LEFT} {height / 2:g})"'
        body.append(_text(12 - _LEFT, height / 2, "row", "middle", turn))
    title = f"Relative error of {heat_map.block.name}"
    moved = f'<g transform="translate({_LEFT} {_TOP})">{"".join(body)}</g>'
    return _svg(_LEFT + _HEAT_WIDTH + _RIGHT, _TOP + height + _BOTTOM, title, moved)


def _counted(n: int, length: float) -> list[tuple[float, str]]:
    """The middles of some of n equal pieces of an axis, numbered from 0; the last one is there."""
    every = max(1, 10 ** (len(str(n)) - 1))
    every = next(every * k // 10 for k in (1, 2, 5, 10, 20, 50) if n <= 6 * (every * k // 10))
    apart = max(0.6 * every, 12.0 * n / length)  # labels are eleven units high
    chosen = [k for k in range(0, n - 1, every) if n - 1 - k >= apart] + [n - 1]
    return [(round((k + 0.5) * length / n, 1), str(k)) for k in chosen]


def _levels(cells: NDArray[np.float64]) -> NDArray[np.int64]:
    """The decade of each cell, 0 to 9; -1 where nothing was measured."""
    level = np.clip(np.nan_to_num(np.floor(cells)) + pictures.DECADES, 0, pictures.DECADES - 1)
    levels: NDArray[np.int64] = np.where(np.isnan(cells), -1, level).astype(np.int64)
    return levels


def heat_legend() -> str:
    """The ten colours with their decades."""
    body = "".join(
        f'<rect fill="{color}" x="{36 * i}" y="0" width="36" height="12"/>'
        for i, color in enumerate(HEAT_COLORS)
    )
    for decade in (0, 5, 10):
        anchor = {0: "start", 5: "middle", 10: "end"}[decade]
        text = "1" if decade == 10 else f"1e-{10 - decade}"
        body += _text(36 * decade, 26, text, anchor)
    return _svg(360, 30, "Colours of the relative error, from 1e-10 to 1", body)
