"""The same wrong Jacobian, 30 entries of 300 x 2,000, before other checkers.

``python -m studies.jacobian_peers`` prints a row for each: evaluations of F, whether it fails, and
how many wrong entries it points at. Every tool runs at its own defaults, and at rtol 1e-5.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastgradcheck.jacobians.check import jaccheck
from studies.jacobian import Array, M, N, planted, problem

TIGHT = {"rtol": 1e-5, "atol": 1e-8}


class Counted:
    """A function that counts its calls."""

    def __init__(self, fun: Callable[..., Any]) -> None:
        self.fun, self.calls = fun, 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self.fun(*args)


def ours(fun: Counted, wrong: Array, theta: Array, named: set[str]) -> Iterator[list[str]]:
    """`jaccheck`, of the claimed matrix."""
    result = jaccheck(fun, wrong, theta, seed=0)
    right, false = len(set(result.wrong) & named), len(set(result.wrong) - named)
    yield ["fastgradcheck", f"{fun.calls}", result.verdict.value, f"{right}, {false} false"]


def scipys(fun: Counted, wrong: Array, theta: Array, named: set[str]) -> Iterator[list[str]]:
    """SciPy's differences, and a comparison by numpy.isclose."""
    from scipy.optimize._numdiff import approx_derivative

    for method in ("2-point", "3-point"):
        fun.calls = 0
        numeric = approx_derivative(fun, theta, method=method)
        places = np.argwhere(~np.isclose(wrong, numeric, **TIGHT))
        found = {f"F[{i}] / theta[{j}]" for i, j in places}
        told = f"{len(found & named)}, {len(found - named)} false"
        yield [f"SciPy approx_derivative, {method}", f"{fun.calls:,}", "-", told]


def torchs(theta: Array, W: Array, E: Array) -> Iterator[list[str]]:
    """The gradcheck of torch, of a custom function whose backward is off by E."""
    import torch

    calls = Counted(torch.tanh)
    weights, error = torch.tensor(W), torch.tensor(E)

    class Layer(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, t: Any) -> Any:
            ctx.save_for_backward(t)
            return calls(weights @ t) + 0.1 * (weights @ t) ** 2

        @staticmethod
        def backward(ctx: Any, *u: Any) -> Any:
            z = weights @ ctx.saved_tensors[0]
            return weights.T @ (u[0] * (1 - torch.tanh(z) ** 2 + 0.2 * z)) + error.T @ u[0]

    point = torch.tensor(theta, requires_grad=True)
    for fast in (True, False):
        for options in ({}, TIGHT):
            calls.calls = 0
            passed = torch.autograd.gradcheck(
                Layer.apply, (point,), fast_mode=fast, raise_exception=False, **options
            )
            name = f"torch gradcheck{', fast' if fast else ''}{', rtol 1e-5' if options else ''}"
            yield [name, f"{calls.calls:,}", "passes" if passed else "fails", "-"]


def jaxs(theta: Array, W: Array, E: Array) -> Iterator[list[str]]:
    """The check_grads of jax, of a custom vjp that is off by E."""
    import jax
    import jax.numpy as jnp
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    calls = Counted(jnp.tanh)
    weights, error = jnp.array(W), jnp.array(E)

    @jax.custom_vjp
    def layer(t: Any) -> Any:
        return calls(weights @ t) + 0.1 * (weights @ t) ** 2

    def backward(t: Any, u: Any) -> Any:
        z = weights @ t
        return (weights.T @ (u * (1 - jnp.tanh(z) ** 2 + 0.2 * z)) + error.T @ u,)

    layer.defvjp(lambda t: (layer(t), t), backward)
    for options in ({}, TIGHT):
        calls.calls = 0
        try:
            check_grads(layer, (jnp.array(theta),), order=1, modes=["rev"], **options)
            verdict = "passes"
        except AssertionError:
            verdict = "fails"
        name = f"jax check_grads{', rtol 1e-5' if options else ''}"
        yield [name, f"{calls.calls}", verdict, "-"]


def main() -> None:
    """Print the table."""
    fun, jac, theta = problem(0)
    wrong = jac.copy()
    rows = np.random.default_rng(2).choice(M, 30, replace=False)
    named = planted(wrong, rows, 1, 0)
    W = np.random.default_rng(0).normal(size=(M, N)) / np.sqrt(N)
    print("| checker | evaluations of F | verdict | of the 30 entries, named |")
    print("| --- | --- | --- | --- |")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for row in ours(Counted(fun), wrong, theta, named):
            print(f"| {' | '.join(row)} |", flush=True)
        for row in scipys(Counted(fun), wrong, theta, named):
            print(f"| {' | '.join(row)} |", flush=True)
        for table in (torchs, jaxs):
            for row in table(theta, W, wrong - jac):
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
