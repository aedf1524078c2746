"""The tools that a gradient is otherwise checked with, behind one signature.

Each takes a `Problem` and gives an `Answer`, as its documentation tells a user to call it, with its
own default steps and tolerances. A tool that is not installed is left out.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import fastgradcheck as fgc
from benchmarks import timing
from benchmarks.problems import Array, Problem
from fastgradcheck.evaluation.engines.blas import one_blas_thread

THRESHOLD = 1e-7
"""On the relative difference, where a tool leaves the verdict to its user: the usual choice."""


@dataclass(frozen=True)
class Answer:
    """What a tool says of a gradient.

    Attributes
    ----------
    passed : bool
    relative : float or None
        ||grad - gradapprox|| / (||grad|| + ||gradapprox||), if the tool's numbers give it.
    named : tuple of int
        The components it calls wrong; of a tool that hands back a vector, the largest deviation.
    evaluations : int or None
        Its own count, None if it keeps none.
    """

    passed: bool
    relative: float | None = None
    named: tuple[int, ...] = ()
    evaluations: int | None = None


@dataclass(frozen=True)
class Tool:
    """One way to check a gradient.

    Attributes
    ----------
    name : str
    run : callable
    package : str
        The distribution that it comes from.
    reason : str
        Why it is faster than fastgradcheck, where it is.
    most : int
        The largest n that it is asked to; beyond, it needs minutes or more memory than there is.
    """

    name: str
    run: Callable[[Problem], Answer]
    package: str
    reason: str = "it measures neither the noise of J nor the error of its own numbers"
    most: int = 1_000_000

    def __str__(self) -> str:
        return self.name

    @property
    def label(self) -> str:
        """The name and the version."""
        if self.package in ("numpy", "fastgradcheck"):
            return self.name
        return f"{self.name} ({self.package} {importlib.metadata.version(self.package)})"


class Counted:
    """A cost that counts its calls."""

    def __init__(self, cost: Callable[..., float]) -> None:
        self.cost = cost
        self.calls = 0

    def __call__(self, *arguments: Any) -> float:
        self.calls += 1
        return self.cost(*arguments)


def fastgradcheck(**options: Any) -> Callable[[Problem], Answer]:
    """`gradcheck` with these options."""

    def run(problem: Problem) -> Answer:
        cost, grad, theta, args = problem
        result = fgc.gradcheck(cost, grad, theta, args=args, progress=False, seed=0, **options)
        wrong = result.components["verdict"] == fgc.Verdict.WRONG.code
        named = tuple(result.components["index"][wrong].tolist())
        return Answer(bool(result), result.relative_difference, named, result.evaluations)

    return run


def compared(numeric: Array, analytic: Array) -> Answer:
    """The verdict that users of a numeric gradient reach with the usual threshold."""
    off = numeric - analytic
    total = np.linalg.norm(numeric) + np.linalg.norm(analytic)
    relative = float(np.linalg.norm(off) / total)
    return Answer(relative <= THRESHOLD, relative, (int(np.argmax(np.abs(off))),))


def _numeric(gradient: Callable[[Problem], Array]) -> Callable[[Problem], Answer]:
    return lambda problem: compared(
        np.asarray(gradient(problem)).ravel(), problem.grad(problem.theta, *problem.args)
    )


def _check_grad(problem: Problem) -> Answer:
    from scipy.optimize import check_grad

    cost, grad, theta, args = problem
    off = float(check_grad(cost, grad, theta, *args))
    relative = off / (2 * float(np.linalg.norm(grad(theta, *args))))
    return Answer(relative <= THRESHOLD, relative)


def _approx_derivative(problem: Problem) -> Array:
    from scipy.optimize._numdiff import approx_derivative

    return approx_derivative(problem.cost, problem.theta, method="3-point", args=problem.args)


def _approx_fprime(problem: Problem) -> Array:
    from statsmodels.tools.numdiff import approx_fprime

    return approx_fprime(problem.theta, problem.cost, args=problem.args, centered=True)


def _numdifftools(problem: Problem) -> Array:
    import numdifftools

    return numdifftools.Gradient(problem.cost)(problem.theta, *problem.args)


def _autograd(problem: Problem) -> Answer:
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    cost, grad, theta, args = problem
    checked = primitive(lambda t: float(cost(t, *args)))
    defvjp(checked, lambda value, t: lambda g: g * grad(t, *args))
    return _asserted(lambda: check_grads(checked, modes=["rev"], order=1)(theta), AssertionError)


def _torch(**options: Any) -> Callable[[Problem], Answer]:
    def run(problem: Problem) -> Answer:
        import torch

        cost, grad, theta, args = problem

        class Checked(torch.autograd.Function):
            @staticmethod
            def forward(context: Any, t: Any) -> Any:
                context.save_for_backward(t)
                value = cost(t.detach().numpy(), *args)
                return torch.tensor(float(value), dtype=torch.float64)

            @staticmethod
            def backward(context: Any, g: Any) -> Any:
                (t,) = context.saved_tensors
                return g * torch.from_numpy(grad(t.detach().numpy(), *args))

        start = torch.tensor(theta, requires_grad=True)
        return _asserted(
            lambda: torch.autograd.gradcheck(Checked.apply, (start,), **options), RuntimeError
        )

    return run


def _jax(problem: Problem) -> Answer:
    import jax
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    cost, grad, theta, args = problem
    number = jax.ShapeDtypeStruct((), np.float64)
    vector = jax.ShapeDtypeStruct(theta.shape, np.float64)

    def value(t: Any) -> Any:
        return jax.pure_callback(lambda t: np.float64(cost(np.array(t), *args)), number, t)

    def forward(t: Any) -> Any:
        return value(t), t

    def backward(t: Any, g: Any) -> Any:
        gradient = jax.pure_callback(lambda t: grad(np.array(t), *args), vector, t)
        return (g * gradient,)

    checked = jax.custom_vjp(value)
    checked.defvjp(forward, backward)
    return _asserted(lambda: check_grads(checked, (theta,), order=1, modes=["rev"]), AssertionError)


def _asserted(run: Callable[[], object], refusal: type[Exception]) -> Answer:
    """The answer of a tool that raises for a gradient that it thinks wrong."""
    try:
        run()
    except refusal:
        return Answer(False)
    return Answer(True)


ONE_DIRECTION = "looks along one random direction only"

OURS = Tool("**fastgradcheck**", fastgradcheck(), "fastgradcheck")
EVERY = Tool(
    "**fastgradcheck**, every component", fastgradcheck(strategy="components"), "fastgradcheck"
)
NAIVE = Tool("naive loop", _numeric(timing.naive_loop), "numpy")
CHECK_GRAD = Tool(
    "`scipy.optimize.check_grad`",
    _check_grad,
    "scipy",
    "one-sided: half the evaluations, and one number with no error bar",
)
TORCH_FAST = Tool(
    "`torch` gradcheck, fast", _torch(fast_mode=True), "torch", ONE_DIRECTION
)  # fmt: skip
JAX = Tool("`jax` check_grads", _jax, "jax", ONE_DIRECTION)
AUTOGRAD = Tool("`autograd` check_grads", _autograd, "autograd", ONE_DIRECTION)

PEERS = (
    NAIVE,
    CHECK_GRAD,
    Tool("`scipy` approx_derivative, 3-point", _numeric(_approx_derivative), "scipy"),
    Tool("`statsmodels` approx_fprime, centered", _numeric(_approx_fprime), "statsmodels"),
    # It lays out all steps of all components at once: n^2 numbers per step.
    Tool("`numdifftools` Gradient", _numeric(_numdifftools), "numdifftools", most=2_000),
    AUTOGRAD,
    Tool("`torch` gradcheck", _torch(), "torch"),
    TORCH_FAST,
    JAX,
)


def installed(tools: tuple[Tool, ...]) -> Iterator[Tool]:
    """Those that can be run here."""
    for tool in tools:
        if tool.package in sys.modules or importlib.util.find_spec(tool.package):
            yield tool


def quietly(tool: Tool, problem: Problem) -> Answer:
    """The tool's answer on one BLAS thread, without its warnings, which are its own business.

    Costs this short are no faster on more, and several times slower where cores are shared.
    """
    with one_blas_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tool.run(problem)
