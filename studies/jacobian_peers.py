"""The same wrong Jacobian, 30 entries of 300 x 2,000, before other checkers; and a wrong Hessian.

``python -m studies.jacobian_peers`` prints a row for each: evaluations of F, what it says of the
wrong one and of the right one, and how many wrong entries it points at. Every tool runs at its own
defaults, and at rtol 1e-5 where it takes one. The Hessian is of 200 parameters, and off by
1e-3 of its median in one entry, behind a right gradient. OpenMDAO is asked if it is installed.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastgradcheck.jacobians.check import hesscheck, jaccheck
from studies.jacobian import Array, M, N, planted, problem

SIZE = 200
TIGHT = {"rtol": 1e-5, "atol": 1e-8}


class Counted:
    """A function that counts its calls."""

    def __init__(self, fun: Callable[..., Any]) -> None:
        self.fun, self.calls = fun, 0

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self.fun(*args)


Row = list[str]


def ours(fun: Counted, jac: Array, wrong: Array, theta: Array, named: set[str]) -> Iterator[Row]:
    """`jaccheck`, of the claimed matrix."""
    right = jaccheck(fun, jac, theta, seed=0).verdict.value
    fun.calls = 0
    result = jaccheck(fun, wrong, theta, seed=0)
    found, false = len(set(result.wrong) & named), len(set(result.wrong) - named)
    yield ["fastgradcheck", f"{fun.calls}", result.verdict.value, right, f"{found}, {false} false"]


def scipys(fun: Counted, jac: Array, wrong: Array, theta: Array, named: set[str]) -> Iterator[Row]:
    """SciPy's differences, compared by numpy.isclose; and its checks, which tell a number."""
    from scipy.optimize import check_grad
    from scipy.optimize._numdiff import approx_derivative, check_derivative

    for method in ("2-point", "3-point"):
        fun.calls = 0
        numeric = approx_derivative(fun, theta, method=method)
        calls = fun.calls
        places = np.argwhere(~np.isclose(wrong, numeric, **TIGHT))
        found = {f"F[{i}] / theta[{j}]" for i, j in places}
        of_right = int(np.sum(~np.isclose(jac, numeric, **TIGHT)))
        told = f"{len(found & named)}, {len(found - named)} false"
        name = f"SciPy approx_derivative, {method}"
        yield [name, f"{calls:,}", "-", f"{of_right} entries differ", told]
    for name, check in (
        ("check_grad", lambda J: check_grad(fun, lambda t: J, theta)),
        ("check_derivative", lambda J: check_derivative(fun, lambda t: J, theta)),
    ):
        fun.calls = 0
        of_wrong, calls = check(wrong), fun.calls
        yield [f"SciPy {name}", f"{calls:,}", f"{of_wrong:.1e}", f"{check(jac):.1e}", "-"]


def openmdaos(
    fun: Counted, jac: Array, wrong: Array, theta: Array, named: set[str]
) -> Iterator[Row]:
    """OpenMDAO's check_partials, which points at the entry that violates its tolerance most."""
    if importlib.util.find_spec("openmdao") is None:
        return
    import openmdao.api as om

    class Layer(om.ExplicitComponent):  # type: ignore[misc]
        claimed = jac

        def setup(self) -> None:
            self.add_input("t", val=theta)
            self.add_output("F", shape=M)
            self.declare_partials("F", "t")

        def compute(self, inputs: Any, outputs: Any) -> None:
            outputs["F"] = fun(inputs["t"])

        def compute_partials(self, inputs: Any, partials: Any) -> None:
            partials["F", "t"] = self.claimed

    for options in ({}, {"form": "central"}):
        verdicts = {}
        for Layer.claimed in (wrong, jac):
            model = om.Problem()
            model.model.add_subsystem("layer", Layer())
            model.setup()
            model.run_model()
            fun.calls = 0
            told = model.check_partials(out_stream=io.StringIO(), method="fd", **options)
            violation = told["layer"]["F", "t"]["tol violation"].forward
            verdicts[Layer.claimed is jac] = "fails" if violation > 0 else "passes"
        name = f"OpenMDAO check_partials{', central' if options else ''}"
        yield [name, f"{fun.calls:,}", verdicts[False], verdicts[True], "1, the largest"]


