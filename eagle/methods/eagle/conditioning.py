"""How EAGLE conditions ``[A; B]``: by a polynomial in the Gram matrix or by its Cholesky factor.

Both multiply from the right by a non-singular Q, lift the small singular values of A and keep
the largest at 1. Both say what a singular value was before, so that the condition number of the
first A can be read off backwards from what is left at the end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from eagle.algebra import blas
from eagle.algebra.base import lanczos, ritz_values
from eagle.algebra.numbers import Number
from eagle.methods.eagle.rules import LANCZOS_STEPS, EagleState, traced_back
from eagle.methods.eagle.schedule import Constant, Minimax, largest, lifted, lowered

FIRST_ETA = 0.5  # forgives a norm that was under-estimated by 40 %
LIFT = 1e-3  # Ritz values may over-estimate the smallest singular value by this much
SINGLE = 0.05  # what rounding in single precision may do to a singular value near 1
SHIFT = 4.0  # Cholesky shift in units of n eps ||A||^2
SHOWN = 0.01  # of the shift: a smallest eigenvalue above it is more than the shift


@dataclass(frozen=True)
class Polynomial:
    """``Q = (I - eta A^H A) / mu``: matrix products alone.

    ``3 d n^2`` flops: half a product for the Gram matrix where that is symmetric, one to apply it.
    """

    schedule: Minimax | Constant

    eager: ClassVar[bool] = True  # conditions in every iteration, as the Gram matrix is there
    slow: ClassVar[float] = 0.5  # of the probes left by a contraction: a direction is out of reach

    def pair(self, lower: Number, num: Any) -> tuple[Number, Number]:
        """Step sizes ``(eta, gamma)`` for singular values in ``[lower, 1]``."""
        return self.schedule.pair(lower)

    @property
    def _last(self) -> float:
        """The eta that ends the schedule."""
        return float(self.schedule.pair(1.0)[0])

    @property
    def done(self) -> float:
        """The lower bound from which on contraction alone gains as much as conditioning."""
        return 0.99 * float(lifted(1.0, self._last))

    @property
    def top(self) -> float:
        """Where the singular values gather: the fixed point of the map that ends the schedule."""
        eta = self._last
        return 1.0 if eta <= 1 / 3 else float(np.sqrt((1 - largest(eta)) / eta))

    def before(self, lower: Number, lift: Number, num: Any) -> Number:
        """The singular value that a step with ``eta = lift`` has made `lower` of."""
        return lowered(lower, lift)

    def apply(self, state: EagleState, which: Number) -> None:
        """``[A; B] <- [A; B] Q`` for some; `state.gram` is that of A."""
        num, algebra = state.num, state.problem.algebra
        (d, n), rho, cautious = state.A.shape[-2:], state.rho, state.cautious
        eta = self._eta(state, cautious)
        # Q = (eta rho / mu) (I / (eta rho) - G).
        factor = eta * rho * num.sqrt(rho) / largest(eta)
        Q = algebra.polynomial(state.gram, 1 / (eta * rho), factor, which)
        A = state.A
        state.A = algebra.times(A, Q, out=state.spare)
        state.spare = None if state.spare is None else A
        state.B = algebra.times(state.B, Q)
        state.count(d + state.B.shape[-2], n, n)
        self._lift(state, which, eta)
        state.lower = num.where(which, lifted(cautious, eta), state.lower)
        state.rho = num.where(which, 1.0, rho)

    def apply_in_single(self, state: EagleState, which: Number) -> None:
        """The same by many steps in single precision.

        Whatever rounding did to Q, the same Q in double precision goes to A and to B, and
        ``B A^+`` stays what it is, if B has no part outside the row space of A: that part is mixed
        with the others by single-precision rounding errors. Steps end when all that the first
        probe row of B sees is lifted, and before rounding, ``eps sqrt(n)`` times the lift, would
        show in the singular values.
        """
        num, algebra = state.num, state.problem.algebra
        rough, (d, n), below = algebra.single(), state.A.shape[-2:], state.user[0]
        root = num.where(which, num.sqrt(state.rho), 1.0)
        X = rough.cast(algebra.each(root) * state.A)
        row = state.B[..., below : below + 1, :]
        row = rough.cast(algebra.over(row, algebra.lengths(row, -1)))
        Q, gram = rough.cast(rough.eye(n)), rough.zeros(n, n)
        lower, most = state.cautious, state.growth * SINGLE / (rough.eps * n**0.5)
        going, first = which, True
        while num.some(going := going & (lower < self.done) & (state.growth < most)):
            gram = rough.gram(X, gram)
            run = lanczos(rough, gram, rough.adjoint(row), LANCZOS_STEPS)
            alphas, betas = rough.fetch(*run)
            # Rounding errors of a singular Gram matrix make its smallest Ritz value negative.
            ritz = np.nan_to_num(ritz_values(alphas, betas, rough.eps), nan=1.0).clip(0, 1)
            if not first:
                lower = num.maximum(lower, num.sqrt(num.reduce(np.minimum, ritz, 1.0)))
            eta = self._eta(state, lower)
            step = rough.polynomial(gram, 1 / eta, eta / largest(eta), going)
            X, Q, row = (rough.times(block, step) for block in (X, Q, row))
            self._lift(state, going, eta)
            lower, first = num.where(going, lifted(lower, eta), lower), False
            state.count(n, d, n, half=rough.symmetric)
            state.count(d + n, n, n)
        Q = algebra.cast(Q)
        state.A = algebra.product(state.A, Q, scale=root)
        state.B = algebra.product(state.B, Q, scale=root)
        state.count(d + state.B.shape[-2], n, n)
        state.roughness = num.where(which, rough.eps / algebra.eps, state.roughness)
        state.lower = num.where(which, np.nan, state.lower)
        state.rho = num.where(which, 1.0, state.rho)

    def _eta(self, state: EagleState, lower: Number) -> Number:
        """Step sizes, capped for matrices that were never conditioned before."""
        num, eta = state.num, self.pair(lower, state.num)[0]
        return num.where(state.growth == 1, num.minimum(eta, FIRST_ETA), eta)

    def _lift(self, state: EagleState, which: Number, eta: Number) -> None:
        """Remember one step."""
        where, lift = state.num.where, 1 / largest(eta)
        state.last_lift = where(which, lift, state.last_lift)
        state.growth = where(which, state.growth * lift, state.growth)
        state.lifts.append(where(which, eta, 0.0))


@dataclass(frozen=True)
class Cholesky:
    """``Q = R^-1`` with ``R^H R = A^H A + shift I``: ``s -> s / sqrt(s^2 + shift)``.

    ``2 d n^2 + n^3 / 3`` flops. Solving with one triangular factor is backward stable row by
    row, which is what keeps the invariant; two factors in a row (``Q`` Hermitian) would not be.
    One matrix at a time.
    """

    eager: ClassVar[bool] = False
    slow: ClassVar[float] = 0.1
    done: ClassVar[float] = 0.99
    top: ClassVar[float] = 1.0

    def pair(self, lower: float, num: Any) -> tuple[float, float]:
        """No eta; gamma is 1 as every singular value that matters is 1 already."""
        return 0.0, 1.0

    def before(self, lower: float, lift: float, num: Any) -> float:
        """The singular value that a shift of ``lift ||A||^2`` has made `lower` of."""
        lower = num.minimum(lower, 0.5**0.5)  # above the middle of the map rounding decides
        return num.sqrt(lift) * lower / num.sqrt(1 - lower**2)

    def apply(self, state: EagleState, which: bool) -> None:
        """``[A; B] <- [A; B] Q``; the new lower bound has to be measured."""
        (d, n), eps, rho = state.A.shape, state.problem.eps, state.rho
        # The first shift is as small as rounding allows; later ones no smaller than they need be,
        # because they lift the rounding noise of A as well.
        needed = (LIFT * state.cautious) ** 2 if state.lifts else 0.0
        R, shift = blas.shifted_cholesky(state.gram, max(SHIFT * n * eps, needed) / rho)
        # One inverse iteration; where the shift drowns the answer, the next step will know it.
        smallest = blas.inverse_quotient(R, state.B[state.user[0]].conj()) - shift
        if smallest > SHOWN * shift:
            state.least = traced_back(state, float(np.sqrt(min(1.0, smallest * rho))))
        state.A, state.B = blas.times_inverse(state.A, R), blas.times_inverse(state.B, R)
        state.count(d + len(state.B), n, n, half=True)
        state.lifts.append(shift * rho)
        state.last_lift = float(1 / np.sqrt(shift * rho))
        state.growth *= state.last_lift
        state.lower, state.rho, state.left = np.nan, 1.0, np.inf
        state.measured = state.waiting = False
        if state.least > 0 and not state.restarted:
            state.condition = 1 / state.least
