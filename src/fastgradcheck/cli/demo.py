"""A guided tour: five gradient checks on scikit-learn's bundled handwritten digits."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from fastgradcheck.check import check_points, gradcheck
from fastgradcheck.cli import digits as nets
from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.report.numbers import count
from fastgradcheck.report.plots import KINDS
from fastgradcheck.report.text import show
from fastgradcheck.result import GradcheckResult
from fastgradcheck.verdict.verdict import Verdict

Array = NDArray[Any]


IMAGES = 256  # a check needs some of the data only: J and its gradient are of the same images


LARGE_BATCH = 32


PLANTED = (123, 45)


@dataclass(frozen=True)
class Stop:
    """One stop of the tour.

    Attributes
    ----------
    title, intro, lesson : str
        What is checked, why, and what was learnt if it went as expected.
    check : callable
        Returns the results by name.
    expected : Verdict
    named : tuple of str
        What must be named wrong, no more and no less.
    """

    title: str
    intro: str
    check: Callable[[], dict[str, GradcheckResult]]
    expected: Verdict
    lesson: str
    named: tuple[str, ...] = ()


def tour() -> list[Stop]:
    """The five stops; data and networks are made here, the checks run when they are called."""
    X_all, y_all = nets.digits()
    X, y = X_all[:IMAGES], y_all[:IMAGES]
    args = (X, y, nets.RIDGE)
    start = nets.initial()
    points = {"init": start, "trained": nets.trained(start, X_all, y_all)}
    theirs = nets.SklearnNetwork(X, y)
    return [
        Stop(
            "Back-propagation written by hand, at two points",
            f"A {nets.PIXELS}-{nets.HIDDEN}-{nets.DIGITS} tanh network compiled with @njit, "
            f"{IMAGES} of the images. A bug can stay unseen where the weights are small, so it is "
            "checked at random initialisation and again after 100 steps of gradient descent: each "
            "of the 2,410 parameters is moved by +h and by -h.",
            lambda: dict(
                check_points(nets.cost, nets.grad, points, args=args, strategy="components", seed=1)
            ),
            Verdict.AGREES,
            "Every component of every layer agrees, at both points. Train with it.",
        ),
        Stop(
            "The same with a bug: db1 lacks the 1/m",
            "The bias gradient of the first layer is summed over the images instead of averaged. "
            "The same 100 steps with it leave the network at chance, and the cost does not tell "
            "which line is at fault.",
            lambda: {"bug": gradcheck(nets.cost, nets.grad_with_a_bug, start, args=args, seed=1)},
            Verdict.WRONG,
            "The other layers agree, so the fault is not in what is propagated: it is in the one "
            "line that computes db1.",
            ("b1",),
        ),
        Stop(
            "Somebody else's gradient: scikit-learn's MLPClassifier",
            "Its back-propagation (ReLU, L2 penalty) is plain Python and NumPy, and returns J and "
            "the gradient together, hence grad=True. A ReLU has kinks; a difference across one is "
            "no derivative, and is not taken for one.",
            lambda: {
                "MLPClassifier": gradcheck(theirs, True, theirs.theta, layout=theirs.layout, seed=1)
            },
            Verdict.AGREES,
            "Any callable can be checked, whatever it is written in.",
        ),
        Stop(
            "A spot check: sample=0.1",
            "Random directions cover all layers at once, and a tenth of the components, drawn from "
            "every layer, is measured one by one as well; the report says what was covered.",
            lambda: {
                "spot": gradcheck(
                    nets.cost, nets.grad, points["trained"], args=args, sample=0.1, seed=1
                )
            },
            Verdict.AGREES,
            "Above 2,000 parameters directions cover all of them, whatever the sample is. Once it "
            "is right, FASTGRADCHECK=off switches every check off.",
        ),
        Stop(
            "A million parameters, one of them wrong",
            f"A {'-'.join(map(str, nets.LARGE))} network in NumPy, on enlarged images. In a "
            f"gradient of 1,043,826 entries, W2{list(PLANTED)} is too large by one per cent. "
            "Moving each parameter by itself would take 2,087,652 evaluations of J. A few random "
            "directions cover all layers at once; where they disagree, the entry is located by "
            "group testing.",
            lambda: {"million": _million(X_all, y_all)},
            Verdict.WRONG,
            "One entry in a million is found, and named, in a few hundred evaluations.",
            (f"W2{list(PLANTED)}",),
        ),
    ]


def _million(X: Array, y: Array) -> GradcheckResult:
    args = nets.enlarged(X[:LARGE_BATCH]), np.eye(nets.DIGITS)[y[:LARGE_BATCH]]
    theta = nets.large_initial()
    gradient = nets.large_grad(theta, *args)
    gradient["W2"][PLANTED] *= 1.01
    return gradcheck(nets.large_cost, gradient, theta, args=args, seed=1)


def main(console: Console | None = None, output: Path | None = None) -> int:
    """Give the tour.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to; by default standard output.
    output : path, optional
        A folder for the HTML report and the four pictures of the check that finds the bug.

    Returns
    -------
    int
        0 if every check came out as it should, 1 otherwise.

    Raises
    ------
    GradcheckInputError
        If scikit-learn, or what the pictures need, is not installed.
    """
    if output is not None:
        _prepare(output)
    if console is None:
        # Into a file or a pipe rich would write 80 columns, where numbers are shortened.
        console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    began = time.perf_counter()
    console.print("[bold]fastgradcheck[/bold]: is my gradient the gradient of my cost?")
    console.print(
        "First the digits are read, and a network is compiled by Numba and trained: some seconds. "
        "The first check compiles once more, for all that follow.",
        style="dim",
    )
    visits = [_visit(console, k, stop, output) for k, stop in enumerate(tour(), 1)]
    as_expected = all(visit.as_expected for visit in visits)
    ending = "as they should" if as_expected else "not all as they should, see above"
    console.rule("[bold]Summary", align="left")
    console.print(_summary(visits, time.perf_counter() - began))
    console.print(f"\n{len(visits)} stops; the checks came out {ending}.")
    return 0 if as_expected else 1


@dataclass(frozen=True)
class _Visit:
    """What came of a stop; `seconds` are those of its checks."""

    stop: Stop
    results: dict[str, GradcheckResult]
    seconds: float

    @property
    def as_expected(self) -> bool:
        expected = self.stop.expected, self.stop.named
        return all((r.verdict, r.wrong) == expected for r in self.results.values())


def _summary(visits: list[_Visit], seconds: float) -> Table:
    """A line per stop, and what the time in between went into: the seconds add up as printed."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("stop")
    table.add_column("verdict", no_wrap=True)
    for title in ("parameters", "evaluations", "seconds"):
        table.add_column(title, justify="right", no_wrap=True)
    for number, visit in enumerate(visits, 1):
        results = visit.results.values()
        verdicts = ", ".join(dict.fromkeys(r.verdict.value for r in results))
        named = ", ".join(visit.stop.named)
        table.add_row(
            f"{number}. {visit.stop.title}",
            f"{verdicts} {named}".strip() if visit.as_expected else f"{verdicts}: unexpected",
            count(next(iter(results)).size),
            count(sum(r.evaluations for r in results)),
            f"{visit.seconds:.1f}",
        )
    checks = sum(round(visit.seconds, 1) for visit in visits)
    rest = round(seconds, 1) - checks
    table.add_row("data, training, reports", "", "", "", f"{max(rest, 0.0):.1f}", style="dim")
    evaluations = sum(r.evaluations for visit in visits for r in visit.results.values())
    table.add_row("all", "", "", count(evaluations), f"{checks + max(rest, 0.0):.1f}", style="bold")
    return table


