"""A gradient checker: is it the gradient of the cost, and if not, where and why."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastgradcheck.check import check_points, gradcheck
    from fastgradcheck.errors import (
        CheckpointError,
        CostEvaluationError,
        GradcheckError,
        GradcheckInputError,
        GradcheckTypeError,
    )
    from fastgradcheck.numeric import NumericalGradient, numerical_gradient
    from fastgradcheck.problem import Finding
    from fastgradcheck.result import BlockResult, GradcheckResult, Resolution, Verdict
    from fastgradcheck.stream import Progress
    from fastgradcheck.testing import assert_gradcheck

__version__ = "0.1.0"

_HOMES = {
    "check": ("check_points", "gradcheck"),
    "errors": (
        "CheckpointError",
        "CostEvaluationError",
        "GradcheckError",
        "GradcheckInputError",
        "GradcheckTypeError",
    ),
    "numeric": ("NumericalGradient", "numerical_gradient"),
    "problem": ("Finding",),
    "result": ("BlockResult", "GradcheckResult", "Resolution", "Verdict"),
    "stream": ("Progress",),
    "testing": ("assert_gradcheck",),
}
_WHERE = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "BlockResult",
    "CheckpointError",
    "CostEvaluationError",
    "Finding",
    "GradcheckError",
    "GradcheckInputError",
    "GradcheckResult",
    "GradcheckTypeError",
    "NumericalGradient",
    "Progress",
    "Resolution",
    "Verdict",
    "assert_gradcheck",
    "check_points",
    "gradcheck",
    "numerical_gradient",
]


def __getattr__(name: str) -> Any:
    """Load a public name's module when the name is first used: importing stays instant."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
