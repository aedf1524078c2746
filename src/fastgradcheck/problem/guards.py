"""What must hold before any long work: repeatable, finite, unmodified inputs, a point that tells.

Each guard either refuses, saying what to change, or leaves a finding.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError, shown
from fastgradcheck.problem.bounds import Bounds
from fastgradcheck.problem.finding import Finding, Rank
from fastgradcheck.problem.nests import fingerprints, promoted
from fastgradcheck.problem.problem import Copies, Objective, Problem
from fastgradcheck.problem.region import CHUNK
from fastgradcheck.problem.value import complaint, is_jitted, real_value

IRREPRODUCIBLE = 1e3
"""In units of eps * |J|: differences up to this are rounding in another order, which is noise;
a random draw inside the cost changes J by far more."""


CLOSE = 1e-6
"""Relative displacement for the tests of hidden state and of caches ..."""


MINUTES = 120.0
"""Seconds of predicted work from which a finding warns."""


VANISHING = 2.0**-20
"""A theta below this may have no scale of its own: it is moved by `FAR` itself, too."""
FAR = 10.0
"""... and of whether J depends on theta at all."""
GOLDEN = 0.6180339887498949


@dataclass(frozen=True, eq=False)
class Inspected:
    """What the guards learnt.

    Attributes
    ----------
    objective : Objective
        With copies of theta for a cost that needs them.
    value : float
        J(theta).
    seconds : float
        One evaluation, the faster of two.
    serial : bool
        True if evaluations must not overlap: the cost writes to arrays in args.
    moves : bool
        False if J was the same wherever theta was moved.
    findings : tuple of Finding
    evaluations : int
        With the one that leaves the cost at theta.
    """

    objective: Objective
    value: float
    seconds: float
    serial: bool
    moves: bool
    findings: tuple[Finding, ...]
    evaluations: int


def in_double(objective: Objective) -> tuple[Objective, tuple[Finding, ...]]:
    """The objective evaluated in float64 where theta is float32 and the cost accepts it."""
    if objective.theta.dtype != np.float32:
        return objective, ()
    theta = objective.theta.astype(np.float64)
    theta.setflags(write=False)
    double = replace(objective, args=promoted(objective.args), theta=theta)
    single = _value(objective, objective(objective.theta.copy()))
    try:
        value = float(double(theta.copy()))
    except Exception:  # whatever the user's cost raises when it is given float64
        value = np.nan
    if np.isfinite(value) and abs(value - single) <= 1e-2 * abs(single) + 1e-6:
        return double, (
            Finding(
                "float32",
                "theta is float32: J was evaluated on float64 copies of theta and of the float "
                "arrays in args, so that only the rounding of your gradient (6e-8) is left.",
            ),
        )
    return objective, (
        Finding(
            "float32",
            "J could only be evaluated in float32: a difference then has about 3 digits, and "
            "smaller errors of the gradient cannot be seen. Let the cost accept float64.",
            Rank.LIMIT,
        ),
    )


def _value(objective: Objective, returned: Any) -> float:
    """J at theta as a float, or a refusal that looks at theta and args too."""
    nest = isinstance(returned, Mapping | list) or np.shape(getattr(returned, "shape", ()))
    if nest and objective.parameters.size > 1:
        try:
            objective.parameters.match(returned)
        except GradcheckInputError:
            pass
        else:
            raise GradcheckTypeError(
                "cost returned what has theta's own structure and shape, as a gradient has: are "
                "cost and grad exchanged? The order is gradcheck(cost, grad, theta), and cost "
                "returns one number."
            )
    return real_value(returned, args=objective.args)


def inspect(objective: Objective, bounds: Bounds | None = None) -> Inspected:
    """Evaluate J a few times at theta and close to it, and see what that changes.

    The last evaluation is at theta: the gradient may read what the cost keeps of it.

    Parameters
    ----------
    objective : Objective
    bounds : pair of float64 arrays, shape (n,), optional
        "Close" lies between them.

    Raises
    ------
    GradcheckInputError
        If J is not a finite real number, not repeatable, depends on hidden state, or modifies
        theta or args.
    """
    theta, calls = objective.theta, Calls(objective)
    before = fingerprints(objective.args)
    returned = calls(theta)
    value = _value(objective, returned)
    changed = changed_array(before, fingerprints(objective.args))
    close, there = _evaluate_close(calls, bounds)
    work = Work(calls)
    _refuse_unrepeatable(calls, value, work(theta), changed)
    caches = False
    if close is not None and not is_jitted(objective.cost):
        here = real_value(work(close), "close to theta")
        caches = _differ(here, there, value) or here == value != there
        _refuse_unrepeatable(calls, value, calls(theta), changed)
    moves = close is None or there != value or moves_far(calls, lambda J: value == J, bounds)
    changed = changed or changed_array(before, fingerprints(objective.args))
    findings = [scratch(changed)] if changed else []
    if np.asarray(returned).dtype.kind in "iu":
        findings.append(_whole(returned))
    if caches:
        objective = replace(objective, copies=Copies(theta.nbytes))
        findings.append(CACHES)
    if not moves:
        findings.append(constant(f"J is {value!r}", "cost does not depend on theta"))
    return Inspected(
        objective, value, calls.seconds, bool(changed), moves, tuple(findings), calls.count + 1
    )


def _whole(returned: Any) -> Finding:
    return Finding(
        "integer",
        f"cost returned {shown(returned)}, a whole number ({type(returned).__name__}). What is "
        "counted or rounded moves in steps, and its derivative is zero almost everywhere: return "
        "the number before it is rounded.",
        Rank.BUG,
    )


class Calls:
    """Evaluates J in copies of points, counts, and refuses a cost that modifies them.

    Attributes
    ----------
    count : int
    seconds : float
        Of the fastest evaluation but the first.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.count = 0
        self.seconds = np.inf
        # An array that follows a freed one may get its identity, which a cost may know it by.
        self._copies = Copies(objective.theta.nbytes)

    def __call__(self, point: NDArray[Any]) -> Any:
        objective, mine = self.objective, self._copies.keep(point.copy())
        if objective.batch:
            return self.timed(partial(objective, mine), mine, point)
        # The arrays of a nest are views, and a cost may know these by their identity.
        given = self._copies.keep(objective.parameters.unflatten(mine))
        return self.timed(partial(objective.called, given), mine, point)

    def timed(self, call: Callable[[], Any], mine: NDArray[Any], point: NDArray[Any]) -> Any:
        """What a call returns that finds the point in `mine`."""
        began = time.perf_counter()
        value = call()
        if self.count:
            self.seconds = min(self.seconds, time.perf_counter() - began)
        self.count += 1
        if not np.array_equal(mine, point):
            place = int(np.argmax(mine != point))
            raise GradcheckInputError(
                f"{self.objective.name} modifies theta: entry {place} was {point[place]} before "
                f"the call and is {mine[place]} after it. It must leave theta as it found it; look "
                "for an in-place operation such as `theta -= ...` or `W *= mask`, and work on a "
                "copy."
            )
        return value