def _visit(console: Console, number: int, stop: Stop, output: Path | None) -> _Visit:
    """Runs one stop's checks and tells about them."""
    console.rule(f"[bold]{number}. {stop.title}", align="left")
    console.print(Padding(stop.intro, (0, 0, 1, 0)))
    began = time.perf_counter()
    results = stop.check()
    visit = _Visit(stop, results, time.perf_counter() - began)
    for name, result in results.items():
        if len(results) > 1:
            console.print(f"[bold]at {name}:[/bold]")
        show(result, console)
        console.print()
    expected = " ".join([stop.expected.value, *stop.named])
    surprise = f"[bold red]Expected {escape(expected)}: this is a bug of fastgradcheck."
    learnt = f"[bold green]Learnt:[/bold green] {stop.lesson}"
    console.print(learnt if visit.as_expected else surprise)
    if output is not None and "bug" in results:
        console.print(f"Its report and pictures are in {_save(results['bug'], output)}.")
    console.print()
    return visit


def _prepare(output: Path) -> None:
    """Refuse before the tour what would be missed in the middle of it."""
    for name in ("jinja2", "matplotlib"):
        if importlib.util.find_spec(name) is None:
            raise GradcheckInputError(
                f"the demo's report and pictures need {name}, which is not installed here. Install "
                "it with: pip install 'fastgradcheck[demo]'"
            )
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GradcheckInputError(f"{output} cannot be used as a folder: {error}") from error


def _save(result: GradcheckResult, output: Path) -> str:
    """The HTML report and the pictures of a result; returns where they are."""
    import matplotlib

    matplotlib.use("agg")  # files only: no display is needed, and none is opened
    from matplotlib import pyplot

    result.to_html(output / "report.html")
    for kind in KINDS:
        figure = result.plot(kind)
        figure.savefig(output / f"{kind}.png", dpi=150)
        pyplot.close(figure)
    return f"{output}: report.html, {', '.join(f'{kind}.png' for kind in KINDS)}"
