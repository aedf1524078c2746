"""`fingerprint`: what J does along a few directions, recorded once, for any number of gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from fastgradcheck.arguments import in_our_words
from fastgradcheck.check import gradcheck, inspected_engine, seed_of, switched_off
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.recording import COUNTS, Recording, record
from fastgradcheck.errors import FingerprintError, GradcheckInputError, GradcheckTypeError, shown
from fastgradcheck.evaluation.choice import refuse_unknown
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.progress import showing
from fastgradcheck.evaluation.stream import Stopped, Stream
from fastgradcheck.fingerprints import file
from fastgradcheck.fingerprints.judge import judged
from fastgradcheck.fingerprints.subject import Subject
from fastgradcheck.points import Comparison
from fastgradcheck.problem import guards
from fastgradcheck.problem.calls import arguments_of
from fastgradcheck.problem.finding import Finding
from fastgradcheck.problem.nests import bytes_of, hexdigest
from fastgradcheck.problem.problem import Objective
from fastgradcheck.report.origin import WHEN, origin_of
from fastgradcheck.result import GradcheckResult, skipped

_ABOUT = ("identity", "dtype", "when", "cost", "source")
"""What a file tells besides the values."""


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What J does along directions through all of theta. Made by `fingerprint`.

    Attributes
    ----------
    recording : Recording
        The values.
    identity : dict of str to str
        What theta and args were, as digests.
    dtype : str
        The dtype in which J was evaluated.
    when : str
        UTC.
    cost : str
        Its name, and the line that defines it.
    source : str
        A digest of its source; empty where there is none to be had.
    subject : Subject or None
        theta and args themselves; None if it was read from a file.
    """

    recording: Recording
    identity: dict[str, str]
    dtype: str
    when: str
    cost: str
    source: str
    subject: Subject | None = None

    @property
    def evaluations(self) -> int:
        """What it took."""
        return self.recording.evaluations

    def __repr__(self) -> str:
        directions = len(self.recording.keys)
        return f"<Fingerprint of {self.cost}: {directions} directions, {self.when}>"

    @in_our_words
    def check(
        self,
        grad: Any,
        *,
        cost: Callable[..., Any] | None = None,
        theta: Any = None,
        args: Any = (),
        layout: Mapping[str, Any] | None = None,
        threshold: float | None = None,
        rtol: float | None = None,
        yardstick: Any = None,
    ) -> GradcheckResult:
        """Check a gradient against the values that were recorded.

        Parameters
        ----------
        grad : callable, array, or nest of arrays
            As in `gradcheck`.
        cost : callable, optional
            Evaluated to locate and confirm what is wrong. Without it J is not evaluated: single
            wrong entries are decoded, but not confirmed.
        theta, args, layout : optional
            As in `gradcheck`, for a fingerprint that was read from a file, which holds only
            digests of them; by default those that it was taken of.
        threshold, rtol : float, optional
            As in `gradcheck`.
        yardstick : callable, array, or nest of arrays, optional
            As in `gradcheck`; only together with `cost`.

        Returns
        -------
        GradcheckResult

        Raises
        ------
        FingerprintError
            If theta or args are not those that it was taken of, saying what differs.
        GradcheckInputError
            If an argument is unusable.

        Examples
        --------
        >>> import numpy as np
        >>> import fastgradcheck as fgc
        >>> theta = np.linspace(0.1, 2, 50)
        >>> fp = fgc.fingerprint(lambda t: np.sin(t).sum(), theta, seed=0)
        >>> fp.check(np.cos).verdict.name
        'AGREES'
        >>> def wrong(t):
        ...     g = np.cos(t)
        ...     g[7] *= 2
        ...     return g
        >>> fp.check(wrong).wrong
        ('theta[7]',)
        """
        if switched_off():
            return skipped()
        if grad is True:
            raise GradcheckTypeError(
                "grad=True means that cost returns (J, grad), and J is not evaluated here: pass "
                "the gradient."
            )
        subject, recording = self.compared(theta, args, layout), self.recording
        if cost is not None:
            return gradcheck(
                cost,
                grad,
                subject.theta,
                args=subject.args,
                layout=subject.layout,
                strategy="screen",
                threshold=threshold,
                rtol=rtol,
                yardstick=yardstick,
                seed=recording.seed,
                progress=False,
                recording=recording,
            )
        if yardstick is not None:
            raise GradcheckInputError(
                "yardstick is measured by evaluations of J: pass cost=, too, or set threshold=."
            )
        told = Finding(
            "fingerprint",
            f"J was not evaluated: the gradient was compared with the slopes of {self.cost} along "
            f"{len(recording.keys)} directions, recorded {self.when} ({_age(self.when)}).",
        )
        return judged(recording, subject, self.dtype, grad, threshold, rtol, told, self.cost)

    def save(self, path: Any) -> None:
        """Write a file, which `load_fingerprint` reads.

        It holds the values, and digests of theta and args: a few kilobytes, and eight bytes for
        every array of theta.

        Parameters
        ----------
        path : str or path

        Raises
        ------
        OSError
            If it cannot be written; what was there before is there still.
        """
        about = {name: getattr(self, name) for name in _ABOUT}
        file.write(path, self.recording, about)

    def compared(self, theta: Any, args: Any, layout: Mapping[str, Any] | None) -> Subject:
        """Theta and args, if they are those that the values are of."""
        if theta is None:
            if self.subject is None:
                raise GradcheckInputError(
                    "this fingerprint was read from a file, which does not hold theta itself: "
                    "pass it, fp.check(grad, theta=theta, args=args)."
                )
            # Compared as well: arrays that are held may have been written to since.
            theta, layout = self.subject.theta, layout or self.subject.layout
            args = self.subject.args if isinstance(args, tuple) and not args else args
        subject = Subject.of(theta, args if isinstance(args, tuple) else (args,), layout)
        here = subject.identity
        different = [name for name, told in self.identity.items() if here[name] != told]
        if different:
            raise FingerprintError(
                f"the fingerprint of {self.cost} was taken ({self.when}) of something else. "
                f"Not the same: {', '.join(different)}. Take another one with fgc.fingerprint."
            )
        return subject


