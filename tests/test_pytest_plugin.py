"""The pytest plugin, as a project that uses it sees it."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

import pytest

import fastgradcheck.check
import fastgradcheck.report.text

# NumPy cannot be loaded anew: what a run in this process loads it must find loaded.
LOADED = (fastgradcheck.check, fastgradcheck.report.text)

pytest_plugins = ["pytester"]

SOURCE = Path(__file__).resolve().parents[1] / "src"
# Installed, the plugin is found by its entry point; in a bare checkout it is named.
PLUGIN = (
    [] if entry_points(group="pytest11", name="fastgradcheck") else ["-p", "fastgradcheck_pytest"]
)

PREAMBLE = """
import numpy as np

THETA = np.array([1.0, -2.0, 3.0])

def cost(theta):
    return float(np.sum(theta**3) / 3)

def grad(theta):
    return theta**2

def noisy(theta):
    return cost(theta) * (1 + 1e-5 * np.sin(1e14 * theta.sum()))

def wrong(theta):
    return theta**2 + np.array([0.0, 0.5, 0.0])

def domain(theta):
    if theta[1] != -2.0:
        raise ValueError("outside the domain")
    return cost(theta)
"""


@pytest.fixture
def project(pytester, monkeypatch):
    """Writes tests behind the preamble and runs them, in this process unless told otherwise."""
    monkeypatch.setenv("PYTHONPATH", str(SOURCE), prepend=os.pathsep)
    monkeypatch.delenv("FASTGRADCHECK", raising=False)
    # pytest cuts messages short except on CI; what a terminal shows is under test.
    monkeypatch.delenv("CI", raising=False)

    def run(tests: str, *options: str, apart: bool = False) -> pytest.RunResult:
        pytester.makepyfile(test_project=PREAMBLE + tests)
        start = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
        # Hypothesis loads itself anew for the summary of every run, which takes seconds.
        return start(*PLUGIN, "-p", "no:hypothesispytest", "-W", "error", *options)

    def on_ci(tests: str, *options: str) -> pytest.RunResult:
        with monkeypatch.context() as patch:
            patch.setenv("CI", "true")
            return run(tests, *options)

    run.on_ci = on_ci
    return run


AGREES = """
def test_agrees(gradcheck):
    assert gradcheck(cost, grad, THETA)
"""
WRONG = """
def test_wrong(gradcheck):
    gradcheck(cost, wrong, THETA)
"""
UNDECIDED = """
def test_undecided(gradcheck):
    gradcheck(noisy, grad, THETA)
