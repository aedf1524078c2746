"""From ``model.py`` or ``package.model:cost`` to the objects that a check needs.

What is loaded is the user's code, so every way in which that goes wrong is told in one paragraph,
and an exception of the user's own is the ``__cause__`` of what is raised here.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError, said, told
from fastgradcheck.problem.calls import as_tuple, misfit

_OPTIONAL = {"args": (), "layout": None, "bounds": None, "outputs": None}

KINDS = {"gradient": ("cost", "grad"), "jacobian": ("fun", "jac"), "hessian": ("grad", "hess")}
"""What is checked, and by which names: the function's, and that of its derivative."""


_MISSING = object()


_T = TypeVar("_T")


@dataclass(frozen=True)
class Subject:
    """What is to be checked, as the user's modules define it."""

    cost: Any
    grad: Any
    theta: Any
    args: Any
    layout: Any
    bounds: Any
    outputs: Any = None
    kind: str = "gradient"


@dataclass(frozen=True)
class Place:
    """A module and a name in it, ``MODULE:NAME``; the module may be a file."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


def load_subject(
    target: str,
    grad: str | None = None,
    *,
    theta: str | None = None,
    args: str | None = None,
    layout: str | None = None,
    bounds: str | None = None,
    outputs: str | None = None,
    kind: str | None = None,
    vectors: int = 0,
) -> Subject:
    """Import what a command line names.

    Parameters
    ----------
    target : str
        ``MODULE`` or ``MODULE:COST``; a module is a file (``model.py``) or a dotted name.
    grad, theta, args, layout, bounds : str, optional
        ``NAME``, in the module of `target`, or ``MODULE:NAME``. By default the names that the
        parameters have; ``args``, ``layout`` and ``bounds`` may then be missing.
    outputs : str, optional
        The same, of a Jacobian.
    kind : {"gradient", "jacobian", "hessian"}, optional
        What is checked. None: what a module that defines no cost defines instead, ``fun`` and
        ``jac``, or ``grad`` and ``hess``; or what `grad` is called.
    vectors : int
        How many vectors the derivative takes between theta and args.

    Raises
    ------
    GradcheckInputError
        A module cannot be found or raises, or does not define what is needed.
    """
    module, name = _split(target)
    modules: dict[str, ModuleType] = {}
    if kind is None and name is None and grad is None:
        modules[module] = import_module(module)
        kind = _defined(modules[module])
    kind = kind or _called(grad) or "gradient"
    function, derivative = KINDS[kind]
    given = {function: name, derivative: grad, "theta": theta, "args": args}
    given |= {"layout": layout, "bounds": bounds}
    if kind == "jacobian":
        given["outputs"] = outputs
    places = {role: _place(role, text, module) for role, text in given.items()}
    for place in places.values():
        if place.module not in modules:
            modules[place.module] = import_module(place.module)
    found = {role: _look_up(modules[place.module], place) for role, place in places.items()}
    for role, default in _OPTIONAL.items():
        if role in found and found[role] is _MISSING and given[role] is None:
            found[role] = default
    absent = [role for role, value in found.items() if value is _MISSING]
    if absent:
        raise GradcheckInputError(_what_is_missing(absent, places, modules, kind))
    subject = Subject(cost=found.pop(function), grad=found.pop(derivative), kind=kind, **found)
    given_args = as_tuple(subject.args, subject.cost)
    for role, called, before in (
        (function, subject.cost, 0),
        (derivative, subject.grad, vectors),
    ):
        complaint = callable(called) and misfit(
            called, (None,) * before + given_args, places[role].name, str(places[role])
        )
        if complaint:
            raise GradcheckTypeError(complaint)
    return subject


def _defined(module: ModuleType) -> str | None:
    """What a module defines for a check, if that is no cost."""
    if hasattr(module, "cost"):
        return "gradient"
    return next(
        (kind for kind, names in KINDS.items() if all(hasattr(module, name) for name in names)),
        None,
    )


def _called(derivative: str | None) -> str | None:
    """What is checked if its derivative is called ``jac`` or ``hess``."""
    name = (derivative or "").rpartition(":")[2]
    return next((kind for kind, names in KINDS.items() if names[1] == name), None)


def import_module(where: str) -> ModuleType:
    """Import a module by file or by dotted name, the current folder included.

    Raises
    ------
    GradcheckInputError
        It is not there, or raises while it is imported (the exception is the cause).
    """
    path, dotted = Path(where), all(part.isidentifier() for part in where.split("."))
    if where.endswith((".py", ".ipynb")) or path.is_file() or not dotted:
        return _import_file(path)
    return _import_name(where)


def _split(text: str) -> tuple[str, str | None]:
    """MODULE and NAME; the colon of a Windows drive is not followed by a name alone."""
    module, colon, name = text.rpartition(":")
    if colon and module and all(part.isidentifier() for part in name.split(".")):
        return module, name
    if colon and not name:
        raise GradcheckInputError(f"{text!r} ends in a colon: write MODULE:NAME or MODULE.")
    return text, None


def _place(role: str, text: str | None, module: str) -> Place:
    if text is None:
        return Place(module, role)
    where, name = _split(text)
    if name is not None:
        return Place(where, name)
    if text.endswith(".py"):
        return Place(text, role)
    return Place(module, text)


def _import_file(path: Path) -> ModuleType:
    if path.is_dir():
        raise GradcheckInputError(
            f"{path} is a folder: name the file in it that defines cost, grad and theta."
        )
    if not path.is_file():
        raise GradcheckInputError(_no_such_file(path))
    if path.suffix != ".py":
        advice = "; export the notebook as a script first" if path.suffix == ".ipynb" else ""
        raise GradcheckInputError(
            f"{path} is not a Python file (its name must end in .py){advice}."
        )
    name = path.stem
    importable = name.isidentifier() and name not in sys.modules
    if not importable:
        name = "_" + re.sub(r"\W", "_", name)
    _search(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None  # as the suffix is .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader
    try:
        _guarded(str(path), f"python {path}", lambda: loader.exec_module(module))
    except BaseException:
        del sys.modules[name]
        raise
    if not importable:
        _cloudpickle().register_pickle_by_value(module)  # worker processes cannot import it
    return module


def _cloudpickle() -> Any:
    """The cloudpickle that joblib uses: up to version 1.5 it brings its own."""
    try:
        return importlib.import_module("joblib.externals.cloudpickle")
    except ImportError:
        return importlib.import_module("cloudpickle")


def _import_name(name: str) -> ModuleType:
    _search(Path.cwd())
    try:
        return _guarded(name, f"python -m {name}", lambda: importlib.import_module(name))
    except GradcheckInputError as error:
        cause = error.__cause__
        absent = cause.name if isinstance(cause, ModuleNotFoundError) else None
        if absent is None or not f"{name}.".startswith(f"{absent}."):
            raise
        raise GradcheckInputError(
            f"There is no module {absent!r} in {Path.cwd()} or among the installed packages"
            f"{_did_you_mean(absent, [p.stem for p in Path.cwd().glob('*.py')])}. A file is given "
            "with its suffix, as in model.py."
        ) from None


def _search(folder: Path) -> None:
    """Let the module find its neighbours, as ``python model.py`` would."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _guarded(label: str, command: str, load: Callable[[], _T]) -> _T:
    try:
        return load()
    except SystemExit as stop:
        raise GradcheckInputError(
            f"{label} ended the program (SystemExit: {stop.code}) while it was imported; move what "
            'runs the program under  if __name__ == "__main__":  and keep the definitions outside.'
        ) from stop
    except Exception as error:
        relative = "relative import" in said(error)
        advice = (
            "A file that belongs to a package is given by its dotted name, as in package.model."
            if relative
            else f"Mend it until  {command}  runs, then check again."
        )
        raise GradcheckInputError(
            f"{label} cannot be imported, it raised {told(error)}. {advice}"
        ) from error


