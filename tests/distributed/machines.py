"""Problems that are split over machines, for the tests."""

from __future__ import annotations

import warnings

import numpy as np

import eagle
import eagle.distributed as many
from tests.systems import System

SIZES = (1, 2, 3, 7)
ITERATIVE = ("eagle", "eagle-frozen", "krylov", "apc", "gd", "cg", "pooled", "seminormal")
PROJECTORS = ("eagle", "eagle-frozen", "krylov", "apc")
SLOW = tuple(name for name in ITERATIVE if name != "seminormal")  # many iterations
REDUCTIONS = ("gram", "tsqr", "compressed")


def split(system: System, cuts: list[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A and B cut before the columns named; equal cuts make empty shards."""
    return np.split(system.A, cuts, axis=1), np.split(system.B, cuts, axis=1)


def uneven(n: int, size: int) -> list[int]:
    """Cuts of n columns into `size` parts of quite different sizes, one of them empty from 3 on."""
    cuts = sorted(int(n * (k / size) ** 2) for k in range(1, size))
    if size > 2:
        cuts[1] = cuts[0]
    return cuts


def simulate(A, B, C, **options) -> many.Result:
    """Without the warning, whose reason the test looks at itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eagle.ConvergenceWarning)
        return many.simulate(A, B, C, **options)
