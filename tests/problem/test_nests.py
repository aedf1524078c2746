"""Arrays are found, told apart and converted wherever they are in a nest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fastgradcheck.problem import nests


def test_what_args_hold_is_told_apart() -> None:
    texts = [
        nests.hexdigest(nests.bytes_of(args))
        for args in (
            (1, 2),
            (12,),
            ("1", 2),
            ((1,), 2),
            (np.array([1, 2]),),
            (np.array([1.0, 2.0]),),
            (np.array([[1.0, 2.0]]),),
            ({"a": 1, "b": 2},),
            ({"a": 1, "b": 3},),
            (None,),
        )
    ]
    assert len(set(texts)) == len(texts)


class Layer(NamedTuple):
    W: np.ndarray
    b: np.ndarray


@dataclass
class Batch:
    X: np.ndarray
    nested: dict[str, Any] = field(default_factory=dict)


def test_arrays_are_found_wherever_they_are() -> None:
    a, b, c = np.ones(1), np.ones(2), np.ones(3)
    found = dict(nests.arrays_in((Batch(a, {"k": [b]}), Layer(c, c), "text", 3)))
    assert list(found) == ["args[0].X", "args[0].nested['k'][0]", "args[1].W", "args[1].b"]


def test_fingerprints_see_a_single_bit() -> None:
    data = {"X": np.ones((4, 4))[:, ::2], "empty": np.zeros(0), "zero-d": np.array(1.0)}
    before = nests.fingerprints(data)
    assert nests.fingerprints(data) == before
    data["X"][3, 1] = np.nextafter(1.0, 2.0)
    changed = [path for path, value in nests.fingerprints(data).items() if before[path] != value]
    assert changed == ["args['X']"]


def test_promoted_keeps_the_structure() -> None:
    single = np.ones(2, np.float32)
    nest = (Layer(single, np.ones(1, int)), [single], {"k": (single, 3)}, "text")
    layer, (listed,), mapped, text = nests.promoted(nest)
    assert isinstance(layer, Layer)
    assert (layer.W.dtype, layer.b.dtype) == (np.float64, np.int64)
    assert listed.dtype == mapped["k"][0].dtype == np.float64
    assert (mapped["k"][1], text) == (3, "text")
