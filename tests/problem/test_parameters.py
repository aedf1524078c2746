"""Nests of arrays as flat vectors: round trips, names, and what is refused with which words."""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.problem.blocks import Block
from fastgradcheck.problem.parameters import Parameters, describe, vector
from fastgradcheck.problem.structure import Flat, Leaf, Node
from tests.cases.refusals import NEST, refused


class Layer(NamedTuple):
    W: Any
    b: Any


@dataclass(frozen=True)
class Model:
    layers: Any
    scale: Any
    name: str = "mlp"
    sizes: tuple[int, ...] = (3, 2)
    bias: Any = None
    dtype: Any = np.float32
    rate: Any = field(default=0.5, metadata={"static": True})


def ramp(*shape: int, dtype: Any = np.float64) -> Any:
    return np.arange(1.0, np.prod(shape, dtype=int) + 1.0, dtype=dtype).reshape(shape)


# --- one oracle for nests: an independent walk in the order of insertion ---------------------


def walk(tree: Any) -> list[np.ndarray]:
    if isinstance(tree, dict):
        return [leaf for child in tree.values() for leaf in walk(child)]
    if isinstance(tree, Model):
        return walk([tree.layers, tree.scale])
    if isinstance(tree, list | tuple):
        return [leaf for child in tree for leaf in walk(child)]
    return [np.asarray(tree)]


def shape_of(tree: Any) -> Any:
    """Types, keys, leaf shapes and kinds, to compare two nests by ``==``."""
    if isinstance(tree, dict):
        return type(tree), [(key, shape_of(child)) for key, child in tree.items()]
    if isinstance(tree, Model):
        return Model, shape_of([tree.layers, tree.scale]), tree.name, tree.sizes, tree.rate
    if isinstance(tree, list | tuple):
        return type(tree), [shape_of(child) for child in tree]
    return isinstance(tree, np.ndarray), np.shape(tree)


finite = st.floats(-1e9, 1e9, width=32)
arrays = hnp.arrays(
    st.sampled_from([np.float64, np.float32]),
    hnp.array_shapes(min_dims=0, max_dims=3, max_side=3),
    elements=finite,
)


keys = st.one_of(st.text(max_size=4), st.integers(-3, 3))
nests = st.recursive(
    arrays | finite,
    lambda children: st.one_of(
        st.dictionaries(keys, children, min_size=1, max_size=3),
        st.lists(children, min_size=1, max_size=3),
        st.tuples(children, children),
        st.builds(Layer, children, children),
        st.builds(Model, children, children),
    ),
    max_leaves=8,
)


def shuffled(tree: Any) -> Any:
    """The same nest with every dict in reverse order."""
    if isinstance(tree, dict):
        return {key: shuffled(tree[key]) for key in reversed(tree)}
    if isinstance(tree, Model):
        return Model(shuffled(tree.layers), shuffled(tree.scale))
    if isinstance(tree, Layer):
        return Layer(*map(shuffled, tree))
    if isinstance(tree, list | tuple):
        return type(tree)(map(shuffled, tree))
    return tree


@settings(max_examples=200, deadline=None)
@given(nests)
def test_any_nest_goes_flat_and_comes_back(tree: Any) -> None:
    parameters = describe(tree)
    expected = np.concatenate([leaf.ravel() for leaf in walk(tree)])
    flat = parameters.flatten(tree)
    assert flat.dtype == expected.dtype == parameters.dtype
    np.testing.assert_array_equal(flat, expected)
    rebuilt = parameters.unflatten(flat)
    assert shape_of(rebuilt) == shape_of(tree)
    np.testing.assert_array_equal(np.concatenate([x.ravel() for x in walk(rebuilt)]), flat)
    assert len(set(parameters.names)) == len(parameters.blocks)


@settings(max_examples=200, deadline=None)
@given(nests)
def test_the_gradient_is_matched_by_key_and_not_by_position(tree: Any) -> None:
    parameters = describe(tree)
    matched = parameters.match(shuffled(tree))
    assert matched.dtype == np.float64
    np.testing.assert_array_equal(matched, parameters.flatten(tree))


