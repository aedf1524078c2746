"""What the tests of engines and workers share."""

from __future__ import annotations

import pytest

from fastgradcheck.evaluation import parallel
from fastgradcheck.evaluation.engines import python


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send even the smallest plan to the workers, in many chunks."""
    monkeypatch.setattr(parallel, "WORTH_SENDING_SECONDS", 0.0)
    for module in (parallel, python):
        monkeypatch.setattr(module, "CHUNK_SECONDS", 1e-9)
