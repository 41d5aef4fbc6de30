"""Which ridge predicts best: leave-one-out errors for a whole grid from one factorisation."""

from __future__ import annotations

from typing import Any

import numpy as np

PER_DECADE = 4  # neighbours differ little in error
LARGEST = 10.0  # in units of ||A||^2
HOPELESS = 10.0  # in units of eps: 1 - h so small that a row determines itself


def left_factor(A: Any, mean: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """U and s of ``diag(root) (A - mean) = U diag(s) V^T``, without directions at rounding level.

    If A is sparse they come from the Gram matrix of its shorter side, which loses the directions
    below ``sqrt(eps)``; a ridge that matters is above. U is (n, min(n, p)) and dense.
    """
    import scipy.linalg
    from scipy.sparse import issparse

    n, p = A.shape
    eps = np.finfo(A.dtype).eps
    if not issparse(A):
        U, s, _ = scipy.linalg.svd(root[:, None] * (A - mean), full_matrices=False)
        kept = s > max(n, p) * eps * s[:1]
        return U[:, kept], s[kept]
    if n <= p:
        products, along = (A @ A.T).toarray(), A @ mean
        gram = products - along - along[:, None] + mean @ mean
        squares, U = scipy.linalg.eigh(root * gram * root[:, None])
    else:
        weighted = A.multiply(root[:, None]).tocsr()
        gram = (weighted.T @ weighted).toarray() - (root @ root) * np.outer(mean, mean)
        squares, V = scipy.linalg.eigh(gram)
    kept = squares > max(n, p) * eps * squares[-1:]
    s = np.sqrt(squares[kept])
    if n <= p:
        return U[:, kept], s
    V = V[:, kept] / s
    return weighted @ V - np.outer(root, mean @ V), s


def default_ridges(s: np.ndarray) -> np.ndarray:
    """From rounding level to ten times the largest squared singular value."""
    if not len(s):
        return np.ones(1)
    smallest = np.log10(4 * len(s) * np.finfo(s.dtype).eps)
    count = int(PER_DECADE * (np.log10(LARGEST) - smallest)) + 1
    return float(s[0]) ** 2 * np.logspace(smallest, np.log10(LARGEST), count)


class LeftOut:
    """Every row's error of prediction from all others, in closed form for any ridge.

    With ``H = U diag(s^2 / (s^2 + ridge)) U^H + q q^H`` the error of row i is
    ``(b - H b)_i / (1 - H_ii)`` [1]_, where q is the direction of the `intercept` that was taken
    out of b and of U, a unit vector (n,). Both are summed from ``ridge / (s^2 + ridge)``, so that
    neither cancels. Infinite where nothing but a row itself tells of it.

    References
    ----------
    .. [1] Golub, Heath, Wahba, "Generalized cross-validation as a method for choosing a good
       ridge parameter", Technometrics 21 (1979), equation 1.6.
    """

    def __init__(
        self, U: np.ndarray, s: np.ndarray, b: np.ndarray, intercept: np.ndarray | None = None
    ):
        self._U, self._s, self._inside, self._squares = U, s, U.conj().T @ b, np.abs(U) ** 2
        self._outside = b - U @ self._inside
        self._free = 1 - self._squares.sum(axis=1) - (0 if intercept is None else intercept**2)
        if len(s) + (intercept is not None) >= len(U):  # nothing is outside but rounding
            self._outside, self._free = np.zeros_like(b), np.zeros(len(U))

    def errors(self, ridge: float) -> tuple[np.ndarray, np.ndarray]:
        """Errors (n, k), and each row's leverage among the others, ``H_ii / (1 - H_ii)``."""
        damped = ridge / (self._s**2 + ridge)
        left = self._free + self._squares @ damped
        residual = self._outside + self._U @ (damped[:, None] * self._inside)
        hopeless = left <= HOPELESS * np.finfo(self._s.dtype).eps * (ridge == 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.where(hopeless[:, None], np.inf, residual / left[:, None])
            return found, np.where(hopeless, np.inf, 1 / left - 1)


def leave_one_out(
    U: np.ndarray,
    s: np.ndarray,
    b: np.ndarray,
    ridges: np.ndarray,
    intercept: np.ndarray | None = None,
) -> np.ndarray:
    """Mean squared error of each row's prediction from all others, for each ridge."""
    rows = LeftOut(U, s, b, intercept)
    return np.array([(rows.errors(ridge)[0] ** 2).mean() for ridge in ridges])


def generalised(
    s: np.ndarray, inside: np.ndarray, outside: float, freedom: float, ridges: np.ndarray
) -> np.ndarray:
    """Generalised cross-validation error for each ridge: leverages are replaced by their mean.

    ``|b - H b|^2 f / (f - trace H)^2``, Golub, Heath, Wahba (1979), equation 1.4, for f degrees of
    freedom and ``H = U diag(s^2 / (s^2 + ridge)) U^T``. Infinite where H takes all of them.

    Parameters
    ----------
    s : ndarray (p,)
        Singular values of A.
    inside : ndarray (p, k)
        ``U^T b``.
    outside : float
        Squared norm of what b has outside the range of U.
    freedom : float
        Rows of A, less one for an intercept.
    ridges : ndarray (q,)

    Returns
    -------
    ndarray (q,)
    """
    errors = np.full(len(ridges), np.inf)
    squares, energy = s**2, (np.abs(inside) ** 2).sum(axis=1)
    known = s > max(len(s), 1) * np.finfo(s.dtype).eps * s.max(initial=0.0)
    for i, ridge in enumerate(ridges):
        explained = np.where(known, squares / np.where(known, squares + ridge, 1), 0)
        left = freedom - explained.sum()
        if left > HOPELESS * np.finfo(s.dtype).eps * freedom:
            errors[i] = (outside + ((1 - explained) ** 2 * energy).sum()) * freedom / left**2
    return errors / inside.shape[1]