@in_our_words
def fingerprint(
    cost: Callable[..., Any],
    theta: Any,
    *,
    args: Any = (),
    layout: Mapping[str, Any] | None = None,
    directions: int = 16,
    seed: int | None = None,
    engine: str = "auto",
    n_jobs: int | None = None,
    progress: Any = None,
) -> Fingerprint:
    """Record what J does along a few directions, so that gradients can be checked without it.

    Parameters
    ----------
    cost, theta, args, layout
        As in `gradcheck`.
    directions : {16, 8, 4}
        The more, the sharper: of each, J is evaluated at four points.
    seed : int, optional
        Of the directions; drawn if None.
    engine, n_jobs, progress
        As in `gradcheck`.

    Returns
    -------
    Fingerprint
        ``.check(grad)`` judges a gradient, ``.save(path)`` writes a file.

    Raises
    ------
    GradcheckInputError
        If an argument is unusable.
    CostEvaluationError
        If `cost` raises at a perturbed point.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgradcheck as fgc
    >>> fp = fgc.fingerprint(lambda t: (t**3).sum(), np.linspace(1.0, 2.0, 30), seed=1)
    >>> bool(fp.check(lambda t: 3 * t**2)), bool(fp.check(lambda t: 3 * t))
    (True, False)
    """
    if not isinstance(directions, int) or directions not in COUNTS:
        raise GradcheckInputError(
            f"directions={shown(directions)}: use one of {', '.join(map(str, sorted(COUNTS)))}."
        )
    refuse_unknown(engine)
    subject = Subject.of(theta, arguments_of(cost, np.zeros(0), args), layout)
    asked = Objective(cost, subject.args, subject.parameters, subject.flat)
    with one_blas_thread(), showing(progress) as listen, guards.leaving_at_theta(asked):
        objective, _ = guards.in_double(asked)
        running, inspected = inspected_engine(objective, None, engine, n_jobs)
        try:
            with Stream(running, listen=listen) as stream:
                stream.evaluations = inspected.evaluations
                context = Context(stream, inspected.value, seed=seed_of(seed, None))
                eps = float(np.finfo(objective.theta.dtype).eps)
                try:
                    recording = record(context, eps, directions)
                except Stopped:
                    raise KeyboardInterrupt from None
        finally:
            running.close()
    origin = origin_of(cost, cost)
    dtype = objective.theta.dtype.name
    return Fingerprint(
        recording, subject.identity, dtype, origin.when, origin.cost, source_of(cost), subject
    )


