"""What was checked, when, by what and where: the head of a report."""

from __future__ import annotations

import functools
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from fastgradcheck.report.outcome import Origin
from fastgradcheck.version import __version__

WRAPPINGS = 8
"""Of a function that are looked through."""
WHEN = "%Y-%m-%d %H:%M UTC"


def origin_of(cost: Any, grad: Any) -> Origin:
    """The origin of a check that begins now.

    Parameters
    ----------
    cost, grad
        As in `gradcheck`.

    Examples
    --------
    >>> import numpy as np
    >>> origin_of(np.sum, np.ones(3)).grad
    'an array'
    """
    # Not platform.platform: its first call starts a process on some systems.
    machine = (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, NumPy {np.__version__}"
    )
    when = time.strftime(WHEN, time.gmtime())
    return Origin(_named(cost), _claim(grad), when, __version__, machine)


def _claim(grad: Any) -> str:
    if grad is True:
        return "the gradient that it returns"
    return _named(grad) if callable(grad) else _value(grad)


def _value(grad: Any) -> str:
    return "an array" if isinstance(grad, np.ndarray) else f"a {type(grad).__name__} of arrays"


def _named(function: Any) -> str:
    """The name of a callable, and the line that defines it."""
    for _ in range(WRAPPINGS):
        partial = isinstance(function, functools.partial)
        function = function.func if partial else getattr(function, "__wrapped__", function)
    function = getattr(function, "py_func", function)  # a function that Numba compiles
    name = getattr(function, "__qualname__", type(function).__qualname__)
    name = name.rpartition("<locals>.")[2]
    code = getattr(function, "__code__", None)
    if code is None:
        module = getattr(function, "__module__", None) or type(function).__module__
        return name if module in (None, "__main__", "builtins") else f"{name} ({module})"
    return f"{name} ({_place(code.co_filename)}, line {code.co_firstlineno})"


def _place(file: str) -> str:
    """The file as one would write it here; the cell of a notebook, whose file is temporary."""
    if "ipykernel" in file or file.startswith("<ipython"):
        return "a cell"
    path = Path(file)
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file
