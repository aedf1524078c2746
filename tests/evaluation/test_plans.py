"""Points of directions, against SplitMix64 in Python's own integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastgradcheck.evaluation import hashing, plans
from fastgradcheck.evaluation.engines.python import PythonEngine
from fastgradcheck.evaluation.plans import Directions, Plan
from fastgradcheck.problem.problem import Objective
from tests.cases.interpreted import collect, draw, flat_cost, objective


def signed_magnitude(key: int, index: int) -> float:
    word = 2**64 - 1
    z = (key + (index + 1) * 0x9E3779B97F4A7C15) & word
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & word
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & word
    z ^= z >> 31
    return (-1.0 if z & 1 else 1.0) * (0.5 + (z >> 11) * 2.0**-53)


def pushed(theta: np.ndarray, region: Any, key: int, offset: complex, scale: Any) -> np.ndarray:
    start, columns, row0, row1, column0, column1 = region
    point = np.array(theta, complex if isinstance(offset, complex) else theta.dtype)
    for row in range(row0, row1):
        for column in range(column0, column1):
            i = start + row * columns + column
            step = offset * signed_magnitude(key, i) * (1.0 if scale is None else scale[i])
            point[i] = np.float64(theta[i]) + step
    return point


def snapshot_of(subject: Objective, plan: Plan) -> np.ndarray:
    """The flat points at which the cost was called."""
    points: list[np.ndarray] = []

    def spy(x):
        points.append(x.copy())
        return x.sum()

    engine = PythonEngine(Objective(spy, (), subject.parameters, subject.theta))
    collect(engine, plan)
    return np.array(points)


REGIONS = [(4, 5, 0, 3, 0, 5), (4, 5, 1, 3, 2, 4), (4, 5, 2, 3, 1, 2), (0, 4, 0, 1, 0, 4)]


class TestDirections:
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("scaled", [False, True])
    @pytest.mark.parametrize("compiled", [False, True])
    @pytest.mark.parametrize("offsets", [(0.1, -0.1, 1e-7), (1e-20j,)])
    def test_points(self, dtype, scaled, compiled, offsets, monkeypatch):
        monkeypatch.setattr(plans, "LARGE_REGION", 0 if compiled else 100)
        theta = draw(19).astype(dtype)
        subject = objective(flat_cost, theta)
        scale = np.linspace(0.5, 2.0, 19) if scaled else None
        keys = np.array([0, 1, 2**63 + 5, 2**64 - 1], np.uint64)
        plan = Directions(np.array(REGIONS), keys, np.array([offsets] * 4), scale)
        expected = [
            pushed(theta, region, int(key), offset, scale)
            for region, key in zip(REGIONS, keys, strict=True)
            for offset in offsets
        ]
        np.testing.assert_array_equal(snapshot_of(subject, plan), expected)

    def test_large_regions_are_compiled_and_the_same_bit_for_bit(self, monkeypatch):
        from fastgradcheck.evaluation.engines import kernels

        n = hashing.LARGE_REGION + 1
        subject = objective(flat_cost, draw(n))
        regions, keys = np.array([[0, n, 0, 1, 0, n]]), np.array([9], np.uint64)
        plan = Directions(regions, keys, np.array([[1e-4, -2e-4]]), np.linspace(1, 2, n))
        calls, perturb = [], kernels.perturb
        monkeypatch.setattr(kernels, "perturb", lambda *a: calls.append(perturb(*a)))
        compiled = snapshot_of(subject, plan)
        assert len(calls) == 2
        monkeypatch.setattr(plans, "LARGE_REGION", n)
        np.testing.assert_array_equal(compiled, snapshot_of(subject, plan))
        assert len(calls) == 2