def load_fingerprint(path: Any) -> Fingerprint:
    """Read what `Fingerprint.save` wrote.

    Parameters
    ----------
    path : str or path
        What `Fingerprint.save` was given.

    Returns
    -------
    Fingerprint
        Which is given theta and args at every check: ``fp.check(grad, theta=theta, args=args)``.

    Raises
    ------
    FileNotFoundError
    FingerprintError
        If the file is damaged, or no fingerprint.
    """
    recording, about = file.read(path)
    return Fingerprint(recording, **{name: about[name] for name in _ABOUT})


@in_our_words
def compare(
    cost: Callable[..., Any],
    grads: Mapping[str, Any],
    theta: Any,
    *,
    threshold: float | None = None,
    rtol: float | None = None,
    **options: Any,
) -> Comparison:
    """Check several gradients of one cost; the directions of J are evaluated once for all.

    Parameters
    ----------
    cost : callable
        As in `gradcheck`.
    grads : mapping of str to gradient
        Names them: ``{"numpy": g1, "kernel": g2}``.
    theta
        As in `gradcheck`.
    threshold, rtol : float, optional
        As in `gradcheck`.
    **options
        Passed on to `fingerprint`.

    Returns
    -------
    Comparison
        A dict of name to `GradcheckResult`, which ``print`` shows side by side. What is wrong in
        one of them is located and confirmed by evaluations of its own.

    Raises
    ------
    GradcheckInputError
        As in `gradcheck`, naming the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgradcheck as fgc
    >>> claims = {"right": np.cos, "wrong": lambda t: -np.cos(t)}
    >>> results = fgc.compare(lambda t: np.sin(t).sum(), claims, np.linspace(0, 1, 20), seed=0)
    >>> [(name, result.verdict.name) for name, result in results.items()]
    [('right', 'AGREES'), ('wrong', 'WRONG')]
    """
    if not isinstance(grads, Mapping) or not grads:
        raise GradcheckTypeError(
            'the gradients must be a non-empty dict of name to gradient, e.g. {"kernel": grad}.'
        )
    values = fingerprint(cost, theta, **options)
    results = Comparison()
    for name, grad in grads.items():
        try:
            results[name] = values.check(grad, cost=cost, threshold=threshold, rtol=rtol)
        except GradcheckInputError as error:
            raise type(error)(f"the gradient {shown(name)}: {error}") from error
    return results


def source_of(cost: Callable[..., Any]) -> str:
    """A digest of the source of a cost; empty where there is none to be had."""
    function = inspect.unwrap(getattr(cost, "py_func", cost))
    try:
        return hexdigest(bytes_of(inspect.getsource(function)))
    except (OSError, TypeError):
        return ""


def _age(when: str) -> str:
    """How long ago that was, in words."""
    days = (datetime.now(UTC) - datetime.strptime(f"{when}+0000", f"{WHEN}%z")).days
    return "today" if days < 1 else "yesterday" if days == 1 else f"{days} days ago"
