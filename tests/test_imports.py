"""What importing costs, and that imports point one way: read from the source, not from a run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastgradcheck
from studies import plan

HEAVY = ("numba", "llvmlite", "scipy", "matplotlib", "rich", "joblib", "sklearn", "dask")
FRAMEWORKS = ("torch", "jax", "jaxlib", "ml_dtypes")
AT_THE_ROOT = 16
"""The ways in: among them an adapter for each framework, which carries the framework's name."""
LONG = "evaluation.engines.kernels"
"""Compiled loops: one concept, which may be longer."""


def package(folder: Path, **texts: str) -> Path:
    """A small made-up package; ``evaluation__plans`` is evaluation/plans.py."""
    root = folder / "fastgradcheck"
    for name, text in texts.items():
        path = root.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for above in (root, path.parent):
            (above / "__init__.py").touch()
    return root


# The package itself


def test_every_module_has_its_place() -> None:
    missing = sorted({plan.room(name) for name in plan.files()} - set(plan.ROOMS))
    assert not missing, f"say in studies/plan.py's ROOMS where {missing} belong"
    # A name that is no file any more would hide a mistake in the order.
    assert not sorted(set(plan.ROOMS) - {plan.room(name) for name in plan.files()})


def test_imports_point_down() -> None:
    """At once, in functions and for type checking: all of them count."""
    found = plan.upward(plan.graph())
    assert not found, "\n".join(found)


def test_there_is_no_circle() -> None:
    found = [" ".join(group) for group in plan.circles(plan.graph())]
    assert not found, "\n".join(found)


def test_no_file_is_long() -> None:
    assert not [entry for entry in plan.long() if not entry.startswith(f"{LONG}:")]


def test_few_files_are_at_the_root() -> None:
    root = [path.name for path in plan.PACKAGE.glob("*.py")]
    assert len(root) <= AT_THE_ROOT, sorted(root)


def test_the_plan_in_words_names_every_file() -> None:
    words = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")
    words = words[words.index("## The plan") : words.index("## Recipes")]
    named = set(re.findall(r"\w+", words))
    rooms = {plan.room(name) for name in plan.files() if "." in name}
    modules = {name.rpartition(".")[2] for name in plan.files()} - rooms - {"__main__"}
    assert not sorted(modules - named)


def test_every_file_says_what_it_is() -> None:
    assert not [name for name, path in plan.files().items() if not plan.about(path)]


def known(module: str) -> set[str]:
    """What the files of a room, or a single file, import outside of it."""
    return {
        target
        for name, targets in plan.graph().items()
        if within(name, (module,))
        for target in targets
        if not within(target, (module,))
    }


def within(name: str, modules: tuple[str, ...]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


@pytest.mark.parametrize(
    ("module", "strangers"),
    [
        # Evaluating knows nothing of gradients, tolerances or reports; judging nothing of J;
        # reports compute nothing.
        ("evaluation", ("verdict", "report", "search", "differences", "check")),
        ("verdict", ("evaluation", "report")),
        ("report", ("evaluation", "search", "differences", "verdict.rules")),
        ("diagnosis", ("evaluation",)),
        ("problem", ("evaluation",)),
    ],
)
def test_modules_keep_to_their_concept(module: str, strangers: tuple[str, ...]) -> None:
    assert not sorted(name for name in known(module) if within(name, strangers))


# What the tests above would find


def test_a_circle_is_found(tmp_path: Path) -> None:
    edges = plan.graph(
        package(
            tmp_path,
            search__block="from fastgradcheck.search import cover\n",
            search__cover="from fastgradcheck.search.locate import locate\n",
            search__locate="from fastgradcheck.search.block import BlockSearch\n",
            search__apart="from fastgradcheck.search.block import BlockSearch\n",
        )
    )
    assert plan.circles(edges) == [["search.block", "search.cover", "search.locate"]]
    assert plan.upward(edges) == []


@pytest.mark.parametrize(
    "text",
    [
        "from fastgradcheck.report.text import render\n",
        "import fastgradcheck.report.text\n",
        "def told():\n    from fastgradcheck.report.text import render\n    return render\n",
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from fastgradcheck.report.text import render\n",
        "try:\n    from fastgradcheck.report import text\nexcept ImportError:\n    text = None\n",
    ],
    ids=["at once", "the module", "in a function", "for type checking", "if it is there"],
)
def test_an_import_upwards_is_found(text: str, tmp_path: Path) -> None:
    root = package(tmp_path, evaluation__plans=text, report__text="render = print\n")
    assert plan.upward(plan.graph(root)) == ["evaluation.plans imports report.text"]
    assert plan.circles(plan.graph(root)) == []


def test_an_import_of_the_packages_own_names_is_found(tmp_path: Path) -> None:
    root = package(tmp_path, problem__region="from fastgradcheck import gradcheck\n")
    assert plan.upward(plan.graph(root)) == ["problem.region imports __init__"]


def test_an_import_downwards_is_none_upwards(tmp_path: Path) -> None:
    root = package(
        tmp_path,
        report__text="from fastgradcheck.problem.finding import Finding\n",
        problem__finding="import numpy\nfrom numpy import typing\n",
    )
    assert plan.graph(root)["report.text"] == {"problem.finding"}
    assert plan.graph(root)["problem.finding"] == set()
    assert plan.upward(plan.graph(root)) == []


def test_a_relative_import_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"region\.py: a relative import"):
        plan.graph(package(tmp_path, problem__region="from . import blocks\n"))


def test_a_long_file_is_found(tmp_path: Path) -> None:
    root = package(
        tmp_path,
        problem__region="x = 1\n" * plan.LONGEST,
        problem__blocks="x = 1\n" * (plan.LONGEST + 1),
    )
    assert plan.long(root) == [f"problem.blocks: {plan.LONGEST + 1}"]


def test_a_room_that_is_not_in_the_plan_is_found(tmp_path: Path) -> None:
    root = package(tmp_path, attic__boxes="", problem__region="")
    assert {plan.room(name) for name in plan.files(root)} - set(plan.ROOMS) == {"attic"}


# What importing loads


def loaded_after(code: str) -> set[str]:
    listing = f"{code}\nimport sys\nprint(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in answer.stdout.split()}


def test_importing_the_package_loads_nothing_heavy() -> None:
    loaded = loaded_after("import fastgradcheck; dir(fastgradcheck)")
    assert not loaded & {*HEAVY, *FRAMEWORKS}


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
    strangers = {"numba", "llvmlite", "matplotlib", "sklearn", "dask", *FRAMEWORKS}
    assert not loaded_after(code) & strangers
