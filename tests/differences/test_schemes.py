"""Difference schemes: their order, their noise, and the textbook's numbers.

The oracle is Taylor's theorem: a scheme of order p is exact for the monomials up to t^p, and its
error on t^(p+1) is known in closed form.
"""

from __future__ import annotations

import numpy as np
import pytest

import fastgradcheck as fgc
from fastgradcheck.differences.schemes import (
    CENTRAL,
    CENTRAL4,
    COMPLEX,
    FORWARD,
    SCHEMES,
    Scheme,
    scheme_named,
)
from fastgradcheck.errors import GradcheckInputError

REAL = [FORWARD, CENTRAL, CENTRAL4]


# t^(p+1) at 0 with h = 1: the quotient itself is the error, the derivative being zero.
LEADING = {"forward": 1.0, "central": 1.0, "central4": -4.0}


def quotient(scheme: Scheme, power: int, theta: float, h: float) -> float:
    """The scheme's derivative of t^power at theta, through its own points."""
    here, step = np.array([theta]), np.array([h])
    points = scheme.points(here, step)
    taken = points - here[:, np.newaxis]
    taken = taken.imag if scheme.imaginary else taken
    return float(scheme.derivative(points**power, taken, theta**power)[0])


@pytest.mark.parametrize("scheme", REAL, ids=lambda s: s.name)
def test_a_scheme_is_exact_up_to_its_order_and_not_beyond(scheme: Scheme) -> None:
    for power in range(1, scheme.order + 1):
        # A few roundings of numbers of size 3^4 over h = 1.
        assert quotient(scheme, power, 1.0, 1.0) == pytest.approx(power, abs=1e-13)
    assert quotient(scheme, scheme.order + 1, 0.0, 1.0) == pytest.approx(LEADING[scheme.name])


@pytest.mark.parametrize("scheme", REAL, ids=lambda s: s.name)
def test_the_error_falls_as_h_to_the_order(scheme: Scheme) -> None:
    errors = [quotient(scheme, scheme.order + 1, 0.0, h) for h in (0.5, 0.25)]
    assert errors[0] / errors[1] == pytest.approx(2**scheme.order)


def test_the_complex_step_has_no_cancellation() -> None:
    # Im((1 + ih)^3) / h = 3 - h^2: the step may be so small that h^2 vanishes beside 3.
    assert quotient(COMPLEX, 3, 1.0, 1e-20) == 3.0
    assert quotient(COMPLEX, 3, 1.0, 0.1) == pytest.approx(3 - 0.01)


def test_the_textbook_numbers() -> None:
    # (1.01^3 - 0.99^3) / 0.02 = 3.0001 and (1.01^3 - 1) / 0.01 = 3.0301.
    assert quotient(CENTRAL, 3, 1.0, 0.01) == pytest.approx(3.0001, abs=1e-12)
    assert quotient(FORWARD, 3, 1.0, 0.01) == pytest.approx(3.0301, abs=1e-12)


@pytest.mark.parametrize(("scheme", "expected"), [("central", 3.0001), ("forward", 3.0301)])
def test_the_textbook_numbers_through_a_check(scheme: str, expected: float) -> None:
    result = fgc.gradcheck(
        lambda t: (t**3).sum(),
        lambda t: 3.0 * t**2,
        np.ones(40),
        scheme=scheme,
        epsilon=0.01,
        seed=0,
    )
    loop = np.abs(result.components["numeric"] - expected) < 1e-9
    # All but the few that calibrate, which step sweeps have measured better, show the plain loop.
    assert loop.sum() >= 30
    # Its bar knows the truncation: it holds the true derivative, 3.
    assert (np.abs(result.components["numeric"] - 3) <= result.components["error"]).all()
    assert result.steps == {"theta": 0.01}


@pytest.mark.parametrize(
    ("scheme", "gain"), [(FORWARD, 2.0), (CENTRAL, 1.0), (CENTRAL4, 1.5), (COMPLEX, 1.0)]
)
def test_noise_gain_is_the_worst_error_of_the_derivative(scheme: Scheme, gain: float) -> None:
    assert scheme.noise_gain == pytest.approx(gain)


@pytest.mark.parametrize("scheme", REAL, ids=lambda s: s.name)
def test_noise_gain_bounds_what_noise_can_do(scheme: Scheme) -> None:
    rng = np.random.default_rng(0)
    noise = rng.choice([-1.0, 1.0], size=(1000, len(scheme.offsets)))
    taken = np.broadcast_to(scheme.offsets, noise.shape)
    here = rng.choice([-1.0, 1.0], size=1000) if scheme.base else np.zeros(1000)
    worst = max(
        abs(float(scheme.derivative(noise[k : k + 1], taken[k : k + 1], here[k])[0]))
        for k in range(1000)
    )
    assert worst == pytest.approx(scheme.noise_gain)


def test_the_step_taken_divides() -> None:
    # Beside 1e8, a step of 1e-7 becomes 1.04e-7 (7 ulps of 1.49e-8): the quotient of a line must
    # not feel it.
    here, step = np.array([1e8]), np.array([1e-7])
    for scheme in REAL:
        points = scheme.points(here, step)
        taken = points - here[:, np.newaxis]
        assert taken[0, 0] != step[0]
        # Lines of slope 1 through zero have no rounding: only the division counts.
        assert scheme.derivative(taken, taken, 0.0)[0] == pytest.approx(1.0, rel=1e-15)


def test_points_keep_the_dtype_of_theta() -> None:
    here = np.ones(2, np.float32)
    assert CENTRAL.points(here, np.full(2, 1e-3)).dtype == np.float32
    assert COMPLEX.points(here, np.full(2, 1e-3)).dtype == np.complex128


def test_names() -> None:
    assert {name: scheme_named(name).name for name in SCHEMES} == {name: name for name in SCHEMES}
    own = Scheme("backward", (-1.0,), (-1.0,), 1.0, 1)
    assert scheme_named(own) is own
    assert quotient(own, 1, 2.0, 0.5) == 1.0


@pytest.mark.parametrize("name", ["centre", "", None, 3, ["central"]])
def test_an_unknown_scheme_is_refused(name: object) -> None:
    with pytest.raises(
        GradcheckInputError,
        match=r"is not a difference scheme; use one of 'central', 'forward', 'central4', 'complex'",
    ):
        scheme_named(name)  # type: ignore[arg-type]
