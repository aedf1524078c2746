"""What importing costs, and that imports point one way: read from the source, not from a run."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastgradcheck

PACKAGE = Path(fastgradcheck.__file__).parent
HEAVY = ("numba", "llvmlite", "scipy", "matplotlib", "rich", "joblib", "sklearn", "dask")

# From the top: each layer may import from those below it, and its own members from each other
# as long as they do not go round in a circle.
LAYERS = (
    ("__init__", "__main__", "cli", "demo", "doctor", "loading", "pytest_plugin"),
    ("testing",),
    ("check", "numeric"),
    ("assemble", "options"),
    ("appeal", "components", "findings", "search"),
    ("measured", "report", "selftest"),
    ("diagnose",),
    ("confirm", "locate"),
    ("judge",),
    ("screen",),
    ("evidence",),
    ("steps",),
    ("ladder", "noise"),
    ("sampling", "guards", "checkpoint", "progress"),
    ("stream",),
    ("engines", "budget", "interrupt"),
    ("schemes", "hashing", "plans"),
    ("result", "tracebacks"),
    ("problem",),
    ("parameters",),
    ("errors",),
)
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}


def modules() -> dict[str, list[Path]]:
    """The files of each top-level module: a subpackage counts as one."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        found.setdefault(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), []).append(path)
    return found


def at_import(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported."""
    pending: list[ast.stmt] = list(tree.body)
    while pending:
        statement = pending.pop()
        if isinstance(statement, ast.If):
            checking = ast.unparse(statement.test).endswith("TYPE_CHECKING")
            pending += statement.orelse if checking else statement.body + statement.orelse
        elif isinstance(statement, ast.Try):
            pending += statement.body + statement.orelse + statement.finalbody
        else:
            yield statement


def imported(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports when it is imported itself."""
    for statement in at_import(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"{path.name}: a relative import"
            assert statement.module is not None
            yield statement.module
            if statement.module == "fastgradcheck":
                yield from (f"fastgradcheck.{alias.name}" for alias in statement.names)


def own_imports() -> dict[str, set[str]]:
    names = modules()
    graph: dict[str, set[str]] = {name: set() for name in names}
    for name, paths in names.items():
        for path in paths:
            for target in imported(path):
                parts = target.split(".")
                if parts[0] == "fastgradcheck" and len(parts) > 1 and parts[1] in names:
                    graph[name].add(parts[1])
        graph[name].discard(name)
    return graph


def test_every_module_has_its_place() -> None:
    missing = sorted(set(modules()) - set(LEVEL))
    assert not missing, f"say in LAYERS where {missing} belong"


def test_imports_point_down() -> None:
    upward = [
        f"{name} imports {target}"
        for name, targets in own_imports().items()
        for target in sorted(targets)
        if LEVEL.get(target, 0) < LEVEL.get(name, 0)
    ]
    assert not upward


def test_there_is_no_circle() -> None:
    graph = own_imports()
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for target in graph[name]:
                visit(target, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@pytest.mark.parametrize(
    ("module", "strangers"),
    [
        # Engines know nothing of gradients, tolerances or reports; judging nothing of engines;
        # reports compute nothing.
        ("engines", {"judge", "evidence", "confirm", "report", "check", "ladder", "steps"}),
        ("judge", {"engines", "stream", "report"}),
        ("report", {"engines", "stream", "judge", "evidence", "ladder", "steps", "noise"}),
        ("diagnose", {"engines", "stream"}),
        ("sampling", {"engines", "stream"}),
    ],
)
def test_modules_keep_to_their_concept(module: str, strangers: set[str]) -> None:
    assert not own_imports()[module] & strangers


def loaded_after(code: str) -> set[str]:
    listing = f"{code}\nimport sys\nprint(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in answer.stdout.split()}


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert not loaded_after("import fastgradcheck; dir(fastgradcheck)") & set(HEAVY)


def test_the_names_are_there_all_the_same() -> None:
    for name in fastgradcheck.__all__:
        assert getattr(fastgradcheck, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'gradchek'"):
        fastgradcheck.gradchek  # noqa: B018


def test_checking_a_python_cost_never_loads_numba() -> None:
    code = (
        "import numpy as np, fastgradcheck as fgc\n"
        "assert fgc.gradcheck(lambda t: (t**2).sum(), lambda t: 2 * t, np.ones(3))"
    )
    assert not loaded_after(code) & {"numba", "llvmlite", "matplotlib", "sklearn", "dask"}
