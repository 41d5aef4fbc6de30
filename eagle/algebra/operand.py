"""What A may be besides an array in memory: anything that multiplies.

An `Operand` has a shape, a dtype and two products. `eagle.algebra.blas.product` and ``norm``
accept one wherever they accept an array, so that a method that only multiplies need not know.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from eagle.algebra.blas import ROWS, gram_of, norm, product

LARGE = 10**7  # entries from which on reading A once for two products is worth loading numba for
PIECE = 2**26  # bytes of a mapped file that are in memory at a time
PROBES = 8  # products that estimate the size of an operator
LOOKS = 64  # rows and columns whose entries tell the size of a matrix that is not read
SHARED = ("r", "r+", "w+")  # modes of a mapped file whose pages are those of the file


@dataclass(frozen=True, eq=False)
class Operand:
    """A matrix known by its products."""

    shape: tuple[int, int]
    dtype: np.dtype

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.shape[0] * self.shape[1]

    @property
    def ndim(self) -> int:
        """Two."""
        return 2

    def __len__(self) -> int:
        return self.shape[0]

    def as_operator(self) -> Any:
        """For functions of scipy."""
        from scipy.sparse.linalg import LinearOperator

        def column(product: Any) -> Any:
            return lambda x: product(np.asfortranarray(x.reshape(-1, 1), self.dtype))[:, 0]

        return LinearOperator(
            self.shape,
            matvec=column(self.times),
            rmatvec=column(self.adjoint_times),
            dtype=self.dtype,
        )

    def cast(self, dtype: np.dtype) -> Self:
        """The same in another working dtype."""
        return self if dtype == self.dtype else replace(self, dtype=dtype)

    def times(self, X: np.ndarray) -> np.ndarray:
        """``A X`` for X (n, k)."""
        raise NotImplementedError

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        """``A^H X`` for X (d, k)."""
        raise NotImplementedError

    def adjoint(self) -> Operand:
        """``A^H``."""
        return Adjoint(self.shape[::-1], self.dtype, self)

    def shifted(self, exponent: int) -> Operand:
        """``2**exponent A``."""
        return Scaled(self.shape, self.dtype, self, exponent)

    def norm(self) -> float:
        """Frobenius norm, estimated by a few products unless the entries are at hand.

        For Gaussian g the mean of ``||A g||^2`` is ``||A||_F^2``.
        """
        rng = np.random.default_rng(self.shape[1])
        draw = rng.standard_normal((self.shape[1], PROBES)).astype(self.dtype)
        return norm(self.times(np.asfortranarray(draw))) / PROBES**0.5

    def entries(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Where some rows and columns meet, if single rows and columns are at hand."""
        raise NotImplementedError

    def blocks(self) -> Iterator[np.ndarray]:
        """Rows of a tall A, of the adjoint of a wide one, some at a time, if they are at hand."""
        raise NotImplementedError

    def gram(self) -> np.ndarray:
        """``A^H A`` or ``A A^H``, the smaller one, upper triangle, from `blocks`."""
        return gram_of(self.blocks(), min(self.shape), self.dtype)

    def dense(self) -> np.ndarray:
        """All entries, by as few products as possible."""
        d, n = self.shape
        if d < n:
            return self.adjoint_times(np.eye(d, dtype=self.dtype, order="F")).conj().T
        return self.times(np.eye(n, dtype=self.dtype, order="F"))


Matrix = np.ndarray | Operand


