"""Forward and backward rules that were written by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.jax import rulecheck

A = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
B = jnp.asarray(np.random.default_rng(1).normal(size=3), jnp.float32)


def forward_rule(flaw: float) -> Any:
    """Two outputs, with a rule of which the part of b is off by a factor."""

    @jax.custom_jvp
    def f(a: Any, b: Any) -> Any:
        return jnp.sin(a @ b), {"square": b**2}

    @f.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        (a, b), (da, db) = primals, tangents
        out = f(a, b)
        inner = da @ b + flaw * (a @ db)
        return out, (jnp.cos(a @ b) * inner, {"square": 2 * b * db})

    return f


def backward_rule(flaw: float) -> Any:
    @jax.custom_vjp
    def f(a: Any, b: Any) -> Any:
        return jnp.sin(a @ b)

    def ahead(a: Any, b: Any) -> Any:
        return f(a, b), (a, b)

    def back(saved: Any, g: Any) -> Any:
        a, b = saved
        d = g * jnp.cos(a @ b)
        return jnp.outer(d, b), flaw * (d @ a)

    f.defvjp(ahead, back)
    return f


def test_right_rules_agree_in_both_modes() -> None:
    results = rulecheck(forward_rule(1.0), A, B)
    assert list(results) == ["jvp", "vjp"]
    assert results, str(results)
    assert rulecheck(backward_rule(1.0), A, B, modes=("vjp",))


@pytest.mark.parametrize("mode", ["jvp", "vjp"])
def test_a_wrong_forward_rule_is_named(mode: str) -> None:
    result = rulecheck(forward_rule(1.02), A, B, modes=(mode,))[mode]
    assert [b.name for b in result.blocks if b.verdict.name == "WRONG"] == ["args.1"]


def test_a_wrong_backward_rule_is_named() -> None:
    results = rulecheck(backward_rule(-1.0), A, B, modes=("vjp",))
    assert not results
    result = results["vjp"]
    assert [b.name for b in result.blocks if b.verdict.name == "WRONG"] == ["args.1"]


def test_the_forward_mode_is_that_of_unit_tangents() -> None:
    result = rulecheck(jnp.sin, jnp.asarray([0.5, 1.0], jnp.float32), modes=("jvp",), seed=3)["jvp"]
    u = np.random.default_rng(3)
    u = u.integers(4, 13, 2) / 8 * u.choice([-1.0, 1.0], 2)
    np.testing.assert_allclose(result.components["analytic"], u * np.cos([0.5, 1.0]), rtol=1e-6)


def test_a_custom_vjp_has_no_forward_rule() -> None:
    with pytest.raises(GradcheckInputError, match=r'as no custom_vjp has: pass modes=\("vjp",\)'):
        rulecheck(backward_rule(1.0), A, B)


def test_a_forward_rule_that_is_not_linear_has_no_backward_rule() -> None:
    @jax.custom_jvp
    def sine(z: Any) -> Any:
        return jnp.sin(z)

    @sine.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        (z,), (dz,) = primals, tangents
        return sine(z), jnp.cos(z) * dz + 1e-2 * dz**2

    with pytest.raises(GradcheckInputError, match=r'f has no backward rule.*modes=\("jvp",\)'):
        rulecheck(sine, B)
    assert rulecheck(sine, B, modes=("jvp",))["jvp"].verdict.name == "WRONG"


def test_other_modes_are_refused() -> None:
    for modes in (("jac",), (), "vjp"):
        with pytest.raises(GradcheckInputError, match="is not a choice of modes"):
            rulecheck(jnp.sin, B, modes=modes)


def test_a_function_of_whole_numbers_is_refused() -> None:
    with pytest.raises(GradcheckInputError, match="f returns no floating-point array"):
        rulecheck(lambda b: jnp.argmax(b), B)


def test_switched_off_it_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTGRADCHECK", "off")
    results = rulecheck(jnp.sin, B)
    assert [result.verdict.name for result in results.values()] == ["SKIPPED", "SKIPPED"]
