"""``fastgradcheck doctor``: what this machine offers to a check, and what it means for speed."""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from fastgradcheck.version import __version__

_DEPENDENCIES = ("numpy", "scipy", "numba", "llvmlite", "joblib")


_EXTRAS = {
    "matplotlib": ("plot", "result.plot()"),
    "jinja2": ("plot", "result.to_html() and --html"),
    "distributed": ("dask", "checks on a Dask cluster"),
    "sklearn": ("demo", "fastgradcheck demo"),
}


_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


@dataclass(frozen=True)
class Fact:
    """One thing about this machine.

    Attributes
    ----------
    name : str
    value : str
        As found.
    meaning : str
        What it means for a check, and what to do if it is worth a change.
    good : bool
        False if there is something to gain.
    """

    name: str
    value: str
    meaning: str
    good: bool = True


def examine() -> tuple[Fact, ...]:
    """Look at everything that decides how fast a check runs here.

    Returns
    -------
    tuple of Fact
        A probe that fails is a fact as well: a broken installation is what this is for.
    """
    return tuple(_probe(name, look) for name, look in _PROBES.items())


def show(facts: tuple[Fact, ...]) -> None:
    """Print the facts to stdout, as a table as wide as the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for fact in facts:
        mark = Text("ok", "green") if fact.good else Text("note", "yellow")
        body = Text.assemble(fact.value, "\n", (fact.meaning, "dim"))
        table.add_row(mark, Text(fact.name, "bold"), body)
    console = Console()
    console.print(table)
    notes = [fact.name for fact in facts if not fact.good]
    console.print(
        Text(f"\nWorth a look: {', '.join(notes)}." if notes else "\nNothing to gain here.")
    )


def _probe(name: str, look: Callable[[], Fact]) -> Fact:
    try:
        return look()
    except Exception as error:
        return Fact(
            name,
            f"{type(error).__name__}: {error}",
            "This could not be determined; the installation may be broken. Reinstall fastgradcheck "
            "in a fresh virtual environment if checks fail as well.",
            good=False,
        )


def _versions() -> Fact:
    told = [f"{name} {metadata.version(name)}" for name in _DEPENDENCIES]
    told.insert(0, f"fastgradcheck {__version__}")
    python = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return Fact("versions", f"{python}\n{', '.join(told)}", "Quote these in a bug report.")


def _cores() -> Fact:
    threads = int(_numba().config.NUMBA_NUM_THREADS)
    usable = usable_cores()
    value = f"{usable:g} usable of {os.cpu_count()}; Numba uses up to {threads} threads"
    if model := _cpu_model():
        value += f" ({model})"
    if threads > usable:
        return Fact(
            "cores",
            value,
            f"This process may not use as many cores as Numba has threads: they take turns. Set "
            f"NUMBA_NUM_THREADS={max(1, int(usable))}.",
            good=False,
        )
    if threads < int(usable):
        return Fact(
            "cores",
            value,
            f"NUMBA_NUM_THREADS leaves {int(usable) - threads} cores idle; unset it.",
            good=False,
        )
    return Fact(
        "cores",
        value,
        "The component loop takes 2n evaluations over this many; a screen takes a few hundred.",
    )


def usable_cores(quota: Path = _CGROUP_QUOTA) -> float:
    """How many cores this process may use: its affinity and its container's quota.

    Parameters
    ----------
    quota : path
        The control group's ``cpu.max``: microseconds of CPU time per period, and the period.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = float(len(affinity(0)) if affinity else os.cpu_count() or 1)
    try:
        allowed, period = quota.read_text().split()
        return min(cores, int(allowed) / int(period))
    except (OSError, ValueError):  # no control group, or "max": no limit
        return cores


def _threading() -> Fact:
    numba = _numba()
    numba.get_num_threads()  # starts the threads, which is when the layer is chosen
    layer = numba.threading_layer()
    meaning = {
        "tbb": "Parallel kernels balance well and may be used from several threads at once.",
        "omp": "Parallel kernels run at full speed. A child forked after one runs serially, as "
        "OpenMP does not survive a fork.",
        "workqueue": "Parallel kernels run, one at a time. The layers omp and tbb balance uneven "
        "costs better (pip install tbb).",
    }
    return Fact("threading layer", layer, meaning.get(layer, ""), good=layer != "workqueue")


