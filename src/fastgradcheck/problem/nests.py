"""Nests of arrays and plain values: walking, comparing and converting them."""

from __future__ import annotations

import dataclasses
import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


def named_leaves(value: Any, where: str) -> Iterator[tuple[Any, str]]:
    """What a nest of containers holds, each with its path."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from named_leaves(entry, f"{where}[{key!r}]")
    elif isinstance(value, (tuple, list)):
        for i, entry in enumerate(value):
            yield from named_leaves(entry, f"{where}[{i}]")
    else:
        yield value, where


def named_arrays(args: Any, where: str) -> Iterator[tuple[NDArray[Any], str]]:
    """The arrays among the leaves of a nest, with their paths."""
    return ((leaf, at) for leaf, at in named_leaves(args, where) if isinstance(leaf, np.ndarray))


def named_scalars(args: Any, where: str) -> Iterator[tuple[float, str]]:
    """The numbers among the leaves of a nest, but for 0 and 1, with their paths."""
    for leaf, at in named_leaves(args, where):
        number = isinstance(leaf, (int, float, np.number)) and not isinstance(leaf, bool)
        if number and not isinstance(leaf, np.complexfloating) and float(leaf) not in (0.0, 1.0):
            yield float(leaf), at


def bytes_of(*values: Any) -> Iterator[bytes | memoryview]:
    """Bytes that tell nests of arrays and plain values from one another."""
    for value in values:
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            yield f"{value.dtype.str}{value.shape}".encode()
            yield np.ascontiguousarray(value).reshape(-1).view(np.uint8).data
        elif isinstance(value, Mapping):
            yield b"{"
            for key, part in value.items():
                yield from bytes_of(key, part)
            yield b"}"
        elif isinstance(value, (list, tuple)):
            yield b"("
            yield from bytes_of(*value)
            yield b")"
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from bytes_of(vars(value) if hasattr(value, "__dict__") else repr(value))
        elif isinstance(value, (bool, int, float, complex, str, bytes, np.generic, type(None))):
            yield repr(value).encode()
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


def arrays_in(value: Any, path: str = "args") -> Iterator[tuple[str, NDArray[Any]]]:
    """The arrays in a nest of tuples, lists, dicts and dataclasses, with their paths."""
    if isinstance(value, np.ndarray):
        yield path, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from arrays_in(part, f"{path}[{key!r}]")
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for name in value._fields:
            yield from arrays_in(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, (tuple, list)):
        for place, part in enumerate(value):
            yield from arrays_in(part, f"{path}[{place}]")
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from arrays_in(getattr(value, field.name), f"{path}.{field.name}")


def fingerprints(value: Any) -> dict[str, int]:
    """A checksum of the bytes of every array in a nest."""
    return {
        path: zlib.crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
        for path, array in arrays_in(value)
        if array.dtype != object
    }


def promoted(value: Any) -> Any:
    """The same nest with float32 arrays and scalars as float64."""
    if isinstance(value, (np.ndarray, np.float32)) and value.dtype == np.float32:
        return value.astype(np.float64)
    if isinstance(value, tuple):
        parts = [promoted(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [promoted(part) for part in value]
    if isinstance(value, dict):
        return {key: promoted(part) for key, part in value.items()}
    return value
