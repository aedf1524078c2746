"""Recordings in files: one small NumPy archive each, checksummed and without pickles."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fastgradcheck.differences.noise import Noise
from fastgradcheck.differences.recording import COUNTS, Recording
from fastgradcheck.errors import FingerprintError, GradcheckTypeError
from fastgradcheck.evaluation import archive

KIND = archive.Kind(
    "fastgradcheck-fingerprint-1",
    "fingerprint",
    FingerprintError,
    "take another one with fgc.fingerprint",
)
_ARRAYS = ("weights", "keys", "steps", "changes")


def write(path: Any, recording: Recording, about: Mapping[str, Any]) -> None:
    """Put a recording into a file, and what there is to say about it.

    Parameters
    ----------
    path : str or path
    recording : Recording
    about : mapping of str to JSON values

    Raises
    ------
    OSError
        If it cannot be written; what was there before is there still.
    """
    header = {
        "value": recording.value.hex(),
        "step": recording.step.hex(),
        "seed": recording.seed,
        "evaluations": recording.evaluations,
        "noise": asdict(recording.noise),
        "about": dict(about),
    }
    archive.write(_path(path), KIND, header, {name: getattr(recording, name) for name in _ARRAYS})


def read(path: Any) -> tuple[Recording, dict[str, Any]]:
    """What `write` put into a file.

    Raises
    ------
    FileNotFoundError
    FingerprintError
        If it is damaged, or no such file.
    """
    return archive.read(_path(path), KIND, _understood)


def _understood(header: dict[str, Any], arrays: archive.Arrays) -> tuple[Recording, dict[str, Any]]:
    recording = Recording(
        value=float.fromhex(header["value"]),
        noise=Noise(**header["noise"]),
        step=float.fromhex(header["step"]),
        seed=int(header["seed"]),
        evaluations=int(header["evaluations"]),
        **{name: arrays[name] for name in _ARRAYS},
    )
    _refuse_odd(recording)
    return recording, {str(name): told for name, told in header["about"].items()}


def _refuse_odd(r: Recording) -> None:
    """Raise unless a recording holds what `differences.recording.record` measures."""
    floats = r.weights, r.steps, r.changes
    if (
        r.keys.dtype != np.uint64
        or len(r.keys) not in COUNTS
        or any(array.dtype != np.float64 or not np.isfinite(array).all() for array in floats)
        or r.steps.shape != r.keys.shape
        or r.changes.shape not in ((len(r.keys), 4), (len(r.keys), 6))
        or r.weights.ndim != 1
        or not (np.isfinite(r.value) and (r.steps > 0).all() and (r.weights >= 0).all())
    ):
        raise archive.Odd("its values do not fit together")


def _path(path: Any) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise GradcheckTypeError(
            f'path is a {type(path).__name__}; pass the path of a file, such as "net.fgc".'
        )
    return Path(path)
