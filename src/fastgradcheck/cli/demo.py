"""A guided tour: five gradient checks on scikit-learn's bundled handwritten digits."""

from __future__ import annotations

import importlib.util
import inspect
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from fastgradcheck.check import check_points, gradcheck
from fastgradcheck.errors import GradcheckInputError
from fastgradcheck.report.plots import KINDS
from fastgradcheck.report.text import show
from fastgradcheck.result import GradcheckResult
from fastgradcheck.verdict.verdict import Verdict

Array = NDArray[Any]


PIXELS, HIDDEN, DIGITS = 64, 32, 10


IMAGES = 256  # a check needs some of the data only: J and its gradient are of the same images


RIDGE = 1e-3


LARGE = (784, 1000, 256, 10)


LARGE_BATCH = 32


PLANTED = (123, 45)


class Network(NamedTuple):
    """The parameters of a 64-32-10 network, and the shape of its gradient."""

    W1: Array
    b1: Array
    W2: Array
    b2: Array


@njit
def _forward(theta, X):  # type: ignore[no-untyped-def]
    """Hidden activations and scores, shapes (m, 32) and (m, 10)."""
    A = np.tanh(X @ theta.W1 + theta.b1)
    return A, A @ theta.W2 + theta.b2


@njit
def _log_softmax(Z):  # type: ignore[no-untyped-def]
    """Logarithms of the class probabilities; without its largest score no exponential overflows."""
    out = np.empty_like(Z)
    for e in range(Z.shape[0]):
        top = Z[e].max()
        mass = 0.0
        for k in range(Z.shape[1]):
            mass += np.exp(Z[e, k] - top)
        for k in range(Z.shape[1]):
            out[e, k] = Z[e, k] - top - np.log(mass)
    return out


@njit
def _sum_over_images(D):  # type: ignore[no-untyped-def]
    """D.sum(axis=0), in a form that Numba compiles several seconds sooner."""
    total = np.zeros(D.shape[1])
    for row in D:
        total += row
    return total


@njit
def cost(theta, X, y, ridge):  # type: ignore[no-untyped-def]
    """Mean cross entropy of the labels, plus ridge/2 times the squared weights."""
    log_p = _log_softmax(_forward(theta, X)[1])
    loss = 0.0
    for e in range(len(y)):
        loss -= log_p[e, y[e]]
    return loss / len(y) + 0.5 * ridge * (np.sum(theta.W1**2) + np.sum(theta.W2**2))


@njit
def grad(theta, X, y, ridge):  # type: ignore[no-untyped-def]
    """Back-propagation, written by hand."""
    m = len(y)
    A, Z = _forward(theta, X)
    D2 = np.exp(_log_softmax(Z))
    for e in range(m):
        D2[e, y[e]] -= 1.0
    D1 = (D2 @ theta.W2.T) * (1.0 - A**2)
    dW1 = X.T @ D1 / m + ridge * theta.W1
    db1 = _sum_over_images(D1) / m
    dW2 = A.T @ D2 / m + ridge * theta.W2
    db2 = _sum_over_images(D2) / m
    return Network(dW1, db1, dW2, db2)


@njit
def grad_with_a_bug(theta, X, y, ridge):  # type: ignore[no-untyped-def]
    """The same, but db1 is summed over the images and not averaged: it lacks the 1/m."""
    dW1, db1, dW2, db2 = grad(theta, X, y, ridge)
    return Network(dW1, db1 * len(y), dW2, db2)


def large_cost(theta: dict[str, Array], X: Array, Y: Array) -> float:
    """Mean cross entropy of a tanh network of any depth, in NumPy; labels one-hot."""
    Z = _layers(theta, X)[-1]
    Z = Z - Z.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(Z).sum(axis=1)) - (Z * Y).sum(axis=1)))


def large_grad(theta: dict[str, Array], X: Array, Y: Array) -> dict[str, Array]:
    """Its back-propagation, written by hand."""
    values = _layers(theta, X)
    D = np.exp(values[-1] - values[-1].max(axis=1, keepdims=True))
    D = (D / D.sum(axis=1, keepdims=True) - Y) / len(X)
    gradient = {}
    for k in range(len(values) - 1, 0, -1):
        gradient[f"W{k}"] = values[k - 1].T @ D
        gradient[f"b{k}"] = D.sum(axis=0)
        D = (D @ theta[f"W{k}"].T) * (1.0 - values[k - 1] ** 2)
    return gradient


