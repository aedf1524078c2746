"""Files of arrays that are whole or refused: checksummed, and replaced in one step.

A file is a NumPy archive without pickles: a header (JSON), named arrays, and the checksum of both.
"""

from __future__ import annotations

import glob
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.problem.nests import bytes_of, hexdigest

_HEADER = "header"
_CHECKSUM = "checksum"
_PARTIAL = ".partial"


def write(path: Path, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Put a header and arrays into a file; at any moment there is a complete one at `path`.

    Parameters
    ----------
    path : path
    header : mapping of str to JSON values
        With the name of the ``"format"``.
    arrays : mapping of str to array
        None of objects.

    Raises
    ------
    OSError
        If there is no space, no folder or no permission; what was at `path` is there still.
    """
    everything: dict[str, Any] = {
        _HEADER: np.frombuffer(json.dumps(header).encode(), np.uint8),
        **arrays,
    }
    everything[_CHECKSUM] = _checksum(everything)
    # A name of its own: whoever else writes to `path` must not write into the same half file.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_PARTIAL}")
    try:
        with partial.open("xb") as file:
            np.savez(file, **everything)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def read(path: Path, format: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The header and the arrays that `write` put into a file of this format.

    Raises
    ------
    FileNotFoundError
    Exception
        Of any other kind, if it is not such a file, or not as it was written.
    """
    # A file of its own, since NumPy leaves it open where the content is damaged.
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        if any(entry.compress_type != ZIP_STORED for entry in file.zip.infolist()):
            raise ValueError("it is compressed")  # and may be a thousand times as large as it looks
        arrays = {name: file[name] for name in file.files}
    header = json.loads(arrays[_HEADER].tobytes())
    if header["format"] != format:
        raise ValueError(f"its format is {header['format']!r}, not {format!r}")
    checksum = arrays.pop(_CHECKSUM, None)
    if not np.array_equal(checksum, _checksum(arrays)):
        raise ValueError("its checksum is another")
    del arrays[_HEADER]
    return header, arrays


def remove_partial(path: Path) -> None:
    """Remove what processes left behind that were killed while they wrote to `path`.

    Only for whoever is the only one to write there.
    """
    for name in glob.glob(f"{glob.escape(path.name)}.*{_PARTIAL}", root_dir=path.parent):
        with suppress(OSError):
            (path.parent / name).unlink()


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    digest = hexdigest(bytes_of(dict(sorted(arrays.items()))))
    return np.frombuffer(digest.encode(), np.uint8)
