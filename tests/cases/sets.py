"""Blocks of any shape."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from fastgradcheck.problem.blocks import Block
from fastgradcheck.problem.parameters import describe

shapes = st.one_of(
    st.tuples(st.integers(2, 300)),
    st.tuples(st.integers(1, 40), st.integers(2, 40)),
    st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(2, 8)),
)


def block_of(*shape: int, start: int = 0) -> Block:
    """A block of that shape, with `start` other parameters before it."""
    theta = {"before": np.zeros(start), "W": np.zeros(shape)}
    return describe(theta if start else {"W": np.zeros(shape)}).blocks[-1]
