"""Checks with fixed seeds, one line each: what a change that moves code must leave as it is.

``python -m studies.golden before.txt`` writes the lines, ``python -m studies.golden after.txt
before.txt`` compares them as well and ends with status 1 if any differs. Verdict, what is named
wrong, evaluations, relative difference, limits, noise, steps and every measured component count,
bit by bit.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import fastgradcheck as fgc
from benchmarks.problems import PROBLEMS
from tests.cases import corpus
from tests.cases.faults import FAULTS, subject
from tests.cases.jacobians import tanh_layer
from tests.cases.million import ENDS, Network, relu_cost, tanh_cost
from tests.cases.networks import NETWORKS, Overconfident
from tests.cases.oracle import CASES

Check = Callable[[], fgc.GradcheckResult]
Named = Iterator[tuple[str, Check]]

FAULTY = (
    "everything doubled",
    "block zeroed",
    "one entry off by 1e-2",
    "one entry off by 1e-4",
    "transposed",
    "last row forgotten",
    "two entries swapped",
    "regularisation missing",
)
RELEASED = 12


def oracles() -> Named:
    """Functions with a closed form, by every scheme and in float32."""
    for case, scheme in zip(CASES, ("central", "forward", "central4", "complex") * 9, strict=False):
        for dtype in (np.float64, np.float32):
            posed = case.at(dtype)
            if scheme == "complex" and dtype == np.float32:
                continue
            yield (
                f"{case.name} {scheme} {np.dtype(dtype).name}",
                lambda p=posed, s=scheme: fgc.gradcheck(
                    p.cost, p.exact.astype(p.theta.dtype), p.theta, scheme=s, seed=3
                ),
            )


def networks() -> Named:
    """Right and faulty gradients of the tests' networks, by components and by directions."""
    for number, (name, network) in enumerate(NETWORKS.items()):
        s = subject(network, number)
        rng = np.random.default_rng(number)
        gradients = {"right": s.gradient}
        gradients |= {fault: FAULTS[fault](s, rng) for fault in FAULTY}
        for place, (fault, gradient) in enumerate(gradients.items()):
            strategy = ("components", "screen")[(number + place) % 2]
            yield (
                f"{name}, {fault}, {strategy}",
                lambda s=s, g=gradient, how=strategy: fgc.gradcheck(
                    s.network.cost, g, s.theta, args=(s.data, s.targets), strategy=how, seed=5
                ),
            )


def stairs() -> Named:
    """Networks that lose their small numbers, right and with a doubled entry."""
    for seed in range(4):
        network = Overconfident(seed, 4.0)
        theta, X, y = network.drawn()
        right = network.grad(theta, X, y)
        doubled = {k: v.copy() for k, v in right.items()}
        doubled["W1"][2, 3] *= 2
        for name, gradient in (("right", right), ("doubled", doubled)):
            yield (
                f"overconfident {seed} {name}",
                lambda n=network, g=gradient, t=theta, d=(X, y): fgc.gradcheck(
                    n.cost, g, t, args=d, seed=n.seed
                ),
            )


