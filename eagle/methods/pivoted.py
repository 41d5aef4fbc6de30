"""QR factorisations with column pivoting, and pseudo-inverses by their factors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from eagle.algebra.blas import norm, product

# Entries from which on a very tall factor stays in its reflectors, rows are left as they are, and
# A^+ is not written out.
LARGE = 2**18
BLOCK = 64  # columns that LAPACK factorises at a time
STEPS = 2  # of the power iteration for the norm of T


@dataclass(eq=False)
class Orthogonal:
    """``F^+`` of F with full column rank: rows sorted by size, columns pivoted."""

    Q: np.ndarray
    T: np.ndarray | None  # None: Q is all of F
    order: np.ndarray | None = None  # of the rows of F in Q
    pivots: np.ndarray | None = None

    @classmethod
    def of(cls, F: np.ndarray) -> Orthogonal:
        """Factorise."""
        order = np.argsort(-np.abs(F).max(axis=1, initial=0.0), kind="stable")
        reflectors, T, pivots = pivoted(F[order])
        return cls(reflectors(F.shape[1]), T, order, pivots)

    @classmethod
    def plain(cls, F: np.ndarray) -> Orthogonal:
        """Factorise what has been pivoted before and needs no scaling, in half the time."""
        (_, orgqr, _, geqrf, _), room = _lapack(F.dtype.char), BLOCK * (F.shape[1] + 1)
        packed, tau, _, _ = geqrf(F, lwork=room)
        T = np.triu(packed[: F.shape[1]])
        return cls(orgqr(packed, tau, lwork=room, overwrite_a=1)[0], T)

    def times(self, X: np.ndarray) -> np.ndarray:
        """``F^+ X``."""
        return self._solved(product(self.Q, self._sorted(X), adjoint="X"))

    def inverse(self) -> np.ndarray:
        """``F^+``, without an identity as large as a column of F is long."""
        return self._solved(_placed(self.Q, self.order).conj().T)

    def lost(self) -> np.ndarray:
        """Lengths of the rows of ``I - F F^+``, as a column."""
        kept = (np.abs(_placed(self.Q, self.order)) ** 2).sum(axis=1, keepdims=True)
        return np.sqrt(np.maximum(1.0 - kept, 0.0))

    def projected(self, X: np.ndarray) -> np.ndarray:
        """``F F^+ X``."""
        if not self.Q.shape[1]:
            return np.zeros_like(X)
        inside = product(self.Q, self._sorted(X), adjoint="X")
        return _placed(product(self.Q, inside), self.order)

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        """``F^{+H} X``."""
        if self.T is not None:
            X = solved(self.T, X if self.pivots is None else X[self.pivots], 2)
        return _placed(product(self.Q, X), self.order)

    def _sorted(self, X: np.ndarray) -> np.ndarray:
        return X if self.order is None else X[self.order]

    def _solved(self, inside: np.ndarray) -> np.ndarray:
        if self.T is None:
            return inside
        return _placed(solved(self.T, inside, 0), self.pivots)


@dataclass(eq=False)
class Triangular:
    """The same for a square F with ``F^H = T P^H c``, whose inverse needs no factorisation."""

    T: np.ndarray
    pivots: np.ndarray
    scale: np.ndarray | None

    def times(self, X: np.ndarray) -> np.ndarray:
        """``F^-1 X``."""
        X = X if self.scale is None else X / self.scale
        return solved(self.T, X[self.pivots], 2)

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        """``F^-H X``."""
        X = _placed(solved(self.T, X, 0), self.pivots)
        return X if self.scale is None else X / self.scale

    def inverse(self) -> np.ndarray:
        """``F^-1``."""
        return self.times(np.eye(len(self.T), dtype=self.T.dtype))


def _placed(rows: np.ndarray, places: np.ndarray | None) -> np.ndarray:
    if places is None:
        return rows
    out = np.empty_like(rows)
    out[places] = rows
    return out


@dataclass(eq=False)
class Reflected:
    """``Q inner`` of a very tall Q that is left in its reflectors, to be multiplied with."""

    packed: np.ndarray
    tau: np.ndarray
    inner: np.ndarray  # (n, k)

    @property
    def shape(self) -> tuple[int, int]:
        """As an array would have it."""
        return len(self.packed), self.inner.shape[1]

    def times(self, X: np.ndarray) -> np.ndarray:
        """``Q inner X``."""
        rows = np.zeros((len(self.packed), X.shape[1]), self.packed.dtype, order="F")
        rows[: len(self.inner)] = product(self.inner, X)
        return self._turned(rows, "N")

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        """``inner^H Q^H X``."""
        turned = "C" if self.packed.dtype.kind == "c" else "T"
        rows = self._turned(X, turned)
        return product(self.inner, rows[: len(self.inner)], adjoint="X")

    def _turned(self, X: np.ndarray, how: str) -> np.ndarray:
        multiply = _lapack(self.packed.dtype.char)[2]
        return multiply("L", how, self.packed, self.tau, X, BLOCK * max(BLOCK, X.shape[1]))[0]


@cache
def _lapack(char: str) -> tuple[Any, ...]:
    from scipy.linalg import get_lapack_funcs

    kind = "un" if np.dtype(char).kind == "c" else "or"
    names = ("geqp3", f"{kind}gqr", f"{kind}mqr", "geqrf", "trtrs")
    return tuple(get_lapack_funcs(names, dtype=np.dtype(char)))


def pivoted(F: np.ndarray, *, held: bool = False) -> tuple[Callable[[int], Any], Any, Any]:
    """QR with column pivoting; a very tall F is reduced to its triangle first.

    Q as a function that gives its first columns, as writing them out takes as long as the rest;
    `held`: those of a very tall one are never written out, see `Reflected`.
    """
    (d, n), k = F.shape, min(F.shape)
    if not F.size:
        nothing = np.zeros((d, k), F.dtype)
        return lambda first: nothing[:, :first], np.zeros((k, n), F.dtype), np.arange(n)
    if F.size < LARGE or d < 2 * n:
        geqp3, orgqr, *_ = _lapack(F.dtype.char)
        room = BLOCK * (n + 1)
        packed, pivots, tau, _, _ = geqp3(F, lwork=room)

        def written(first: int) -> np.ndarray:
            return orgqr(packed[:, :first], tau[:first], lwork=room)[0]

        return written, np.triu(packed[:k]), pivots - 1
    geqrf = _lapack(F.dtype.char)[3]
    outer, tau, _, _ = geqrf(np.array(F, order="F"), lwork=BLOCK * n, overwrite_a=1)
    small, T, pivots = pivoted(np.asfortranarray(np.triu(outer[:n])))

    def product_of(first: int) -> Any:
        Q = Reflected(outer, tau, small(first))
        return Q if held else Q.times(np.eye(first, dtype=F.dtype))

    return product_of, T, pivots


def solved(T: np.ndarray, X: np.ndarray, trans: int) -> np.ndarray:
    """``T^-1 X``, or ``T^-H X`` for `trans` 2; T is upper triangular."""
    if not T.size or not X.size:
        return np.zeros(X.shape, X.dtype)
    return _lapack(np.result_type(T, X).char)[4](T, X, trans=trans)[0]


def spectral_norm(T: np.ndarray) -> float:
    """By a few steps of the power iteration, from the row of the largest entry."""
    if not T.size:
        return 0.0
    row = T[[np.abs(T).max(axis=1).argmax()]]
    x = row.conj().T / (norm(row) or 1.0)
    value = 0.0
    for _ in range(STEPS):
        y = product(T, x)
        x = product(T, y, adjoint="X")
        value = norm(y)
        x = x / (norm(x) or 1.0)
    return value


def norm_of_triangle_inverse(T: np.ndarray) -> float:
    """``|T^-1|`` of an upper triangle by a power iteration from the last pivot."""
    x, value = np.zeros((len(T), 1), T.dtype), 0.0
    x[-1] = 1.0
    for _ in range(STEPS):
        y = solved(T, x, 0)
        value = norm(y)
        x = solved(T, y / (value or 1.0), 2)
        x = x / (norm(x) or 1.0)
    return value
