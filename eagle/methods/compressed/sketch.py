"""Random sketches ``A T``, T with many fewer columns than A."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eagle.algebra.blas import product
from eagle.algebra.operand import Mapped, Matrix, Sparse

SKETCHES = ("auto", "sparse-sign", "rademacher", "gaussian")
NONZEROS = 4  # per row of a sparse sign sketch
WORTH = 1e9  # flops of a dense sketch from which on a sparse one is worth loading numba for


@dataclass(frozen=True, eq=False)
class Sketch:
    """A random T (n, size), as what multiplies A from the right."""

    size: int

    def dense(self) -> np.ndarray:
        """T."""
        raise NotImplementedError

    def rows(self, part: slice) -> Sketch:
        """Some rows of T."""
        raise NotImplementedError

    def flops(self, d: int, n: int) -> float:
        """Real operations that ``A T`` takes."""
        raise NotImplementedError

    def apply(self, A: Matrix) -> np.ndarray:
        """``A T`` (d, size), in Fortran order."""
        if isinstance(A, Mapped):
            out = np.zeros((A.shape[0], self.size), A.dtype, order="F")
            for rows, columns, piece in A.pieces():
                out[rows] += self.rows(columns).apply(piece)
            return out
        return product(A, self.dense())


@dataclass(frozen=True, eq=False)
class Dense(Sketch):
    """Independent entries, normal numbers or signs."""

    entries: np.ndarray

    def dense(self) -> np.ndarray:
        return self.entries

    def rows(self, part: slice) -> Sketch:
        return Dense(self.size, self.entries[part])

    def flops(self, d: int, n: int) -> float:
        return 2.0 * d * n * self.size


@dataclass(frozen=True, eq=False)
class SparseSign(Sketch):
    """``NONZEROS`` random signs in every row, one in each of as many groups of columns.

    References
    ----------
    .. [1] Nelson, Nguyen, "OSNAP: faster numerical linear algebra algorithms via sparser subspace
       embeddings", FOCS 2013, the block construction.
    """

    places: np.ndarray  # (n, z) int32
    signs: np.ndarray  # (n, z)

    def dense(self) -> np.ndarray:
        T = np.zeros((len(self.places), self.size), self.signs.dtype, order="F")
        np.put_along_axis(T, self.places.astype(np.intp), self.signs, axis=1)
        return T

    def rows(self, part: slice) -> Sketch:
        return SparseSign(self.size, self.places[part], self.signs[part])

    def flops(self, d: int, n: int) -> float:
        return 2.0 * d * n * self.places.shape[1]

    def apply(self, A: Matrix) -> np.ndarray:
        from eagle.algebra.sketch import sparse_sign, sparse_sign_csr

        if isinstance(A, np.ndarray):
            return sparse_sign(A, self.places, self.signs, self.size)
        if isinstance(A, Sparse):
            return sparse_sign_csr(A.rows, self.places, self.signs, self.size)
        return super().apply(A)


def draw(kind: str, d: int, n: int, size: int, dtype: np.dtype, rng: np.random.Generator) -> Sketch:
    """A sketch of `size` columns for A (d, n); ``"auto"`` takes the cheapest kind."""
    if kind == "auto":
        kind = "rademacher" if 2.0 * d * n * size < WORTH else "sparse-sign"
    if kind == "gaussian":
        return Dense(size, rng.standard_normal((size, n)).T.astype(dtype, copy=False))
    if kind == "rademacher":
        return Dense(size, _signs(rng, size * n).astype(dtype).reshape(size, n).T)
    count = min(NONZEROS, size)
    edges = np.arange(count + 1) * size // count
    places = (edges[:-1] + rng.random((n, count)) * np.diff(edges)).astype(np.int32)
    signs = _signs(rng, n * count).astype(np.zeros(0, dtype).real.dtype).reshape(n, count)
    return SparseSign(size, places, signs)


def _signs(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random signs, 64 from each random number."""
    words = rng.integers(0, 2**64, size=-(-count // 64), dtype=np.uint64)
    bits = np.unpackbits(words.view(np.uint8))[:count].view(np.int8)
    return 2 * bits - 1
