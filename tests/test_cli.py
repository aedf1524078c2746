"""The command line: what it finds, what it refuses and how it ends."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import fastgradcheck
from fastgradcheck import check
from fastgradcheck.cli import doctor
from fastgradcheck.cli import main as cli
from fastgradcheck.cli.doctor import Fact
from fastgradcheck.cli.main import main

SOURCE = Path(__file__).resolve().parents[1] / "src"

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


@pytest.fixture(autouse=True)
def desk(tmp_path, monkeypatch):
    """An empty current folder; modules and paths of the test are forgotten after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("FASTGRADCHECK", raising=False)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


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


class TestVerdicts:
    def test_a_correct_gradient_exits_with_0_and_reports_on_stdout(self, capsys):
        write("model.py", MODEL)
        assert main(["check", "model.py"]) == 0
        assert capsys.readouterr().out.startswith("AGREES")

    def test_a_wrong_gradient_exits_with_1_and_names_the_component(self, capsys):
        write("model.py", planted())
        assert main(["check", "model.py"]) == 1
        out = capsys.readouterr().out
        assert out.startswith("WRONG")
        assert "theta[1]" in out

    def test_an_undecided_check_exits_with_3(self, capsys):
        # A relative noise of 1e-5: no difference quotient resolves 1e-7.
        noise = " * (1 + 1e-5 * np.sin(1e14 * theta.sum()))"
        write("model.py", MODEL.replace("/ 3)", "/ 3)" + noise))
        assert main(["check", "model.py"]) == 3
        assert capsys.readouterr().out.startswith("UNDECIDED")

    def test_a_check_that_is_switched_off_exits_with_0_and_says_so(self, capsys, monkeypatch):
        monkeypatch.setenv("FASTGRADCHECK", "off")
        write("model.py", planted())
        assert main(["check", "model.py"]) == 0
        assert capsys.readouterr().out.startswith("SKIPPED")

    def test_ctrl_c_exits_with_130_and_reports_what_there_is(self):
        slow = """
            def cost(theta):
                calls.append(time.sleep(0.02))
                if len(calls) == 100:
                    open("well-under-way", "w").close()
        """
        text = MODEL.replace("np.array([1.0,", "np.array([9.0] * 5000 + [1.0,")
        text = text.replace("    def cost(theta):", textwrap.indent(textwrap.dedent(slow), "    "))
        write(
            "model.py",
            text.replace("import numpy as np", "import time, numpy as np\n    calls = []"),
        )
        with command("check", "model.py", "--strategy", "components") as process:
            wait_for(Path("well-under-way"))
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        assert process.returncode == 130, err
        assert "Ctrl-C stopped the check" in out
        assert "Traceback" not in err

    def test_a_budget_that_ran_out_is_no_interruption(self, capsys, monkeypatch):
        slow = MODEL.replace("def cost(theta):", "def cost(theta):\n        time.sleep(0.02)")
        write(
            "model.py",
            slow.replace("import numpy", "import time, numpy").replace("[1", "[9]*900+[1"),
        )
        assert main(["check", "model.py", "--budget", "1"]) in (0, 3)


