"""A checkpoint loses nothing, is never taken for another, and its storage never ends a check."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastgradcheck import (
    CheckpointError,
    GradcheckInputError,
    GradcheckResult,
    check_points,
    gradcheck,
)
from fastgradcheck.errors import CostEvaluationError
from fastgradcheck.evaluation import archive
from fastgradcheck.evaluation import checkpoint as checkpoints
from studies.kill_and_resume import evaluated, finish, kill_once, start
from tests.cases.documents import ROOT

THETA = {"w": np.linspace(1.0, 2.0, 40), "b": np.linspace(-1.0, 1.0, 3)}
X = np.cos(np.arange(120.0)).reshape(3, 40)


class Cost:
    """0.5 |X w - b|^2 + sum w^3, counted, and failing after so many evaluations."""

    def __init__(self, fails_after: float = np.inf, factor: float = 1.0) -> None:
        self.calls = 0
        self.fails_after = fails_after
        self.factor = factor

    def __call__(self, theta: dict[str, np.ndarray], x: np.ndarray) -> float:
        self.calls += 1
        if self.calls > self.fails_after:
            raise ArithmeticError("power cut")
        r = x @ theta["w"] - theta["b"]
        return float(self.factor * (0.5 * r @ r + (theta["w"] ** 3).sum()))


def gradient(theta: dict[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    r = x @ theta["w"] - theta["b"]
    w = x.T @ r + 3 * theta["w"] ** 2
    w[7] *= 1.001
    return {"w": w, "b": -r}


def check(path: Path | None, cost: Cost | None = None, **changes: Any) -> Any:
    options = {
        "cost": cost or Cost(),
        "grad": gradient,
        "theta": THETA,
        "args": (X,),
        "seed": 5,
        "checkpoint": path,
    }
    return gradcheck(**(options | changes))


def plain(result: Any) -> str:
    """Everything that a result says, but for when it was found, and what it took."""
    told = result.to_dict(components=True)
    for name in ("seconds", "remembered", "origin"):
        del told[name]
    return json.dumps(told, sort_keys=True)


@pytest.mark.parametrize("strategy", ["components", "screen"])
def test_a_run_that_failed_anywhere_resumes_to_the_same_result(
    strategy: str, tmp_path: Path
) -> None:
    whole = Cost()
    expected = plain(check(None, whole, strategy=strategy))
    assert '"w[7]"' in expected
    for number, share in enumerate((0.1, 0.3, 0.5, 0.7, 0.9, 0.99)):
        path = tmp_path / f"{number}.npz"
        # The very last evaluation, at theta, may fail without harm.
        first = Cost(fails_after=int(share * (whole.calls - 1)))
        with pytest.raises(CostEvaluationError, match="power cut"):
            check(path, first, strategy=strategy)
        second = Cost()
        assert plain(check(path, second, strategy=strategy)) == expected
        # The inspection of the cost is done anew, and the chunk that failed.
        assert first.calls + second.calls <= 1.5 * whole.calls
    assert second.calls < 0.2 * whole.calls


def test_a_finished_run_is_read_back_without_evaluations_but_the_first(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    first = check(path)
    again = Cost()
    assert plain(check(path, again)) == plain(first)
    assert again.calls < 10


def test_a_resumed_run_says_so(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    first = check(path)
    assert first.remembered == 0
    assert "resumed" not in str(first)
    cut = tmp_path / "cut.npz"
    with pytest.raises(CostEvaluationError):
        check(cut, Cost(fails_after=first.evaluations // 2))
    second = Cost()
    resumed = check(cut, second)
    assert 0 < resumed.remembered < resumed.evaluations
    assert resumed.evaluations - resumed.remembered == second.calls
    words = " ".join(str(resumed).split())
    assert f"(resumed: {resumed.remembered:,} of them are the checkpoint's)" in words
    assert GradcheckResult.from_json(resumed.to_json()).remembered == resumed.remembered


def test_the_seed_of_a_resumed_run_is_that_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    first = check(path, seed=None, sample=10)
    assert plain(check(path, seed=None, sample=10)) == plain(first)
    assert plain(check(path, seed=first.seed, sample=10)) == plain(first)
    with pytest.raises(CheckpointError, match=rf"seed \({first.seed} there, 77 here\)"):
        check(path, seed=77, sample=10)


def test_a_budget_that_ran_out_goes_on_from_there(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    theta = np.linspace(1.0, 2.0, 2000)

    def cost(theta: np.ndarray) -> float:
        time.sleep(5e-4)
        return float((theta**3).sum())

    def run(**options: Any) -> Any:
        return gradcheck(
            cost,
            lambda t: 3 * t**2,
            theta,
            strategy="components",
            seed=1,
            checkpoint=path,
            **options,
        )

    parts = [run(budget=0.5) for _ in range(3)]
    assert all(part.interrupted for part in parts)
    whole = run()
    assert plain(whole) == plain(run())
    evaluations = [part.evaluations for part in (*parts, whole)]
    assert evaluations == sorted(set(evaluations))
    assert not whole.interrupted


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({"theta": {**THETA, "b": np.array([0.0, 0.0, 1.0])}}, "theta, gradient"),
        ({"theta": {"v": THETA["w"], "b": THETA["b"]}}, "theta"),
        ({"grad": lambda t, x: {"w": t["w"], "b": t["b"]}}, "gradient"),
        ({"args": (X + 1e-9,)}, "gradient, args"),
        ({"scheme": "central4"}, r"scheme \(central there, central4 here\)"),
        ({"epsilon": 1e-5}, "epsilon"),
        ({"bounds": (-9.0, 9.0)}, "bounds"),
        ({"sample": 20}, "sample"),
        ({"seed": 6}, r"seed \(5 there, 6 here\)"),
        ({"cost": Cost(factor=2.0)}, r"J\(theta\) \(.* there, .* here: cost was changed\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_checkpoint_of_another_check_is_refused_with_what_differs(
    changes: dict[str, Any], differs: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.npz"
    check(path)
    before = path.read_bytes()
    if "theta" in changes and "v" in changes["theta"]:
        changes = changes | {
            "cost": lambda t, x: Cost()({"w": t["v"], "b": t["b"]}, x),
            "grad": lambda t, x: {
                "v": gradient({"w": t["v"], "b": t["b"]}, x)["w"],
                "b": gradient({"w": t["v"], "b": t["b"]}, x)["b"],
            },
        }
    with pytest.raises(CheckpointError, match=f"belongs to another check: it differs in {differs}"):
        check(path, **changes)
    assert path.read_bytes() == before


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.npz"
    check(path)
    monkeypatch.setattr("fastgradcheck.evaluation.checkpoint.__version__", "9.9")
    with pytest.raises(CheckpointError, match=r"version \(.* there, 9\.9 here\)"):
        check(path)


def test_last_digits_of_another_processor_do_not_lead_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    # Forward differences: J(theta) itself is in every one of them.
    first = check(path, scheme="forward")
    again = Cost(factor=1 + 2**-51)
    assert plain(check(path, again, scheme="forward")) == plain(first)
    assert again.calls < 10


def truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    middle = data.index(b"values_") + 300
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(truncate, id="truncated"),
        pytest.param(flip, id="one bit"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: b"my thesis", id="text"),
    ],
)
def test_a_damaged_file_is_refused_and_left_as_it_is(spoil: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    check(path)
    path.write_bytes(spoil(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="not a checkpoint of this package, or it is damaged"):
        check(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("save", [np.savez, np.save], ids=["npz", "npy"])
def test_an_array_file_of_somebody_else_is_refused(save: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    with path.open("wb") as file:
        save(file, np.arange(3.0))
    with pytest.raises(CheckpointError, match="It was left as it is: give another path") as refused:
        check(path)
    assert "pickle" not in str(refused.value)


def test_a_later_format_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    header = np.frombuffer(b'{"format": "fastgradcheck-checkpoint-9"}', np.uint8)
    np.savez(path, header=header)
    with pytest.raises(CheckpointError, match="its format is 'fastgradcheck-checkpoint-9'"):
        check(path)


ODD = [
    {"seed": "5"},
    {"seed": None},
    {"seed": -1},
    {"seed": True},
    {"seed": 5.0},
    {"value": "one"},
    {"value": "nan"},
    {"value": 1.0},
    {"identity": None},
    {"identity": {"version": 3}},
]


def whole(header: dict[str, Any], arrays: Any) -> tuple[dict[str, Any], Any]:
    return header, arrays


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_a_forged_header_is_refused_and_left_as_it_is(odd: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    check(path)
    header, arrays = archive.read(path, checkpoints.KIND, whole)
    archive.write(path, checkpoints.KIND, header | odd, arrays)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="not a checkpoint of this package, or it is damaged"):
        check(path)
    assert path.read_bytes() == before


def test_values_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    check(path)
    header, arrays = archive.read(path, checkpoints.KIND, whole)
    name = next(name for name in arrays if name.startswith("values_"))
    for odd in (arrays[name][1:], arrays[name].astype(np.int64), arrays[name][:, None]):
        archive.write(path, checkpoints.KIND, header, arrays | {name: odd})
        with pytest.raises(CheckpointError, match="its values do not fit their plans"):
            check(path)


def test_no_number_of_a_file_is_taken_for_a_value(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    expected = plain(check(path))
    header, arrays = archive.read(path, checkpoints.KIND, whole)
    spoilt = {
        name: np.full_like(array, np.nan) if name.startswith("values_") else array
        for name, array in arrays.items()
    }
    archive.write(path, checkpoints.KIND, header, spoilt)
    assert plain(check(path)) == expected


def test_values_of_another_shape_are_those_of_another_plan(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    expected = plain(check(path))
    header, arrays = archive.read(path, checkpoints.KIND, whole)
    spoilt = {
        name: np.array([255] * 99, np.uint8) if name.startswith("done_") else np.ones(99 * 8)
        for name in arrays
    }
    archive.write(path, checkpoints.KIND, header, spoilt)
    assert plain(check(path)) == expected


def test_the_second_check_on_one_file_is_told_and_the_first_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.npz"
    refused: list[str] = []

    def another(event: Any) -> None:
        if event.stage == "components" and not refused:
            before = path.read_bytes()
            with pytest.raises(CheckpointError) as caught:
                check(path)
            refused.append(str(caught.value))
            assert path.read_bytes() == before

    first = check(path, progress=another)
    assert refused == [
        f"{path} is in use by another check at this moment (process {os.getpid()} on this "
        "machine). Two checks cannot share a checkpoint: wait for that one, stop it, or give this "
        "one a file of its own."
    ]
    assert plain(first) == plain(check(None))
    assert plain(check(path)) == plain(first)
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fastgradcheck.evaluation.lock._lock", refuse)
    result = check(tmp_path / "run.npz")
    (finding,) = [f for f in result.findings if f.kind == "checkpoint"]
    assert "is on a file system without locks" in finding.message
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_what_a_killed_check_left_half_written_is_removed(tmp_path: Path) -> None:
    (tmp_path / "run.npz.1f2e3d4c.partial").write_bytes(b"half")
    check(tmp_path / "run.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


def test_a_folder_that_is_not_there_is_refused_before_the_work(tmp_path: Path) -> None:
    cost = Cost()
    with pytest.raises(CheckpointError, match=r"cannot be written \(No such file or directory\)"):
        check(tmp_path / "nowhere" / "run.npz", cost)
    assert cost.calls < 10


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"read \((Is a directory|Permission denied)\)"):
        check(tmp_path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CheckpointError, match=r"cannot be written \(Permission denied\)"):
            check(tmp_path / "run.npz")
    finally:
        tmp_path.chmod(0o700)


def test_what_is_no_path_is_refused() -> None:
    with pytest.raises(GradcheckInputError, match="checkpoint is a bool; pass the path of a file"):
        check(True)  # type: ignore[arg-type]
    with pytest.raises(GradcheckInputError, match=r"checkpoint is '\.'; pass the path of a file"):
        check(Path("."))


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000], ids=["zero", "surrogate", "long"])
def test_a_name_that_no_file_can_have_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot be written \("):
        check(tmp_path / name)


class Disk:
    """`numpy.savez` on a disk that is full between two moments."""

    def __init__(self, full: range) -> None:
        self.full, self.writes, self.savez = full, 0, np.savez

    def __call__(self, file: Any, **arrays: Any) -> None:
        self.writes += 1
        if self.writes - 1 in self.full:
            file.write(b"half of it")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.savez(file, **arrays)


@pytest.mark.parametrize(
    ("full", "told"),
    [
        (range(2, 10**9), "It lacks what was measured after that"),
        (range(2, 4), "That has passed: it is complete"),
    ],
    ids=["to the end", "for a while"],
)
def test_a_full_disk_is_reported_and_changes_nothing_else(
    full: range, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = check(None)
    disk = Disk(full)
    monkeypatch.setattr(archive.np, "savez", disk)
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SAVE_SHARE", np.inf)
    path = tmp_path / "run.npz"
    result = check(path)
    assert disk.writes > 4
    (finding,) = [f for f in result.findings if f.kind == "checkpoint"]
    assert "could not be written (No space left on device)" in finding.message
    assert told in finding.message
    assert result.wrong == expected.wrong
    np.testing.assert_array_equal(result.components, expected.components)
    # The last complete file is still there, and nothing else.
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]
    monkeypatch.undo()
    again = Cost()
    np.testing.assert_array_equal(check(path, again).components, expected.components)


def test_writing_takes_a_small_part_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SAVE_SECONDS", 0.0)
    now = [100.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    memory = checkpoints.Checkpoint(tmp_path / "run.npz")
    memory.begin({}, 1, 1.0)
    written = []

    def slow(file: Any, **arrays: Any) -> None:
        now[0] += 1.0
        written.append(now[0])

    monkeypatch.setattr(archive.np, "savez", slow)
    for _ in range(2000):
        now[0] += 0.1
        memory.keep()
    memory.close()
    assert 3 <= len(written) <= 6


def test_every_point_has_a_checkpoint_of_its_own(tmp_path: Path) -> None:
    points = {"init": np.array([1.0]), "epoch 1/2": np.array([2.0])}
    results = check_points(
        lambda t: float((t**2).sum()),
        lambda t: 2 * t,
        points,
        checkpoint=tmp_path / "run.npz",
        seed=1,
    )
    assert all(results.values())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run-epoch_1_2.npz", "run-init.npz"]


SIZE = (600, 700)


def test_kill_9_at_random_moments_loses_seconds_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    expected = finish(start(tmp_path / "whole", SIZE), tmp_path / "whole")
    assert '"w[233]"' in expected
    whole = evaluated(tmp_path / "whole")
    for moment in np.random.default_rng().uniform(1.0, 3.5, 2):
        kill = kill_once(tmp_path / f"{moment:.3f}", SIZE, moment, expected)
        assert kill.identical, f"killed after {moment:.3f} s"
        assert kill.total - whole <= 0.05 * whole + kill.recent