"""


class TestFixture:
    def test_a_correct_gradient_passes(self, project):
        project(AGREES).assert_outcomes(passed=1)

    def test_a_wrong_gradient_fails_with_the_report_at_the_users_line(self, project):
        result = project(WRONG)
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines([">*gradcheck(cost, wrong, THETA)", "E*WRONG*", "E*theta?1?*"])

    def test_a_failure_shows_no_line_of_ours(self, project):
        result = project(WRONG)
        result.stdout.no_fnmatch_line("*/fastgradcheck_pytest/*")
        result.stdout.no_fnmatch_line("*/src/fastgradcheck/*")

    def test_assert_gradcheck_shows_no_line_of_ours_either(self, project):
        result = project(
            "from fastgradcheck.testing import assert_gradcheck\n"
            "def test_wrong():\n    assert_gradcheck(cost, wrong, THETA)\n"
        )
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines([">*assert_gradcheck(cost, wrong, THETA)", "E*WRONG*"])
        result.stdout.no_fnmatch_line("*/src/fastgradcheck/*")

    def test_an_exception_of_the_cost_shows_the_users_lines_only(self, project):
        result = project("def test_domain(gradcheck):\n    gradcheck(domain, grad, THETA)\n")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines([">*raise ValueError*", ">*gradcheck(domain, grad, THETA)"])
        result.stdout.fnmatch_lines(
            ["E*CostEvaluationError: cost raised ValueError on both sides of theta*: outside*"]
        )
        result.stdout.no_fnmatch_line("*/src/fastgradcheck*")

    def test_bad_input_shows_the_users_line_only(self, project):
        result = project("def test_bad(gradcheck):\n    gradcheck(cost, grad, THETA, sample=0)\n")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines([">*gradcheck(cost, grad, THETA, sample=0)", "E*sample*"])
        result.stdout.no_fnmatch_line("*/src/fastgradcheck*")

    def test_the_error_can_be_expected(self, project):
        project(
            "import pytest\nfrom fastgradcheck import GradcheckError\n"
            "def test_expected(gradcheck):\n"
            "    with pytest.raises(GradcheckError) as raised:\n"
            "        gradcheck(cost, wrong, THETA)\n"
            "    assert raised.value.result.wrong == ('theta[1]',)\n"
        ).assert_outcomes(passed=1)

    def test_undecided_fails_unless_it_is_allowed(self, project):
        allowed = UNDECIDED.replace("test_", "test_allowed_").replace(
            "THETA)", "THETA, allow_undecided=True)"
        )
        result = project(UNDECIDED + allowed)
        result.assert_outcomes(failed=1, passed=1)
        result.stdout.fnmatch_lines(["gradcheck: 2 checks, 2 undecided, *"])

    def test_a_check_that_is_switched_off_passes_and_is_counted(self, project, monkeypatch):
        monkeypatch.setenv("FASTGRADCHECK", "off")
        result = project(WRONG)
        result.assert_outcomes(passed=1)
        result.stdout.fnmatch_lines(["gradcheck: 1 check, 1 skipped, 0 evaluations, *"])

    @pytest.mark.parametrize(
        ("name", "code"), [("SIGINT", pytest.ExitCode.INTERRUPTED), ("SIGTERM", 143)]
    )
    def test_ctrl_c_and_sigterm_stop_the_run(self, name, code, project):
        result = project(
            "import os, signal, time\n"
            "calls = []\n"
            "def slow(theta):\n"
            "    calls.append(1)\n"
            "    if len(calls) == 30:\n"
            "        os.kill(os.getpid(), signal." + name + ")\n"
            "    return cost(theta)\n"
            "def test_slow(gradcheck):\n    gradcheck(slow, grad, np.ones(500))\n"
            "def test_next():\n    pass\n",
            apart=True,
        )
        assert result.ret == code
        result.stdout.no_fnmatch_line("*1 passed*")


class TestJUnit:
    def test_what_no_xml_can_hold_is_escaped(self, project, pytester):
        project(
            "def test_odd(gradcheck):\n"
            "    key = '\\x1b[31m\\ud800\\x00'\n"
            "    gradcheck(lambda t: cost(t[key]), lambda t: {key: wrong(t[key])}, {key: THETA})\n"
            "def test_raises(gradcheck):\n"
            "    def odd(theta):\n"
            "        if theta[1] != -2.0:\n"
            "            raise ValueError('\\x1b[31m\\ud800\\x00')\n"
            "        return cost(theta)\n"
            "    gradcheck(odd, grad, THETA)\n",
            "--junitxml=report.xml",
        )
        failures = ElementTree.parse("report.xml").iter("failure")
        texts = [failure.get("message") for failure in failures]
        assert "theta['" + r"\x1b[31m\ud800\x00" + "'][1]" in texts[0]
        assert "cost raised ValueError on both sides of theta[1] = -2" in texts[1]
        assert r"\x1b[31m\ud800\x00" in texts[1]


class TestOptions:
    def test_the_summary_counts_checks_and_evaluations(self, project):
        result = project(AGREES + WRONG + AGREES.replace("agrees", "again"), "--gradcheck-seed=42")
        result.assert_outcomes(passed=2, failed=1)
        result.stdout.re_match_lines(
            [r"gradcheck: 3 checks, 2 agree, 1 wrong, [\d,]+ evaluations, seed 42$"]
        )

    def test_several_checks_in_one_test_and_in_a_fixture_all_count(self, project):
        result = project(
            "import pytest\n"
            "@pytest.fixture\ndef ready(gradcheck):\n    gradcheck(cost, grad, THETA)\n"
            "def test_two(gradcheck, ready):\n"
            "    gradcheck(cost, grad, THETA)\n    gradcheck(cost, grad, 2 * THETA)\n"
        )
        result.stdout.fnmatch_lines(["gradcheck: 3 checks, 3 agree, *"])

    def test_checks_in_set_up_and_tear_down_count_though_they_fail(self, project):
        result = project(
            "import pytest\n"
            "@pytest.fixture\ndef before(gradcheck):\n    gradcheck(cost, wrong, THETA)\n"
            "@pytest.fixture\ndef after(gradcheck):\n"
            "    yield\n    gradcheck(cost, wrong, THETA)\n"
            "def test_one(before):\n    pass\n"
            "def test_two(after):\n    pass\n"
        )
        result.assert_outcomes(passed=1, errors=2)
        result.stdout.fnmatch_lines(["gradcheck: 2 checks, 2 wrong, *"])

    def test_no_summary_without_checks(self, project):
        result = project("def test_nothing():\n    pass\n")
        result.stdout.no_fnmatch_line("gradcheck:*")

    def test_the_seed_of_the_summary_repeats_the_run(self, project):
        tests = (
            "def test_seed(gradcheck):\n"
            "    result = gradcheck(cost, grad, np.ones(200), sample=0.05)\n"
            "    print('chosen', result.seed, *result.components['index'])\n"
        )
        first = project(tests, "-s")
        line = next(line for line in first.outlines if line.startswith("gradcheck:"))
        seed = line.rsplit(maxsplit=1)[-1]
        again = project(tests, "-s", f"--gradcheck-seed={seed}")
        chosen = [next(line for line in run.outlines if "chosen" in line) for run in (first, again)]
        assert chosen[0] == chosen[1]
        assert f"chosen {seed} " in chosen[0]

    def test_the_sample_applies_where_a_test_says_nothing(self, project):
        project(
            "def test_all(gradcheck):\n"
            "    assert len(gradcheck(cost, grad, np.ones(40)).components) == 4\n"
            "def test_own(gradcheck):\n"
            "    assert len(gradcheck(cost, grad, np.ones(40), sample=7).components) == 7\n",
            "--gradcheck-sample=0.1",
        ).assert_outcomes(passed=2)

    def test_a_sample_of_1_checks_everything(self, project):
        project(
            "def test_all(gradcheck):\n"
            "    assert len(gradcheck(cost, grad, np.ones(3000)).components) == 3000\n",
            "--gradcheck-sample=1",
        ).assert_outcomes(passed=1)

    @pytest.mark.parametrize("value", ["0", "1.5", "-0.1", "nan", "ten"])
    def test_a_sample_that_is_no_fraction_is_refused(self, project, value):
        result = project(AGREES, f"--gradcheck-sample={value}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"*'{value}' is not a fraction: write a number in (0, 1]*"])

    def test_a_seed_that_is_no_number_is_refused(self, project):
        result = project(AGREES, "--gradcheck-seed=lucky")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*'lucky' is not a seed: write a whole number*"])

    def test_the_short_summary_names_the_block_and_the_cause(self, project):
        doubled = "def test_twice(gradcheck):\n    gradcheck(cost, 2 * grad(THETA), THETA)\n"
        # A terminal cuts it at its width; a log does not.
        result = project.on_ci(doubled, "-q", "--no-header")
        (line,) = [line for line in result.outlines if line.startswith("FAILED")]
        assert "- fastgradcheck.GradcheckError: WRONG in theta: every entry is exactly 2" in line

    def test_properties_in_a_junit_file_are_json(self, project, pytester):
        project(AGREES + WRONG, "--junit-xml=out.xml", "--gradcheck-seed=5")
        file = ElementTree.parse(pytester.path / "out.xml")
        told = [json.loads(p.get("value")) for p in file.iter("property")]
        assert [(t["verdict"], t["wrong"], t["seed"]) for t in told] == [
            ("AGREES", [], 5),
            ("WRONG", ["theta[1]"], 5),
        ]
        assert all(t["evaluations"] > 0 and t["seconds"] > 0 for t in told)

    def test_the_seed_is_fixed_in_continuous_integration(self, project):
        assert "seed 0" in project.on_ci(AGREES).outlines[-2]
        assert "seed 9" in project.on_ci(AGREES, "--gradcheck-seed=9").outlines[-2]
        seeds = {project(AGREES).outlines[-2].rsplit(maxsplit=1)[-1] for _ in range(3)}
        assert len(seeds) == 3

    def test_a_seed_for_each_day(self, project, monkeypatch):
        midnight = time.struct_time((2026, 3, 1, 0, 0, 0, 6, 60, 0))
        monkeypatch.setattr(time, "gmtime", lambda *_: midnight)
        assert "seed 20260301" in project.on_ci(AGREES, "--gradcheck-seed=daily").outlines[-2]

    def test_a_random_seed_for_each_run(self, project):
        runs = [project.on_ci(AGREES, "--gradcheck-seed=random") for _ in range(2)]
        assert runs[0].outlines[-2].rsplit()[-1] != runs[1].outlines[-2].rsplit()[-1]

    def test_every_check_leaves_an_html_page(self, project, pytester):
        tests = (
            AGREES
            + WRONG
            + (
                "import pytest\n"
                "@pytest.mark.parametrize('x', ['a/b', 'a b'])\n"
                "def test_many(gradcheck, x):\n"
                "    gradcheck(cost, grad, THETA)\n    gradcheck(cost, grad, THETA)\n"
            )
        )
        result = project(tests, "--gradcheck-html=out/reports")
        pages = sorted((pytester.path / "out" / "reports").glob("*.html"))
        assert len(pages) == 6
        wrong = [page for page in pages if "test_wrong" in page.name]
        assert len(wrong) == 1
        assert "theta[1]" in wrong[0].read_text()
        result.stdout.fnmatch_lines([f"*report written to *{wrong[0].name}"])

    def test_a_file_in_the_place_of_the_folder_is_refused(self, project, pytester):
        (pytester.path / "taken").write_text("")
        result = project(AGREES, "--gradcheck-html=taken")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*--gradcheck-html=taken cannot be a folder: it is a file."])

    def test_html_without_jinja2_is_refused_at_the_start(self, project, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: None)
        result = project(AGREES, "--gradcheck-html=out")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(["*pip install 'fastgradcheck?plot?'*"])


class TestXdist:
    def test_the_controller_sums_up_what_workers_checked(self, project):
        result = project(AGREES + WRONG + UNDECIDED, "-n", "2", "--gradcheck-seed=7")
        result.assert_outcomes(passed=1, failed=2)
        result.stdout.re_match_lines(
            [r"gradcheck: 3 checks, 1 agree, 1 wrong, 1 undecided, [\d,]+ evaluations, seed 7$"]
        )

    def test_workers_share_the_seed_that_the_controller_names(self, project, pytester):
        result = project(
            "import pytest, pathlib\n"
            "@pytest.mark.parametrize('i', range(4))\n"
            "def test_seed(gradcheck, i):\n"
            "    seed = gradcheck(cost, grad, THETA).seed\n"
            f"    pathlib.Path({str(pytester.path)!r}, f'seed{{i}}').write_text(str(seed))\n",
            "-n",
            "2",
        )
        result.assert_outcomes(passed=4)
        seeds = {path.read_text() for path in pytester.path.glob("seed?")}
        assert len(seeds) == 1
        result.stdout.fnmatch_lines([f"gradcheck: 4 checks, * seed {seeds.pop()}"])

    @pytest.mark.parametrize(("options", "n_jobs"), [((), None), (("-n", "2"), 1)])
    def test_workers_leave_each_other_the_cores(self, project, options, n_jobs):
        project(
            "import fastgradcheck.check as check\n"
            "def test_n_jobs(gradcheck, monkeypatch):\n"
            "    real, seen = check.gradcheck, {}\n"
            "    def record(*given, **named):\n"
            "        seen.update(named)\n"
            "        return real(*given, **named)\n"
            "    monkeypatch.setattr(check, 'gradcheck', record)\n"
            "    gradcheck(cost, grad, THETA)\n"
            f"    assert seen.get('n_jobs') == {n_jobs}\n",
            *options,
        ).assert_outcomes(passed=1)


def test_start_up_loads_nothing_of_ours(project):
    project(
        "import sys\n"
        "sys.modules.pop('numpy')\n"
        "def test_nothing():\n"
        "    assert 'fastgradcheck_pytest' in sys.modules\n"
        "    assert not {'fastgradcheck', 'numba', 'scipy', 'rich'} & set(sys.modules)\n",
        apart=True,
    ).assert_outcomes(passed=1)


JACOBIANS = """
A = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
LIKE = np.ones(2)

