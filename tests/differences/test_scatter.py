"""What the values on one step sweep show of J: noise, jumps, kinks beside theta."""

from __future__ import annotations

import numpy as np
import pytest

from fastgradcheck.differences.scatter import defect, jumps, noise_shown, of_single

H = 0.01 / 4.0 ** np.arange(9)


@pytest.mark.parametrize("level", [1e-12, 1e-6, 1.0])
def test_noise_is_seen_at_its_level(level: float) -> None:
    found = []
    for seed in range(50):
        noise = level * np.random.default_rng(seed).normal(size=(2, 9))
        found.append(noise_shown(3 + H + noise[0], 3 - H + noise[1]))
    assert 0.3 * level < np.median(found) < 3 * level


def test_what_is_smooth_or_stands_still_or_a_root_is_no_noise() -> None:
    assert noise_shown(np.exp(H), np.exp(-H)) < 1e-15
    dead = np.where(H > 1e-5, H - 1e-5, 0.0)  # a unit beside its kink, the others of J apart
    assert noise_shown(dead, 0 * H) == 0
    assert noise_shown(dead, dead) < 1e-6
    assert noise_shown(np.sqrt(H), np.sqrt(H)) == 0


def test_a_jump_stays_and_a_kink_does_not() -> None:
    assert jumps(1 + H, 0 * H - H, 1.0, 1e-16)
    assert jumps(2 + 0 * H, 2 + 0 * H, 1.0, 1e-16)
    assert not jumps(H, H, 0.0, 1e-16)
    assert not jumps(H**2, H**2, 0.0, 1e-16)
    assert not jumps(1 + 1e-9 + 0 * H, 1 - 0 * H, 1.0, 1e-9)
    assert not jumps(np.full(9, np.nan), H, 0.0, 1e-16)


def test_the_side_of_a_kink_misses_theta() -> None:
    beside = np.maximum(H - 1e-8, 0)  # all steps but none of the smallest are beyond it
    miss, doubt = defect(1 + beside, 1.0, 1e-16)
    assert miss == pytest.approx(1e-8, rel=0.1)
    assert miss > doubt
    miss, doubt = defect(1 + H, 1.0, 1e-16)
    assert miss <= doubt


def test_the_rounding_of_float32_grows_with_j() -> None:
    eps = float(np.finfo(np.float32).eps)
    assert of_single(eps * 5, 5.0) == pytest.approx(eps)
    assert of_single(1e-16, 5.0) == of_single(eps, 0.0) == 0
