"""Entries of a Jacobian: their order and names, beside what NumPy counts."""

from __future__ import annotations

import numpy as np
import pytest

from fastgradcheck.problem.entries import Entries, nested
from fastgradcheck.problem.outputs import describe_outputs
from fastgradcheck.problem.parameters import describe

OUTPUTS = describe_outputs({"a": np.zeros((2, 2)), "b": np.zeros(3)})
PARAMETERS = describe({"W": np.zeros((2, 2)), "c": np.zeros(())})
ENTRIES = Entries(OUTPUTS, PARAMETERS)


def test_blocks_are_outputs_by_parameters_and_addresses_name_both():
    names = ENTRIES.names
    assert names.names == ("a / W", "a / c", "b / W", "b / c")
    assert names.size == 7 * 5
    assert names.address(0) == "a[0, 0] / W[0, 0]"
    assert names.address(int(ENTRIES.flat(3, 2))) == "a[1, 1] / W[1, 0]"
    assert names.address(int(ENTRIES.flat(5, 4))) == "b[1] / c"
    assert [(n, o.name, p.name) for n, o, p in ENTRIES.pairs()] == [
        (0, "a", "W"), (1, "a", "c"), (2, "b", "W"), (3, "b", "c")
    ]  # fmt: skip


def test_flat_indices_are_those_of_the_blocks_one_after_the_other():
    # The matrix with its own flat index as value, block by block.
    expected = np.empty((7, 5), np.int64)
    start = 0
    for rows in (slice(0, 4), slice(4, 7)):
        for columns in (slice(0, 4), slice(4, 5)):
            shape = expected[rows, columns].shape
            expected[rows, columns] = start + np.arange(np.prod(shape)).reshape(shape)
            start += int(np.prod(shape))
    rows, columns = np.indices((7, 5))
    assert (ENTRIES.flat(rows, columns) == expected).all()
    back = ENTRIES.places(expected.ravel())
    assert (back[0] == rows.ravel()).all()
    assert (back[1] == columns.ravel()).all()


def test_a_matrix_as_a_nest_of_blocks():
    matrix = np.arange(35.0).reshape(7, 5)
    nest = nested(matrix, OUTPUTS, PARAMETERS)
    assert nest["a"]["W"].shape == (2, 2, 2, 2)
    assert (nest["a"]["W"].reshape(4, 4) == matrix[:4, :4]).all()
    assert (nest["b"]["c"] == matrix[4:, 4]).all()


@pytest.mark.parametrize("theta", [np.zeros(5), np.zeros((5, 1))])
def test_a_single_array_keeps_its_shape(theta):
    matrix = np.arange(15.0).reshape(3, 5)
    whole = nested(matrix, describe_outputs(np.zeros(3)), describe(theta))
    assert whole.shape == (3, *theta.shape)
    assert (whole.reshape(3, 5) == matrix).all()
