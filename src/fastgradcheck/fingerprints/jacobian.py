"""`jacobian_fingerprint`: what F does along a few directions, for any number of Jacobians."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgradcheck.arguments import in_our_words
from fastgradcheck.check import seed_of, switched_off
from fastgradcheck.differences.context import Context
from fastgradcheck.differences.row_recording import RowRecording, record_rows
from fastgradcheck.errors import GradcheckInputError, GradcheckTypeError
from fastgradcheck.evaluation.choice import open_engine, refuse_unknown
from fastgradcheck.evaluation.engines.blas import one_blas_thread
from fastgradcheck.evaluation.progress import showing
from fastgradcheck.evaluation.stream import Stopped, Stream
from fastgradcheck.fingerprints.fingerprint import refuse_other_counts
from fastgradcheck.fingerprints.judge_rows import judged_rows
from fastgradcheck.fingerprints.outline import holds_unknown, outlined
from fastgradcheck.fingerprints.subject import Subject
from fastgradcheck.fingerprints.taken import NAMES, Taken, source_of
from fastgradcheck.jacobians.check import hesscheck, jaccheck, refuse_unknown_form
from fastgradcheck.problem.calls import arguments_of
from fastgradcheck.problem.guards import leaving_at_theta
from fastgradcheck.problem.inspection import inspect_outputs
from fastgradcheck.problem.outputs import Outputs, describe_outputs, like_theta
from fastgradcheck.problem.problem import Objective
from fastgradcheck.problem.rowsizes import row_sizes
from fastgradcheck.report.origin import origin_of
from fastgradcheck.result import GradcheckResult, skipped


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class JacobianFingerprint(Taken):
    """What F does along directions through all of theta.

    Made by `jacobian_fingerprint` and `hessian_fingerprint`.

    Attributes
    ----------
    recording : RowRecording
        The values.
    outputs : Outputs
        What F returns.
    identity, dtype, when, function, source, kind, subject
        Of what they are; see `fastgradcheck.fingerprints.taken.Taken`.
    """

    recording: RowRecording
    outputs: Outputs

    def about(self) -> dict[str, Any]:
        return {**super().about(), "outputs": outlined(self.outputs)}

    @in_our_words
    def check(
        self,
        jac: Any,
        *,
        form: str = "matrix",
        fun: Callable[..., Any] | None = None,
        theta: Any = None,
        args: Any = (),
        layout: Mapping[str, Any] | None = None,
        threshold: float | None = None,
        rtol: float | None = None,
    ) -> GradcheckResult:
        """Check a Jacobian, or a Hessian, against the values that were recorded.

        Parameters
        ----------
        jac : callable, array, sparse matrix, or nest of them
            As in `jaccheck` or `hesscheck`.
        form : {"matrix", "jvp", "vjp"} or {"matrix", "hvp"}
            What `jac` returns: as in `jaccheck` or `hesscheck`.
        fun : callable, optional
            The function that was recorded: evaluated to locate and confirm what is wrong. Without
            it nothing is evaluated: single wrong entries of rows are decoded, but not confirmed.
        theta, args, layout : optional
            As in `jaccheck`, for a fingerprint that was read from a file, which holds only digests
            of them; by default those that it was taken of.
        threshold, rtol : float, optional
            As in `jaccheck`.

        Returns
        -------
        GradcheckResult
            With addresses such as ``defect[3, 1] / W1[3, 5]``; a row of which it is not known
            where it is wrong is named by its output, ``defect[3, 1]``.

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
        >>> A = np.random.default_rng(0).normal(size=(5, 40))
        >>> fp = fgc.jacobian_fingerprint(lambda t: np.sin(A @ t), np.linspace(0, 1, 40), seed=0)
        >>> def jac(t):
        ...     return np.cos(A @ t)[:, np.newaxis] * A
        >>> fp.check(jac).verdict.name
        'AGREES'
        >>> def wrong(t):
        ...     J = jac(t)
        ...     J[3, 17] *= 1.01
        ...     return J
        >>> fp.check(wrong).wrong
        ('F[3] / theta[17]',)
        """
        if switched_off():
            return skipped()
        refuse_unknown_form(form, self.kind)
        if jac is True:
            raise GradcheckTypeError(
                f"{self.names.derivative}=True means that {self.names.function} returns both, and "
                "it is not evaluated here: pass the derivative."
            )
        subject = self.compared(theta, args, layout)
        if fun is not None:
            options: dict[str, Any] = {
                "form": form,
                "args": subject.args,
                "layout": subject.layout,
                "strategy": "screen",
                "threshold": threshold,
                "rtol": rtol,
                "seed": self.recording.seed,
                "progress": False,
                "recording": self.recording,
            }
            if self.kind == "Hessian":
                return hesscheck(fun, jac, subject.theta, **options)
            return jaccheck(fun, jac, subject.theta, outputs=self._named(), **options)
        outputs = self.outputs_at(subject)
        if form == "vjp" and holds_unknown(outputs.like):
            raise GradcheckInputError(
                f"this fingerprint was read from a file, which does not hold the class of what "
                f"{self.names.function} returns, and a vjp is given a value of it: pass "
                f'{self.names.function}=, or check form="matrix" or form="jvp".'
            )
        return judged_rows(self, outputs, subject, jac, form, threshold, rtol)

    def is_of(self, value: Any, subject: Subject, names: Mapping[str, Any] | None) -> bool:
        """Whether the function returns at theta what it did, under the same names."""
        try:
            values = self.outputs_at(subject).flatten(value)
            here = describe_outputs(value, names).blocks
        except GradcheckInputError:
            return False
        named = self.kind == "Hessian" or here == self.outputs.blocks
        return named and self.recording.is_of(values)

    def outputs_at(self, subject: Subject) -> Outputs:
        """The outputs; those of a gradient in the order of theta's blocks."""
        square = self.kind == "Hessian"
        return like_theta(self.outputs, subject.parameters) if square else self.outputs

    def _named(self) -> dict[str, Any] | None:
        """``outputs=`` of the function."""
        blocks = self.outputs.blocks
        if blocks == describe_outputs(self.outputs.like).blocks:
            return None
        return {block.name: block.shape for block in blocks}


