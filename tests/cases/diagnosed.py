"""Gradients and what they should be, handed to the diagnosis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgradcheck.diagnosis.diagnose import diagnose
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.parameters import describe
from fastgradcheck.problem.problem import Objective, Problem
from fastgradcheck.report.outcome import COMPONENT
from fastgradcheck.verdict.verdict import BlockResult, Verdict

BAR = 1e-9  # relative to the block's largest entry: what central differences reach
Theta = dict[str, Any]


@dataclass(frozen=True)
class Network:
    cost: Any
    grad: Any
    theta: Theta
    args: tuple[Any, ...]
    truth: Theta
    """The complex-step gradient."""


def diagnosis(
    net: Network,
    gradient: Theta,
    rng: np.random.Generator,
    sample: int | None = None,
    bar_size: float = BAR,
) -> tuple[Finding, ...]:
    """Diagnose a gradient against the truth, known within bars, of all or `sample` entries."""
    parameters = describe(net.theta)
    objective = Objective(net.cost, net.args, parameters, parameters.flatten(net.theta))
    flat, truth = parameters.match(gradient), parameters.match(net.truth)
    problem = Problem(objective, flat, 2.0**-52, 0.0)
    blocks, records = [], []
    for block in parameters.blocks:
        a, n = flat[block.slice], truth[block.slice]
        bar = bar_size * np.abs(n).max()
        wrong = np.abs(a - n) > 8.0 * bar
        difference = np.linalg.norm(a - n) / (np.linalg.norm(a) + np.linalg.norm(n))
        chosen = np.arange(block.size)
        if sample is not None:
            chosen = np.sort(rng.permutation(block.size)[:sample])
        record = np.empty(len(chosen), dtype=COMPONENT)
        record["index"] = block.start + chosen
        record["analytic"] = a[chosen]
        record["numeric"] = n[chosen] + rng.uniform(-bar, bar, len(chosen))
        record["error"] = bar
        record["verdict"] = np.where(wrong[chosen], Verdict.WRONG.code, Verdict.AGREES.code)
        records.append(record)
        verdict = Verdict.WRONG if wrong.any() else Verdict.AGREES
        blocks.append(
            BlockResult(
                block.name, block.shape, block.size, verdict, len(chosen), 0, len(chosen), 1.0, 1.0,
                float(difference), float(difference), 0.0, 1e-9, int(wrong.sum()), "", 1e-5, "",
            )
        )  # fmt: skip
    return diagnose(problem, np.concatenate(records), tuple(blocks))


def block_diagnosis(
    truth: Any,
    gradient: Any,
    bar: float = 1e-9,
    theta: Any = None,
    args: tuple[Any, ...] = (),
    chosen: Any = None,
) -> tuple[Finding, ...]:
    """Diagnose a single block W."""
    theta = np.ones(np.shape(truth)) if theta is None else theta
    parameters = describe({"W": np.asarray(theta, dtype=float)})
    objective = Objective(lambda theta: 0.0, args, parameters, np.ravel(theta))
    a, n = np.ravel(gradient).astype(float), np.ravel(truth).astype(float)
    chosen = np.arange(len(a)) if chosen is None else chosen
    record = np.zeros(len(chosen), dtype=COMPONENT)
    record["index"], record["error"] = chosen, bar
    record["analytic"], record["numeric"] = a[chosen], n[chosen]
    block = BlockResult(
        "W", np.shape(truth), len(a), Verdict.WRONG, len(chosen), 0, len(chosen), 1.0, 1.0, 0.3,
        0.3, 0.0, 1e-9, len(chosen), "", 1e-5, "",
    )  # fmt: skip
    return diagnose(Problem(objective, a, 2.0**-52, 0.0), record, (block,))


def diagnosis_of_bias(
    truth: Any, gradient: Any, args: tuple[Any, ...] = (), sample: int | None = None
) -> tuple[Finding, ...]:
    """Diagnose a single block b, of one dimension, by all or `sample` of its entries."""
    theta = {"b": np.linspace(-1.0, 1.0, len(truth))}
    net = Network(None, None, theta, args, {"b": np.asarray(truth)})
    return diagnosis(net, {"b": np.asarray(gradient)}, np.random.default_rng(0), sample)


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape)
