"""Results as plain Python values and as strict JSON, and back."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.report import content
from fastgradcheck.report.outcome import COMPONENT, Origin, Outcome, Seconds, Sweep
from fastgradcheck.verdict.verdict import BlockResult, Resolution, Verdict

FORMAT = 1
"""Version of the layout; raised when an older reader could misread a newer result."""


_COMPONENTS_BY_DEFAULT = 10_000


def to_dict(result: Outcome, *, components: bool | None = None) -> dict[str, Any]:
    """The result as dicts, lists, strings, numbers, booleans and None.

    Parameters
    ----------
    result : Outcome
    components : bool, optional
        Whether to include the component arrays, as ``{"index": [...], ...}``; by default only up
        to 10,000 components. Left out, the entry is None.

    Returns
    -------
    dict
        Every field of an `Outcome`, ``"title"`` (the verdict, and of how much of theta it is),
        ``"covered"`` (components looked at) and ``"format"``. Non-finite floats are the strings
        ``"nan"``, ``"inf"`` and ``"-inf"``: strict JSON has no word for them.
    """
    if components is None:
        components = len(result.components) <= _COMPONENTS_BY_DEFAULT
    plain = {
        field.name: _encode(getattr(result, field.name))
        for field in dataclasses.fields(Outcome)
        if field.name != "components"
    }
    columns = {name: _encode(result.components[name]) for name in COMPONENT.names or ()}
    plain |= {"title": content.title(result), "covered": result.covered}
    return {"format": FORMAT, **plain, "components": columns if components else None}


def to_json(result: Outcome, *, components: bool | None = None, indent: int | None = None) -> str:
    """The result as strict JSON; see `to_dict`."""
    return json.dumps(to_dict(result, components=components), indent=indent, allow_nan=False)


def from_json(text: str) -> Outcome:
    """Read what `to_json` wrote. Components that were left out are an empty array.

    Raises
    ------
    GradcheckInputError
        If the text is no such result.
    """
    try:
        plain = json.loads(text)
    except json.JSONDecodeError as error:
        raise GradcheckInputError(
            f"This is not JSON ({error}); from_json reads what result.to_json() wrote."
        ) from error
    written = plain.get("format") if isinstance(plain, dict) else None
    if written != FORMAT:
        raise GradcheckInputError(
            f"This JSON has format {written!r} where {FORMAT} is expected: it was not written by "
            "result.to_json(), or by another version of fastgradcheck; check again, or read it "
            "with the version that wrote it."
        )
    try:
        return _outcome(plain)
    except (KeyError, TypeError, ValueError) as error:
        raise GradcheckInputError(
            f"This JSON is damaged: {type(error).__name__}: {error}. It was cut or edited since "
            "result.to_json() wrote it; write it again."
        ) from error


def _encode(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, np.ndarray):
        return _encode_array(value)
    if dataclasses.is_dataclass(value):
        return {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _encode(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_encode(entry) for entry in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return _encode_float(float(value))
    return value


def _encode_float(x: float) -> float | str:
    return x if math.isfinite(x) else str(x)


def _encode_array(array: NDArray[Any]) -> list[Any]:
    if array.dtype.kind != "f" or np.isfinite(array).all():
        plain: list[Any] = array.tolist()
        return plain
    return [_encode_float(x) for x in array.tolist()]


def _orders(plain: Any) -> tuple[float, ...] | None:
    return None if plain is None else tuple(map(float, plain))


def _outcome(plain: dict[str, Any]) -> Outcome:
    return Outcome(
        verdict=Verdict(plain["verdict"]),
        relative_difference=float(plain["relative_difference"]),
        limit=float(plain["limit"]),
        threshold=float(plain["threshold"]),
        rtol=float(plain["rtol"]),
        resolution=_from_plain(Resolution, plain["resolution"]),
        blocks=tuple(_block(block) for block in plain["blocks"]),
        components=_components(plain["components"]),
        wrong=tuple(plain["wrong"]),
        findings=tuple(_finding(finding) for finding in plain["findings"]),
        coverage=plain["coverage"],
        evaluations=plain["evaluations"],
        seconds=_from_plain(Seconds, plain["seconds"]),
        engine=plain["engine"],
        n_jobs=plain["n_jobs"],
        scheme=plain["scheme"],
        strategy=plain["strategy"],
        seed=plain["seed"],
        steps={name: float(step) for name, step in plain["steps"].items()},
        noise=float(plain["noise"]),
        size=plain["size"],
        interrupted=plain["interrupted"],
        sweeps=tuple(_from_plain(Sweep, sweep) for sweep in plain["sweeps"]),
        # Results that were written before they told these are read all the same.
        remembered=plain.get("remembered", 0),
        reason=plain.get("reason", ""),
        subject=plain.get("subject", "gradient"),
        orders=_orders(plain.get("orders")),
        origin=Origin(**plain.get("origin", {})),
    )


def _block(plain: dict[str, Any]) -> BlockResult:
    # Results that were written before blocks told so much are read all the same.
    covered = plain["size"] if plain["directions"] else plain["checked"]
    absent = {"covered": covered, "split": None, "at_least": False}
    block: BlockResult = _from_plain(BlockResult, absent | plain)
    return block


def _finding(plain: dict[str, Any]) -> Finding:
    # Results that were written before findings had a rank are read all the same.
    finding: Finding = _from_plain(Finding, {"rank": Rank.NOTE.value, **plain})
    return finding


_DECODERS: dict[str, Any] = {
    "float": float,
    "Verdict": Verdict,
    "Rank": Rank,
    "tuple[int, ...]": tuple,
    "NDArray[np.float64]": lambda entries: np.array(list(map(float, entries)), dtype=np.float64),
}


def _from_plain(kind: Any, plain: dict[str, Any]) -> Any:
    """Build a flat dataclass, decoding by the declared types what JSON cannot say."""
    return kind(
        **{
            field.name: _DECODERS.get(str(field.type), _as_is)(plain[field.name])
            for field in dataclasses.fields(kind)
        }
    )


def _as_is(value: Any) -> Any:
    return value


def _components(columns: dict[str, list[Any]] | None) -> NDArray[Any]:
    if columns is None:
        return np.empty(0, dtype=COMPONENT)
    components = np.empty(len(columns["index"]), dtype=COMPONENT)
    for name in COMPONENT.names or ():
        column = columns[name]
        floating = COMPONENT[name].kind == "f"
        components[name] = [float(x) for x in column] if floating else column
    return components