class Work:
    """Evaluates J in one array that is changed in place, as the loop over components does."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._mine = calls.objective.theta.copy()
        self._call = calls.objective.bound(self._mine)

    def __call__(self, point: NDArray[Any]) -> Any:
        self._mine[...] = point
        return self._calls.timed(self._call, self._mine, point)


def _evaluate_close(calls: Calls, bounds: Bounds | None) -> tuple[NDArray[Any] | None, float]:
    """A point close to theta at which J is a number, and J there; None if none was found.

    At the edge of the domain it may lie on one side only.
    """
    for side in (CLOSE, -CLOSE):
        point = moved_by(calls.objective.theta, side, bounds)
        if np.array_equal(point, calls.objective.theta):
            continue
        try:
            value = calls(point)
        except GradcheckInputError:
            raise
        except Exception:  # outside of the domain: the loop meets it again, and says where
            continue
        if not complaint(value) and np.isfinite(number := float(value)):
            return point, number
    return None, np.nan


def off(again: Any, values: Any, eps: float = float(np.finfo(np.float64).eps)) -> Any:
    """Which of several values differ by more than rounding in another order."""
    largest = np.maximum(np.abs(values), 1e-3 * np.max(np.abs(values)))
    return ~(np.abs(again - values) <= IRREPRODUCIBLE * eps * largest)


def moved_by(theta: NDArray[Any], relative: float, bounds: Bounds | None) -> NDArray[Any]:
    """Theta with every entry moved to the same side, each by another distance."""
    size = max(float(np.max(theta)), -float(np.min(theta))) or 1.0
    moved = theta.copy()
    for first in range(0, len(theta), CHUNK):
        part = slice(first, min(first + CHUNK, len(theta)))
        # A J that no common shift changes must move, too. The golden ratio leaves no pattern.
        turns = GOLDEN * np.arange(part.start, part.stop)
        uneven = 0.5 + (turns - np.floor(turns))
        moved[part] += (relative * size * uneven).astype(theta.dtype)
    return moved if bounds is None else np.clip(moved, *bounds).astype(theta.dtype)


def moves_far(calls: Calls, same: Callable[[Any], Any], bounds: Bounds | None) -> bool:
    """Whether what does not move close to theta does so far away, or ends there."""
    size = float(np.max(np.abs(calls.objective.theta)))
    sides = [FAR, -FAR]
    if 0 < size < VANISHING:  # what rounding leaves of a zero moves nothing
        sides += [FAR / size, -FAR / size]
    for side in sides:
        try:
            if not same(calls(moved_by(calls.objective.theta, side, bounds))):
                return True
        except Exception:  # it depends on theta, if only by raising
            return True
    return False


def _differ(one: float, other: float, value: float) -> bool:
    """Whether two values of J differ by more than rounding in another order."""
    return not abs(one - other) <= IRREPRODUCIBLE * np.finfo(np.float64).eps * abs(value)


def _refuse_unrepeatable(calls: Calls, value: float, later: Any, changed: str) -> None:
    """Refuse a J that is another one at theta, after an evaluation elsewhere."""
    later = real_value(later, "at theta, after an evaluation elsewhere")
    if not _differ(later, value, value):
        return
    theta = calls.objective.theta
    twice = real_value(calls(theta)), real_value(calls(theta))
    if not _differ(*twice, value):
        where = f" It writes to {changed}." if changed else ""
        raise GradcheckInputError(
            f"cost keeps hidden state: J is {value!r} at theta, but {later!r} after one evaluation "
            f"at another theta.{where} Running statistics (batch normalisation), a warm start or a "
            "cache is the usual cause: freeze it, or reset it inside the cost."
        )
    if changed:
        raise GradcheckInputError(
            f"cost modifies {changed}, and J depends on what is there: it is {value!r} at first "
            f"and {later!r} when evaluated again at the same theta. Work on a copy inside cost."
        )
    raise GradcheckInputError(
        f"cost is not repeatable: J is {value!r}, then {later!r} at the same theta. Dropout or "
        "another random draw inside the cost is the usual cause: switch it off, or seed it inside "
        "the cost (in njit code, np.random.seed must be called inside the compiled function)."
    )


@contextlib.contextmanager
def leaving_at_theta(objective: Objective) -> Iterator[None]:
    """However the check ends, its last evaluation is at theta: whatever the cost keeps is of it."""
    try:
        yield
    finally:
        with contextlib.suppress(Exception):  # told before, or by the user's own next call
            objective(objective.theta.copy())


def scratch(path: str, function: str = "cost", value: str = "J") -> Finding:
    """That the function writes to an array in args, which does not matter to its values."""
    return Finding(
        "scratch",
        f"{function} writes to {path}, but {value} does not depend on what was there: a scratch "
        f"array. Evaluations therefore run one after the other; allocate it inside {function} to "
        "use all cores.",
    )


CACHES = Finding(
    "caches",
    "An earlier value comes back when the array that is passed as theta was changed in place: the "
    "function keeps theta itself, or its id, and takes the same array for the same theta. Every "
    "evaluation of this check got a copy. An optimiser that updates theta in place gets stale "
    "values: compare with a copy of theta, or do not cache.",
)


def constant(what: str, cause: str) -> Finding:
    """That nothing moves the function."""
    return Finding(
        "constant",
        f"{what} wherever theta is moved, close to it or far away: {cause}. It may read its "
        "parameters from somewhere else, a global, a closure or an object of its own: use the "
        "argument. Nothing was checked.",
        Rank.LIMIT,
    )


def changed_array(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """The path of the first array whose fingerprint changed; empty if none did."""
    return next((path for path in before if before[path] != after.get(path)), "")


def slow(seconds: float, evaluations: int, workers: int) -> tuple[Finding, ...]:
    """A finding if the check will take minutes."""
    expected = seconds * evaluations / workers
    if expected < MINUTES:
        return ()
    return (
        Finding(
            "slow",
            f"one evaluation of J takes {seconds:.2g} s, {evaluations:,} of them about "
            f"{expected / 60:.0f} minutes. A gradient can be checked on a subset of the data, "
            "args=(X[:256], y[:256]), or on some components, sample=0.1.",
        ),
    )


def uninformative(problem: Problem) -> tuple[Finding, ...]:
    """Findings about a theta at which a wrong gradient could look right.

    Blocks with several rows that are all equal make hidden units interchangeable: their gradients
    agree whatever is swapped among them.
    """
    findings = []
    for block in problem.parameters.blocks:
        part = problem.theta[block.slice]
        equal = len(block.shape) >= 2 and block.size > 1 and bool(np.all(part == part[0]))
        if equal:
            findings.append(
                Finding(
                    "symmetric",
                    f"all entries of {block.name} are {part[0]:g}: its units are interchangeable, "
                    "and swapped or transposed gradients look right here. Check at a random "
                    "theta too.",
                )
            )
    return tuple(findings)
