"""`fingerprint`: what J does along a few directions, recorded once, for any number of gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgradcheck.arguments import in_our_words
from fastgradcheck.check import gradcheck, inspected_engine, seed_of, switched_off
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.recording import COUNTS, Recording, record
from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError, shown
from fastgradcheck.evaluation.choice import refuse_unknown
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.progress import showing
from fastgradcheck.evaluation.stream import Stopped, Stream
from fastgradcheck.fingerprints.judge import judged
from fastgradcheck.fingerprints.subject import Subject
from fastgradcheck.fingerprints.taken import Taken, source_of
from fastgradcheck.problem import guards
from fastgradcheck.problem.calls import arguments_of
from fastgradcheck.problem.problem import Objective
from fastgradcheck.report.origin import origin_of
from fastgradcheck.result import GradcheckResult, skipped


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Fingerprint(Taken):
    """What J does along directions through all of theta. Made by `fingerprint`.

    Attributes
    ----------
    recording : Recording
        The values.
    identity, dtype, when, function, source, kind, subject
        Of what they are; see `fastgradcheck.fingerprints.taken.Taken`.
    """

    recording: Recording
    kind: str = "gradient"

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
        return judged(self, subject, grad, threshold, rtol)


def refuse_other_counts(directions: Any) -> None:
    """Raise `GradcheckInputError` unless so many directions may be recorded."""
    if not isinstance(directions, int) or directions not in COUNTS:
        raise GradcheckInputError(
            f"directions={shown(directions)}: use one of {', '.join(map(str, sorted(COUNTS)))}."
        )


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
    refuse_other_counts(directions)
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
        recording=recording,
        identity=subject.identity,
        dtype=dtype,
        when=origin.when,
        function=origin.cost,
        source=source_of(cost),
        subject=subject,
    )
