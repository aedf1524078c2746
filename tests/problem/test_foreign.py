"""Arrays of other libraries as NumPy's."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pandas as pd
import pytest
import torch

import fastgradcheck as fgc
from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.problem import foreign

VALUES = np.array([1.0, -0.5, 3.0])


@pytest.mark.parametrize(
    ("array", "eps"),
    [
        (torch.tensor(VALUES), 2.0**-52),
        (torch.tensor(VALUES, dtype=torch.float32), 2.0**-23),
        (torch.tensor(VALUES, dtype=torch.bfloat16), 2.0**-7),
        (torch.tensor(VALUES, dtype=torch.float16), 2.0**-10),
        (torch.tensor(VALUES, requires_grad=True), 2.0**-52),
        (torch.tensor(VALUES).to_sparse(), 2.0**-52),
        (VALUES.astype(ml_dtypes.bfloat16), 2.0**-7),
        (VALUES.astype(ml_dtypes.float8_e4m3fn), 2.0**-3),
        (VALUES.astype(np.float16), 2.0**-10),
        (jnp.asarray(VALUES, jnp.bfloat16), 2.0**-7),
        (jnp.asarray(VALUES, jnp.float32), 2.0**-23),
        (VALUES.astype(np.longdouble), 2.0**-52),
        (VALUES, 2.0**-52),
    ],
)
def test_values_and_eps(array: Any, eps: float) -> None:
    plain = np.asarray(foreign.plain(array, "grad"))
    assert np.issubdtype(plain.dtype, np.floating)
    np.testing.assert_array_equal(plain, VALUES)
    assert foreign.eps(array) == eps
    # And so through a whole check, of J = g . theta.
    result = fgc.gradcheck(lambda t: float(t @ VALUES), lambda t: array, np.ones(3), seed=0)
    assert result, str(result)


def test_whole_numbers_and_complex_ones_have_no_eps_of_their_own() -> None:
    assert foreign.eps(3) == foreign.eps(np.ones(2, complex)) == foreign.DOUBLE
    assert foreign.eps(torch.tensor(3)) == foreign.DOUBLE


def test_a_tensor_without_values_is_refused() -> None:
    with pytest.raises(GradcheckTypeError, match="grad is a tensor on the device 'meta'"):
        foreign.plain(torch.ones(3, device="meta"), "grad")


def test_what_is_no_float_is_left_alone() -> None:
    structured = np.zeros(2, dtype=[("a", float)])
    assert foreign.plain(structured, "grad") is structured
    assert foreign.plain("text", "grad") == "text"


# theta itself


def cubes(t: Any) -> Any:
    return (t**3).sum()


def slopes(t: Any) -> Any:
    return 3 * t**2


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_theta_may_be_a_tensor(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    theta = torch.linspace(0.5, 1.5, int(np.prod(shape)), dtype=dtype).reshape(shape)
    seen = set()

    def cost(t: torch.Tensor) -> torch.Tensor:
        seen.add(type(t))
        return cubes(t)

    result = fgc.gradcheck(cost, slopes, theta, seed=0)
    assert result, str(result)
    assert seen == {torch.Tensor}
    wrong = fgc.gradcheck(cost, lambda t: 2 * slopes(t), {"w": theta, "b": 1.0}["w"], seed=0)
    assert wrong.verdict.name == "WRONG"


def test_tensors_in_a_nest() -> None:
    theta = {"W": torch.ones(2, 3, dtype=torch.float64), "b": np.zeros(2)}

    def cost(t: Any) -> float:
        return float((t["W"].sum(1).numpy() + t["b"]) @ np.arange(2.0))

    def grad(t: Any) -> Any:
        return {"W": torch.tensor([[0.0] * 3, [1.0] * 3]), "b": np.arange(2.0)}

    assert fgc.gradcheck(cost, grad, theta, seed=0)


def test_a_tensor_takes_many_points() -> None:
    theta = torch.linspace(0.5, 1.5, 5, dtype=torch.float64)
    result = fgc.gradcheck(lambda t: (t**3).sum(-1), slopes, theta, vectorized=True, seed=0)
    assert result, str(result)
    assert result.engine == "batched"


def test_theta_may_be_an_array_of_jax_where_it_has_float64() -> None:
    with jax.enable_x64(True):
        theta = jnp.linspace(0.5, 1.5, 4)
        seen = set()

        def cost(t: Any) -> Any:
            seen.add((isinstance(t, jax.Array), str(t.dtype)))
            return cubes(t)

        assert fgc.gradcheck(cost, slopes, theta, seed=0)
        assert seen == {(True, "float64")}


def test_theta_may_be_a_series() -> None:
    theta = pd.Series({"alpha": 0.5, "beta": -1.5, "log sigma": 0.1}, name="theta")

    def cost(t: pd.Series) -> float:
        assert t.name == "theta"
        return float(t["alpha"] ** 2 + t["beta"] * t["log sigma"])

    def grad(t: pd.Series) -> pd.Series:
        # By label, in another order.
        return pd.Series({"log sigma": t["beta"], "alpha": 2 * t["alpha"], "beta": t["log sigma"]})

    result = fgc.gradcheck(cost, grad, theta, seed=0)
    assert result, str(result)
    assert [block.name for block in result.blocks] == ["alpha", "beta", "theta['log sigma']"]
    in_order = np.array([1.0, 0.1, -1.5])
    assert fgc.gradcheck(cost, in_order, theta, seed=0)
    assert fgc.gradcheck(cost, in_order * [1, 2, 1], theta, seed=0).wrong == ("beta",)


def test_theta_may_be_a_frame() -> None:
    theta = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}, index=["x", "y"])

    def cost(t: pd.DataFrame) -> float:
        return float(t.loc["x", "a"] ** 2 + t.loc["y", "b"] * t.loc["y", "a"])

    def grad(t: pd.DataFrame) -> pd.DataFrame:
        slopes = 0 * t
        slopes.loc["x", "a"] = 2 * t.loc["x", "a"]
        slopes.loc["y", "b"], slopes.loc["y", "a"] = t.loc["y", "a"], t.loc["y", "b"]
        return slopes[["b", "a"]]

    assert fgc.gradcheck(cost, grad, theta, seed=0)
    exact = np.array([[2.0, 0.0], [4.0, 2.0]])
    assert fgc.gradcheck(cost, exact, theta, seed=0)
    assert fgc.gradcheck(cost, exact * [[1, 1], [1, 3]], theta, seed=0).wrong == ("b[1]",)


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (torch.ones(2, dtype=torch.bfloat16), r"theta is a tensor of torch.bfloat16: .*\.double\("),
        (torch.ones(2, device="meta"), "theta is a tensor on the device 'meta'"),
        (
            torch.ones(2, dtype=torch.complex128),
            r"must be arrays of NumPy. Pass theta\.numpy\(\), and a cost that makes a tensor of it",
        ),
        (jnp.ones(2), r"no float64 here: fastgradcheck\.jax\.gradcheck\(cost, theta, grad=grad\)"),
        (pd.Series([1.0, 2.0], index=["a", "a"]), "the label 'a' occurs twice in a Series"),
        (pd.Series(["x", "y"]), r"theta\[0\] is "),
        (pd.Series([1, 2]), r"theta\[0\] is "),
    ],
)
def test_thetas_that_are_refused(theta: Any, message: str) -> None:
    with pytest.raises(GradcheckTypeError, match=message):
        fgc.gradcheck(cubes, slopes, theta)


def test_a_gradient_with_other_labels_is_refused() -> None:
    theta = pd.Series({"a": 1.0, "b": 2.0})
    with pytest.raises(GradcheckInputError, match="lacks 'b' and has 'c', unknown to theta"):
        fgc.gradcheck(lambda t: 0.0 * t["a"], lambda t: pd.Series({"a": 0.0, "c": 0.0}), theta)


def test_a_layout_is_for_arrays_of_numpy() -> None:
    theta = torch.ones(2, dtype=torch.float64)
    with pytest.raises(GradcheckInputError, match="but theta is a Tensor: pass a dict of arrays"):
        fgc.gradcheck(cubes, slopes, theta, layout={"a": 1, "b": 1})


def test_rows_of_a_frame_are_matched_by_label() -> None:
    theta = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}, index=["x", "y"])

    def grad(t: pd.DataFrame) -> pd.DataFrame:
        return (3 * t**2).loc[["y", "x"]]

    assert fgc.gradcheck(lambda t: float((t**3).to_numpy().sum()), grad, theta, seed=0)


def test_a_complex_array_of_jax_is_refused_with_what_to_write() -> None:
    with (
        jax.enable_x64(True),
        pytest.raises(GradcheckTypeError, match=r"Pass np\.asarray\(theta\)"),
    ):
        fgc.gradcheck(cubes, slopes, jnp.ones(2, complex))


@pytest.mark.parametrize("kind", [torch.from_numpy, jnp.asarray])
def test_the_gradient_of_complex_parameters_may_be_of_another_library(kind: Any) -> None:
    theta = np.array([1 + 2j, 0.3, -1j])

    def cost(z: Any) -> float:
        return float((torch.from_numpy(z).abs() ** 4).sum())

    result = fgc.gradcheck(cost, lambda z: kind(4 * abs(z) ** 2 * z), theta, seed=0)
    assert result, str(result)
    wrong = fgc.gradcheck(cost, lambda z: kind(4 * abs(z) ** 2 * z * [1, 1, 2]), theta, seed=0)
    assert [name.partition(".")[0][:8] for name in wrong.wrong] == ["theta[2]"]