@settings(max_examples=100, deadline=None)
@given(nests)
def test_every_address_is_the_entry_that_it_names(tree: Any) -> None:
    parameters = describe(tree)
    i = 0
    for block, leaf in zip(parameters.blocks, walk(tree), strict=True):
        assert (block.start, block.shape, block.stop) == (i, leaf.shape, i + leaf.size)
        assert block.rows * block.columns == block.size == leaf.size
        for local, index in enumerate(np.ndindex(leaf.shape)):
            suffix = f"[{', '.join(map(str, index))}]" if index else ""
            assert parameters.address(i + local) == block.address(local) == block.name + suffix
            assert parameters.blocks[parameters.block_index(i + local)] is block
        i += leaf.size
    assert parameters.size == i
    right = np.searchsorted(parameters.blocks_start, np.arange(i), side="right") - 1
    assert right.tolist() == [parameters.block_index(j) for j in range(i)]


@settings(max_examples=100, deadline=None)
@given(nests)
def test_views_follow_the_flat_vector_wherever_they_are_promised(tree: Any) -> None:
    parameters = describe(tree)
    flat = parameters.flatten(tree)
    rebuilt = parameters.unflatten(flat)
    flat[:] = np.arange(flat.size)
    after = np.concatenate([leaf.ravel() for leaf in walk(rebuilt)])
    if parameters.has_views:
        np.testing.assert_array_equal(after, flat)


# --- what the cost gets -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.complex128, np.float32, np.float64])
def test_leaves_have_the_dtype_of_the_flat_vector(dtype: Any) -> None:
    parameters = describe({"W": ramp(2, 2), "c": np.array(1.0), "s": 2.0})
    tree = parameters.unflatten(np.arange(6, dtype=dtype))
    assert {leaf.dtype for leaf in tree.values()} == {np.dtype(dtype)}
    assert isinstance(tree["c"], np.ndarray)
    assert isinstance(tree["s"], dtype)


def test_a_flat_theta_is_handed_over_itself() -> None:
    parameters = describe(ramp(3))
    flat = ramp(3)
    assert parameters.structure == Flat()
    assert parameters.unflatten(flat) is flat
    assert parameters.has_views
    assert parameters.names == ("theta",)


def test_flatten_always_copies() -> None:
    theta = ramp(3)
    flat = describe(theta).flatten(theta)
    flat[0] = 7.0
    assert theta[0] == 1.0
    assert not np.shares_memory(flat, theta)


@pytest.mark.parametrize(
    ("theta", "expected"),
    [
        (np.asfortranarray(ramp(2, 3)), [1, 2, 3, 4, 5, 6]),
        (ramp(2, 3).T, [1, 4, 2, 5, 3, 6]),
        (ramp(6)[::-2], [6, 4, 2]),
        (np.broadcast_to(ramp(2), (2, 2)), [1, 2, 1, 2]),
        (ramp(2, 2).astype(">f8"), [1, 2, 3, 4]),
        (np.array(5.0), [5]),
        (5.0, [5]),
    ],
    ids=["fortran", "transposed", "strided", "read-only", "big-endian", "0-d", "float"],
)
def test_any_memory_layout_is_read_in_c_order(theta: Any, expected: list[float]) -> None:
    parameters = describe(theta)
    flat = parameters.flatten(theta)
    assert flat.tolist() == expected
    assert flat.flags.c_contiguous
    assert flat.flags.writeable
    assert flat.dtype == np.float64
    assert flat.dtype.isnative


@pytest.mark.parametrize(
    ("theta", "views"),
    [
        (ramp(2, 2), True),
        (np.array(1.0), True),
        (1.0, False),
        ([ramp(2), (ramp(1),)], True),
        ([ramp(2), (1.0,)], False),
        # A dataclass may copy in __post_init__, or cache what it derived from older values.
        ({"model": Model(ramp(2), ramp(1))}, False),
    ],
)
def test_has_views(theta: Any, views: bool) -> None:
    assert describe(theta).has_views is views


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (np.float32, np.float32, np.float32),
        (np.float32, np.float64, np.float64),
        (np.float64, np.float64, np.float64),
    ],
)
def test_float32_only_if_every_leaf_is(first: Any, second: Any, expected: Any) -> None:
    theta = [ramp(2, dtype=first), ramp(1, dtype=second)]
    parameters = describe(theta)
    assert parameters.dtype == parameters.flatten(theta).dtype == expected
    assert describe(theta[0], layout={"a": 2}).dtype == first


