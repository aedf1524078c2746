"""Results made by hand, for the tests of the reports."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgradcheck.problem.finding import Finding
from fastgradcheck.report.outcome import COMPONENT, Seconds, Sweep
from fastgradcheck.result import GradcheckResult
from fastgradcheck.verdict.verdict import BlockResult, Resolution, Verdict

AGREES, WRONG, UNDECIDED, SKIPPED = Verdict
SHAPES: dict[str, tuple[int, ...]] = {"W1": (4, 3), "b1": (4,), "W2": (2, 4), "b2": (2,)}


def make_block(name: str, shape: tuple[int, ...], **changes: Any) -> BlockResult:
    size = int(np.prod(shape))
    fields: dict[str, Any] = {
        "name": name,
        "shape": shape,
        "size": size,
        "verdict": AGREES,
        "checked": size,
        "directions": 0,
        "covered": size if changes.get("directions") else changes.get("checked", size),
        "norm_grad": 1.0,
        "norm_gradapprox": 1.0,
        "relative_difference": 1.234567e-10,
        "limit": 2.5e-10,
        "lower": 0.0,
        "resolution": 1e-9,
        "wrong": 0,
        "worst": "",
        "step": 1e-5,
        "reason": "",
    }
    return BlockResult(**{**fields, **changes})


def make_components(
    analytic: Any, numeric: Any, error: Any = 1e-11, verdict: Any = AGREES.code
) -> Any:
    components = np.empty(len(analytic), dtype=COMPONENT)
    components["index"] = np.arange(len(analytic))
    components["analytic"] = analytic
    components["numeric"] = numeric
    components["error"] = error
    components["verdict"] = verdict
    return components


def make_result(**changes: Any) -> GradcheckResult:
    """An agreeing check of 26 parameters, with the given fields changed."""
    blocks = tuple(make_block(name, shape) for name, shape in SHAPES.items())
    gradient = np.linspace(-1.0, 1.0, 26) / 3.0
    fields: dict[str, Any] = {
        "verdict": AGREES,
        "relative_difference": 3.21e-10,
        "limit": 5.4e-10,
        "threshold": 1e-7,
        "rtol": 1e-5,
        "resolution": Resolution(size=2.3e-8, probability=1.0, relative=1.1e-6),
        "blocks": blocks,
        "components": make_components(gradient, gradient * (1.0 + 1e-10)),
        "wrong": (),
        "findings": (),
        "coverage": "All 26 components were checked.",
        "evaluations": 52,
        "seconds": Seconds(total=1.234, compiling=0.4),
        "engine": "numba",
        "n_jobs": 2,
        "scheme": "central",
        "strategy": "components",
        "seed": 42,
        "steps": dict.fromkeys(SHAPES, 1e-5),
        "noise": 1e-16,
        "size": 26,
        "interrupted": False,
    }
    return GradcheckResult(**{**fields, **changes})


def make_wrong(**changes: Any) -> GradcheckResult:
    """b1 lacks the 1/m (m = 32) and W2[1, 2] has the wrong sign."""
    result = make_result()
    components = result.components.copy()
    components["analytic"][12:16] *= 32.0
    components["analytic"][22] *= -1.0
    components["verdict"][[12, 13, 14, 15, 22]] = WRONG.code
    blocks = (
        result.blocks[0],
        make_block(
            "b1",
            (4,),
            verdict=WRONG,
            relative_difference=0.9393939,
            limit=0.94,
            lower=0.93,
            wrong=4,
            worst="b1[0]",
        ),
        make_block(
            "W2",
            (2, 4),
            verdict=WRONG,
            relative_difference=0.49,
            limit=0.491,
            lower=0.489,
            wrong=1,
            worst="W2[1, 2]",
        ),
        result.blocks[3],
    )
    fields: dict[str, Any] = {
        "verdict": WRONG,
        "relative_difference": 0.73,
        "limit": 0.731,
        "blocks": blocks,
        "components": components,
        "wrong": ("W2[1, 2]", "b1[3]", "b1[2]", "b1[1]", "b1[0]"),
        "findings": (
            Finding("factor", "b1: every entry is 32 times the numeric one."),
            Finding("entry", "W2: only W2[1, 2] is wrong."),
        ),
        "sweeps": (
            Sweep("W2[1, 2]", np.array([1e-3, 1e-5]), np.array([-0.25, -0.26]), -0.26, 1e-11),
        ),
    }
    return make_result(**{**fields, **changes})


def make_large(n_rows: int = 1000, n_columns: int = 1000) -> GradcheckResult:
    """Every component of one wrong block of a million was measured and is wrong."""
    size = n_rows * n_columns
    numeric = np.random.default_rng(0).standard_normal(size)
    block = make_block(
        "W1",
        (n_rows, n_columns),
        verdict=WRONG,
        relative_difference=1.0 / 3.0,
        limit=0.3334,
        lower=0.3333,
        wrong=size,
        worst="W1[3, 5]",
    )
    return make_result(
        verdict=WRONG,
        blocks=(block,),
        components=make_components(2.0 * numeric, numeric, verdict=WRONG.code),
        wrong=("W1",),
        size=size,
        evaluations=2 * size,
    )


def kinds(result: GradcheckResult) -> list[str]:
    return [finding.kind for finding in result.findings]


def message(result: GradcheckResult, kind: str) -> str:
    return next(finding.message for finding in result.findings if finding.kind == kind)
