"""DataArrays and Datasets of xarray as theta and as gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError

xr = pytest.importorskip("xarray")

VALUES = np.random.default_rng(0).normal(size=(3, 4))
LABELS = {"lat": [10, 20, 30], "lon": list("abcd")}
THETA = xr.DataArray(VALUES, LABELS, ("lat", "lon"), "T", {"units": "K"})


def cubes(t: Any) -> Any:
    return (t**3).sum()


def slopes(t: Any) -> Any:
    return 3 * t**2


def test_the_cost_gets_what_it_was_given() -> None:
    seen = []

    def cost(t: Any) -> Any:
        seen.append((type(t), t.dims, t.name, t.attrs, list(t.coords["lon"].to_numpy())))
        return cubes(t)

    result = fgc.gradcheck(cost, slopes, THETA, seed=0)
    assert result, str(result)
    assert [block.name for block in result.blocks] == ["T"]
    expected = (xr.DataArray, ("lat", "lon"), "T", {"units": "K"}, list("abcd"))
    assert all(what == expected for what in seen)


@pytest.mark.parametrize(
    "change",
    [
        lambda g: g.transpose(),
        lambda g: g.isel(lat=[2, 0, 1], lon=[3, 1, 0, 2]),
        lambda g: g.to_numpy(),
        lambda g: g.astype("float32"),
        lambda g: g.drop_vars("lat"),
    ],
)
def test_gradients_are_matched_by_label(change: Any) -> None:
    assert fgc.gradcheck(cubes, lambda t: change(slopes(t)), THETA, seed=0)

    def wrong(t: Any) -> Any:
        slope = slopes(t)
        slope.loc[{"lat": 20, "lon": "c"}] += 1
        return change(slope)

    assert fgc.gradcheck(cubes, wrong, THETA, seed=0).wrong == ("T[1, 2]",)


@pytest.mark.parametrize(
    ("grad", "message"),
    [
        (lambda t: slopes(t).sum("lat"), r"has the dimensions \('lon',\), but theta has \('lat'"),
        (lambda t: slopes(t).isel(lat=[0, 2]), "has other labels along 'lat' than theta"),
    ],
)
def test_gradients_that_do_not_match_are_refused(grad: Any, message: str) -> None:
    with pytest.raises(GradcheckInputError, match=message):
        fgc.gradcheck(cubes, grad, THETA)


def test_many_points_have_a_dimension_of_their_own() -> None:
    def cost(t: Any) -> Any:
        return (t**3).sum(("lat", "lon"))

    result = fgc.gradcheck(cost, slopes, THETA, seed=0, vectorized=True)
    assert result, str(result)
    assert result.engine == "batched"


def test_variables_of_a_dataset_are_blocks() -> None:
    """Whole numbers are no parameters, and are carried along."""
    weights = ("lat", np.array([0.5, -1.0, 2.0]))
    theta = xr.Dataset({"T": THETA, "w": weights, "n": ("lat", [1, 2, 3]), "s": 2.5})

    def cost(d: Any) -> float:
        return float((d["T"] * d["w"] * d["n"]).sum() * d["s"])

    def grad(d: Any) -> Any:
        product = d["w"] * d["n"] * d["s"]
        return xr.Dataset(
            {
                "s": (d["T"] * d["w"] * d["n"]).sum(),
                "w": (d["T"] * d["n"]).sum("lon") * d["s"],
                "T": product.broadcast_like(d["T"]),
            }
        )

    def of_arrays(d: Any) -> Any:
        return {name: part.to_numpy() for name, part in grad(d).data_vars.items()}

    def wrong(d: Any) -> Any:
        found = grad(d)
        found["w"][1] = 0
        return found

    for right in (grad, lambda d: d.assign(grad(d)), of_arrays):
        result = fgc.gradcheck(cost, right, theta, seed=0)
        assert result, str(result)
        assert [block.name for block in result.blocks] == ["T", "w", "s"]
    assert fgc.gradcheck(cost, wrong, theta, seed=0).wrong == ("w[1]",)
    with pytest.raises(GradcheckInputError, match="of theta lacks 'w'"):
        fgc.gradcheck(cost, lambda d: grad(d).drop_vars("w"), theta)


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (THETA.astype(int), "T is int64: a parameter must be floating point"),
        (THETA * 1j, "T is complex128: a parameter must be floating point"),
    ],
)
def test_thetas_that_are_refused(theta: Any, message: str) -> None:
    with pytest.raises(GradcheckTypeError, match=message):
        fgc.gradcheck(cubes, slopes, theta)
