"""The benchmark suite imports, and each benchmark runs once at a small size."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import bench_check, bench_cold, cold, numpy_problems, timing
from benchmarks.problems import PROBLEMS, Problem
from studies import compare, peers

RUN = re.compile(r"(time|track|peakmem|timeraw)_")
SMALLEST = {"problem": "recurrent", "threads": 1}


def benchmarks() -> Iterator[Any]:
    """Every benchmark of `bench_check`, its name, and the class it belongs to."""
    for _, owner in inspect.getmembers(bench_check, inspect.isclass):
        for name in dir(owner):
            if RUN.match(name) and owner.__module__ == bench_check.__name__:
                yield pytest.param(owner, name, id=f"{owner.__name__}.{name}")


@pytest.mark.parametrize(("owner", "name"), list(benchmarks()))
def test_benchmark_runs(owner: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mlp, efficiency = numpy_problems.mlp, timing.efficiency
    monkeypatch.setattr(numpy_problems, "mlp", lambda hidden, examples: mlp(30, examples))
    monkeypatch.setattr(timing, "efficiency", lambda *given: efficiency(*given, repeats=1))
    benchmark = owner()
    names = getattr(benchmark, "param_names", ())
    given = [SMALLEST[parameter] for parameter in names]
    lists = benchmark.params if len(names) > 1 else (getattr(benchmark, "params", ()),)
    assert all(value in values for value, values in zip(given, lists, strict=False))
    getattr(benchmark, "setup", lambda *_: None)(*given)
    figure = getattr(benchmark, name)(*given)
    assert name.startswith("track_") is (figure is not None)
    assert figure is None or 0 < figure < 1e4


def test_a_benchmark_of_a_wrong_gradient_fails() -> None:
    problem, _ = compare.planted(numpy_problems.logistic(20, 10))
    with pytest.raises(AssertionError, match="WRONG"):
        bench_check.check(problem)


def test_a_second_process_compiles_no_kernel(tmp_path: Path) -> None:
    def kernels() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}

    first = cold.anew(str(tmp_path))
    compiled = kernels()
    assert compiled
    second = cold.anew(str(tmp_path))
    assert kernels() == compiled
    starts, benchmark = (first, [second]), bench_cold.Cold()
    assert benchmark.track_cold_overhead(starts) == first.overhead
    assert benchmark.track_warm_overhead(starts) == second.overhead
    assert 0 < benchmark.track_users_compile(starts) < second.check
    assert cold.import_seconds() > 0


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("matmul_mlp", numpy_problems.mlp),
        ("recurrent", numpy_problems.recurrent),
        ("recurrent", numpy_problems.recurrent_by_sequence),
        ("convolution", numpy_problems.convolution),
    ],
)
def test_twins_have_the_values_of_the_compiled_costs(
    name: str, twin: Callable[[], Problem]
) -> None:
    problem, other = PROBLEMS[name](), twin()
    np.testing.assert_array_equal(problem.theta, other.theta)
    value = numpy_problems.interpreted(problem.cost)(problem.theta, *problem.args)
    # Sums of up to 1e4 terms in another order: sqrt(1e4) eps, and room.
    assert other.cost(other.theta, *other.args) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("make", [numpy_problems.mlp, numpy_problems.logistic])
def test_numpy_gradients_are_the_derivatives_of_their_costs(make: Callable[[], Problem]) -> None:
    cost, grad, theta, args = make()
    v = np.random.default_rng(3).normal(size=theta.size)
    slopes = [
        (cost(theta + h * v, *args) - cost(theta - h * v, *args)) / (2 * h) for h in (1e-4, 2e-4)
    ]
    # (4 D(h) - D(2h)) / 3 leaves h^4 of a scale of a few, and eps |J| / h = 1e-12 of rounding.
    extrapolated = (4 * slopes[0] - slopes[1]) / 3
    assert grad(theta, *args) @ v == pytest.approx(extrapolated, rel=0, abs=1e-9)


def test_an_interpreted_cost_is_interpreted_to_the_bottom() -> None:
    problem = PROBLEMS["recurrent"]()
    plain = numpy_problems.interpreted(problem.cost)
    inner = plain.__globals__["_recurrent_states"]
    assert not hasattr(inner, "py_func")
    few = problem.args[0][:1, :3], problem.args[1][:1, :3]
    assert plain(problem.theta, *few) == pytest.approx(problem.cost(problem.theta, *few), rel=1e-12)


def squares() -> Problem:
    theta = np.linspace(0.5, 1.5, 12)
    return Problem(lambda t: float(t @ t), lambda t: 2 * t, theta, ())


@pytest.mark.parametrize("tool", [peers.OURS, *peers.installed(peers.PEERS)], ids=str)
def test_tools_pass_the_right_gradient_and_catch_the_wrong_one(tool: peers.Tool) -> None:
    """A dozen components: what does not look along one direction, or in torch's steps, sees all."""
    row = compare.examined(tool, squares())
    if tool is not peers.CHECK_GRAD:  # whose one-sided differences refuse it: that is the point
        assert row.right.passed
    assert row.evaluations > 2
    assert len(row.caught) == compare.TRIALS
    if tool.reason != peers.ONE_DIRECTION and "torch" not in tool.name:
        assert all(row.caught)
    if tool is peers.OURS or tool is peers.NAIVE:
        assert all(row.named)


def test_the_tables_are_written_between_their_markers(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- tools -->\nold\n<!-- end of tools -->\nafter\n")
    monkeypatch.setattr(compare, "PROBLEMS", {"squares": ("Squares", squares)})
    monkeypatch.setattr(compare, "megabytes", lambda key, tool: "1 MB")
    monkeypatch.setattr(peers, "PEERS", (peers.NAIVE,))
    assert compare.main(["tools", "--rounds", "1", "--page", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "### Squares, n = 12" in text
    assert "| **fastgradcheck** |" in text
    assert "| naive loop |" in text
    assert "### Squares" in capsys.readouterr().out


def test_who_is_faster_is_told_with_the_reason() -> None:
    answer = peers.Answer(True)
    ours = compare.Row(peers.OURS, answer, (), (), 10, [2.0])
    jax = compare.Row(peers.JAX, answer, (), (), 10, [1.0])
    text = compare.losses([ours, jax])
    assert text == f"Where we lose: {peers.JAX.name} takes 0.5 of our time: {peers.JAX.reason}."
    assert compare.losses([jax, ours]) == "Nothing was faster."


def test_seconds_are_told_once_or_as_a_median() -> None:
    answer = peers.Answer(True)
    assert compare.Row(peers.NAIVE, answer, (), (), 1, [0.5]).seconds == "500 ms (once)"
    assert compare.Row(peers.NAIVE, answer, (), (), 1, [9.0, 1.0, 2.0]).seconds == "2 s"


def test_ratio_is_a_median_of_turns() -> None:
    ticks: Callable[[], float] = iter(np.cumsum([0, 2, 0, 1, 0, 9, 0, 1, 0, 3, 0, 1])).__next__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing.time, "perf_counter", ticks)
        assert timing.ratio(lambda: None, lambda: None, 3) == 3.0
    assert list(islice(bench_cold.timeraw_import().split(), 2)) == ["import", "fastgradcheck"]
