"""JSON: strict, complete, and read back to the same result."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.report.json import from_json, to_dict, to_json
from fastgradcheck.report.outcome import Outcome
from fastgradcheck.result import GradcheckResult
from fastgradcheck.verdict.verdict import Resolution
from tests.cases.results import (
    UNDECIDED,
    make_block,
    make_components,
    make_large,
    make_result,
    make_wrong,
)


def same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        # Bytes, so that NaN equals NaN and the dtypes must match.
        return a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return same(tuple(a.items()), tuple(b.items()))
    if dataclasses.is_dataclass(a):
        fields = dataclasses.fields(a)
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in fields
        )
    return type(a) is type(b) and a == b


def non_finite() -> GradcheckResult:
    return make_result(
        verdict=UNDECIDED,
        relative_difference=math.nan,
        limit=math.inf,
        noise=-math.inf,
        resolution=Resolution(math.inf, 0.0, math.nan),
        blocks=(make_block("w", (26,), limit=math.inf, step=math.nan, verdict=UNDECIDED),),
        components=make_components([math.nan, 1.0, 1 / 3], [math.inf, -math.inf, 1e-320]),
        steps={"w": math.nan},
    )


@pytest.mark.parametrize("make", [make_result, make_wrong, non_finite])
def test_a_result_survives_the_round_trip(make: object) -> None:
    result = make()  # type: ignore[operator]
    outcome = Outcome(**{f.name: getattr(result, f.name) for f in dataclasses.fields(Outcome)})
    assert same(from_json(to_json(outcome)), outcome)
    assert same(GradcheckResult.from_json(to_json(result)), result)
    assert same(GradcheckResult.from_json(result.to_json(indent=2)), result)


def test_the_rank_of_a_finding_is_kept() -> None:
    findings = (Finding("factor", "twice", Rank.BUG), Finding("slow", "minutes"))
    text = to_json(make_result(findings=findings))
    assert [finding["rank"] for finding in json.loads(text)["findings"]] == ["bug", "note"]
    assert from_json(text).findings == findings


def test_findings_written_before_they_had_a_rank_are_notes() -> None:
    plain = json.loads(to_json(make_wrong()))
    for finding in plain["findings"]:
        del finding["rank"]
    read = from_json(json.dumps(plain)).findings
    assert [finding.kind for finding in read] == ["factor", "entry"]
    assert {finding.rank for finding in read} == {Rank.NOTE}


def test_the_json_is_strict() -> None:
    def refuse(word: str) -> float:
        raise AssertionError(f"{word} is no JSON")

    plain = json.loads(to_json(non_finite()), parse_constant=refuse)
    assert plain["relative_difference"] == "nan"
    assert plain["limit"] == "inf"
    assert plain["noise"] == "-inf"
    assert plain["components"]["numeric"][:2] == ["inf", "-inf"]


def test_components_only_up_to_ten_thousand_unless_asked() -> None:
    large = make_large(101, 100)
    assert to_dict(large)["components"] is None
    assert len(to_dict(large, components=True)["components"]["index"]) == 10_100
    assert len(to_dict(make_large(100, 100))["components"]["index"]) == 10_000
    assert to_dict(make_result(), components=False)["components"] is None
    back = GradcheckResult.from_json(to_json(large))
    assert len(back.components) == 0
    assert back.components.dtype == large.components.dtype
    assert str(back).startswith("WRONG")


def test_numpy_numbers_are_plain_numbers() -> None:
    result = make_result(
        evaluations=np.int64(52), noise=np.float64(1e-16), interrupted=np.bool_(False)
    )
    plain = to_dict(result)
    assert type(plain["evaluations"]) is int
    assert type(plain["noise"]) is float
    assert type(plain["interrupted"]) is bool


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "This is not JSON"),
        ("[1]", "has format None where 1 is expected"),
        ('{"format": 99}', "has format 99 where 1 is expected.*by another version"),
        ('{"format": 1}', "is damaged: KeyError: 'verdict'"),
    ],
)
def test_other_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(GradcheckInputError, match=message):
        GradcheckResult.from_json(text)


def test_blocks_written_before_they_told_so_much_are_read() -> None:
    plain = make_wrong().to_dict()
    for block in plain["blocks"]:
        for later in ("covered", "split", "at_least"):
            del block[later]
    read = GradcheckResult.from_json(json.dumps(plain)).blocks
    written = make_wrong().blocks
    assert [(b.wrong, b.at_least, b.split) for b in read] == [
        (b.wrong, False, None) for b in written
    ]
