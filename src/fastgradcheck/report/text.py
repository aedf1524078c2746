"""The report as text: coloured on a terminal, plain elsewhere."""

from __future__ import annotations

import io
import shutil
from typing import TYPE_CHECKING

from fastgradcheck.report import content
from fastgradcheck.report.numbers import bar, compared, count, measured, plural, short
from fastgradcheck.result import BlockResult, GradcheckResult, Verdict

if TYPE_CHECKING:
    from rich.console import Console, Group, RenderableType
    from rich.table import Table

_STYLES = {
    Verdict.AGREES: "bold green",
    Verdict.WRONG: "bold red",
    Verdict.UNDECIDED: "bold yellow",
    Verdict.SKIPPED: "dim",
}
_MIN_WIDTH, _MAX_WIDTH = 60, 120
# A screenful: these add up to about 40 lines of 100 characters.
_BLOCKS, _COMPONENTS, _FINDINGS, _REASONS = 8, 5, 3, 3
_ALL = 10**9


def render(
    result: GradcheckResult,
    *,
    verbose: bool = False,
    color: bool = False,
    width: int | None = None,
) -> str:
    """The report of a result, a screenful at most.

    Parameters
    ----------
    result : GradcheckResult
    verbose : bool
        List every block, measured component, wrong address and finding.
    color : bool
        Colour with ANSI escape codes.
    width : int, optional
        In characters; by default the terminal's, between 60 and 120.

    Returns
    -------
    str
        Without a newline at the end; ASCII but for the user's own names.
    """
    from rich.console import Console

    if width is None:
        columns = shutil.get_terminal_size((100, 24)).columns
        width = min(max(columns, _MIN_WIDTH), _MAX_WIDTH)
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        no_color=not color,
        color_system="standard" if color else None,
        legacy_windows=False,
    )
    with console.capture() as capture:
        console.print(document(result, verbose=verbose))
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())


def show(result: GradcheckResult, console: Console, *, verbose: bool = False) -> None:
    """Print the report on a rich console: coloured if that is a terminal."""
    console.print(document(result, verbose=verbose))


def document(result: GradcheckResult, *, verbose: bool = False) -> Group:
    """The report as a rich renderable."""
    from rich.console import Group
    from rich.text import Text

    rows = content.worst_rows(result, len(result.components) if verbose else _COMPONENTS)
    verdict = Text.assemble(
        (result.verdict.value, _STYLES[result.verdict]), "  ", content.headline(result)
    )
    parts: list[RenderableType] = [verdict]
    if result.blocks:
        parts += [Text(), _block_table(result, _ALL if verbose else _BLOCKS)]
        parts += _left_out(len(result.blocks), _BLOCKS, "block", verbose)
    if rows:
        parts += [Text(), _component_table(rows)]
    return Group(*parts, Text(), _notes(result, rows, verbose))


def _left_out(total: int, limit: int, noun: str, verbose: bool) -> list[RenderableType]:
    from rich.text import Text

    more = 0 if verbose else total - limit
    return [Text(f"and {plural(more, noun)} more, none worse", style="dim")] if more > 0 else []


def _table(columns: dict[str, str]) -> Table:
    """A table without lines: column title -> "left" or "right"."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title, justify in columns.items():
        left = justify == "left"
        table.add_column(title, justify="left" if left else "right", overflow="fold")
    return table


def _block_table(result: GradcheckResult, limit: int) -> Table:
    from rich.text import Text

    left, right = "left", "right"
    table = _table(
        {
            "block": left,
            "shape": left,
            "covered": right,
            "relative difference": right,
            "at most": right,
            "wrong": right,
            "verdict": left,
        }
    )
    for block in content.blocks_worst_first(result)[:limit]:
        known = content.measured(block)
        table.add_row(
            Text(block.name),
            Text(shape(block)),
            Text(covered(block)),
            Text(short(block.relative_difference) if known else "-"),
            Text(short(block.limit) if known else "-"),
            Text(count(block.wrong)),
            Text(block.verdict.value if known else "not checked", _STYLES[block.verdict]),
        )
    return table


def shape(block: BlockResult) -> str:
    """The block's shape as the user would write it, `scalar` for 0-d."""
    return str(block.shape).replace("()", "scalar")


def covered(block: BlockResult) -> str:
    """How much of the block was looked at."""
    ones = f"{count(block.checked)} of {count(block.size)}"
    if not block.directions:
        return ones
    return f"all + {count(block.checked)}" if block.checked else "all"


def _component_table(rows: tuple[content.Row, ...]) -> Table:
    from rich.text import Text

    left, right = "left", "right"
    table = _table(
        {
            "component": left,
            "analytic": right,
            "numeric": right,
            "+-": right,
            "ratio": right,
            "relative error": right,
            "verdict": left,
        }
    )
    for row in rows:
        table.add_row(
            Text(row.address),
            Text(compared(row.analytic)),
            Text(measured(row.numeric, row.bar)),
            Text(bar(row.bar)),
            Text("-" if row.ratio is None else f"{row.ratio:.6g}"),
            Text(short(row.relative_error)),
            Text(row.verdict.value, _STYLES[row.verdict]),
        )
    return table


def _notes(result: GradcheckResult, rows: tuple[content.Row, ...], verbose: bool) -> RenderableType:
    """Wrong addresses, findings, coverage, cost and next steps, under one hanging margin."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column()

    def add(title: str, lines: tuple[str, ...]) -> None:
        for i, line in enumerate(lines):
            table.add_row(Text(title if i == 0 else ""), Text(line))

    limit = _ALL if verbose else _FINDINGS
    findings = tuple(finding.message for finding in result.findings)
    wrong = content.wrong_line(result, _ALL if verbose else 2 * _COMPONENTS, rows)
    add("Wrong", (wrong,) if wrong else ())
    add("Findings", findings[:limit])
    if len(findings) > limit:
        add("", (f"and {count(len(findings) - limit)} more: see the verbose report",))
    add("Coverage", (result.coverage,) if result.coverage else ())
    add("Cost", (content.cost_line(result),) if result.verdict is not Verdict.SKIPPED else ())
    add("Next", content.next_steps(result, _ALL if verbose else _REASONS))
    return table
