"""`paircheck`: whether a jvp and a vjp are products with one and the same Jacobian."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.arguments import in_our_words
from fastgradcheck.check import seed_of, switched_off
from fastgradcheck.errors import GradcheckTypeError
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.problem.blocks import OF, Block
from fastgradcheck.problem.calls import Names, arguments_of
from fastgradcheck.problem.finding import Finding, Rank, by_rank
from fastgradcheck.problem.jacobian import multiplied
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.outputs import describe_outputs, eps_of
from fastgradcheck.problem.parameters import describe, vector
from fastgradcheck.problem.products import (
    IS_JVP,
    IS_VJP,
    cotangent,
    linear,
    of_outputs,
    of_parameters,
)
from fastgradcheck.report.origin import origin_of
from fastgradcheck.report.outcome import COMPONENT, Seconds
from fastgradcheck.result import GradcheckResult, skipped
from fastgradcheck.verdict.tolerances import tolerances_at
from fastgradcheck.verdict.verdict import BlockResult, Resolution, Verdict

ROUNDS = 4
"""Random pairs of vectors: as many as directions of a check."""
ROUNDING = 64.0
"""In units of eps and of the root of the sum of squares of their terms, what rounding may leave of
a difference of two inner products: entries are rounded each by itself. Products with float32
networks of 1 to 20 layers show 0.2 to 2, and 20 at most."""
GRID = 256
"""The vectors' entries are whole multiples of 1 / GRID, which are exact in float32 and float16."""
FIRST = "The order is paircheck(jvp, vjp, theta, like)."

Array = NDArray[np.float64]
Product = Callable[[Array], Array]


