"""What every fingerprint is: values that were recorded of a function, at one theta and args."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fastgradcheck.differences.recording import Recording
from fastgradcheck.differences.row_recording import RowRecording
from fastgradcheck.errors import FingerprintError, GradcheckInputError
from fastgradcheck.fingerprints import file
from fastgradcheck.fingerprints.subject import Subject
from fastgradcheck.problem.calls import GRADIENT, HESSIAN, JACOBIAN, Names
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.nests import bytes_of, hexdigest, refuse_endless
from fastgradcheck.report.origin import WHEN

NAMES = {"gradient": GRADIENT, "Jacobian": JACOBIAN, "Hessian": HESSIAN}
"""What is checked, and what the user calls the function and its derivative."""
ABOUT = ("identity", "dtype", "when", "function", "source", "kind")
"""What a file tells besides the values."""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Taken:
    """Values that were recorded of a function.

    Attributes
    ----------
    recording : Recording or RowRecording
        The values.
    identity : dict of str to str
        What theta and args were, as digests.
    dtype : str
        The dtype in which the function was evaluated.
    when : str
        UTC.
    function : str
        Its name, and the line that defines it.
    source : str
        A digest of its source; empty where there is none to be had.
    kind : {"gradient", "Jacobian", "Hessian"}
        What is checked beside it.
    subject : Subject or None
        theta and args themselves; None if it was read from a file.
    """

    recording: Recording | RowRecording
    identity: dict[str, str]
    dtype: str
    when: str
    function: str
    source: str
    kind: str
    subject: Subject | None = None

    @property
    def evaluations(self) -> int:
        """What it took."""
        return self.recording.evaluations

    def __repr__(self) -> str:
        directions = self.recording.directions
        return f"<{type(self).__name__} of {self.function}: {directions} directions, {self.when}>"

    @property
    def names(self) -> Names:
        """What the user calls the function and its derivative."""
        return NAMES[self.kind]

    def about(self) -> dict[str, Any]:
        """What a file tells besides the values."""
        return {name: getattr(self, name) for name in ABOUT}

    def save(self, path: Any) -> None:
        """Write a file, which `load_fingerprint` reads.

        It holds the values, and digests of theta and args. Of a J these are a few kilobytes, and
        eight bytes for every array of theta; of an F, 32 bytes for every output and direction.

        Parameters
        ----------
        path : str or path

        Raises
        ------
        OSError
            If it cannot be written; what was there before is there still.
        """
        file.write(path, self.recording, self.about())

    def told(self) -> Finding:
        """Where the values come from."""
        value = self.names.value
        return Finding(
            "fingerprint",
            f"{value[0].upper()}{value[1:]} was not evaluated: the {self.kind} was compared with "
            f"the slopes of {self.function} along {self.recording.directions} directions, recorded "
            f"{self.when} ({_age(self.when)}).",
        )

    def compared(self, theta: Any, args: Any, layout: Mapping[str, Any] | None) -> Subject:
        """Theta and args, if they are those that the values are of."""
        refuse_endless(args, "args")
        if theta is None:
            if self.subject is None:
                raise GradcheckInputError(
                    "this fingerprint was read from a file, which does not hold theta itself: "
                    f"pass it, fp.check({self.names.derivative}, theta=theta, args=args)."
                )
            # Compared as well: arrays that are held may have been written to since.
            theta = self.subject.theta
            layout = self.subject.layout if layout is None else layout
            args = self.subject.args if isinstance(args, tuple) and not args else args
        args = args if isinstance(args, tuple) else (args,)
        subject = Subject.of(theta, args, layout, self.subject)
        here = subject.identity
        different = [name for name, told in self.identity.items() if here[name] != told]
        if different:
            raise FingerprintError(
                f"the fingerprint of {self.function} was taken ({self.when}) of something else. "
                f"Not the same: {', '.join(different)}. Take another one with fgc.fingerprint."
            )
        return subject


def source_of(function: Callable[..., Any]) -> str:
    """A digest of the source of a function; empty where there is none to be had."""
    plain = inspect.unwrap(getattr(function, "py_func", function))
    try:
        return hexdigest(bytes_of(inspect.getsource(plain)))
    except (OSError, TypeError):
        return ""


def _age(when: str) -> str:
    """How long ago that was, in words."""
    days = (datetime.now(UTC) - datetime.strptime(f"{when}+0000", f"{WHEN}%z")).days
    return "today" if days < 1 else "yesterday" if days == 1 else f"{days} days ago"