def test_a_dataclass_keeps_what_holds_no_numbers() -> None:
    theta = Model([ramp(2)], ramp(1), name="deep", bias=ramp(2))
    parameters = describe(theta)
    assert parameters.names == ("layers[0]", "scale", "bias")
    rebuilt = parameters.unflatten(np.zeros(5))
    assert (rebuilt.name, rebuilt.sizes, rebuilt.dtype) == ("deep", (3, 2), np.float32)
    assert rebuilt.rate == 0.5
    assert describe(Model(ramp(1), ramp(1))).unflatten(np.zeros(2)).bias is None


def test_static_fields_may_be_anything() -> None:
    theta = Model(ramp(1), ramp(1), rate=[ramp(2)])
    assert describe(theta) == describe(Model(ramp(1), ramp(1), rate=[ramp(2)]))
    assert hash(describe(theta)) == hash(describe(theta))
    assert describe(theta).unflatten(np.zeros(2)).rate is theta.rate


def test_dict_subclasses_come_back_as_themselves() -> None:
    class Bunch(dict[str, Any]):
        def __init__(self, **items: Any) -> None:
            super().__init__(items)

    for theta in (OrderedDict(b=ramp(1), a=ramp(2)), Bunch(b=ramp(1), a=ramp(2))):
        rebuilt = describe(theta).unflatten(np.arange(3.0))
        assert type(rebuilt) is type(theta)
        assert list(rebuilt) == ["b", "a"]
        assert rebuilt["a"].tolist() == [1.0, 2.0]


def test_empty_nests_inside_are_kept() -> None:
    theta = [ramp(1), (), {}]
    assert describe(theta).unflatten(np.zeros(1))[1:] == [(), {}]


def test_parameters_travel_to_other_processes() -> None:
    theta = {"a": Layer(ramp(2), 1.0), "m": Model(ramp(1), ramp(1))}
    parameters = describe(theta)
    again = pickle.loads(pickle.dumps(parameters))
    assert again == parameters
    assert hash(again) == hash(parameters)
    assert again.unflatten(np.arange(5.0))["a"].W.tolist() == [0.0, 1.0]


# --- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theta", "names"),
    [
        ({"W1": ramp(2), "b1": ramp(1)}, ("W1", "b1")),
        ({"layers": [{"W": ramp(1), "b": ramp(1)}]}, ("layers[0].W", "layers[0].b")),
        ([ramp(1), (ramp(1),)], ("theta[0]", "theta[1][0]")),
        (Layer(ramp(1), ramp(1)), ("W", "b")),
        ({"layers": [Layer(ramp(1), 1.0)]}, ("layers[0].W", "layers[0].b")),
        (Model([Layer(ramp(1), 1.0)], 1.0), ("layers[0].W", "layers[0].b", "scale")),
        ({"layers.0.weight": ramp(1)}, ("layers.0.weight",)),
        ({"my key": ramp(1), 3: ramp(1)}, ("theta['my key']", "theta[3]")),
        ({"net": {"a b": ramp(1), "3": ramp(1)}}, ("net['a b']", "net['3']")),
        (ramp(2, 2), ("theta",)),
        (1.0, ("theta",)),
    ],
)
def test_names(theta: Any, names: tuple[str, ...]) -> None:
    assert describe(theta).names == names


@pytest.mark.parametrize(
    ("theta", "i", "address"),
    [
        (ramp(4, 6), 23, "theta[3, 5]"),
        (ramp(4), 3, "theta[3]"),
        (np.array(1.0), 0, "theta"),
        ({"W1": ramp(2, 3, 4), "c": 1.0}, 23, "W1[1, 2, 3]"),
        ({"W1": ramp(2, 3, 4), "c": 1.0}, 24, "c"),
        ({"0.weight": ramp(2)}, 1, "0.weight[1]"),
        ({"net": {"0.weight": ramp(2)}}, 1, "net.0.weight[1]"),
        ({"layers.0.1.bias": ramp(2)}, 1, "layers.0.1.bias[1]"),
        ({"0": ramp(2)}, 1, "theta['0'][1]"),
        ({"0.5": ramp(2)}, 1, "theta['0.5'][1]"),
        ({"a-b": ramp(2)}, 1, "theta['a-b'][1]"),
    ],
)
def test_addresses(theta: Any, i: int, address: str) -> None:
    assert describe(theta).address(i) == address


