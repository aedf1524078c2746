"""Directions over all of theta, and the search for what is wrong where they disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences import joint
from fastgradcheck.differences.components import of_decoded
from fastgradcheck.differences.directions import Prober
from fastgradcheck.differences.evidence import NOTHING_LOCATED, Evidence, Located
from fastgradcheck.differences.screen import BEYOND_DOUBT, CLOSER, DIRECTIONS, Draws, screen
from fastgradcheck.differences.sweep import sweep
from fastgradcheck.evaluation import hashing
from fastgradcheck.evaluation.stream import Stopped
from fastgradcheck.problem import bounds
from fastgradcheck.problem.blocks import Block
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.problem import Problem
from fastgradcheck.problem.region import CHUNK
from fastgradcheck.search.block import BlockSearch
from fastgradcheck.search.confirm import CAP, TWICE_BELOW
from fastgradcheck.search.divide import divide
from fastgradcheck.search.sharpen import extend
from fastgradcheck.search.task import Task
from fastgradcheck.verdict import rules
from fastgradcheck.verdict.verdict import Verdict

SHARE = 0.7
"""The part of the threshold that the directions' limits should stay within."""
AT_BOUNDS = 100
"""Entries at their bounds, which take no part in directions, that are measured one by one."""
EXTENSIONS = 2
ROUNDS = 4
"""How often what was found is taken out and the rest measured anew."""


def cover(evidence: Evidence, task: Task) -> Iterator[Evidence]:
    """Directions over all of theta, and the search where they disagree."""
    if not task.screens:
        return
    prober = _prober(task)
    for b, block in enumerate(task.problem.parameters.blocks):
        broken = block.start + np.flatnonzero(~np.isfinite(task.gradient[block.slice]))
        if len(broken):
            evidence = evidence.with_sweeps(sweep(task.context, broken[:CAP]))
            if len(broken) > CAP:
                evidence = evidence.with_located(b, Located(whole_block=True))
            yield evidence
    if prober.imaginary:
        blocks = [b for b, block in enumerate(task.problem.parameters.blocks) if block.size > 1]
        evidence = evidence.with_screened(screen(prober, blocks, SHARE * task.tolerance.threshold))
        yield evidence
    else:
        for latest in jointly(evidence, task, prober):
            evidence = latest
            yield evidence
    for b, screened in evidence.screened.items():
        if screened.fails and evidence.location(b) is NOTHING_LOCATED:
            searching = BlockSearch(task, prober, b, evidence)
            yield from _run(searching)
            evidence = searching.evidence
    for _ in range(EXTENSIONS):
        before, evidence = evidence, extend(evidence, task, prober)
        if evidence is before:
            break
        yield evidence


def _run(searching: BlockSearch) -> Iterator[Evidence]:
    """Search a block; a stop loses nothing of it."""
    try:
        searching.run()
    except Stopped:
        yield searching.evidence
        raise
    yield searching.evidence


