"""Test matrices with known answers, for tests, benchmarks and anyone who wants to try a solver.

A problem is made from a prescribed singular value decomposition, so that its condition number,
its rank and the value ``B A^+ C`` are known without solving anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eagle.problem.options import as_generator, check_count, check_number

SPECTRA = ("log", "linear", "cluster", "spike", "cliff", "inverse")


@dataclass(frozen=True, eq=False)
class Blocks:
    """A block problem with its answer.

    Attributes
    ----------
    A, B, C : ndarray (d, n), (d', n), (d, n')
    D : ndarray (d', n')
        ``B A^+ C``, from the factors that A was made of.
    singular_values : ndarray (rank,)
        Of A, descending.
    """

    A: np.ndarray
    B: np.ndarray
    C: np.ndarray
    D: np.ndarray
    singular_values: np.ndarray

    def error(self, value: np.ndarray) -> float:
        """Relative Frobenius distance of `value` from D."""
        return float(np.linalg.norm(value - self.D) / np.linalg.norm(self.D))


def spectrum(rank: int, condition: float, kind: str = "log") -> np.ndarray:
    """Descending singular values from 1 to ``1 / condition``.

    Parameters
    ----------
    rank : int
        How many.
    condition : float
        Ratio of the largest to the smallest.
    kind : {"log", "linear", "cluster", "spike", "cliff", "inverse"}
        ``"log"``: equal ratios. ``"linear"``: equal steps. ``"cluster"``: half at each end.
        ``"spike"``: one at 1, the rest spread from ``condition**-0.5`` down. ``"cliff"``: all at
        1 but the last. ``"inverse"``: ``1 / k`` bent to end at ``1 / condition``.
    """
    low = 1 / condition
    k = np.arange(rank)
    if kind not in SPECTRA:
        raise ValueError(f"kind must be one of {', '.join(map(repr, SPECTRA))}, got {kind!r}")
    if rank == 1:
        return np.ones(1)
    if kind == "linear":
        return np.linspace(1, low, rank)
    if kind == "cluster":
        return np.where(k < rank // 2, 1.0, low)
    if kind == "spike":
        return np.concatenate([[1.0], np.geomspace(low**0.5, low, rank - 1)[:-1], [low]])
    if kind == "cliff":
        return np.where(k < rank - 1, 1.0, low)
    if kind == "inverse":
        return (1.0 + k) ** (np.log(low) / np.log(rank))
    return np.geomspace(1, low, rank)


def low_rank(
    d: int,
    n: int,
    rows: int = 2,
    columns: int = 2,
    *,
    rank: int | None = None,
    condition: float = 100.0,
    kind: str = "log",
    dtype: Any = np.float64,
    noise: float = 0.0,
    rng: Any = None,
) -> Blocks:
    """A consistent problem ``X = [A C; B D]`` with ``rank X = rank A``.

    ``A = U S V^H``, ``B = G S V^H``, ``C = U S H`` and ``D = G S H`` with random orthonormal U, V
    and Gaussian G, H.

    Parameters
    ----------
    d, n : int
        Size of A.
    rows, columns : int
        Rows of B and columns of C.
    rank : int, optional
        Rank of A; ``min(d, n)`` by default.
    condition : float
        Ratio of the largest to the smallest non-zero singular value.
    kind : str
        See `spectrum`.
    dtype : dtype
        float32, float64, complex64 or complex128.
    noise : float
        Relative size of a random perturbation of B, which makes it inconsistent. D is then the
        value for the perturbed B.
    rng : int, Generator or None

    Returns
    -------
    Blocks

    Examples
    --------
    >>> import eagle, numpy as np
    >>> blocks = eagle.problems.low_rank(6, 5, rank=3, condition=10, rng=0)
    >>> int(np.linalg.matrix_rank(blocks.A)), bool(blocks.error(blocks.D) == 0)
    (3, True)
    """
    sizes = {"d": d, "n": n, "rows": rows, "columns": columns}
    d, n, rows, columns = (check_count(name, size) for name, size in sizes.items())
    rank = min(d, n) if rank is None else check_count("rank", rank)
    if rank > min(d, n):
        raise ValueError(f"rank must be at most {min(d, n)}, got {rank}")
    check_number("condition", condition, minimum=1.0)
    check_number("noise", noise)
    s = spectrum(rank, condition, kind)
    rng = as_generator(rng)
    dtype = np.dtype(dtype)
    if dtype.char not in "fdFD":
        raise TypeError(f"dtype must be float32, float64, complex64 or complex128, got {dtype}")

    def normal(*shape: int) -> np.ndarray:
        draw = rng.standard_normal(shape)
        return draw + 1j * rng.standard_normal(shape) if dtype.kind == "c" else draw

    U = np.linalg.qr(normal(d, rank))[0]
    V = np.linalg.qr(normal(n, rank))[0]
    G, H = normal(rows, rank), normal(rank, columns)
    A, B, C = (U * s) @ V.conj().T, (G * s) @ V.conj().T, (U * s) @ H
    D = (G * s) @ H
    if noise:
        perturbation = normal(rows, n)
        perturbation *= noise * np.linalg.norm(B) / np.linalg.norm(perturbation)
        B = B + perturbation
        D = D + (perturbation @ V) @ H
    A, B, C, D = (block.astype(dtype) for block in (A, B, C, D))
    return Blocks(A, B, C, D, singular_values=s)