class TestWhatIsChecked:
    def test_a_module_by_its_dotted_name(self, capsys):
        write("package/__init__.py", "")
        write("package/model.py", MODEL)
        assert main(["check", "package.model"]) == 0

    def test_objects_by_their_own_names(self, capsys):
        text = MODEL.replace("def cost", "def loss").replace("def grad", "def slope")
        write("names.py", text.replace("theta = np", "start = np"))
        assert main(["check", "names.py:loss", "slope", "--theta", "start"]) == 0

    def test_objects_from_several_modules(self, capsys):
        write("costs.py", MODEL)
        write("other.py", planted())
        right = ["check", "costs:cost", "costs:grad", "--theta", "other:theta"]
        wrong = ["check", "costs:cost", "other.py:grad", "--theta", "costs:theta"]
        assert (main(right), main(wrong)) == (0, 1)

    def test_an_attribute_of_an_object(self, capsys):
        write("model.py", MODEL + "\n    class Net:\n        loss = staticmethod(cost)\n")
        assert main(["check", "model.py:Net.loss"]) == 0

    def test_args_and_layout_of_the_module(self, capsys):
        text = planted().replace("(theta):", "(theta, scale):") + "\n    args = (1.0,)\n"
        write("model.py", text + "    layout = {'W': (2,), 'b': (1,)}\n")
        assert main(["check", "model.py"]) == 1
        assert "W[1]" in capsys.readouterr().out

    def test_a_file_finds_its_neighbours(self, capsys):
        write("models/parts.py", MODEL)
        write("models/whole.py", "from parts import cost, grad, theta")
        assert main(["check", "models/whole.py"]) == 0

    @pytest.mark.parametrize("name", ["my-model.py", "json.py"])
    def test_a_file_whose_name_cannot_be_imported(self, capsys, name):
        write(name, MODEL)
        assert main(["check", name]) == 0
        assert sys.modules["json"] is json

    def test_a_cached_njit_cost_in_a_file_whose_name_cannot_be_imported(self):
        write("my-model.py", NJIT)
        code = (
            "from fastgradcheck.cli.loading import load_subject\n"
            "subject = load_subject('my-model.py')\n"
            "subject.cost(subject.theta)\n"
            "print(sum(subject.cost.stats.cache_hits.values()))"
        )
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        runs = [
            subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
            for _ in range(2)
        ]
        assert [int(run) for run in runs] == [0, 1]

    @pytest.mark.parametrize("name", ["model.py", "my-model.py"])
    def test_worker_processes_find_the_file(self, name):
        trace = (
            "open(str(os.getpid()), 'w').close()\n        time.sleep(0.01)\n        return float"
        )
        text = planted().replace("np.array([1.0,", "np.array([9.0] * 100 + [1.0,", 1)
        text = text.replace("[0.0, 0.5, 0.0]", "[0.0] * 101 + [0.5, 0.0]")
        text = text.replace("return float", trace).replace("import", "import os, time\n    import")
        write(name, text)
        with command("check", name, "--n-jobs", "2") as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode == 1, err
        assert "theta[101]" in out
        assert len([path for path in Path().iterdir() if path.name.isdecimal()]) > 1

    def test_options_arrive_as_arguments_of_gradcheck(self, monkeypatch):
        seen = {}

        def record(cost, grad, theta, **given):
            seen.update(given)
            raise KeyboardInterrupt

        monkeypatch.setattr(check, "gradcheck", record)
        write("model.py", MODEL)
        argv = (
            "--sample W=0.1,b=all --strategy screen --scheme forward --epsilon 1e-4 --threshold "
            "1e-6 --rtol 1e-3 --engine python --n-jobs -1 --budget 2.5 --checkpoint run.npz "
            "--seed 7"
        )
        assert main(["check", "model.py", *argv.split()]) == 130
        assert seen == {
            "args": (),
            "layout": None,
            "sample": {"W": 0.1, "b": None},
            "strategy": "screen",
            "scheme": "forward",
            "epsilon": 1e-4,
            "threshold": 1e-6,
            "rtol": 1e-3,
            "engine": "python",
            "n_jobs": -1,
            "budget": 2.5,
            "checkpoint": "run.npz",
            "seed": 7,
        }

    def test_what_is_not_given_is_left_to_gradcheck(self, monkeypatch):
        seen = {}
        monkeypatch.setattr(check, "gradcheck", lambda *_, **given: seen.update(given) or 1 / 0)
        write("model.py", MODEL)
        main(["check", "model.py"])
        assert set(seen) == {"args", "layout"}

    def test_every_option_is_an_argument_of_gradcheck(self):
        assert set(cli._CHECK_OPTIONS) <= set(inspect.signature(check.gradcheck).parameters)

    @pytest.mark.parametrize(
        ("text", "value"), [("0.1", 0.1), ("100", 100), ("1", 1), ("1.0", 1.0)]
    )
    def test_a_count_and_a_fraction_are_told_apart(self, monkeypatch, text, value):
        seen = {}
        monkeypatch.setattr(check, "gradcheck", lambda *_, **given: seen.update(given) or 1 / 0)
        write("model.py", MODEL)
        main(["check", "model.py", "--sample", text])
        assert seen["sample"] == value
        assert type(seen["sample"]) is type(value)


