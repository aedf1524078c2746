"""Directions over all of theta, and the search for what is wrong where they disagree."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences import joint
from fastgradcheck.differences.components import of_decoded
from fastgradcheck.differences.directions import OFFSETS, Prober
from fastgradcheck.differences.draws import (
    CLOSER,
    DIRECTIONS,
    Calibration,
    Draws,
    choose_step,
    measure,
)
from fastgradcheck.differences.evidence import Evidence, Located
from fastgradcheck.differences.joint import Joint, Repaired
from fastgradcheck.differences.remainders import Orders, orders
from fastgradcheck.differences.screen import BEYOND_DOUBT, Screened
from fastgradcheck.differences.sweep import sweep
from fastgradcheck.evaluation import hashing
from fastgradcheck.evaluation.stream import Stopped
from fastgradcheck.problem import bounds
from fastgradcheck.problem.blocks import Block
from fastgradcheck.problem.norm import norm
from fastgradcheck.problem.problem import Problem
from fastgradcheck.problem.region import CHUNK
from fastgradcheck.search.block import BlockSearch
from fastgradcheck.search.confirm import CAP, TWICE_BELOW, measured_twice
from fastgradcheck.search.divide import divide
from fastgradcheck.search.task import Task
from fastgradcheck.verdict.verdict import Verdict

AT_BOUNDS = 100
"""Entries at their bounds or on kinks, which take no part in directions, that are measured one by
one."""
ROUNDS = 4
"""How often what was found is taken out and the rest measured anew."""


def cover(evidence: Evidence, task: Task) -> Iterator[Evidence]:
    """Directions over all of theta, and the search where they disagree.

    What is found wrong is taken out of the claim, and fresh directions are sent through what is
    left: if they agree, everything that was found is confirmed, and nothing else is wrong. Blocks
    in which more than entries is wrong get what the directions say of each of them.
    """
    if not task.screens:
        return
    for latest in _broken(evidence, task):
        evidence = latest
        yield evidence
    context, blocks = task.context, task.problem.parameters.blocks
    prober = _prober(task)
    lost = np.array([evidence.location(b).whole_block for b in range(len(blocks))])
    recording = task.recording
    if recording is None:
        weights, middle = joint.weights(context, prober.sizes, _moving(prober, blocks) & ~lost)
    else:
        weights = np.where(lost, 0.0, recording.weights)
    if not weights.any():
        return
    weighted = replace(prober, moving=joint.spread(prober, weights))
    if recording is None:
        chosen = choose_step(weighted, middle, (0,))
    else:
        chosen = Calibration(recording.step, on_kinks=recording.on_kinks)
    fixed = _leave_out(weighted, chosen.step, lost)
    if len(fixed):
        # The directions that chose the step may have moved these.
        chosen = chosen.alone()
    evidence = replace(evidence, fixed=fixed, on_kinks=chosen.on_kinks)
    if len(fixed) and recording is None:
        evidence = evidence.with_sweeps(sweep(context, fixed[:AT_BOUNDS]))
    repaired: Repaired = {}
    for attempt in range(ROUNDS):
        probing = replace(weighted, problem=_without_errors(task, repaired))
        if recording is not None and not attempt and not lost.any():
            draws = recording.beside(probing)
        else:
            draws = measure(probing, chosen, (1, attempt), _enough(task, probing, weights))
            chosen = chosen.alone()
        found = joint.limits(probing, draws, weights, repaired, attempt)
        if found.screened.fails and draws.on_kinks:
            # The claim may be another subgradient than the middle of both sides' slopes.
            if recording is None and (entries := _single(probing, found)):
                evidence = evidence.with_sweeps(sweep(context, np.array(sorted(entries))))
                repaired = _joined(repaired, entries)
                yield evidence
                continue
            chosen, evidence = Calibration(chosen.step), replace(evidence, on_kinks=False)
            if recording is None and (evidence := _zeros_apart(evidence, task, weighted)).zeros:
                yield evidence
                continue
            draws = draws.with_subgradients()
            found = joint.limits(probing, draws, weights, repaired, attempt)
        evidence = replace(evidence, joint=(found,))
        if not attempt and draws.signal.size and not draws.on_kinks:
            evidence = replace(evidence, orders=_orders(draws, found.screened, prober.noise))
        if not found.screened.fails:
            # Fresh directions agree with the repaired claim: what was decoded is confirmed.
            evidence = _with_entries(evidence, task, repaired)
            yield evidence
            yield from _sharpened(evidence, task, prober, probing, draws, attempt)
            return
        if not repaired:
            yield evidence
        evidence, entries, out = yield from _followed(evidence, task, prober, probing, found)
        repaired = _joined(repaired, entries)
        evidence = replace(evidence, decoded=repaired)
        yield evidence
        weights = np.where(np.isin(np.arange(len(blocks)), out), 0.0, weights)
        evidence = replace(evidence, joint=(found.only(weights > 0),) if weights.any() else ())
        if not weights.any():
            yield _with_entries(evidence, task, repaired)
            return
        if not entries and not out:
            break
        weighted = replace(weighted, moving=_without(weighted, out, blocks))
    # Directions that go on disagreeing confirm nothing: entries get step sweeps of their own.
    evidence = measured_twice(evidence, task, np.array(sorted(repaired), np.int64))
    yield replace(evidence, decoded={})


def sweep_fixed(evidence: Evidence, task: Task) -> Iterator[Evidence]:
    """What directions do not move, after recorded ones, which tell their part without J."""
    if task.recording is not None and len(evidence.fixed):
        yield evidence.with_sweeps(sweep(task.context, evidence.fixed[:AT_BOUNDS]))


def _orders(draws: Draws, screened: Screened, level: float) -> Orders:
    """The orders of Taylor's remainders, from the points of the first directions."""
    offsets = draws.steps[:, np.newaxis] * OFFSETS
    predicted = screened.claimed[:, np.newaxis] * offsets
    step = float(np.median(draws.steps))
    return orders(predicted - draws.signal, predicted, step, level)


