"""The report as text: coloured on a terminal, plain elsewhere."""

from __future__ import annotations

import io
import re
import shutil
from typing import TYPE_CHECKING

from fastgradcheck.report import content
from fastgradcheck.report.numbers import bar, compared, count, measured, plural, short
from fastgradcheck.report.outcome import Outcome
from fastgradcheck.verdict.verdict import BlockResult, Verdict

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


# A narrow page gets shorter numbers, since a number that is folded is misread.
_ROOMY, _NARROW = 100, 80


_DIGITS_ROOMY, _DIGITS, _DIGITS_NARROW = 10, 7, 5


# A screenful: these add up to about 40 lines of 100 characters.
_BLOCKS, _COMPONENTS, _FINDINGS, _REASONS = 8, 5, 3, 3


_ALL = 10**9


_PARTS = re.compile(r"(?<=\.)|(?=\[)")


def render(
    result: Outcome,
    *,
    verbose: bool = False,
    color: bool = False,
    width: int | None = None,
) -> str:
    """The report of a result, a screenful at most.

    Parameters
    ----------
    result : Outcome
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
        console.print(document(result, width, verbose=verbose))
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())


def show(result: Outcome, console: Console, *, verbose: bool = False) -> None:
    """Print the report on a rich console: coloured if that is a terminal."""
    console.print(document(result, console.width, verbose=verbose))


def document(result: Outcome, width: int, *, verbose: bool = False) -> Group:
    """The report as a rich renderable for a page of that width."""
    from rich.console import Group
    from rich.text import Text

    rows = content.worst_rows(result, len(result.components) if verbose else _COMPONENTS)
    verdict = Text.assemble(
        (content.title(result), _STYLES[result.verdict]), "  ", content.headline(result)
    )
    parts: list[RenderableType] = [verdict]
    if result.blocks:
        parts += [Text(), _block_table(result, width, _ALL if verbose else _BLOCKS)]
        parts += _left_out(len(result.blocks), _BLOCKS, "block", verbose)
    if rows:
        parts += [Text(), _component_table(rows, width)]
    return Group(*parts, Text(), _notes(result, rows, verbose))


def _left_out(total: int, limit: int, noun: str, verbose: bool) -> list[RenderableType]:
    from rich.text import Text

    more = 0 if verbose else total - limit
    return [Text(f"and {plural(more, noun)} more, none worse", style="dim")] if more > 0 else []


def _table(columns: dict[str, bool], width: int) -> Table:
    """A table without lines: column title -> whether it holds numbers, which are never folded."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title, numbers in columns.items():
        table.add_column(
            title if width >= _ROOMY else title.replace("relative ", "relative\n"),
            justify="right" if numbers or title == "covered" else "left",
            no_wrap=numbers or title == "verdict",
            overflow="fold",
        )
    return table


def _block_table(result: Outcome, width: int, limit: int) -> Table:
    from rich.text import Text

    table = _table(
        {
            "block": False,
            "shape": False,
            "covered": False,
            "relative difference": True,
            "at most": True,
            "wrong": True,
            "verdict": False,
        },
        width,
    )
    for block in content.blocks_worst_first(result)[:limit]:
        known = content.measured(block)
        table.add_row(
            Text(_broken(block.name, width)),
            Text(shape(block)),
            Text(covered(block)),
            Text(short(block.relative_difference) if known else "-"),
            Text(short(block.limit) if known else "-"),
            Text(content.wrong_count(block)),
            Text(block.verdict.value, _STYLES[block.verdict]),
        )
    return table


def shape(block: BlockResult) -> str:
    """The block's shape as the user would write it, `scalar` for 0-d."""
    shape = block.shape[:-1] if block.pairs else block.shape
    return str(shape).replace("()", "scalar") + (" complex" if block.pairs else "")


def covered(block: BlockResult) -> str:
    """How much of the block was looked at."""
    ones = f"{count(block.checked)} of {count(block.size)}"
    if not block.directions:
        return ones
    return f"all + {count(block.checked)}" if block.checked else "all"


def _broken(address: str, width: int) -> str:
    """A long address on several lines, broken after its dots."""
    most = width // 3 - 2
    lines = [""]
    for part in _PARTS.split(address):
        if lines[-1] and len(lines[-1]) + len(part) > most:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _component_table(rows: tuple[content.Row, ...], width: int) -> Table:
    from rich.text import Text

    narrow = width < _NARROW
    digits = _DIGITS_ROOMY if width >= _ROOMY else _DIGITS_NARROW if narrow else _DIGITS
    columns = {"component": False, "analytic": True, "numeric": True, "+-": True, "ratio": True}
    # The ratio says the same, and a page that narrow has no room for both.
    columns |= {} if narrow else {"relative error": True}
    table = _table({**columns, "verdict": False}, width)
    for row in rows:
        cells = [
            compared(row.analytic, digits),
            measured(row.numeric, row.bar, digits),
            bar(row.bar),
            row.told_ratio(min(digits, 6)),
        ]
        cells += [] if narrow else [short(row.relative_error)]
        verdict = Text(row.verdict.value, _STYLES[row.verdict])
        table.add_row(Text(_broken(row.address, width)), *map(Text, cells), verdict)
    return table


def _notes(result: Outcome, rows: tuple[content.Row, ...], verbose: bool) -> RenderableType:
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
    if verbose:
        taylor = content.taylor_line(result)
        add("Taylor", (taylor,) if taylor else ())
    add("Cost", (content.cost_line(result),) if result.verdict is not Verdict.SKIPPED else ())
    if verbose:
        checked = content.checked_line(result)
        add("Checked", (checked,) if checked else ())
    add("Next", content.next_steps(result, _ALL if verbose else _REASONS))
    return table
