"""Arrays are found, told apart and converted wherever they are in a nest."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest

from fastgradcheck import GradcheckInputError, gradcheck, jaccheck
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


@dataclass(frozen=True, slots=True)
class Slotted:
    X: np.ndarray
    scale: Any = 1.0


@dataclass
class Derived:
    X: np.ndarray
    Xt: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.Xt = self.X.T
        self.total = self.X.sum(axis=0)


class Pair(NamedTuple):
    left: Any
    right: Any


def singles() -> dict[str, Any]:
    """A float32 array in every kind of container."""
    X = np.arange(4, dtype=np.float32).reshape(2, 2)
    return {
        "tuple": (X, 1),
        "list": [X],
        "named": Pair(X, "text"),
        "dict": {"k": X},
        "ordered": OrderedDict(k=X),
        "proxy": MappingProxyType({"k": X}),
        "dataclass": Batch(X, {"k": [X]}),
        "frozen": Slotted(X, np.float32(2.0)),
        "derived": Derived(X),
    }


@pytest.mark.parametrize("kind", singles())
def test_every_container_is_walked_by_everything(kind: str) -> None:
    nest, other = singles()[kind], singles()[kind]
    found = dict(nests.arrays_in(nest))
    assert found
    assert nests.fingerprints(nest).keys() == found.keys()
    double = nests.promoted(nest)
    assert type(double) is type(nest)
    assert {array.dtype.name for array in found.values()} == {"float32"}
    for path, array in nests.arrays_in(double):
        assert array.dtype == np.float64
        np.testing.assert_array_equal(array, found.pop(path))
    assert not found
    _, changed = next(nests.arrays_in(other))
    assert digest(nest) == digest(other)
    changed[0, 0] += 1.0
    assert digest(nest) != digest(other)


def digest(nest: Any) -> str:
    return nests.hexdigest(nests.bytes_of(nest))


def test_what_holds_no_float32_is_not_copied() -> None:
    nest = (Batch(np.ones(2)), [np.arange(3)], MappingProxyType({"k": 1}))
    assert nests.promoted(nest) is nest


def test_a_mapping_that_nobody_else_can_make_is_promoted_to_a_dict() -> None:
    class Stored(Mapping):
        def __getitem__(self, key: str) -> np.ndarray:
            return np.ones(2, np.float32)

        def __iter__(self) -> Iterator[str]:
            return iter("X")

        def __len__(self) -> int:
            return 1

    double = nests.promoted(Stored())
    assert double["X"].dtype == np.float64


def test_numbers_are_found_wherever_they_are() -> None:
    nest = (Slotted(np.ones(1), 0.25), Pair(3, True), [1.0, 1j], {"k": np.float32(0.5)})
    found = dict(nests.numbers_in(nest))
    assert found == {"args[0].scale": 0.25, "args[1].left": 3.0, "args[3]['k']": 0.5}


def nested(levels: int, kind: type = list) -> Any:
    nest: Any = np.ones(2)
    for _ in range(levels):
        nest = {"a": nest} if kind is dict else [nest]
    return nest


@dataclass
class Tree:
    above: Any
    below: Any = None


def family() -> Tree:
    parent = Tree(None)
    parent.below = [Tree(parent)]
    return parent


def itself(kind: type) -> Any:
    nest: Any = {"x": 1.0} if kind is dict else [1.0]
    if kind is dict:
        nest["me"] = [nest]
    else:
        nest.append([nest])
    return nest


@pytest.mark.parametrize(
    ("nest", "text"),
    [
        (itself(list), r"args holds itself, at args\[1\]\[0\]: such a nest cannot be walked"),
        (itself(dict), r"args holds itself, at args\['me'\]\[0\]: "),
        (family(), r"args holds itself, at args\['below'\]\[0\]\['above'\]: "),
        (nested(5000), r"args is nested more than 100 levels deep, at args\[0\]\[0\]"),
        (nested(5000, dict), r"more than 100 levels deep, at args\['a'\]\['a'\]"),
    ],
    ids=["list", "dict", "dataclass", "deep list", "deep dict"],
)
def test_a_nest_without_end_is_refused_with_its_place(nest: Any, text: str) -> None:
    with pytest.raises(GradcheckInputError, match=text):
        nests.refuse_endless(nest, "args")


def test_what_only_occurs_twice_has_an_end() -> None:
    twice = [np.ones(2)]
    nests.refuse_endless({"a": twice, "b": [twice, twice], "c": nested(90)}, "args")


@pytest.mark.parametrize("endless", [itself(dict), nested(5000)], ids=["cyclic", "deep"])
def test_endless_arguments_are_refused_wherever_they_are(endless: Any, tmp_path: Path) -> None:
    def cost(theta: Any, *args: Any) -> float:
        return float((theta**2).sum())

    def grad(theta: Any, *args: Any) -> Any:
        return 2 * theta

    theta = np.ones(3)
    text = "holds itself, at|nested more than 100 levels deep, at"
    with pytest.raises(GradcheckInputError, match=text):
        gradcheck(cost, grad, theta, args=(endless,), checkpoint=tmp_path / "run.npz", n_jobs=2)
    with pytest.raises(GradcheckInputError, match=text):
        gradcheck(cost, grad, theta.astype(np.float32), args=(endless,))
    with pytest.raises(GradcheckInputError, match=text):
        gradcheck(cost, grad, endless)
    with pytest.raises(GradcheckInputError, match=r"the gradient of theta"):
        gradcheck(cost, endless, theta)
    with pytest.raises(GradcheckInputError, match=text):
        jaccheck(lambda t: endless, np.eye(3), theta)