def _broken(evidence: Evidence, task: Task) -> Iterator[Evidence]:
    """Step sweeps where the claim is no number; many of them are a block that is wrong."""
    if task.problem.is_finite:
        return
    for b, block in enumerate(task.problem.parameters.blocks):
        broken = block.start + np.flatnonzero(~np.isfinite(task.gradient[block.slice]))
        if len(broken):
            evidence = evidence.with_sweeps(sweep(task.context, broken[:CAP]))
            if len(broken) > CAP:
                evidence = evidence.with_located(b, Located(whole_block=True))
            yield evidence


def _followed(
    evidence: Evidence, task: Task, prober: Prober, probing: Prober, found: Joint
) -> Generator[Evidence, None, tuple[Evidence, Repaired, list[int]]]:
    """Single wrong entries, and blocks in which more is wrong, which take part no longer.

    `probing` measured what was `found`; `prober` has no weights.
    """
    divided = divide(probing, found)
    entries, out = dict(divided.entries), list(divided.left)
    for b in divided.left:
        evidence = evidence.with_located(b, Located(unexplained=True))
    for b, screened in divided.blocks.items():
        own = evidence.with_screened({b: screened})
        plain = replace(prober, problem=probing.problem)
        before = sum(task.problem.parameters.block_index(i) == b for i in found.repaired)
        searching = BlockSearch(task, plain, b, own, trusting=True, cap=CAP - before)
        try:
            searching.run()
        except Stopped:
            yield searching.evidence
            raise
        if searching.decoded:
            # Confirmed with all others by the directions of the repaired claim.
            entries |= searching.decoded
        else:
            evidence = searching.evidence
            out.append(b)
            yield evidence
    return evidence, entries, out


def _joined(repaired: Repaired, more: Repaired) -> Repaired:
    """What is off in all: an entry that was found before is off by both, and by the later bar."""
    both = {i: (repaired.get(i, (0.0, 0.0))[0] + size, bar) for i, (size, bar) in more.items()}
    return {**repaired, **both}


def _sharpened(
    evidence: Evidence, task: Task, prober: Prober, probing: Prober, draws: Draws, attempt: int
) -> Iterator[Evidence]:
    """More directions where these bring the limit to the threshold; what stays coarse, apart.

    `probing` measured the `draws`; `prober` has no weights.
    """
    (found,) = evidence.joint
    while True:
        verdict, together, results = task.judged(evidence)
        count = len(found.screened)
        gain = found.screened.hidden / joint.hidden(max(joint.SHARES), attempt)
        if verdict is not Verdict.UNDECIDED or 2 * count not in joint.SHARES:
            break
        if not task.tolerance.threshold < together.limit <= task.tolerance.threshold / gain:
            break
        chosen = Calibration(float(np.median(draws.steps)), on_kinks=draws.on_kinks)
        enough = _enough(task, probing, found.weights)
        more = measure(probing, chosen, (2, attempt, count), enough, count)
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
    plain = replace(prober, problem=_without_errors(task, found.repaired))
    weights, middle = joint.weights(task.context, plain.sizes, coarse)
    weighted = replace(plain, moving=joint.spread(plain, weights))
    chosen = choose_step(weighted, middle, (3,))
    draws = measure(weighted, chosen, (4,), _enough(task, weighted, weights))
    group = joint.limits(weighted, draws, weights, found.repaired, attempt)
    on_kinks = evidence.on_kinks or draws.on_kinks
    return replace(evidence, joint=(found.only(~coarse), group), on_kinks=on_kinks)


