"""``B A^+ C`` of given floating-point blocks in sixty digits."""

import mpmath
import numpy as np

DIGITS = 60


def exact(A: np.ndarray, B: np.ndarray, C: np.ndarray) -> np.ndarray:
    """``B A^T (A A^T)^-1 C`` for A of full row rank, ``B A^-1 C`` if it is square; float64.

    ZeroDivisionError if A has no full row rank.
    """
    with mpmath.workdps(DIGITS):
        A, B, C = (_wide(block) for block in (A, B, C))
        square = A.shape[0] == A.shape[1]
        D = B @ _solve(A, C) if square else (B @ A.T) @ _solve(A @ A.T, C)
        return np.vectorize(float, otypes=[float])(D)


def _wide(block: np.ndarray) -> np.ndarray:
    return np.vectorize(lambda entry: mpmath.mpf(float(entry)), otypes=[object])(block)


def _solve(A: np.ndarray, C: np.ndarray) -> np.ndarray:
    """Gaussian elimination with row pivoting, on arrays of mpmath numbers."""
    M = np.hstack([A, C])
    n = len(A)
    for k in range(n):
        pivot = k + int(np.argmax(np.abs(M[k:, k])))
        M[[k, pivot]] = M[[pivot, k]]
        M[k, k:] = M[k, k:] / M[k, k]
        M[k + 1 :, k:] -= np.outer(M[k + 1 :, k], M[k, k:])
    X = M[:, n:]
    for k in range(n - 2, -1, -1):
        X[k] -= M[k, k + 1 : n] @ X[k + 1 :]
    return X


def relative_error(value: np.ndarray, truth: np.ndarray) -> float:
    """In the Frobenius norm; infinity for a value that is not finite."""
    error = float(np.linalg.norm(value.astype(float) - truth) / np.linalg.norm(truth))
    return error if np.isfinite(error) else np.inf
