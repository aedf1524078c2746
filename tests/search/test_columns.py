"""Columns that are measured one by one, and step sweeps of those in doubt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.search.columns import confirm, look, one_by_one
from tests.cases.rowtasks import row_task

THETA = np.array([0.4, 1.3, -0.7])


def fun(t):
    return np.array([np.sin(t[0]) * t[1], np.exp(t[2]), t[0] ** 2 + t[2]])


def jac(t):
    return np.array(
        [[np.cos(t[0]) * t[1], np.sin(t[0]), 0], [0, 0, np.exp(t[2])], [2 * t[0], 0, 1]]
    )


def wrong(i, j, factor=1.01):
    claim = jac(THETA)
    claim[i, j] *= factor
    return claim


def last(stage, evidence, task):
    for latest in stage(evidence, task):
        evidence = latest
    return evidence


def test_columns_are_looked_at_in_the_order_of_entries():
    task = row_task(fun, jac(THETA), THETA)
    index, values, bars = look(task, np.array([2, 0]))
    assert index.tolist() == [2, 0, 5, 3, 8, 6]
    true = jac(THETA)[:, [2, 0]].ravel()
    assert (np.abs(values - true) <= bars).all()


def test_the_columns_of_the_sample_are_measured_and_no_other():
    task = row_task(fun, jac(THETA), THETA, sample=[0, 2])
    evidence = last(one_by_one, Evidence(), task)
    assert evidence.components.index.tolist() == [0, 2, 3, 5, 6, 8]
    assert not last(one_by_one, Evidence(), row_task(fun, jac(THETA), THETA)).components.index.size


def test_a_spot_check_is_left_out_where_something_was_measured():
    task = replace(row_task(fun, jac(THETA), THETA, sample=[0]), spot=True)
    measured = last(one_by_one, Evidence(), replace(task, spot=False))
    before = task.rows.context.stream.evaluations
    assert last(one_by_one, measured, task) is measured
    assert task.rows.context.stream.evaluations == before


@pytest.mark.parametrize("place", [(0, 0), (1, 2), (2, 2)])
def test_what_disagrees_is_swept_and_its_value_holds_the_truth(place):
    task = row_task(fun, wrong(*place), THETA, sample=[0, 1, 2], screens=False)
    evidence = last(confirm, last(one_by_one, Evidence(), task), task)
    (entry,) = evidence.sweeps
    assert entry == 3 * place[0] + place[1]
    (sweep,) = evidence.sweeps[entry]
    assert abs(sweep.value - jac(THETA)[place]) <= sweep.error < 1e-8
    codes = [block.wrong for block in task.judged(evidence)[1]]
    assert codes == [1]


def test_where_nothing_is_in_doubt_nothing_is_swept():
    task = row_task(fun, jac(THETA), THETA, sample=[0, 1, 2], screens=False)
    evidence = last(one_by_one, Evidence(), task)
    before = task.rows.context.stream.evaluations
    assert last(confirm, evidence, task) is evidence
    assert task.rows.context.stream.evaluations == before
