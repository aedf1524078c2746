"""Outputs: names, order, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.problem.outputs import describe_outputs


def test_a_nest_becomes_a_vector_with_names():
    value = {"a": np.arange(6.0).reshape(2, 3), "b": [np.float64(7.0), np.array([8.0])]}
    outputs = describe_outputs(value)
    assert outputs.flatten(value).tolist() == [0, 1, 2, 3, 4, 5, 7, 8]
    assert [outputs.address(i) for i in (5, 6, 7)] == ["a[1, 2]", "b[0]", "b[1][0]"]


def test_an_array_without_a_name_is_called_f_and_may_be_named():
    assert describe_outputs(np.ones((2, 2))).address(3) == "F[1, 1]"
    named = describe_outputs(np.ones(5), {"defect": (2, 2), "end": 1})
    assert named.address(3) == "defect[1, 1]"
    assert describe_outputs(3.0).address(0) == "F"


def test_the_vector_is_a_copy():
    """A function may fill one and the same array at every call."""
    value = np.ones(3)
    flat = describe_outputs(value).flatten(value)
    value[0] = 5.0
    assert flat[0] == 1.0


@pytest.mark.parametrize(
    ("value", "names", "message"),
    [
        (None, None, "fun returned None"),
        ({}, None, "fun returned no array"),
        ({"a": np.zeros(0)}, None, "a is empty (shape (0,))"),
        (np.array(["x"]), None, "F is of dtype <U1"),
        (np.ones(3), {"a": 2}, "outputs= adds up to 2 entries (a: 2), but fun returned 3"),
        (np.ones((3, 1)), {"a": 3}, "fun returned an array of shape (3, 1)"),
        (np.ones(3), {}, "outputs={} names no output"),
        (np.array([1.0, np.nan]), None, "F[1] is nan at theta"),
    ],
)
def test_what_has_no_outputs_is_refused(value, names, message):
    with pytest.raises(GradcheckInputError, match=re.escape(message)):
        describe_outputs(value, names)


def test_outputs_must_stay_as_they_are():
    outputs = describe_outputs({"a": np.ones(2), "b": np.ones(3)})
    with pytest.raises(GradcheckInputError, match="fun returned a, where it returned a, b"):
        outputs.flatten({"a": np.ones(2)})
    with pytest.raises(GradcheckInputError, match=r"b has shape \(2,\), but had \(3,\) at theta"):
        outputs.flatten({"a": np.ones(2), "b": np.ones(2)})
    with pytest.raises(GradcheckTypeError, match="is real for a complex theta"):
        describe_outputs(np.ones(2)).flatten(np.ones(2), is_complex=True)
