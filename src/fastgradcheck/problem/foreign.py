"""Arrays of other libraries as NumPy's, and back: of torch, jax, pandas and xarray.

No library is imported here: whoever hands over a tensor has imported torch.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastgradcheck.errors import GradcheckTypeError
from fastgradcheck.problem.labelled import LikeDataArray, kind_in_xarray

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


@dataclass(frozen=True)
class Like:
    """Makes an array of another library of a NumPy array.

    Attributes
    ----------
    library : {"torch", "jax"}
    device : object
        Of torch: where the tensor is.
    """

    library: Literal["torch", "jax"]
    device: Any = None

    def __call__(self, array: NDArray[Any]) -> Any:
        if self.library == "jax":
            return sys.modules["jax"].numpy.asarray(array)
        if not array.flags.writeable:
            array = array.copy()
        return sys.modules["torch"].from_numpy(array).to(self.device)

    def aligned(self, value: Any, where: str) -> Any:
        """A leaf of a gradient in theta's order, which it has."""
        return value


def like(value: Any) -> Like | LikeDataArray | None:
    """What makes arrays of the same kind; None for NumPy's own, and for what is not known."""
    if is_tensor(value):
        return Like("torch", value.device)
    if kind_in_xarray(value) == "array":
        return LikeDataArray(value)
    jax = sys.modules.get("jax")
    return Like("jax") if jax is not None and isinstance(value, jax.Array) else None


def parameter(value: Any, where: str) -> NDArray[Any]:
    """A tensor or jax array of theta as an array, which `like` turns back without loss.

    Raises
    ------
    GradcheckTypeError
        If it cannot be turned back, saying which line to write.
    """
    if is_tensor(value):
        array: NDArray[Any] = np.asarray(plain(value, where))
        if value.is_complex():
            raise GradcheckTypeError(
                f"{where} is a tensor of {value.dtype}: complex parameters must be arrays of "
                f"NumPy. Pass {where}.numpy(), and a cost that makes a tensor of it by "
                "torch.from_numpy."
            )
        if str(value.dtype) not in ("torch.float64", "torch.float32"):
            raise GradcheckTypeError(
                f"{where} is a tensor of {value.dtype}: differences of J need float64. Pass "
                f"{where}.double(), or check a module with fastgradcheck.torch.gradcheck(loss, "
                "module), which keeps the module in its own dtype."
            )
        return array
    if not sys.modules["jax"].config.jax_enable_x64:
        raise GradcheckTypeError(
            f"{where} is an array of jax, which has no float64 here: "
            "fastgradcheck.jax.gradcheck(cost, theta, grad=grad) switches it on for the check "
            "alone. Or pass np.asarray(theta, float), and a cost that takes arrays of NumPy."
        )
    array = np.asarray(value)
    if array.dtype.kind == "c":
        raise GradcheckTypeError(
            f"{where} is an array of {array.dtype} of jax: complex parameters must be arrays of "
            f"NumPy. Pass np.asarray({where}), and a cost that takes these."
        )
    if array.dtype not in (np.float64, np.float32):
        raise GradcheckTypeError(
            f"{where} is an array of {array.dtype}: a parameter must be floating point (float64 or "
            "float32); use .astype(float)."
        )
    return array


def kind_in_pandas(value: Any) -> Literal["series", "frame"] | None:
    """Whether it is a Series or a DataFrame."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not hasattr(pandas, "Series"):
        return None
    if isinstance(value, pandas.Series):
        return "series"
    return "frame" if isinstance(value, pandas.DataFrame) else None


def items_of_pandas(value: Any) -> tuple[dict[Hashable, Any], dict[str, Any]]:
    """The numbers of a Series by label, or the columns of a DataFrame; and what else it has.

    Raises
    ------
    GradcheckTypeError
        If a label occurs twice: an entry would have no name of its own.
    """
    series = kind_in_pandas(value) == "series"
    labels = value.index if series else value.columns
    if not labels.is_unique:
        twice = labels[labels.duplicated()][0]
        raise GradcheckTypeError(
            f"the label {twice!r} occurs twice in a {type(value).__name__}: entries could not be "
            "told apart. Use .to_numpy() and a cost of arrays, or other labels."
        )
    if series:
        return dict(zip(labels, value.to_numpy(), strict=True)), {"name": value.name}
    columns = {label: value[label].to_numpy() for label in labels}
    return columns, {"index": value.index}


def by_label(
    tree: Any, kind: str, keys: Sequence[Hashable], static: tuple[tuple[str, Any], ...]
) -> Any:
    """What stands for a Series or DataFrame with these labels, by label, and rows in its order."""
    if kind == "frame" and kind_in_pandas(tree) == "frame":
        index = dict(static)["index"]
        # Other rows than theta's are told by their number.
        same = index.is_unique and tree.index.is_unique and set(tree.index) == set(index)
        return tree.reindex(index) if same else tree
    if kind not in ("series", "frame") or not isinstance(tree, np.ndarray):
        return tree
    if kind == "series" and tree.shape == (len(keys),):
        return dict(zip(keys, tree, strict=True))
    if kind == "frame" and tree.ndim == 2 and tree.shape[1] == len(keys):
        return dict(zip(keys, tree.T, strict=True))
    return tree
