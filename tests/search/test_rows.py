"""The search for what is wrong in a Jacobian: which evidence every fault leaves."""

from __future__ import annotations

import numpy as np
import pytest

from fastgradcheck.search.rows import LINES, search
from fastgradcheck.verdict.verdict import Verdict
from tests.cases.jacobians import tanh_layer
from tests.cases.rowtasks import row_task

M, N = 20, 120
FUN, JAC, THETA = tanh_layer(M, N)


def searched(change, **options):
    claim = JAC(THETA)
    change(claim)
    task = row_task(FUN, claim, THETA, **options)
    return search(task), task


def regions(evidence):
    return [located.regions for located in evidence.located.values()]


def test_a_right_one_leaves_directions_that_agree():
    evidence, task = searched(lambda claim: None)
    (joint,) = evidence.joint
    assert not joint.screened.fails
    assert evidence.orders is not None
    assert not evidence.located
    assert [block.verdict for block in task.judged(evidence)[1]] == [Verdict.AGREES]


def test_single_entries_are_decoded_with_their_values():
    def change(claim):
        claim[3, 50] += 0.1
        claim[11, 7] -= 0.2

    evidence, _ = searched(change)
    true = JAC(THETA)
    found = evidence.components
    assert found.index.tolist() == [3 * N + 50, 11 * N + 7]
    for k, place in enumerate([(3, 50), (11, 7)]):
        assert abs(found.lower[k] - true[place]) <= found.error[k] < 1e-6
    assert not evidence.joint[0].screened.fails


def test_a_row_that_is_wrong_throughout_is_a_region():
    def change(claim):
        claim[4] *= 2

    evidence, _ = searched(change)
    ((region,),) = regions(evidence)
    assert region[2:].tolist() == [4, 5, 0, N]


def test_a_column_that_is_wrong_in_all_rows_is_a_region():
    def change(claim):
        claim[:, 9] += 0.3

    evidence, _ = searched(change)
    ((region,),) = regions(evidence)
    assert region[2:].tolist() == [0, M, 9, 10]
    assert M >= LINES


def test_everything_wrong_is_the_whole_block():
    def change(claim):
        claim *= -1

    evidence, _ = searched(change)
    ((region,),) = regions(evidence)
    assert region[2:].tolist() == [0, M, 0, N]


def test_what_is_no_number_is_swept():
    def change(claim):
        claim[5, 8] = np.nan

    evidence, _ = searched(change)
    (sweep,) = evidence.sweeps[5 * N + 8]
    assert abs(sweep.value - JAC(THETA)[5, 8]) <= sweep.error < 1e-8


def test_a_column_at_its_bounds_is_measured_by_itself():
    low, high = np.full(N, -9.0), np.full(N, 9.0)
    low[6] = THETA[6]
    evidence, _ = searched(lambda claim: None, bounds=(low, high))
    assert evidence.fixed.tolist() == [6]
    rows = {index // N for index in evidence.sweeps if index % N == 6}
    assert rows == set(range(M))


@pytest.mark.parametrize("screens", [True, False])
def test_directions_are_sent_only_where_they_are_asked_for(screens):
    evidence, _ = searched(lambda claim: None, screens=screens, sample=[1, 2])
    assert bool(evidence.joint) is screens
    assert len(evidence.components.index) == 2 * M
