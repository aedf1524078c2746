"""Networks in float32 after some training: the sums of their gradients cancel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tests.cases.networks import Array, Network, Parameters


@dataclass(frozen=True, eq=False)
class Trained:
    """A network, where training left it, and its data.

    Attributes
    ----------
    network : Network
    theta : dict of float32 arrays
    args : pair of float32 arrays
    """

    network: Network
    theta: Parameters
    args: tuple[Array, Array]

    def grad(self, theta: Any, data: Any, targets: Any) -> Parameters:
        return self.network.grad(theta, data, targets)

    def single(self, theta: Any, data: Any, targets: Any) -> Parameters:
        """The gradient in float32, whatever it is given."""
        given = {name: np.asarray(part, np.float32) for name, part in theta.items()}
        return self.network.grad(given, data.astype(np.float32), targets.astype(np.float32))


def trained(seed: int, steps: int, sizes: tuple[int, ...] = (8, 16, 3), **kind: Any) -> Trained:
    """A network that went down its own gradient for so many steps."""
    network = replace(Network(sizes), **kind)
    theta = network.initial(seed, np.float32)
    rng = np.random.default_rng(seed + 500)
    data = rng.normal(size=(128, sizes[0])).astype(np.float32)
    labels = np.argmax(data @ rng.normal(size=(sizes[0], sizes[-1])), axis=1)
    targets = np.eye(sizes[-1], dtype=np.float32)[labels]
    for _ in range(steps):
        gradient = network.grad(theta, data, targets)
        theta = {name: theta[name] - np.float32(0.5) * gradient[name] for name in theta}
    return Trained(network, theta, (data, targets))
