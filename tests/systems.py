"""Block problems with a known answer, consistent or not, for the tests."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

import eagle
from eagle.methods import as_method
from tests.tolerances import tolerance

SHAPES = {"tall": (17, 11), "wide": (11, 17), "square": (13, 13)}
DTYPES = (np.float32, np.float64, np.complex64, np.complex128)
KINDS = ("consistent", "inconsistent B", "inconsistent C", "both inconsistent")


@dataclass(frozen=True, eq=False)
class System:
    """``value = B A^+ C`` from the singular vectors that A was made of."""

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    pinv: np.ndarray
    value: np.ndarray
    W: np.ndarray


def normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Gaussian numbers, complex ones for a complex dtype, in double precision."""
    draw = rng.standard_normal(shape)
    return draw + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else draw


def orthonormal(rng: np.random.Generator, d: int, rank: int, dtype: Any) -> np.ndarray:
    """``(d, rank)`` with orthonormal columns."""
    return np.linalg.qr(normal(rng, (d, rank), dtype))[0]


def system(
    shape: str | tuple[int, int] = "tall",
    *,
    rank: int | None = None,
    condition: float = 10.0,
    dtype: Any = np.float64,
    kind: str = "consistent",
    rows: int = 3,
    columns: int = 2,
    seed: int = 0,
) -> System:
    """A system with the given rank and condition, singular values in equal ratios."""
    rng = np.random.default_rng(seed)
    d, n = SHAPES[shape] if isinstance(shape, str) else shape
    rank = min(d, n) if rank is None else rank
    s = eagle.problems.spectrum(rank, condition)
    U, V = orthonormal(rng, d, rank, dtype), orthonormal(rng, n, rank, dtype)
    A = (U * s) @ V.conj().T
    B, C = normal(rng, (rows, n), dtype), normal(rng, (d, columns), dtype)
    if kind in ("consistent", "inconsistent C"):
        B = normal(rng, (rows, d), dtype) @ A
    if kind in ("consistent", "inconsistent B"):
        C = A @ normal(rng, (n, columns), dtype)
    pinv = (V / s) @ U.conj().T
    value, W = (B @ V / s) @ (U.conj().T @ C), (B @ V / s) @ U.conj().T
    return System(*(block.astype(dtype) for block in (A, B, C, pinv, value, W)))


def quietly(function: Any, *arguments: Any, **options: Any) -> Any:
    """Call a solver whose failure to converge the test looks at itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", eagle.ConvergenceWarning)
        return function(*arguments, **options)


def solve(blocks: Any, method: Any = "auto", **options: Any) -> eagle.Result:
    """`eagle.solve` of a system or a problem, whose failure the test looks at itself."""
    options = {"rng": 0} | options
    return quietly(eagle.solve, blocks.A, blocks.B, blocks.C, method=method, **options)


def stacks(systems: Any, names: str = "ABC") -> list[np.ndarray]:
    """Blocks of several systems, those of the same name in one array."""
    return [np.stack([getattr(each, name) for each in systems]) for name in names]


def aim(method: Any, dtype: Any = np.float64) -> float:
    """The accuracy that a method aims at by default, 0 for its floor; the truth is within ten."""
    rtol = as_method(method).default_rtol
    return 0.0 if rtol is None else max(rtol, tolerance(dtype, constant=100))