def test_a_list_of_numbers_is_a_vector() -> None:
    for theta, dtype in [
        ([1.0, 2.0], np.float64),
        ([1, 2], np.float64),
        ([np.float32(1.0), np.float32(2.0)], np.float32),
    ]:
        found = vector(theta)
        assert found.tolist() == [1.0, 2.0]
        assert found.dtype == dtype
    for theta in ([], [True, 1.0], [np.ones(1), 1.0], ["1"], (1.0, 2.0), {"a": 1.0}, 1.0):
        assert vector(theta) is theta


def test_an_array_is_the_gradient_of_a_tuple_of_numbers() -> None:
    parameters = describe((1.0, 2.0))
    assert parameters.match(np.array([3.0, 4.0])).tolist() == [3.0, 4.0]
    with pytest.raises(GradcheckInputError, match=r"of theta has 3 entries\..* with 2 entries"):
        parameters.match(np.ones(3))
    with pytest.raises(GradcheckInputError, match=r"is a list of lists of numbers \(np\.array\(th"):
        describe([[1.0, 2.0], [3.0, 4.0]]).match(np.ones((2, 2)))


@pytest.mark.parametrize("i", [-1, 4])
def test_an_address_outside_is_an_index_error(i: int) -> None:
    with pytest.raises(IndexError, match=f"flat index {i} is outside of 0 to 3"):
        describe(ramp(4)).address(i)


def test_the_structure_is_a_value() -> None:
    parameters = describe({"a": 1.0, "b": (ramp(2),)})
    inner = Node("tuple", tuple, (0,), (Leaf(1),))
    structure = Node("dict", dict, ("a", "b"), (Leaf(0, scalar=True), inner))
    blocks = (Block("a", 0, ()), Block("b[0]", 1, (2,)))
    assert parameters == Parameters(blocks, structure, np.dtype(np.float64))


# --- layout -----------------------------------------------------------------------------------


def test_layout_names_the_blocks_of_a_flat_theta() -> None:
    parameters = describe(ramp(9), layout={"W 1": [2, np.int64(3)], "b1": 2, "c": ()})
    assert parameters.names == ("W 1", "b1", "c")
    assert [block.shape for block in parameters.blocks] == [(2, 3), (2,), ()]
    assert [parameters.address(i) for i in (5, 7, 8)] == ["W 1[1, 2]", "b1[1]", "c"]
    assert parameters.structure == Flat()
    assert parameters.match(ramp(9)).tolist() == ramp(9).tolist()


@pytest.mark.parametrize(
    ("theta", "layout", "message"),
    [
        (
            ramp(10),
            {"W": (2, 3), "b": 2},
            "layout= adds up to 8 entries (W: 6 + b: 2), but theta has 10, 2 more: "
            "is a block missing, or a shape wrong?",
        ),
        (ramp(7), {"W": (2, 3), "b": 2}, "but theta has 7, 1 fewer"),
        (ramp(2, 3), {"W": (2, 3)}, "layout= needs a 1-d theta, but theta has shape (2, 3): "),
        (1.0, {"W": ()}, "layout= needs a 1-d theta, but theta has shape ()"),
        (
            {"W": ramp(2)},
            {"W": 2},
            "layout= names the blocks of a flat theta, but theta is a dict, which has names of "
            "its own: leave layout= out.",
        ),
        (ramp(2), {}, "layout={} names no block: use a dict of names and shapes"),
        (ramp(2), [("W", 2)], "layout=[('W', 2)] names no block"),
        (ramp(2), {"W": (2, 0)}, "layout['W'] is (2, 0): a block needs a name and a shape"),
        (ramp(2), {"W": -2}, "layout['W'] is -2: a block needs"),
        (ramp(2), {"W": 2.0}, "layout['W'] is 2.0: a block needs"),
        (ramp(2), {"W": True}, "layout['W'] is True: a block needs"),
        (ramp(2), {"W": "2"}, "layout['W'] is '2': a block needs"),
        (ramp(2), {"": 2}, "layout[''] is 2: a block needs"),
        (ramp(2), {0: 2}, "layout[0] is 2: a block needs"),
    ],
)
def test_layouts_that_are_refused(theta: Any, layout: Any, message: str) -> None:
    with pytest.raises(GradcheckInputError, match=re.escape(message)):
        describe(theta, layout=layout)


