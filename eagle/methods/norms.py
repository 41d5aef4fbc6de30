"""The spectral norm of A from products with A, for methods that need a step size."""

from __future__ import annotations

import numpy as np

from eagle.algebra.blas import energy, norm, product


def squared_norm(A: np.ndarray, *, rtol: float = 1e-3, maxiter: int = 100) -> float:
    """``||A||_2^2`` by power iteration on ``A^H A`` with Rayleigh quotients (a lower bound)."""
    n = A.shape[1]
    v = np.random.default_rng(n).standard_normal((n, 1)).astype(A.dtype)
    value = 0.0
    for _ in range(maxiter):
        size = norm(v)
        if not size:
            return 0.0
        u = product(A, v / v.real.dtype.type(size))
        previous, value = value, energy(u)
        v = product(A, u, adjoint="X")
        if value - previous <= rtol * value:
            break
    return value


def squared_norm_bound(A: np.ndarray) -> float:
    """``||A||_1 ||A||_inf``, an upper bound of ``||A||_2^2`` by at most ``sqrt(d n)``."""
    if not A.size:
        return 0.0
    magnitude = np.abs(A)
    return float(magnitude.sum(axis=0).max()) * float(magnitude.sum(axis=1).max())
