"""Kernel ridge on m landmarks: what is summed over the rows, and the small system that it makes.

With the kernel K (n, m) between rows and landmarks, ``M = V diag(v) V^T`` among the landmarks and
the features ``Z = K V v^(-1/2)``, the minimiser of
``sum_i w_i |y_i - c - z_i a|^2 + ridge |a|^2`` solves

    (Z^T W Z - u u^T / N + ridge I) a = Z^T W y - u (w^T y) / N,    u = Z^T w,  N = sum w.

Z is never formed. Rows are projected on the leading directions of M, and what is left of K is
smaller by their decay: ``P = [K V_h, K - K V_h V_h^T]``, ``Z = P E``. So the sums ``P^T W P``,
whose rounding errors are relative to the sizes of both parts, know small directions as well, and
most of them may be in single precision. What they have lost is measured by columns whose images are
summed in double precision. The factor may be off by that, for it only conditions: residuals are
taken from the rows again and corrected for with the same factor, as in iterative refinement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.linalg

COUNT = 4  # columns that measure what the sums have lost
SAFE = 1e-3  # part of a direction that rounding may take from the sums
REFINED = 1e-8  # relative size of a correction after which no other is worth a pass
PASSES = 5

# Rows of the kernel in double precision, targets, weights.
Block = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class KernelFeatures:
    """How ``Z = P E`` comes from the kernel with the landmarks.

    Attributes
    ----------
    head : ndarray (m, h)
        Directions that are projected on.
    E : ndarray (h + m, r) or (h, r)
        The latter if no direction is left to the rest.
    T : ndarray (m, r)
        ``V v^(-1/2)``.
    """

    head: np.ndarray
    E: np.ndarray
    T: np.ndarray

    @classmethod
    def of(cls, M: np.ndarray, dtype: type[np.floating], ridge: float = 0.0) -> Self:
        """Of the kernel M among landmarks, for products of rows in this dtype.

        With v the size of what is left of the kernel, rounding takes ``eps v^2`` from what is to be
        at least ``v_min (v_min + ridge)``, with the ridge for as many rows as there are landmarks.
        """
        v, V = np.linalg.eigh(M)
        kept = v > len(v) * np.finfo(float).eps * max(v[-1], np.finfo(float).tiny)
        v, V = v[kept], V[:, kept]
        if not len(v):
            return cls(V, np.zeros((0, 0)), V)
        leading = v > np.sqrt(SAFE / np.finfo(dtype).eps) * np.sqrt(v[0] * (v[0] + ridge))
        if 2 * np.count_nonzero(leading) > len(v):
            leading[:] = True
        T = V / np.sqrt(v)
        top = np.zeros((np.count_nonzero(leading), len(v)))
        top[:, leading] = np.diag(1 / np.sqrt(v[leading]))
        rest = T * ~leading
        E = top if leading.all() else np.vstack([top, rest])
        return cls(V[:, leading], E, T)

    def rows(self, K: np.ndarray) -> np.ndarray:
        """P for rows of the kernel."""
        h = self.head.shape[1]
        along = K @ self.head
        if len(self.E) == h:
            return along
        P = np.empty((len(K), h + K.shape[1]))
        P[:, :h] = along
        np.subtract(K, along @ self.head.T, out=P[:, h:])
        return P

    @property
    def probes(self) -> np.ndarray:
        """Columns (r, COUNT) that are the same in every pass."""
        return np.random.default_rng(self.E.shape[1]).standard_normal((self.E.shape[1], COUNT))


@dataclass
class Sums:
    """Over the rows seen so far, of ``P = features.rows(K)``.

    Attributes
    ----------
    S : ndarray (p, p)
        ``P^T W P``.
    u : ndarray (p,)
        ``P^T w``.
    moments : ndarray (p, k)
        ``P^T W y``.
    images : ndarray (p, COUNT)
        ``P^T W Z g`` for fixed columns g.
    weight : float
        ``sum w``.
    rows : int
        Those with positive weights.
    targets, energies : ndarray (k,)
        ``y^T w`` and ``sum w y^2``.
    """

    features: KernelFeatures
    S: np.ndarray
    u: np.ndarray
    moments: np.ndarray
    images: np.ndarray
    weight: float
    rows: int
    targets: np.ndarray
    energies: np.ndarray

    @classmethod
    def empty(cls, features: KernelFeatures, k: int) -> Self:
        """Of no rows."""
        p = len(features.E)
        return cls(
            features,
            S=np.zeros((p, p)),
            u=np.zeros(p),
            moments=np.zeros((p, k)),
            images=np.zeros((p, COUNT)),
            weight=0.0,
            rows=0,
            targets=np.zeros(k),
            energies=np.zeros(k),
        )

    def add(self, block: Block, dtype: type[np.floating]) -> None:
        """Take in rows, the products of what is left of them in this dtype, sums in double."""
        K, y, w = block
        P = self.features.rows(K)
        h = self.features.head.shape[1]
        Q = P * np.sqrt(w)[:, None]
        across = Q[:, :h].T @ Q
        self.S[:h] += across
        self.S[h:, :h] += across[:, h:].T
        rest = Q[:, h:].astype(dtype, copy=False)
        self.S[h:, h:] += rest.T @ rest
        P *= w[:, None]
        self.u += P.sum(axis=0)
        self.moments += P.T @ y
        self.images += Q.T @ (Q @ (self.features.E @ self.features.probes))
        self.weight += float(w.sum())
        self.rows += int(np.count_nonzero(w))
        self.targets += w @ y
        self.energies += w @ y**2

    def system(self, intercept: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """``Z^T W Z`` and ``Z^T W y``, of deviations from means if wanted, ``y^T W y``, the noise.

        The noise is the Frobenius norm of what the matrix has lost, or of what rounding takes in
        any case.
        """
        E = self.features.E
        G, moments, energies = E.T @ self.S @ E, E.T @ self.moments, self.energies
        lost = E.T @ (self.S @ (E @ self.features.probes) - self.images)
        floor = len(G) * np.finfo(float).eps * np.linalg.norm(G)
        noise = float(max(np.linalg.norm(lost) / np.sqrt(COUNT), floor))
        if intercept:
            u = E.T @ self.u
            G = G - np.outer(u, u) / self.weight
            moments = moments - np.outer(u, self.targets / self.weight)
            energies = np.maximum(energies - self.targets**2 / self.weight, 0.0)
        return (G + G.T) / 2, moments, energies, noise

    def constant(self, a: np.ndarray) -> np.ndarray:
        """The c that goes with a: the weighted mean of ``y - Z a``."""
        return (self.targets - self.u @ (self.features.E @ a)) / self.weight

    def spectrum(self, intercept: bool) -> tuple[np.ndarray, np.ndarray, float]:
        """Singular values of the features, targets along them, and the rest's square.

        Of those directions that are above the noise.
        """
        G, moments, energies, noise = self.system(intercept)
        squares, Q = np.linalg.eigh(G)
        known = squares > noise
        s = np.sqrt(squares[known])
        inside = (Q[:, known].T @ moments) / s[:, None]
        return s, inside, float(max(energies.sum() - (inside**2).sum(), 0.0))


def refined(
    sums: Sums, ridge: float, intercept: bool, blocks: Callable[[], Iterator[Block]] | None
) -> tuple[np.ndarray, float]:
    """The coefficients a (r, k), and the relative size that a further correction would have.

    Parameters
    ----------
    sums : Sums
    ridge : float
    intercept : bool
    blocks : callable or None
        Gives all rows once more; None if they are gone, and residuals come from the sums.

    Notes
    -----
    Sizes are in the norm ``sum_i w_i |z_i a|^2 + ridge |a|^2``. The matrix that is factorised is
    not smaller than the true one, as the noise of the sums is added to its diagonal; so corrections
    shrink, slowly where a direction is below that noise and the ridge as well.
    """
    G, moments, _, noise = sums.system(intercept)
    factor = _factor(G, ridge, noise)
    a, residual, before, error = np.zeros_like(moments), moments, np.inf, np.inf
    for _ in range(PASSES + 1):
        step = scipy.linalg.cho_solve(factor, residual)
        size = float(np.sqrt(max((step * residual).sum(), 0.0)))
        whole = float(np.sqrt(max((a * (moments - residual)).sum(), 0.0))) or size
        latest = size / whole if whole else 0.0
        if not latest < error:  # as small as it gets
            break
        before, error = error, latest
        a = a + step
        if error <= REFINED:
            break
        if blocks is None:
            residual = moments - G @ a - ridge * a
        else:
            residual = _pull(sums, a, intercept, blocks) - ridge * a
    rate = min(error / before, 1.0) if np.isfinite(before) else 1.0
    return a, error * rate


def _factor(G: np.ndarray, ridge: float, noise: float) -> tuple[np.ndarray, bool]:
    """Cholesky factor of ``G + (ridge + noise) I``, the noise raised until that is definite."""
    shift = max(noise, float(np.finfo(float).tiny))
    while True:
        try:
            factor: tuple[np.ndarray, bool] = scipy.linalg.cho_factor(
                G + (ridge + shift) * np.eye(len(G)), check_finite=False
            )
            return factor
        except np.linalg.LinAlgError:
            shift *= 10


def _pull(
    sums: Sums, a: np.ndarray, intercept: bool, blocks: Callable[[], Iterator[Block]]
) -> np.ndarray:
    """``Z^T W (y - c - Z a)`` from the rows, with the best c."""
    features = sums.features
    inner, offset = features.E @ a, sums.constant(a) if intercept else 0.0
    pull = np.zeros_like(inner)
    for K, y, w in blocks():
        P = features.rows(K)
        pull += P.T @ (w[:, None] * (y - offset - P @ inner))
    return features.E.T @ pull
