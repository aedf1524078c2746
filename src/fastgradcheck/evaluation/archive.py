"""Files of arrays that are whole or refused: checksummed, and replaced in one step.

A file is a NumPy archive without pickles: a header (JSON), named arrays, and the checksum of both.
"""

from __future__ import annotations

import glob
import json
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from zipfile import ZIP_STORED

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError, said, shown
from fastgradcheck.problem.nests import bytes_of, hexdigest

Arrays = Mapping[str, NDArray[Any]]
T = TypeVar("T")

_ARCHIVE = b"PK"
"""How it begins; NumPy takes anything else for a pickle, and its messages advise to load that."""
_HEADER = "header"
_CHECKSUM = "checksum"
_PARTIAL = ".partial"


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes
    ----------
    format : str
        Its name and version, in the header.
    name : str
        What the user calls it.
    refused : type of GradcheckInputError
        Raised where a file is no such one.
    advice : str
        What to do then.
    """

    format: str
    name: str
    refused: type[GradcheckInputError]
    advice: str


class Odd(ValueError):
    """A file is not as it was written; the text says what is odd about it."""


def path_of(path: Any, argument: str, example: str) -> Path:
    """An argument that names a file.

    Raises
    ------
    GradcheckTypeError
        If it is no path, or that of no file.
    """
    named = f"a {type(path).__name__}"
    if isinstance(path, (str, os.PathLike)):
        with suppress(TypeError):  # of bytes
            whole = Path(path)
            if whole.name:
                return whole
            named = shown(str(whole))
    raise GradcheckTypeError(f"{argument} is {named}; pass the path of a file, such as {example}.")


def write(path: Path, kind: Kind, header: Mapping[str, Any], arrays: Arrays) -> None:
    """Put a header and arrays into a file; at any moment there is a complete one at `path`.

    Parameters
    ----------
    path : path
    kind : Kind
    header : mapping of str to JSON values
    arrays : mapping of str to array
        None of objects.

    Raises
    ------
    OSError
        If there is no space, no folder or no permission; what was at `path` is there still.
    """
    text = json.dumps({"format": kind.format, **header})
    header_bytes = np.frombuffer(text.encode(), np.uint8)
    everything: dict[str, Any] = {_HEADER: header_bytes, **arrays}
    everything[_CHECKSUM] = _checksum(everything)
    # A name of its own: whoever else writes to `path` must not write into the same half file.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_PARTIAL}")
    try:
        with partial.open("xb") as file:
            np.savez(file, **everything)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(partial):
            error.filename = str(path)  # which is what was asked for
        raise


def read(path: Path, kind: Kind, understood: Callable[[dict[str, Any], Arrays], T]) -> T:
    """What a file of this kind holds.

    Parameters
    ----------
    path : path
    kind : Kind
    understood : callable
        Makes it of the header and the arrays that `write` was given; raises whatever it wants
        where they are not.

    Raises
    ------
    FileNotFoundError
    GradcheckInputError
        Of the kind's class, if it is not such a file, or not as it was written.
    """
    try:
        return understood(*_content(path, kind))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise kind.refused(
            f"{path} cannot be read ({error.strerror or said(error)}): name a file that you may "
            f"read, which is a {kind.name} of this package."
        ) from error
    except Exception as error:  # NumPy's reader has many words for bytes that it does not know
        reason = said(error) if isinstance(error, Odd) else "its content cannot be read"
        raise kind.refused(
            f"{path} is not a {kind.name} of this package, or it is damaged ({reason}). It was "
            f"left as it is: {kind.advice}."
        ) from error


def _content(path: Path, kind: Kind) -> tuple[dict[str, Any], Arrays]:
    """The header and the arrays of a file."""
    # A file of its own, since NumPy leaves it open where the content is damaged.
    with path.open("rb") as raw:
        if raw.read(len(_ARCHIVE)) != _ARCHIVE:
            raise Odd("it is no archive of arrays")
        raw.seek(0)
        with np.load(raw, allow_pickle=False) as file:
            if any(entry.compress_type != ZIP_STORED for entry in file.zip.infolist()):
                raise Odd("it is compressed")  # and may be a thousand times as large as it looks
            arrays = {name: file[name] for name in file.files}
    header = json.loads(arrays[_HEADER].tobytes())
    if (told := header.pop("format")) != kind.format:
        raise Odd(f"its format is {told!r}, not {kind.format!r}")
    checksum = arrays.pop(_CHECKSUM, None)
    if not np.array_equal(checksum, _checksum(arrays)):
        raise Odd("its checksum is another")
    del arrays[_HEADER]
    return header, arrays


def remove_partial(path: Path) -> None:
    """Remove what processes left behind that were killed while they wrote to `path`.

    Only for whoever is the only one to write there.
    """
    for name in glob.glob(f"{glob.escape(path.name)}.*{_PARTIAL}", root_dir=path.parent):
        with suppress(OSError):
            (path.parent / name).unlink()


def _checksum(arrays: Arrays) -> NDArray[np.uint8]:
    digest = hexdigest(bytes_of(dict(sorted(arrays.items()))))
    return np.frombuffer(digest.encode(), np.uint8)
