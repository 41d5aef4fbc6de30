"""Numerical primitives: BLAS calls, and numba loops where matrices are small.

`choose` picks between the two implementations of what both offer, ``ritz_values`` and
``contract``.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from eagle.algebra import blas

__all__ = ["CROSSOVER", "KERNELS", "choose"]

KERNELS = ("blas", "numba")
CROSSOVER = 64  # larger sides of A are better off with BLAS; measured by `benchmarks central`


def choose(kernel: str, A: np.ndarray) -> ModuleType:
    """The module to iterate on A with.

    ``"numba"`` means numba where it is faster, up to a side of 64. It is not the default, because
    loading it costs as much as hundreds of small solves, and a switch in mid-process would make
    equal seeds give results that differ in the last bit.
    """
    if kernel == "blas" or max(A.shape) > CROSSOVER:
        return blas
    from eagle.algebra import small

    return small
