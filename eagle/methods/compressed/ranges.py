"""Bases of the range of A out of random sketches, and ``A^+`` between two of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from eagle.algebra.base import COUNT
from eagle.algebra.blas import gram, norm, product, shifted_cholesky, times_inverse
from eagle.algebra.operand import Matrix, Operand
from eagle.methods.base import Inverse, State
from eagle.methods.compressed.sketch import Sketch, draw

EXCESS = 1.25  # rows of the sketch that ranks Y, over its columns
SPARE = 4  # directions that a sketch must have to spare before its rank is believed
SHARE = 16  # and one in so many
NOISE = 50.0  # in units of eps: directions relative to the largest that are rounding errors
CLEAR = 100.0  # times that: what an unpivoted factorisation can be trusted to tell from them
LOST = 1e3  # in units of rounding errors: what is more is not one
NEARLY = 10.0  # ratio of diagonal entries up to which one Cholesky factorisation is enough


@dataclass(frozen=True, eq=False)
class Seen:
    """What sketches of A tell about its range.

    ``Z[:, order] R^-1`` and ``Y[:, order] R^-1`` span the ranges of Z and of A.
    """

    T: Sketch
    Y: np.ndarray  # (d, s) A T
    S: Sketch | None  # None: Z is Y
    Z: np.ndarray  # (t, s) S^H Y
    R: np.ndarray  # (k, k)
    order: np.ndarray  # (k,) columns of Y

    @classmethod
    def create(cls, A: Matrix, T: Sketch, rng: np.random.Generator) -> Seen:
        """Sketch A with T, and that once more if it is much longer than wide."""
        import scipy.linalg

        Y = T.apply(A)
        S = _thinner(Y, rng)
        Z = Y if S is None else _thin(S, Y)
        least = NOISE * np.finfo(Y.dtype).eps * norm(Z)
        # Random columns show the rank in any order, unless it is hard to see.
        (R,), order = scipy.linalg.qr(Z, mode="r", check_finite=False), np.arange(T.size)
        sizes = np.abs(np.diagonal(R))
        kept = int(np.count_nonzero(sizes > least))
        if not (sizes[:kept] > CLEAR * least).all():
            R, order = scipy.linalg.qr(Z, mode="r", pivoting=True, check_finite=False)
            kept = int(np.count_nonzero(np.abs(np.diagonal(R)) > least))
        return cls(T, Y, S, Z, np.asfortranarray(R[:kept, :kept]), order[:kept])

    @property
    def spare(self) -> bool:
        """Whether the sketch has directions to spare, so that none can be outside it."""
        return len(self.R) <= self.T.size - max(SPARE, self.T.size // SHARE)

    def holds(self, white: np.ndarray) -> bool:
        """Whether columns ``A w`` with random w, unseen by the sketch, are in its range."""
        thin, Q = self.thin(white), self.small_basis
        outside = thin - product(Q, product(Q, thin, adjoint="X"))
        return norm(outside) <= LOST * np.finfo(Q.dtype).eps * norm(thin)

    def thin(self, columns: np.ndarray) -> np.ndarray:
        """``S^H columns``."""
        return columns if self.S is None else _thin(self.S, columns)

    @cached_property
    def small_basis(self) -> np.ndarray:
        """Orthonormal basis of the range of Z."""
        return _orthonormal(self.Z[:, self.order], self.R)[0]

    def basis(self) -> np.ndarray:
        """Orthonormal basis of the range of A, out of the best-conditioned columns of Y."""
        import scipy.linalg

        # What is wrong with it comes into the value wherever C lies outside the range.
        R, order = scipy.linalg.qr(self.Z, mode="r", pivoting=True, check_finite=False)
        k = len(self.R)
        return _orthonormal(self.Y[:, order[:k]], np.asfortranarray(R[:k, :k]))[0]


@dataclass(eq=False)
class Core(Inverse):
    """``A^+ = P L^-H Q^H`` with ``A^H Q = P L``, which is computed when it is needed."""

    A: Matrix
    basis: Callable[[], np.ndarray]  # gives Q, orthonormal
    turned: bool = False  # the inverse is wanted for ``A^H``
    rank: int | None = None
    condition: float | None = None

    @cached_property
    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Q, P and L."""
        Q = self.basis()
        self.basis = lambda: Q  # sketches are not needed any more
        return Q, *row_basis(self.A, Q, np.random.default_rng(Q.shape[1]))

    def times(self, X: np.ndarray) -> np.ndarray:
        """``A^+ X``."""
        return self._apply(X, self.turned)

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        """``(A^+)^H X``."""
        return self._apply(X, not self.turned)

    def _apply(self, X: np.ndarray, adjoint: bool) -> np.ndarray:
        import scipy.linalg

        Q, P, L = self.parts
        first, last = (P, Q) if adjoint else (Q, P)
        inside = product(first, X, adjoint="X")
        trans = "N" if adjoint else "C"
        return product(
            last, scipy.linalg.solve_triangular(L, inside, trans=trans, check_finite=False)
        )


