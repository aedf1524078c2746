"""Pictures of the evidence with matplotlib (extra ``plot``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, shown
from fastgradcheck.problem.blocks import OF
from fastgradcheck.report import content, pictures
from fastgradcheck.report.numbers import bar, count, short
from fastgradcheck.report.outcome import Outcome, Section, Sweep
from fastgradcheck.verdict.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


KINDS = ("scatter", "heatmap", "steps", "secant")


_POINTS, _SIDE = 20_000, 256


_ONE_SIDED, _INK, _GREY = "#33BBEE", "#202020", "#6E6E6E"


@dataclass(frozen=True, eq=False)
class _Shown:
    """What the pictures are drawn from."""

    result: Outcome
    sweep: Sweep | None
    section: Section | None


def chosen(kind: str | None) -> tuple[str, ...]:
    """The pictures that are asked for: one, or all four for None.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    GradcheckInputError
        If there is no such picture.
    """
    if kind is not None and kind not in KINDS:
        raise GradcheckInputError(
            f"kind={shown(kind)} is not a picture; use one of {', '.join(map(repr, KINDS))}, "
            "or None for all four."
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Pictures need matplotlib, which is not installed: "
            "pip install 'fastgradcheck[plot]'. The text report and to_json() work without."
        ) from error
    return KINDS if kind is None else (kind,)


def plot(
    result: Outcome,
    kind: str | None = None,
    *,
    sweep: Sweep | None = None,
    section: Section | None = None,
) -> Figure:
    """Pictures of a result.

    Parameters
    ----------
    result : Outcome
    kind : {"scatter", "heatmap", "steps", "secant"}, optional
        Analytic against numeric; the relative error in the blocks' own shapes; the V-curve of
        error against step; the two-sided against the one-sided secant. By default all four.
    sweep : Sweep, optional
        Of the worst component, for the V-curve of a result that has no sweeps.
    section : Section, optional
        J along the worst component, for the secants.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    GradcheckInputError
        If there is no such picture, or nothing to draw in it.
    """
    names = chosen(kind)
    from matplotlib import get_backend, pyplot

    figure = _drawn(result, kind, names, _Shown(result, _first(result.sweeps, sweep), section))
    if "inline" in get_backend():
        # A notebook would show it twice: as an open figure, and as the value of the cell.
        pyplot.close(figure)
    return figure


def _first(sweeps: tuple[Sweep, ...], otherwise: Sweep | None) -> Sweep | None:
    return sweeps[0] if sweeps else otherwise


def _drawn(result: Outcome, kind: str | None, names: tuple[str, ...], shown: _Shown) -> Figure:
    from matplotlib import pyplot

    if kind == "heatmap":
        return _heat_figure(result, pyplot.figure(figsize=(9.0, 6.0), layout="constrained"))
    if kind is not None:
        figure = pyplot.figure(figsize=(7.0, 5.0), layout="constrained")
        _PANELS[kind](shown, figure.add_subplot())
        return figure
    figure = pyplot.figure(figsize=(13.0, 9.5), layout="constrained")
    figure.get_layout_engine().set(wspace=0.05, hspace=0.06)  # type: ignore[union-attr, call-arg]
    figure.suptitle(
        f"{result.verdict.value}: {result.verdict.about(result.subject)}", fontsize="large"
    )
    drawn, reasons = [], []
    for k, name in enumerate(names, 1):
        axes = figure.add_subplot(2, 2, k)
        try:
            _PANELS[name](shown, axes)
            drawn.append(axes)
        except GradcheckInputError as error:
            axes.remove()
            reasons.append(str(error))
    if reasons:
        _close_ranks(figure, drawn)
        figure.supxlabel("\n".join(dict.fromkeys(reasons)), fontsize="small", color=_GREY)
    return figure


def _close_ranks(figure: Figure, drawn: list[Axes]) -> None:
    """Give the pictures that there are the room of those that there are not."""
    rows = 2 if len(drawn) > 2 else 1
    figure.set_size_inches(13.0, 4.75 * rows + 0.6)
    grid = figure.add_gridspec(rows, max(1, min(2, len(drawn))))
    for k, axes in enumerate(drawn):
        axes.set_subplotspec(grid[k])


def _nothing(what: str) -> GradcheckInputError:
    return GradcheckInputError(
        f"No {what} to draw: the check measured no component by itself. "
        'Check with sample=100 or strategy="components".'
    )


def _scatter(shown: _Shown, axes: Axes) -> None:
    points = pictures.points(shown.result, _POINTS)
    if not len(points.numeric):
        raise _nothing("components")
    reach, linear = points.reach, points.linear
    x = np.linspace(-reach, reach, 2)
    if linear < reach:
        axes.set_xscale("symlog", linthresh=linear)
        axes.set_yscale("symlog", linthresh=linear)
        marks = pictures.symlog_ticks(linear, reach)
        axes.set_xticks(marks)
        axes.set_yticks(marks)
    axes.plot(x, x, color=_GREY, lw=1.0, zorder=1, label="analytic = numeric")
    if points.factor is not None:
        for k, side in enumerate(pictures.straight(points.factor, reach, linear)):
            axes.plot(
                side,
                points.factor * side,
                color=pictures.COLORS[Verdict.WRONG],
                lw=1.0,
                ls="--",
                zorder=1,
                label=None if k else f"slope {points.factor:.4g}: the factor",
            )
    for verdict, marker in ((Verdict.AGREES, "o"), (Verdict.UNDECIDED, "s"), (Verdict.WRONG, "x")):
        mine = points.verdict == verdict.code
        if mine.any():
            axes.plot(
                points.numeric[mine],
                points.analytic[mine],
                marker,
                ms=5.0,
                color=pictures.COLORS[verdict],
                alpha=0.8,
                label=f"{verdict.value.lower()} ({count(int(mine.sum()))})",
            )
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_aspect("equal")
    axes.set(xlabel="numeric derivative", ylabel="analytic derivative")
    axes.set_title("Analytic against numeric")
    axes.grid(alpha=0.25)
    axes.legend(loc="best", fontsize="small")


def _heat_figure(result: Outcome, figure: Figure) -> Figure:
    maps = pictures.heat_maps(result, 6, _SIDE)
    if not maps:
        raise _nothing("heat map")
    columns = min(len(maps), 3) if len(maps) != 4 else 2
    grid = figure.subplots(-(-len(maps) // columns), columns, squeeze=False)
    for axes in grid.flat[len(maps) :]:
        axes.set_axis_off()
    for axes, heat in zip(grid.flat, maps, strict=False):
        image = _draw_heat(axes, heat)
    figure.colorbar(image, ax=grid, shrink=0.8, label="log10 of the relative error")
    figure.suptitle("Relative error where it was measured (grey: not measured)")
    return figure


def _heat_panel(shown: _Shown, axes: Axes) -> None:
    maps = pictures.heat_maps(shown.result, 1, _SIDE)
    if not maps:
        raise _nothing("heat map")
    image = _draw_heat(axes, maps[0])
    label = "log10 of the relative error"
    axes.figure.colorbar(image, ax=axes, label=label)
    axes.set_title(f"Relative error of {maps[0].block.name} (grey: not measured)")


def _draw_heat(axes: Axes, heat: pictures.Heat) -> Any:
    image = axes.imshow(
        np.ma.masked_invalid(heat.cells),
        cmap="viridis",
        vmin=-pictures.DECADES,
        vmax=0.0,
        aspect="auto",
        interpolation="nearest",
        extent=(-0.5, heat.columns - 0.5, heat.rows - 0.5, -0.5),
    )
    axes.set_facecolor("#C8C8C8")
    axes.locator_params(integer=True)
    if heat.rows == 1:
        axes.set_yticks([])
    axes.set_title(f"{heat.block.name} {heat.block.shape}", fontsize="medium")
    axes.set_xlabel("column" if heat.rows > 1 else "entry")
    axes.set_ylabel("row" if heat.rows > 1 else "")
    return image


def _steps(shown: _Shown, axes: Axes) -> None:
    result, sweep = shown.result, shown.sweep
    if sweep is None:
        raise _not_measured(result)
    curve = pictures.curve(result, sweep, content.index(result.blocks, sweep.address))
    axes.loglog(
        sweep.steps,
        curve.errors,
        "o-",
        color=pictures.NUMERIC,
        ms=4.0,
        lw=1.2,
        label="central difference",
    )
    axes.loglog(
        sweep.steps[curve.chosen],
        curve.errors[curve.chosen],
        "D",
        ms=9.0,
        mfc="none",
        mew=2.0,
        color=_INK,
        label=f"chosen step {short(float(sweep.steps[curve.chosen]))}",
    )
    if sweep.error > 0.0:
        axes.axhline(
            sweep.error, color=pictures.NUMERIC, ls="--", lw=1.2, label=f"bar {bar(sweep.error)}"
        )
    if curve.analytic:
        axes.axhline(
            curve.analytic,
            color=pictures.CLAIM,
            ls=":",
            lw=1.8,
            label=f"analytic is {short(curve.analytic)} away",
        )
    axes.set(xlabel="step epsilon", ylabel="|difference - value|")
    axes.set_title(f"Error against step for {sweep.address}")
    axes.grid(alpha=0.25)
    axes.legend(loc="best", fontsize="small")


def _not_measured(result: Outcome) -> GradcheckInputError:
    if not content.worst_rows(result, 1):
        return _nothing("component")
    return GradcheckInputError(
        "More pictures need more values of the cost. A result that was read back from JSON no "
        "longer holds it."
    )


def _secant(shown: _Shown, axes: Axes) -> None:
    section = shown.section
    if section is None:
        raise _not_measured(shown.result)
    epsilon, offsets, values = section.epsilon, section.offsets, section.values
    low, middle, high = section.at(-epsilon), section.at(0.0), section.at(epsilon)
    if not np.isfinite([low, middle, high]).all():
        raise GradcheckInputError(
            f"J is not finite within {short(epsilon)} of {section.address}: no secants to draw."
        )
    two, one = (high - low) / (2.0 * epsilon), (high - middle) / epsilon
    # Of a Jacobian's entry, "F[3] / W[0, 1]", the output along the parameter.
    output, _, parameter = section.address.rpartition(OF)
    axes.plot(offsets, values, color="black", lw=1.8, label=output or "J")
    axes.plot(
        offsets,
        0.5 * (low + high) + two * offsets,
        color=pictures.NUMERIC,
        label=f"two-sided secant: {two:.4g}",
    )
    axes.plot(
        offsets,
        middle + one * offsets,
        "--",
        color=_ONE_SIDED,
        label=f"one-sided secant: {one:.4g}",
    )
    axes.plot(
        offsets,
        middle + section.analytic * offsets,
        ":",
        lw=2.2,
        color=pictures.CLAIM,
        label=f"analytic {'derivative' if output else 'gradient'}: {section.analytic:.4g}",
    )
    axes.plot([-epsilon, 0.0, epsilon], [low, middle, high], "o", color="black", ms=6.0)
    _frame(axes, values, low, high)
    axes.set_xticks([-epsilon, 0.0, epsilon], ["theta-", parameter, "theta+"])
    axes.set(xlabel=f"theta- and theta+ are {short(epsilon)} away", ylabel=output or "J")
    axes.set_title(f"Two-sided against one-sided slope at {section.address}")
    axes.grid(alpha=0.25)
    axes.legend(loc="best", fontsize="small")


def _frame(axes: Axes, values: NDArray[np.float64], low: float, high: float) -> None:
    """Keep a steep wrong slope from squeezing the curve flat."""
    finite = values[np.isfinite(values)]
    bottom, top = float(finite.min()), float(finite.max())
    margin = 0.6 * (top - bottom) or max(abs(low), abs(high), 1.0) * 1e-3
    axes.set_ylim(bottom - margin, top + margin)


_PANELS = {"scatter": _scatter, "heatmap": _heat_panel, "steps": _steps, "secant": _secant}
