"""Values of an earlier run: taken where J is the same, measured anew where it is not."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import fastgradcheck as fgc
import fastgradcheck.testing  # else pytest's pytester forgets it, and its exceptions are others
from fastgradcheck.fingerprints import file
from fastgradcheck.fingerprints.reuse import check_reusing
from fastgradcheck.report.origin import WHEN
from fastgradcheck.verdict.verdict import Verdict

THETA = np.linspace(0.1, 2, 40)
CALLS = []


def cost(theta, a):
    CALLS.append(1)
    return float(a * np.sin(theta).sum())


def other(theta, a):
    CALLS.append(1)
    return float(a * np.sin(theta).sum()) + 0.0 * theta[0]


def grad(theta, a):
    return a * np.cos(theta)


def wrong(theta, a):
    return a * np.cos(theta) * np.where(np.arange(40) == 7, 2.0, 1.0)


def calls(path, cost, grad, theta=THETA, **options):
    """The result, and how often J was evaluated for it."""
    CALLS.clear()
    result = check_reusing(path, "gradient", cost, grad, theta, args=(2.0,), seed=0, **options)
    return result, len(CALLS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "check.fgc"


def test_a_second_check_evaluates_j_once(path) -> None:
    result, first = calls(path, cost, grad)
    assert result
    assert first > 40
    result, again = calls(path, cost, grad)
    assert result
    assert again == 1
    assert "recorded" in str(result)
    assert "(today)" in str(result)


def test_a_wrong_gradient_is_checked_anew_with_all_that_a_check_tells(path) -> None:
    calls(path, cost, grad)
    result, again = calls(path, cost, wrong)
    assert (result.verdict, result.wrong) == (Verdict.WRONG, ("theta[7]",))
    assert again > 40
    assert not any(f.kind == "fingerprint" for f in result.findings)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: calls(path, other, grad)[1],
        lambda path: calls(path, cost, grad, THETA + 1e-9)[1],
        lambda path: calls(path, cost, grad, layout={"a": (20,), "b": (20,)})[1],
    ],
    ids=["cost", "theta", "layout"],
)
def test_values_of_another_j_are_measured_anew(path, change) -> None:
    calls(path, cost, grad)
    before = path.read_bytes()
    assert change(path) > 40
    assert path.read_bytes() != before


def test_other_options_are_no_matter_of_directions(path) -> None:
    result, count = calls(path, cost, grad, strategy="components")
    assert result
    assert count > 80
    assert not path.exists()


def test_a_damaged_file_is_replaced(path) -> None:
    calls(path, cost, grad)
    path.write_bytes(b"nonsense")
    assert calls(path, cost, grad)[1] > 40
    assert calls(path, cost, grad)[1] == 1


def test_how_old_they_are_is_told(path) -> None:
    calls(path, cost, grad)
    recording, about = file.read(path, lambda *both: both)
    about["when"] = (datetime.now(UTC) - timedelta(days=12, hours=1)).strftime(WHEN)
    file.write(path, recording, about)
    assert "(12 days ago)" in str(calls(path, cost, grad)[0])


def test_the_plugin_keeps_and_takes_them(pytester, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    pytester.makepyfile(
        """
        import numpy as np

        def test_gradient(gradcheck):
            gradcheck(lambda t: float(np.sin(t).sum()), np.cos, np.linspace(0, 1, 30))
        """
    )
    first = pytester.runpytest_inprocess("--gradcheck-fingerprints=values")
    (kept,) = (pytester.path / "values").iterdir()
    count = fgc.load_fingerprint(kept).evaluations
    assert count > 40
    first.stdout.fnmatch_lines([f"gradcheck: 1 check, 1 agree, {count} evaluations*"])
    again = pytester.runpytest_inprocess("--gradcheck-fingerprints=values")
    again.stdout.fnmatch_lines(["gradcheck: 1 check, 1 agree, 0 evaluations*"])


MIXED = """
    import numpy as np
    import fastgradcheck as fgc

    A = np.random.default_rng(0).normal(size=(3, 70))
    theta = np.linspace(0, 1, 70)

    def fun(t):
        return np.sin(A @ t)

    def jac(t):
        return np.cos(A @ t)[:, None] * A

    def slope(t):
        return t**3

    def test_by_assertions():
        fgc.assert_gradcheck(lambda t: float(np.sin(t).sum()), np.cos, theta, seed=0)
        fgc.assert_jaccheck(fun, jac, theta, seed=0, outputs={"a": (2,), "b": (1,)})
        fgc.assert_hesscheck(slope, lambda t: np.diag(3 * t**2), theta, seed=0)

    def test_by_the_fixture(gradcheck):
        gradcheck.jaccheck(fun, lambda t, v: jac(t) @ v, theta, form="jvp")
        gradcheck.hesscheck(slope, lambda t, v: 3 * t**2 * v, theta, form="hvp")