def width_for(rank: int) -> int:
    """Columns of a sketch that has directions to spare for that rank."""
    return rank + max(SPARE, -(-rank // (SHARE - 1)))


def leaks(columns: np.ndarray, Q: np.ndarray, user: int, eps: float) -> bool:
    """Whether a user's column has a part outside the range of Q.

    The white probes, which follow the user's columns, tell how large rounding errors are.
    """
    outside = columns - product(Q, product(Q, columns, adjoint="X"))
    sizes = np.linalg.norm(columns, axis=0)
    misfit = np.linalg.norm(outside, axis=0) / np.where(sizes > 0, sizes, 1)
    noise = max(float(misfit[user : user + COUNT].max(initial=0.0)), eps)
    return bool((misfit[:user] > LOST * noise).any())


def whole(A: Matrix, state: State) -> np.ndarray:
    """Orthonormal basis of the range of A, by QR with column pivoting."""
    dense = A.dense() if isinstance(A, Operand) else A
    d, n = dense.shape
    state.count(max(d, n), min(d, n), 2 * min(d, n))
    if d >= n:
        return _pivoted(dense)
    return _pivoted(product(dense, _pivoted(dense.conj().T)))


def _pivoted(X: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the columns of X, as far as they are more than rounding errors."""
    import scipy.linalg

    if not np.isfinite(X).all():
        return np.full((len(X), 1), np.nan, X.dtype)
    Q, R, _ = scipy.linalg.qr(X, mode="economic", pivoting=True, check_finite=False)
    least = NOISE * np.finfo(X.dtype).eps * norm(X)
    return np.asfortranarray(Q[:, : np.count_nonzero(np.abs(np.diagonal(R)) > least)])


def _thinner(X: np.ndarray, rng: np.random.Generator) -> Sketch | None:
    """A sketch of the rows of X that keeps the geometry of its columns; None if X has too few."""
    d, s = X.shape
    tall = int(EXCESS * s) + SPARE
    return draw("auto", s, d, tall, X.dtype, rng) if tall < d else None


def _thin(S: Sketch, X: np.ndarray) -> np.ndarray:
    """``S^H X``."""
    return S.apply(X.conj().T).conj().T


def _orthonormal(X: np.ndarray, R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thin QR factorisation of X, for which the R of a sketch of its rows is known.

    ``X R^-1`` is well-conditioned, which a Cholesky factorisation of its Gram matrix may rely on.
    """
    Q = times_inverse(np.array(X, order="F"), np.asfortranarray(R))
    for _ in range(2):
        G = gram(Q, np.zeros_like(R, order="F"))
        S, _ = shifted_cholesky(G, 0.0)
        Q, R = times_inverse(Q, S), product(np.triu(S), R)
        diagonal = np.abs(np.diagonal(S))
        if diagonal.max() < NEARLY * diagonal.min():
            break
    return Q, R


def row_basis(A: Matrix, Q: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """P and L of ``A^H Q = P L``."""
    import scipy.linalg

    X = product(A, Q, adjoint="X")
    S = _thinner(X, rng)
    (R,) = scipy.linalg.qr(X if S is None else _thin(S, X), mode="r", check_finite=False)
    return _orthonormal(X, R[: X.shape[1]])
