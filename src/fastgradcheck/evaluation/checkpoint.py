"""A file that remembers every value of J, so that a check that was killed goes on where it was.

Whatever a check evaluates follows from the values of J that came before, theta, the gradient and
the seed. So nothing else needs to be stored: a check that is started again asks for the same
plans, and what the file holds of them is not evaluated again.

The file is a NumPy archive: ``header`` (JSON), and for every plan, under its digest, which of its
points are known and their values. It has a checksum, and at any moment it is a complete one. While
a check runs, the file belongs to it alone: another one that is given the same path is refused.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import CheckpointError
from fastgradcheck.evaluation import archive
from fastgradcheck.evaluation.lock import FileLock, Held
from fastgradcheck.evaluation.plans import Plan
from fastgradcheck.evaluation.stream import Record
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.nests import bytes_of, hexdigest
from fastgradcheck.problem.problem import Problem
from fastgradcheck.version import __version__

KIND = archive.Kind(
    "fastgradcheck-checkpoint-2",
    "checkpoint",
    CheckpointError,
    "give another path, or delete it to begin anew",
)


SAVE_SECONDS = 2.0
"""What a kill can cost at most, besides the chunk in flight ..."""


SAVE_SHARE = 0.02
"""... unless writing takes more than this part of the time: then it is done less often."""


Known = tuple[NDArray[np.uint8], NDArray[Any]]
"""Of one plan: a bit for each of its points, and the values of those that are set."""


SAME_VALUE = 1e3 * float(np.finfo(np.float64).eps)
"""Relative: J(theta) may differ this much between two runs on different processors."""


class Checkpoint:
    """The memory of a check in a file; a `fastgradcheck.evaluation.stream.Memory`.

    Parameters
    ----------
    path : str or path
        An existing file is read at once.

    Attributes
    ----------
    seed : int or None
        The seed of the run that wrote the file; None if there is no file yet.
    findings : tuple of Finding
        What went wrong with the storage.

    Raises
    ------
    CheckpointError
        If the file is damaged, no checkpoint, or used by another check at this moment.
    """

    def __init__(self, path: Any) -> None:
        self.path = _path(path)
        self._lock = FileLock(self.path)
        self._header: dict[str, Any] = {}
        self._stored: dict[str, Known] = {}
        self._records: dict[str, Record] = {}
        self._common: tuple[Any, bytes] = (None, b"")
        self._changed = False
        self._due = 0.0
        self._failure = ""
        self._failing = False
        # Only to tell at once what `begin` would refuse after the first evaluations.
        self._take()
        try:
            self._load()
        finally:
            self._lock.release()

    @property
    def seed(self) -> int | None:
        return self._header.get("seed")

    @property
    def findings(self) -> tuple[Finding, ...]:
        return (*self._unlocked(), *self._unwritten())

    def _unlocked(self) -> Iterator[Finding]:
        if not self._lock.supported:
            message = (
                f"The checkpoint {self.path} is on a file system without locks: nobody is told if "
                "two checks use it at the same time, and each overwrites what the other has."
            )
            yield Finding("checkpoint", message)

    def _unwritten(self) -> Iterator[Finding]:
        if not self._failure:
            return
        message = f"The checkpoint {self.path} could not be written ({self._failure}). "
        if self._failing:
            message += "It lacks what was measured after that; free some space, or mend the folder."
        else:
            message += "That has passed: it is complete."
        yield Finding("checkpoint", message)

    def begin(self, identity: Mapping[str, str], seed: int, value: float) -> float:
        """Compare the file with this check, or create it.

        Parameters
        ----------
        identity : mapping of str to str
            What must be equal for the file's values to be of any use; see `identity`.
        seed : int
        value : float
            J(theta).

        Returns
        -------
        float
            J(theta) as the first run had it: another processor may give other last digits,
            and they would lead to other steps.

        Raises
        ------
        CheckpointError
            If the file belongs to another check, saying what differs; if another one uses it at
            this moment; or if it cannot be written.
        """
        self._take()
        try:
            return self._begin(identity, seed, value)
        except BaseException:
            self._lock.release()
            raise

    def _begin(self, identity: Mapping[str, str], seed: int, value: float) -> float:
        # Since it was read for the first time, another check may have ended.
        self._load()
        if self._header:
            self._refuse_other(identity, seed, value)
            value = float.fromhex(self._header["value"])
        self._header = {"seed": seed, "value": value.hex(), "identity": dict(identity)}
        try:
            self._write()
        except OSError as error:
            raise self._unwritable(error) from error
        if self._lock.supported:
            archive.remove_partial(self.path)
        return value

    def recall(self, plan: Plan, shape: tuple[int, ...]) -> Record:
        """The record of a plan, with what the file knows of it; to be filled in place."""
        digest = self._digest(plan)
        if digest not in self._records:
            record = Record.blank(plan, shape)
            if digest in self._stored:
                _fill(record, *self._stored.pop(digest))
            self._records[digest] = record
        return self._records[digest]

    def keep(self) -> None:
        """Write the file if it is time to."""
        self._changed = True
        if time.monotonic() >= self._due:
            self._try_to_write()

    def close(self) -> None:
        """Write what has not been written yet, and leave the file to others."""
        try:
            if self._changed:
                self._try_to_write()
        finally:
            self._lock.release()

    def _take(self) -> None:
        try:
            self._lock.acquire()
        except Held as held:
            raise CheckpointError(
                f"{self.path} is in use by another check at this moment ({held}). Two checks "
                "cannot share a checkpoint: wait for that one, stop it, or give this one a file "
                "of its own."
            ) from None
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from error

    def _load(self) -> None:
        """Read the file, if there is one."""
        try:
            self._header, self._stored = archive.read(self.path, KIND, _understood)
        except FileNotFoundError:
            self._header, self._stored = {}, {}

    def _unwritable(self, error: Exception) -> CheckpointError:
        return CheckpointError(
            f"checkpoint={str(self.path)!r} cannot be written ({_reason(error)}), so that the "
            "check could not be resumed: choose a path in an existing folder that you may write "
            "to, with space left."
        )

    def _try_to_write(self) -> None:
        """A disk that is full now may not be so at the next attempt."""
        try:
            self._write()
        except OSError as error:
            self._failure = _reason(error)
            self._failing = True
            self._due = time.monotonic() + SAVE_SECONDS

    def _write(self) -> None:
        began = time.monotonic()
        archive.write(self.path, KIND, self._header, self._arrays())
        self._changed = self._failing = False
        now = time.monotonic()
        self._due = now + max(SAVE_SECONDS, (now - began) / SAVE_SHARE)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """What the file holds."""
        stored = dict(self._stored)
        for digest, record in self._records.items():
            stored[digest] = np.packbits(record.done), record.values[record.done].ravel()
        arrays: dict[str, NDArray[Any]] = {}
        for digest, (done, values) in stored.items():
            arrays[f"done_{digest}"], arrays[f"values_{digest}"] = done, values
        return arrays

    def _refuse_other(self, identity: Mapping[str, str], seed: int, value: float) -> None:
        then, first = self._header["identity"], float.fromhex(self._header["value"])
        different = [_difference(k, then.get(k, ""), identity[k]) for k in identity]
        different.append(_difference("seed", str(self.seed), str(seed)))
        if not any(different) and abs(value - first) > SAME_VALUE * abs(first):
            different.append(f"J(theta) ({first!r} there, {value!r} here: cost was changed)")
        if any(different):
            raise CheckpointError(
                f"{self.path} belongs to another check: it differs in "
                f"{', '.join(filter(None, different))}. It was left as it is: give this check a "
                "file of its own, or delete that one to begin anew."
            )

    def _digest(self, plan: Plan) -> str:
        """A name for a plan that tells it from every other."""
        # Of the size of theta, and the same in all directions of a check: hashed only once.
        if plan.common is not self._common[0]:
            self._common = plan.common, hexdigest(bytes_of(plan.common)).encode()
        kind = type(plan).__name__
        return hexdigest(bytes_of(kind, *plan.content(), self._common[1]))


def path_for(path: Any, name: str) -> Path:
    """The checkpoint of one of several checks, beside the path that all were given.

    Examples
    --------
    >>> path_for("run.npz", "init").name
    'run-init.npz'
    """
    whole = _path(path)
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in str(name))
    return whole.with_name(f"{whole.stem}-{safe}{whole.suffix}")


def identity(
    problem: Problem,
    *,
    scheme: str,
    engine: str,
    epsilon: NDArray[np.float64],
    bounds: Any,
    sample: NDArray[np.int64],
) -> dict[str, str]:
    """What two runs must have in common to share a checkpoint, each with a text to compare.

    Parameters
    ----------
    problem : Problem
    scheme, engine : str
    epsilon : float64 array
        The user's steps, nan where there are none.
    bounds : pair of arrays, or None
    sample : int64 array
        The components that are to be measured.

    Returns
    -------
    dict of str to str
        Short texts are for reading, long ones are digests.
    """
    blocks = [(block.name, block.shape) for block in problem.parameters.blocks]
    return {
        "version": __version__,
        "theta": hexdigest(bytes_of(problem.theta, blocks)),
        "gradient": hexdigest(bytes_of(problem.gradient)),
        "args": hexdigest(bytes_of(problem.objective.args)),
        "scheme": scheme,
        "engine": engine,
        "epsilon": hexdigest(bytes_of(epsilon)),
        "bounds": hexdigest(bytes_of(bounds)),
        "sample": hexdigest(bytes_of(sample)),
    }


def _path(path: Any) -> Path:
    return archive.path_of(path, "checkpoint", '"run.npz", or None')


def _difference(name: str, there: str, here: str) -> str:
    if there == here:
        return ""
    readable = max(len(there), len(here)) < 20
    return f"{name} ({there} there, {here} here)" if readable else name


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _understood(
    header: dict[str, Any], arrays: archive.Arrays
) -> tuple[dict[str, Any], dict[str, Known]]:
    """Header and plans of a file."""
    _refuse_odd(header)
    digests = [name.removeprefix("done_") for name in arrays if name.startswith("done_")]
    stored = {d: (arrays[f"done_{d}"], arrays[f"values_{d}"]) for d in digests}
    if not all(_fit(*known) for known in stored.values()):
        raise archive.Odd("its values do not fit their plans")
    return header, stored


def _refuse_odd(header: Mapping[str, Any]) -> None:
    """Raise unless a header holds what `Checkpoint.begin` writes."""
    seed, identity = header["seed"], header["identity"]
    if (
        type(seed) is not int
        or seed < 0
        or not math.isfinite(float.fromhex(header["value"]))
        or not isinstance(identity, dict)
        or not all(isinstance(text, str) for text in identity.values())
    ):
        raise archive.Odd("its header is not one")


def _fit(packed: NDArray[Any], values: NDArray[Any]) -> bool:
    """Whether these are bits and the values that go with them."""
    if packed.dtype != np.uint8 or values.dtype not in (np.float64, np.complex128):
        return False
    known = int(np.unpackbits(packed).sum())
    # A value for every known point, or, of several outputs, a vector.
    return values.ndim == 1 and len(values) >= known and len(values) % max(known, 1) == 0


def _fill(record: Record, packed: NDArray[np.uint8], values: NDArray[Any]) -> None:
    """Enter what a file knows; of another shape it is of another plan, whatever its name says."""
    size = record.done.size
    if len(packed) != -(-size // 8) or values.dtype != record.values.dtype:
        return
    done = np.unpackbits(packed)[:size].astype(bool).reshape(record.done.shape)
    known = record.values[done]
    if known.size != len(values):
        return
    record.values[done] = values.reshape(known.shape)
    # J may be infinite or nan at a point. That is rare enough to ask J again and believe no file.
    finite = np.isfinite(record.values)
    record.done[...] = done & (finite if finite.ndim == 2 else finite.all(axis=2))
