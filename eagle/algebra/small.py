"""The parts of an EAGLE iteration where numba beats BLAS: small matrices, fused passes.

The same functions as in `eagle.algebra.blas`. A BLAS call on a 16 x 16 matrix spends most of its
time being called, and a Lanczos run is a dozen calls; here each is one loop nest without
temporaries. Products of two matrices are not here: BLAS wins those from 16 x 16 on. Compiled
once per dtype and cached on disk.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from eagle.algebra.jit import compiled

__all__ = ["contract", "ritz_values"]

_jit = compiled(reordered=True)


@_jit
def contract(
    B: Any,
    C: Any,
    D: Any,
    first: Any,
    second: Any,
    step: float,
    rows: int,
    columns: int,
    count: int,
) -> tuple[float, float, float, float]:
    """``D += step B first``, ``C -= step second``; sizes of what moved and of what is left.

    Returns the Frobenius norms of the increment of the user's block, of that block, and of the
    user's and the `count` following columns of C.
    """
    m, n = B.shape
    d, q = C.shape
    moved, size, user, white = 0.0, 0.0, 0.0, 0.0
    for j in range(q):
        for i in range(m):
            total = B[0, 0] * 0
            for k in range(n):
                total += B[i, k] * first[k, j]
            total *= step
            D[i, j] += total
            if i < rows and j < columns:
                moved += abs(total) ** 2
                size += abs(D[i, j]) ** 2
        left = 0.0
        for k in range(d):
            C[k, j] -= step * second[k, j]
            left += abs(C[k, j]) ** 2
        if j < columns:
            user += left
        elif j < columns + count:
            white += left
    return np.sqrt(moved), np.sqrt(size), np.sqrt(user), np.sqrt(white)


@_jit
def ritz_values(G: Any, start: Any, steps: int, weight: float) -> Any:
    """Ascending Ritz values of Hermitian G, without those that `start` hardly contains."""
    n = len(start)
    steps = min(steps, n)
    T = np.zeros((steps, steps))
    size = 0.0
    for i in range(n):
        size += abs(start[i]) ** 2
    size = np.sqrt(size)
    if not (0 < size < np.inf):
        return np.zeros(0)
    v = start / size
    previous = np.zeros_like(v)
    w = np.empty_like(v)
    beta, taken = 0.0, 0
    for step in range(steps):
        w[:] = 0
        for j in range(n):
            for i in range(j):
                w[i] += G[i, j] * v[j]
                w[j] += np.conj(G[i, j]) * v[i]
            w[j] += G[j, j].real * v[j]
        alpha = 0.0
        for i in range(n):
            alpha += (np.conj(v[i]) * w[i]).real
        norm = 0.0
        for i in range(n):
            w[i] -= alpha * v[i] + beta * previous[i]
            norm += abs(w[i]) ** 2
        beta = np.sqrt(norm)
        T[step, step] = alpha
        taken = step + 1
        if not np.isfinite(alpha) or beta <= 1e-12 * abs(T[0, 0]):
            break
        if step + 1 < steps:
            T[step, step + 1] = T[step + 1, step] = beta
        for i in range(n):
            previous[i] = v[i]
            v[i] = w[i] / beta
    T = T[:taken, :taken].copy()
    if not np.isfinite(T).all():
        return np.zeros(0)
    values, vectors = np.linalg.eigh(T)
    return values[vectors[0] ** 2 > weight]