class TestOutput:
    def test_json_to_stdout_is_nothing_but_json(self, capsys):
        write("model.py", planted() + "\n    print('hello')\n")
        assert main(["check", "model.py", "--json", "-"]) == 1
        captured = capsys.readouterr()
        assert json.loads(captured.out)["wrong"] == ["theta[1]"]
        assert "hello" in captured.err

    def test_files_are_written_beside_the_report(self, capsys):
        write("model.py", planted())
        assert main(["check", "model.py", "--json", "a.json", "--html", "b.html"]) == 1
        assert capsys.readouterr().out.startswith("WRONG")
        assert json.loads(Path("a.json").read_text())["verdict"] == "WRONG"
        assert "theta[1]" in Path("b.html").read_text()

    def test_verbose_lists_every_component(self, capsys):
        write(
            "model.py",
            planted()
            .replace("[1.0, -2.0, 3.0]", "range(1, 41), float")
            .replace("np.array([0.0, 0.5, 0.0])", "0.5 * (theta == 2)"),
        )
        assert main(["check", "model.py", "--verbose"]) == 1
        out = capsys.readouterr().out
        assert all(f"theta[{i}]" in out for i in range(40))

    def test_a_reader_that_leaves_is_no_error(self):
        write("model.py", MODEL)
        with command("check", "model.py") as process:
            process.stdout.close()
            assert process.stderr.read() == ""
        assert process.returncode == 141

    def test_the_version_is_the_packages(self, capsys):
        with pytest.raises(SystemExit):
            main(["--version"])
        assert capsys.readouterr().out == f"fastgradcheck {fastgradcheck.__version__}\n"

    def test_help_loads_neither_numpy_nor_numba(self):
        code = (
            "import sys; from fastgradcheck.cli.main import main\n"
            "try: main(['check', '--help'])\n"
            "finally: assert not {'numpy', 'numba', 'rich'} & set(sys.modules)"
        )
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            check=True,
            capture_output=True,
        )


REFUSED = {
    "a missing file": (
        ["check", "modle.py"],
        r"no file modle\.py in .*\(did you mean model\.py\?\)",
    ),
    "a missing folder": (["check", "no/model.py"], "the folder no does not exist"),
    "a folder": (["check", "."], r"\. is a folder: name the file in it"),
    "a path without suffix": (["check", "./model"], r"did you mean model\.py\?"),
    "a missing module": (["check", "modle"], r"no module 'modle' .*\(did you mean model\?\)"),
    "a missing package": (["check", "nowhere.model:cost"], "There is no module 'nowhere'"),
    "a notebook": (["check", "book.ipynb"], "export the notebook as a script first"),
    "no Python": (["check", "data.txt"], r"its name must end in \.py"),
    "a colon at the end": (["check", "model:"], "'model:' ends in a colon"),
    "a missing name": (
        ["check", "named.py"],
        r"named\.py defines no grad \(did you mean gradient\?\); it defines theta, cost, gradient\."
        r" A check needs cost, grad and theta",
    ),
    "a missing name that was given": (
        ["check", "model.py", "--args", "batch"],
        "model.py defines no batch; it defines",
    ),
    "args without a comma": (["check", "bare.py"], r"type float, not a tuple .* args = \(X,\)"),
    "a module that raises": (["check", "raises.py"], "raised ZeroDivisionError: division by zero"),
    "a syntax error": (["check", "broken.py"], r"raised SyntaxError: .*broken\.py, line 1"),
    "a module that exits": (["check", "exits.py"], r"\(SystemExit: 3\).*__name__ == \"__main__\""),
    "a relative import": (["check", "relative.py"], "by its dotted name, as in package.model"),
    "a missing dependency": (["check", "needs.py"], "No module named 'nothing_like_it'"),
    "a folder for JSON": (["check", "model.py", "--json", "."], "is a folder: name the file"),
    "JSON into no folder": (["check", "model.py", "--json", "no/a"], "no does not exist. Create"),
    "unknown engine": (["check", "model.py", "--engine", "gpu"], "'gpu'"),
    "too many arguments": (
        ["check", "extra.py"],
        r"cost\(theta\) does not fit the call cost\(theta, \*args\) with 1 in args: too many",
    ),
    "a cost that raises": (
        ["check", "edge.py"],
        "cost raised ValueError at theta.*: outside the domain",
    ),
    "a gradient that raises": (["check", "bug.py"], "KeyError: 'W3'"),
}
FILES = {
    "model.py": MODEL,
    "named.py": MODEL.replace("def grad", "def gradient"),
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
        "if theta[1] > -2.0: raise ValueError('outside the domain')\n        return float",
    ),
    "bug.py": MODEL.replace("return theta**2", "return {}['W3']"),
}