@in_our_words
def paircheck(
    jvp: Callable[..., Any],
    vjp: Callable[..., Any],
    theta: Any,
    like: Any,
    *,
    args: tuple[Any, ...] = (),
    layout: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    threshold: float | None = None,
    seed: int | None = None,
) -> GradcheckResult:
    """Check that ``u.(J v) = v.(J'u)``: that a jvp and a vjp belong to the same Jacobian.

    No differences are taken, so that it is exact to rounding. What it cannot tell is which of the
    two is wrong, or whether both are: `jaccheck` with ``form="jvp"`` and ``form="vjp"`` does.

    Parameters
    ----------
    jvp, vjp : callable
        ``jvp(theta, v, *args)``, of the structure of F; ``vjp(theta, u, *args)``, of theta's.
    theta : float array or nest of them
        The point of the check.
    like : float array or nest of them
        F(theta), or anything of its structure and shapes.
    args : tuple
        Passed on to both.
    layout, outputs : mapping of str to shape, optional
        As in `jaccheck`.
    threshold : float, optional
        On the relative difference of the two inner products; 1e-7 by default, 1e-6 for float32.
    seed : int, optional
        Of the vectors; drawn, and reported, if None.

    Returns
    -------
    GradcheckResult
        A block for every output and parameter. WRONG also if one of the two is not linear in its
        vector; UNDECIDED if they differ by more than `threshold`, but no more than rounding may.

    Raises
    ------
    GradcheckInputError
        If an argument is unusable, or a product is not of the structure that it must have.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgradcheck as fgc
    >>> A = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> def jvp(theta, v):
    ...     return A @ v
    >>> def vjp(theta, u):
    ...     return A.T @ u
    >>> fgc.paircheck(jvp, vjp, np.ones(3), np.ones(2)).verdict.name
    'AGREES'
    >>> fgc.paircheck(jvp, lambda theta, u: -vjp(theta, u), np.ones(3), np.ones(2)).verdict.name
    'WRONG'
    """
    began = time.perf_counter()
    if switched_off():
        return skipped()
    for function, name in ((jvp, "jvp"), (vjp, "vjp")):
        if not callable(function):
            raise GradcheckTypeError(
                f"{name} is a {type(function).__name__}, which cannot be called; pass the function "
                f"{name}(theta, vector, *args)."
            )
    origin = origin_of(jvp, vjp)
    seed = seed_of(seed, None)
    theta = vector(theta)
    parameters = describe(theta, layout)
    outcomes = describe_outputs(like, outputs, "like")
    args = arguments_of(jvp, vjp, args, Names("jvp", "vjp"), vectors=1, first=1)
    m, n = outcomes.size, parameters.size
    counted = [0]

    def forward(v: Array) -> Array:
        counted[0] += 1
        vector = parameters.unflatten(v.astype(parameters.dtype))
        return of_outputs(jvp(theta, vector, *args), outcomes, "jvp", n)

    def backward(u: Array) -> Array:
        counted[0] += 1
        return of_parameters(vjp(theta, cotangent(u, outcomes), *args), parameters, "vjp", m)

    with one_blas_thread():
        v = parameters.unflatten(np.ones(n, parameters.dtype))
        u = cotangent(np.ones(m), outcomes)
        ahead = multiplied(jvp, "jvp", theta, args, v, u, f"{IS_VJP} {FIRST}")
        # First of all: if it is not like `like`, vjp is not given what it takes either.
        of_outputs(ahead, outcomes, "jvp", n)
        back = multiplied(vjp, "vjp", theta, args, u, v, f"{IS_JVP} {FIRST}")
        of_parameters(back, parameters, "vjp", m)
        eps = max(eps_of(ahead), eps_of(back))
        tolerance = tolerances_at(eps, np.dtype(np.float64), threshold, None)
        found = linear(forward, n, eps, "jvp(theta, v)", "v")
        found += linear(backward, m, eps, "vjp(theta, u)", "u")
        table = _table(forward, backward, outcomes.blocks, parameters.blocks, seed)
    results = tuple(
        _block(output, parameter, table[:, :, o, b], eps, tolerance.threshold)
        for o, output in enumerate(outcomes.blocks)
        for b, parameter in enumerate(parameters.blocks)
    )
    wrong = tuple(block.name for block in results if block.verdict is Verdict.WRONG)
    verdict, reason = Verdict.AGREES, ""
    if found:
        verdict, reason = Verdict.WRONG, "One of the products is not linear in its vector."
    if wrong:
        verdict, reason = Verdict.WRONG, ""
        found += (_disagreement(wrong, results),)
    elif verdict is Verdict.AGREES and any(b.verdict is Verdict.UNDECIDED for b in results):
        verdict = Verdict.UNDECIDED
    vanishing = tuple(b.name for b in results if b.norm_grad == b.norm_gradapprox == 0)
    if verdict is Verdict.AGREES and len(vanishing) == len(results):
        verdict = Verdict.UNDECIDED
        reason = "Both products are zero, whatever the vector: there is nothing to compare."
    elif vanishing:
        found += (_zero(vanishing),)
    total = norm(table[0].ravel()) + norm(table[1].ravel())
    difference = norm((table[0] - table[1]).ravel())
    return GradcheckResult(
        verdict=verdict,
        relative_difference=difference / total if total else 0.0,
        limit=max(block.limit for block in results),
        threshold=tolerance.threshold,
        rtol=tolerance.rtol,
        resolution=Resolution(float("inf"), 0.0, float("nan")),
        blocks=results,
        components=np.zeros(0, COMPONENT),
        wrong=wrong,
        findings=by_rank(found),
        coverage=(
            f"All {m:,} x {n:,} entries were covered by {ROUNDS} random pairs of vectors for every "
            "output and parameter, without differences."
        ),
        evaluations=counted[0] + 2,
        seconds=Seconds(time.perf_counter() - began, 0.0),
        engine="python",
        n_jobs=1,
        scheme="none",
        strategy="pairs",
        seed=seed,
        steps={},
        noise=0.0,
        size=m * n,
        interrupted=False,
        origin=origin,
        subject="pair of products",
        reason=reason,
    )


