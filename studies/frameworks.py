"""Networks of torch: reach, planted faults, low precision, many points in one call.

``python -m studies.frameworks`` measures everything and rewrites the tables of docs/performance.md;
with the names of sections (conv, transformer, low, vectorized), only these.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import fastgradcheck as fgc
import fastgradcheck.torch as fgt
from studies import tables
from tests.cases.layers import FAULTS, Layer

PAGE = tables.ROOT / "docs" / "performance.md"
INPUTS = 100
"""Draws of the low-precision table."""


class Transformer(nn.Module):
    """Twelve layers, 10 million parameters; the last layer is a function of ours."""

    def __init__(self, fault: str = "", size: int = 256, layers: int = 12, words: int = 1000):
        super().__init__()
        self.words = nn.Embedding(words, size)
        self.places = nn.Parameter(torch.randn(8, size) / 50)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                size, 4, 4 * size, 0.0, "gelu", batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.last = Layer(size, fault)
        self.out = nn.Linear(size, words, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.words(x) + self.places
        for layer in self.layers:
            h = layer(h)
        h = self.last(h.flatten(0, 1))
        result: torch.Tensor = self.out(torch.tanh(h))
        return result


def convolutional(fault: str = "") -> nn.Module:
    """300,000 parameters; the first fully connected layer is a function of ours."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        Layer(512, fault),
        nn.GELU(),
        nn.Linear(512, 64),
    )


