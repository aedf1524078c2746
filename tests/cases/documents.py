"""Documents whose examples run: blocks of code, commands, and the output shown below them.

In a document, from its top to its end,

- a ``python`` block is executed, all of them in one namespace;
- a ``python`` block with a ``title="name.py"`` is written to that file, for commands below it;
- the lines of an ``sh`` block that call ``fastgradcheck``, ``pytest`` or, for a file of the
  document, ``python`` are run; a comment ``# exit code 1`` on the line says what they must return,
  0 if nothing is said;
- a ``text`` block right below one of these is what it prints, but for what differs from machine
  to machine (see `words`);
- ``<!-- needs: torch -->`` above a block passes over it where that package is not installed, and
  ``<!-- not run: why -->`` everywhere.

``python -m tests.cases.documents`` runs all of them and writes down what they print now, and
``python -m tests.cases.documents README.md`` one.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(
    r"(?:^<!-- (?:needs: (?P<needs>\w+)|not run: (?P<why>[^\n]+)) -->\n+)?"
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"]+)")?\n(?P<text>.*?)^```$'
    r"(?:\n+```text\n(?P<output>.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)
_EXIT = re.compile(r"#.*\bexit code (\d+)")
_PLUGIN = (
    [] if entry_points(group="pytest11", name="fastgradcheck") else ["-p", "fastgradcheck_pytest"]
)
_PROGRAMS = {
    "fastgradcheck": ["-m", "fastgradcheck"],
    "pytest": ["-m", "pytest", "-p", "no:cacheprovider", *_PLUGIN],
    "python": [],
}


@dataclass(frozen=True)
class Block:
    """A fenced block: line, language, title, text, the output shown and where, what it needs."""

    line: int
    language: str
    title: str
    text: str
    output: str | None
    place: tuple[int, int]
    needs: str
    not_run: str


@dataclass
class Run:
    """What came of a document: its names after every executed block, in order."""

    snapshots: list[dict[str, Any]] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)


def paths() -> list[Path]:
    """README.md and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a document."""
    text = path.read_text("utf-8")
    for match in _FENCE.finditer(text):
        found = match.groupdict()
        yield Block(
            text.count("\n", 0, match.start("language")) + 1,
            found["language"],
            found["title"] or "",
            found["text"],
            found["output"],
            match.span("output"),
            found["needs"] or "",
            found["why"] or "",
        )


def run(path: Path) -> Run:
    """Run a document in the current folder.

    Raises
    ------
    AssertionError
        If a command returns another exit code, or an output is not what is shown.
    """
    done = Run(names={"__name__": f"document_{path.stem.replace('-', '_')}"})
    for block, printed in outputs(path, done):
        if block.output is not None:
            shown, real = words(block.output), words(printed)
            assert shown == real, (
                f"{path.name}, line {block.line} shows what is not printed: {dict(shown - real)}; "
                f"it lacks {dict(real - shown)}. Printed:\n{printed}"
            )
    return done


def write(path: Path) -> None:
    """Run a document in the current folder and put what it prints in the place of what it shows."""
    text = path.read_text("utf-8")
    pieces, last = [], 0
    for block, printed in outputs(path, Run(names={"__name__": "document"})):
        if block.output is not None:
            start, end = block.place
            lines = [line.rstrip() for line in printed.rstrip().splitlines()]
            pieces += [text[last:start], "".join(f"{line}\n" for line in lines)]
            last = end
    path.write_text("".join([*pieces, text[last:]]), "utf-8")


def outputs(path: Path, done: Run) -> Iterator[tuple[Block, str]]:
    """Every block of a document, and what it prints when it is run."""
    for block in blocks(path):
        if block.not_run or (block.needs and importlib.util.find_spec(block.needs) is None):
            continue
        if block.title.endswith(".py"):
            Path(block.title).write_text(block.text, "utf-8")
        elif block.language == "python":
            yield block, _execute(block, path, done)
        elif block.language == "sh":
            where = f"{path.name}, line {block.line}"
            yield block, "".join(_call(line, where) for line in block.text.splitlines())


def _execute(block: Block, path: Path, done: Run) -> str:
    # So many empty lines that a traceback names the document's own line.
    code = compile("\n" * block.line + block.text, str(path), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, done.names)
    done.snapshots.append(dict(done.names))
    return out.getvalue()


def _call(line: str, where: str) -> str:
    """Run one line of a shell block and return what it prints to stdout."""
    command = shlex.split(line, comments=True)
    set_here = dict(word.split("=", 1) for word in command if re.match(r"[A-Z_]+=", word))
    command = command[len(set_here) :]
    if not command or command[0] not in _PROGRAMS:
        return ""
    if command[0] == "python" and not Path(command[1]).exists():
        return ""
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        "COLUMNS": "80",
        **set_here,
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", *_PROGRAMS[command[0]], *command[1:]],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )
    told = _EXIT.search(line)
    expected = int(told[1]) if told else 0
    assert done.returncode == expected, (
        f"{where}: {line!r} returned {done.returncode}, not {expected}\n{done.stdout}{done.stderr}"
    )
    return done.stdout


_ADDRESS = re.compile(r"^(\w+)\[[\d, ]+\](?=.*(?:AGREES|WRONG))")
_VARIABLE = (
    (re.compile(r"\b[\d,]+ evaluations?"), "# evaluations"),
    (re.compile(r"\b\d[\d.]* (?:ms|s)\b"), "# s"),
    (re.compile(r"\b[\d,]+ of [\d,]+|\ball \+ \d+"), "# of #"),
    (re.compile(r"\b\d[\d.]* %"), "# %"),
    (re.compile(r"\b[\d,]+ entr(?:y|ies)(?: are|)"), "# entries"),
    (re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?|-?\d+e[+-]?\d+"), "#"),
    (re.compile(r"\(# s of it compiling\)|-{2,}|={2,}"), ""),
)


def words(text: str) -> Counter[str]:
    """The words of an output, without what another machine prints otherwise.

    These are durations, numbers of evaluations and of entries that a search met, numbers with a
    fraction (the last digits of a difference are noise), the width of lines, the order of rows,
    and which entries of a block are examples; what is wrong is told in a line of its own.
    """
    text = "\n".join(_ADDRESS.sub(r"\1[#]", line) for line in text.splitlines())
    for pattern, substitute in _VARIABLE:
        text = pattern.sub(substitute, text)
    return Counter(text.split())


def main() -> None:
    """Write down what the documents print now."""
    os.environ["COLUMNS"] = "100"
    os.environ.pop("FASTGRADCHECK", None)
    for path in [Path(name).resolve() for name in sys.argv[1:]] or paths():
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            write(path)


if __name__ == "__main__":
    main()
