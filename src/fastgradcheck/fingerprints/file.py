"""Recordings in files: one small NumPy archive each, checksummed and without pickles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.differences.directions import OFFSETS, ON_KINKS
from fastgradcheck.differences.noise import Noise
from fastgradcheck.differences.recording import COUNTS, Recording
from fastgradcheck.differences.row_recording import Retried, RowRecording
from fastgradcheck.errors import FingerprintError, said
from fastgradcheck.evaluation import archive

T = TypeVar("T")
KIND = archive.Kind(
    "fastgradcheck-fingerprint-1",
    "fingerprint",
    FingerprintError,
    "take another one with fgc.fingerprint",
)
_OF_J = ("weights", "keys", "steps", "changes")
_OF_ROWS = ("values", "noise", "sizes", "weights", "keys", "steps", "changes")
_RETRIED = ("keys", "steps", "rows", "slopes", "error")


def write(path: Any, recording: Recording | RowRecording, about: Mapping[str, Any]) -> None:
    """Put a recording into a file, and what there is to say about it.

    Parameters
    ----------
    path : str or path
    recording : Recording or RowRecording
    about : mapping of str to JSON values

    Raises
    ------
    OSError
        If it cannot be written; what was there before is there still.
    FingerprintError
        If no file can have that name.
    """
    header: dict[str, Any] = {
        "step": recording.step.hex(),
        "seed": recording.seed,
        "evaluations": recording.evaluations,
        "about": dict(about),
    }
    if isinstance(recording, Recording):
        header |= {"value": recording.value.hex(), "noise": asdict(recording.noise)}
        arrays = {name: getattr(recording, name) for name in _OF_J}
    else:
        header |= {"retried": len(recording.retried)}
        arrays = {name: getattr(recording, name) for name in _OF_ROWS}
        for k, own in enumerate(recording.retried):
            arrays |= {f"{name}_{k}": getattr(own, name) for name in _RETRIED}
    whole = _path(path)
    try:
        archive.write(whole, KIND, header, arrays)
    except ValueError as error:  # a zero byte, or half of a surrogate pair
        raise FingerprintError(f"{whole} is no name of a file ({said(error)}).") from error


def read(path: Any, made: Callable[[Recording | RowRecording, dict[str, Any]], T]) -> T:
    """What is made of what `write` put into a file.

    Raises
    ------
    FileNotFoundError
    FingerprintError
        If it is damaged, or no such file.
    """
    return archive.read(
        archive.path_of(path, "path", '"net.fgc"'),
        KIND,
        lambda *content: made(*_understood(*content)),
    )


def _understood(
    header: dict[str, Any], arrays: archive.Arrays
) -> tuple[Recording | RowRecording, dict[str, Any]]:
    about = {str(name): told for name, told in header["about"].items()}
    common: dict[str, Any] = {
        "step": float.fromhex(header["step"]),
        "seed": int(header["seed"]),
        "evaluations": int(header["evaluations"]),
    }
    recording: Recording | RowRecording
    if "retried" in header:
        retried = [
            Retried(**{name: arrays[f"{name}_{k}"] for name in _RETRIED})
            for k in range(header["retried"])
        ]
        own: dict[str, Any] = {name: arrays[name] for name in _OF_ROWS}
        recording = RowRecording(retried=tuple(retried), **own, **common)
        fits = _of_rows(recording)
    else:
        value, noise = float.fromhex(header["value"]), Noise(**header["noise"])
        own = {name: arrays[name] for name in _OF_J}
        recording = Recording(value=value, noise=noise, **own, **common)
        fits = _of_j(recording)
    if not fits:
        raise archive.Odd("its values do not fit together")
    return recording, about


def _of_j(r: Recording) -> bool:
    """Whether a recording holds what `differences.recording.record` measures."""
    points = OFFSETS, ON_KINKS
    return bool(
        _are_directions(r.keys, r.steps)
        and r.changes.dtype == np.float64
        and r.changes.shape in [(len(r.keys), len(p)) for p in points]
        and np.isfinite(r.changes).all()
        and _are_floats(r.weights)
        and np.isfinite(r.value)
    )


def _of_rows(r: RowRecording) -> bool:
    """Whether a recording holds what `differences.row_recording.record_rows` measures."""
    return bool(
        _are_directions(r.keys, r.steps)
        and _are_floats(np.abs(r.values), r.noise, r.sizes, r.weights)
        and len(r.values) == len(r.noise) == len(r.sizes)
        and r.changes.dtype == np.float64
        and r.changes.shape == (len(r.keys), len(OFFSETS), len(r.values))
        and all(
            _are_directions(s.keys, s.steps)
            and np.isin(s.rows, np.arange(len(r.values))).all()
            and s.slopes.dtype == s.error.dtype == np.float64
            and s.slopes.shape == s.error.shape == (len(r.keys), len(s.rows))
            for s in r.retried
        )
    )


def _are_directions(keys: NDArray[Any], steps: NDArray[Any]) -> bool:
    return bool(
        keys.dtype == np.uint64
        and len(keys) in COUNTS
        and steps.shape == keys.shape
        and _are_floats(steps)
        and (steps > 0).all()
    )


def _are_floats(*arrays: NDArray[Any]) -> bool:
    """Whether these are vectors of finite float64, none of them negative."""
    return all(
        array.dtype == np.float64
        and array.ndim == 1
        and bool((np.isfinite(array) & (array >= 0)).all())
        for array in arrays
    )


def _path(path: Any) -> Path:
    return archive.path_of(path, "path", '"net.fgc"')
