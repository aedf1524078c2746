"""Arrays of other libraries as NumPy's."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch

import fastgradcheck as fgc
from fastgradcheck.errors import GradcheckTypeError
from fastgradcheck.problem import foreign

VALUES = np.array([1.0, -0.5, 3.0])


@pytest.mark.parametrize(
    ("array", "eps"),
    [
        (torch.tensor(VALUES), 2.0**-52),
        (torch.tensor(VALUES, dtype=torch.float32), 2.0**-23),
        (torch.tensor(VALUES, dtype=torch.bfloat16), 2.0**-7),
        (torch.tensor(VALUES, dtype=torch.float16), 2.0**-10),
        (torch.tensor(VALUES, requires_grad=True), 2.0**-52),
        (torch.tensor(VALUES).to_sparse(), 2.0**-52),
        (VALUES.astype(ml_dtypes.bfloat16), 2.0**-7),
        (VALUES.astype(ml_dtypes.float8_e4m3fn), 2.0**-3),
        (VALUES.astype(np.float16), 2.0**-10),
        (jnp.asarray(VALUES, jnp.bfloat16), 2.0**-7),
        (jnp.asarray(VALUES, jnp.float32), 2.0**-23),
        (VALUES.astype(np.longdouble), 2.0**-52),
        (VALUES, 2.0**-52),
    ],
)
def test_values_and_eps(array: Any, eps: float) -> None:
    plain = np.asarray(foreign.plain(array, "grad"))
    assert np.issubdtype(plain.dtype, np.floating)
    np.testing.assert_array_equal(plain, VALUES)
    assert foreign.eps(array) == eps
    # And so through a whole check, of J = g . theta.
    result = fgc.gradcheck(lambda t: float(t @ VALUES), lambda t: array, np.ones(3), seed=0)
    assert result, str(result)


def test_whole_numbers_and_complex_ones_have_no_eps_of_their_own() -> None:
    assert foreign.eps(3) == foreign.eps(np.ones(2, complex)) == foreign.DOUBLE
    assert foreign.eps(torch.tensor(3)) == foreign.DOUBLE


def test_a_tensor_without_values_is_refused() -> None:
    with pytest.raises(GradcheckTypeError, match="grad is a tensor on the device 'meta'"):
        foreign.plain(torch.ones(3, device="meta"), "grad")


def test_what_is_no_float_is_left_alone() -> None:
    structured = np.zeros(2, dtype=[("a", float)])
    assert foreign.plain(structured, "grad") is structured
    assert foreign.plain("text", "grad") == "text"
