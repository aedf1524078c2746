"""A second plateau, of larger steps, is evidence too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fastgradcheck.differences.plateau import StepSweep, SweepValues, larger_scale, read_off


def swept(slope_of: Callable[[np.ndarray], np.ndarray], noise: float = 1e-20) -> StepSweep:
    """The sweep of a function that is zero at zero, which is where it is measured."""
    h = 2.0**-5 / 4.0 ** np.arange(17)[np.newaxis]
    return read_off(SweepValues(np.array([0]), h, h, h, slope_of(h), slope_of(-h)), 0.0, noise)


@pytest.mark.parametrize("frequency", [1e5, 1e6, 1e7])
@pytest.mark.parametrize("share", [-0.5, 0.03, 1.0, 8.0])
def test_a_fast_oscillation_has_two_scales(frequency, share):
    measured = swept(lambda h: h + share * np.sin(frequency * h) / frequency)
    assert measured.value == pytest.approx(1 + share, rel=1e-6)
    slope, error = larger_scale(measured)
    assert abs(slope - 1.0) <= error <= abs(share) / 4


@pytest.mark.parametrize(
    "smooth",
    [
        lambda h: h,
        lambda h: h + 40 * h**3,
        np.exp,
        lambda h: np.tanh(30 * h),
        lambda h: np.sin(300 * h) / 300,
        lambda h: np.maximum(h, 0.0),
        lambda h: np.maximum(h - 1e-5, 0.0),
        lambda h: 3 * h + np.abs(h - 1e-3) - 1e-3,
        lambda h: np.sign(h) * np.abs(h) ** 1.5,
        lambda h: h * np.log(np.abs(h)),
    ],
)
def test_truncation_and_kinks_have_one(smooth):
    assert larger_scale(swept(smooth)) is None


def test_two_kinks_around_theta_have_two():
    """As a soft threshold has: zero within, and one beyond, on both sides."""
    measured = swept(lambda h: np.sign(h) * np.maximum(np.abs(h) - 1e-7, 0.0))
    slope, _ = larger_scale(measured)
    assert (measured.value, round(slope, 4)) == (0.0, 1.0)


def test_slopes_that_are_no_numbers_have_none():
    measured = swept(lambda h: h)
    for beyond in (np.inf, -np.inf, np.nan):
        slopes = np.where(np.arange(len(measured.derivatives)) < 6, beyond, 1.0)
        assert larger_scale(replace(measured, derivatives=slopes, right=slopes, best=9)) is None


def test_noise_has_none():
    rng = np.random.default_rng(0)
    found = [
        larger_scale(swept(lambda h: h + 1e-9 * rng.normal(size=h.shape), 1e-9)) for _ in range(200)
    ]
    assert found == [None] * 200
