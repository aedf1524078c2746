"""The pytest plugin: the fixture ``gradcheck`` and its kin, which assert, and a line that sums up.

It lies outside the package, and imports it only when a test asks for the fixture, so that a test
run that checks no gradient does not pay for NumPy and Numba.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
import time
import zlib
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import pytest

if TYPE_CHECKING:
    from fastgradcheck.options import CheckOptions
    from fastgradcheck.result import GradcheckResult

_PROPERTY = "gradcheck"
_SEED = pytest.StashKey[int]()
_MARGIN = 12  # pytest puts "E" and the indentation of the failing line before every line
_VERDICTS = {"AGREES": "agree", "WRONG": "wrong", "UNDECIDED": "undecided", "SKIPPED": "skipped"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, all of which begin with ``--gradcheck``."""
    group = parser.getgroup("gradcheck", "gradient checks (fastgradcheck)")
    group.addoption(
        "--gradcheck-sample",
        type=_fraction,
        metavar="FRACTION",
        help="check this fraction of the components, 0 < FRACTION <= 1, wherever a test does not "
        "say itself what it samples (beyond 2,000 components, directions cover the others); "
        "1 checks every component",
    )
    group.addoption(
        "--gradcheck-seed",
        type=_seed,
        metavar="SEED",
        help="seed of the random choices of every check that sets none: a number; daily, another "
        "one each day (UTC), the same for all jobs of that day; or random. By default 0 where the "
        "environment has CI, random elsewhere. The summary names the one that was used",
    )
    group.addoption(
        "--gradcheck-fingerprints",
        type=Path,
        metavar="DIR",
        help="keep the values of J, or of F, of every check and assertion in this folder, and take "
        "them from there as long as the function, theta and args are the same: a derivative that "
        "agrees with them costs one evaluation",
    )
    group.addoption(
        "--gradcheck-html",
        type=Path,
        metavar="DIR",
        help="write the report of every check into this folder, as one HTML file each",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed of the run and create the folder of the reports."""
    seed = config.getoption("--gradcheck-seed")
    if seed is None:
        # A build that is red must be red again when it is repeated.
        seed = 0 if os.environ.get("CI") else _random_seed()
    config.stash[_SEED] = getattr(config, "workerinput", {}).get("gradcheck_seed", seed)
    _create(config, "--gradcheck-fingerprints")
    if _create(config, "--gradcheck-html") and importlib.util.find_spec("jinja2") is None:
        raise pytest.UsageError(
            "--gradcheck-html needs jinja2, which is not installed: "
            "pip install 'fastgradcheck[plot]'."
        )


def _create(config: pytest.Config, option: str) -> bool:
    """Create the folder that an option names; whether it names one."""
    folder = config.getoption(option)
    if folder is None:
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "it is a file" if folder.is_file() else error.strerror
        raise pytest.UsageError(f"{option}={folder} cannot be a folder: {why}.") from error
    return True


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the seed to a worker of pytest-xdist, so that the summary's is everybody's."""
    node.workerinput["gradcheck_seed"] = node.config.stash[_SEED]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Keep and find the fingerprints of a test's checks, fixture or assertions, if so asked."""
    folder = item.config.getoption("--gradcheck-fingerprints")
    if folder is None:
        return (yield)
    from fastgradcheck.fingerprints.store import STORE, Store

    before = STORE.set(Store(folder, item.nodeid))
    try:
        return (yield)
    finally:
        STORE.reset(before)


def pytest_exception_interact(call: pytest.CallInfo[Any]) -> None:
    """End the run if it was asked to end (SIGTERM) during a check: no test is to go on then."""
    known = sys.modules.get("fastgradcheck.errors")
    error = call.excinfo.value if call.excinfo is not None else None
    if known is not None and isinstance(error, known.Terminated):
        pytest.exit("SIGTERM came during a gradient check", returncode=error.code)


@pytest.fixture
def gradcheck(request: pytest.FixtureRequest) -> Gradcheck:
    """Check a gradient: ``gradcheck(cost, grad, theta, ...)`` fails the test unless it agrees.

    Takes what ``fastgradcheck.gradcheck`` takes, and ``allow_undecided=True``; returns the result.
    """
    return Gradcheck(request)


@pytest.fixture
def jaccheck(request: pytest.FixtureRequest) -> Callable[..., GradcheckResult]:
    """Check a Jacobian: ``jaccheck(fun, jac, theta, ...)`` fails the test unless it agrees.

    Takes what ``fastgradcheck.jaccheck`` takes, and ``allow_undecided=True``; returns the result.
    """
    return Gradcheck(request).jaccheck


@pytest.fixture
def hesscheck(request: pytest.FixtureRequest) -> Callable[..., GradcheckResult]:
    """Check a Hessian: ``hesscheck(grad, hess, theta, ...)`` fails the test unless it agrees.

    Takes what ``fastgradcheck.hesscheck`` takes, and ``allow_undecided=True``; returns the result.
    """
    return Gradcheck(request).hesscheck


@pytest.fixture
def paircheck(request: pytest.FixtureRequest) -> Callable[..., GradcheckResult]:
    """Check a jvp beside a vjp: ``paircheck(jvp, vjp, theta, like, ...)`` fails unless they agree.

    Takes what ``fastgradcheck.paircheck`` takes, and ``allow_undecided=True``; returns the result.
    """
    return Gradcheck(request).paircheck


class Gradcheck:
    """What the fixtures give to a test."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._node = request.node
        self._config = request.config

    def __call__(
        self,
        cost: Callable[..., Any],
        grad: Any,
        theta: Any,
        *,
        allow_undecided: bool = False,
        **options: Unpack[CheckOptions],
    ) -> GradcheckResult:
        """Check, and raise ``fastgradcheck.GradcheckError`` unless the gradient agrees."""
        __tracebackhide__ = True
        from fastgradcheck.check import gradcheck
        from fastgradcheck.fingerprints.store import checked

        subject = "gradient", gradcheck, cost, grad, theta, {**self._defaults(), **options}
        return self._asserted(allow_undecided, checked, *subject)

    def jaccheck(
        self, fun: Any, jac: Any, theta: Any, *, allow_undecided: bool = False, **options: Any
    ) -> GradcheckResult:
        """The same of a Jacobian; takes what ``fastgradcheck.jaccheck`` takes."""
        __tracebackhide__ = True
        from fastgradcheck.fingerprints.store import checked
        from fastgradcheck.jacobians.check import jaccheck

        subject = "Jacobian", jaccheck, fun, jac, theta, {**self._defaults(), **options}
        return self._asserted(allow_undecided, checked, *subject)

    def hesscheck(
        self, grad: Any, hess: Any, theta: Any, *, allow_undecided: bool = False, **options: Any
    ) -> GradcheckResult:
        """The same of a Hessian; takes what ``fastgradcheck.hesscheck`` takes."""
        __tracebackhide__ = True
        from fastgradcheck.fingerprints.store import checked
        from fastgradcheck.jacobians.check import hesscheck

        subject = "Hessian", hesscheck, grad, hess, theta, {**self._defaults(), **options}
        return self._asserted(allow_undecided, checked, *subject)

    def paircheck(
        self, jvp: Any, vjp: Any, theta: Any, like: Any, *, allow_undecided: bool = False,
        **options: Any,
    ) -> GradcheckResult:  # fmt: skip
        """The same of a jvp beside a vjp; takes what ``fastgradcheck.paircheck`` takes."""
        __tracebackhide__ = True
        from fastgradcheck.jacobians.pairs import paircheck

        every = {"seed": self._config.stash[_SEED], **options}
        return self._asserted(allow_undecided, paircheck, jvp, vjp, theta, like, **every)

    def _asserted(
        self,
        allow_undecided: bool,
        check: Callable[..., GradcheckResult],
        *subject: Any,
        **options: Any,
    ) -> GradcheckResult:
        __tracebackhide__ = True
        from fastgradcheck.cli.tracebacks import user_frames
        from fastgradcheck.report.content import summary
        from fastgradcheck.report.text import render
        from fastgradcheck.testing import GradcheckError, require

        try:
            result = check(*subject, **options)
        except Exception as error:
            for link in _chain(error):
                link.__traceback__ = user_frames(link.__traceback__)
            raise
        self._record(result)
        try:
            require(result, allow_undecided=allow_undecided)
        except GradcheckError as error:
            # The first line is what the short summary of the run shows.
            error.args = (f"{summary(result)}\n\n{render(result, width=self._width())}",)
            raise
        return result

    def _defaults(self) -> dict[str, Any]:
        defaults: dict[str, Any] = {"seed": self._config.stash[_SEED]}
        sample = self._config.getoption("--gradcheck-sample")
        if sample is not None:
            defaults["sample"] = sample
        if hasattr(self._config, "workerinput"):
            # The workers of pytest-xdist already fill the cores.
            defaults["n_jobs"] = 1
        return defaults

    def _width(self) -> int:
        """Room for a report: stdout is captured, so only the reporter knows the terminal."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        columns = 80 if reporter is None else self._config.get_terminal_writer().fullwidth
        return max(60, min(columns, 120) - _MARGIN)

    def _record(self, result: GradcheckResult) -> None:
        properties = self._node.user_properties
        told = {
            "verdict": result.verdict.name,
            "wrong": list(result.wrong[:20]),
            "partial": result.partial,
            "evaluations": int(result.evaluations),
            "seconds": result.seconds.total,
            "seed": int(result.seed),
        }
        # As text: what writes a file of it (--junit-xml) takes the value as it is.
        properties.append((_PROPERTY, json.dumps(told)))
        folder = self._config.getoption("--gradcheck-html")
        if folder is not None:
            count = sum(name == _PROPERTY for name, _ in properties)
            path = folder / _file_name(self._node.nodeid, count)
            result.to_html(path)
            self._node.add_report_section("call", "gradcheck", f"report written to {path}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Sum up all checks in one line."""
    checks = list(_checks(terminalreporter.stats))
    if not checks:
        return
    verdicts = Counter(check["verdict"] for check in checks)
    parts = sum(check["partial"] for check in checks if check["verdict"] == "AGREES")
    told = [f"{verdicts[v]} {word}" for v, word in _VERDICTS.items() if verdicts[v]]
    if parts:
        told[0] += f" ({parts} on a part of the components)"
    evaluations = sum(check["evaluations"] for check in checks)
    seed = terminalreporter.config.stash[_SEED]
    failed = verdicts["WRONG"] + verdicts["UNDECIDED"]
    terminalreporter.write_line(
        f"gradcheck: {len(checks):,} {'check' if len(checks) == 1 else 'checks'}, "
        f"{', '.join(told)}, {evaluations:,} evaluations, seed {seed}",
        **{"red" if failed else "green": True},
    )


def _checks(stats: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """What tests recorded, each once: the teardown's report comes last and holds everything."""
    for reports in stats.values():
        for report in reports:
            if getattr(report, "when", None) == "teardown":
                properties = report.user_properties
                yield from (json.loads(told) for name, told in properties if name == _PROPERTY)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _file_name(nodeid: str, count: int) -> str:
    """A legal name; the checksum keeps apart what differs only in illegal characters."""
    legal = re.sub(r"[^\w.-]+", "-", nodeid)[:120]
    return f"{legal}-{zlib.crc32(nodeid.encode()):08x}-{count}.html"


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value <= 1:
        raise ArgumentTypeError(f"{text!r} is not a fraction: write a number in (0, 1], e.g. 0.1")
    return value


def _seed(text: str) -> int:
    if text == "random":
        return _random_seed()
    if text == "daily":
        return int(time.strftime("%Y%m%d", time.gmtime()))
    if not text.isdecimal():
        raise ArgumentTypeError(
            f"{text!r} is not a seed: write a whole number, 0 or more, daily or random"
        )
    return int(text)


def _random_seed() -> int:
    # Not from the module random: that would move the state that the user's tests may rely on.
    return int.from_bytes(os.urandom(4), "little")
