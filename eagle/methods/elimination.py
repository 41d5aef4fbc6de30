r"""Gaussian elimination, with an error that is measured and not guessed from right-hand sides.

For a nonsingular A and ``X = A^-1 C`` as it was computed, the residual ``R = C - A X`` says how far
X is from the solution, ``A^-1 R``, and rounding of the blocks to first order what the solution is
worth: entries of A, B and C that are off by ``eps`` of themselves, each by itself, move ``B X`` by

    eps (|B A^-1 diag(w)|^2 + |B diag(x)|^2)^(1/2),     w_i^2 = sum_j |A_ij|^2 x_j^2 + c_i^2

in the mean square, where x and c are the lengths of the rows of X and C. No norm of A or of its
inverse stands alone there, so that units of rows and columns make no difference. A Frobenius norm
``|M|`` is ``|M G| / sqrt(p)`` in the mean square for p Gaussian columns G, so that all of this
takes one more solve, for the columns of R (or a few combinations of them) beside ``w G``, and one
product of A with as many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from eagle.algebra.base import COUNT
from eagle.algebra.blas import lengths, norm, product
from eagle.algebra.dense import Dense
from eagle.methods.base import Inverse
from eagle.methods.complete import Answer, norm_of_inverse
from eagle.methods.cross import Skeleton
from eagle.methods.pivoted import spectral_norm

LOST = 10.0  # in units of n^(1/2) times what rounding of the blocks does: what elimination may lose
LIFTED = 15.0  # n times that, in units of rounding of A: what may have been singular before that
SHARP = 1e-3  # of the condition from which on A is singular: from there on it is looked at twice


@dataclass(frozen=True, eq=False)
class LU(Inverse):
    """``P A = L U`` with rows interchanged; `turned`: of ``A^T``, which is how A lies in memory."""

    A: np.ndarray
    factors: np.ndarray
    pivots: np.ndarray
    turned: bool
    condition: float | None = None

    @property
    def rank(self) -> int:  # type: ignore[override]
        """That of a nonsingular A."""
        return len(self.A)

    def times(self, X: np.ndarray) -> np.ndarray:
        """``A^-1 X``."""
        return self._solve(X, int(self.turned))

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        """``A^-H X``."""
        if self.turned:
            return self._solve(X.conj(), 0).conj()
        return self._solve(X, 2)

    def _solve(self, X: np.ndarray, trans: int) -> np.ndarray:
        return _lapack(self.factors.dtype.char)[1](self.factors, self.pivots, X, trans=trans)[0]

    def skeleton(self) -> Skeleton | None:
        """The rows and columns that make up A, if elimination came to an end before A did."""
        every = np.arange(self.rank)
        found = Skeleton.of(self.factors, self.pivots, every, every, turned=self.turned)
        return None if found is None or found.rank == self.rank else found


@cache
def _lapack(char: str) -> tuple[Any, Any]:
    from scipy.linalg import get_lapack_funcs

    getrf, getrs = get_lapack_funcs(("getrf", "getrs"), dtype=np.dtype(char))
    return getrf, getrs


def eliminate(A: np.ndarray) -> LU:
    """Factorise a square A: ``2/3 n^3`` flops."""
    turned = A.flags.c_contiguous
    factors, pivots, _ = _lapack(A.dtype.char)[0](A.T if turned else A)
    return LU(A, factors, pivots, turned)


def solve(
    lu: LU,
    B: np.ndarray | None,
    C: np.ndarray | None,
    rng: np.random.Generator,
    *,
    adjoint: bool,
    rounded_to: float = 0.0,
    X: np.ndarray | None = None,
) -> tuple[LU, Answer]:
    """``B A^-1 C``, or ``B A^-H C``, with its error; None stands for an identity.

    Entries of A were `rounded_to` that, if it is more than the precision computed in. X is
    ``A^-1 C`` if it is known. Where elimination has lost more than rounding of the blocks
    does, as it may for rows of unlike size, a step of iterative refinement is taken [1]_.

    Raises `numpy.linalg.LinAlgError` if A is singular to working precision, or may have been so
    before it was rounded.
    """
    A, n = lu.A, len(lu.A)
    eps = Dense.of(A.dtype).eps
    pivots = np.abs(np.diagonal(lu.factors))
    known_to = LIFTED * rounded_to if rounded_to > eps else eps
    if not pivots.min() > n * known_to * pivots.max():
        raise np.linalg.LinAlgError(SINGULAR)
    times, side = (lu.adjoint_times, "X") if adjoint else (lu.times, "")
    fresh = X is None
    if X is None:
        X = times(np.eye(n, dtype=A.dtype) if C is None else C)
    if X.shape[1] <= 2 * COUNT:
        part, given = X, np.eye(n, dtype=A.dtype) if C is None else C
    else:
        S = gaussian(rng, X.shape[1], A.dtype)
        part, given = product(X, S), S if C is None else product(C, S)
    G, k = gaussian(rng, n, A.dtype), part.shape[1]
    xG = lengths(X) * G
    image = product(A, _beside(part, xG, G), adjoint=side)
    w = np.hypot(lengths(image[:, k : k + COUNT]), 1.0 if C is None else lengths(C))
    found = times(_beside(given - image[:, :k], w * G, G))
    size = norm(image[:, k + COUNT :])
    condition = size * norm(found[:, k + COUNT :])
    if not condition * n * eps < SHARP:
        condition = spectral_norm(A) * norm_of_inverse(lu)
        if not condition * n * eps < 1:
            raise np.linalg.LinAlgError(SINGULAR)
    if not condition * n * known_to < 1:
        raise np.linalg.LinAlgError(SINGULAR)
    moved, scaled = (found, xG) if B is None else (product(B, found), product(B, xG))
    computed = norm(moved[:, :k])
    rounded = eps * math.hypot(norm(moved[:, k : k + COUNT]), norm(scaled))
    if fresh and computed > LOST * n**0.5 * rounded:
        left = (np.eye(n, dtype=A.dtype) if C is None else C) - product(A, X, adjoint=side)
        return solve(lu, B, C, rng, adjoint=adjoint, rounded_to=rounded_to, X=X + times(left))
    natural = 1.0 if B is None else norm(B)
    natural *= (n**0.5 if C is None else norm(C)) / size
    D = X if B is None else product(B, X)
    known = LU(A, lu.factors, lu.pivots, lu.turned, max(1.0, condition))
    return known, Answer(D, math.hypot(computed, rounded), eps * natural, 0.0)


def _beside(*blocks: np.ndarray) -> np.ndarray:
    """In Fortran order."""
    return np.concatenate([block.T for block in blocks]).T


SINGULAR = (
    "A is singular to working precision, which the driver 'lu' cannot solve: use 'gelsy' or 'gelsd'"
)


def gaussian(rng: np.random.Generator, rows: int, dtype: np.dtype) -> np.ndarray:
    """Whose products ``M G`` have the norm of M in the mean square."""
    G = rng.standard_normal((COUNT, rows)).T
    if dtype.kind == "c":
        G = (G + 1j * rng.standard_normal((COUNT, rows)).T) / 2**0.5
    return (G / COUNT**0.5).astype(dtype, copy=False)
