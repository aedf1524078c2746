"""What the command line finds: modules, files, objects and their neighbours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastgradcheck.cli.main import main
from tests.cases.models import MODEL, NJIT, SOURCE, command, planted, write

pytestmark = pytest.mark.usefixtures("desk")


class TestLoading:
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
