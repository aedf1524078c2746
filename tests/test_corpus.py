"""The verdict on gradients from outside, on correct networks and on planted faults.

What is right and what is wrong is decided by `reference` (released gradients) or known by
construction (planted faults), never by the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import corpus
import numpy as np
import pytest
from faults import FAULTS, error, subject
from networks import NETWORKS
from reference import Classification, classify

import fastgradcheck as fgc
from fastgradcheck import Verdict

THRESHOLD = 1e-7
UNDECIDED_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Outcome:
    """One case of the corpus, what the reference says of it, and what the check says."""

    case: corpus.Case
    truth: Classification
    result: Any


@cache
def outcomes(family: str) -> tuple[Outcome, ...]:
    found = []
    for case in getattr(corpus, family)():
        gradient = np.array(case.grad(case.theta))
        truth = classify(case.cost, gradient, case.theta)
        found.append(Outcome(case, truth, fgc.gradcheck(case.cost, case.grad, case.theta, seed=1)))
    return tuple(found)


FAMILIES = [family.__name__ for family in corpus.FAMILIES]

# One worker measures the corpus once for all of these tests.
together = pytest.mark.xdist_group("corpus")


def told(found: list[Outcome]) -> str:
    return "\n".join(
        f"{o.case.name}: {o.result.verdict.name}, true relative difference "
        f"{o.truth.relative_difference:.2e} +- {o.truth.uncertainty:.1e}, "
        f"reported {o.result.relative_difference:.2e} <= {o.result.limit:.2e}"
        for o in found
    )


@together
@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_confirms_what_the_corpus_states(family: str) -> None:
    disputed = []
    for outcome in outcomes(family):
        if outcome.case.right is None:
            # J so coarse that even its reference cannot resolve the threshold.
            agrees = outcome.truth.uncertainty > THRESHOLD
        else:
            agrees = outcome.truth.right(THRESHOLD) is outcome.case.right
        if not agrees:
            disputed.append(outcome)
    assert not disputed, told(disputed)


@together
@pytest.mark.parametrize("family", FAMILIES)
def test_no_false_alarm_and_no_miss_on_released_gradients(family: str) -> None:
    failed = []
    for outcome in outcomes(family):
        verdict = outcome.result.verdict
        if outcome.case.right is None:
            failed += [outcome] * (verdict is not Verdict.UNDECIDED)
        elif outcome.case.right:
            failed += [outcome] * (verdict is Verdict.WRONG)
        else:
            failed += [outcome] * (verdict is not Verdict.WRONG)
    assert not failed, told(failed)


@together
def test_the_corpus_is_large_and_few_right_gradients_stay_undecided() -> None:
    right = [o for family in FAMILIES for o in outcomes(family) if o.case.right]
    assert len(right) >= 40
    undecided = [o for o in right if o.result.verdict is Verdict.UNDECIDED]
    assert len(undecided) <= UNDECIDED_SHARE * len(right), told(undecided)


@together
@pytest.mark.parametrize("family", FAMILIES)
def test_the_limit_holds_the_true_relative_difference(family: str) -> None:
    broken = [
        o
        for o in outcomes(family)
        if o.result.limit < o.truth.relative_difference - o.truth.uncertainty
    ]
    assert not broken, told(broken)


@pytest.mark.parametrize("name", NETWORKS)
def test_correct_backpropagation_agrees(name: str) -> None:
    undecided = []
    seeds = range(20)
    for seed in seeds:
        s = subject(NETWORKS[name], seed)
        result = fgc.gradcheck(
            s.network.cost, s.gradient, s.theta, args=(s.data, s.targets), seed=seed
        )
        assert result.verdict is not Verdict.WRONG, f"seed {seed}:\n{result}"
        undecided += [seed] * (result.verdict is Verdict.UNDECIDED)
    assert len(undecided) <= UNDECIDED_SHARE * len(seeds), undecided


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_planted_fault_is_wrong(name: str, fault: str) -> None:
    s = subject(NETWORKS[name], 3)
    faulty = FAULTS[fault](s, np.random.default_rng(5))
    changed = error(faulty, s.gradient)
    if not changed.any():
        pytest.skip("this network has no room for this fault")
    result = fgc.gradcheck(s.network.cost, faulty, s.theta, args=(s.data, s.targets), seed=7)
    assert result.verdict is Verdict.WRONG, f"largest error {np.abs(changed).max():.2e}\n{result}"
    wrong_blocks = {k for k in faulty if (faulty[k] != s.gradient[k]).any()}
    named = {address.split("[")[0] for address in result.wrong}
    assert named <= wrong_blocks, f"{named} were named, {wrong_blocks} are wrong\n{result}"


@pytest.mark.parametrize("relative", [1e-3, 1e-5, 1e-6, 1e-7, 1e-8, 1e-10])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_miss_above_the_stated_resolution(name: str, relative: float) -> None:
    """From errors that anything sees down to errors that nothing can see."""
    s = subject(NETWORKS[name], 11)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        faulty = {k: v.copy() for k, v in s.gradient.items()}
        block = faulty[str(rng.choice(list(faulty)))]
        i = rng.integers(block.size)
        size = relative * max(abs(block.flat[i]), float(np.median(np.abs(block))))
        block.flat[i] += size
        result = fgc.gradcheck(s.network.cost, faulty, s.theta, args=(s.data, s.targets), seed=seed)
        if size > result.resolution.size:
            assert result.verdict is not Verdict.AGREES, f"{size:.2e}\n{result}"
        if size > 10 * result.resolution.size:
            assert result.verdict is Verdict.WRONG, f"{size:.2e}\n{result}"


FLOAT32_FAULTS = [
    "everything doubled",
    "everything negated",
    "everything zero",
    "block doubled",
    "block zeroed",
    "block off by 1e-2",
    "one entry doubled",
    "one entry off by 1e-2",
    "transposed",
    "batch mean missing in the biases",
    "wrong activation mask",
]


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_networks(name: str) -> None:
    for seed in range(3):
        s = _float32_subject(name, seed)
        args = (s.data, s.targets)
        result = fgc.gradcheck(s.network.cost, s.gradient, s.theta, args=args, seed=seed)
        assert result.verdict is Verdict.AGREES, f"seed {seed}:\n{result}"
        for fault in FLOAT32_FAULTS:
            faulty = FAULTS[fault](s, np.random.default_rng(seed))
            if error(faulty, s.gradient).any():
                result = fgc.gradcheck(s.network.cost, faulty, s.theta, args=args, seed=seed)
                assert result.verdict is Verdict.WRONG, f"{fault}, seed {seed}:\n{result}"


def _float32_subject(name: str, seed: int) -> Any:
    network = NETWORKS[name]
    theta = network.initial(seed, np.float32)
    data, targets = network.batch(seed + 1000, 16, np.float32)
    made = subject(network, seed)
    gradient = network.grad(theta, data, targets)
    return type(made)(network, theta, data, targets, gradient)