@in_our_words
def jacobian_fingerprint(
    fun: Callable[..., Any],
    theta: Any,
    *,
    args: Any = (),
    layout: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    directions: int = 8,
    seed: int | None = None,
    engine: str = "auto",
    n_jobs: int | None = None,
    progress: Any = None,
) -> JacobianFingerprint:
    """Record what F does along a few directions, so that Jacobians can be checked without it.

    Parameters
    ----------
    fun, theta, args, layout, outputs
        As in `jaccheck`.
    directions : {8, 16, 4}
        The more, the sharper: of each, F is evaluated at four points.
    seed : int, optional
        Of the directions; drawn if None.
    engine, n_jobs, progress
        As in `gradcheck`.

    Returns
    -------
    JacobianFingerprint
        ``.check(jac)`` judges a Jacobian, ``.save(path)`` writes a file.

    Raises
    ------
    GradcheckInputError
        If an argument is unusable.
    CostEvaluationError
        If `fun` raises at a perturbed point.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgradcheck as fgc
    >>> fp = fgc.jacobian_fingerprint(lambda t: t**3, np.linspace(1.0, 2.0, 30), seed=1)
    >>> bool(fp.check(lambda t: np.diag(3 * t**2)))
    True
    >>> bool(fp.check(lambda t, v: 3 * t * v, form="jvp"))
    False
    """
    return _taken(
        "Jacobian", fun, theta, args, layout, outputs, directions, seed, engine, n_jobs, progress
    )


@in_our_words
def hessian_fingerprint(
    grad: Callable[..., Any],
    theta: Any,
    *,
    args: Any = (),
    layout: Mapping[str, Any] | None = None,
    directions: int = 8,
    seed: int | None = None,
    engine: str = "auto",
    n_jobs: int | None = None,
    progress: Any = None,
) -> JacobianFingerprint:
    """Record what a gradient does along a few directions, so that Hessians can be checked by it.

    Parameters
    ----------
    grad, theta, args, layout
        As in `hesscheck`.
    directions, seed, engine, n_jobs, progress
        As in `jacobian_fingerprint`.

    Returns
    -------
    JacobianFingerprint
        Whose ``.check(hess)`` sees to symmetry as well.

    Raises
    ------
    GradcheckInputError, CostEvaluationError
        As in `jacobian_fingerprint`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastgradcheck as fgc
    >>> fp = fgc.hessian_fingerprint(lambda t: t**3, np.linspace(1.0, 2.0, 30), seed=1)
    >>> bool(fp.check(lambda t, v: 3 * t**2 * v, form="hvp"))
    True
    """
    return _taken(
        "Hessian", grad, theta, args, layout, None, directions, seed, engine, n_jobs, progress
    )


def _taken(
    kind: str, fun: Any, theta: Any, args: Any, layout: Any, outputs: Any, directions: int,
    seed: int | None, engine: str, n_jobs: int | None, progress: Any,
) -> JacobianFingerprint:  # fmt: skip
    """The fingerprint of either kind."""
    refuse_other_counts(directions)
    refuse_unknown(engine)
    names = NAMES[kind]
    subject = Subject.of(theta, arguments_of(fun, np.zeros(0), args, names), layout)
    asked = Objective(fun, subject.args, subject.parameters, subject.flat)
    seed = seed_of(seed, None)
    with one_blas_thread(), showing(progress) as listen, leaving_at_theta(asked):
        inspected = inspect_outputs(asked, outputs, None, names.function, kind == "Hessian")
        sizes, count = row_sizes(inspected, None, seed)
        running = open_engine(inspected.objective, engine, n_jobs, serial=inspected.serial)
        try:
            with Stream(running, listen=listen) as stream:
                stream.evaluations = inspected.evaluations + count
                context = Context(stream, float("nan"), seed=seed)
                blocks = len(inspected.outputs.blocks)
                try:
                    recording = record_rows(context, inspected.values, sizes, blocks, directions)
                except Stopped:
                    raise KeyboardInterrupt from None
        finally:
            running.close()
    origin = origin_of(fun, fun)
    return JacobianFingerprint(
        recording=recording,
        outputs=inspected.outputs,
        identity=subject.identity,
        dtype=inspected.objective.theta.dtype.name,
        when=origin.when,
        function=origin.cost,
        source=source_of(fun),
        kind=kind,
        subject=subject,
    )
