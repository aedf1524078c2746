"""Backward passes of torch, checked on modules and functions as they are."""

try:
    import torch as _torch  # noqa: F401 -- so that its absence is told here, and how to mend it
except ImportError as error:
    raise ImportError(
        "fastgradcheck.torch needs PyTorch: pip install 'fastgradcheck[torch]'"
    ) from error

from fastgradcheck.torch.function import functioncheck
from fastgradcheck.torch.module import gradcheck

__all__ = ["functioncheck", "gradcheck"]
