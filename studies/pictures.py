"""The picture and the HTML report of the start page, from the check that it shows.

``python -m studies.pictures`` from the checkout's root, with the extra ``plot``; seconds.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import matplotlib

from studies import tables
from tests.cases import documents

DOCS = tables.ROOT / "docs"


def main() -> None:
    """Write docs/pictures/start.png and docs/report.html."""
    matplotlib.use("agg")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        result = documents.run(DOCS / "index.md").names["result"]
    figure = result.plot()
    pictures = DOCS / "pictures"
    pictures.mkdir(exist_ok=True)
    figure.savefig(pictures / "start.png", dpi=75)
    # The page shows the code; where it ran is of no interest.
    report = result.to_html().replace(str(DOCS / "index.md"), "index.md")
    Path(DOCS / "report.html").write_text(report, "utf-8")


if __name__ == "__main__":
    main()