# --- thetas that are refused ------------------------------------------------------------------

shared = ramp(2)


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        ({}, "theta holds no array: there is nothing to check."),
        ([[], ()], "theta holds no array: there is nothing to check."),
        (ramp(0), "theta is empty (shape (0,)): there is nothing to check."),
        ([ramp(2), ramp(0, 3)], "theta[1] is empty (shape (0, 3)): there is nothing to check."),
        (
            {"W1": ramp(3), "b1": np.array([1.0, np.nan, np.inf])},
            "b1[1] is nan, and 1 more are not finite: there is no derivative.",
        ),
        (-np.inf, "theta is -inf: there is no derivative."),
        (
            {"enc": shared, "dec": [shared]},
            "enc and dec[0] are one and the same array. The check changes one entry at a time, so "
            "tied weights must occur once in theta (let the cost use them twice)",
        ),
        (
            {"a.b": 1.0, "a": {"b": 2.0}},
            "two parameters of theta would both be called a.b: rename a key of the dict.",
        ),
    ],
)
def test_thetas_that_are_refused(theta: Any, message: str) -> None:
    with pytest.raises(GradcheckInputError, match=re.escape(message)):
        describe(theta)


class Tensor:
    """An array of another library."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if isinstance(self.array, Exception):
            raise self.array
        return np.asarray(self.array, dtype=dtype)


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (
            np.arange(3),
            "theta is int64: a parameter must be floating point (float64 or float32); "
            "use .astype(float), or write 1.0 for 1.",
        ),
        (
            {"W": ramp(1), "k": 3},
            "k is int: a parameter must be floating point (float64 or float32); take k out of "
            "theta if it is a setting, and pass it by args, or write 3.0 if it is a parameter.",
        ),
        (
            {"W": ramp(1), "act": "relu"},
            "act is str: a parameter must be floating point (float64 or float32); take act out of "
            "theta if it is a setting, and pass it by args.",
        ),
        (lambda t: t, "theta is a function: the order is gradcheck(cost, grad, theta), with the"),
        ([True], "theta[0] is bool: a parameter must be floating point"),
        (np.ones(2, dtype=bool), "theta is bool: a parameter"),
        (np.ones(2, dtype=np.uint8), "theta is uint8: a parameter"),
        (
            ramp(2) + 1j,
            "theta is complex128: a parameter must be floating point (float64 or float32); "
            "pass real and imaginary parts as two real arrays.",
        ),
        (ramp(2, dtype=np.float16), "theta is float16: a parameter must be floating point (float"),
        (ramp(2, dtype=np.longdouble), f"theta is {np.dtype(np.longdouble)}: a parameter"),
        (ramp(2).astype(object), "use an array of floats, without None or rows of s"),
        ("theta.npz", "theta is str: a parameter must be"),
        ({"W": None}, "W is None: a parameter must be floating point"),
        ({1.0, 2.0}, "theta is set: a parameter must be"),
        (Layer(ramp(1), "relu"), "b is str: a parameter must be"),
        (Model(ramp(1), np.arange(2)), "scale is int64: a parameter must be"),
        (np.ma.masked_array(ramp(2), [True, False]), "theta is a masked array: the cost would see"),
        (Tensor(ramp(2)), "theta is Tensor, but the cost will be called with plain NumPy arrays"),
        (
            Tensor(TypeError("it is on another device")),
            "theta is a Tensor, which does not convert to one array (it is on another device).",
        ),
    ],
)
def test_types_of_theta_that_are_refused(theta: Any, message: str) -> None:
    with pytest.raises(GradcheckTypeError, match=re.escape(message)):
        describe(theta)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_np_matrix_is_refused_since_its_product_differs() -> None:
    with pytest.raises(GradcheckTypeError, match=r"W is matrix, but .* use np\.asarray\(W\)"):
        describe({"W": np.matrix(ramp(2, 2))})


def test_a_dataclass_that_cannot_be_rebuilt_is_refused() -> None:
    @dataclass
    class Checked:
        W: Any

        def __post_init__(self) -> None:
            if self.W.base is not None:
                raise ValueError("W must own its memory")

    with pytest.raises(
        GradcheckTypeError,
        match=r"theta cannot be rebuilt .* \(ValueError: W must own its memory\)\. A dataclass",
    ):
        describe(Checked(np.ones(3)))


def test_another_point_is_refused_under_its_own_name() -> None:
    parameters = describe({"W": ramp(2, 3), "b": ramp(2)})
    point = {"W": ramp(3, 2), "b": ramp(2)}
    with pytest.raises(
        GradcheckInputError,
        match=re.escape("trained: W has shape (3, 2), but theta has (2, 3) there: it is the tra"),
    ):
        parameters.flatten(point, role="trained")
    with pytest.raises(GradcheckInputError, match=r"^trained: b\[0\] is nan"):
        parameters.flatten({"W": ramp(2, 3), "b": np.array([np.nan, 1.0])}, role="trained")
    with pytest.raises(GradcheckInputError, match=r"^trained: theta lacks 'b'\. As in theta"):
        parameters.flatten({"W": ramp(2, 3)}, role="trained")


# --- gradients --------------------------------------------------------------------------------

THETA = {"W1": ramp(2, 3), "layers": [ramp(2), ramp(2, 2)], "c": 1.0}


def gradient(**changes: Any) -> dict[str, Any]:
    return {**THETA, **changes}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (
            gradient(W1=ramp(3, 2)),
            "the gradient of W1 has shape (3, 2), but theta has (2, 3) there: it is the transpose, "
            "use .T.",
        ),
        (
            gradient(layers=[ramp(2, 1), ramp(2, 2)]),
            "the gradient of layers[0] has shape (2, 1), but theta has (2,) there: the number of "
            "entries is right, use .reshape((2,)).",
        ),
        (
            gradient(W1=ramp(2, 4)),
            "the gradient of W1 has shape (2, 4), but theta has (2, 3) there: each entry needs",
        ),
        (gradient(c=ramp(1)), "the gradient of c has shape (1,), but theta has () there"),
        (
            {"W1": THETA["W1"], "dc": 1.0},
            "the gradient of theta lacks 'layers', 'c' and has 'dc', unknown to theta. As in "
            "theta, it must be of type dict with 'W1', 'layers', 'c'.",
        ),
        (gradient(d=1.0), "the gradient of theta has 'd', unknown to theta."),
        (
            gradient(layers=[ramp(2)]),
            "the gradient of layers has 1 entries. As in theta, it must be of type list with "
            "2 entries.",
        ),
        (
            gradient(layers={0: ramp(2), 1: ramp(2, 2)}),
            "the gradient of layers is of type dict. As in theta, it must be of type list",
        ),
        (gradient(layers=None), "the gradient of layers is None. As in theta"),
        (
            ramp(13),
            "the gradient of theta is one array of shape (13,) (a flat vector goes with a flat "
            "theta, whose blocks layout= can name). As in theta, it must be of type dict with",
        ),
    ],
)
def test_gradients_of_another_structure_are_refused(tree: Any, message: str) -> None:
    with pytest.raises(GradcheckInputError, match=re.escape(message)):
        describe(THETA).match(tree)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (None, "grad returned None: does it end with a return statement?"),
        (gradient(c=None), "the gradient of c is None: a gradient must be floating point"),
        (gradient(c=0), "the gradient of c is int: a gradient must be floating point; use .astype"),
        (gradient(W1=np.ones((2, 3), int)), "the gradient of W1 is int64: a gradient must be"),
        (gradient(W1=ramp(2, 3) + 0j), "the gradient of W1 is complex128: a gradient must be"),
        (gradient(W1=ramp(2, 3).astype(object)), "the gradient of W1 is object: a gradient"),
        (gradient(W1={"x": 1.0}), "the gradient of W1 is dict: a gradient must be floating point"),
        (
            gradient(W1=(2.0, ramp(2, 3))),
            "W1 is a tuple, which does not convert to one array",
        ),
        (gradient(W1=np.ma.ones((2, 3))), "the gradient of W1 is a masked array"),
    ],
)
def test_types_of_gradient_that_are_refused(tree: Any, message: str) -> None:
    with pytest.raises(GradcheckTypeError, match=re.escape(message)):
        describe(THETA).match(tree)


def test_a_long_list_of_keys_is_cut() -> None:
    theta = {f"w{i}": ramp(1) for i in range(9)}
    with pytest.raises(GradcheckInputError, match=r"'w0', .*'w5', \.\.\. and"):
        describe(theta).match({"x": ramp(1)})


def test_other_arrays_and_sequences_of_floats_are_gradients() -> None:
    parameters = describe(THETA)
    other = gradient(
        W1=Tensor(ramp(2, 3)), layers=([1.0, 2.0], ramp(2, 2, dtype=np.float16)), c=np.array(1.0)
    )
    np.testing.assert_array_equal(parameters.match(other), parameters.match(THETA))


def test_a_gradient_may_hold_nan_and_is_a_copy() -> None:
    slope = np.array([np.nan, 1.0])
    matched = describe(ramp(2)).match(slope)
    assert np.isnan(matched[0])
    assert not np.shares_memory(matched, slope)


@pytest.mark.parametrize(
    ("dtype", "eps"), [(np.float16, 2.0**-10), (np.float32, 2.0**-23), (np.float64, 2.0**-52)]
)
def test_the_coarsest_dtype_of_a_gradient_counts(dtype: Any, eps: float) -> None:
    parameters = describe([ramp(2), 1.0])
    assert parameters.gradient_eps((ramp(2, dtype=dtype), 1.0)) == eps
    # Longer ones are rounded to float64.
    assert describe(ramp(2)).gradient_eps(ramp(2, dtype=np.longdouble)) == 2.0**-52


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (np.zeros(0), r"theta is empty \(shape \(0,\)\): there is nothing to check\. Was theta"),
        ({}, r"theta holds no array: there is nothing to check"),
        (np.array([1, 2]), r"theta is int64: a parameter must be .*use \.astype\(float\)"),
        (np.ones(2, np.float16), r"theta is float16: .*\(float64 or float32\).*\.astype\(float\)"),
        (np.array([1.0, None]), r"theta is object: a parameter must be .*use an array of floats"),
        (None, r"theta is None: a parameter must be floating point"),
        ("theta", r"theta is str: a parameter must be floating point"),
        (
            np.array([1.0, np.nan, np.inf]),
            r"theta\[1\] is nan, and 1 more are not finite: there is no derivative\. A diverged "
            r"training run or an uninitialised array is the usual cause; check at a finite theta",
        ),
        (
            {"W1": np.ones((2, 2)), "b1": np.array([0.0, -np.inf])},
            r"b1\[1\] is -inf: there is no derivative",
        ),
        ({"W1": np.ones(2), "b1": np.ones(2, int)}, r"b1 is int64: a parameter must be"),
    ],
)
def test_theta(theta: Any, message: str) -> None:
    refused(message, theta=theta)


@pytest.mark.parametrize("theta", [np.array([1, 2]), None])
def test_a_theta_of_the_wrong_type_is_a_type_error(theta: Any) -> None:
    assert isinstance(refused("theta is", theta=theta), TypeError)


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (
            {"W": (2, 2)},
            r"layout= adds up to 4 entries \(W: 4\), but theta has 3, 1 fewer: is a block missing",
        ),
        ({"a": 1, "b": 1}, r"adds up to 2 entries \(a: 1 \+ b: 1\), but theta has 3, 1 more"),
        ({"W": (3, 0)}, r"layout\['W'\] is \(3, 0\): a block needs a name and a shape of positive"),
        ({}, r"layout=\{\} names no block: use a dict of names and shapes"),
        ([3], r"layout=\[3\] names no block"),
    ],
)
def test_layout(layout: Any, message: str) -> None:
    refused(message, layout=layout)


def test_layout_of_a_nest() -> None:
    refused(r"theta is a dict, which has names of its own", theta=NEST, layout={"W1": 8})


def test_numbers_beside_each_other_in_a_nest():
    theta = {"W": np.ones(2), "s": {"a": 1.0, "b": 2.0}, "t": [3.0], "u": ()}
    rebuilt = describe(theta).unflatten(np.arange(5.0))
    assert rebuilt == {"W": rebuilt["W"], "s": {"a": 2.0, "b": 3.0}, "t": [4.0], "u": ()}
    assert all(type(x) is np.float64 for x in (*rebuilt["s"].values(), *rebuilt["t"]))
    many = describe(theta).unflatten(np.arange(10.0).reshape(2, 5))
    assert many["s"]["b"].tolist() == [3.0, 8.0]