def _layers(theta: dict[str, Array], X: Array) -> list[Array]:
    """The input, the hidden activations, and the scores."""
    values, depth = [X], len(theta) // 2
    for k in range(1, depth + 1):
        Z = values[-1] @ theta[f"W{k}"] + theta[f"b{k}"]
        values.append(np.tanh(Z) if k < depth else Z)
    return values


def large_initial(seed: int = 0) -> dict[str, Array]:
    """Random parameters of the 784-1000-256-10 network, 1,043,826 in all."""
    rng = np.random.default_rng(seed)
    theta = {}
    for k, (rows, columns) in enumerate(pairwise(LARGE), 1):
        theta[f"W{k}"] = rng.normal(0.0, 1 / np.sqrt(rows), (rows, columns))
        theta[f"b{k}"] = rng.normal(0.0, 0.1, columns)
    return theta


def enlarged(X: Array) -> Array:
    """Images of 8 x 8 pixels as 28 x 28, by repeating pixels: shape (m, 784)."""
    nearest = np.arange(28) * 8 // 28
    return X.reshape(-1, 8, 8)[:, nearest][:, :, nearest].reshape(len(X), -1)


def initial(seed: int = 0) -> Network:
    """Random weights (Glorot and Bengio, AISTATS 2010) and small random biases."""
    rng = np.random.default_rng(seed)
    return Network(
        W1=rng.normal(0.0, np.sqrt(2 / (PIXELS + HIDDEN)), (PIXELS, HIDDEN)),
        b1=rng.normal(0.0, 0.1, HIDDEN),
        W2=rng.normal(0.0, np.sqrt(2 / (HIDDEN + DIGITS)), (HIDDEN, DIGITS)),
        b2=rng.normal(0.0, 0.1, DIGITS),
    )


def trained(
    theta: Network, X: Array, y: Array, slopes: Callable[..., Network] = grad, steps: int = 100
) -> Network:
    """Some steps of plain gradient descent on all images, at a rate of 1/2."""
    for _ in range(steps):
        slope = slopes(theta, X, y, RIDGE)
        theta = Network(*(value - 0.5 * d for value, d in zip(theta, slope, strict=True)))
    return theta


