"""How many workers there are, and that their number changes no bit."""

from __future__ import annotations

import os

import numpy as np
import pytest

from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.evaluation.choice import open_engine
from fastgradcheck.evaluation.engines import python
from fastgradcheck.evaluation.plans import Directions
from tests.cases.interpreted import WORKERS, collect, draw, flat_cost, objective, stencils


class TestBits:
    @pytest.mark.parametrize("workers", WORKERS)
    def test_same_bits_for_every_number_of_workers_and_chunks(self, workers, send):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(50, 30))

        def cost(x, X):
            return np.mean(np.tanh(X @ x.reshape(30, 4)) ** 2)

        subject = objective(cost, rng.normal(size=120), X)
        regions = np.array([[0, 120, 0, 1, 0, 120], [0, 4, 2, 9, 1, 3]] * 10)
        directions = Directions(regions, np.arange(20, dtype=np.uint64), np.full((20, 2), 0.1))
        for plan in (stencils(subject, 1e-5, -1e-5), directions):
            whole = python.Loop(subject, False).values(plan)
            np.testing.assert_array_equal(
                collect(open_engine(subject, "python", **workers), plan), whole
            )


class TestNumberOfWorkers:
    def test_one_process_by_default(self):
        assert open_engine(objective(flat_cost, draw(2)), "python").n_jobs == 1

    def test_as_asked(self):
        assert open_engine(objective(flat_cost, draw(2)), "python", n_jobs=3).n_jobs == 3
        assert open_engine(objective(flat_cost, draw(2)), "python", n_jobs=-1).n_jobs >= 1

    def test_as_configured_around(self):
        import joblib

        with joblib.parallel_config(backend="threading", n_jobs=2):
            assert open_engine(objective(flat_cost, draw(2))).n_jobs == 2
            assert open_engine(objective(flat_cost, draw(2)), "python", n_jobs=1).n_jobs == 1

    @pytest.mark.parametrize("n_jobs", [0, True, 1.5, "2"])
    def test_refused(self, n_jobs):
        with pytest.raises(GradcheckInputError, match="is not a number of workers"):
            open_engine(objective(flat_cost, draw(2)), "python", n_jobs=n_jobs)

    def test_tiny_work_stays_here(self):
        def cost(x):
            return float(os.getpid())

        engine = open_engine(objective(cost, np.zeros(3)), "python", n_jobs=2)
        assert (collect(engine, stencils(engine.objective, 1.0)) == os.getpid()).all()
