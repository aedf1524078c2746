"""What the failed blocks have in common by their place in the network."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from fastgradcheck.diagnosis.field import Candidate, Setting, listed
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.verdict.verdict import BlockResult, Verdict

# Blocks explained, then whether the pattern is one of values, then digits: the most useful first.
Ranked = tuple[tuple[int, int, float], Finding]


def structure(setting: Setting, found: Mapping[str, Candidate]) -> Iterator[Ranked]:
    """What the failed blocks have in common by their place in the network."""
    # A block that agrees since it is zero to the resolution says nothing of where a fault enters.
    known = [
        r
        for r in setting.results
        if r.verdict is Verdict.WRONG or (r.verdict is Verdict.AGREES and r.limit < 1.0)
    ]
    wrong = [result for result in known if result.verdict is Verdict.WRONG]
    for pattern in (_depth_of_factors, _depth, _backward, _steps, _biases, _inputs):
        finding = pattern(known, wrong, found)
        if finding is not None:
            first = 2 if pattern is _depth_of_factors else 0
            yield (len(wrong), first, -float(len(wrong))), finding
            return


def _is_weight(result: BlockResult) -> bool:
    return len(result.shape) > 1


def _depth_of_factors(
    known: Sequence[BlockResult], wrong: Sequence[BlockResult], found: Mapping[str, Candidate]
) -> Finding | None:
    """Each backward step multiplies by the same number once more."""
    layers = [result for result in known if _is_weight(result)]
    factors: list[float] = []
    widths: list[float] = []
    for result in layers:
        if result.verdict is Verdict.AGREES:
            factors.append(1.0)
            widths.append(result.limit)
        elif result.name in found and found[result.name].kind == "factor":
            factors.append(found[result.name].value)
            widths.append(found[result.name].half_width)
        else:
            return None
    if len(factors) < 3:
        return None
    growth = [a / b for a, b in itertools.pairwise(factors)]
    slack = 8.0 * max(width / abs(factor) for width, factor in zip(widths, factors, strict=True))
    if slack > 1e-3 or any(abs(step / growth[0] - 1.0) > slack for step in growth):
        return None
    if abs(growth[0] - 1.0) <= slack:
        return None
    shown = ", ".join(f"{f:.6g} in {r.name}" for f, r in zip(factors, layers, strict=True))
    return Finding(
        "depth",
        f"The factor grows with depth: {shown}. Each backward step multiplies by another "
        f"{growth[0]:.6g}: look at what every layer does to delta (its activation's derivative, a "
        "dropout or residual scale).",
        Rank.BUG,
    )


def _depth(
    known: Sequence[BlockResult], wrong: Sequence[BlockResult], found: Mapping[str, Candidate]
) -> Finding | None:
    """The difference grows evenly with every layer further from the output."""
    layers: list[list[BlockResult]] = []
    for result in known:
        if _is_weight(result) or not layers:
            layers.append([])
        layers[-1].append(result)
    # Three numbers in order are no evidence: five blocks must follow, biases with their weights.
    if len(layers) < 3 or len(wrong) < max(5, len(known)):
        return None
    sizes = [max(result.relative_difference for result in layer) for layer in layers]
    least = [min(result.relative_difference for result in layer) for layer in layers]
    if not all(size <= 10.0 * small for size, small in zip(sizes, least, strict=True)):
        return None
    steps = [a / b for a, b in itertools.pairwise(sizes)]
    if not 3.0 <= min(steps) <= max(steps) <= min(steps) ** 2:
        return None
    shown = ", ".join(
        f"{size:.2g} in {layer[0].name}" for size, layer in zip(sizes, layers, strict=True)
    )
    return Finding(
        "depth",
        f"The relative difference grows with depth: {shown}. A small error in every backward step "
        "most likely adds up: look at the derivative of the activation and at saturating or "
        "clipped values.",
        Rank.BUG,
    )


def _backward(
    known: Sequence[BlockResult], wrong: Sequence[BlockResult], found: Mapping[str, Candidate]
) -> Finding | None:
    """All is wrong up to some block, all is right after it."""
    if not 2 <= len(wrong) < len(known) or not any(map(_is_weight, wrong)):
        return None
    if [result.verdict for result in known[: len(wrong)]].count(Verdict.WRONG) < len(wrong):
        return None
    last, first = wrong[-1].name, known[len(wrong)].name
    more = ", the argmax of a pooling layer" if any(len(r.shape) > 2 for r in wrong) else ""
    more += ", the range of a loop over time" if _shared(wrong, known) else ""
    return Finding(
        "backward",
        f"Every block up to {last} is wrong, and every block from {first} on agrees: the fault "
        f"most likely enters in the backward step from the layer of {first} to that of {last} "
        f"(delta times the weights, times the activation's derivative{more}), and "
        "back-propagation carries it on.",
        Rank.BUG,
    )


def _steps(
    known: Sequence[BlockResult], wrong: Sequence[BlockResult], found: Mapping[str, Candidate]
) -> Finding | None:
    """A recurrent layer is wrong but for the weights of its state, which begins with zero."""
    agree = [r for r in known if _is_weight(r) and r not in wrong]
    states = [r for r in agree if len(set(r.shape)) == 1 and _bias_of(r, known) in wrong]
    if len(states) != 1 or len(found) == len(wrong):
        return None
    bias = _bias_of(states[0], known)
    layer = [bias, *(r for r in known if _is_weight(r) and _bias_of(r, known) == bias)]
    inputs = [r for r in layer if r in wrong and r is not bias]
    if not inputs or any(r not in layer for r in wrong):
        return None
    names = listed([r.name for r in wrong])
    return Finding(
        "steps",
        f"{names} are wrong, and {states[0].name}, made of the same delta, agrees. Where the state "
        "is zero, at the first step in time, only they change: the loop over time most likely "
        "leaves that step out (off by one in time).",
        Rank.BUG,
    )


def _shared(wrong: Sequence[BlockResult], known: Sequence[BlockResult]) -> bool:
    """Whether several weights have one bias, as those of input and state of a recurrent layer."""
    biases = [bias.name for r in wrong if _is_weight(r) and (bias := _bias_of(r, known))]
    return len(set(biases)) < len(biases)


def _biases(
    known: Sequence[BlockResult], wrong: Sequence[BlockResult], found: Mapping[str, Candidate]
) -> Finding | None:
    """Biases and nothing else, although delta is right: the weights made of it agree."""
    if not wrong or len(wrong) == len(known) or len(found) == len(wrong):
        return None
    partners = [_weights_of(result, known) for result in wrong]
    if not all(partners) or any(map(_is_weight, wrong)):
        return None
    names = listed([result.name for result in wrong])
    all_of_them = len(wrong) == sum(not _is_weight(result) for result in known)
    return Finding(
        "biases",
        f"Only {'the ' if all_of_them else ''}biases are wrong ({names})"
        f"{', all of them' if all_of_them else ''}, and the weights made of the same delta agree: "
        "look at the sum of delta over the examples. Is it over the wrong axis, or lacks its 1/m?",
        Rank.BUG,
    )


def _inputs(
    known: Sequence[BlockResult], wrong: Sequence[BlockResult], found: Mapping[str, Candidate]
) -> Finding | None:
    """Weights and nothing else, although delta is right: their biases agree."""
    if not wrong or len(found) == len(wrong) or not all(map(_is_weight, wrong)):
        return None
    biases = [_bias_of(result, known) for result in wrong]
    if any(bias is None or bias in wrong for bias in biases):
        return None
    sharing = [
        r for r in known if _is_weight(r) and r not in wrong and _bias_of(r, known) in biases
    ]
    if any(len(result.shape) > 2 for result in wrong):
        look = "the patches that a convolution sees, or the argmax of a pooling layer"
    elif sharing:
        look = "the input or the state of another step (off by one in time)"
    else:
        look = "stale activations, or values before the activation in place of those after it"
    names = listed([result.name for result in wrong])
    agree = listed(list(dict.fromkeys(r.name for r in [*biases, *sharing] if r is not None)))
    return Finding(
        "inputs",
        f"{names} {'is' if len(wrong) == 1 else 'are'} wrong, and {agree}, made of the same delta, "
        f"{'agrees' if ',' not in agree else 'agree'}: delta is most likely right, and the other "
        f"factor, the input of the layer, is not. Look for {look}.",
        Rank.BUG,
    )


def _bias_of(weight: BlockResult, known: Sequence[BlockResult]) -> BlockResult | None:
    """The bias of a layer: of the weight's own name but for the letter, else the next that fits."""
    fits = [r for r in known if len(r.shape) == 1 and r.size in weight.shape]
    named = [r for r in fits if _layer(r.name) == _layer(weight.name)]
    after = [r for r in fits if known.index(r) > known.index(weight)]
    return next(iter(named or after), None)


def _weights_of(bias: BlockResult, known: Sequence[BlockResult]) -> list[BlockResult]:
    """The weights that agree among those of which this is the bias."""
    agree = [r for r in known if _is_weight(r) and r.verdict is Verdict.AGREES]
    return [weight for weight in agree if _bias_of(weight, known) == bias]


def _layer(name: str) -> str:
    """What the names of a layer's blocks have in common.

    Examples
    --------
    >>> _layer("W1") == _layer("b1"), _layer("fc.0.weight") == _layer("fc.0.bias")
    (True, True)
    """
    return re.sub(r"weights?|kernel|bias(es)?|(?<![^\W_\d])[Wwb](?![^\W_\d])", "", name)