class TestRefusals:
    @pytest.mark.parametrize("case", REFUSED)
    def test_bad_input_exits_with_2_and_a_paragraph(self, capsys, case):
        for name, text in FILES.items():
            write(name, text)
        argv, message = REFUSED[case]
        assert main(argv) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert re.match(rf"fastgradcheck: error: .*{message}", err), err
        assert "/src/fastgradcheck" not in err, "a traceback through our own code"

    @pytest.mark.parametrize("name", ["raises.py", "edge.py", "bug.py", "broken.py"])
    def test_the_users_own_traceback_follows(self, capsys, name):
        path = write(name, FILES[name]).resolve()
        main(["check", name])
        assert f'File "{path}", line' in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("argv", "message"),
        [
            ([], "the following arguments are required: COMMAND"),
            (["model.py", "--sample", "0.1"], "fastgradcheck check model.py --sample 0.1"),
            (["check", "model.py", "--sample", "lots"], "'lots' is not a sample: write 0.1"),
            (["check", "model.py", "--epsilon", "W=big"], "'W=big' is not a step: write auto"),
            (["check", "model.py", "--sampel", "0.1"], "unrecognized arguments: --sampel"),
        ],
    )
    def test_a_command_that_cannot_be_read_exits_with_2(self, capsys, argv, message):
        with pytest.raises(SystemExit) as stop:
            main(argv)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err

    def test_an_unwritable_folder_is_refused_before_the_check(self, capsys, monkeypatch):
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        assert main(["check", "nowhere.py", "--html", "report.html"]) == 2
        assert "report.html cannot be written: permission denied" in capsys.readouterr().err

    def test_html_without_jinja2_is_refused_before_the_check(self, capsys, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert main(["check", "nowhere.py", "--html", "report.html"]) == 2
        assert "pip install 'fastgradcheck[plot]'" in capsys.readouterr().err

    def test_a_fault_of_ours_is_no_verdict(self, capsys, monkeypatch):
        monkeypatch.setattr(check, "gradcheck", lambda *_, **__: [][0])
        monkeypatch.setitem(check.gradcheck.__globals__, "__name__", "fastgradcheck.check")
        write("model.py", MODEL)
        assert main(["check", "model.py"]) == 70
        err = capsys.readouterr().err
        assert "a fault of fastgradcheck itself; please report it" in err
        assert "IndexError" in err


class TestDoctor:
    def test_every_fact_has_a_value_and_a_meaning(self):
        facts = doctor.examine()
        names = [fact.name for fact in facts]
        assert names == [
            "versions",
            "cores",
            "threading layer",
            "SVML",
            "BLAS",
            "kernel cache",
            "settings",
            "extras",
        ]
        assert all(fact.value and fact.meaning for fact in facts)

    def test_it_prints_and_exits_with_0(self, capsys):
        assert main(["doctor"]) == 0
        out = capsys.readouterr().out
        assert "threading layer" in out
        assert "numba" in out

    def test_what_is_worth_a_look_is_summed_up(self, capsys):
        doctor.show((Fact("cores", "1", "One."), Fact("SVML", "no", "Slow.", good=False)))
        assert capsys.readouterr().out.rstrip().endswith("Worth a look: SVML.")
        doctor.show((Fact("cores", "1", "One."),))
        assert capsys.readouterr().out.rstrip().endswith("Nothing to gain here.")

    def test_a_probe_that_fails_is_a_fact(self):
        fact = doctor._probe("BLAS", lambda: [][0])
        assert not fact.good
        assert fact.value == "IndexError: list index out of range"
        assert "installation may be broken" in fact.meaning

    @pytest.mark.parametrize(
        ("quota", "cores"), [("50000 100000", 0.5), ("max 100000", None), (None, None)]
    )
    def test_a_containers_quota_limits_the_cores(self, tmp_path, quota, cores):
        file = tmp_path / "cpu.max"
        if quota is not None:
            file.write_text(quota)
        available = len(os.sched_getaffinity(0))
        assert doctor.usable_cores(file) == (available if cores is None else cores)

    def test_settings_that_cost_speed_are_told(self, monkeypatch):
        monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
        fact = doctor._settings()
        assert not fact.good
        assert "a hundred times slower" in fact.meaning


@pytest.mark.parametrize("at_fault", ["cost", "grad"])
def test_an_exception_of_compiled_code_is_the_users(at_fault, capsys):
    raising = {"cost": "theta[0] ** 2", "grad": "2 * theta"}
    raising[at_fault] = "1 / (theta[0] - 3.0)"  # Numba raises as Python does, but has no frames
    write(
        "model.py",
        "import numpy as np\nfrom numba import njit\ntheta = np.array([3.0])\n"
        + "".join(
            f"@njit\ndef {name}(theta):\n    return {body}\n" for name, body in raising.items()
        ),
    )
    assert main(["check", "model.py"]) == 2
    error = capsys.readouterr().err
    assert "your code raised ZeroDivisionError" in error
    assert "compiled code leaves no traceback: NUMBA_DISABLE_JIT=1 shows the line." in error