def jointly(evidence: Evidence, task: Task, prober: Prober) -> Iterator[Evidence]:
    """One set of directions over all blocks; single wrong entries are found and taken out.

    What is found wrong is taken out of the claim, and fresh directions are sent through what is
    left: if they agree, everything that was found is confirmed, and nothing else is wrong. Blocks
    in which more is wrong get what the directions say of each of them.
    """
    context, blocks = task.context, task.problem.parameters.blocks
    taking_part = np.array(
        [prober.moving is None or bool(prober.moving[block.slice].any()) for block in blocks]
    )
    known = np.array([evidence.location(b).whole_block for b in range(len(blocks))])
    taking_part &= ~known
    if not taking_part.any():
        return
    weights, middle = joint.weights(prober, taking_part)
    weighted = replace(prober, moving=joint.spread(prober, weights))
    step = joint.choose_step(weighted, middle, (0,))
    fixed = _leave_out(weighted, step, known)
    evidence = replace(evidence, fixed=fixed)
    if len(fixed):
        evidence = evidence.with_sweeps(sweep(context, fixed[:AT_BOUNDS]))
    repaired: dict[int, float] = {}
    decoded: dict[int, tuple[float, float]] = {}
    for attempt in range(ROUNDS):
        probing = replace(weighted, problem=_repaired(task, repaired))
        enough = _enough(task, probing, weights)
        draws = joint.measure(probing, step, (1, attempt), enough)
        found = joint.limits(probing, draws, weights.copy(), dict(repaired), attempt)
        evidence = replace(evidence, joint=(found,))
        if not found.screened.fails:
            # Fresh directions agree with the repaired claim: what was decoded is confirmed.
            evidence = _with_entries(evidence, task, decoded)
            yield evidence
            yield from _sharpened(evidence, task, prober, probing, draws, attempt)
            return
        if not decoded:
            yield evidence
        divided = divide(probing, found)
        newly = dict(divided.entries)
        for b, screened in divided.blocks.items():
            own = evidence.with_screened({b: screened})
            plain = replace(prober, problem=probing.problem)
            searching = BlockSearch(task, plain, b, own, trusting=True)
            yield from _run(searching)
            if searching.decoded:
                # Confirmed with all others by the directions of the repaired claim.
                newly |= searching.decoded
                continue
            evidence = searching.evidence
            weights[b] = 0.0
        for i, (size, bar) in newly.items():
            repaired[i] = repaired.get(i, 0.0) + size
            decoded[i] = repaired[i], bar
        for b in divided.left:
            evidence = evidence.with_located(b, Located(unexplained=True))
            weights[b] = 0.0
        assert weighted.moving is not None
        weighted = replace(weighted, moving=_without(weighted.moving, weights, blocks))
        evidence = replace(evidence, joint=(found.only(weights > 0),))
        if not (weights > 0).any():
            evidence = replace(evidence, joint=())
            yield _with_entries(evidence, task, decoded)
            return
        if not divided.entries and not divided.blocks:
            break
    # Directions that go on disagreeing confirm nothing: entries get step sweeps of their own.
    yield evidence.with_sweeps(sweep(context, np.array(sorted(decoded), np.int64)))


def _sharpened(
    evidence: Evidence, task: Task, prober: Prober, probing: Prober, draws: Draws, attempt: int
) -> Iterator[Evidence]:
    """More directions where these bring the limit to the threshold; what stays coarse, apart.

    `probing` measured the `draws`; `prober` has no weights.
    """
    (found,) = evidence.joint
    while True:
        verdict, together, results = rules.judge(task.beside(evidence), task.tolerance)
        count = len(found.screened)
        gain = found.screened.hidden / joint.hidden(max(joint.SHARES), attempt)
        if verdict is not Verdict.UNDECIDED or 2 * count not in joint.SHARES:
            break
        if not task.tolerance.threshold < together.limit <= task.tolerance.threshold / gain:
            break
        step = float(np.median(draws.steps))
        enough = _enough(task, probing, found.weights)
        more = joint.measure(probing, step, (2, attempt, count), enough, count)
        draws = draws.joined(more)
        found = joint.limits(probing, draws, found.weights, found.repaired, attempt)
        evidence = replace(evidence, joint=(found,))
        yield evidence
    coarse = np.array(
        [
            found.covers(b) and result.verdict is Verdict.UNDECIDED
            for b, result in enumerate(results)
        ]
    )
    if verdict is Verdict.UNDECIDED and coarse.any() and not coarse[found.weights > 0].all():
        yield _apart(evidence, task, prober, coarse, attempt + 1)


def _apart(
    evidence: Evidence, task: Task, prober: Prober, coarse: NDArray[np.bool_], attempt: int
) -> Evidence:
    """Directions over the blocks that those over all leave too coarse, at steps of their own."""
    (found,) = evidence.joint
    plain = replace(prober, problem=_repaired(task, found.repaired))
    weights, middle = joint.weights(plain, coarse)
    weighted = replace(plain, moving=joint.spread(plain, weights))
    step = joint.choose_step(weighted, middle, (3,))
    draws = joint.measure(weighted, step, (4,), _enough(task, weighted, weights))
    group = joint.limits(weighted, draws, weights, found.repaired, attempt)
    return replace(evidence, joint=(found.only(~coarse), group))


