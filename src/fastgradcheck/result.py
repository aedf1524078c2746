"""What a check returns: verdict, evidence, coverage and cost, as frozen values."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem import Finding, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from fastgradcheck.judge import BlockEvidence, Tolerances
    from fastgradcheck.selftest import SelfTest


class Verdict(enum.Enum):
    """The answer of a check, a block or a component."""

    AGREES = "AGREES"
    WRONG = "WRONG"
    UNDECIDED = "UNDECIDED"
    SKIPPED = "SKIPPED"

    @property
    def sentence(self) -> str:
        """What the verdict means, in one sentence."""
        return _SENTENCES[self]

    @property
    def code(self) -> int:
        """The number that stands for the verdict in ``GradcheckResult.components``."""
        return _CODES[self]


_SENTENCES = {
    Verdict.AGREES: "The gradient is the gradient of the cost, to the resolution stated.",
    Verdict.WRONG: "The gradient is not the gradient of the cost.",
    Verdict.UNDECIDED: "The numeric side cannot decide at this tolerance.",
    Verdict.SKIPPED: "Nothing was checked: FASTGRADCHECK=off is set.",
}
_CODES = {verdict: code for code, verdict in enumerate(Verdict)}

COMPONENT = np.dtype(
    [
        ("index", np.int64),
        ("analytic", np.float64),
        ("numeric", np.float64),
        ("error", np.float64),
        ("verdict", np.uint8),
    ]
)
"""dtype of ``GradcheckResult.components``; ``verdict`` holds `Verdict.code`."""


@dataclass(frozen=True)
class Resolution:
    """The smallest isolated error that the check would have seen.

    Attributes
    ----------
    size : float
        Absolute, in units of the gradient: a single component wrong by more than this, in any
        block, would have been called wrong ...
    probability : float
        ... with at least this probability (the fraction of components looked at, or the
        confidence of the directions).
    relative : float
        `size` over the median absolute value of the gradient's non-zero entries.
    """

    size: float
    probability: float
    relative: float


@dataclass(frozen=True)
class BlockResult:
    """What was found for one block (layer) of theta.

    Attributes
    ----------
    name : str
    shape : tuple of int
    size : int
    verdict : Verdict
    checked : int
        Components measured one by one.
    directions : int
        Random directions that covered all of the block.
    norm_grad, norm_gradapprox : float
        Euclidean norms over the components measured, or, when directions covered the block,
        over all of it (the numeric one estimated).
    relative_difference : float
        ||grad - gradapprox|| / (||grad|| + ||gradapprox||), 0 where both are exactly zero.
    limit : float
        Upper limit of the relative difference, error bars included.
    lower : float
        What the confirmed measurements alone prove about the relative difference.
    resolution : float
        Smallest isolated error of the block that would have been seen; inf if none.
    wrong : int
        Components confirmed wrong; `size` when the block is wrong throughout.
    worst : str
        Address of the worst component, empty if none stands out.
    step : float
        The step used, in theta's units; nan if the block was not measured.
    reason : str
        Why the block is undecided, and what to change; empty otherwise.
    """

    name: str
    shape: tuple[int, ...]
    size: int
    verdict: Verdict
    checked: int
    directions: int
    norm_grad: float
    norm_gradapprox: float
    relative_difference: float
    limit: float
    lower: float
    resolution: float
    wrong: int
    worst: str
    step: float
    reason: str


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


@dataclass(frozen=True, eq=False)
class Sweep:
    """Differences of one component over a ladder of steps: the V-curve.

    Attributes
    ----------
    address : str
    steps : float array, shape (k,), decreasing
    derivatives : float array, shape (k,)
        The unextrapolated central differences.
    value, error : float
        What the ladder settled on, and its bar.
    """

    address: str
    steps: NDArray[np.float64]
    derivatives: NDArray[np.float64]
    value: float
    error: float


@dataclass(frozen=True, eq=False)
class GradcheckResult:
    """The result of `gradcheck`. True only if the verdict is AGREES.

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
    coverage : str
        What was covered, in words.
    evaluations : int
        How often J was evaluated, everything included.
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
        True when the check was stopped by Ctrl-C or by its budget before it was through.
    sweeps : tuple of Sweep
        The ladders behind the confirmed components.
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
    problem: Problem | None = field(default=None, repr=False)
    measurements: tuple[list[BlockEvidence], Tolerances] | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        return self.verdict is Verdict.AGREES

    def __str__(self) -> str:
        from fastgradcheck.report.text import render

        return render(self)

    def report(self, *, verbose: bool = False) -> str:
        """The report as plain text; `verbose` lists every block, component and finding."""
        from fastgradcheck.report.text import render

        return render(self, verbose=verbose)

    def to_dict(self, *, components: bool | None = None) -> dict[str, Any]:
        """The result as plain Python values.

        Parameters
        ----------
        components : bool, optional
            Whether to include the component arrays; by default only up to 10,000 of them.
        """
        from fastgradcheck.report.json import to_dict

        return to_dict(self, components=components)

    def to_json(self, *, components: bool | None = None, indent: int | None = None) -> str:
        """The result as JSON; `from_json` reads it back. See `to_dict`."""
        from fastgradcheck.report.json import to_json

        return to_json(self, components=components, indent=indent)

    @classmethod
    def from_json(cls, text: str) -> GradcheckResult:
        """Read a result back that `to_json` wrote."""
        from fastgradcheck.report.json import from_json

        return from_json(text)

    def to_html(self, path: str | Path | None = None) -> str:
        """The report as one self-contained HTML page, also written to `path` if given."""
        from fastgradcheck.report.html import to_html

        return to_html(self, path)

    def _repr_html_(self) -> str:
        from fastgradcheck.report.html import fragment

        return fragment(self)

    def plot(self, kind: str | None = None) -> Any:
        """Pictures of the evidence, as a matplotlib figure (extra ``plot``).

        Parameters
        ----------
        kind : {"scatter", "heatmap", "steps", "secant"}, optional
            One picture alone; by default all four.
        """
        from fastgradcheck.report.plots import plot

        return plot(self, kind)

    def self_test(self) -> SelfTest:
        """Would this check have caught a fault? Plants faults in copies of the gradient.

        Returns
        -------
        SelfTest
            The detection rate per kind of fault and block, at the settings of this check.

        Raises
        ------
        GradcheckInputError
            If the result was read back from JSON and no longer holds its measurements.
        """
        from fastgradcheck.selftest import self_test

        return self_test(self)
