"""Gradients and custom rules of jax, checked on functions of pytrees as they are."""

try:
    import jax as _jax  # noqa: F401 -- so that its absence is told here, and how to mend it
except ImportError as error:
    raise ImportError("fastgradcheck.jax needs jax: pip install 'fastgradcheck[jax]'") from error

from fastgradcheck.jax.gradient import gradcheck
from fastgradcheck.jax.rules import rulecheck

__all__ = ["gradcheck", "rulecheck"]
