"""The product of a kernel slice with an inverse root, as fast as its precision allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

EPS = float(np.finfo(np.float32).eps)
MILD = EPS**-0.5  # condition up to which single precision does for all of it
MARGIN = 0.25  # where the kernel may be known to more digits than single precision has
THIN = 6  # what a direction that is taken out costs, in columns of a product in single precision


@dataclass(frozen=True)
class InverseRoot:
    """``M^(-1/2) = V diag(w |w|^(-3/2)) V^T``, to be multiplied from the right.

    Single precision would amplify the rounding errors of what it multiplies, ``eps |w|_max``, by
    ``|w|_min^(-1/2)``. Without the directions above ``(|w|_min |w|_max)^(1/2)``, which stay in
    double precision, what is left is so much smaller that no more comes of it than the last
    rounding of the product, ``eps |w|_max^(1/2)``. Kernels of smooth functions have few of them.
    Where the condition is above ``1 / eps``, those above a quarter of that bound stay as well: the
    kernel is then approximated so well that the last rounding is all its error.

    Attributes
    ----------
    factors : tuple of ndarray
        Whose product from left to right is the root, in float64; two of them if that is faster.
    head, restore : ndarray (m, k), (k, m)
        The directions that stay in double precision; none where single precision harms nothing.
    rest : ndarray (m, m) or None
        In float32, the root of the other directions; None where they are too few for that to be
        faster.
    """

    factors: tuple[np.ndarray, ...]
    head: np.ndarray
    restore: np.ndarray
    rest: np.ndarray | None

    @classmethod
    def of(cls, w: np.ndarray, V: np.ndarray) -> Self:
        """That of eigenvalues w, of which none is zero, and eigenvectors V (m, rank)."""
        size = np.abs(w)
        left, right = V * (np.sign(w) / np.sqrt(size)), V.T
        if 2 * len(w) <= len(V):
            return cls((left, right), V, left.T, None)
        root = left @ right
        least, most = size.min(), size.max()
        bound = np.sqrt(least) * np.sqrt(most) * (MARGIN if most * EPS > least else 1.0)
        mild = len(w) == len(V) and most <= MILD * least
        large = np.zeros(len(w), bool) if mild else size > bound
        head, restore = V[:, large], left[:, large].T
        few = THIN * len(restore) <= len(V)
        rest = (root - head @ restore).astype(np.float32) if few else None
        return cls((root,), head, restore, rest)

    @property
    def matrix(self) -> np.ndarray:
        """The root itself."""
        return self.factors[0] if len(self.factors) == 1 else self.factors[0] @ self.factors[1]

    def apply(self, K: np.ndarray, out: np.ndarray) -> None:
        """``K M^(-1/2)`` (n, m) for K in float64 into `out`, of either precision."""
        if out.dtype != np.float32 or self.rest is None:
            for factor in self.factors:
                K = K @ factor
            out[:] = K
        elif not len(self.restore):
            np.matmul(K.astype(np.float32), self.rest, out=out)
        else:
            along = K @ self.head
            others = np.empty(K.shape, np.float32)  # rounded after the subtraction
            np.subtract(K, along @ self.head.T, out=others, casting="same_kind")
            np.add(others @ self.rest, along @ self.restore, out=out, casting="same_kind")
