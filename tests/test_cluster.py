"""A Dask cluster gives the result of one process, also when a worker is killed in mid-run."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import joblib
import numba
import numpy as np
import pytest

from fastgradcheck import Progress, gradcheck
from fastgradcheck.evaluation import parallel
from fastgradcheck.evaluation.choice import open_engine
from fastgradcheck.evaluation.engines import python
from fastgradcheck.evaluation.plans import Directions, Stencils
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective

distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals"),
    # One cluster for all of them, and no other test beside it on its cores.
    pytest.mark.xdist_group("cluster"),
    # distributed leaves sockets to the garbage collector when a worker is killed.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

THETA = np.linspace(1.0, 2.0, 150)
X = np.cos(np.arange(2000.0))


def plain(theta: np.ndarray, x: np.ndarray) -> float:
    s = 0.0
    for k in range(1000):
        s += x[k % len(x)] * theta[k % len(theta)] ** 2
    return s


@numba.njit
def compiled(theta: np.ndarray, x: np.ndarray) -> float:
    s = 0.0
    for _ in range(20):
        for k in range(1000):
            s += x[k % len(x)] * theta[k % len(theta)] ** 2
    return s


def gradient(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    k = np.arange(1000)
    slopes = 2 * np.bincount(k % len(theta), x[k % len(x)], len(theta)) * theta
    slopes[17] *= 1.01
    return slopes


def gradient_of_compiled(theta: np.ndarray, x: np.ndarray) -> np.ndarray:
    return 20 * gradient(theta, x)


COSTS = {"python": (plain, gradient), "numba": (compiled, gradient_of_compiled)}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send everything, in chunks of a few rows: many are in flight whatever moment it is."""
    monkeypatch.setattr(parallel, "WORTH_SENDING_SECONDS", 0.0)
    for module in (parallel, python):
        monkeypatch.setattr(module, "CHUNK_SECONDS", 0.01)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    options = {"processes": True, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        distributed.LocalCluster(n_workers=3, silence_logs=50, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def check(name: str, **options: Any) -> Any:
    cost, grad = COSTS[name]
    return gradcheck(
        cost,
        grad,
        THETA,
        args=(X,),
        engine=name,
        strategy="components",
        seed=1,
        **{"progress": False, **options},
    )


def same(one: Any, other: Any) -> bool:
    fields = ("verdict", "wrong", "evaluations", "noise", "steps", "engine")
    return np.array_equal(one.components, other.components) and all(
        getattr(one, field) == getattr(other, field) for field in fields
    )


@pytest.mark.parametrize("name", COSTS)
def test_a_cluster_gives_the_result_of_one_process(name: str, client: Any) -> None:
    expected = check(name, n_jobs=1)
    assert expected.wrong == ("theta[17]",)
    with joblib.parallel_config(backend="dask"):
        result = check(name)
    assert same(result, expected)
    assert result.n_jobs == 3


def shared_keys(client: Any) -> set[str]:
    """What the workers hold of theta and args."""
    return {str(key) for key in client.who_has() if str(key).startswith("Shared")}


@pytest.mark.parametrize("name", COSTS)
def test_theta_and_args_travel_once(name: str, client: Any) -> None:
    cost, _ = COSTS[name]
    parameters = describe(THETA)
    # Args of its own: what is equal has the same key on a cluster, and may still be there.
    objective = Objective(cost, (np.append(X, len(name)),), parameters, THETA)
    plan = Stencils(np.arange(150), THETA[:, None] * np.array([1.001, 0.999]))
    region = np.array([[0, 150, 0, 1, 0, 150]] * 40)
    along = Directions(region, np.arange(40, dtype=np.uint64), np.full((40, 8), 1e-3), THETA)
    before = shared_keys(client)
    with joblib.parallel_config(backend="dask"):
        engine = open_engine(objective, name)
        engine.value(THETA)
        scattered = []
        for each in (plan, along, plan):
            for _ in engine.evaluate(each):
                pass
            scattered.append(shared_keys(client) - before)
        engine.close()
    assert len(scattered[0]) == 1
    assert scattered == [scattered[0]] * 3


@pytest.mark.parametrize("name", COSTS)
def test_a_killed_worker_changes_nothing(name: str, client: Any) -> None:
    expected = check(name, n_jobs=1)
    victims = list(client.run(os.getpid).values())

    def kill(event: Progress) -> None:
        if event.stage == "components" and event.done > 20 and victims:
            os.kill(victims[0], signal.SIGKILL)
            victims.clear()

    with joblib.parallel_config(backend="dask"):
        result = check(name, progress=kill)
    assert not victims, "nobody was killed"
    assert same(result, expected)


def test_ctrl_c_stops_a_cluster_promptly(client: Any) -> None:
    pressed: list[float] = []

    def press(event: Progress) -> None:
        if event.stage == "components" and event.done > 10 and not pressed:
            pressed.append(time.process_time())
            signal.raise_signal(signal.SIGINT)

    with joblib.parallel_config(backend="dask"):
        result = check("python", progress=press)
    # It is a second on a quiet machine. The processor's time is that of this process alone.
    assert time.process_time() - pressed[0] < 5.0
    assert result.interrupted
    assert 10 < len(result.components) < 150