def released() -> Named:
    """Gradients of released packages, one of every few."""
    cases = corpus.cases()
    for case in cases[:: max(1, len(cases) // RELEASED)]:
        yield case.name, lambda c=case: fgc.gradcheck(c.cost, c.grad, c.theta, seed=7)


def compiled() -> Named:
    """Costs that Numba compiles, all threads."""
    for name in ("recurrent", "logistic_digits"):
        problem = PROBLEMS[name]()
        for strategy in ("components", "screen"):
            yield (
                f"{name} {strategy}",
                lambda p=problem, how=strategy: fgc.gradcheck(
                    p.cost, p.grad, p.theta, args=p.args, strategy=how, engine="numba", seed=1
                ),
            )


def large() -> Named:
    """A million parameters, as `studies.million` has them."""
    for name, cost, relu in (("tanh", tanh_cost, False), ("relu", relu_cost, True)):
        network = Network.drawn(name, cost, relu, seed=2)
        wrong = network.grad.copy()
        wrong[[123_456, 800_000]] += np.median(np.abs(wrong))
        for kind, gradient in (("right", network.grad), ("two entries", wrong)):
            yield (
                f"{name} network of {ENDS[-1]:,}, {kind}",
                lambda n=network, g=gradient: n.check(g, 4),
            )


def sampled() -> Named:
    """Samples, bounds and a step of the user's own."""
    s = subject(NETWORKS["tanh"], 9)
    bounds = ({k: v - 1e-3 for k, v in s.theta.items()}, {k: v + 1.0 for k, v in s.theta.items()})
    for name, options in {
        "sample": {"sample": 0.3},
        "sample of blocks": {"sample": {"W1": 5, "b2": None}},
        "bounds": {"bounds": bounds},
        "bounds, screen": {"bounds": bounds, "strategy": "screen"},
        "epsilon": {"epsilon": 1e-6},
        "epsilon by block": {"epsilon": {"W1": 1e-5}},
        "complex": {"scheme": "complex", "strategy": "screen"},
    }.items():
        yield (
            name,
            lambda o=options: fgc.gradcheck(
                s.network.cost, s.gradient, s.theta, args=(s.data, s.targets), seed=6, **o
            ),
        )


def jacobians() -> Named:
    """Matrices and products of several outputs, right and wrong, and pairs of products."""
    for m, n in ((6, 9), (40, 300)):
        fun, jac, theta = tanh_layer(m, n)
        right, values = jac(theta), fun(theta)
        entry, row = right.copy(), right.copy()
        entry[3, 5] *= 1.01
        row[2] *= -1
        for fault, J in (("right", right), ("one entry", entry), ("a row", row)):
            jvp, vjp = (lambda t, v, J=J: J @ v), (lambda t, u, J=J: J.T @ u)
            for form, claim in (("matrix", J), ("jvp", jvp), ("vjp", vjp)):
                yield (
                    f"{m} x {n} {form}, {fault}",
                    lambda c=claim, f=form, F=fun, t=theta: fgc.jaccheck(F, c, t, form=f, seed=8),
                )
            yield (
                f"{m} x {n} pair, {fault}",
                lambda a=jvp, b=lambda t, u, J=right: J.T @ u, t=theta, like=values: fgc.paircheck(
                    a, b, t, like, seed=8
                ),
            )


def line(check: Check) -> str:
    """What must not change, in one line."""
    try:
        result = check()
    except fgc.GradcheckInputError as error:
        return f"{type(error).__name__}: {error}"
    content = hashlib.blake2b(result.components.tobytes(), digest_size=6)
    for block in result.blocks:
        numbers = block.limit, block.lower, block.resolution, block.step, block.norm_gradapprox
        content.update(np.array(numbers).tobytes())
        content.update(f"{block.verdict}{block.wrong}{block.worst}".encode())
    kinds = "+".join(sorted(finding.kind for finding in result.findings))
    return (
        f"{result.verdict.name} {result.evaluations} {result.relative_difference.hex()} "
        f"{result.limit.hex()} {result.noise.hex()} {','.join(result.wrong)} [{kinds}] "
        f"{content.hexdigest()}"
    )


def lines() -> Iterator[str]:
    """All checks."""
    for family in (oracles, networks, stairs, released, compiled, large, sampled, jacobians):
        for name, check in family():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield f"{name} | {line(check)}"


def main(argv: list[str] | None = None) -> int:
    """Write the lines to a file, and compare them with another."""
    paths = [Path(path) for path in (argv or sys.argv)[1:]]
    found = list(lines())
    paths[0].write_text("\n".join(found) + "\n", "utf-8")
    if len(paths) < 2:
        print(f"{len(found)} checks")
        return 0
    before = dict(text.split(" | ", 1) for text in paths[1].read_text("utf-8").splitlines())
    after = dict(text.split(" | ", 1) for text in found)
    different = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    for name in different:
        print(f"{name}\n  before: {before.get(name)}\n  after:  {after.get(name)}")
    print(f"{len(after) - len(different)} of {len(found)} checks are as they were")
    return int(bool(different))


if __name__ == "__main__":
    raise SystemExit(main())
