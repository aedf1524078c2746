"""The outputs of a function as JSON: keys and shapes of the nest that it returns, and names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.problem.outputs import Outputs, describe_outputs
from fastgradcheck.problem.parameters import blocks_of
from fastgradcheck.problem.structure import items_of, kind_of


class Unknown(dict[Any, Any]):
    """In the place of a nest of a class that a file does not hold."""


def outlined(outputs: Outputs) -> dict[str, Any]:
    """What a file tells of outputs."""
    return {
        "like": _outline(outputs.like),
        "blocks": [[block.name, list(block.shape)] for block in outputs.blocks],
        "function": outputs.function,
    }


def restored(told: dict[str, Any]) -> Outputs:
    """The outputs of which `outlined` told."""
    found = describe_outputs(_filled(told["like"]), None, str(told["function"]))
    blocks = blocks_of((str(name), tuple(map(int, shape))) for name, shape in told["blocks"])
    if blocks[-1].stop != found.size:
        raise ValueError("blocks of another size")
    return replace(found, blocks=blocks)


def holds_unknown(value: Any) -> bool:
    """Whether a nest of outputs holds one of a class that is not known here."""
    nested = kind_of(value) is not None
    return isinstance(value, Unknown) or (
        nested and any(holds_unknown(child) for child in items_of(value)[0].values())
    )


def _outline(value: Any) -> Any:
    """The shape of an array; of a nest, its kind and what it holds."""
    kind = kind_of(value)
    if kind is None:
        return list(np.shape(value))
    items = items_of(value)[0]
    if not all(isinstance(key, str | int) for key in items):
        raise GradcheckInputError(
            "the function returns a nest by keys that are neither text nor whole numbers: its "
            "fingerprint cannot be written to a file."
        )
    inner = [[key, _outline(child)] for key, child in items.items()]
    return {"kind": kind if kind in ("dict", "list", "tuple") else "other", "items": inner}


def _filled(outline: Any) -> Any:
    """A nest of zeros of this outline."""
    if isinstance(outline, list):
        return np.zeros(tuple(map(int, outline)))
    items = {key: _filled(inner) for key, inner in outline["items"]}
    match outline["kind"]:
        case "dict":
            return items
        case "list":
            return list(items.values())
        case "tuple":
            return tuple(items.values())
    return Unknown(items)
