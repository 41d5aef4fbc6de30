"""The hot products of EAGLE through BLAS and LAPACK, in place, on Fortran-ordered arrays.

A Hermitian matrix is its upper triangle here; what lies below the diagonal is never read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np

MOST = 2**31 - 1  # entries of a vector: BLAS counts in 32 bits
CHAIN = 2**10  # numbers that are added up one after the other: errors grow like its square root
ROWS = 2**12  # of what is formed at a time


@cache
def _blas(char: str) -> dict[str, Callable[..., Any]]:
    """BLAS routines for one dtype, with the Hermitian variants under the symmetric names."""
    from scipy.linalg import get_blas_funcs, get_lapack_funcs  # a tenth of a second

    dtype = np.dtype(char)
    names = ("herk", "hemm", "hemv") if dtype.kind == "c" else ("syrk", "symm", "symv")
    routines = dict(zip(("syrk", "symm", "symv"), get_blas_funcs(names, dtype=dtype), strict=True))
    routines["nrm2"] = get_blas_funcs("nrm2", dtype=dtype)
    routines["dot"] = get_blas_funcs("dot", dtype=dtype.type(0).real.dtype)
    routines["gemm"] = get_blas_funcs("gemm", dtype=dtype)
    routines["gemv"] = get_blas_funcs("gemv", dtype=dtype)
    routines["trsv"] = get_blas_funcs("trsv", dtype=dtype)
    routines["trsm"] = get_blas_funcs("trsm", dtype=dtype)
    routines["potrf"] = get_lapack_funcs("potrf", dtype=dtype)
    return routines


def product(X: Any, Y: Any, *, adjoint: str = "", scale: float = 1.0) -> np.ndarray:
    """``scale X Y``, with ``X^H`` or ``Y^H`` in place of the one named by `adjoint`.

    Neither operand is copied, in whatever order it is stored; the product is Fortran-ordered.
    All products go through this one library: numpy carries a second BLAS, and the idle threads
    of the one spin against the busy ones of the other (seen: 8 times slower). One of the two may
    be an `eagle.algebra.operand.Operand`.
    """
    if not isinstance(X, np.ndarray):
        out = X.adjoint_times(Y) if adjoint == "X" else X.times(Y.conj().T if adjoint else Y)
        return np.asfortranarray(out if scale == 1 else out.real.dtype.type(scale) * out)
    if not isinstance(Y, np.ndarray):  # X Y = (Y^H X^H)^H
        left = X if adjoint == "X" else X.conj().T
        out = (Y.times(left) if adjoint == "Y" else Y.adjoint_times(left)).conj().T
        return np.asfortranarray(out if scale == 1 else out.real.dtype.type(scale) * out)
    if X.dtype.kind == "c":
        # BLAS cannot conjugate without transposing: X^H Y = conj(X^T conj(Y)) then.
        if adjoint == "X" and _rowwise(X):
            return product(X.T, Y.conj(), scale=scale).conj()
        if adjoint == "Y" and _rowwise(Y):
            return product(X.conj(), Y.T, scale=scale).conj()
    (x, tx), (y, ty) = _operand(X, adjoint == "X"), _operand(Y, adjoint == "Y")
    if adjoint != "Y" and Y.shape[1] == 1 and X.size and X.flags.forc:
        # Three times as fast as `gemm` with a single column.
        gemv, column = _blas(X.dtype.char)["gemv"], Y[:, 0]
        if tx == 0 and len(column) > CHAIN:  # added to one result, column after column
            starts = range(0, len(column), CHAIN)
            parts = [gemv(scale, x[:, i : i + CHAIN], column[i : i + CHAIN]) for i in starts]
            return np.sum(parts, axis=0)[:, None]
        return gemv(scale, x, column, trans=tx)[:, None]
    return _blas(X.dtype.char)["gemm"](scale, x, y, trans_a=tx, trans_b=ty)


def _rowwise(X: np.ndarray) -> bool:
    return X.flags.c_contiguous and not X.flags.f_contiguous


def _operand(X: np.ndarray, adjoint: bool) -> tuple[np.ndarray, int]:
    """Array and transposition flag for BLAS, which thinks in columns."""
    if _rowwise(X):
        return X.T, 0 if adjoint else 1
    return X, 2 if adjoint else 0


def trace(X: np.ndarray, Y: np.ndarray) -> float:
    """Real part of the trace of ``X^H Y``, for contiguous arrays in the same order."""
    dot = _blas(X.dtype.char)["dot"]
    flat = (_parts(each.ravel(order="K").view(each.real.dtype)) for each in (X, Y))
    return float(sum(dot(x, y) for x, y in zip(*flat, strict=True)))


def energy(X: np.ndarray) -> float:
    """Squared Frobenius norm at the speed of memory, NaN if that takes a copy.

    It is finite only if all entries are; it may over- and underflow where `norm` does not.
    """
    if not X.flags.forc:
        return math.nan
    if not X.size:
        return 0.0
    if X.size > MOST or X.dtype.kind == "c":
        return trace(X, X)
    flat = X.ravel(order="K")
    return float(_blas(X.dtype.char)["dot"](flat, flat))


def energies(X: np.ndarray) -> np.ndarray:
    """Squared lengths of the rows."""
    return np.einsum("ij,ij->i", X, X.conj()).real


def lengths(X: np.ndarray) -> np.ndarray:
    """Of the rows, as a column."""
    return np.sqrt(energies(X))[:, None]


def norm(X: Any) -> float:
    """Frobenius norm, safe against overflow; 0 for an empty array."""
    if not isinstance(X, np.ndarray):
        return float(X.norm())
    if not X.size:
        return 0.0
    nrm2, flat = _blas(X.dtype.char)["nrm2"], X.ravel(order="K")
    if flat.size <= MOST:
        return float(nrm2(flat))
    return float(np.hypot.reduce([nrm2(part) for part in _parts(flat)]))


def _parts(flat: np.ndarray) -> list[np.ndarray]:
    """As many as it takes for BLAS to count the entries of each."""
    return [flat[start : start + MOST] for start in range(0, flat.size, MOST)]


def gram(A: np.ndarray, out: np.ndarray) -> np.ndarray:
    """``A^H A`` into the upper triangle of `out`: ``d n^2`` flops, half a general product."""
    trans = 2 if A.dtype.kind == "c" else 1
    return _blas(A.dtype.char)["syrk"](1.0, A, trans=trans, c=out, beta=0.0, overwrite_c=1)


def smaller_gram(A: Any) -> np.ndarray:
    """``A^H A`` or ``A A^H``, the smaller one, upper triangle; A is not copied in either order."""
    if not isinstance(A, np.ndarray):
        return A.gram()
    d, n = A.shape
    if not (_rowwise(A) or A.flags.f_contiguous):
        A = np.asfortranarray(A)
    X = A.T if _rowwise(A) else A  # Fortran order for BLAS
    inner = (d >= n) != _rowwise(A)  # of the columns of X
    trans = (2 if A.dtype.kind == "c" else 1) if inner else 0
    G = _blas(A.dtype.char)["syrk"](1.0, X, trans=trans)
    return G.conj() if _rowwise(A) and A.dtype.kind == "c" else G


def conditioned_gram(A: Any, scale: np.ndarray, R: np.ndarray) -> np.ndarray:
    """Gram matrix of ``A diag(scale) R^-1``, upper triangle, which is formed some rows at a time.

    ``2 d n^2`` flops for upper triangular R; a wide A stands for its adjoint.
    """
    if not isinstance(A, np.ndarray):
        return gram_of(A.blocks(), len(R), A.dtype, scale, R)
    wide = A.shape[0] < A.shape[1]
    M = A.T if wide else A
    blocks = (M[start : start + ROWS] for start in range(0, len(M), ROWS))
    if wide:  # and what is conjugated besides
        return gram_of(blocks, len(R), A.dtype, scale, R.conj()).conj()
    return gram_of(blocks, len(R), A.dtype, scale, R)


def gram_of(
    blocks: Iterable[np.ndarray],
    n: int,
    dtype: np.dtype,
    scale: np.ndarray | None = None,
    R: np.ndarray | None = None,
) -> np.ndarray:
    """Gram matrix, upper triangle, of M (d, n) in blocks of rows, or of ``M diag(scale) R^-1``."""
    syrk, trsm = (_blas(dtype.char)[name] for name in ("syrk", "trsm"))
    G = np.zeros((n, n), dtype, order="F")
    weights = np.ones(n, G.real.dtype) if scale is None else scale.astype(G.real.dtype, copy=False)
    for block in blocks:
        rowwise = _rowwise(block)  # as it lies in memory, columns of the transpose
        if rowwise:
            X = np.multiply(block.T, weights[:, None], order="F")
            X = X if R is None else trsm(1.0, R, X, trans_a=1, overwrite_b=1)
        else:
            X = np.multiply(block, weights, order="F")
            X = X if R is None else trsm(1.0, R, X, side=1, overwrite_b=1)
        own = syrk(1.0, X, trans=0 if rowwise else (2 if dtype.kind == "c" else 1))
        G += own.conj() if rowwise else own
    return G


def largest_eigenvalue(H: np.ndarray) -> float:
    """Of a Hermitian matrix; NaN if its entries are not finite."""
    import scipy.linalg

    if not np.isfinite(H).all():
        return float("nan")
    # All of them: bisection for one alone fails on entries near underflow.
    return float(scipy.linalg.eigvalsh(H, driver="ev", check_finite=False)[-1])


def times_hermitian(
    A: np.ndarray, H: np.ndarray, out: np.ndarray, scale: float = 1.0
) -> np.ndarray:
    """``scale A H`` into `out`, for Hermitian H: ``2 d n^2`` flops."""
    symm = _blas(A.dtype.char)["symm"]
    return symm(scale, H, A, side=1, beta=0.0, c=out, overwrite_c=1)


def hermitian_times(H: np.ndarray, X: np.ndarray) -> np.ndarray:
    """``H X`` for Hermitian H and very thin X, which is not worth waking threads for."""
    multiply, out = _blas(H.dtype.char)["symv"], np.empty_like(X, order="F")
    for column in range(X.shape[1]):
        out[:, column] = multiply(1.0, H, X[:, column])
    return out


def shifted_cholesky(G: np.ndarray, shift: float) -> tuple[np.ndarray, float]:
    """Upper R with ``R^H R = G + shift I`` and the shift, raised until that is definite."""
    diagonal = np.diagonal(G).copy()
    if not np.isfinite(diagonal).all():
        return np.full_like(G, np.nan), shift
    limits = np.finfo(G.dtype)
    least = max(float(limits.eps * diagonal.real.max(initial=0)), float(limits.tiny))
    while True:
        np.fill_diagonal(G, diagonal + diagonal.real.dtype.type(shift))
        R, info = _blas(G.dtype.char)["potrf"](G, lower=0, overwrite_a=0, clean=0)
        if info == 0:
            return R, shift
        shift = max(10 * shift, least)


def times_inverse(A: np.ndarray, R: np.ndarray) -> np.ndarray:
    """``A R^-1`` over A, for upper triangular R: ``d n^2`` flops."""
    return _blas(A.dtype.char)["trsm"](1.0, R, A, side=1, lower=0, overwrite_b=1)


def inverse_quotient(R: np.ndarray, start: np.ndarray) -> float:
    """Rayleigh quotient of ``R^H R`` after one inverse iteration: near its smallest eigenvalue."""
    trsv = _blas(R.dtype.char)["trsv"]
    x = trsv(R, trsv(R, start, trans=2 if R.dtype.kind == "c" else 1))
    size = norm(x) ** 2
    return trace(x, start) / size if size else 0.0
