"""The command line: how it is called, what it refuses and how it ends."""

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
from pathlib import Path

import pytest

import fastgradcheck
from fastgradcheck import check
from fastgradcheck.cli import main as cli
from fastgradcheck.cli.main import main
from tests.cases.models import FILES, MODEL, SOURCE, command, planted, wait_for, write

pytestmark = pytest.mark.usefixtures("desk")


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

    @pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_ctrl_c_and_sigterm_have_their_codes_and_report_what_there_is(self, number, code):
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
            process.send_signal(number)
            out, err = process.communicate(timeout=20)
        assert process.returncode == code, err
        assert "The check was interrupted (Ctrl-C or SIGTERM)" in out
        assert "Traceback" not in err

    @pytest.mark.parametrize(
        "text",
        [
            "import sys\nsys.exit(0)\n",
            MODEL.replace("return float", "raise SystemExit(0)\n        return float"),
        ],
        ids=["module", "cost"],
    )
    def test_code_that_leaves_with_0_is_no_agreement(self, text, capsys, desk):
        write("model.py", textwrap.dedent(text))
        assert main(["check", "model.py"]) == 2
        assert "SystemExit: 0" in capsys.readouterr().err

    def test_a_signal_that_comes_before_the_check_has_the_same_code(self, capsys, desk):
        write("model.py", "import signal\nsignal.raise_signal(signal.SIGTERM)\n")
        before = signal.getsignal(signal.SIGTERM)
        assert main(["check", "model.py"]) == 143
        assert capsys.readouterr().err == "fastgradcheck: interrupted.\n"
        assert signal.getsignal(signal.SIGTERM) is before

    def test_a_budget_that_ran_out_is_no_interruption(self, capsys, monkeypatch):
        slow = MODEL.replace("def cost(theta):", "def cost(theta):\n        time.sleep(0.02)")
        write(
            "model.py",
            slow.replace("import numpy", "import time, numpy").replace("[1", "[9]*900+[1"),
        )
        assert main(["check", "model.py", "--budget", "1"]) in (0, 3)


