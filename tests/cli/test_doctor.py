"""What `fastgradcheck doctor` says of the machine."""

from __future__ import annotations

import importlib
import os

import pytest

from fastgradcheck.cli import doctor
from fastgradcheck.cli.doctor import Fact
from fastgradcheck.cli.main import main

pytestmark = pytest.mark.usefixtures("desk")


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

    def test_versions_do_not_need_a_module_that_others_happen_to_import(self, monkeypatch):
        monkeypatch.delattr(importlib, "metadata", raising=False)
        assert "numpy " in doctor._versions().value

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
