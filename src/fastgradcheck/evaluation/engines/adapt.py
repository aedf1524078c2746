"""The user's cost as one native function of a flat theta.

Where a cost takes a flat theta and plain args, it serves as it is. Where it takes a nest of arrays,
nests in args, default arguments or types of its own declaration, a small function of fixed arity is
generated, which rebuilds the user's structures and calls it. A function of several outputs returns
a vector: where they are anything else, the generated function copies them into one.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.registry import CPUDispatcher

from fastgradcheck.errors import GradcheckTypeError
from fastgradcheck.problem.outputs import Outputs
from fastgradcheck.problem.parameters import Parameters
from fastgradcheck.problem.problem import Objective
from fastgradcheck.problem.structure import Flat, Leaf, Node, Structure, items_of, kind_of


@dataclass(frozen=True, eq=False)
class Native:
    """A cost with exactly one signature.

    Attributes
    ----------
    function : numba dispatcher
        Takes a flat theta and `args`; to be passed to the kernels of `type`.
    type : numba FunctionType
    dtype : numpy.dtype
        Of the flat theta.
    args : tuple
        The leaves of the user's args.
    arg_types : tuple of numba types
    parallel : bool
        The cost, or something that it calls, starts threads of Numba's.
    cacheable : bool
        False if a type has no name that lasts beyond this process.
    """

    function: Any
    type: types.FunctionType
    dtype: np.dtype[Any]
    args: tuple[Any, ...]
    arg_types: tuple[types.Type, ...]
    parallel: bool
    cacheable: bool


def jitted(cost: Callable[..., Any]) -> Any:
    """The cost as a Numba dispatcher; nothing is compiled yet.

    Raises
    ------
    GradcheckTypeError
        If Numba cannot take it.
    """
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        raise GradcheckTypeError(
            "NUMBA_DISABLE_JIT is set, so that Numba compiles nothing: unset it, or use "
            'engine="python".'
        )
    if isinstance(cost, CPUDispatcher):
        if cost.targetoptions.get("forceobj"):
            raise GradcheckTypeError(
                "cost is compiled in object mode (forceobj=True), which is no faster than Python: "
                'use numba.njit, or engine="python" with the plain function.'
            )
        return cost
    try:
        return numba.njit(cost)
    except TypeError as exc:
        raise GradcheckTypeError(
            f"cost is {type(cost).__name__}, and Numba compiles plain functions only: "
            'wrap it in a def, or use engine="python".'
        ) from exc


def adapt(objective: Objective, dispatcher: Any, dtype: np.dtype[Any]) -> Native:
    """Compile the cost for a flat theta of this dtype.

    Parameters
    ----------
    objective : Objective
    dispatcher : numba dispatcher
        Of the objective's cost.
    dtype : numpy.dtype
        float64, float32, or complex128 for the complex step.

    Raises
    ------
    GradcheckTypeError
        If Numba cannot type theta, one of the args or the cost, or if the cost returns anything
        but a scalar (a complex one for complex theta, a real one otherwise), or outputs in
        anything but arrays, numbers, and tuples of them.
    """
    theta = numba.from_dtype(dtype)[::1]
    source = _Source(objective.parameters)
    paths = _numbered("args", len(objective.args))
    arguments = list(map(source.argument, objective.args, paths))
    theta_text = source.theta(objective.parameters.structure)
    arg_types = tuple(_type_of(leaf, path) for path, leaf in source.leaves)
    signature = (theta, *arg_types)
    outputs = None if objective.outputs is None else objective.outputs.returned
    plain = [theta_text, *arguments] == ["theta", *source.names]
    plain = plain and (outputs is None or _is_flat(outputs))
    if plain and _takes_as_it_is(dispatcher, signature):
        function = dispatcher
    else:
        function = source.function(dispatcher, theta_text, arguments, outputs)
    result = _compile(function, signature, objective.name)
    returned = result.signature.return_type
    if outputs is None:
        _check_result(returned, complex_theta=dtype.kind == "c")
    elif not (_is_number(returned) or _is_vector(returned)):
        raise GradcheckTypeError(
            f"{objective.name} returns {returned}, but the compiled loop takes arrays of numbers: "
            'return the same array on every path, or use engine="python".'
        )
    return Native(
        function=function,
        type=types.FunctionType(result.signature),
        dtype=dtype,
        args=tuple(leaf for _, leaf in source.leaves),
        arg_types=arg_types,
        parallel=_starts_threads(result.library),
        cacheable=all(map(_has_lasting_name, arg_types)),
    )


class _Source:
    """Text that rebuilds the user's theta and args from a flat theta and the leaves of args."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.leaves: list[tuple[str, Any]] = []
        self.constants: dict[str, Any] = {}

    @property
    def names(self) -> list[str]:
        return [f"leaf{i}" for i in range(len(self.leaves))]

    def theta(self, structure: Structure) -> str:
        match structure:
            case Flat():
                return "theta"
            case Leaf():
                block = self.parameters.blocks[structure.block]
                if structure.scalar:
                    return f"theta[{block.start}]"
                return f"theta[{block.start}:{block.stop}].reshape({block.shape})"
            case Node(kind="tuple" | "namedtuple"):
                return self._tuple(structure.type, map(self.theta, structure.children))
            case _:
                raise GradcheckTypeError(
                    f"theta holds a {structure.kind}, and Numba cannot pass a {structure.kind} of "
                    "arrays to a compiled cost: use a NamedTuple of arrays, or one flat array "
                    'with layout=, or engine="python" with a plain Python cost.'
                )

    def argument(self, arg: Any, path: str) -> str:
        if isinstance(arg, tuple):
            fields = getattr(arg, "_fields", None)
            paths = [f"{path}.{name}" for name in fields] if fields else _numbered(path, len(arg))
            return self._tuple(type(arg), map(self.argument, arg, paths))
        if isinstance(arg, CPUDispatcher):
            return self._constant(arg)
        self.leaves.append((path, arg))
        return self.names[-1]

    def function(
        self, dispatcher: Any, theta: str, arguments: list[str], outputs: Outputs | None
    ) -> Any:
        """The generated function, used only where it is needed."""
        call = f"cost({', '.join([theta, *arguments])})"
        lines = [f"return {call}"] if outputs is None else _flattened(call, outputs)
        head = f"def cost_of_flat_theta({', '.join(['theta', *self.names])}):"
        text = "\n    ".join([head, *lines]) + "\n"
        return _generated(text, dispatcher, tuple(self.constants.items()))

    def _tuple(self, kind: type, parts: Iterator[str]) -> str:
        constructor = "" if kind is tuple else self._constant(kind)
        return f"{constructor}({''.join(f'{part}, ' for part in parts)})"

    def _constant(self, value: Any) -> str:
        name = f"constant{len(self.constants)}"
        self.constants[name] = value
        return name


