"""Modules for the command line to check, and the command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "src"


# J = sum of theta_i^3 / 3, whose gradient is theta_i^2.
MODEL = """
    import numpy as np

    theta = np.array([1.0, -2.0, 3.0])

    def cost(theta):
        return float(np.sum(theta**3) / 3)

    def grad(theta):
        return theta**2
"""


NJIT = """
    import numpy as np
    from numba import njit

    theta = np.array([3.0])
    grad = 2 * theta

    @njit(cache=True)
    def cost(theta):
        return theta[0] ** 2
"""


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return path


def planted(text: str = MODEL) -> str:
    """The model, with 0.5 too much in the gradient's entry 1."""
    return text.replace("return theta**2", "return theta**2 + np.array([0.0, 0.5, 0.0])")


def wait_for(path: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.05)


def command(*argv: str, **options) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), **options.pop("env", {})}
    return subprocess.Popen(
        [sys.executable, "-m", "fastgradcheck", *argv],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


FILES = {
    "model.py": MODEL,
    "named.py": MODEL.replace("def grad", "def gradient"),
    "half.py": "def fun(t): return t\ndef grad(t): return t\ntheta = [1.0]\n",
    "bare.py": MODEL + "\n    args = 3.0\n",
    "raises.py": "1 / 0",
    "broken.py": "def (:",
    "exits.py": "import sys\nsys.exit(3)",
    "relative.py": "from . import model",
    "needs.py": "import nothing_like_it",
    "book.ipynb": "{}",
    "data.txt": "",
    "extra.py": MODEL + "\n    args = (3.0,)\n",
    "edge.py": MODEL.replace(
        "return float",
        "if theta[1] != -2.0: raise ValueError('outside the domain')\n        return float",
    ),
    "bug.py": MODEL.replace("return theta**2", "return {}['W3']"),
}
