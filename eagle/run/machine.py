"""What this machine does per second, measured once per process: the planner's units."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

SIZE = 384  # of the trial matrices: a few milliseconds in all
TRIALS = 3


@dataclass(frozen=True)
class Rates:
    """Real floating-point operations per second.

    Rounded to powers of two, so that equal machines plan alike.
    """

    product: float
    factorisation: float


@cache
def rates(char: str) -> Rates:
    """Rates for the dtype of this character: gemm and geqrf."""
    import scipy.linalg

    from eagle.algebra.blas import product

    dtype = np.dtype(char)
    unit = 4.0 if dtype.kind == "c" else 1.0
    A = np.asfortranarray(np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(dtype))
    return Rates(
        product=_rounded(unit * 2 * SIZE**3 / _best(lambda: product(A, A))),
        factorisation=_rounded(
            unit * 4 / 3 * SIZE**3 / _best(lambda: scipy.linalg.qr(A, mode="r"))
        ),
    )


def memory() -> float:
    """Bytes of memory that this machine has, infinity if it does not tell."""
    names = ("SC_PHYS_PAGES", "SC_PAGE_SIZE")
    if not hasattr(os, "sysconf") or not set(names) <= set(os.sysconf_names):
        return math.inf
    return float(math.prod(os.sysconf(name) for name in names))


def _best(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return max(min(times), 1e-9)


def _rounded(rate: float) -> float:
    return 2.0 ** round(math.log2(rate))