def fun(theta):
    return np.sin(A @ theta)

def jac(theta):
    return np.cos(A @ theta)[:, None] * A

def jvp(theta, v):
    return jac(theta) @ v

def vjp(theta, u):
    return jac(theta).T @ u

def hess(theta):
    return np.diag(2 * theta)

def test_jacobian(jaccheck):
    assert jaccheck(fun, jac, theta=THETA).seed == 3

def test_products(jaccheck):
    jaccheck(fun, jvp, THETA, form="jvp")
    jaccheck(fun, vjp, THETA, form="vjp")

def test_hessian(hesscheck):
    hesscheck(grad, hess, THETA)

def test_pair(paircheck):
    paircheck(jvp, vjp, THETA, LIKE)

def test_wrong_jacobian(jaccheck):
    jaccheck(fun, lambda t: 2 * jac(t), THETA)

def test_wrong_hessian(hesscheck):
    hesscheck(grad, lambda t: hess(t) + np.eye(3, k=1), THETA)

def test_wrong_pair(paircheck):
    paircheck(jvp, lambda t, u: -vjp(t, u), THETA, LIKE)

def test_refused(jaccheck):
    jaccheck(fun, lambda t: jac(t).T, THETA)
"""


def test_jacobians_hessians_and_pairs_have_fixtures(project, tmp_path):
    folder = tmp_path / "reports"
    result = project(JACOBIANS, "--gradcheck-seed=3", f"--gradcheck-html={folder}")
    result.assert_outcomes(passed=4, failed=4)
    result.stdout.fnmatch_lines(
        [
            "*GradcheckError: WRONG in F / theta: *exactly 2*",
            "*GradcheckError: WRONG in theta / theta: The claimed Hessian is not symmetric*",
            "*GradcheckError: WRONG in F / theta: u.(J v) and v.(J'u) differ*",
            "*GradcheckInputError: jac has shape (3, 2)*it is the transpose*",
            "gradcheck: 8 checks, 5 agree, 3 wrong, *, seed 3",
        ]
    )
    assert len(list(folder.iterdir())) == 8


def test_a_sample_of_the_run_is_that_of_jacobians_too(project):
    tests = (
        JACOBIANS.partition("def test_jacobian(")[0]
        + """
def test_some_columns(jaccheck, paircheck):
    assert jaccheck(fun, jac, THETA).partial
    paircheck(jvp, vjp, THETA, LIKE)
"""
    )
    result = project(tests, "--gradcheck-sample=0.5")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["gradcheck: 2 checks, 2 agree (1 on a part of the components)*"])
