"""The plan of the package: its rooms, and every import between its files, lazy ones included.

``python -m studies.plan`` prints files per room, imports, circles and imports against the order;
``python -m studies.plan DIR`` does so for another checkout's package. With ``--files`` it says of
every file what it is.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "fastgradcheck"

ROOMS = (
    "__init__", "__main__", "cli", "jax", "torch", "testing", "fingerprints", "jacobians",
    "check", "points", "options", "numeric", "result", "report", "diagnosis", "search",
    "verdict", "differences", "evaluation", "problem", "table", "arguments", "errors", "version",
)  # fmt: skip
"""From the top: each imports from itself and from those after it."""
LONGEST = 450
"""Lines of a file; compiled loops are one concept and may be longer."""


def files(package: Path = PACKAGE) -> dict[str, Path]:
    """The modules of a package, by their names within it."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" and parts[:-1] else parts)] = path
    return found


def imported(path: Path, names: set[str]) -> Iterator[str]:
    """What a file imports of its own package: at once, in functions and for type checking."""
    for statement in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(statement, ast.Import):
            full = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{path.name}: a relative import"
            full = [f"{statement.module}.{alias.name}" for alias in statement.names]
        else:
            continue
        for name in full:
            package, _, inner = name.partition(".")
            if package == PACKAGE.name:
                yield next(
                    (known for known in (inner, inner.rpartition(".")[0]) if known in names),
                    "__init__",
                )


def graph(package: Path = PACKAGE) -> dict[str, set[str]]:
    """Which file imports which."""
    found = files(package)
    return {name: set(imported(path, set(found))) - {name} for name, path in found.items()}


def room(name: str) -> str:
    """The room of a file: its folder, or itself at the root."""
    return name.split(".")[0]


def _level(name: str) -> int:
    return ROOMS.index(room(name)) if room(name) in ROOMS else len(ROOMS)


def about(path: Path) -> str:
    """What a file is: the first line of its docstring."""
    said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return said.partition("\n")[0]


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Files that import each other, in groups (Tarjan, *Depth-first search*, 1972)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = lowest[name] = len(order)
        stack.append(name)
        for target in edges[name]:
            if target not in order:
                visit(target)
            if target in stack:
                lowest[name] = min(lowest[name], lowest[target])
        if lowest[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(sorted(group))

    for name in edges:
        if name not in order:
            visit(name)
    return found


def upward(edges: dict[str, set[str]]) -> list[str]:
    """Imports against the order of the rooms."""
    level = {name: place for place, name in enumerate(ROOMS)}
    return [
        f"{name} imports {target}"
        for name, targets in sorted(edges.items())
        for target in sorted(targets)
        # The package's own names are for users: nothing inside imports from there.
        if level.get(room(target), -1) < level.get(room(name), -1) or target == "__init__"
    ]


def long(package: Path = PACKAGE) -> list[str]:
    """Files of more than `LONGEST` lines."""
    lines = {name: path.read_text("utf-8").count("\n") for name, path in files(package).items()}
    return [f"{name}: {count}" for name, count in lines.items() if count > LONGEST]


def main(argv: list[str] | None = None) -> None:
    """Print the plan."""
    arguments = (argv or sys.argv)[1:]
    folders = [Path(given) for given in arguments if given != "--files"]
    package = folders[0] / "src" / "fastgradcheck" if folders else PACKAGE
    if "--files" in arguments:
        for name, path in sorted(files(package).items(), key=lambda file: _level(file[0])):
            print(f"{name:32} {about(path)}")
        return
    edges = graph(package)
    rooms = {room(name) for name in edges if "." in name}
    for name in [r for r in ROOMS if r in rooms] + sorted(rooms - set(ROOMS)):
        print(f"{name:12} {sum(room(other) == name for other in edges):3} files")
    print(f"{'root':12} {sum('.' not in name and name not in rooms for name in edges):3} files")
    between = sum(room(a) != room(b) for a, targets in edges.items() for b in targets)
    print(f"{sum(map(len, edges.values()))} imports, {between} of them between rooms")
    for title, found in (
        ("circles", [" ".join(group) for group in circles(edges)]),
        ("imports against the order", upward(edges)),
        (f"files above {LONGEST} lines", long(package)),
    ):
        print(f"{len(found)} {title}")
        for entry in found:
            print(f"  {entry}")


if __name__ == "__main__":
    main()
