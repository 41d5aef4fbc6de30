"""Numerical primitives: BLAS calls, and numba loops where matrices are small.

`choose` picks between the two implementations of what both offer, ``ritz_values`` and
``contract``.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from eagle.kernels import blas

__all__ = ["KERNELS", "choose"]

KERNELS = ("auto", "blas", "numba")
CROSSOVER = 64  # larger sides of A are better off with BLAS; measured by `benchmarks central`
PATIENCE = 100  # small solves after which loading the compiled kernels has paid off

_small_solves = 0


def choose(kernel: str, A: np.ndarray) -> ModuleType:
    """The module to iterate on A with.

    ``"auto"`` takes numba for small A, but only from the hundredth small solve of the process:
    loading it costs as much as hundreds of them, and a program with one never pays.
    """
    global _small_solves
    if kernel == "auto":
        if max(A.shape) > CROSSOVER:
            return blas
        _small_solves += 1
        if _small_solves <= PATIENCE:
            return blas
    elif kernel == "blas":
        return blas
    from eagle.kernels import small

    return small
