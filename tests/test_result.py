"""A part is never called the whole: what was looked at is said; what was stopped never agrees."""

from __future__ import annotations

import json
import signal
from typing import Any

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.report import content, html, text
from fastgradcheck.testing import require
from tests.cases.results import kinds, make_block, make_components, make_result

THETA = {"W1": np.linspace(0.5, 2.0, 90).reshape(9, 10), "b1": np.linspace(-1.0, 1.0, 10)}


def cost(p: Any) -> float:
    return float((p["W1"] ** 3).sum() + (p["b1"] ** 3).sum())


def grad(p: Any) -> Any:
    return {name: 3 * part**2 for name, part in p.items()}


def wrong_bias(p: Any) -> Any:
    return {**grad(p), "b1": 0 * p["b1"]}


def first_line(result: fgc.GradcheckResult) -> str:
    return text.render(result, width=100).splitlines()[0]


# A sample of the user's own may agree, and says of what


@pytest.mark.parametrize(
    ("sample", "scope"),
    [
        ({"W1": None}, "on 90 % of the components (1 of 2 blocks SKIPPED)"),
        ({"W1": 1.0}, "on 90 % of the components (1 of 2 blocks SKIPPED)"),
        ({"W1": 0.1}, "on 9 % of the components (1 of 2 blocks SKIPPED)"),
        ({"W1": 0.1, "b1": None}, "on 19 % of the components"),
        ({"W1": [3]}, "on 1 % of the components (1 of 2 blocks SKIPPED)"),
        (0.12, "on 12 % of the components"),
        (99, "on 99 % of the components"),
        ([0, 1, 99], "on 3 % of the components"),
    ],
    ids=str,
)
def test_a_sample_agrees_on_what_was_looked_at(sample: Any, scope: str) -> None:
    result = fgc.gradcheck(cost, grad, THETA, sample=sample, seed=0)
    assert result
    assert result.partial
    assert content.title(result) == f"AGREES {scope}"
    assert first_line(result).startswith(f"AGREES {scope}  In the {result.covered} of 100")
    assert json.loads(result.to_json())["title"] == f"AGREES {scope}"
    assert json.loads(result.to_json())["covered"] == result.covered
    assert scope in html.to_html(result)
    assert repr(result).startswith(f"<GradcheckResult AGREES {scope}: relative difference")
    assert content.title(fgc.GradcheckResult.from_json(result.to_json())) == f"AGREES {scope}"
    require(result)


def test_blocks_that_were_not_looked_at_are_skipped_whatever_is_wrong_there() -> None:
    result = fgc.gradcheck(cost, wrong_bias, THETA, sample={"W1": 1.0}, seed=0)
    assert [block.verdict.name for block in result.blocks] == ["AGREES", "SKIPPED"]
    assert [block.covered for block in result.blocks] == [90, 0]
    other = fgc.gradcheck(cost, wrong_bias, THETA, sample={"b1": 1.0}, seed=0)
    assert first_line(other).startswith("WRONG (1 of 2 blocks SKIPPED)  The gradient is not")


@pytest.mark.parametrize("strategy", ["auto", "components", "screen"])
def test_the_whole_is_called_the_whole(strategy: str) -> None:
    result = fgc.gradcheck(cost, grad, THETA, strategy=strategy, seed=0)
    assert not result.partial
    assert content.title(result) == "AGREES"
    assert content.sentence(result) == fgc.Verdict.AGREES.sentence


def test_nearly_everything_is_not_everything() -> None:
    block = make_block("w", (1_000_000,), checked=999_999)
    result = make_result(blocks=(block,), size=1_000_000, components=make_components([], []))
    assert content.title(result) == "AGREES on more than 99.9 % of the components"


# What was stopped never agrees


class Interrupting:
    """A cost that presses Ctrl-C at one of its evaluations."""

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def __call__(self, p: Any) -> float:
        self.count += 1
        if self.count == self.at:
            signal.raise_signal(signal.SIGINT)
        return cost(p)


@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_ctrl_c_never_agrees_wherever_it_is_pressed(strategy: str) -> None:
    whole = fgc.gradcheck(cost, grad, THETA, strategy=strategy, seed=0).evaluations
    seen = set()
    # Before the first ones and after the last one, Ctrl-C raises as ever.
    for at in range(7, whole - 1, 5):
        result = fgc.gradcheck(Interrupting(at), grad, THETA, strategy=strategy, seed=0)
        assert result.interrupted
        assert not result
        assert result.verdict is fgc.Verdict.UNDECIDED
        assert content.sentence(result).startswith("The check was stopped before ")
        assert "numeric side resolves" not in text.render(result)
        seen.add(content.sentence(result).partition(";")[0])
        with pytest.raises(KeyboardInterrupt):
            require(result)
    through = {"The check was stopped before it was through"} if strategy == "components" else set()
    assert seen >= {"The check was stopped before it could decide.", *through}


def test_a_budget_that_is_over_never_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def slow(p: Any) -> float:
        clock[0] += 0.01
        return cost(p)

    shares = []
    for budget in (0.02, 0.3, 0.9, 1.2, 1.5, 2.0):
        result = fgc.gradcheck(slow, grad, THETA, strategy="components", budget=budget, seed=0)
        assert result.interrupted == result.partial
        assert bool(result) is not result.partial
        shares.append(result.covered)
        if result.interrupted:
            with pytest.raises(fgc.GradcheckError, match="The check was stopped before") as caught:
                require(result)
            assert caught.value.result is result
        if 0 < result.covered < 100:
            said = f"the {result.covered} of 100 components that were looked at agree."
            assert said in content.sentence(result)
    assert shares[0] == 0
    assert any(0 < share < 100 for share in shares)
    assert shares[-1] == 100


def test_what_was_seen_to_be_wrong_before_the_end_is_wrong() -> None:
    result = fgc.gradcheck(
        Interrupting(260),
        lambda p: {name: 2 * part for name, part in grad(p).items()},
        THETA,
        strategy="components",
        seed=0,
    )
    assert result.interrupted
    assert result.verdict is fgc.Verdict.WRONG
    assert "interrupted" in kinds(result)


# JSON of before


def test_a_result_without_what_was_covered_is_read_all_the_same() -> None:
    plain = fgc.gradcheck(cost, grad, THETA, strategy="screen", seed=0).to_dict()
    for name in ("reason", "title", "covered"):
        del plain[name]
    for block in plain["blocks"]:
        del block["covered"]
    result = fgc.GradcheckResult.from_json(json.dumps(plain))
    assert not result.partial
    assert result.reason == ""