class TestWhatIsChecked:
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
            "bounds": None,
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
        assert set(seen) == {"args", "layout", "bounds"}

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("0:1", (0.0, 1.0)),
            ("-1:1", (-1.0, 1.0)),
            ("-inf:1", (-float("inf"), 1.0)),
            ("-1e-3:inf", (-1e-3, float("inf"))),
            ("0:", (0.0, None)),
            (":", (None, None)),
            ("W1=0:1,b1=:5", {"W1": (0.0, 1.0), "b1": (None, 5.0)}),
            ("box", [(0, 1)]),
            ("other.py:box", "there"),
            ("other:box", "there"),
            (None, "by its name"),
        ],
    )
    def test_bounds_as_numbers_or_by_name(self, monkeypatch, text, value):
        seen = {}
        monkeypatch.setattr(check, "gradcheck", lambda *_, **given: seen.update(given) or 1 / 0)
        write("model.py", MODEL + "\n    box = [(0, 1)]\n    bounds = 'by its name'\n")
        write("other.py", "box = 'there'")
        main(["check", "model.py", *([] if text is None else ["--bounds", text])])
        assert seen["bounds"] == value

    def test_bounds_keep_the_cost_in_its_domain(self, capsys):
        text = MODEL.replace(
            "    def cost(theta):", "    def cost(theta):\n        assert max(theta) <= 3"
        )
        write("model.py", text)
        assert main(["check", "model.py", "--bounds", ":3"]) == 0
        assert main(["check", "model.py", "--bounds", ":2"]) == 2
        assert "theta[2] = 3 lies outside its bounds [-inf, 2]" in capsys.readouterr().err

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
    "no cost": (
        ["check", "half.py"],
        r"half\.py defines no cost; .* there may be fun and jac, or grad and hess\.",
    ),
    "no product": (
        ["check", "model.py", "--form", "vjp"],
        r"defines no fun and no jac; .* fastgradcheck check MODULE:FUN JAC --theta THETA",
    ),
    "a missing name that was given": (
        ["check", "model.py", "--args", "batch"],
        "model.py defines no batch; it defines",
    ),
    "args without a comma": (
        ["check", "bare.py"],
        r"bare\.py:cost\(theta\) does not fit the call .* 1 in args",
    ),
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
        r"cost raised ValueError on both sides of theta\[1\] = -2, .* away: outside the domain",
    ),
    "a gradient that raises": (["check", "bug.py"], "KeyError: 'W3'"),
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

    @pytest.mark.parametrize(
        ("argv", "message"),
        [
            ([], "the following arguments are required: COMMAND"),
            (["model.py", "--sample", "0.1"], "fastgradcheck check model.py --sample 0.1"),
            (["check", "model.py", "--sample", "lots"], "'lots' is not a sample: write 0.1"),
            (["check", "model.py", "--epsilon", "W=big"], "'W=big' is not a step: write auto"),
            (["check", "model.py", "--bounds", "0-1"], "'0-1' is not bounds: write 0:1, 0: (op"),
            (["check", "model.py", "--bounds", "W=a:b"], "'W=a:b' is not bounds: write"),
            (
                ["check", "model.py", "--sampel", "0.1"],
                "unrecognized arguments: --sampel 0.1 (did you mean --sample?)",
            ),
            (["check", "model.py", "--eps=1e-5"], "--eps=1e-5 (did you mean --epsilon?)"),
            (["check", "model.py", "--njobs", "2"], "--njobs 2 (did you mean --n-jobs?)"),
            (
                ["check", "model.py", "--zzz"],
                "arguments: --zzz (fastgradcheck check --help lists what there is)\n",
            ),
        ],
    )
    def test_a_command_that_cannot_be_read_exits_with_2(self, capsys, argv, message):
        with pytest.raises(SystemExit) as stop:
            main(argv)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("no/such/run.npz", "cannot be written (No such file or directory)"),
            (".", "checkpoint is '.'; pass the path of a file"),
            ("folder", "folder cannot be read (Is a directory): name a file"),
            ("model.py", "model.py is not a checkpoint of this package, or it is damaged"),
        ],
    )
    def test_a_checkpoint_that_cannot_be_has_no_traceback(self, name, message, capsys, desk):
        write("model.py", MODEL)
        Path("folder").mkdir()
        assert main(["check", "model.py", "--checkpoint", name]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1, err

    def test_an_unwritable_folder_is_refused_before_the_check(self, capsys, monkeypatch):
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        assert main(["check", "nowhere.py", "--html", "report.html"]) == 2
        assert "report.html cannot be written: permission denied" in capsys.readouterr().err

    def test_html_without_jinja2_is_refused_before_the_check(self, capsys, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert main(["check", "nowhere.py", "--html", "report.html"]) == 2
        assert "pip install 'fastgradcheck[plot]'" in capsys.readouterr().err


JACOBIAN = """
import numpy as np
A = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
theta = np.array([0.1, 0.2, 0.3])
outputs = {"first": 1, "second": 1}
def fun(t):
    return np.tanh(A @ t)
def jac(t):
    return FACTOR * (1 - np.tanh(A @ t) ** 2)[:, None] * A
def jvp(t, v):
    return jac(t) @ v
"""


HESSIAN = """
from scipy.optimize import rosen_der as grad, rosen_hess as hess, rosen_hess_prod as hvp
import numpy as np
theta = np.array([0.1, 0.2, 0.3])
"""


@pytest.mark.parametrize(
    ("text", "options", "status", "said"),
    [
        (JACOBIAN.replace("FACTOR", "1"), [], 0, "The Jacobian is the Jacobian"),
        (JACOBIAN.replace("FACTOR", "2"), [], 1, "second[0] / theta[2]"),
        (JACOBIAN.replace("FACTOR", "1"), ["--kind", "jacobian"], 0, "first / theta"),
        (HESSIAN, [], 0, "The Hessian is the derivative of the gradient"),
    ],
)
def test_jacobians_and_hessians_of_a_file(text, options, status, said, tmp_path, capsys):
    path = tmp_path / "model.py"
    path.write_text(text)
    assert cli.main(["check", str(path), *options]) == status
    assert said in " ".join(capsys.readouterr().out.split())


def test_products_of_a_file(tmp_path, capsys):
    path = tmp_path / "model.py"
    path.write_text(JACOBIAN.replace("FACTOR", "1") + HESSIAN.partition("import numpy")[0])
    by_jvp = ["check", f"{path}:fun", "jvp", "--kind", "jacobian", "--form", "jvp"]
    assert cli.main(by_jvp) == 0
    by_hvp = ["check", f"{path}:grad", "hvp", "--kind", "hessian", "--form", "hvp"]
    assert cli.main(by_hvp) == 0
    assert cli.main(["check", f"{path}:fun", "--kind", "jacobian", "--scheme", "forward"]) == 0
    assert "scheme forward" in " ".join(capsys.readouterr().out.split())
    # The form, or the name of the derivative, says what is checked.
    for words in (by_jvp, by_hvp):
        at = words.index("--kind")
        assert cli.main(words[:at] + words[at + 2 :]) == 0
    assert cli.main(["check", f"{path}:fun", "jac"]) == cli.main(
        ["check", f"{path}:fun", "jac", "--kind", "jacobian"]
    )