def digits() -> tuple[Array, Array]:
    """All 1,797 images, pixels in [0, 1] of shape (1797, 64), and their labels.

    Raises
    ------
    GradcheckInputError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        raise GradcheckInputError(
            "the demo reads the handwritten digits that come with scikit-learn, which is not "
            "installed here. Install it with: pip install 'fastgradcheck[demo]'"
        ) from error
    X, y = load_digits(return_X_y=True)
    return X / 16.0, y


class SklearnNetwork:
    """scikit-learn's own back-propagation as ``cost(theta) -> (J, grad)``, untouched.

    The way in is the private function that its L-BFGS solver minimises; what that function takes
    differs between releases, so it is given what its signature asks for.

    Parameters
    ----------
    X : float64 array, shape (m, 64)
    y : int array, shape (m,)

    Attributes
    ----------
    theta : float64 array, shape (2410,)
        Its parameters after a few iterations of training, weights first, then biases.
    layout : dict of str to shape
        The layers of that vector.
    """

    def __init__(self, X: Array, y: Array) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        model = MLPClassifier((HIDDEN,), solver="lbfgs", alpha=0.1, max_iter=10, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # ten iterations are on purpose
            model.fit(X, y)
        self.theta: Array = np.concatenate(
            [layer.ravel() for layer in (*model.coefs_, *model.intercepts_)]
        )
        self.layout = {
            "W1": (PIXELS, HIDDEN),
            "W2": (HIDDEN, DIGITS),
            "b1": (HIDDEN,),
            "b2": (DIGITS,),
        }
        given = {
            "X": X,
            "y": np.eye(DIGITS)[y],
            "sample_weight": None,
            "activations": [X, None, None],
            "deltas": [None, None],
            "coef_grads": [None, None],
            "intercept_grads": [None, None],
        }
        asked = inspect.signature(model._loss_grad_lbfgs).parameters
        self._model = model
        self._arguments = {name: value for name, value in given.items() if name in asked}

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """J and its gradient."""
        J, gradient = self._model._loss_grad_lbfgs(theta, **self._arguments)
        return float(J), gradient


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
    X_all, y_all = digits()
    X, y = X_all[:IMAGES], y_all[:IMAGES]
    args = (X, y, RIDGE)
    start = initial()
    points = {"init": start, "trained": trained(start, X_all, y_all)}
    theirs = SklearnNetwork(X, y)
    return [
        Stop(
            "Back-propagation written by hand, at two points",
            f"A {PIXELS}-{HIDDEN}-{DIGITS} tanh network compiled with @njit, {IMAGES} of the "
            "images. A bug can stay unseen where the weights are small, so it is checked at random "
            "initialisation and again after 100 steps of gradient descent: each of the 2,410 "
            "parameters is moved by +h and by -h.",
            lambda: dict(
                check_points(cost, grad, points, args=args, strategy="components", seed=1)
            ),
            Verdict.AGREES,
            "Every component of every layer agrees, at both points. Train with it.",
        ),
        Stop(
            "The same with a bug: db1 lacks the 1/m",
            "The bias gradient of the first layer is summed over the images instead of averaged. "
            "The same 100 steps with it leave the network at chance, and the cost does not tell "
            "which line is at fault.",
            lambda: {"bug": gradcheck(cost, grad_with_a_bug, start, args=args, seed=1)},
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
                "spot": gradcheck(cost, grad, points["trained"], args=args, sample=0.1, seed=1)
            },
            Verdict.AGREES,
            "Above 2,000 parameters directions cover all of them, whatever the sample is. Once it "
            "is right, FASTGRADCHECK=off switches every check off.",
        ),
        Stop(
            "A million parameters, one of them wrong",
            f"A {'-'.join(map(str, LARGE))} network in NumPy, on enlarged images. In a gradient of "
            f"1,043,826 entries, W2{list(PLANTED)} is too large by one per cent. Moving each "
            "parameter by itself would take 2,087,652 evaluations of J. A few random directions "
            "cover all layers at once; where they disagree, the entry is located by group testing.",
            lambda: {"million": _million(X_all, y_all)},
            Verdict.WRONG,
            "One entry in a million is found, and named, in a few hundred evaluations.",
            (f"W2{list(PLANTED)}",),
        ),
    ]


def _million(X: Array, y: Array) -> GradcheckResult:
    args = enlarged(X[:LARGE_BATCH]), np.eye(DIGITS)[y[:LARGE_BATCH]]
    theta = large_initial()
    gradient = large_grad(theta, *args)
    gradient["W2"][PLANTED] *= 1.01
    return gradcheck(large_cost, gradient, theta, args=args, seed=1)


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
    outcomes = [_visit(console, k, stop, output) for k, stop in enumerate(tour(), 1)]
    as_expected = all(outcomes)
    seconds = time.perf_counter() - began
    ending = "as they should" if as_expected else "not all as they should, see above"
    console.rule()
    console.print(f"{len(outcomes)} stops in {seconds:.0f} s; the checks came out {ending}.")
    return 0 if as_expected else 1


def _visit(console: Console, number: int, stop: Stop, output: Path | None) -> bool:
    """Runs one stop's checks and tells about them; True if they came out as expected."""
    console.rule(f"[bold]{number}. {stop.title}", align="left")
    console.print(Padding(stop.intro, (0, 0, 1, 0)))
    results = stop.check()
    for name, result in results.items():
        if len(results) > 1:
            console.print(f"[bold]at {name}:[/bold]")
        show(result, console)
        console.print()
    as_expected = all(
        (result.verdict, result.wrong) == (stop.expected, stop.named) for result in results.values()
    )
    expected = " ".join([stop.expected.value, *stop.named])
    surprise = f"[bold red]Expected {escape(expected)}: this is a bug of fastgradcheck."
    console.print(f"[bold green]Learnt:[/bold green] {stop.lesson}" if as_expected else surprise)
    if output is not None and "bug" in results:
        console.print(f"Its report and pictures are in {_save(results['bug'], output)}.")
    console.print()
    return as_expected


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
