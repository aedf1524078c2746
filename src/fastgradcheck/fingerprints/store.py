"""Where assertions keep fingerprints, and find them again: a folder, for the length of a test.

Apart from what takes and judges them, which nobody loads who keeps none.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastgradcheck.result import GradcheckResult


@dataclass
class Store:
    """A folder with a fingerprint for every check of a test.

    Attributes
    ----------
    folder : Path
    test : str
        Its name.
    count : int
        Checks that it made so far.
    """

    folder: Path
    test: str
    count: int = 0

    def next_path(self) -> Path:
        """The file of the next check; the checksum keeps apart what differs in odd characters."""
        self.count += 1
        legal = re.sub(r"[^A-Za-z0-9.-]+", "_", self.test)[:120]
        return self.folder / f"{legal}-{zlib.crc32(self.test.encode()):08x}-{self.count}.fgc"


STORE: ContextVar[Store | None] = ContextVar("STORE", default=None)
"""Of the test that runs; None where none is kept."""


def checked(
    kind: str,
    check: Callable[..., GradcheckResult],
    function: Any,
    claim: Any,
    theta: Any,
    options: dict[str, Any],
) -> GradcheckResult:
    """Make a check, beside the values in the store if there is one.

    Parameters
    ----------
    kind : {"gradient", "Jacobian", "Hessian"}
    check : callable
        `gradcheck`, `jaccheck` or `hesscheck`.
    function, claim, theta, options
        Its arguments.
    """
    __tracebackhide__ = True
    store = STORE.get()
    if store is None:
        return check(function, claim, theta, **options)
    from fastgradcheck.fingerprints.reuse import check_reusing

    return check_reusing(store.next_path(), kind, function, claim, theta, **options)