def _repaired(task: Task, sizes: Mapping[int, float]) -> Problem:
    """The claim without what single entries of it are off by."""
    if not sizes:
        return task.problem
    claim = task.gradient.copy()
    claim[list(sizes)] -= list(sizes.values())
    return replace(task.problem, gradient=claim)


def _shown(evidence: Evidence, task: Task, i: int, size: float, bar: float) -> bool:
    """Whether the directions of the repaired claim would have shown an error of this entry."""
    b = task.problem.parameters.block_index(i)
    found = evidence.joint_of(b)
    if found is None or not abs(size) > TWICE_BELOW * bar:
        return False
    s = found.screened
    v = np.array([hashing.direction(key, np.array([i]))[0] for key in s.keys])
    return bool(np.all(abs(size) * found.weights[b] * np.abs(v) > BEYOND_DOUBT * s.error))


def _with_entries(
    evidence: Evidence, task: Task, decoded: Mapping[int, tuple[float, float]]
) -> Evidence:
    """With the entries that were decoded.

    They are confirmed where directions of the repaired claim cover their block, agree, and could
    not have agreed with the claim as it was. The others get step sweeps of their own.
    """
    if not decoded:
        return evidence
    index = np.array(sorted(decoded), np.int64)
    sizes = np.array([decoded[int(i)] for i in index])
    sure = np.array([_shown(evidence, task, int(i), *decoded[int(i)]) for i in index])
    numeric = task.gradient[index] - sizes[:, 0]
    evidence = evidence.with_components(of_decoded(index[sure], numeric[sure], sizes[sure, 1]))
    rest = index[~sure]
    return evidence.with_sweeps(sweep(task.context, rest)) if len(rest) else evidence


def _leave_out(weighted: Prober, step: float, known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Take the weight of what the step does not move, and tell what that is.

    Blocks that are known to be wrong as a whole need not be covered.
    """
    assert weighted.moving is not None
    theta, scale = weighted.context.theta, weighted.moving
    left_out = []
    for number, block in enumerate(weighted.context.parameters.blocks):
        for first in range(block.start, block.stop, CHUNK):
            part = slice(first, min(first + CHUNK, block.stop))
            # The smallest |v_i| is one half, and steps are shortened where kinks are met: an entry
            # that this does not move is not covered.
            smallest = (0.5 * step / CLOSER[-1] * scale[part]).astype(theta.dtype)
            still = (theta[part] + smallest == theta[part]) | (scale[part] == 0)
            scale[part][still] = 0.0
            if not known[number]:
                left_out.append(first + np.flatnonzero(still))
    return np.concatenate([np.zeros(0, np.int64), *left_out])


def _without(
    scale: NDArray[np.float64], weights: NDArray[np.float64], blocks: Sequence[Block]
) -> NDArray[np.float64]:
    """The weights of the entries, zero in blocks of weight zero."""
    kept = scale.copy()
    for block in np.flatnonzero(weights == 0).tolist():
        kept[blocks[block].slice] = 0.0
    return kept


def _enough(task: Task, weighted: Prober, weights: NDArray[np.float64]) -> float:
    """The bar at which the limit of the whole comes near enough to the threshold."""
    smallest = float(np.min(weights, where=weights > 0, initial=np.inf))
    wanted = 2 * SHARE * task.tolerance.threshold * norm(weighted.gradient)
    return float(wanted * smallest * joint.hidden(DIRECTIONS, 0))


def _prober(task: Task) -> Prober:
    """What measures directions: inside the bounds, or by complex steps, which leave none."""
    context = task.context
    if context.scheme.imaginary:
        return Prober(context, task.problem, imaginary=True)
    moving = bounds.movable(context.bounds, context.theta, context.scale)
    return Prober(context, task.problem, moving)
