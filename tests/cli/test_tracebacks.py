"""Whose fault an exception is, and which frames of it the user sees."""

from __future__ import annotations

import pytest

from fastgradcheck import check
from fastgradcheck.cli.main import main
from tests.cases.models import FILES, MODEL, write

pytestmark = pytest.mark.usefixtures("desk")


class TestTracebacks:
    @pytest.mark.parametrize("name", ["raises.py", "edge.py", "bug.py", "broken.py"])
    def test_the_users_own_traceback_follows(self, capsys, name):
        path = write(name, FILES[name]).resolve()
        main(["check", name])
        assert f'File "{path}", line' in capsys.readouterr().err

    def test_a_fault_of_ours_is_no_verdict(self, capsys, monkeypatch):
        monkeypatch.setattr(check, "gradcheck", lambda *_, **__: [][0])
        monkeypatch.setitem(check.gradcheck.__globals__, "__name__", "fastgradcheck.check")
        write("model.py", MODEL)
        assert main(["check", "model.py"]) == 70
        err = capsys.readouterr().err
        assert "a fault of fastgradcheck itself; please report it" in err
        assert "IndexError" in err


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


def test_frames_between_ours_and_the_users_are_left_out(capsys):
    text = MODEL.replace("return float", "raise SystemExit(0)\n        return float")
    write("leaves.py", text)
    assert main(["check", "leaves.py"]) == 2
    err = capsys.readouterr().err
    assert err.count("  File ") == 1, err
    assert "in cost" in err
