"""How EAGLE conditions ``[A; B]``: by a polynomial in the Gram matrix or by its Cholesky factor.

Both multiply from the right by a non-singular Q, lift the small singular values of A and keep
the largest at 1. Both remember their lifts, so that the condition number of the original A can
be read off backwards from what is left at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from eagle.algebra import blas
from eagle.methods.eagle.schedule import Constant, Minimax, largest, lifted, lowered

__all__ = ["Cholesky", "Polynomial"]

FIRST_ETA = 0.5  # forgives a norm that was under-estimated by 40 %
LIFT = 1e-3  # Ritz values may over-estimate the smallest singular value by this much
SINGLE = 0.05  # what rounding in single precision may do to a singular value near 1
LOOK = 6  # Lanczos steps that tell when to stop
SHIFT = 4.0  # Cholesky shift in units of n eps ||A||^2


@dataclass
class Polynomial:
    """``Q = (I - eta A^H A) / mu``: matrix products alone.

    ``3 d n^2`` flops: half a product for the Gram matrix, one to apply it.
    """

    schedule: Minimax | Constant
    growth: float = 1.0  # of the smallest singular values, so far
    lifts: list[float] = field(default_factory=list)  # eta by step
    roughness: float = 1.0  # of Q, in units of the rounding errors of A

    def pair(self, lower: float) -> tuple[float, float]:
        """Step sizes for singular values in ``[lower, 1]``."""
        eta, gamma = self.schedule.pair(lower)
        return (eta if self.lifts else min(eta, FIRST_ETA)), gamma

    def apply(
        self,
        A: np.ndarray,
        B: np.ndarray,
        gram: np.ndarray,
        spare: np.ndarray,
        probe: int,
        lower: float,
        rho: float,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float | None]:
        """``(A Q, B Q)``, the buffer that is free now, and the lower bound to expect.

        Row `probe` of B is random in the row space of A.
        """
        eta, _ = self.pair(lower)
        mu = largest(eta)
        # Q = -(eta rho / mu) (G - I / (eta rho)): the diagonal is all of G that has to change.
        gram[np.diag_indices_from(gram)] -= A.real.dtype.type(1 / (eta * rho))
        scale = -eta * rho * float(np.sqrt(rho)) / mu
        new = blas.times_hermitian(A, gram, out=spare, scale=scale)
        B = blas.times_hermitian(B, gram, out=np.empty_like(B, order="F"), scale=scale)
        self.growth /= mu
        self.lifts.append(eta)
        return new, B, A, lifted(lower, eta)

    def apply_single(
        self, A: np.ndarray, B: np.ndarray, probe: int, lower: float, rho: float
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """``(A Q, B Q)`` and the number of steps in single precision that Q is made of.

        Whatever rounding did to Q, the same Q in double precision goes to A and to B, and
        ``B A^+`` stays what it is, if B has no part outside the row space of A: that part is mixed
        with the others by single-precision rounding errors. Steps end when all that row `probe` of
        B sees is lifted, and before rounding, ``eps sqrt(n)`` times the lift, would show in the
        singular values.
        """
        single = np.dtype(np.complex64 if A.dtype.kind == "c" else np.float32)
        eps = float(np.finfo(np.float32).eps)
        scale, n = float(np.sqrt(rho)), A.shape[1]
        X = np.asfortranarray(A * A.real.dtype.type(scale), dtype=single)
        row = (B[probe : probe + 1] / blas.norm(B[probe])).astype(single, order="F")
        Q = np.eye(n, dtype=single, order="F")
        gram, spare = np.zeros_like(Q), np.empty_like(X)
        most = self.growth * SINGLE / (eps * np.sqrt(n))
        steps = 0
        while lower < self.done and self.growth < most:
            gram = blas.gram(X, out=gram)
            ritz = blas.ritz_values(gram, row[0].conj(), LOOK, eps)
            # Rounding errors of a singular Gram matrix make its smallest Ritz value negative.
            least = min(max(float(ritz.min(initial=1.0)), 0.0), 1.0)
            lower = max(lower, least**0.5 if steps else 0.0)
            eta, _ = self.pair(lower)
            gram[np.diag_indices(n)] -= gram.real.dtype.type(1 / eta)
            factor = -eta / largest(eta)
            X, spare = blas.times_hermitian(X, gram, out=spare, scale=factor), X
            Q = blas.times_hermitian(Q, gram, out=np.empty_like(Q), scale=factor)
            row = blas.times_hermitian(row, gram, out=np.empty_like(row), scale=factor)
            self.growth /= largest(eta)
            self.lifts.append(eta)
            lower, steps = lifted(lower, eta), steps + 1
        Q = Q.astype(A.dtype)
        self.roughness = eps / float(np.finfo(A.dtype).eps)
        return blas.product(A, Q, scale=scale), blas.product(B, Q, scale=scale), steps

    @property
    def last_lift(self) -> float:
        """Factor of the smallest singular values in the last step, and of rounding errors."""
        return self.roughness / largest(self.lifts[-1]) if self.lifts else 1.0

    @property
    def done(self) -> float:
        """The lower bound from which on contraction alone gains as much as conditioning."""
        return 0.99 * lifted(1.0, self.pair(1.0)[0])

    @property
    def top(self) -> float:
        """Where the singular values gather: the fixed point of the map that ends the schedule."""
        eta = self.pair(1.0)[0]
        return 1.0 if eta <= 1 / 3 else float(np.sqrt((1 - largest(eta)) / eta))

    def original(self, lower: float) -> float:
        """The singular value of the first A that became `lower`."""
        for eta in reversed(self.lifts):
            lower = lowered(lower, eta)
        return lower


@dataclass
class Cholesky:
    """``Q = R^-1`` with ``R^H R = A^H A + shift I``: ``s -> s / sqrt(s^2 + shift)``.

    ``2 d n^2 + n^3 / 3`` flops. Solving with one triangular factor is backward stable row by
    row, which is what keeps the invariant; two factors in a row (``Q`` Hermitian) would not be.
    """

    done: float = 0.99
    growth: float = 1.0
    lifts: list[float] = field(default_factory=list)  # shift relative to ||A||^2 by step
    seen: float | None = None  # smallest singular value of the first A, relative
    top: ClassVar[float] = 1.0

    def pair(self, lower: float) -> tuple[float, float]:
        """No eta; gamma is 1 as every singular value that matters is 1 already."""
        return 0.0, 1.0

    def apply(
        self,
        A: np.ndarray,
        B: np.ndarray,
        gram: np.ndarray,
        spare: np.ndarray,
        probe: int,
        lower: float,
        rho: float,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float | None]:
        """``(A Q, B Q)``, the buffer, and None: the new lower bound has to be measured."""
        eps = float(np.finfo(A.dtype).eps)
        # The first shift is as small as rounding allows; later ones no smaller than they need be,
        # because they lift the rounding noise of A as well.
        needed = (LIFT * lower) ** 2 if self.lifts else 0.0
        R, shift = blas.shifted_cholesky(gram, max(SHIFT * len(gram) * eps, needed) / rho)
        # One inverse iteration; where the shift drowns the answer, the next step will know it.
        smallest = blas.inverse_quotient(R, B[probe].conj()) - shift
        if smallest > 0.01 * shift:
            self.seen = self._before(float(np.sqrt(min(1.0, smallest * rho))))
        A = blas.times_inverse(A, R)
        B = blas.times_inverse(B, R)
        self.lifts.append(shift * rho)
        self.growth *= self.last_lift
        return A, B, spare, None

    @property
    def last_lift(self) -> float:
        """Factor of the smallest singular values in the last step."""
        return float(1 / np.sqrt(self.lifts[-1])) if self.lifts else 1.0

    def original(self, lower: float) -> float:
        """The singular value of the first A that became `lower`, or was seen on the way."""
        return self._before(lower) if self.seen is None else self.seen

    def _before(self, lower: float) -> float:
        for shift in reversed(self.lifts):
            # Above the middle of the map rounding decides what `lower` was.
            lower = min(lower, 0.5**0.5)
            lower = float(np.sqrt(shift) * lower / np.sqrt(1 - lower**2))
        return min(lower, 1.0)
