"""The Euclidean norm, against integers and NumPy's long double; the largest entry."""

from __future__ import annotations

import numpy as np
import pytest

from fastgradcheck.problem.norm import largest, norm


@pytest.mark.parametrize("power", [-1074, -1060, -540, -465, -464, 0, 400, 511, 512, 1000, 1020])
def test_every_size_of_entry(power: int) -> None:
    """A power of two changes no digit: 3, 4 and 12 have the norm 13, at the limits as well."""
    size = 2.0**power
    assert norm(np.array([3.0, -4.0, 12.0]) * size) == pytest.approx(13 * size, rel=4e-16, abs=0)


def test_small_entries_beside_large_ones() -> None:
    assert norm(np.array([3e200, 4e200, 1e-300])) == pytest.approx(5e200, rel=4e-16)
    assert norm(np.array([3e-200, 4e-200, 0.0])) == pytest.approx(5e-200, rel=4e-16)


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1.0, 1e150, 1e300])
def test_against_a_longer_type(scale: float) -> None:
    rng = np.random.default_rng(0)
    vector = rng.normal(size=500) * scale * 10.0 ** rng.uniform(-6, 0, 500)
    exact = np.sqrt(np.sum(np.square(vector / scale, dtype=np.longdouble)))
    assert norm(vector) == pytest.approx(float(exact) * scale, rel=1e-14, abs=0)


@pytest.mark.parametrize("vector", [[], [0.0], [0.0, -0.0]])
def test_of_nothing_is_zero(vector: list[float]) -> None:
    assert norm(np.array(vector)) == 0.0


@pytest.mark.parametrize("vector", [[np.inf, 1.0], [-np.inf, 0.0], [1e300, np.inf, -np.inf]])
def test_infinite(vector: list[float]) -> None:
    assert norm(np.array(vector)) == np.inf


@pytest.mark.parametrize("vector", [[np.nan], [1.0, np.nan], [np.inf, np.nan], [1e300, np.nan]])
def test_what_is_no_number(vector: list[float]) -> None:
    assert np.isnan(norm(np.array(vector)))


def test_the_vector_is_left_as_it_is() -> None:
    vector = np.array([3e300, 4e300])
    vector.flags.writeable = False
    assert isinstance(norm(vector), float)
    np.testing.assert_array_equal(vector, [3e300, 4e300])


@pytest.mark.parametrize(
    ("vector", "expected"),
    [
        ([], 0.0),
        ([-2.0], 2.0),
        ([np.nan], 0.0),
        ([-np.inf], 0.0),
        ([1.0, -3.0], 3.0),
        ([np.nan, -3.0, 1.0], 3.0),
        ([np.inf, -3.0, 5.0], 5.0),
        ([np.inf, np.nan, -np.inf], 0.0),
        ([-0.0, 0.0], 0.0),
    ],
)
def test_the_largest_entry_that_is_a_number(vector: list[float], expected: float) -> None:
    assert largest(np.array(vector)) == expected
