"""Gaussian elimination for many small square matrices, with the error that it measures.

The rules of ``eagle.methods.elimination`` without a call per matrix: factors, solution, residual
and the columns that measure norms stay in the first cache.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np

from eagle.algebra.base import COUNT
from eagle.algebra.jit import compiled
from eagle.algebra.threads import threaded

TILE = 64  # problems

# Squared sizes that the certificate is made of, in the order of the kernel's output.
SIZES = ("hidden", "computed", "moved", "scaled", "A", "inverse", "B", "C")

_jit = compiled(reordered=True)


def eliminated(
    A: np.ndarray, B: np.ndarray | None, C: np.ndarray, G: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """``B A^-1 C`` for every matrix of a stack, and what its error is made of.

    Parameters
    ----------
    A : ndarray (N, n, n)
        float32, float64, complex64 or complex128, in any memory order.
    B : ndarray (N, d', n) or None
        None stands for the identity.
    C : ndarray (N, n, n')
    G : ndarray (n, COUNT)
        Columns whose products have the norm of a matrix in the mean square.

    Returns
    -------
    value : ndarray (N, d', n')
    sizes : dict of ndarray (N,)
        Frobenius norms by the names of ``SIZES``: the value, ``B A^-1 R``, ``B A^-1 diag(w)``,
        ``B diag(x)``, and those of A, its inverse, B and C. NaN where A is singular.

    Notes
    -----
    ``2/3 n^3`` flops per matrix, ``6 n^2`` per right-hand side.
    """
    count, n, _ = A.shape
    rows = n if B is None else B.shape[1]
    given = B is not None
    B = np.zeros((count, 0, n), A.dtype) if B is None else B
    value = np.empty((count, rows, C.shape[2]), A.dtype)
    sizes = np.zeros((count, len(SIZES)), A.real.dtype)
    kernel = _compiled(A.dtype.char)
    threaded(kernel, count, TILE, A, B, given, C, G, value, sizes)
    return value, dict(zip(SIZES, np.sqrt(sizes).T, strict=True))


@cache
def _compiled(char: str) -> Any:
    """The kernel for one dtype, compiled once and kept on disk."""
    scalar = numba.from_dtype(np.dtype(char))
    real = numba.from_dtype(np.dtype(char).type(0).real.dtype)
    stack = numba.types.Array(scalar, 3, "A", readonly=True)
    columns = numba.types.Array(scalar, 2, "A", readonly=True)
    signature = numba.void(
        *(numba.int64, numba.int64, stack, stack, numba.boolean, stack, columns),
        *(scalar[:, :, ::1], real[:, ::1]),
    )
    return compiled(signature, reordered=True)(_solve)


def _solve(
    start: int,
    stop: int,
    A: Any,
    B: Any,
    given: bool,
    C: Any,
    G: Any,
    value: Any,
    sizes: Any,
) -> None:
    """Problems `start` to `stop`."""
    n, k, m = A.shape[1], C.shape[2], value.shape[1]
    M = np.zeros((n, n), A.dtype)
    L = np.zeros((n, n), A.dtype)
    X = np.zeros((n, k), A.dtype)
    Z = np.zeros((n, k + 2 * COUNT), A.dtype)
    line = np.zeros(k + 2 * COUNT, A.dtype)
    lengths = np.zeros(n, sizes.dtype)
    order = np.zeros(n, np.int64)
    for b in range(start, stop):
        size = sizes[b]
        for i in range(n):
            for j in range(n):
                M[i, j] = L[i, j] = A[b, i, j]
                size[4] += _square(M[i, j])
        if not _eliminate(L, order):
            size[:] = np.nan
            value[b] = 0
            continue
        for i in range(n):
            for c in range(k):
                X[i, c] = C[b, order[i], c]
        _substitute(L, X)
        for i in range(n):
            lengths[i] = 0
            for c in range(k):
                lengths[i] += _square(X[i, c])
        for i in range(n):
            row, z = M[order[i]], Z[i]
            weight = size[7] * 0
            for c in range(k):
                z[c] = C[b, order[i], c]
                weight += _square(z[c])
            size[7] += weight
            for j in range(n):
                factor, x = row[j], X[j]
                weight += _square(factor) * lengths[j]
                for c in range(k):
                    z[c] -= factor * x[c]
            weight = np.sqrt(weight)
            for c in range(COUNT):
                z[k + COUNT + c] = G[order[i], c]
                z[k + c] = weight * z[k + COUNT + c]
        _substitute(L, Z)
        for i in range(n):
            for c in range(COUNT):
                size[5] += _square(Z[i, k + COUNT + c])
        for i in range(m):
            if given:
                _row(B[b, i], X, Z, lengths, k, value[b, i], line, size)
            else:
                value[b, i] = X[i]
                line[:] = Z[i]
                size[3] += lengths[i]
                size[6] += 1 / n
            for c in range(k):
                size[0] += _square(value[b, i, c])
                size[1] += _square(line[c])
            for c in range(k, k + COUNT):
                size[2] += _square(line[c])


@_jit
def _row(
    weights: Any, X: Any, Z: Any, lengths: Any, k: int, value: Any, line: Any, size: Any
) -> None:
    """A row of ``B [X Z]``."""
    value[:] = 0
    line[:] = 0
    for j in range(len(X)):
        factor = weights[j]
        square = _square(factor)
        size[6] += square
        size[3] += square * lengths[j]
        for c in range(k):
            value[c] += factor * X[j, c]
        for c in range(k + COUNT):
            line[c] += factor * Z[j, c]


@_jit
def _square(x: Any) -> Any:
    return x.real * x.real + x.imag * x.imag


@_jit
def _eliminate(L: Any, order: Any) -> bool:
    """``P A = L U`` in place, with 1 / pivots on the diagonal; False if a pivot is negligible."""
    n = len(L)
    for i in range(n):
        order[i] = i
    top = _square(L[0, 0]) * 0
    for j in range(n):
        pivot, best = j, _square(L[j, j])
        for i in range(j + 1, n):
            size = _square(L[i, j])
            if size > best:
                pivot, best = i, size
        top = max(top, best)
        if not best > 0 or not best > 1e-33 * n * n * top:
            return False
        if pivot != j:
            order[j], order[pivot] = order[pivot], order[j]
            for c in range(n):
                L[j, c], L[pivot, c] = L[pivot, c], L[j, c]
        inverse = 1 / L[j, j]
        L[j, j] = inverse
        upper = L[j]
        for i in range(j + 1, n):
            row = L[i]
            factor = row[j] * inverse
            row[j] = factor
            for c in range(j + 1, n):
                row[c] -= factor * upper[c]
    return True


@_jit
def _substitute(L: Any, Z: Any) -> None:
    """``U^-1 L^-1 Z`` in place."""
    n, width = Z.shape
    for i in range(n):
        z, row = Z[i], L[i]
        for j in range(i):
            factor, other = row[j], Z[j]
            for c in range(width):
                z[c] -= factor * other[c]
    for i in range(n - 1, -1, -1):
        z, row = Z[i], L[i]
        for j in range(i + 1, n):
            factor, other = row[j], Z[j]
            for c in range(width):
                z[c] -= factor * other[c]
        for c in range(width):
            z[c] *= row[i]
