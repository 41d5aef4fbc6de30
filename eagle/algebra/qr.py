"""Least squares for many small matrices: QR with column pivoting in registers.

LAPACK's ``gelsy`` (Golub and Van Loan, algorithms 5.4.1 and 5.5.1) without a call per matrix.
Per matrix the work array ``M = [A | C | probes]`` stays in the first cache. A reflector is
applied to four rows at a time, ``LANES`` columns per vector register and aligned: what lies left of
the pivot is overwritten with numbers nobody reads, which is cheaper than a loop that starts in
mid-register.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np

from eagle.algebra.base import COUNT
from eagle.algebra.jit import compiled
from eagle.algebra.threads import threaded

LANES = 16  # columns in a row of M are a multiple of this
TILE = 16  # problems

# Squared sizes that the certificate is made of, in the order of the kernel's output, and the ratio
# of the first pivot to the last.
SIZES = (
    "hidden",
    "column_errors_white",
    "column_errors_ranged",
    "row_errors_white",
    "row_errors_ranged",
    "corner_errors_ranged_white",
    "corner_errors_white_ranged",
    "corner_errors_ranged_ranged",
    "column_answers_white",
    "column_answers_ranged",
    "row_answers_white",
    "row_answers_ranged",
    "corner_answers_ranged_white",
    "corner_answers_white_ranged",
    "corner_answers_ranged_ranged",
    "corner_answers_white_white",
    "condition",
)


_jit = compiled(reordered=True)


def least_squares(
    A: np.ndarray,
    B: np.ndarray | None,
    C: np.ndarray,
    w: np.ndarray,
    z: np.ndarray,
    cutoff: float,
    user: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """``B A^+ C`` for every matrix of a stack, with what probes say about each.

    Parameters
    ----------
    A : ndarray (N, d, n)
        float32, float64, complex64 or complex128, in any memory order.
    B : ndarray (N, d', n) or None
        None stands for the identity.
    C : ndarray (N, d, n')
    w, z : ndarray (n, COUNT), (d, COUNT)
        White probes, the same for all.
    cutoff : float
        Columns that are left with at most this, relative to the largest, are zero.
    user : tuple of int, optional
        Rows and columns of the value that the sizes are about; the default is all of them.

    Returns
    -------
    value : ndarray (N, d', n')
    ranks : ndarray of int (N,)
    sizes : dict of ndarray (N,)
        Frobenius norms of values and probes, and an estimate of the condition from below, by the
        names of ``SIZES``.

    Notes
    -----
    ``4 d n s - 2 (d + n) s^2 + 4/3 s^3`` flops per matrix with ``s = min(d, n)`` for the
    factorisation, ``4 d s + s^2`` per right-hand side.
    """
    count, _, n = A.shape
    rows = n if B is None else B.shape[1]
    given = B is not None
    B = np.zeros((count, 0, n), A.dtype) if B is None else B
    own_rows, own_columns = user or (rows, C.shape[2])
    value = np.empty((count, rows, C.shape[2]), A.dtype)
    ranks = np.zeros(count, np.int64)
    sizes = np.zeros((count, len(SIZES)), A.real.dtype)
    # One compiled version for all memory orders.
    kernel = _compiled(A.dtype.char)
    probes = w, z, own_rows, own_columns
    threaded(kernel, count, TILE, A, B, given, C, *probes, cutoff, value, ranks, sizes)
    return value, ranks, dict(zip(SIZES, np.sqrt(sizes).T, strict=True))


@cache
def _compiled(char: str) -> Any:
    """The kernel for one dtype, compiled once and kept on disk."""
    scalar = numba.from_dtype(np.dtype(char))
    real = numba.from_dtype(np.dtype(char).type(0).real.dtype)
    given = numba.types.Array(scalar, 3, "A", readonly=True)
    probes = numba.types.Array(scalar, 2, "A", readonly=True)
    integer = numba.int64
    signature = numba.void(
        *(integer, integer, given, given, numba.boolean, given, probes, probes),
        *(integer, integer, numba.float64),
        *(scalar[:, :, :], integer[:], real[:, :]),
    )
    return compiled(signature, reordered=True)(_solve)


def _solve(
    start: int,
    stop: int,
    A: Any,
    B: Any,
    given: bool,
    C: Any,
    w: Any,
    z: Any,
    own_rows: int,
    own_columns: int,
    cutoff: float,
    value: Any,
    ranks: Any,
    sizes: Any,
) -> None:
    """Problems `start` to `stop`: fill M, factorise, substitute, compare the probes."""
    _, d, n = A.shape
    m, k = value.shape[1], C.shape[2]
    wide = k + 2 * COUNT
    width = (n + wide + LANES - 1) // LANES * LANES
    M = np.zeros((d, width), A.dtype)
    X = np.zeros((n, wide), A.dtype)
    rows = np.zeros((2 * COUNT, n), A.dtype)  # of B: z^H A
    inner = np.zeros((2 * COUNT, n), A.dtype)  # w, transposed
    outer = np.zeros((d, 2 * COUNT), A.dtype)  # z
    answers = np.zeros((2 * COUNT, k), A.dtype)
    line = np.zeros(wide, A.dtype)
    v = np.zeros(d, A.dtype)
    pull = np.zeros(width, A.dtype)
    norms = np.zeros(width, sizes.dtype)
    taus = np.zeros(n, sizes.dtype)
    order = np.zeros(n, np.int64)
    inner[:COUNT] = w.T
    outer[:, :COUNT] = z
    for b in range(start, stop):
        for i in range(d):
            for j in range(n):
                M[i, j] = A[b, i, j]
            for j in range(k):
                M[i, n + j] = C[b, i, j]
        _probe(M, n, k, rows, inner, outer, answers)
        rank = _factor(M, n, cutoff, v, pull, norms, order)
        if rank:
            sizes[b, 16] = _square(M[0, 0]) / _square(M[rank - 1, rank - 1])
        _substitute(M, n, rank, order, taus, X, line)
        ranks[b] = rank
        for i in range(m):
            if given:
                _combine(B[b, i], X, line)
            else:
                line[:] = X[i]
            if i < own_rows:
                _row(line, k, own_columns, B[b, i] if given else line, given, i, inner, sizes[b])
            value[b, i] = line[:k]
        for p in range(2 * COUNT):
            _combine(rows[p], X, line)
            _probe_row(line, rows[p], p, answers[p], own_columns, inner, sizes[b])


@_jit
def _combine(weights: Any, X: Any, line: Any) -> None:
    """``weights X``, a row of the extended value."""
    line[:] = 0
    for j in range(len(X)):
        factor, row = weights[j], X[j]
        for c in range(len(line)):
            line[c] += factor * row[c]


@_jit
def _row(line: Any, k: int, own: int, b: Any, given: bool, i: int, inner: Any, size: Any) -> None:
    """Add up the size of a row of the value, and the errors of its probe columns."""
    for c in range(own):
        size[0] += _square(line[c])
    for p in range(2 * COUNT):
        known = inner[p, i % inner.shape[1]]
        if given:
            known *= 0
            for j in range(inner.shape[1]):
                known += b[j] * inner[p, j]
        kind = p // COUNT
        size[1 + kind] += _square(line[k + p] - known)
        size[8 + kind] += _square(known)


@_jit
def _probe_row(line: Any, row: Any, p: int, answers: Any, own: int, inner: Any, size: Any) -> None:
    """The same for a probe row."""
    k = len(answers)
    for c in range(own):
        size[3 + p // COUNT] += _square(line[c] - answers[c])
        size[10 + p // COUNT] += _square(answers[c])
    for q in range(2 * COUNT):
        known = line[0] * 0
        for j in range(len(row)):
            known += row[j] * inner[q, j]
        error = _square(line[k + q] - known)
        if p < COUNT and q < COUNT:
            size[15] += _square(known)
        else:
            pair = 1 if p < COUNT else 2 * (q // COUNT)
            size[5 + pair] += error
            size[12 + pair] += _square(known)


@_jit
def _square(x: Any) -> Any:
    return x.real * x.real + x.imag * x.imag


@_jit
def _probe(M: Any, n: int, k: int, rows: Any, inner: Any, outer: Any, answers: Any) -> None:
    """White and range probes of one problem; their columns go behind C in M."""
    d = len(M)
    rows[:] = 0
    answers[:] = 0
    for kind in range(2):
        first = kind * COUNT
        for i in range(d):
            row = M[i]
            for p in range(first, first + COUNT):
                factor = np.conj(outer[i, p])
                for c in range(n):
                    rows[p, c] += factor * row[c]
                for c in range(k):
                    answers[p, c] += factor * row[n + c]
                total = row[0] * 0
                for c in range(n):
                    total += row[c] * inner[p, c]
                row[n + k + p] = total
        if kind == 0:
            for p in range(COUNT):
                size = _square(rows[p, 0]) * 0
                for c in range(n):
                    size += _square(rows[p, c])
                scale = 1 / np.sqrt(size) if size > 0 else size
                for c in range(n):
                    inner[COUNT + p, c] = np.conj(rows[p, c]) * scale
                size = _square(rows[p, 0]) * 0
                for i in range(d):
                    size += _square(M[i, n + k + p])
                scale = 1 / np.sqrt(size) if size > 0 else size
                for i in range(d):
                    outer[i, COUNT + p] = M[i, n + k + p] * scale


@_jit
def _factor(M: Any, n: int, cutoff: float, v: Any, pull: Any, norms: Any, order: Any) -> int:
    """``A P = Q R`` over the first n columns of M, ``Q^H`` applied to the others; the rank."""
    d = len(M)
    norms[:] = 0
    for c in range(n):
        order[c] = c
    for i in range(d):
        for c in range(n):
            norms[c] += _square(M[i, c])
    first = norms[:n].max()
    for j in range(min(d, n)):
        pivot = j + np.argmax(norms[j:n])
        if not norms[pivot] > cutoff * cutoff * first:
            return j
        if pivot != j:
            order[j], order[pivot] = order[pivot], order[j]
            for i in range(d):
                M[i, j], M[i, pivot] = M[i, pivot], M[i, j]
        for i in range(j, d):
            v[i] = M[i, j]
        beta, tau = _reflector(v[j:])
        _reflect(M, j, v, tau, (j + 1) // LANES * LANES, pull, norms)
        M[j, j] = beta
    return min(d, n)


@_jit
def _reflector(x: Any) -> Any:
    """Numbers beta, tau with ``(I - tau v v^H) x = beta e_1`` and ``v[0] = 1``; v replaces x."""
    rest = _square(x[0]) * 0
    for i in range(1, len(x)):
        rest += _square(x[i])
    head = np.sqrt(_square(x[0]))
    size = np.sqrt(_square(x[0]) + rest)
    phase = x[0] / head if head > 0 else x[0] * 0 + 1
    beta = -phase * size
    scale = 1 / (x[0] - beta)
    x[0] = 1
    for i in range(1, len(x)):
        x[i] *= scale
    return beta, (head + size) / size


@_jit
def _reflect(M: Any, j: int, v: Any, tau: Any, low: int, pull: Any, norms: Any) -> None:
    """``(I - tau v v^H) M``, rows from j, columns from `low`; squared norms of what is below j."""
    d, width = M.shape
    for c in range(low, width):
        pull[c] = 0
        norms[c] = 0
    i = j
    while i + 4 <= d:
        v0, v1, v2, v3 = np.conj(v[i]), np.conj(v[i + 1]), np.conj(v[i + 2]), np.conj(v[i + 3])
        m0, m1, m2, m3 = M[i], M[i + 1], M[i + 2], M[i + 3]
        for c in range(low, width):
            pull[c] += v0 * m0[c] + v1 * m1[c] + v2 * m2[c] + v3 * m3[c]
        i += 4
    for last in range(i, d):
        v0, m0 = np.conj(v[last]), M[last]
        for c in range(low, width):
            pull[c] += v0 * m0[c]
    m0 = M[j]
    for c in range(low, width):
        pull[c] *= tau
        m0[c] -= pull[c]
    i = j + 1
    while i + 4 <= d:
        v0, v1, v2, v3 = v[i], v[i + 1], v[i + 2], v[i + 3]
        m0, m1, m2, m3 = M[i], M[i + 1], M[i + 2], M[i + 3]
        for c in range(low, width):
            a0, a1 = m0[c] - v0 * pull[c], m1[c] - v1 * pull[c]
            a2, a3 = m2[c] - v2 * pull[c], m3[c] - v3 * pull[c]
            m0[c], m1[c], m2[c], m3[c] = a0, a1, a2, a3
            norms[c] += _square(a0) + _square(a1) + _square(a2) + _square(a3)
        i += 4
    for last in range(i, d):
        v0, m0 = v[last], M[last]
        for c in range(low, width):
            a0 = m0[c] - v0 * pull[c]
            m0[c] = a0
            norms[c] += _square(a0)


@_jit
def _substitute(M: Any, n: int, rank: int, order: Any, taus: Any, X: Any, line: Any) -> None:
    """``X = A^+ [C, probes]``, of minimum norm, out of what `_factor` left in M."""
    k = X.shape[1]
    if rank < n:
        _trapezoid(M, n, rank, taus)
    for i in range(rank - 1, -1, -1):  # R X = Q^H C
        row, x = M[i], M[i, n : n + k]
        j = i + 1
        while j + 4 <= rank:
            r0, r1, r2, r3 = row[j], row[j + 1], row[j + 2], row[j + 3]
            x0, x1 = M[j, n : n + k], M[j + 1, n : n + k]
            x2, x3 = M[j + 2, n : n + k], M[j + 3, n : n + k]
            for c in range(k):
                x[c] -= r0 * x0[c] + r1 * x1[c] + r2 * x2[c] + r3 * x3[c]
            j += 4
        for last in range(j, rank):
            r0, x0 = row[last], M[last, n : n + k]
            for c in range(k):
                x[c] -= r0 * x0[c]
        scale = 1 / row[i]
        for c in range(k):
            X[order[i], c] = x[c] = x[c] * scale
    for i in range(rank, n):
        X[order[i]] = 0
    if rank < n:
        for i in range(rank):
            _turn_back(M[i], i, n, rank, taus[i], order, X, line)


@_jit
def _trapezoid(M: Any, n: int, rank: int, taus: Any) -> None:
    """``[R11 R12] Z = [T 0]`` by reflectors from the right, kept in place of R12."""
    for i in range(rank - 1, -1, -1):
        row = M[i]
        rest = _square(row[i]) * 0
        for c in range(rank, n):
            rest += _square(row[c])
        head = np.sqrt(_square(row[i]))
        size = np.sqrt(_square(row[i]) + rest)
        beta = -row[i] / head * size
        scale = 1 / (row[i] - beta)
        row[i] = beta
        for c in range(rank, n):
            row[c] *= scale
        tau = taus[i] = (head + size) / size
        for above in range(i):
            other = M[above]
            total = other[i]
            for c in range(rank, n):
                total += other[c] * np.conj(row[c])
            total *= tau
            other[i] -= total
            for c in range(rank, n):
                other[c] -= total * row[c]


@_jit
def _turn_back(
    row: Any, i: int, n: int, rank: int, tau: Any, order: Any, X: Any, line: Any
) -> None:
    """Apply one reflector of ``Z`` to X."""
    head = X[order[i]]
    line[:] = head
    for c in range(rank, n):
        factor, other = row[c], X[order[c]]
        for q in range(len(line)):
            line[q] += factor * other[q]
    for q in range(len(line)):
        line[q] *= tau
        head[q] -= line[q]
    for c in range(rank, n):
        factor, other = np.conj(row[c]), X[order[c]]
        for q in range(len(line)):
            other[q] -= factor * line[q]