def crossing(A: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Where rows and columns meet; whole ones as they lie in memory are faster than entries."""
    if A.strides[0] < A.strides[1]:
        return A.T.take(columns, 0).take(rows, 1).T
    return A.take(rows, 0).take(columns, 1)


@dataclass(frozen=True, eq=False)
class Adjoint(Operand):
    """``A^H`` of another operand."""

    base: Operand

    def cast(self, dtype: np.dtype) -> Self:
        return replace(self, dtype=dtype, base=self.base.cast(dtype))

    def times(self, X: np.ndarray) -> np.ndarray:
        return self.base.adjoint_times(X)

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        return self.base.times(X)

    def adjoint(self) -> Operand:
        return self.base

    def norm(self) -> float:
        return self.base.norm()


@dataclass(frozen=True, eq=False)
class Sparse(Operand):
    """A scipy.sparse matrix, by rows."""

    rows: Any  # scipy.sparse.csr_array

    def cast(self, dtype: np.dtype) -> Self:
        return (
            self
            if dtype == self.dtype
            else replace(self, dtype=dtype, rows=self.rows.astype(dtype))
        )

    def times(self, X: np.ndarray) -> np.ndarray:
        return self.rows @ X

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        return (self.rows.T @ X.conj()).conj()

    def adjoint(self) -> Operand:
        return replace(self, shape=self.shape[::-1], rows=self.rows.conj().T.tocsr())

    def shifted(self, exponent: int) -> Operand:
        rows = self.rows.copy()
        rows.data = shifted(rows.data, exponent)
        return replace(self, rows=rows)

    @property
    def T(self) -> Operand:
        """The transpose."""
        return replace(self, shape=self.shape[::-1], rows=self.rows.T.tocsr())

    def blocks(self) -> Iterator[np.ndarray]:
        tall = self._tall()
        for start in range(0, tall.shape[0], ROWS):
            yield tall[start : start + ROWS].toarray()

    def gram(self) -> np.ndarray:
        tall = self._tall()
        return (tall.conj().T @ tall).toarray(order="F")

    def _tall(self) -> Any:
        return self.rows if self.shape[0] >= self.shape[1] else self.rows.conj().T.tocsr()

    def most(self) -> int:
        """The rank at most: how many rows or columns have entries."""
        rows, columns = np.diff(self.rows.indptr), np.bincount(self.rows.indices)
        return int(min(np.count_nonzero(rows), np.count_nonzero(columns)))

    def norm(self) -> float:
        return norm(self.rows.data)

    def entries(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        return np.asfortranarray(self.rows[rows][:, columns].toarray())

    def dense(self) -> np.ndarray:
        return np.asfortranarray(self.rows.toarray())


@dataclass(frozen=True, eq=False)
class Implicit(Operand):
    """A scipy LinearOperator."""

    operator: Any

    def times(self, X: np.ndarray) -> np.ndarray:
        return np.asfortranarray(self.operator.matmat(X), dtype=self.dtype)

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        return np.asfortranarray(self.operator.rmatmat(X), dtype=self.dtype)


@dataclass(frozen=True, eq=False)
class Mapped(Operand):
    """``2**exponent`` times an array in a mapped file, of which a piece at a time is in memory."""

    array: np.ndarray
    file: mmap.mmap
    conjugated: bool = False
    exponent: int = 0

    @property
    def by_rows(self) -> bool:
        """Whether a piece of the file is a block of rows."""
        return abs(self.array.strides[0]) >= abs(self.array.strides[1])

    def pieces(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Rows, columns and entries of blocks that follow each other in the file."""
        (d, n), whole = self.shape, slice(None)
        length = d if self.by_rows else n
        step = max(1, PIECE * length // max(self.array.nbytes, 1))
        for start in range(0, length, step):
            part = slice(start, min(start + step, length))
            rows, columns = (part, whole) if self.by_rows else (whole, part)
            yield rows, columns, self._in_memory(self.array[rows, columns])
            self.release()

    @property
    def T(self) -> Operand:
        """The transpose."""
        return replace(self, shape=self.shape[::-1], array=self.array.T)

    def blocks(self) -> Iterator[np.ndarray]:
        tall, (short, long) = self.shape[0] >= self.shape[1], sorted(self.shape)
        step = max(1, PIECE // max(short * self.array.itemsize, 1))
        for start in range(0, long, step):
            part = slice(start, start + step)
            piece = self._in_memory(self.array[part] if tall else self.array[:, part])
            self.release()
            yield piece if tall else piece.conj().T

    def columns(self, index: np.ndarray) -> np.ndarray:
        """Some columns, in memory."""
        out = np.asfortranarray(self._in_memory(self.array[:, index]))
        self.release()
        return out

    def entries(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        out = np.asfortranarray(self._in_memory(crossing(self.array, rows, columns)))
        self.release()
        return out

    def dense(self) -> np.ndarray:
        return self._in_memory(self.array)

    def _in_memory(self, part: np.ndarray) -> np.ndarray:
        part = shifted(part, self.exponent, self.dtype)
        return part.conj() if self.conjugated and self.dtype.kind == "c" else part

    def release(self) -> None:
        """Give what has been read back; it stays in the file and in the system's cache."""
        if hasattr(self.file, "madvise"):
            self.file.madvise(mmap.MADV_DONTNEED)

    def times(self, X: np.ndarray) -> np.ndarray:
        return self.both(X, None)[0]

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        return self.both(None, X)[1]

    def both(
        self, right: np.ndarray | None, left: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """``A right`` and ``A^H left`` in one pass over the file; empty for None."""
        d, n = self.shape
        right = np.zeros((n, 0), self.dtype) if right is None else right
        left = np.zeros((d, 0), self.dtype) if left is None else left
        first = np.zeros((d, right.shape[1]), self.dtype, order="F")
        second = np.zeros((n, left.shape[1]), self.dtype, order="F")
        for rows, columns, piece in self.pieces():
            if first.size:
                first[rows] += product(piece, right[columns])
            if second.size:
                second[columns] += product(piece, left[rows], adjoint="X")
        return first, second

    def adjoint(self) -> Operand:
        conjugated = not self.conjugated
        return replace(self, shape=self.shape[::-1], array=self.array.T, conjugated=conjugated)

    def shifted(self, exponent: int) -> Operand:
        return replace(self, exponent=self.exponent + exponent)

    def norm(self) -> float:
        return self._norm

    @cached_property
    def _norm(self) -> float:
        return float(np.hypot.reduce([0.0, *(norm(piece) for *_, piece in self.pieces())]))


@dataclass(frozen=True, eq=False)
class Sampled(Operand):
    """Another matrix, of which some rows and columns are looked at and nothing else."""

    base: Matrix
    exponent: int = 0

    def entries(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        base = self.base
        if isinstance(base, Operand):
            part = base.entries(rows, columns)
        else:
            part = np.asfortranarray(crossing(base, rows, columns))
        return shifted(part, self.exponent, self.dtype)

    def shifted(self, exponent: int) -> Operand:
        return replace(self, exponent=self.exponent + exponent)

    def norm(self) -> float:
        rng = np.random.default_rng(self.shape[1])
        part = self.entries(*(rng.choice(k, min(k, LOOKS), replace=False) for k in self.shape))
        return norm(part) * (self.size / part.size) ** 0.5


@dataclass(frozen=True, eq=False)
class LowRank(Operand):
    """``U diag(s) V^H``."""

    factors: tuple[np.ndarray, np.ndarray, np.ndarray]  # U, s, V^H

    @classmethod
    def create(cls, U: np.ndarray, s: np.ndarray, Vh: np.ndarray) -> LowRank:
        return cls((len(U), Vh.shape[1]), U.dtype, (U, s, Vh))

    def times(self, X: np.ndarray) -> np.ndarray:
        U, s, Vh = self.factors
        return product(U, s[:, None] * product(Vh, X))

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        U, s, Vh = self.factors
        return product(Vh, s[:, None] * product(U, X, adjoint="X"), adjoint="X")

    def norm(self) -> float:
        return norm(self.factors[1])


@dataclass(frozen=True, eq=False)
class Ridged(Operand):
    """``[A  mu I]``."""

    base: Matrix
    mu: float

    @classmethod
    def create(cls, base: Matrix, mu: float) -> Ridged:
        d, n = base.shape
        return cls((d, n + d), base.dtype, base, mu)

    def times(self, X: np.ndarray) -> np.ndarray:
        n = self.base.shape[1]
        return product(self.base, np.asfortranarray(X[:n])) + X.real.dtype.type(self.mu) * X[n:]

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        top = product(self.base, X, adjoint="X")
        return np.asfortranarray(np.concatenate([top, X.real.dtype.type(self.mu) * X], axis=0))

    def norm(self) -> float:
        return float(np.hypot(norm(self.base), self.mu * self.shape[0] ** 0.5))


@dataclass(frozen=True, eq=False)
class Scaled(Operand):
    """``2**exponent`` times another operand, whose products might overflow."""

    base: Operand
    exponent: int

    def cast(self, dtype: np.dtype) -> Self:
        return replace(self, dtype=dtype, base=self.base.cast(dtype))

    def times(self, X: np.ndarray) -> np.ndarray:
        return self._scaled(self.base.times, X)

    def adjoint_times(self, X: np.ndarray) -> np.ndarray:
        return self._scaled(self.base.adjoint_times, X)

    def _scaled(self, times: Callable[[np.ndarray], np.ndarray], X: np.ndarray) -> np.ndarray:
        """Half of the exponent before the product, half after: all of it may be out of range."""
        unit, before = X.real.dtype.type(2.0), self.exponent // 2
        return times(np.asfortranarray(X * unit**before)) * unit ** (self.exponent - before)


def shifted(A: Any, exponent: int, dtype: Any = None) -> Any:
    """``2**exponent A``, exact short of over- and underflow; a copy only if need be."""
    if isinstance(A, Operand):
        A = A if dtype is None else A.cast(dtype)
        return A.shifted(exponent) if exponent else A
    if not exponent:
        return np.asarray(A, dtype)
    out = np.array(A, dtype, order="F")
    # Steps of at most 2**100, which every dtype can hold: the whole factor may not fit.
    while exponent and out.size:
        step = max(-100, min(100, exponent))
        out *= out.real.dtype.type(2.0) ** step
        exponent -= step
    return out


def adjoint(A: Matrix) -> Matrix:
    """``A^H``."""
    return A.adjoint() if isinstance(A, Operand) else A.conj().T


def both(A: Matrix, right: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``A right`` and ``A^H left``, if possible with A read once.

    Both factors are thin; the time is that of reading A.
    """
    if isinstance(A, Mapped):
        return A.both(right, left)
    if isinstance(A, Operand):
        return A.times(right), A.adjoint_times(left)
    if A.size < LARGE or not (A.flags.c_contiguous or A.flags.f_contiguous):
        return product(A, right), product(A, left, adjoint="X")
    from eagle.algebra import sketch

    return sketch.both(A, right, left)


def mapping(array: np.ndarray) -> mmap.mmap | None:
    """The mapped file that an array looks at, if its pages can be given back unharmed.

    Those of a copy-on-write mapping cannot: what was written to them would be lost. Only numpy's
    own mappings tell that they are none.
    """
    view: Any = array
    while view is not None and not (isinstance(view, np.memmap) and view.mode in SHARED):
        view = getattr(view, "base", None)
    while view is not None and not isinstance(view, mmap.mmap):
        view = getattr(view, "base", None)
    return view
