"""A file that remembers every value of J, so that a check that was killed goes on where it was.

Whatever a check evaluates follows from the values of J that came before, theta, the gradient and
the seed. So nothing else needs to be stored: a check that is started again asks for the same
plans, and what the file holds of them is not evaluated again.

The file is a NumPy archive: ``header`` (JSON), and for every plan, under its digest, which of its
points are known and their values. It is written under another name and then renamed, so that at
any moment the file is a complete one.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import CheckpointError, GradcheckTypeError
from fastgradcheck.evaluation.plans import Plan
from fastgradcheck.evaluation.stream import Record
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.nests import bytes_of, hexdigest
from fastgradcheck.problem.problem import Problem
from fastgradcheck.version import __version__

FORMAT = "fastgradcheck-checkpoint-1"


SAVE_SECONDS = 2.0
"""What a kill can cost at most, besides the chunk in flight ..."""


SAVE_SHARE = 0.02
"""... unless writing takes more than this part of the time: then it is done less often."""


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
        If the file is damaged, or no checkpoint.
    """

    def __init__(self, path: Any) -> None:
        self.path = _path(path)
        self.seed: int | None = None
        self._header: dict[str, Any] = {}
        self._stored: dict[str, tuple[NDArray[np.uint8], NDArray[Any]]] = {}
        self._records: dict[str, Record] = {}
        self._common: tuple[Any, bytes] = (None, b"")
        self._changed = False
        self._due = 0.0
        self._failure = ""
        self._failing = False
        if self.path.exists():
            self._header, self._stored = _read(self.path)
            self.seed = int(self._header["seed"])

    @property
    def findings(self) -> tuple[Finding, ...]:
        if not self._failure:
            return ()
        message = f"The checkpoint {self.path} could not be written ({self._failure}). "
        if self._failing:
            message += "It lacks what was measured after that; free some space, or mend the folder."
        else:
            message += "That has passed: it is complete."
        return (Finding("checkpoint", message),)

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
            If the file belongs to another check, saying what differs; or if it cannot be
            written.
        """
        if self._header:
            self._refuse_other(identity, seed, value)
            value = float.fromhex(self._header["value"])
        self._header = {
            "format": FORMAT,
            "seed": seed,
            "value": value.hex(),
            "identity": dict(identity),
        }
        try:
            self._write()
        except OSError as error:
            raise CheckpointError(
                f"checkpoint={str(self.path)!r} cannot be written ({_reason(error)}), so that the "
                "check could not be resumed: choose a path in an existing folder that you may "
                "write to, with space left."
            ) from error
        return value

    def recall(self, plan: Plan) -> Record:
        """The record of a plan, with what the file knows of it; to be filled in place."""
        digest = self._digest(plan)
        if digest not in self._records:
            record = Record.blank(plan)
            if digest in self._stored:
                packed, values = self._stored.pop(digest)
                done = np.unpackbits(packed, count=record.done.size).astype(bool)
                record.done[...] = done.reshape(record.done.shape)
                record.values[record.done] = values
            self._records[digest] = record
        return self._records[digest]

    def keep(self) -> None:
        """Write the file if it is time to."""
        self._changed = True
        if time.monotonic() >= self._due:
            self._try_to_write()

    def close(self) -> None:
        """Write what has not been written yet."""
        if self._changed:
            self._try_to_write()

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
        partial = self.path.with_name(self.path.name + ".partial")
        try:
            with partial.open("wb") as file:
                np.savez(file, **self._arrays())
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        self._changed = self._failing = False
        now = time.monotonic()
        self._due = now + max(SAVE_SECONDS, (now - began) / SAVE_SHARE)

    def _arrays(self) -> dict[str, Any]:
        """What the file holds."""
        stored = dict(self._stored)
        for digest, record in self._records.items():
            stored[digest] = np.packbits(record.done), record.values[record.done]
        arrays: dict[str, Any] = {
            "header": np.frombuffer(json.dumps(self._header).encode(), np.uint8)
        }
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
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
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
    if not isinstance(path, (str, os.PathLike)):
        raise GradcheckTypeError(
            f"checkpoint is a {type(path).__name__}; pass the path of a file, such as "
            '"run.npz", or None.'
        )
    return Path(path)


def _difference(name: str, there: str, here: str) -> str:
    if there == here:
        return ""
    readable = max(len(there), len(here)) < 20
    return f"{name} ({there} there, {here} here)" if readable else name


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _read(
    path: Path,
) -> tuple[dict[str, Any], dict[str, tuple[NDArray[np.uint8], NDArray[Any]]]]:
    """Header and plans of a file.

    Raises
    ------
    CheckpointError
        If they are not there, or not whole.
    """
    try:
        # A file of its own, since NumPy leaves it open where the content is damaged.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes())
            if header["format"] != FORMAT:
                raise ValueError(f"its format is {header['format']!r}, not {FORMAT!r}")
            digests = [n.removeprefix("done_") for n in file.files if n.startswith("done_")]
            stored = {d: (file[f"done_{d}"], file[f"values_{d}"]) for d in digests}
        if not header.keys() >= {"seed", "value", "identity"}:
            raise ValueError("its header is incomplete")
    except Exception as error:  # NumPy's reader has many words for bytes that it does not know
        raise CheckpointError(
            f"{path} is not a checkpoint of this package, or it is damaged "
            f"({type(error).__name__}: {error}). It was left as it is: give another path, or "
            "delete it to begin anew."
        ) from error
    return header, stored
