"""Arrays of other libraries as NumPy's: torch's tensors, and floats that NumPy does not know.

No library is imported here: whoever hands over a tensor has imported torch.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckTypeError

DOUBLE = float(np.finfo(np.float64).eps)
COARSE = 1e-6
"""Machine epsilons above this are those of 16 bits and fewer; float32 has 1.2e-7."""


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor of torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, getattr(torch, "Tensor", ()))


def _is_small_float(dtype: np.dtype[Any]) -> bool:
    """Whether it is a float of ml_dtypes (bfloat16, float8), which NumPy takes for bytes."""
    known = sys.modules.get("ml_dtypes")
    if known is None or issubclass(dtype.type, np.number):
        return False
    try:
        known.finfo(dtype)
    except ValueError:
        return False
    return True


def plain(value: Any, where: str) -> Any:
    """A tensor, or an array of small floats, as an array of NumPy's floats; others as they are.

    Every value is kept: floats of 16 bits and fewer become float32.

    Parameters
    ----------
    value : object
    where : str
        For messages.

    Raises
    ------
    GradcheckTypeError
        If a tensor holds no values.
    """
    if is_tensor(value):
        return _of_tensor(value, where)
    dtype = getattr(value, "dtype", None)
    if isinstance(dtype, np.dtype) and _is_small_float(dtype):
        return np.asarray(value).astype(np.float32)
    return value


def _of_tensor(tensor: Any, where: str) -> NDArray[Any]:
    if tensor.device.type == "meta":
        raise GradcheckTypeError(
            f"{where} is a tensor on the device 'meta', which holds no values: compute it on a "
            "real device."
        )
    tensor = tensor.detach().to("cpu")
    if tensor.layout is not sys.modules["torch"].strided:
        tensor = tensor.to_dense()  # as torch.nn.Embedding(sparse=True) returns its gradient
    if tensor.is_floating_point() and tensor.itemsize < 4:
        tensor = tensor.float()
    array: NDArray[Any] = tensor.resolve_conj().resolve_neg().numpy()
    return array


def eps(value: Any) -> float:
    """The machine epsilon of an array's dtype; float64's if it is not that of a float.

    Examples
    --------
    >>> eps(np.float32(1.0)) == 2.0**-23, eps(1.0) == 2.0**-52
    (True, True)
    """
    if is_tensor(value):
        torch = sys.modules["torch"]
        return float(torch.finfo(value.dtype).eps) if value.is_floating_point() else DOUBLE
    dtype = getattr(value, "dtype", None)
    if not isinstance(dtype, np.dtype):
        dtype = np.asarray(value).dtype
    if _is_small_float(dtype):
        return float(sys.modules["ml_dtypes"].finfo(dtype).eps)
    return max(float(np.finfo(dtype).eps), DOUBLE) if dtype.kind == "f" else DOUBLE