def _is_flat(outputs: Outputs) -> bool:
    """Whether a function returns a vector, or a number that is none in an array."""
    ((path, shape), *more) = outputs.paths
    return not more and not path and len(shape) == isinstance(outputs.like, np.ndarray)


def _flattened(call: str, outputs: Outputs) -> list[str]:
    """Lines that copy several outputs into a vector: an empty one if their shapes have changed."""
    lines = [f"value = {call}", f"flat = np.empty({outputs.size}, theta.dtype)"]
    start = 0
    for path, shape in outputs.paths:
        part, like = "value", outputs.like
        for key in path:
            kind = kind_of(like)
            if kind not in ("tuple", "namedtuple"):
                break
            part += f"[{key}]" if kind == "tuple" else f".{key}"
            like = items_of(like)[0][key]
        if kind_of(like) is not None:
            raise GradcheckTypeError(
                f"{outputs.function} returns a {kind_of(like)}, and the compiled loop takes "
                "arrays, and tuples or NamedTuples of them: return one of these, or use "
                'engine="python".'
            )
        size = math.prod(shape)
        if isinstance(like, np.ndarray):
            lines.append(f"if {part}.shape != {shape}:")
            lines.append("    return flat[:0]")
            lines.append(f"flat[{start}:{start + size}] = {part}.ravel()")
        else:
            lines.append(f"flat[{start}] = {part}")
        start += size
    return [*lines, "return flat"]


@lru_cache(maxsize=16)
def _generated(text: str, dispatcher: Any, constants: tuple[tuple[str, Any], ...]) -> Any:
    """Numba cannot cache generated code on disk; the next check of this cost finds it here."""
    namespace = {"cost": dispatcher, "np": np, **dict(constants)}
    exec(text, namespace)
    return numba.njit(namespace["cost_of_flat_theta"])