def torchs(theta: Array, W: Array, E: Array) -> Iterator[Row]:
    """The gradcheck of torch, of a custom function whose backward is off by E."""
    import torch

    calls = Counted(torch.tanh)
    weights = torch.tensor(W)

    def layer(error: Any) -> Any:
        class Layer(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, t: Any) -> Any:
                ctx.save_for_backward(t)
                return calls(weights @ t) + 0.1 * (weights @ t) ** 2

            @staticmethod
            def backward(ctx: Any, *u: Any) -> Any:
                z = weights @ ctx.saved_tensors[0]
                return weights.T @ (u[0] * (1 - torch.tanh(z) ** 2 + 0.2 * z)) + error.T @ u[0]

        return Layer.apply

    point = torch.tensor(theta, requires_grad=True)
    for fast in (True, False):
        for options in ({}, TIGHT):
            verdicts = []
            for error in (torch.tensor(E), torch.zeros_like(weights)):
                calls.calls = 0
                passed = torch.autograd.gradcheck(
                    layer(error), (point,), fast_mode=fast, raise_exception=False, **options
                )
                verdicts.append("passes" if passed else "fails")
            name = f"torch gradcheck{', fast' if fast else ''}{', rtol 1e-5' if options else ''}"
            yield [name, f"{calls.calls:,}", *verdicts, "-"]


def jaxs(theta: Array, W: Array, E: Array) -> Iterator[Row]:
    """The check_grads of jax, of a custom vjp that is off by E."""
    import jax
    import jax.numpy as jnp
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    calls = Counted(jnp.tanh)
    weights = jnp.array(W)

    def layer(error: Any) -> Any:
        @jax.custom_vjp
        def layer(t: Any) -> Any:
            return calls(weights @ t) + 0.1 * (weights @ t) ** 2

        def backward(t: Any, u: Any) -> Any:
            z = weights @ t
            return (weights.T @ (u * (1 - jnp.tanh(z) ** 2 + 0.2 * z)) + error.T @ u,)

        layer.defvjp(lambda t: (layer(t), t), backward)
        return layer

    for options in ({}, TIGHT):
        verdicts = []
        for error in (jnp.array(E), jnp.zeros_like(weights)):
            calls.calls = 0
            arguments = layer(error), (jnp.array(theta),)
            verdicts.append(_passes(check_grads, *arguments, order=1, modes=["rev"], **options))
        name = f"jax check_grads{', rtol 1e-5' if options else ''}"
        yield [name, f"{calls.calls}", *verdicts, "-"]


def _passes(check: Callable[..., None], *arguments: Any, **options: Any) -> str:
    try:
        check(*arguments, **options)
    except AssertionError:
        return "fails"
    return "passes"