def _look_up(module: ModuleType, place: Place) -> Any:
    found: Any = module
    for part in place.name.split("."):
        found = getattr(found, part, _MISSING)
    return found


def _what_is_missing(
    absent: list[str], places: dict[str, Place], modules: dict[str, ModuleType], kind: str
) -> str:
    lines = []
    for where in dict.fromkeys(places[role].module for role in absent):
        roles = [role for role in absent if places[role].module == where]
        names = " and no ".join(places[role].name for role in roles)
        defined = [n for n, v in vars(modules[where]).items() if _could_be_meant(n, v)]
        hints = "".join(_did_you_mean(places[role].name, defined) for role in roles)
        listing = ", ".join(defined[:12]) or "nothing"
        lines.append(f"{where} defines no {names}{hints}; it defines {listing}.")
    function, derivative = KINDS[kind]
    instead = ""
    if kind == "gradient" and function in absent:
        instead = "In the place of cost and grad there may be fun and jac, or grad and hess. "
    lines.append(
        f"A check needs {function}, {derivative} and theta, and takes args, layout and bounds "
        f"where they are defined. {instead}"
        f"Other names are given as  fastgradcheck check MODULE:{function.upper()} "
        f"{derivative.upper()} --theta THETA."
    )
    return " ".join(lines)


def _could_be_meant(name: str, value: Any) -> bool:
    return not name.startswith("_") and not isinstance(value, ModuleType)


def _no_such_file(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"There is no file {path}: the folder {folder} does not exist."
    suffixed = path.with_name(path.name + ".py")
    if suffixed.is_file():
        return f"There is no file {path}; did you mean {suffixed}?"
    neighbours = sorted(p.name for p in folder.glob("*.py"))
    return (
        f"There is no file {path.name} in {folder.resolve()}"
        f"{_did_you_mean(path.name, neighbours)}. What to check is written as model.py, "
        "model.py:cost or package.model:cost."
    )


def _did_you_mean(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