def _numbered(path: str, count: int) -> list[str]:
    return [f"{path}[{i}]" for i in range(count)]


@lru_cache(maxsize=16)
def _starts_threads(library: Any) -> bool:
    """Read off the code itself, which takes 5 ms.

    Not from `inspect_llvm`: it knows nothing of a cost that was loaded from Numba's cache.
    """
    return "numba_parallel_for" in str(library._get_module_for_linking())


def _takes_as_it_is(dispatcher: Any, signature: tuple[types.Type, ...]) -> bool:
    """True if the cost has just these parameters and may be compiled for them."""
    parameters = inspect.signature(dispatcher.py_func).parameters.values()
    fixed = len(parameters) == len(signature) and not any(
        parameter.kind in (parameter.VAR_POSITIONAL, parameter.KEYWORD_ONLY)
        for parameter in parameters
    )
    return fixed and (dispatcher._can_compile or signature in dispatcher.overloads)


def _type_of(leaf: Any, path: str) -> Any:
    advice = "pass arrays, scalars, strings, or tuples and NamedTuples of them"
    name = type(leaf).__name__
    if isinstance(leaf, list | set):
        raise GradcheckTypeError(
            f"{path} is a {name}, which Numba copies at every call: {advice} (or numba.typed.List)."
        )
    kind: Any
    try:
        kind = numba.typeof(leaf)  # type: ignore[no-untyped-call]
    except Exception:
        kind = None
    # The last two have a type, but there is no code for them.
    if kind is None or getattr(kind, "dtype", kind) in (types.float16, types.pyobject):
        what = f"an array of {leaf.dtype}" if isinstance(leaf, np.ndarray) else f"a {name}"
        raise GradcheckTypeError(
            f"{path} is {what}, which Numba cannot type: {advice}, or use "
            'engine="python" with a plain Python cost.'
        )
    return kind


def _compile(function: Any, signature: tuple[types.Type, ...], name: str) -> Any:
    try:
        function.compile(signature)
    except Exception as exc:
        listing = ", ".join(map(str, signature))
        raise GradcheckTypeError(
            f"Numba cannot compile {name} for ({listing}): {_reason(exc)}. Make it compile when it "
            'is called with these types, or use engine="python" with a plain Python function.'
        ) from exc
    return function.overloads[signature]


def _reason(exc: Exception) -> str:
    """The useful line of one of Numba's pages, with the place in the user's code."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", str(exc)).splitlines()]
    useful = [line for line in lines if line and not line.startswith("Failed in nopython mode")]
    reason = useful[0] if useful else type(exc).__name__
    specific = [i for i, line in enumerate(useful) if line.endswith("specific error:")]
    if specific and specific[0] + 1 < len(useful):
        reason = useful[specific[0] + 1]
    elif reason.endswith("signature:") and len(useful) > 1:
        reason = f"{reason.removesuffix(' found for signature:')} for {useful[1].lstrip('> ')}"
    place = next((line for line in useful if re.fullmatch(r'File ".*", line \d+:', line)), "")
    return f"{reason.rstrip('.:')}{f' ({place[:-1]})' if place else ''}"


def _check_result(result: types.Type, complex_theta: bool) -> None:
    if isinstance(result, types.Complex):
        if not complex_theta:
            raise GradcheckTypeError(
                f"cost returns {result}, but a gradient check needs a real scalar: return its "
                "real part or its absolute value."
            )
    elif not _is_number(result):
        raise GradcheckTypeError(
            f"cost returns {result}, but a gradient check needs a real scalar: "
            "return one number on every path (an array: its sum or mean; none: is there a return?)."
        )
    elif complex_theta:
        raise GradcheckTypeError(
            f"cost returns {result} for complex theta: the imaginary part, which carries the "
            "derivative, is dropped on the way."
        )


def _is_number(kind: types.Type) -> bool:
    return isinstance(kind, types.Number | types.Boolean)


def _is_vector(kind: types.Type) -> bool:
    return isinstance(kind, types.Array) and kind.ndim == 1 and _is_number(kind.dtype)


def _has_lasting_name(kind: types.Type) -> bool:
    plain = (types.Number, types.Boolean, types.NoneType, types.UnicodeType)
    return isinstance(kind, plain) or (
        isinstance(kind, types.Array) and isinstance(kind.dtype, plain)
    )