def entropy(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cross-entropy."""
    return nn.functional.cross_entropy(net(x), y)


def reach(name: str, build: Callable[[str], nn.Module], draw: Callable[[], Any]) -> None:
    """A right network, and one fault of each kind."""
    rows = []
    for fault in ("", *FAULTS):
        torch.manual_seed(0)
        net, (x, y) = build(fault), draw()
        began = time.perf_counter()
        result = fgt.gradcheck(entropy, net, args=(x, y), seed=0)
        seconds = time.perf_counter() - began
        wrong = ", ".join(b.name for b in result.blocks if b.verdict.name == "WRONG")
        pattern = next((f.kind for f in result.findings if f.rank.name == "BUG"), "")
        rows.append(
            [fault or "none", result.verdict.name, wrong, pattern, result.evaluations, seconds]
        )
        print(*rows[-1], flush=True)
        # After every row: with 10 million parameters one takes minutes.
        said = [[*row[:5], f"{row[5]:.0f} s"] for row in rows]
        titles = ["wrong in a backward pass", "verdict", "blocks", "pattern", "evaluations", "time"]
        text = f"n = {result.size:,}, float32.\n\n{tables.table(titles, said)}"
        tables.write(name, text, PAGE)


# Low precision


class Spoiled(torch.autograd.Function):
    """The identity, with a backward pass that spoils the gradient."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, spoil: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        ctx.spoil = spoil
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> Any:
        return ctx.spoil(slopes[0].clone()), None


def scaled(part: Any, factor: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """A part of the gradient, multiplied."""

    def spoil(slope: torch.Tensor) -> torch.Tensor:
        slope[part] *= factor
        return slope

    return spoil


class Attention(nn.Module):
    """Four heads of 16 channels over 16 steps, in bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Parameter(torch.randn(1, 4, 16, 16)) for _ in range(3))

    def forward(self, spoil: Any = None, of: str = "") -> torch.Tensor:
        q, k, v = (
            Spoiled.apply(tensor, spoil) if spoil and name == of else tensor
            for name, tensor in self.named_parameters()
        )
        result: torch.Tensor = torch.softmax(q @ k.mT / 4, -1) @ v
        return result


class Entropy(nn.Module):
    """A linear layer before cross-entropy: 64 examples, 32 channels, 80 classes."""

    def __init__(self) -> None:
        super().__init__()
        self.x, self.w = nn.Parameter(torch.randn(64, 32)), nn.Parameter(torch.randn(80, 32) / 6)

    def forward(self, spoil: Any = None, of: str = "") -> torch.Tensor:
        x, w = (
            Spoiled.apply(tensor, spoil) if spoil and name == of else tensor
            for name, tensor in self.named_parameters()
        )
        return x @ w.T


def attended(net: nn.Module, weight: torch.Tensor, *spoil: Any) -> torch.Tensor:
    """Attention, weighted."""
    return (net(*spoil) * weight).sum()


def crossed(net: nn.Module, y: torch.Tensor, *spoil: Any) -> torch.Tensor:
    """Cross-entropy of a linear layer, whose gradient may be spoiled."""
    return nn.functional.cross_entropy(net(*spoil), y)


EVERYTHING = (slice(None),)
SPOILS: dict[str, dict[str, Any]] = {
    "right": {},
    "negated": {"both": scaled(EVERYTHING, -1.0)},
    "zeroed": {"both": scaled(EVERYTHING, 0.0)},
    "40 times too large": {"both": scaled(EVERYTHING, 40.0)},
    "10 % off in one head": {"attention": scaled((slice(None), 1), 0.9)},
    "one tile dropped": {
        "attention": scaled((Ellipsis, slice(8, 16), slice(0, 8)), 0.0),
        "cross-entropy": scaled((slice(16, 32), slice(0, 16)), 0.0),
    },
}
KERNELS: dict[str, tuple[Callable[[], nn.Module], Any, Callable[[], torch.Tensor]]] = {
    "attention": (Attention, attended, lambda: torch.randn(1, 4, 16, 16).bfloat16()),
    "cross-entropy": (Entropy, crossed, lambda: torch.randint(0, 80, (64,))),
}


def low() -> None:
    """Right and planted backward passes in bfloat16, over many inputs."""
    rows = []
    for kernel, (build, loss, draw) in KERNELS.items():
        for spoil, of in SPOILS.items():
            change = of.get("both", of.get(kernel))
            if spoil != "right" and change is None:
                continue
            rows.append(low_row(kernel, build, loss, draw, spoil, change))
            print(*rows[-1], flush=True)
    titles = [
        "kernel", "backward pass", "AGREES / UNDECIDED / WRONG", "with a yardstick",
        "passes atol=5, rtol=50", "evaluations, median",
    ]  # fmt: skip
    text = f"{INPUTS} inputs each, bfloat16, J in float64.\n\n{tables.table(titles, rows)}"
    tables.write("low precision", text, PAGE)


def low_row(
    kernel: str, build: Any, loss: Any, draw: Any, spoil: str, change: Any
) -> Sequence[Any]:
    """One row: a kernel, and what is wrong with it."""
    counts = Counter[str](), Counter[str]()
    passes, evaluations = 0, []
    for seed in range(INPUTS):
        torch.manual_seed(seed)
        net, data = build().bfloat16(), draw()
        names = [name for name, _ in net.named_parameters()]
        name = names[seed % len(names)]

        def planted(net: Any, data: Any, change: Any = change, name: str = name) -> torch.Tensor:
            return loss(net, data, change, name)

        for count, yardstick in zip(counts, (None, loss), strict=True):
            result = fgt.gradcheck(
                planted, net, args=(data,), reference=loss, yardstick=yardstick, seed=seed
            )
            count[result.verdict.name] += 1
            evaluations.append(result.evaluations)
        passes += liger(net, data, loss, planted)
    told = [" / ".join(str(c[v]) for v in ("AGREES", "UNDECIDED", "WRONG")) for c in counts]
    return [kernel, spoil, *told, f"{passes} of {INPUTS}", int(np.median(evaluations))]


def liger(net: nn.Module, data: Any, loss: Any, planted: Any) -> bool:
    """Whether the gradients pass beside eager ones by ``torch.allclose(atol=5, rtol=50)``."""
    parameters = list(net.parameters())
    pairs = [torch.autograd.grad(f(net, data), parameters) for f in (planted, loss)]
    return all(
        torch.allclose(a.float(), b.float(), atol=5, rtol=50) for a, b in zip(*pairs, strict=True)
    )


# Many points in one call


def trajectory(theta: Any) -> Any:
    """A predator-prey model by 2,000 Python steps."""
    a, b, c, d = np.moveaxis(np.asarray(theta), -1, 0)
    x, y = np.full_like(a, 1.0), np.full_like(a, 0.5)
    for _ in range(2000):
        x, y = x + 1e-3 * x * (a - b * y), y + 1e-3 * y * (c * x - d)
    return (x - 1.2) ** 2 + (y - 0.8) ** 2


def vectorized() -> None:
    """Seconds per point of an ODE, one point after the other and 64 in one call."""
    theta = np.array([1.1, 0.4, 0.1, 0.4])
    points = theta * (1 + 1e-3 * np.random.default_rng(0).normal(size=(64, 4)))
    alone, together = [], []
    for _ in range(5):
        began = time.perf_counter()
        single = np.array([float(trajectory(point)) for point in points[:16]])
        alone.append((time.perf_counter() - began) / 16)
        began = time.perf_counter()
        many = trajectory(points)
        together.append((time.perf_counter() - began) / 64)
    apart = float(np.max(np.abs(many[:16] - single) / np.abs(single)))
    numeric = fgc.numerical_gradient(lambda t: float(trajectory(t)), theta)
    result = fgc.gradcheck(trajectory, numeric.value, theta, vectorized=True, seed=0)
    faster = float(np.median(alone) / np.median(together))
    text = (
        f"An ODE of 2,000 Python steps: {np.median(alone) * 1e3:.2g} ms per point one after the "
        f"other, {np.median(together) * 1e3:.2g} ms with 64 in one call, {faster:.0f} times less; "
        f"values differ by {apart:.0e} at most. The check with `vectorized=True`: "
        f"{result.verdict.name} in {result.evaluations} evaluations."
    )
    print(text)
    tables.write("vectorized", text, PAGE)


def images() -> Any:
    """Four small images of 64 classes."""
    return torch.randn(4, 3, 16, 16), torch.randint(0, 64, (4,))


def sentences() -> Any:
    """Eight words, and the next ones."""
    return torch.randint(0, 1000, (1, 8)), torch.randint(0, 1000, (8,))


SECTIONS: dict[str, Callable[[], None]] = {
    "conv": lambda: reach("conv", convolutional, images),
    "transformer": lambda: reach("transformer", Transformer, sentences),
    "low": low,
    "vectorized": vectorized,
}


def main(argv: Sequence[str]) -> None:
    """Measure the sections named, or all."""
    assert Path(PAGE).exists()
    for name in argv or SECTIONS:
        SECTIONS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
