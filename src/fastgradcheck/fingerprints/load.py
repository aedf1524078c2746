"""`load_fingerprint`: fingerprints of every kind, read from files."""

from __future__ import annotations

from typing import Any

from fastgradcheck.differences.recording import Recording
from fastgradcheck.differences.row_recording import RowRecording
from fastgradcheck.fingerprints import file
from fastgradcheck.fingerprints.fingerprint import Fingerprint
from fastgradcheck.fingerprints.jacobian import JacobianFingerprint
from fastgradcheck.fingerprints.outline import restored
from fastgradcheck.fingerprints.taken import ABOUT


def load_fingerprint(path: Any) -> Fingerprint | JacobianFingerprint:
    """Read what ``save`` of a fingerprint wrote.

    Parameters
    ----------
    path : str or path
        What ``save`` was given.

    Returns
    -------
    Fingerprint or JacobianFingerprint
        Which is given theta and args at every check: ``fp.check(grad, theta=theta, args=args)``.

    Raises
    ------
    FileNotFoundError
    FingerprintError
        If the file is damaged, or no fingerprint.
    """
    return file.read(path, _made)


def _made(
    recording: Recording | RowRecording, about: dict[str, Any]
) -> Fingerprint | JacobianFingerprint:
    told = {name: about[name] for name in ABOUT}
    if isinstance(recording, Recording):
        return Fingerprint(recording=recording, **told)
    return JacobianFingerprint(recording=recording, outputs=restored(about["outputs"]), **told)
