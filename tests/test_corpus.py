"""The verdict on gradients from outside, on correct networks and on planted faults.

What is right and what is wrong is decided by `reference` (released gradients) or known by
construction (planted faults), never by the package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck import Verdict
from tests.cases import corpus
from tests.cases.faults import FAULTS, error, subject
from tests.cases.networks import NETWORKS
from tests.cases.reference import Classification, classify

THRESHOLD = 1e-7
UNDECIDED_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Outcome:
    """One case of the corpus, what the reference says of it, and what the check says."""

    case: corpus.Case
    truth: Classification
    result: Any


def outcome(case: corpus.Case) -> Outcome:
    truth = classify(case.cost, np.array(case.grad(case.theta)), case.theta)
    return Outcome(case, truth, fgc.gradcheck(case.cost, case.grad, case.theta, seed=1))


def complaint(o: Outcome) -> str:
    """What is wrong with the outcome; empty if nothing is."""
    verdict, stated = o.result.verdict, o.case.right
    confirmed = o.truth.right(THRESHOLD) is stated
    if stated is None:
        # J so coarse that even its reference cannot resolve the threshold.
        confirmed = o.truth.uncertainty > THRESHOLD
    if not confirmed:
        return "the reference does not confirm what the corpus states"
    if stated is None and verdict is not Verdict.UNDECIDED:
        return "a claim finer than J allows"
    if stated and verdict is Verdict.WRONG:
        return "false alarm"
    if stated is False and verdict is not Verdict.WRONG:
        return "miss"
    if o.result.limit < o.truth.relative_difference - o.truth.uncertainty:
        return "the limit does not hold the true relative difference"
    return ""


def told(o: Outcome) -> str:
    return (
        f"{o.case.name}: {complaint(o) or o.result.verdict.name}; true relative difference "
        f"{o.truth.relative_difference:.2e} +- {o.truth.uncertainty:.1e}, "
        f"reported {o.result.relative_difference:.2e} <= {o.result.limit:.2e}, "
        f"{o.result.verdict.name}"
    )


@pytest.mark.parametrize("family", corpus.FAMILIES, ids=lambda family: family.__name__)
def test_released_gradients(family: Any) -> None:
    found = [outcome(case) for case in family()]
    if not found:
        pytest.skip("umap-learn is not installed")
    complaints = [told(o) for o in found if complaint(o)]
    assert not complaints, "\n".join(complaints)
    right = [o for o in found if o.case.right]
    undecided = [told(o) for o in right if o.result.verdict is Verdict.UNDECIDED]
    assert len(undecided) <= UNDECIDED_SHARE * len(right), "\n".join(undecided)


def test_the_corpus_is_large() -> None:
    assert sum(bool(case.right) for case in corpus.cases()) >= 40


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
    for seed in range(2):
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
