"""Gradients of 16 bits and fewer: what rounding is expected to leave of them.

J is evaluated in float64 and never in such a dtype, so that differences are sharp; but a right
gradient of bfloat16 is off by half a percent of each block. The rounding of every factor and
partial sum is taken as an independent error of eps / sqrt(12): there are a few factors, and
log2(K) levels of partial sums where K terms are added in pairs (Higham, *Accuracy and stability of
numerical algorithms*, 2002, section 4.2; as random errors: Higham and Mary, SIAM J. Sci. Comput. 41
(2019)). So a block of norm g has an error of norm

    g * eps * sqrt((FACTORS + log2 K) / 12),

more than what attention, cross-entropy and small perceptrons in eager torch show: 0.3 to 0.8 eps.
A long chain of layers in such a dtype loses more, and a kernel that adds up in float32 less: a
yardstick, another gradient of the same dtype, tells how much (`fastgradcheck.search.yardstick`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.problem.foreign import COARSE
from fastgradcheck.problem.nests import leaves
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.problem import Objective

FACTORS = 4
"""Roundings on the way to one term of a gradient's sums."""


def terms(objective: Objective) -> int:
    """How many terms the sums of a gradient have: the rows of the largest array it may be over.

    Arrays in args, those that the cost holds as ``cost.args``, as `functools.partial` does, and the
    blocks of theta; 1 if all of them are numbers.
    """
    data = (objective.args, getattr(objective.cost, "args", ()))
    shapes = [tuple(getattr(leaf, "shape", ())) for _, leaf in leaves(data)]
    shapes += [block.shape for block in objective.parameters.blocks]
    return max([1, *(_rows(shape) for shape in shapes)])


def _rows(shape: tuple[int, ...]) -> int:
    return math.prod(shape[:-1] if len(shape) > 1 else shape)


def expected(objective: Objective, gradient: NDArray[np.float64], eps: float) -> NDArray[Any]:
    """The norm of the rounding of each block, shape (blocks,)."""
    level = relative(eps, terms(objective))
    return level * np.array([norm(gradient[b.slice]) for b in objective.parameters.blocks])


def relative(eps: float, count: int) -> float:
    """The rounding of a block of which each entry is a sum of so many terms, relative to it."""
    return eps * math.sqrt((FACTORS + math.log2(count)) / 12)


def derived(objective: Objective, eps: float, threshold: float, claim: str = "gradient") -> Finding:
    """A finding that says what tolerances were derived from, and how to get sharper ones."""
    count = terms(objective)
    level = relative(eps, count)
    return Finding(
        "low precision",
        f"The {claim} came in a dtype with eps = {eps:.2g}: it is expected to be off by "
        f"{level:.1%} of each {PARTS[claim]}, from eps and sums of {count:,} terms. "
        f"{passes(level, threshold, claim)} A {claim} of the same dtype that you trust, passed as "
        "yardstick=, tells more sharply what is to be expected.",
        Rank.LIMIT,
    )


def refuse_sharp(eps: float, claim: str = "gradient") -> None:
    """Refuse a yardstick for a claim of float32 or float64.

    Raises
    ------
    GradcheckInputError
    """
    if eps <= COARSE:
        raise GradcheckInputError(
            f"yardstick= is for {claim}s of 16 bits, such as bfloat16: this one came in float32 or "
            "float64, of which differences show all that matters. Leave yardstick= out."
        )


def passes(level: float, threshold: float, claim: str = "gradient") -> str:
    """What the tolerances for this expected rounding let through, in words."""
    return (
        f"A {claim} that is off by up to {2 * threshold:.1%} of its norm passes, an entry that is "
        f"off by up to {ITSELF * level:.1%} of itself and {TYPICAL * level:.1%} of its "
        f"{PARTS[claim]}'s typical entry."
    )


PARTS = {"gradient": "block", "Jacobian": "row", "Hessian": "row"}
"""What is rounded alike, and may be off by a part of its own size."""
WHOLE = 3.0
"""What all of a gradient may be off by, in units of the expected rounding: a relative difference of
half of that, since both norms are in it ..."""
BY_DIRECTIONS = 2.0
"""... or of twice that half, where directions limit it: sixteen of them give 2.6 to 3.2 times what
there is as a limit."""
BY_DIRECTIONS_OF_ROWS = 3.5
"""... where they limit all rows of a Jacobian together: eight of them give 4 to 7 times what there
is, as the limit holds for any number of rows (`differences.limits`)."""
ITSELF = 6.0
"""What an entry may be off by, in units of the expected rounding relative to itself ..."""
TYPICAL = 8.0
"""... and to the root mean square of its block. The worst of 16,000 entries of attention in
bfloat16 is off by 5 times the rounding of its block, relative to the two together."""
