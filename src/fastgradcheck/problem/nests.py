"""Nests of arrays and plain values: what they hold, and where.

`entries` alone says what a container is; everything else here, and every reader of args, sees
the same containers: tuples, NamedTuples, lists, mappings and dataclasses.
"""

from __future__ import annotations

import copy
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, shown

PLAIN = (bool, int, float, complex, str, bytes)
"""Values that are told apart by what they are."""
LEVELS = 100
"""Levels of a nest; Python itself gives up at some thousand."""


def entries(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """What a container holds, by key, position or name; None if it is a leaf.

    Of a dataclass also what it holds beside its fields, such as what ``__post_init__`` derived:
    a cost can read that too.
    """
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return zip(value._fields, value, strict=True)
    if isinstance(value, (tuple, list)):
        return enumerate(value)
    if is_dataclass(value) and not isinstance(value, type):
        names = (field.name for field in fields(value) if hasattr(value, field.name))
        return {
            name: getattr(value, name) for name in (*names, *getattr(value, "__dict__", ()))
        }.items()
    return None


def leaves(value: Any, where: str = "args") -> Iterator[tuple[str, Any]]:
    """The leaves of a nest with their paths, such as ``args[0].X``."""
    parts = entries(value)
    if parts is None:
        yield where, value
        return
    by_key = isinstance(value, Mapping)
    for key, part in parts:
        named = isinstance(key, str) and not by_key
        yield from leaves(part, f"{where}.{key}" if named else f"{where}[{shown(key)}]")


def refuse_endless(value: Any, where: str) -> None:
    """Refuse a nest that holds itself, or is too deep to be walked through.

    Raises
    ------
    GradcheckInputError
        Saying where.
    """
    walks: list[Iterator[tuple[Any, Any]]] = [iter([(None, value)])]
    above: list[int] = []
    keys: list[Any] = []
    while walks:
        for key, part in walks[-1]:
            parts = entries(part)
            if parts is None:
                continue
            if id(part) in above or len(above) == LEVELS:
                path = "".join(f"[{shown(k)}]" for k in (*keys[1:], key)[:6])
                deep = f"is nested more than {LEVELS} levels deep, at {where}{path}..."
                problem = f"holds itself, at {where}{path}" if id(part) in above else deep
                raise GradcheckInputError(
                    f"{where} {problem}: such a nest cannot be walked through. Pass the arrays "
                    "themselves, or keep it in an object that is no container, or in a closure."
                )
            above.append(id(part))
            keys.append(key)
            walks.append(iter(parts))
            break
        else:
            walks.pop()
            if above:
                above.pop()
                keys.pop()


def rebuilt(value: Any, parts: Mapping[Any, Any]) -> Any:
    """A container like `value` with other parts at the same keys; `value` stays as it is."""
    if isinstance(value, tuple):
        return type(value)(*parts.values()) if hasattr(value, "_fields") else tuple(parts.values())
    if isinstance(value, Mapping) and not isinstance(value, dict):
        try:
            return type(value)(parts)  # type: ignore[call-arg]
        except Exception:  # no constructor that takes a mapping: a dict is read in the same way
            return dict(parts)
    twin = copy.copy(value)
    if isinstance(value, list):
        twin[:] = parts.values()
    elif isinstance(value, dict):
        twin.update(parts)
    else:
        for name, part in parts.items():
            object.__setattr__(twin, name, part)  # a frozen dataclass has no other way
    return twin


def promoted(value: Any) -> Any:
    """The same nest with float32 arrays and scalars as float64; what holds none is not copied."""
    if isinstance(value, (np.ndarray, np.float32)):
        return value.astype(np.float64) if value.dtype == np.float32 else value
    before = dict(entries(value) or ())
    after = {key: promoted(part) for key, part in before.items()}
    changed = any(after[key] is not part for key, part in before.items())
    return rebuilt(value, after) if changed else value


def arrays_in(value: Any, where: str = "args") -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays in a nest, with their paths."""
    return ((path, leaf) for path, leaf in leaves(value, where) if isinstance(leaf, np.ndarray))


def numbers_in(value: Any, where: str = "args") -> Iterator[tuple[str, float]]:
    """The real numbers in a nest but for 0 and 1, with their paths."""
    for path, leaf in leaves(value, where):
        number = isinstance(leaf, (int, float, np.number)) and not isinstance(leaf, bool)
        if number and not isinstance(leaf, np.complexfloating) and float(leaf) not in (0.0, 1.0):
            yield path, float(leaf)


def fingerprints(value: Any) -> dict[str, int]:
    """A checksum of the bytes of every array in a nest."""
    return {
        path: zlib.crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
        for path, array in arrays_in(value)
        if array.dtype != object
    }


def bytes_of(*values: Any) -> Iterator[bytes | memoryview]:
    """Bytes that tell nests of arrays and plain values from one another."""
    for value in values:
        parts = entries(value)
        if parts is not None:
            yield b"{" if isinstance(value, Mapping) else b"("
            for key, part in parts:
                yield from bytes_of(key, part)
            yield b")"
        elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
            yield f"{value.dtype.str}{value.shape}".encode()
            yield np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
        elif value is None or isinstance(value, np.generic):
            yield repr(value).encode()
        elif isinstance(value, PLAIN):
            # Without the `repr` of a class derived from it, which may say anything.
            kind = next(kind for kind in PLAIN if isinstance(value, kind))
            yield kind.__repr__(value).encode(errors="backslashreplace")
        else:
            # What an object of an unknown kind holds cannot be compared; what it is can.
            yield f"{type(value).__module__}.{type(value).__qualname__}".encode()
        yield b";"


def hexdigest(parts: Iterator[bytes | memoryview]) -> str:
    """One digest of all these bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
