"""The answers of a check, a block and a component, as frozen values."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from fastgradcheck.problem.blocks import Block


class Verdict(enum.Enum):
    """The answer of a check, a block or a component."""

    AGREES = "AGREES"
    WRONG = "WRONG"
    UNDECIDED = "UNDECIDED"
    SKIPPED = "SKIPPED"

    @property
    def sentence(self) -> str:
        """What the verdict means of a gradient, in one sentence."""
        return self.about("gradient")

    def about(self, subject: str) -> str:
        """What the verdict means of a ``"gradient"``, a ``"Jacobian"``, or another subject."""
        return _SENTENCES[self].format(claim=f"The {subject}", truth=SUBJECTS[subject].truth)

    @property
    def code(self) -> int:
        """The number that stands for the verdict in ``GradcheckResult.components``."""
        return _CODES[self]


@dataclass(frozen=True)
class Subject:
    """What a check is about, in words.

    Attributes
    ----------
    truth : str
        What the claim should be.
    function : str
        What is evaluated.
    entry : str
        One number of the claim.
    """

    truth: str
    function: str
    entry: str


SUBJECTS = {
    "gradient": Subject("the gradient of the cost", "J", "component"),
    "Jacobian": Subject("the Jacobian of the function", "F", "entry"),
    "Hessian": Subject("the derivative of the gradient", "the gradient", "entry"),
    "pair of products": Subject("a product and its transpose", "the products", "block"),
}


_SENTENCES = {
    Verdict.AGREES: "{claim} is {truth}, to the resolution stated.",
    Verdict.WRONG: "{claim} is not {truth}.",
    Verdict.UNDECIDED: "The numeric side cannot decide at this tolerance.",
    Verdict.SKIPPED: "Nothing was checked: FASTGRADCHECK=off is set.",
}


_CODES = {verdict: code for code, verdict in enumerate(Verdict)}


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
        Random directions that covered the block, by itself or with others.
    covered : int
        Components looked at: by directions, or one by one.
    norm_grad, norm_gradapprox : float
        Euclidean norms over the components measured, or, when directions covered the block,
        over all of it (the numeric one estimated; of blocks that share directions, from a share of
        the claim that is the same for all of them).
    relative_difference : float
        ||grad - gradapprox|| / (||grad|| + ||gradapprox||), 0 where both are exactly zero.
    limit : float
        Upper limit of the relative difference, error bars included.
    lower : float
        What the confirmed measurements alone prove about the relative difference.
    resolution : float
        Smallest isolated error of the block that would have been seen; inf if none.
    wrong : int
        Components confirmed wrong.
    worst : str
        Address of the worst component, empty if none stands out.
    step : float
        The step used, in theta's units; nan if the block was not measured.
    reason : str
        Why the block is undecided, and what to change; empty otherwise.
    at_least : bool
        True if more components may be wrong than `wrong` counts: not all were looked at, or
        confirmed.
    split : int, optional
        Of a block of a Jacobian: how many of the axes of `shape` are the output's.
    pairs : bool
        Whether the last axis of `shape` holds the real and imaginary parts of a complex array.
    """

    name: str
    shape: tuple[int, ...]
    size: int
    verdict: Verdict
    checked: int
    directions: int
    covered: int
    norm_grad: float
    norm_gradapprox: float
    relative_difference: float
    limit: float
    lower: float
    resolution: float
    wrong: int
    worst: str
    step: float
    reason: str = ""
    at_least: bool = False
    split: int | None = None
    pairs: bool = False

    @property
    def rows(self) -> int:
        """Rows of the block seen as a matrix (`fastgradcheck.problem.blocks.Block.rows`)."""
        return Block(self.name, 0, self.shape, self.split).rows