def _table(
    forward: Product,
    backward: Product,
    outputs: tuple[Block, ...],
    parameters: tuple[Block, ...],
    seed: int,
) -> Array:
    """u.(J v), v.(J'u) and what rounding is relative to, for every round, output and parameter."""
    rng = np.random.default_rng([seed, 8])
    m, n = outputs[-1].stop, parameters[-1].stop
    rounds = []
    for _ in range(ROUNDS):
        u, v = (
            rng.choice([-1.0, 1.0], size) * rng.integers(GRID // 2, 3 * GRID // 2, size) / GRID
            for size in (m, n)
        )
        ahead, size_ahead = _inner(forward, v, parameters, u, outputs)
        back, size_back = _inner(backward, u, outputs, v, parameters)
        rounds.append([ahead.T, back, size_ahead.T + size_back])
    return np.stack(rounds, axis=1)


def _inner(
    product: Product, given: Array, into: tuple[Block, ...], beside: Array, out: tuple[Block, ...]
) -> tuple[Array, Array]:
    """Inner products of `beside` and the products of `given`, by blocks, and their sizes.

    A vector that is zero outside of one block of `into` costs one product, and gives a row.
    """
    value, size = np.zeros((2, len(into), len(out)))
    for i, block in enumerate(into):
        own = np.zeros(len(given))
        own[block.slice] = given[block.slice]
        returned = product(own)
        for j, other in enumerate(out):
            terms = beside[other.slice] * returned[other.slice]
            value[i, j] = terms.sum()
            size[i, j] = norm(terms)
    return value, size


def _block(
    output: Block, parameter: Block, pairs: Array, eps: float, threshold: float
) -> BlockResult:
    """What the pairs say of one output and one parameter; `pairs` is of shape (3, rounds)."""
    ahead, back, size = pairs
    bar = ROUNDING * eps * size
    difference = np.abs(ahead - back)
    total = norm(ahead) + norm(back)
    finite = bool(np.isfinite(total))
    relative = norm(difference) / total if finite and total else 0.0
    limit = min((norm(difference) + norm(bar)) / total, 1.0) if finite and total else 0.0
    off = norm(np.maximum(difference - bar, 0.0)) > threshold * total
    verdict, reason = Verdict.AGREES, ""
    if off or not finite:
        verdict = Verdict.WRONG
    elif relative > threshold:
        verdict = Verdict.UNDECIDED
        reason = (
            f"jvp and vjp differ by {relative:.1g}, more than the threshold, and rounding may do "
            "that: let both compute in float64, or pass a larger threshold."
        )
    return BlockResult(
        name=f"{output.name}{OF}{parameter.name}",
        shape=(*output.shape, *parameter.shape),
        size=output.size * parameter.size,
        verdict=verdict,
        checked=0,
        covered=output.size * parameter.size,
        directions=ROUNDS,
        norm_grad=norm(ahead),
        norm_gradapprox=norm(back),
        relative_difference=relative if finite else float("nan"),
        limit=limit if finite else float("nan"),
        lower=0.0,
        resolution=float("inf"),
        wrong=output.size * parameter.size if verdict is Verdict.WRONG else 0,
        worst="",
        step=float("nan"),
        split=len(output.shape),
        reason=reason,
    )


def _zero(names: tuple[str, ...]) -> Finding:
    """Where both products are zero."""
    shown = ", ".join(names[:6] + ("...",) * (len(names) > 6))
    message = (
        f"Both products are zero in {shown}: there they agree whatever J is. That is right where "
        "the output does not depend on the parameter; else both of them lack the same term. "
        "jaccheck tells which."
    )
    return Finding("zero-block", message, Rank.LIMIT)


def _disagreement(wrong: tuple[str, ...], blocks: tuple[BlockResult, ...]) -> Finding:
    """Where jvp and vjp differ, and by what factor."""
    first = next(block for block in blocks if block.name == wrong[0])
    more = f" and in {len(wrong) - 1} more blocks" if len(wrong) > 1 else ""
    ratio = first.norm_grad / first.norm_gradapprox if first.norm_gradapprox else np.inf
    message = (
        f"u.(J v) and v.(J'u) differ in {wrong[0]}{more}: sizes {first.norm_grad:.6g} by jvp and "
        f"{first.norm_gradapprox:.6g} by vjp (ratio {ratio:.6g}). Check both by jaccheck, with "
        'form="jvp" and form="vjp", to see which of them is wrong.'
    )
    return Finding("pair", message, Rank.BUG)
