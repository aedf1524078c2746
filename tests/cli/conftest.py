"""What the tests of the command line share."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture
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
