"""Block minimal residuals: the least ``||R||`` over everything that was ever multiplied."""

from __future__ import annotations

import numpy as np

from eagle.algebra.blas import norm, product

MEMORY = 2000  # directions that are kept; beyond them the oldest are forgotten
STUCK = 0.999  # a residual that shrinks by less may have a part that cannot shrink
USED_UP = 30.0  # in units of eps: what rounding leaves of a column
LOST = 2 / 3  # the power of eps that orthogonalisation may leave of an image


class MinimalResiduals:
    """Solve ``P Z = R`` for a Hermitian positive semidefinite P by products with P alone.

    Generalised conjugate residuals [1]_ with all directions kept: images ``Q = P S`` are
    orthonormal, so ``R - Q Q^H R`` is the least residual there is. It is a block method: every
    column profits from the directions of all. Parts of R outside the range of P stay in R and do
    no harm: they never reach Q.

    Attributes
    ----------
    S, Q : ndarray (d, m)
        Directions and their orthonormal images.
    Z, R : ndarray (d, k)
        Solution so far, and what is left.

    References
    ----------
    .. [1] Eisenstat, Elman, Schultz, "Variational iterative methods for nonsymmetric systems of
       linear equations", SIAM J. Numer. Anal. 20(2), 1983, algorithm GCR.
    """

    def __init__(self, columns: np.ndarray):
        empty = np.zeros((len(columns), 0), columns.dtype, order="F")
        self.S, self.Q = empty, empty
        self.Z = np.zeros_like(columns, order="F")
        self.R = np.array(columns, order="F")

    def extend(self, directions: np.ndarray, images: np.ndarray) -> int:
        """Take in ``images = P directions``; return how many of them were new."""
        eps = float(np.finfo(images.dtype).eps)
        S, Q = directions, images
        sizes = np.linalg.norm(Q, axis=0)
        for _ in range(2):  # twice is enough
            overlap = product(self.Q, Q, adjoint="X")
            Q = Q - product(self.Q, overlap)
            S = S - product(self.S, overlap)
        kept = np.linalg.norm(Q, axis=0) > eps**LOST * sizes
        S, Q = S[:, kept], Q[:, kept]
        Q, transform = basis(Q, eps**LOST)
        S = product(np.asfortranarray(S), transform)
        # An image that is so much smaller than its direction is made of rounding errors.
        kept = np.linalg.norm(S, axis=0) * eps**LOST < 1
        S, Q = np.asfortranarray(S[:, kept]), np.asfortranarray(Q[:, kept])
        self.S = np.concatenate([self.S, S], axis=1)[:, -MEMORY:]
        self.Q = np.concatenate([self.Q, Q], axis=1)[:, -MEMORY:]
        self.project()
        return Q.shape[1]

    def project(self) -> None:
        """Take out of R whatever the images can."""
        step = product(self.Q, self.R, adjoint="X")
        self.Z = self.Z + product(self.S, step)
        self.R = self.R - product(self.Q, step)

    def saved(self) -> dict[str, np.ndarray]:
        """For a checkpoint."""
        return {"S": self.S, "Q": self.Q, "Z": self.Z, "R": self.R}

    def restore(self, saved: dict[str, np.ndarray]) -> None:
        """From a checkpoint."""
        for name in self.saved():
            setattr(self, name, np.asfortranarray(saved[name]))

    def ritz_values(self) -> np.ndarray:
        """Ascending harmonic Ritz values of P: they lie inside its positive spectrum.

        ``Q^H S = Q^H P^+ Q`` has the Ritz values of ``P^+``; parts of S outside the range of P do
        not enter it.
        """
        inverse = product(self.Q, self.S, adjoint="X")
        values = np.linalg.eigvalsh((inverse + inverse.conj().T) / 2)
        return np.sort(1 / values[values > 0])

    @property
    def smallest(self) -> float:
        """The smallest of them, 1 if there are none."""
        return float(self.ritz_values()[:1].min(initial=1.0))


def basis(X: np.ndarray, tolerance: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal basis of the columns of X and T with ``basis = X T``.

    Columns whose part outside the others is below `tolerance`, relative to their own size, are
    left out; ``sqrt(eps)`` by default.
    """
    import scipy.linalg

    tolerance = float(np.finfo(X.dtype).eps) ** 0.5 if tolerance is None else tolerance
    sizes = np.linalg.norm(X, axis=0)
    X, scale = X[:, sizes > 0], np.flatnonzero(sizes > 0)
    m = len(sizes)
    if not X.shape[1] or not np.isfinite(sizes).all():
        return np.zeros((len(X), 0), X.dtype), np.zeros((m, 0), X.dtype)
    weights = 1 / sizes[sizes > 0]
    Q, T, order = scipy.linalg.qr(X * weights, mode="economic", pivoting=True, check_finite=False)
    kept = int(np.count_nonzero(np.abs(np.diagonal(T)) > tolerance))
    inverse = scipy.linalg.solve_triangular(T[:kept, :kept], np.eye(kept, dtype=X.dtype))
    transform = np.zeros((m, kept), X.dtype, order="F")
    transform[scale[order[:kept]]] = inverse * weights[order[:kept], None]
    return np.asfortranarray(Q[:, :kept]), transform


def left(R: np.ndarray, start: np.ndarray, eps: float) -> np.ndarray:
    """Which columns of R are more than rounding errors of what they started from."""
    return np.linalg.norm(R, axis=0) > USED_UP * eps * np.maximum(start, norm(start) * eps)
