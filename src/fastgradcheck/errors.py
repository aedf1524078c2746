"""Every exception that the package raises on purpose."""

from __future__ import annotations


class GradcheckInputError(ValueError):
    """The check cannot start: an argument is unusable.

    The message says what is wrong, where, the likely cause and what to do next.
    """


class GradcheckTypeError(GradcheckInputError, TypeError):
    """An argument is of a type that can never be used; also a `TypeError`."""


class CheckpointError(GradcheckInputError):
    """A checkpoint file belongs to another problem, is damaged or cannot be written."""


class CostEvaluationError(RuntimeError):
    """The user's cost raised at a perturbed point.

    The user's own exception is the ``__cause__``.

    Parameters
    ----------
    message : str
        Where it happened and what to do.
    address : str
        The parameter that was perturbed, e.g. ``W1[3, 5]``, or the block of a direction.
    step : float
        The displacement, in theta's units (of a direction: its length factor).
    """

    def __init__(self, message: str, address: str = "", step: float = float("nan")) -> None:
        super().__init__(message)
        self.address = address
        self.step = step

    def __reduce__(self) -> tuple[type, tuple[str, str, float]]:
        return type(self), (str(self), self.address, self.step)
