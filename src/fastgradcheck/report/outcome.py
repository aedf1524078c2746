"""What a check found, as data: all that a report tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem.finding import Finding
from fastgradcheck.verdict.verdict import BlockResult, Resolution, Verdict

COMPONENT = np.dtype(
    [
        ("index", np.int64),
        ("analytic", np.float64),
        ("numeric", np.float64),
        ("error", np.float64),
        ("verdict", np.uint8),
    ]
)
"""dtype of ``Outcome.components``; ``verdict`` holds `Verdict.code`."""


def furthest_first(components: NDArray[Any]) -> NDArray[np.intp]:
    """The order of components by |analytic - numeric|, NaN before every number.

    Parameters
    ----------
    components : structured array of dtype `COMPONENT`, shape (k,)

    Returns
    -------
    int array, shape (k,)
        Positions; equally far ones keep their order.
    """
    return np.argsort(-distances(components), kind="stable")


def distances(components: NDArray[Any]) -> NDArray[np.float64]:
    """|analytic - numeric|, inf for NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(components["analytic"] - components["numeric"])
    distance[np.isnan(distance)] = np.inf
    return np.asarray(distance)


@dataclass(frozen=True)
class Seconds:
    """Where the wall time went.

    Attributes
    ----------
    total : float
    compiling : float
        Numba's time for the user's cost; part of `total`.
    """

    total: float
    compiling: float


@dataclass(frozen=True)
class Origin:
    """What was checked, when, by what and where; empty where it is not known.

    Attributes
    ----------
    cost, grad : str
        Their names, and where they are defined: ``"cost (model.py, line 12)"``.
    when : str
        The time at which the check began, in UTC: ``"2026-03-01 12:34 UTC"``.
    version : str
        Of fastgradcheck.
    machine : str
        System, cores, and the versions of Python and NumPy.
    """

    cost: str = ""
    grad: str = ""
    when: str = ""
    version: str = ""
    machine: str = ""


@dataclass(frozen=True, eq=False)
class Sweep:
    """Differences of one component over a sweep of steps: the V-curve.

    Attributes
    ----------
    address : str
    steps : float array, shape (k,), decreasing
    derivatives : float array, shape (k,)
        The unextrapolated central differences.
    value, error : float
        The derivative that the sweep gives, and its bar.
    """

    address: str
    steps: NDArray[np.float64]
    derivatives: NDArray[np.float64]
    value: float
    error: float


@dataclass(frozen=True, eq=False)
class Section:
    """J along one component of theta, the others as they are.

    Attributes
    ----------
    address : str
    analytic : float
        The claimed slope at theta.
    epsilon : float
        How far theta- and theta+ are from theta, in theta's units.
    offsets : float array, shape (k,), increasing
        Displacements of the component; among them -epsilon, 0 and epsilon.
    values : float array, shape (k,)
        J at the offsets.
    """

    address: str
    analytic: float
    epsilon: float
    offsets: NDArray[np.float64]
    values: NDArray[np.float64]

    def at(self, offset: float) -> float:
        """J at the offset nearest to this one."""
        return float(self.values[np.argmin(np.abs(self.offsets - offset))])


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a check found, and what it took.

    Attributes
    ----------
    verdict : Verdict
    relative_difference : float
        ||grad - gradapprox|| / (||grad|| + ||gradapprox||) over all that was measured.
    limit : float
        Its upper limit, error bars included.
    threshold, rtol : float
        The tolerances that applied.
    resolution : Resolution
    blocks : tuple of BlockResult
        In theta's order.
    components : structured array
        One record per component measured, by index: ``index``, ``analytic``, ``numeric``,
        ``error`` (bar), ``verdict`` (`Verdict.code`).
    wrong : tuple of str
        Addresses of the components (or regions such as ``W1[:, 3]``, or blocks) confirmed wrong,
        worst first.
    findings : tuple of Finding
        What names the bug first, then what limits the answer, then notes.
    coverage : str
        What was covered, in words.
    evaluations : int
        How often J was evaluated, everything included.
    remembered : int
        How many of these evaluations a checkpoint remembered from an earlier run.
    seconds : Seconds
    engine : str
    n_jobs : int
    scheme, strategy : str
    seed : int
    steps : mapping of str to float
        Block name to step.
    noise : float
        The measured noise of J, absolute.
    size : int
        Number of components of theta.
    interrupted : bool
        True when the check was stopped by Ctrl-C, or by its budget before all was covered: it
        never agrees then.
    sweeps : tuple of Sweep
        The step sweeps behind the confirmed components.
    reason : str
        Why nothing was decided, where that is no matter of tolerances: the check was stopped, or
        J does not depend on theta. Empty otherwise.
    origin : Origin
        What was checked, when, and where.
    orders : tuple of float, or None
        The orders with which Taylor's remainders R0 and R1 fall along random directions, 1 and 2
        if the claim is right (nan: lost in noise); for a Hessian that of R2, 3 if it is right;
        and, last, the step h at which they do.
    subject : str
        A key of `fastgradcheck.verdict.verdict.SUBJECTS`: ``"gradient"``, ``"Jacobian"``, ...
    """

    verdict: Verdict
    relative_difference: float
    limit: float
    threshold: float
    rtol: float
    resolution: Resolution
    blocks: tuple[BlockResult, ...]
    components: NDArray[Any]
    wrong: tuple[str, ...]
    findings: tuple[Finding, ...]
    coverage: str
    evaluations: int
    seconds: Seconds
    engine: str
    n_jobs: int
    scheme: str
    strategy: str
    seed: int
    steps: Mapping[str, float]
    noise: float
    size: int
    interrupted: bool
    sweeps: tuple[Sweep, ...] = ()
    remembered: int = 0
    reason: str = ""
    origin: Origin = Origin()
    subject: str = "gradient"
    orders: tuple[float, ...] | None = None

    @property
    def covered(self) -> int:
        """Components looked at, by directions or one by one."""
        return sum(block.covered for block in self.blocks)

    @property
    def partial(self) -> bool:
        """Whether some of the components were not looked at."""
        return self.covered < self.size
