"""The wheel, installed and run where there is nothing else.

``python -m studies.wheel dist/fastgradcheck-0.1.0-py3-none-any.whl``; a minute. It makes an empty
environment in a temporary folder, installs the wheel with its dependencies, and runs what the
README shows first: from Python, on the command line and, once pytest is there, in a test.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tests.cases import documents

README = documents.ROOT / "README.md"
MISSING = """\
import fastgradcheck as fgc
try:
    fgc.gradcheck(lambda t: t @ t, lambda t: 2 * t, [1.0, 2.0], seed=0).to_html()
except ImportError as error:
    print(error)
"""


def main(wheel: Path) -> None:
    """Install and run; a step that fails raises."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        venv.create(folder / "env", with_pip=True)
        programs = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
        python = str(programs / "python")

        def run(*command: str) -> str:
            done = subprocess.run(
                command,
                cwd=folder,
                env={n: v for n, v in os.environ.items() if n != "PYTHONPATH"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            return done.stdout

        def install(what: str) -> None:
            run(python, "-m", "pip", "install", "--quiet", what)

        install(str(wheel.resolve()))
        blocks = list(documents.blocks(README))
        first = next(block for block in blocks if block.language == "python")
        told = run(python, "-W", "error", "-c", first.text)
        assert told.startswith("WRONG"), told
        assert told.rstrip().endswith("('b',)"), told
        for block in blocks:
            if block.title.endswith(".py"):
                (folder / block.title).write_text(block.text, "utf-8")
        assert run(str(programs / "fastgradcheck"), "check", "model.py").startswith("AGREES")
        assert run(python, "-m", "fastgradcheck", "doctor")
        assert "pip install 'fastgradcheck[plot]'" in run(python, "-c", MISSING)
        install("pytest")
        told = run(python, "-m", "pytest", "-q", "test_model.py")
        assert "gradcheck: 1 check, 1 agree" in told, told
        print(f"{wheel.name} installs and runs on {run(python, '--version').strip()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