def _single(probing: Prober, found: Joint) -> Repaired:
    """The entries that explain all that directions disagree about, if single ones do."""
    divided = divide(probing, found)
    return {} if divided.blocks or divided.left else divided.entries


def _zeros_apart(evidence: Evidence, task: Task, weighted: Prober) -> Evidence:
    """Take the weight of entries that are zero, and measure them by themselves.

    There |x| and max(x, 0) have kinks. Where they are too many, their blocks stay undecided:
    directions disagree with the claim.
    """
    assert weighted.moving is not None
    zero = np.flatnonzero((task.context.theta == 0) & (weighted.moving > 0))
    weighted.moving[zero] = 0.0
    for b in {task.problem.parameters.block_index(int(i)) for i in zero[AT_BOUNDS:]}:
        evidence = evidence.with_located(b, Located(unexplained=True))
    fixed = np.union1d(evidence.fixed, zero)
    evidence = replace(evidence, fixed=fixed, zeros=len(zero))
    return evidence.with_sweeps(sweep(task.context, zero[:AT_BOUNDS]))


def _without_errors(task: Task, repaired: Repaired) -> Problem:
    """The claim without what single entries of it are off by."""
    if not repaired:
        return task.problem
    claim = task.gradient.copy()
    claim[list(repaired)] -= [size for size, _ in repaired.values()]
    return replace(task.problem, gradient=claim)


def _shown(evidence: Evidence, task: Task, i: int, size: float, bar: float) -> bool:
    """Whether most directions of the repaired claim had disagreed, had this entry been right."""
    b = task.problem.parameters.block_index(i)
    found = evidence.joint_of(b)
    if found is None or not abs(size) > TWICE_BELOW * bar:
        return False
    s = found.screened
    v = np.array([hashing.direction(key, np.array([i]))[0] for key in s.keys])
    shown = np.abs(s.y + size * found.weights[b] * v) > BEYOND_DOUBT * s.error + s.rounding
    return bool(np.mean(shown) > 0.5)


def _with_entries(evidence: Evidence, task: Task, decoded: Repaired) -> Evidence:
    """With the entries that were decoded.

    They are confirmed where directions of the repaired claim cover their block, agree, and could
    not have agreed with the claim as it was. The others get step sweeps of their own.
    """
    if not decoded or evidence.on_kinks:  # on kinks they have step sweeps, which know subgradients
        return evidence
    evidence = replace(evidence, decoded={})
    index = np.array(sorted(decoded), np.int64)
    sizes = np.array([decoded[int(i)] for i in index])
    sure = np.array([_shown(evidence, task, int(i), *decoded[int(i)]) for i in index])
    numeric = task.gradient[index] - sizes[:, 0]
    evidence = evidence.with_components(of_decoded(index[sure], numeric[sure], sizes[sure, 1]))
    rest = index[~sure]
    return measured_twice(evidence, task, rest) if len(rest) else evidence


def _moving(prober: Prober, blocks: Sequence[Block]) -> NDArray[np.bool_]:
    """Which blocks have an entry with room to move."""
    moving = prober.moving
    return np.array([moving is None or bool(moving[block.slice].any()) for block in blocks])


def _leave_out(weighted: Prober, step: float, lost: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Take the weight of what the step does not move, and tell what that is.

    Blocks that are known to be wrong as a whole need not be covered. A step along the imaginary
    axis moves everything.
    """
    if weighted.imaginary:
        return np.zeros(0, np.int64)
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
            if not lost[number]:
                left_out.append(first + np.flatnonzero(still))
    return np.concatenate([np.zeros(0, np.int64), *left_out])


def _without(weighted: Prober, out: Sequence[int], blocks: Sequence[Block]) -> NDArray[np.float64]:
    """The weights of the entries, zero in the blocks that are left out."""
    assert weighted.moving is not None
    kept = weighted.moving.copy()
    for b in out:
        kept[blocks[b].slice] = 0.0
    return kept


def _enough(task: Task, weighted: Prober, weights: NDArray[np.float64]) -> float:
    """The bar at which the limit of the whole comes near enough to the threshold."""
    smallest = float(np.min(weights, where=weights > 0, initial=np.inf))
    wanted = 2 * joint.WITHIN * task.tolerance.threshold * norm(weighted.gradient)
    return float(wanted * smallest * joint.hidden(DIRECTIONS, 0))


def _prober(task: Task) -> Prober:
    """What measures directions: inside the bounds, or by complex steps, which leave none."""
    context = task.context
    if context.scheme.imaginary:
        return Prober(context, task.problem, imaginary=True)
    moving = bounds.movable(context.bounds, context.theta, context.scale)
    return Prober(context, task.problem, moving)
