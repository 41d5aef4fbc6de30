"""Who is compared with whom: our methods and the rivals' least squares, once for all tables."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

import eagle

SCHEDULES = ("minimax", "Cholesky", "paper")
EAGLES = {f"EAGLE ({name})": eagle.Eagle(name.lower()) for name in SCHEDULES}


def _lapack(driver: str) -> Callable[..., np.ndarray]:
    return lambda A, B, C: B @ scipy.linalg.lstsq(A, C, lapack_driver=driver)[0]


RIVALS: dict[str, Callable[..., np.ndarray]] = {
    "gelsy": _lapack("gelsy"),
    "gelsd": _lapack("gelsd"),
    "numpy lstsq": lambda A, B, C: B @ np.linalg.lstsq(A, C)[0],
    "numpy pinv": lambda A, B, C: (B @ np.linalg.pinv(A, rcond=1e-14)) @ C,
}


def ours(problem: Any, method: Any = "auto", **options: Any) -> Callable[[], eagle.Result]:
    """A solve of a problem with blocks A, B and C, to be timed."""
    return functools.partial(eagle.solve, problem.A, problem.B, problem.C, method=method, **options)


def rival(problem: Any, name: str) -> Callable[[], np.ndarray]:
    """The same by one of `RIVALS`."""
    return functools.partial(RIVALS[name], problem.A, problem.B, problem.C)