"""


def test_the_plugin_keeps_those_of_jacobians_and_of_assertions(pytester, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    pytester.makepyfile(MIXED)
    first = pytester.runpytest_inprocess("--gradcheck-fingerprints=values")
    first.assert_outcomes(passed=2)
    kept = [fgc.load_fingerprint(path) for path in sorted((pytester.path / "values").iterdir())]
    assert [fp.kind for fp in kept] == ["gradient", "Jacobian", "Hessian", "Jacobian", "Hessian"]
    taken = kept[3].evaluations + kept[4].evaluations
    first.stdout.fnmatch_lines([f"gradcheck: 2 checks, 2 agree, {taken} evaluations*"])
    again = pytester.runpytest_inprocess("--gradcheck-fingerprints=values")
    again.stdout.fnmatch_lines(["gradcheck: 2 checks, 2 agree, 0 evaluations*"])


def test_a_folder_that_cannot_be_is_told_at_once(pytester) -> None:
    (pytester.path / "values").write_text("a file")
    told = pytester.runpytest_inprocess("--gradcheck-fingerprints=values")
    assert told.ret == pytest.ExitCode.USAGE_ERROR
    told.stderr.fnmatch_lines(["ERROR: --gradcheck-fingerprints=values cannot be a folder: *"])


A = np.random.default_rng(0).normal(size=(3, 40))


def fun(theta):
    CALLS.append(1)
    return np.sin(A @ theta)


def jac(theta):
    return np.cos(A @ theta)[:, None] * A


def slope(theta):
    return theta**3


def rows_reused(path, **options):
    """The result for a Jacobian, and how often F was evaluated for it."""
    CALLS.clear()
    claim = options.pop("jac", jac)
    return check_reusing(path, "Jacobian", fun, claim, THETA, seed=0, **options), len(CALLS)


def test_a_second_check_of_a_jacobian_evaluates_f_once(path) -> None:
    result, first = rows_reused(path)
    assert result
    assert first > 40
    assert result.evaluations == first
    result, again = rows_reused(path)
    assert result
    assert again == 1
    result, anew = rows_reused(path, jac=lambda t: jac(t) * (np.arange(40) != 7))
    assert (result.verdict, result.wrong) == (
        Verdict.WRONG,
        tuple(f"F[{i}] / theta[7]" for i in np.argsort(-np.abs(jac(THETA)[:, 7]))),
    )
    assert anew > 10


def test_other_names_of_the_outputs_and_a_hessian_are_something_else(path) -> None:
    rows_reused(path)
    assert rows_reused(path, outputs={"a": (2,), "b": (1,)})[1] > 40
    assert rows_reused(path, outputs={"a": (2,), "b": (1,)})[1] == 1
    for evaluations in (76, 0):
        result = check_reusing(path, "Hessian", slope, lambda t: np.diag(3 * t**2), THETA, seed=0)
        assert fgc.load_fingerprint(path).kind == "Hessian"
        assert result.evaluations == evaluations


pytest_plugins = ["pytester"]
