"""A gradient checker: is it the gradient of the cost, and if not, where and why."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastgradcheck.version import __version__

if TYPE_CHECKING:
    from fastgradcheck.check import check_points, gradcheck
    from fastgradcheck.errors import (
        CheckpointError,
        CostEvaluationError,
        FingerprintError,
        GradcheckInputError,
        GradcheckTypeError,
        WorkersLostError,
    )
    from fastgradcheck.evaluation.stream import Progress
    from fastgradcheck.fingerprints.compare import compare, compare_hessians, compare_jacobians
    from fastgradcheck.fingerprints.fingerprint import Fingerprint, fingerprint
    from fastgradcheck.fingerprints.jacobian import (
        JacobianFingerprint,
        hessian_fingerprint,
        jacobian_fingerprint,
    )
    from fastgradcheck.fingerprints.load import load_fingerprint
    from fastgradcheck.jacobians.check import hesscheck, jaccheck
    from fastgradcheck.jacobians.numeric import NumericalJacobian, numerical_jacobian
    from fastgradcheck.jacobians.pairs import paircheck
    from fastgradcheck.numeric import BlockBars, NumericalGradient, numerical_gradient
    from fastgradcheck.points import Comparison, Points
    from fastgradcheck.problem.finding import Finding
    from fastgradcheck.result import GradcheckResult
    from fastgradcheck.testing import (
        GradcheckError,
        assert_gradcheck,
        assert_hesscheck,
        assert_jaccheck,
        assert_paircheck,
    )
    from fastgradcheck.verdict.verdict import BlockResult, Resolution, Verdict

_HOMES = {
    "check": ("check_points", "gradcheck"),
    "errors": (
        "CheckpointError",
        "CostEvaluationError",
        "FingerprintError",
        "GradcheckInputError",
        "GradcheckTypeError",
        "WorkersLostError",
    ),
    "evaluation.stream": ("Progress",),
    "fingerprints.compare": ("compare", "compare_hessians", "compare_jacobians"),
    "fingerprints.fingerprint": ("Fingerprint", "fingerprint"),
    "fingerprints.jacobian": (
        "JacobianFingerprint",
        "hessian_fingerprint",
        "jacobian_fingerprint",
    ),
    "fingerprints.load": ("load_fingerprint",),
    "jacobians.check": ("hesscheck", "jaccheck"),
    "jacobians.numeric": ("NumericalJacobian", "numerical_jacobian"),
    "jacobians.pairs": ("paircheck",),
    "numeric": ("BlockBars", "NumericalGradient", "numerical_gradient"),
    "points": ("Comparison", "Points"),
    "problem.finding": ("Finding",),
    "result": ("GradcheckResult",),
    "testing": (
        "GradcheckError",
        "assert_gradcheck",
        "assert_hesscheck",
        "assert_jaccheck",
        "assert_paircheck",
    ),
    "verdict.verdict": ("BlockResult", "Resolution", "Verdict"),
}
_WHERE = {name: module for module, names in _HOMES.items() for name in names}
_ADAPTERS = ("jax", "torch")
"""Modules for the libraries of the same names, which `import fastgradcheck` never loads."""

__all__ = [
    "BlockBars",
    "BlockResult",
    "CheckpointError",
    "Comparison",
    "CostEvaluationError",
    "Finding",
    "Fingerprint",
    "FingerprintError",
    "GradcheckError",
    "GradcheckInputError",
    "GradcheckResult",
    "GradcheckTypeError",
    "JacobianFingerprint",
    "NumericalGradient",
    "NumericalJacobian",
    "Points",
    "Progress",
    "Resolution",
    "Verdict",
    "WorkersLostError",
    "__version__",
    "assert_gradcheck",
    "assert_hesscheck",
    "assert_jaccheck",
    "assert_paircheck",
    "check_points",
    "compare",
    "compare_hessians",
    "compare_jacobians",
    "fingerprint",
    "gradcheck",
    "hesscheck",
    "hessian_fingerprint",
    "jaccheck",
    "jacobian_fingerprint",
    "load_fingerprint",
    "numerical_gradient",
    "numerical_jacobian",
    "paircheck",
]


def __getattr__(name: str) -> Any:
    """Load a public name's module when the name is first used: importing stays instant."""
    if name in _ADAPTERS:
        return import_module(f"{__name__}.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