def hessians() -> Iterator[Row]:
    """A Hessian that is off in one entry, behind a right gradient; evaluations of the gradient."""
    import jax
    import jax.numpy as jnp
    import torch
    from jax.test_util import check_grads

    rng = np.random.default_rng(0)
    W, theta = rng.normal(size=(SIZE, SIZE)) / np.sqrt(SIZE), rng.normal(size=SIZE)
    V, point = torch.tensor(W), torch.tensor(theta, requires_grad=True)

    def grad(t: Array) -> Array:
        return np.asarray(W.T @ np.tanh(W @ t))

    right = W.T @ ((1 - np.tanh(W @ theta) ** 2)[:, np.newaxis] * W)
    E = np.zeros((SIZE, SIZE))
    E[3, 5] = 1e-3 * np.median(np.abs(right))
    calls = Counted(grad)
    verdicts = []
    for H in (right + E, right):
        calls.calls = 0
        result = hesscheck(calls, H, theta, seed=0)
        verdicts.append((result.verdict.value, result.wrong))
    named = f"1 of 1{', asymmetric' if verdicts[0][1] == ('theta[3] / theta[5]',) else ''}"
    yield ["fastgradcheck hesscheck", f"{calls.calls}", verdicts[0][0], verdicts[1][0], named]

    def of_torch(error: Any) -> Any:
        class Gradient(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, t: Any) -> Any:
                ctx.save_for_backward(t)
                counted.calls += 1
                return V.T @ torch.tanh(V @ t)

            @staticmethod
            def backward(ctx: Any, *u: Any) -> Any:
                (t,) = ctx.saved_tensors
                return V.T @ ((1 - torch.tanh(V @ t) ** 2) * (V @ u[0])) + error.T @ u[0]

        class Cost(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, t: Any) -> Any:
                ctx.save_for_backward(t)
                return torch.log(torch.cosh(V @ t)).sum()

            @staticmethod
            def backward(ctx: Any, *u: Any) -> Any:
                return u[0] * Gradient.apply(*ctx.saved_tensors)

        return Cost.apply

    counted = Counted(torch.tanh)
    for fast in (True, False):
        for options in ({}, TIGHT):
            told = []
            for error in (torch.tensor(E), torch.zeros_like(V)):
                counted.calls = 0
                passed = torch.autograd.gradgradcheck(
                    of_torch(error), (point,), fast_mode=fast, raise_exception=False, **options
                )
                told.append("passes" if passed else "fails")
            name = f"torch gradgradcheck{', fast' if fast else ''}"
            yield [name + (", rtol 1e-5" if options else ""), f"{counted.calls:,}", *told, "-"]

    U = jnp.array(W)

    def of_jax(error: Any) -> Any:
        @jax.custom_jvp
        def gradient(t: Any) -> Any:
            count.calls += 1
            return U.T @ jnp.tanh(U @ t)

        @gradient.defjvp
        def along(primals: Any, tangents: Any) -> Any:
            (t,), (v,) = primals, tangents
            return gradient(t), U.T @ ((1 - jnp.tanh(U @ t) ** 2) * (U @ v)) + error @ v

        @jax.custom_jvp
        def cost(t: Any) -> Any:
            return jnp.sum(jnp.log(jnp.cosh(U @ t)))

        @cost.defjvp
        def slope(primals: Any, tangents: Any) -> Any:
            return cost(*primals), gradient(*primals) @ tangents[0]

        return cost

    count = Counted(grad)
    for options in ({}, TIGHT):
        told = []
        for error in (jnp.array(E), jnp.zeros_like(U)):
            count.calls = 0
            arguments = of_jax(error), (jnp.array(theta),)
            told.append(_passes(check_grads, *arguments, order=2, **options))
        name = f"jax check_grads, order 2{', rtol 1e-5' if options else ''}"
        yield [name, f"{count.calls}", *told, "-"]


def main() -> None:
    """Print the tables."""
    fun, jac, theta = problem(0)
    wrong = jac.copy()
    rows = np.random.default_rng(2).choice(M, 30, replace=False)
    named = planted(wrong, rows, 1, 0)
    W = np.random.default_rng(0).normal(size=(M, N)) / np.sqrt(N)
    counted = Counted(fun)
    tables: list[tuple[str, list[Iterator[Row]]]] = [
        (
            "F | the wrong one | the right one | of the 30 entries, named",
            [
                *(table(counted, jac, wrong, theta, named) for table in (ours, scipys, openmdaos)),
                *(table(theta, W, wrong - jac) for table in (torchs, jaxs)),
            ],
        ),
        ("the gradient | the wrong one | the right one | named", [hessians()]),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for head, parts in tables:
            print(f"| checker | evaluations of {head} |\n| --- | --- | --- | --- | --- |")
            for part in parts:
                for row in part:
                    print(f"| {' | '.join(row)} |", flush=True)
            print()


if __name__ == "__main__":
    main()
