"""Loops over all of a large A: sparse sign sketches, and probes from both sides.

A is read once, at a third of the speed of memory or better. Rows are split among Python threads,
as the loops hold no lock.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eagle.algebra.jit import compiled
from eagle.algebra.threads import threaded

WIDTH = 64  # rows of A that are summed side by side, if A is stored by rows
TALL = 256  # the same if A is stored by columns
DEPTH = 64  # columns of A that are turned into the cache at a time
STRIP = 512  # columns of four rows that stay in the cache
_jit = compiled()
_sums = compiled(reordered=True)


def sparse_sign(A: np.ndarray, places: np.ndarray, signs: np.ndarray, size: int) -> np.ndarray:
    """``A T`` for T (n, size) with ``T[j, places[j, p]] = signs[j, p]`` and zeros elsewhere.

    Parameters
    ----------
    A : ndarray (d, n)
        In C or Fortran order.
    places : ndarray of int32 (n, z)
        Different from each other in every row.
    signs : ndarray (n, z)
        In the real dtype of A.
    size : int
        Columns of T.

    Returns
    -------
    ndarray (d, size)
        In Fortran order. ``2 z d n`` flops.
    """
    d = len(A)
    out = np.zeros((size, d), A.dtype)
    if A.flags.c_contiguous:
        threaded(_rows, d, TALL, A, places, signs, out)
    else:
        threaded(_columns, d, TALL, np.asfortranarray(A).T, places, signs, out)
    return out.T


def sparse_sign_csr(A: Any, places: np.ndarray, signs: np.ndarray, size: int) -> np.ndarray:
    """The same for a `scipy.sparse.csr_array`: ``2 z nnz`` flops."""
    out = np.zeros((A.shape[0], size), A.dtype)
    threaded(_stored, len(out), TALL, A.indptr, A.indices, A.data, places, signs, out)
    return np.asfortranarray(out)


@_jit
def _rows(start: int, stop: int, A: Any, places: Any, signs: Any, out: Any) -> None:
    """A by rows: a tile of them is turned, so that each sum is a vector operation."""
    n, z = places.shape
    size = len(out)
    for top in range(start, stop, WIDTH):
        height = min(WIDTH, stop - top)
        total = np.zeros((size, WIDTH), A.dtype)
        turned = np.zeros((DEPTH, WIDTH), A.dtype)
        for first in range(0, n, DEPTH):
            depth = min(DEPTH, n - first)
            for i in range(height):
                for j in range(depth):
                    turned[j, i] = A[top + i, first + j]
            for j in range(depth):
                for p in range(z):
                    place, sign = places[first + j, p], signs[first + j, p]
                    for i in range(WIDTH):
                        total[place, i] += sign * turned[j, i]
        for k in range(size):
            for i in range(height):
                out[k, top + i] = total[k, i]


@_jit
def _columns(start: int, stop: int, At: Any, places: Any, signs: Any, out: Any) -> None:
    """A by columns, given as its transpose."""
    n, z = places.shape
    size = len(out)
    for top in range(start, stop, TALL):
        height = min(TALL, stop - top)
        total = np.zeros((size, TALL), At.dtype)
        piece = np.zeros(TALL, At.dtype)
        for j in range(n):
            for i in range(height):
                piece[i] = At[j, top + i]
            for p in range(z):
                place, sign = places[j, p], signs[j, p]
                for i in range(TALL):
                    total[place, i] += sign * piece[i]
        for k in range(size):
            for i in range(height):
                out[k, top + i] = total[k, i]


@_jit
def _stored(
    start: int, stop: int, pointers: Any, columns: Any, data: Any, places: Any, signs: Any, out: Any
) -> None:
    """A by its stored entries."""
    z = places.shape[1]
    for i in range(start, stop):
        for k in range(pointers[i], pointers[i + 1]):
            j = columns[k]
            for p in range(z):
                out[i, places[j, p]] += signs[j, p] * data[k]


def both(A: np.ndarray, right: np.ndarray, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``A right`` and ``A^H left`` for a few columns each, A read once.

    Parameters
    ----------
    A : ndarray (d, n)
        In C or Fortran order.
    right : ndarray (n, p)
    left : ndarray (d, q)

    Returns
    -------
    ndarray (d, p), ndarray (n, q)
    """
    if not A.flags.c_contiguous:
        # A^T is stored by rows: A right = (A^T)^T right, A^H left = conj(A^T conj(left)).
        second, first = both(np.asfortranarray(A).T, left.conj(), right.conj())
        return first.conj(), second.conj()
    d = len(A)
    first = np.zeros((right.shape[1], d), A.dtype)
    across, down = np.ascontiguousarray(right.T), np.ascontiguousarray(left.conj().T)
    sums = threaded(_both, d, TALL, A, across, down, first)
    return first.T, sum(sums[1:], start=sums[0]).conj().T


@_sums
def _both(start: int, stop: int, A: Any, across: Any, down: Any, first: Any) -> Any:
    """Four rows at a time, and of those as many columns as the cache holds."""
    n = A.shape[1]
    second = np.zeros((len(down), n), A.dtype)
    for top in range(start, stop, 4):
        if top + 4 > stop:
            for i in range(top, stop):
                row = A[i]
                for k in range(len(across)):
                    total = row[0] * 0
                    for j in range(n):
                        total += row[j] * across[k, j]
                    first[k, i] = total
                for k in range(len(down)):
                    weight = down[k, i]
                    for j in range(n):
                        second[k, j] += weight * row[j]
            break
        for begin in range(0, n, STRIP):
            end = min(begin + STRIP, n)
            a, b = A[top, begin:end], A[top + 1, begin:end]
            c, e = A[top + 2, begin:end], A[top + 3, begin:end]
            for k in range(len(across)):
                x = across[k, begin:end]
                s, t, u, v = x[0] * 0, x[0] * 0, x[0] * 0, x[0] * 0
                for j in range(end - begin):
                    s += a[j] * x[j]
                    t += b[j] * x[j]
                    u += c[j] * x[j]
                    v += e[j] * x[j]
                first[k, top] += s
                first[k, top + 1] += t
                first[k, top + 2] += u
                first[k, top + 3] += v
            for k in range(len(down)):
                y = second[k, begin:end]
                s, t, u, v = down[k, top], down[k, top + 1], down[k, top + 2], down[k, top + 3]
                for j in range(end - begin):
                    y[j] += s * a[j] + t * b[j] + u * c[j] + v * e[j]
    return second