def _svml() -> Fact:
    if _numba().config.USING_SVML:
        return Fact("SVML", "in use", "tanh, exp and log in njit loops run several at a time.")
    return Fact(
        "SVML",
        "not in use",
        "tanh, exp and log in njit costs run one at a time, so that a vectorised NumPy cost full "
        "of them can be the faster one: try both. Wheels from PyPI are built without SVML; with "
        "conda:  conda install numba intel-cmplr-lib-rt",
        good=platform.machine().lower() not in ("x86_64", "amd64"),
    )


def _blas() -> Fact:
    import numpy as np
    import scipy.linalg.blas  # noqa: F401  loads SciPy's own BLAS, the one that njit code calls
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    if not pools:
        return Fact(
            "BLAS",
            "none that can be controlled",
            "Its threads may compete with the check's, and the last bits of a cost may change with "
            "them. Set OMP_NUM_THREADS=1 or install NumPy from PyPI or conda-forge.",
            good=False,
        )
    told = sorted({f"{_library(p)}, {p['num_threads']} threads" for p in pools})
    return Fact(
        "BLAS",
        "\n".join(told),
        "Held to one thread while a cost is evaluated: the check's own threads use the cores, and "
        "the last bits of the cost stay the same.",
    )


def _library(pool: Mapping[str, Any]) -> str:
    version, architecture = pool.get("version"), pool.get("architecture")
    return " ".join(str(part) for part in (pool["internal_api"], version, architecture) if part)


def _cache() -> Fact:
    from fastgradcheck.evaluation.engines import kernels

    try:
        folder = _numba().njit(cache=True)(kernels.perturb).stats.cache_path
    except RuntimeError as error:
        return Fact(
            "kernel cache",
            f"none ({error})",
            "Every process compiles the kernels anew, for seconds. Set NUMBA_CACHE_DIR to a folder "
            "that can be written.",
            good=False,
        )
    kept = list(Path(folder).glob("kernels.*.nbc"))
    size = sum(file.stat().st_size for file in kept) / 2**20
    if not kept:
        return Fact(
            "kernel cache",
            f"empty ({folder})",
            "The first check of an njit cost compiles a kernel, for seconds; later processes load "
            "it. In CI, keep this folder between runs.",
        )
    return Fact(
        "kernel cache",
        f"{len(kept)} kernels, {size:.1f} MB ({folder})",
        "A check of an njit cost whose argument types were seen before starts without compiling "
        "the kernels. The cost itself is compiled unless it is declared with njit(cache=True).",
    )


def _settings() -> Fact:
    slow = {
        "NUMBA_DISABLE_JIT": ("1", "njit costs run as plain Python, a hundred times slower"),
        "NUMBA_OPT": ("0", "njit code is not optimised"),
        "NUMBA_BOUNDSCHECK": (
            "1",
            "every index is checked: right for finding bugs, but slow",
        ),
        "FASTGRADCHECK": ("off", "every check returns SKIPPED at once"),
    }
    on = [
        f"{name}={value}: {effect}"
        for name, (value, effect) in slow.items()
        if os.environ.get(name, "").lower() == value
    ]
    ours = ("NUMBA_", "OMP_", "MKL_", "OPENBLAS_", "FASTGRADCHECK")
    value = ", ".join(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith(ours))
    meaning = ". ".join(on) if on else "No environment variable slows a check down."
    return Fact("settings", value or "defaults", meaning, good=not on)


def _extras() -> Fact:
    absent = {name: told for name, told in _EXTRAS.items() if not _installed(name)}
    present = ", ".join(name for name in _EXTRAS if name not in absent) or "none"
    if not absent:
        return Fact("extras", present, "Everything optional is installed.")
    lacking = "; ".join(
        f"{name} for {use} (pip install 'fastgradcheck[{extra}]')"
        for name, (extra, use) in absent.items()
    )
    return Fact("extras", present, f"Not installed: {lacking}. No check is slower without them.")


def _numba() -> Any:
    """Numba, as a module whose types nobody knows: what it says of them is incomplete."""
    import numba

    return numba


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def _cpu_model() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


_PROBES: dict[str, Callable[[], Fact]] = {
    "versions": _versions,
    "cores": _cores,
    "threading layer": _threading,
    "SVML": _svml,
    "BLAS": _blas,
    "kernel cache": _cache,
    "settings": _settings,
    "extras": _extras,
}
