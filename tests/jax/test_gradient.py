"""Functions of pytrees as they are: right gradients agree, wrong leaves have jax's own names."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.jax import gradcheck


class Layer(NamedTuple):
    W: Any
    b: Any


def draw(*shape: int) -> Any:
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), jnp.float32)


PARAMS = {"W": draw(3, 4), "b": [draw(4), draw(2)], "out": Layer(draw(4, 2), jnp.float32(0.5))}
X = draw(5, 3)


@jax.custom_vjp
def scaled(b: Any, x: Any) -> Any:
    return jnp.tanh(b * x)


def _forward(b: Any, x: Any) -> Any:
    return scaled(b, x), (b, x)


def _backward(saved: Any, g: Any) -> Any:
    b, x = saved
    d = (1 - jnp.tanh(b * x) ** 2) * g
    return (d * x).sum(0).at[3].multiply(1.01), d * b


scaled.defvjp(_forward, _backward)


def loss(p: Any, x: Any) -> Any:
    return jnp.mean((jnp.tanh(x @ p["W"] + p["b"][0]) @ p["out"].W + p["b"][1]) ** 2) + p["out"].b


def test_a_right_gradient_agrees_and_has_jaxs_own_names() -> None:
    result = gradcheck(loss, PARAMS, args=(X,), seed=0)
    assert result, str(result)
    assert [block.name for block in result.blocks] == [
        "params.W",
        "params.b.0",
        "params.b.1",
        "params.out.W",
        "params.out.b",
    ]
    assert result.engine == "batched"


def test_a_wrong_leaf_of_a_custom_vjp_is_named() -> None:
    def inner(p: Any, x: Any) -> Any:
        return jnp.sum(scaled(p["b"][0], x @ p["W"]) ** 2)

    params = {"W": PARAMS["W"], "b": [PARAMS["b"][0]]}
    result = gradcheck(inner, params, args=(X,), seed=0)
    assert result.wrong == ("params.b.0[3]",)


def test_float64_is_on_for_the_check_alone() -> None:
    seen = set()

    def traced(p: Any) -> Any:
        seen.add(str(p.dtype))
        return jnp.sum(p**2)

    assert not jax.config.jax_enable_x64
    assert gradcheck(traced, draw(4), seed=0)
    assert not jax.config.jax_enable_x64
    assert jnp.ones(1).dtype == jnp.float32
    assert seen == {"float32", "float64"}


def test_without_float64_j_is_evaluated_as_it_is() -> None:
    seen = set()

    def traced(p: Any) -> Any:
        seen.add(str(p.dtype))
        return jnp.sum(p**2)

    result = gradcheck(traced, draw(4), seed=0, x64=False)
    assert seen == {"float32"}
    assert result.noise > 1e-9


def test_values_are_those_of_a_closed_form() -> None:
    x = np.linspace(-1.0, 1.0, 5)
    result = gradcheck(lambda p: jnp.sum(jnp.sin(p)), jnp.asarray(x, jnp.float32), seed=0)
    exact = np.cos(np.asarray(jnp.asarray(x, jnp.float32), np.float64))
    off = abs(result.components["numeric"] - exact)
    assert (off <= result.components["error"]).all()


@pytest.mark.parametrize("given", ["function", "value"])
def test_a_gradient_of_ones_own(given: str) -> None:
    def half(p: Any, x: Any) -> Any:
        slopes = jax.grad(loss)(p, x)
        return {**slopes, "W": slopes["W"] / 2}

    grad: Any = half if given == "function" else half(PARAMS, X)
    result = gradcheck(loss, PARAMS, args=(X,), grad=grad, seed=0)
    assert [b.name for b in result.blocks if b.verdict.name == "WRONG"] == ["params.W"]


def test_a_gradient_of_another_structure_is_refused() -> None:
    with pytest.raises(GradcheckInputError, match=r"grad must return what jax\.grad"):
        gradcheck(loss, PARAMS, args=(X,), grad=lambda p, x: {"W": p["W"]})


def test_leaves_that_are_no_floats_stay_and_are_said() -> None:
    def powers(p: Any) -> Any:
        return jnp.sum(p["x"] ** p["n"])

    result = gradcheck(powers, {"x": draw(3), "n": 3}, seed=0)
    assert result
    (finding,) = [f for f in result.findings if f.kind == "frozen"]
    assert finding.message == "Left out, since they are not floating point: 1 leaf of params."


def test_a_branch_on_a_value_is_called_as_it_is() -> None:
    def branching(p: Any) -> Any:
        return jnp.sum(p**2) if float(jnp.sum(p)) > -1e9 else jnp.sum(p)

    grad = 2 * draw(3)
    result = gradcheck(branching, draw(3), grad=grad, seed=0)
    assert result
    assert result.engine == "python"
    (finding,) = [f for f in result.findings if f.kind == "vectorized"]
    assert "jax.vmap does not take this function (ConcretizationTypeError: " in finding.message


def test_many_points_give_the_same() -> None:
    alone = gradcheck(loss, PARAMS, args=(X,), seed=0, vectorized=False)
    together = gradcheck(loss, PARAMS, args=(X,), seed=0, vectorized=3)
    assert (alone.engine, together.engine) == ("python", "batched")
    off = abs(alone.components["numeric"] - together.components["numeric"])
    assert (off <= alone.components["error"] + together.components["error"]).all()


@pytest.mark.parametrize("grad", [None, "own"])
@pytest.mark.parametrize("mode", [True, 3, "tanh", jnp.tanh])
def test_args_that_are_no_arrays_are_passed_as_they_are(mode: Any, grad: Any) -> None:
    """As in ``loss(params, batch, train=True)``."""

    def of_mode(p: Any, x: Any, options: Any) -> Any:
        mode = options["mode"]
        y = mode(x @ p) if callable(mode) else jnp.tanh(x @ p) if mode else x @ p
        return jnp.sum(y ** (2 if isinstance(mode, str) else 1)) * options["scale"]

    args = X, {"mode": mode, "scale": 0.5}
    claim = jax.grad(of_mode) if grad else None
    result = gradcheck(of_mode, draw(3), args=args, grad=claim, seed=0)
    assert result, str(result)
    assert result.engine == "batched"


def dropped(p: Any, x: Any, key: Any, keep: Any = 0.5) -> Any:
    return jnp.mean(jnp.where(jax.random.bernoulli(key, keep, x.shape), x, 0.0) @ p**2)


def test_a_function_that_draws_other_numbers_in_float64_is_refused() -> None:
    """Its gradient is right in each dtype, so that WRONG would be a false alarm."""
    args = X, jax.random.key(1)
    with pytest.raises(GradcheckInputError, match=r"jax\.random draws other numbers in float64"):
        gradcheck(dropped, draw(3), args=args, seed=0)
    assert gradcheck(lambda *a: dropped(*a, jnp.float32(0.5)), draw(3), args=args, seed=0)
    # With a fault in the gradient it is WRONG all the same.
    twice = gradcheck(
        dropped, draw(3), args=args, grad=lambda *a: 2 * jax.grad(dropped)(*a), seed=0
    )
    assert twice.verdict.name == "WRONG"


@pytest.mark.parametrize(
    ("fun", "params", "message"),
    [
        (3, PARAMS, "fun is a int, which cannot be called"),
        (loss, {"n": 3}, "params holds no floating-point array"),
        (lambda p: p, draw(3), r"fun returned an array of shape \(3,\) and float64"),
        (lambda p: (jnp.sum(p), 1), draw(3), "fun returned a tuple: .* without auxiliary"),
        (lambda p: jnp.sum(p) + 1j, draw(3), "and complex128: it must return one real number"),
        (lambda p: p @ jnp.ones(7), draw(3), "fun fails in float64: TypeError: dot_general"),
    ],
)
def test_what_cannot_be_checked_is_refused(fun: Any, params: Any, message: str) -> None:
    with pytest.raises(GradcheckInputError, match=message):
        gradcheck(fun, params)


def test_args_are_a_tuple() -> None:
    with pytest.raises(GradcheckTypeError, match=r"args is a .*; pass a tuple"):
        gradcheck(loss, PARAMS, args=X)


def test_switched_off_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTGRADCHECK", "off")
    assert gradcheck(loss, PARAMS, args=(X,)).verdict.name == "SKIPPED"


def test_compiling_is_not_taken_for_a_slow_gradient() -> None:
    params = {"w": jnp.asarray(np.linspace(0.1, 1.0, 6))}
    for grad in (None, jax.grad(lambda p: jnp.sum(jnp.sin(p["w"]) ** 3))):
        result = gradcheck(lambda p: jnp.sum(jnp.sin(p["w"]) ** 3), params, grad=grad, seed=0)
        assert result
        assert "once" not in {finding.kind for finding in result.findings}
    assert result.origin.cost.startswith("<lambda> (")


def test_arguments_of_other_names_are_answered() -> None:
    params = {"w": jnp.ones(3)}
    with pytest.raises(GradcheckTypeError, match="gradcheck has no argument order=: its arguments"):
        gradcheck(lambda p: jnp.sum(p["w"]), params, order=1)
    message = "takes fun and params by position, 3 were given: what fun takes after params goes"
    with pytest.raises(GradcheckTypeError, match=message):
        gradcheck(lambda p: jnp.sum(p["w"]), params, 1.0)  # type: ignore[call-arg]


def test_args_that_are_missing_are_told() -> None:
    message = r"fun\(p, x\) does not fit the call fun\(params\): .* what follows params\.$"
    with pytest.raises(GradcheckTypeError, match=message):
        gradcheck(lambda p, x: jnp.sum(p * x), jnp.ones(3))
