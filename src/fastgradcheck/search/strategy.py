"""The stages of a check, in order, and the one loop that runs them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from fastgradcheck.differences import analytic, domain
from fastgradcheck.differences.components import Components, of_five_points
from fastgradcheck.differences.directions import NOISE_GAIN, Prober
from fastgradcheck.differences.draws import ROUGH
from fastgradcheck.differences.elsewhere import slopes
from fastgradcheck.differences.evidence import Evidence
from fastgradcheck.differences.noise import FINEST
from fastgradcheck.differences.pieces import pieces
from fastgradcheck.differences.plateau import NOISE_SIGMAS
from fastgradcheck.differences.stencils import Loop
from fastgradcheck.differences.steps import calibrate, choose
from fastgradcheck.differences.sweep import sweep
from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation.stream import COMPONENTS, Stopped
from fastgradcheck.problem.foreign import COARSE
from fastgradcheck.problem.precision import LOW
from fastgradcheck.search.block import FIVE_POINT_STEP
from fastgradcheck.search.confirm import confirm
from fastgradcheck.search.cover import cover, sweep_fixed
from fastgradcheck.search.jumps import recheck
from fastgradcheck.search.sharpen import sharpen
from fastgradcheck.search.task import Stage, Task
from fastgradcheck.verdict.support import BlockEvidence, compared
from fastgradcheck.verdict.verdict import Verdict

TOLERATED = 0.1
"""A relative difference that the tolerance of a method inside J may leave."""
FEW = 10_000
"""Parameters of such a J. To look for its jumps takes 400 evaluations, more than large networks do
altogether."""


def search(task: Task) -> Evidence:
    """Run every stage; what was measured until the stream stopped is returned.

    Parameters
    ----------
    task : Task
        Its context need not know the noise of J yet.
    """
    evidence = Evidence()
    # Large steps may leave the cost's domain: that log(-1) is nan there is no news.
    with np.errstate(all="ignore"):
        try:
            known, context, edge = task.recording, task.context, evidence.edge
            if known is None:
                context, measured, edge = domain.settle(context, FINEST if task.screens else 0.0)
            else:
                measured = known.noise
            evidence = replace(evidence, noise=measured, edge=edge)
            task = replace(task, context=replace(context, noise=measured.level))
            if task.context.scheme.imaginary:
                sharp = task.tolerance.threshold
                sharpness = analytic.compare(task.context, task.problem, sharp)
                evidence = replace(evidence, compared=sharpness)
            for stage in STAGES:
                failure = None
                try:
                    for latest in stage(evidence, task):
                        evidence = latest
                except CostEvaluationError as error:
                    failure = error  # outside of this block, lest it is told as the context
                if failure is not None:
                    # Theta is nearer to the edge of the domain than the steps are long.
                    context, edge = domain.inside(task.context, failure)
                    task = replace(task, context=context)
                    evidence = replace(evidence, edge=evidence.edge.joined(edge))
                    for latest in stage(evidence, task):
                        evidence = latest
        except Stopped:
            pass
    return evidence


def look_around(evidence: Evidence, task: Task) -> Iterator[Evidence]:
    """The slopes away from theta, where a verdict may depend on them.

    In less than float64 the search does from the start; else where something is not agreed on.
    """
    if evidence.elsewhere is not None or task.problem.computed_eps > COARSE:
        return
    measured = evidence.steps is not None or len(evidence.components) or evidence.joint
    if not measured and (task.problem.computed_eps < LOW or task.recording is not None):
        return
    if measured and task.judged(evidence)[0] is Verdict.AGREES:
        return
    yield replace(evidence, elsewhere=slopes(task.context))


def spot_check(evidence: Evidence, task: Task) -> Iterator[Evidence]:
    """A few components beside the directions, each by a five-point value of its own."""
    order = task.sample.order
    order = np.sort(order[~np.isin(order, evidence.components.index)])
    if task.spot and len(order):
        prober, steps = (
            Prober(task.context, task.problem),
            FIVE_POINT_STEP * task.context.scale[order],
        )
        y, error = prober.entries(order, steps, COMPONENTS)
        evidence = evidence.with_components(of_five_points(order, task.gradient[order] - y, error))
        yield evidence
        rough = error > ROUGH * NOISE_GAIN * NOISE_SIGMAS * task.context.noise / steps
        if evidence.on_kinks and rough.any():
            # The bars there are as wide as the kinks; step sweeps know the slopes of both sides.
            yield evidence.with_sweeps(sweep(task.context, order[rough]))


def choose_steps(evidence: Evidence, task: Task) -> Iterator[Evidence]:
    """The step of every block, from step sweeps of a few of the components to be measured."""
    if task.spot:
        return
    context = task.context
    wanted = task.sample.index
    apart = context.outliers(wanted)
    if context.epsilon is not None:
        blocks = np.searchsorted(context.parameters.blocks_start, wanted, side="right") - 1
        apart &= np.isnan(context.epsilon)[blocks]
    index = choose(task.gradient, context.parameters, wanted[~apart], context.seed)
    steps, sweeps = calibrate(context, index)
    # A step of the user's own is honoured: its components are measured with it.
    mine = [s for s in sweeps if not steps.by_user(context.parameters.block_index(s.index))]
    yield replace(evidence, steps=steps).with_sweeps(mine)
    if apart.any():
        yield replace(evidence, steps=steps).with_sweeps([*mine, *sweep(context, wanted[apart])])


def one_by_one(evidence: Evidence, task: Task) -> Iterator[Evidence]:
    """The plain loop over the sample; what has no room for it gets step sweeps."""
    if evidence.steps is None:
        return
    order = task.sample.order
    order = order[~np.isin(order, evidence.components.index)]
    if not len(order):
        return
    loop, edge = Loop.over(task.context, evidence.steps, order).within_bounds()
    if len(edge):
        evidence = evidence.with_sweeps(sweep(task.context, edge))
        yield evidence

    def wrong(components: Components) -> int:
        c = compared(components, task.gradient)
        size = np.maximum(np.abs(c.analytic), np.abs(c.numeric))
        return int(np.sum(c.discrepancy - c.error > task.tolerance.rtol * size))

    # What has its own bar already counts instead.
    task.context.stream.wrong = wrong(evidence.components)
    measured = loop.run(wrong, len(evidence.components)).joined(evidence.components)
    yield replace(evidence, components=measured)
    task.context.stream.wrong = 0
    if task.context.stream.stopped:
        raise Stopped(task.context.stream.stopped)


def look_far(evidence: Evidence, task: Task) -> Iterator[Evidence]:
    """Whether J jumps between smooth pieces, where that may be why a claim is off throughout.

    A method that adapts or stops early leaves its tolerance in every component, and no more.
    """
    if task.recording is not None or task.problem.parameters.size > FEW:
        return
    verdict, overall, blocks = task.judged(evidence)
    if verdict is Verdict.AGREES or not 0 < overall.relative <= TOLERATED:
        return
    least = TOLERATED * max(b.norm_grad for b in blocks)
    if all(_throughout(e, evidence) for e in task.beside(evidence) if e.size >= least):
        yield replace(evidence, pieces=pieces(task.context))


def _throughout(block: BlockEvidence, evidence: Evidence) -> bool:
    """Whether a block is off as a whole, or in most of its components, if by little."""
    c = block.components
    off = (c.discrepancy > c.error) | np.isin(c.index, list(evidence.larger))
    located = block.located
    return located.whole_block or located.unexplained or 2 * int(off.sum()) >= block.block.size


STAGES: tuple[Stage, ...] = (
    look_around, cover, sweep_fixed, spot_check, choose_steps, one_by_one, confirm, look_around,
    recheck, sharpen, recheck, look_far
)  # fmt: skip
