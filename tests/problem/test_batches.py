"""Costs of many points: what goes with them, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.errors import CostEvaluationError, GradcheckInputError
from fastgradcheck.problem.batches import batch_of

THETA = {"W": np.random.default_rng(0).normal(size=(5, 4)), "b": np.linspace(-1.0, 1.0, 4)}


def one(t: dict[str, Any]) -> float:
    return float(np.sum(np.tanh(t["W"] @ t["b"]) ** 2))


def many(t: dict[str, Any]) -> Any:
    return np.sum(np.tanh(t["W"] @ t["b"][..., np.newaxis])[..., 0] ** 2, axis=-1)


def grad(t: dict[str, Any]) -> dict[str, Any]:
    z = np.tanh(t["W"] @ t["b"])
    d = 2 * z * (1 - z**2)
    return {"W": np.outer(d, t["b"]), "b": t["W"].T @ d}


def wrong(t: dict[str, Any]) -> dict[str, Any]:
    slopes = grad(t)
    slopes["W"][2, 1] *= 1.01
    return slopes


@pytest.mark.parametrize("vectorized", [True, 1, 5])
def test_the_result_is_that_of_single_calls(vectorized: Any) -> None:
    alone = fgc.gradcheck(one, grad, THETA, seed=0)
    together = fgc.gradcheck(many, grad, THETA, seed=0, vectorized=vectorized)
    assert alone
    assert together
    assert together.engine == "batched"
    apart = abs(alone.components["numeric"] - together.components["numeric"])
    assert (apart <= alone.components["error"] + together.components["error"]).all()


def test_a_wrong_entry_is_named() -> None:
    assert fgc.gradcheck(many, wrong, THETA, seed=0, vectorized=True).wrong == ("W[2, 1]",)
    screened = fgc.gradcheck(many, wrong, THETA, seed=0, vectorized=True, strategy="screen")
    assert screened.wrong == ("W[2, 1]",)


def test_bounds_and_scalars() -> None:
    seen = []

    def cost(t: Any) -> Any:
        seen.append(float(np.min(t)))
        return t**3

    close = (1 - 1e-7, 1 + 1e-7)
    fgc.gradcheck(cost, lambda t: 3 * t**2, 1.0, bounds=close, vectorized=True, seed=0)
    assert close[0] <= min(seen) < 1.0


def refused(message: str, cost: Any = many, **options: Any) -> None:
    with pytest.raises(GradcheckInputError, match=message):
        fgc.gradcheck(cost, options.pop("grad", grad), THETA, **{"vectorized": True, **options})


def test_a_cost_that_mixes_its_rows_is_refused() -> None:
    def mean(t: Any) -> Any:
        values = many(t)
        return values + 0.1 * values.mean()

    refused(r"cost mixes its rows: J of point \d of 8 is .* in one call with the others", mean)


def test_a_cost_of_one_point_is_refused() -> None:
    refused(r"cost raised ValueError for one point .* a first axis more", one)
    refused(r"cost returned a float for 1 points", lambda t: 1.0)
    refused(r"cost returned an array of shape \(1, 4\)", lambda t: t["b"])

    def first(t: Any) -> Any:
        if len(t["b"]) > 1:
            raise IndexError("no")
        return many(t)

    refused(r"takes one point, but not 8 in one call: it raised IndexError: no\.", first)


def test_no_number_in_a_batch_alone_is_refused() -> None:
    """Outside of the domain it is none by itself, too, which is no mixing of rows."""

    def spoiled(t: Any) -> Any:
        return many(t) * (np.nan if len(t["b"]) > 1 else 1.0)

    refused(r"cost mixes its rows: J of point 7 of 8 is nan in one call with the others", spoiled)
    edge = fgc.gradcheck(
        lambda t: np.sqrt(t).sum(axis=-1), lambda t: 0.5 / np.sqrt(t), np.full(3, 1e-9),
        vectorized=True, seed=0, bounds=(0.0, 1.0),
    )  # fmt: skip
    assert edge.engine == "batched"


def test_what_does_not_go_with_it_is_refused() -> None:
    refused("n_jobs=2 and vectorized= are two ways", n_jobs=2)
    with ThreadPoolExecutor(1) as executor:
        refused("executor= and vectorized= are two ways", executor=executor)
    refused("compiled ones are evaluated in parallel without it", engine="numba")
    refused("compiled ones are evaluated in parallel", numba.njit(lambda t: 0.0))
    refused("Pass the gradient as grad", grad=True)
    for value in (0, -3, 2.5, "yes"):
        refused(f"vectorized={value!r} is no number of points", vectorized=value)


def test_fewer_points_where_theta_is_large() -> None:
    assert batch_of(True, 10**6) == 33
    assert batch_of(True, 10**9) == 1


def test_a_point_outside_of_the_domain_is_told_by_its_address() -> None:
    def cost(t: Any) -> Any:
        if (abs(t["b"] - THETA["b"]) > 1e-9).any():
            raise ValueError("too far")
        return many(t)

    with pytest.raises(
        CostEvaluationError, match=r"cost raised ValueError on both sides of b\[0\]"
    ):
        fgc.gradcheck(cost, grad, THETA, vectorized=True, seed=0)
