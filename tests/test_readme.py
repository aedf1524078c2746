"""What the README shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def after() -> dict[str, Any]:
    """The names left behind by the README's code blocks, run in order; each result by block."""
    names: dict[str, Any] = {"__name__": "readme"}
    found: list[dict[str, Any]] = []
    for block in re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL):
        exec(compile(block, str(README), "exec"), names)
        found.append(dict(names))
    return {"blocks": found}


def test_first_example_names_the_bias(after: dict[str, Any]) -> None:
    assert after["blocks"][0]["result"].wrong == ("b",)


def test_textbook_example_gives_its_numbers(after: dict[str, Any]) -> None:
    names = after["blocks"][-1]
    # 3 + 0.01^2 and 3 + 3 * 0.01 + 0.01^2; rounding: eps / 0.01, a few times over.
    assert names["two_sided"] == pytest.approx(3.0001, rel=0, abs=1e-12)
    assert names["one_sided"] == pytest.approx(3.0301, rel=0, abs=1e-12)
    numeric = names["numeric"]
    assert abs(numeric.value[0] - 3) <= numeric.error[0] < 3e-12


def test_textbook_numbers_are_arithmetic() -> None:
    text = README.read_text("utf-8")
    ahead, behind, epsilon = 1.01**3, 0.99**3, 0.01
    for number in (
        f"J⁺ = J(θ⁺) = {ahead:.6f}",
        f"J⁻ = J(θ⁻) = {behind:.6f}",
        f"2ε = **{(ahead - behind) / (2 * epsilon):.4f}**",
        f"ε = **{(ahead - 1) / epsilon:.4f}**",
    ):
        assert number in text
