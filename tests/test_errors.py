"""Exceptions that the package raises on purpose."""

from __future__ import annotations

import pickle

from fastgradcheck.errors import CostEvaluationError


def test_the_error_pickles():
    error = pickle.loads(pickle.dumps(CostEvaluationError("text", "W1[3, 5]", 0.5)))
    assert (str(error), error.address, error.step) == ("text", "W1[3, 5]", 0.5)
